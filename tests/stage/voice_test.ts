import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { parseWav } from "../../lib/speech/wav.ts";
import { Random } from "../support/harness/random.ts";

// Imported by address, because these modules are type-checked with the types of the DOM and this file is not.
const page = new URL("../../lib/stage/page/", import.meta.url).href;
const { FRAME_MS, VoiceActivity } = await import(`${page}voice/activity.js`);
const { chooseVoice, languageOf } = await import(`${page}voice/language.js`);
const { createReader } = await import(`${page}voice/reader.js`);
const { MAX_SENTENCE_CHARS, nextSentence, speakableText } = await import(`${page}voice/sentences.js`);
const { encodeWav, loudnessDb, opennessOf, resample, toFloats } = await import(`${page}voice/sound.js`);
const { SpeechPacer } = await import(`${page}views/speech.js`);

/** Divides a text that is complete into sentences. */
function sentencesOf(text: string): string[] {
  const sentences: string[] = [];
  for (let from = 0;;) {
    const next = nextSentence(text, from, true);
    if (next === undefined) return sentences;
    sentences.push(text.slice(next.start, next.end));
    assert(next.end > from);
    from = next.end;
  }
}

const SENTENCES: [text: string, sentences: string[]][] = [
  ["", []],
  [" \n ", []],
  ["One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]],
  ['He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]],
  ["Version 2.5 of host.example/a.b is out.", ["Version 2.5 of host.example/a.b is out."]],
  ["Dr. Mao met J. Doe, e.g. here. Yes.", ["Dr. Mao met J. Doe, e.g. here.", "Yes."]],
  ["A title\nA line\n\nAnother", ["A title", "A line", "Another"]],
  ["今日は。元気？「はい。」そう", ["今日は。", "元気？", "「はい。」", "そう"]],
  ["Wait… what?! OK", ["Wait…", "what?!", "OK"]],
];

for (const [text, sentences] of SENTENCES) {
  Deno.test(`nextSentence: divides ${JSON.stringify(text)}`, () => {
    assertEquals(sentencesOf(text), sentences);
  });
}

Deno.test("nextSentence: a growing text gives the same sentences, each once it is certain", () => {
  for (const [text, sentences] of SENTENCES) {
    const found: string[] = [];
    let from = 0;
    for (let length = 1; length <= text.length; length++) {
      for (let next; (next = nextSentence(text.slice(0, length), from, false)); from = next.end) {
        found.push(text.slice(next.start, next.end));
      }
    }
    assertEquals(found, sentences.slice(0, found.length), text);
    assertEquals([...found, ...sentencesOf(text.slice(from))], sentences, text);
  }
});

Deno.test("nextSentence: a very long sentence is divided at a clause, a space, or anywhere", () => {
  const clauses = `${"word ".repeat(30)}end, ${"word ".repeat(60)}`;
  assertEquals(sentencesOf(clauses)[0]!.endsWith("end,"), true);
  for (const text of [clauses, "word ".repeat(500), "字".repeat(999), "😀".repeat(999), "x".repeat(999)]) {
    const sentences = sentencesOf(text);
    assertEquals(sentences.join("").replace(/\s/g, ""), text.replace(/\s/g, ""));
    for (const sentence of sentences) {
      assert(sentence.length <= MAX_SENTENCE_CHARS);
      assert(sentence.isWellFormed());
    }
  }
});

Deno.test("speakableText: leaves pictographs out, and is empty without a word", () => {
  const cases = [["Hi 👩‍💻!", "Hi !"], ["😀", ""], ["...", ""], ["7", "7"], ["はい❤️", "はい"]];
  for (const [text, spoken] of cases) assertEquals(speakableText(text), spoken, text);
});

const LANGUAGES: [text: string, preferred: string[], language: string][] = [
  ["The tests are green.", ["de"], "en"],
  ["Das ist nicht so einfach.", ["en-US"], "de"],
  ["C'est une bonne idée, et vous ?", ["en"], "fr"],
  ["Los tests están muy bien.", ["en"], "es"],
  ["OK!", ["ja-JP", "de-DE", "en"], "de"],
  ["OK!", ["ja-JP"], "en"],
  ["OK!", ["fr", "de-DE"], "fr"],
  ["今日はいい天気です。", ["zh-CN"], "ja"],
  ["Deno を使います。", ["en"], "ja"],
  ["今天天气很好。", ["en"], "zh"],
  ["東京都庁", ["ja", "zh"], "ja"],
  ["Open the 設定 menu, and use it.", ["ja"], "en"],
  ["안녕하세요", ["en"], "ko"],
  ["Привет, как дела?", ["en"], "ru"],
  ["Привіт", ["uk-UA"], "uk"],
  ["שלום", [], "he"],
  ["42", [], "en"],
];

for (const [text, preferred, language] of LANGUAGES) {
  Deno.test(`languageOf: ${text} for ${preferred} is ${language}`, () => {
    assertEquals(languageOf(text, preferred), language);
  });
}

Deno.test("chooseVoice: the picked voice if it speaks the language, then the server's, then the browser's", () => {
  const voice = (engine: string, id: string, language: string, isDefault = false) => (
    { engine, id, name: id, language, isDefault }
  );
  const slt = voice("server", "slt", "en-US");
  const kal = voice("server", "kal", "en-US");
  const alloy = voice("server", "alloy", "");
  const us = voice("browser", "us", "en-US");
  const gb = voice("browser", "gb", "en_GB", true);
  const ja = voice("browser", "ja", "ja-JP");
  const cases: [voices: unknown[], picked: string, language: string, preferred: string[], chosen: unknown][] =
    [
      [[us, slt, kal], "auto", "en", [], slt],
      [[us, slt, kal], "server:kal", "en", [], kal],
      [[us, slt, kal], "browser:us", "en", [], us],
      [[slt, ja, us], "server:slt", "ja", [], ja],
      [[slt, us], "auto", "ja", [], undefined],
      [[ja, alloy], "auto", "ja", [], alloy],
      [[us, gb], "auto", "en", [], gb],
      [[gb, us], "auto", "en", ["en-US"], us],
      [[us, ja], "browser:gone", "en", [], us],
      [[], "auto", "en", [], undefined],
    ];
  for (const [voices, picked, language, preferred, chosen] of cases) {
    assertEquals(chooseVoice(voices, picked, language, preferred), chosen);
  }
});

/** Makes samples of a second at a rate. */
function tone(rate: number, hertz: number, amplitude = 0.5, seconds = 1): Float32Array {
  return Float32Array.from(
    { length: rate * seconds },
    (_, index) => amplitude * Math.sin(2 * Math.PI * hertz * index / rate),
  );
}

Deno.test("encodeWav: is a WAV file that the server reads", () => {
  const { rate, samples } = parseWav(encodeWav(Float32Array.of(0, 0.5, -0.5, 2, -2), 16_000));
  assertEquals([rate, ...samples], [16_000, 0, 16_384, -16_383, 32_767, -32_767]);
});

Deno.test("toFloats: reads the server's samples, wherever they lie in a buffer", () => {
  const bytes = Uint8Array.of(9, 0, 0, 0, 0x40, 0, 0x80).subarray(1);
  assertEquals([...toFloats(bytes)], [0, 0.5, -1]);
});

Deno.test("resample: keeps speech, and lets no higher tone through", () => {
  for (const from of [16_000, 22_050, 44_100, 48_000, 96_000]) {
    for (const [hertz, db] of [[200, -9], [1_000, -9], [5_000, -9]] as const) {
      const samples = resample(tone(from, hertz), from, 16_000);
      assertAlmostEquals(samples.length, 16_000, 1);
      assertAlmostEquals(loudnessDb(samples), db, 0.5, `${from} ${hertz}`);
    }
    if (from > 24_000) assert(loudnessDb(resample(tone(from, 11_000), from, 16_000)) < -45, String(from));
  }
});

Deno.test("loudnessDb, opennessOf: silence closes the mouth, speech opens it", () => {
  assertEquals(loudnessDb(new Float32Array(100)), -100);
  assertEquals(opennessOf(loudnessDb(new Float32Array(100))), 0);
  assertEquals(opennessOf(loudnessDb(tone(24_000, 200, 0.9))), 1);
  const middle = opennessOf(loudnessDb(tone(24_000, 200, 0.04)));
  assert(middle > 0.2 && middle < 0.8);
});

const RATE = 16_000;
const FRAME_SAMPLES = RATE * FRAME_MS / 1000;

/** A voice: the vowels of somebody who speaks, with a pause between two words. */
function voiced(seconds: number, amplitude: number): Float32Array {
  return Float32Array.from({ length: RATE * seconds }, (_, index) => {
    const time = index / RATE;
    const isPause = time % 0.5 > 0.4;
    const wave = Math.sin(2 * Math.PI * 140 * time) + 0.5 * Math.sin(2 * Math.PI * 700 * time);
    return isPause ? 0 : amplitude * wave / 1.5;
  });
}

/** Joins sounds over a background of noise, and returns the changes with their times in seconds. */
function detect(sounds: Float32Array[], { noise = 0.0005, isOverVoice = false } = {}): string[] {
  const random = new Random(7);
  const activity = new VoiceActivity();
  const samples = sounds.flatMap((sound) => [...sound]).map((sample) =>
    sample + noise * (random.below(2_001) / 1_000 - 1)
  );
  const changes: string[] = [];
  for (let at = 0; at + FRAME_SAMPLES <= samples.length; at += FRAME_SAMPLES) {
    const change = activity.push(Float32Array.from(samples.slice(at, at + FRAME_SAMPLES)), isOverVoice);
    if (change) changes.push(`${change} ${Math.round(at / RATE)}`);
  }
  return changes;
}

const silence = (seconds: number) => new Float32Array(RATE * seconds);
const clicks = Float32Array.from({ length: RATE * 3 }, (_, index) => index % 4_000 < 80 ? 0.5 : 0);
const hiss = (seconds: number) => {
  const random = new Random(3);
  return Float32Array.from({ length: RATE * seconds }, () => 0.2 * (random.below(2_001) / 1_000 - 1));
};

const TALKS: [name: string, changes: string[], sounds: Float32Array[], options?: object][] = [
  ["silence", [], [silence(3)]],
  ["one talk", ["start 1", "end 4"], [silence(1), voiced(2, 0.1), silence(2)]],
  ["a quiet talk in a quiet room", ["start 1", "end 4"], [silence(1), voiced(2, 0.02), silence(2)]],
  ["two talks", ["start 1", "end 3", "start 5", "end 7"], [
    ...[silence(1), voiced(1, 0.1), silence(3)],
    ...[voiced(1, 0.1), silence(2)],
  ]],
  ["a talk in a noisy room", ["start 3", "end 6"], [silence(3), voiced(2, 0.3), silence(3)], { noise: 0.02 }],
  ["keys of a keyboard", [], [silence(1), clicks, silence(1)]],
  ["the hiss of a fan that starts", [], [silence(1), hiss(5)]],
  ["a talk without an end", ["start 1", "end 31", "start 31"], [silence(1), voiced(31, 0.1)]],
  ["an echo while the character speaks", [], [silence(1), voiced(3, 0.02)], { isOverVoice: true }],
  ["a person who interrupts the character", ["start 1", "end 4"], [silence(1), voiced(2, 0.2), silence(2)], {
    isOverVoice: true,
  }],
];

for (const [name, changes, sounds, options] of TALKS) {
  Deno.test(`VoiceActivity: ${name}`, () => assertEquals(detect(sounds, options), changes));
}

Deno.test("VoiceActivity: a hum that begins and stays comes to an end", () => {
  const hum = tone(RATE, 120, 0.05, 29);
  assertEquals(detect([silence(2), hum])[0], "start 2");
  const [, end = ""] = detect([silence(2), hum]);
  assert(Number(end.split(" ")[1]) < 25, end);
});

/** A reader with a voice that the test lets speak. */
function readerFixture(speaks: (text: string) => boolean = () => true) {
  const pacer = new SpeechPacer();
  const spoken: string[] = [];
  const log: string[] = [];
  let finish = (_problem: string) => {};
  const playback = { progress: 0, openness: 0.5 };
  const voices = {
    canSpeak: true,
    prepare(text: string) {
      log.push(`prepare ${text}`);
      if (!speaks(text)) return undefined;
      return {
        engine: "server",
        play() {
          spoken.push(text);
          playback.progress = 0;
          const { promise: ended, resolve } = Promise.withResolvers<string>();
          finish = resolve;
          return {
            progress: () => playback.progress,
            openness: () => playback.openness,
            stop: () => void log.push(`stop ${text}`),
            ended,
          };
        },
        cancel: () => void log.push(`cancel ${text}`),
      };
    },
    giveUp: (engine: string) => void log.push(`give up ${engine}`),
  };
  const ends: Promise<void>[] = [];
  let onEnd = () => {};
  const reader = createReader({
    pacer,
    voices,
    onSentenceEnd: () => onEnd(),
    onProblem: (problem: string) => void log.push(problem),
  });
  return {
    ...{ pacer, reader, voices, spoken, log, playback, ends },
    /** Ends the sentence that is spoken. */
    async end(problem = "") {
      const { promise, resolve } = Promise.withResolvers<void>();
      onEnd = resolve;
      finish(problem);
      await promise;
    },
  };
}

Deno.test("reader: speaks one sentence after the other, prepares the next one, and moves the captions", async () => {
  const { pacer, reader, spoken, log, playback, end } = readerFixture();
  pacer.setText("One. Two. Thr");
  assertEquals(reader.step(0.03, false), 0.5);
  assertEquals([spoken, log, reader.engine], [["One."], ["prepare One.", "prepare Two."], "server"]);
  playback.progress = 0.5;
  reader.step(0.03, false);
  assertEquals(pacer.position, 2);
  await end();
  assertEquals(pacer.position, 4);
  reader.step(0.03, false);
  assertEquals(spoken, ["One.", "Two."]);
  await end();
  // The third one is not complete: the captions wait for it.
  assertEquals([reader.step(10, false), pacer.position, reader.isReading], [0, 9, true]);
  pacer.setText("One. Two. Three");
  reader.step(0.03, true);
  await end();
  reader.step(0.03, true);
  assertEquals([spoken, pacer.isDone, reader.isReading], [["One.", "Two.", "Three"], true, false]);
});

Deno.test("reader: a long text waits for the voice, and nothing of it is skipped", () => {
  const { pacer, reader, spoken } = readerFixture();
  reader.step(0.03, false);
  pacer.setText("Short words. ".repeat(500));
  reader.step(0.03, false);
  assertEquals([spoken, pacer.position], [["Short words."], 0]);
});

Deno.test("reader: a sentence that no voice speaks moves the captions silently", () => {
  const { pacer, reader, spoken, end: _ } = readerFixture((text) => text !== "你好。");
  pacer.setText("你好。 Hello.");
  assertEquals(reader.step(0.1, true) >= 0, true);
  assertEquals([spoken, reader.engine, reader.isReading], [[], "", true]);
  while (pacer.position < 3) reader.step(0.1, true);
  reader.step(0.1, true);
  assertEquals([spoken, reader.engine], [["Hello."], "server"]);
});

Deno.test("reader: stops at once, and drops what it has prepared", () => {
  const { pacer, reader, spoken, log } = readerFixture();
  pacer.setText("One. Two. Three.");
  reader.step(0.03, true);
  reader.stop();
  assertEquals(log.slice(-2), ["stop One.", "cancel Two."]);
  pacer.skip();
  reader.step(0.03, true);
  assertEquals([reader.engine, spoken, reader.isReading], ["", ["One."], false]);
});

Deno.test("reader: muted in a sentence, the captions go on; unmuted, the voice begins with the word", () => {
  const { pacer, reader, voices, spoken, log, playback } = readerFixture();
  pacer.setText("Alpha beta gamma delta. Last one.");
  reader.step(0.03, true);
  playback.progress = 0.4;
  reader.step(0.03, true);
  voices.canSpeak = false;
  reader.step(0.2, true);
  assertEquals(log.includes("stop Alpha beta gamma delta."), true);
  assertEquals([reader.engine, reader.isReading, pacer.position > 9], ["", false, true]);
  assertEquals(pacer.text.slice(pacer.position).startsWith("amma delta."), true);
  voices.canSpeak = true;
  reader.step(0.03, true);
  assertEquals(spoken, ["Alpha beta gamma delta.", "gamma delta."]);
});

Deno.test("reader: a voice that fails is given up, and the sentence is tried again", async () => {
  const { pacer, reader, spoken, log, end } = readerFixture();
  pacer.setText("One. Two.");
  reader.step(0.03, true);
  await end("The server is gone.");
  assertEquals(log.slice(-3), ["give up server", "cancel Two.", "The server is gone."]);
  reader.step(0.03, true);
  assertEquals(spoken, ["One.", "One."]);
});
