import { assertEquals, assertRejects } from "@std/assert";
import { abortable } from "../../lib/core/abortable.ts";
import { AppError } from "../../lib/core/errors.ts";
import { MAX_TEXTS, type SentenceVoice, speakBySentences } from "../../lib/speech/by_sentence.ts";
import { SPEECH_RATE } from "../../lib/speech/pcm.ts";
import type { SpeechRequest } from "../../lib/speech/text_to_speech.ts";
import { parseWav, toBytes, wavHeader } from "../../lib/speech/wav.ts";

const NEVER = new AbortController().signal;
const THREE = "One. Two. Three.";

/** A voice whose sentences a test ends. The sound of a sentence is its number of characters, once. */
class FakeVoice implements SentenceVoice {
  /** The sentences that were begun, in order. */
  readonly begun: string[] = [];
  readonly signals: AbortSignal[] = [];
  #change = Promise.withResolvers<void>();
  isDisposed = false;

  constructor(readonly speak: (sentence: string) => number[] | Promise<number[]> = (s) => [s.length]) {}

  voices() {
    return Promise.resolve([{ id: "fake", name: "Fake", language: "en-US" }]);
  }

  async speakSentence(text: string, _manner: unknown, signal: AbortSignal) {
    this.begun.push(text);
    this.signals.push(signal);
    this.#change.resolve();
    this.#change = Promise.withResolvers();
    const samples = await abortable(Promise.resolve(this.speak(text)), signal);
    return { rate: SPEECH_RATE, samples: new Int16Array(samples) };
  }

  /** Resolves once so many sentences were begun. */
  async untilBegun(count: number): Promise<void> {
    while (this.begun.length < count) await this.#change.promise;
  }

  [Symbol.asyncDispose]() {
    this.isDisposed = true;
    return Promise.resolve();
  }
}

function request(text: string, format: "pcm" | "wav" = "pcm"): SpeechRequest {
  return { text, format, voice: undefined, speed: 1, model: undefined, instructions: undefined };
}

/** Reads the samples of a stream of `pcm`. */
async function samplesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<number[]> {
  return [...new Int16Array(await new Response(stream).arrayBuffer())];
}

/** Runs what is ready to run, so that a sentence that should not begin had its chance. */
const settle = () => new Promise((resolve) => setTimeout(resolve));

for (
  const [name, text, spoken, expected] of [
    ["the sentences in order", THREE, ["One.", "Two.", "Three."], [4, 4, 6]],
    ["silence if there is nothing to speak", " ... ", [], Array(2_400).fill(0)],
    ["silence for an empty text", "", [], Array(2_400).fill(0)],
  ] as const
) {
  Deno.test(`speakBySentences: pcm is ${name}`, async () => {
    const voice = new FakeVoice();
    assertEquals(await samplesOf(await speakBySentences(voice).speak(request(text), NEVER)), [...expected]);
    assertEquals(voice.begun, [...spoken]);
  });
}

Deno.test("speakBySentences: leaves out sentences without sound, and is silent if none has", async () => {
  const tts = speakBySentences(new FakeVoice((sentence) => sentence === "Two." ? [2] : []));
  assertEquals(await samplesOf(await tts.speak(request(THREE), NEVER)), [2]);
  assertEquals((await samplesOf(await tts.speak(request("One."), NEVER))).length, 2_400);
});

Deno.test("speakBySentences: wav has the header of an unknown length first", async () => {
  const stream = await speakBySentences(new FakeVoice()).speak(request(THREE, "wav"), NEVER);
  const bytes = await new Response(stream).bytes();
  assertEquals(bytes.slice(0, 44), wavHeader(SPEECH_RATE));
  assertEquals(parseWav(bytes), { rate: SPEECH_RATE, samples: new Int16Array([4, 4, 6]) });
});

Deno.test("speakBySentences: makes sound of another rate 24,000 Hz", async () => {
  const voice: SentenceVoice = {
    voices: () => Promise.resolve([]),
    speakSentence: () => Promise.resolve({ rate: 16_000, samples: new Int16Array(1_600) }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  assertEquals((await samplesOf(await speakBySentences(voice).speak(request("One."), NEVER))).length, 2_400);
});

Deno.test("speakBySentences: speaks the first sentence before the second is made, and one ahead of the reader", async () => {
  const second = Promise.withResolvers<number[]>();
  const voice = new FakeVoice((sentence) => sentence === "Two." ? second.promise : [1]);
  const stream = await speakBySentences(voice).speak(request("One. Two. Three. Four."), NEVER);
  const reader = stream.getReader();
  assertEquals((await reader.read()).value, toBytes(new Int16Array([1])));
  second.resolve([2]);
  await settle();
  assertEquals(voice.begun, ["One.", "Two."], "nobody has asked for the second sentence");
  assertEquals((await reader.read()).value, toBytes(new Int16Array([2])));
  await voice.untilBegun(3);
  await settle();
  assertEquals(voice.begun, ["One.", "Two.", "Three."]);
  await reader.cancel();
});

for (const how of ["the reader cancels", "the signal aborts"] as const) {
  Deno.test(`speakBySentences: ends the work if ${how}`, async () => {
    const voice = new FakeVoice((sentence) => sentence === "Two." ? new Promise(() => {}) : [1]);
    const leave = new AbortController();
    const stream = await speakBySentences(voice).speak(request(THREE), leave.signal);
    await voice.untilBegun(2);
    if (how === "the reader cancels") {
      await stream.cancel();
    } else {
      leave.abort(new Error("hung up"));
      const reader = stream.getReader();
      await reader.read();
      await assertRejects(() => reader.read(), Error, "hung up");
    }
    assertEquals(voice.signals.map(({ aborted }) => aborted), [true, true]);
    await settle();
    assertEquals(voice.begun, ["One.", "Two."]);
  });
}

Deno.test("speakBySentences: rejects if the first sentence fails, errors the stream if a later one does", async () => {
  const fail = (failing: string) => (sentence: string) => {
    if (sentence === failing) throw new AppError("upstream_error", `cannot speak ${sentence}`);
    return [1];
  };
  const first = speakBySentences(new FakeVoice(fail("One.")));
  await assertRejects(() => first.speak(request(THREE), NEVER), AppError, "cannot speak One.");
  const voice = new FakeVoice(fail("Two."));
  const reader = (await speakBySentences(voice).speak(request(THREE), NEVER)).getReader();
  assertEquals((await reader.read()).value, toBytes(new Int16Array([1])));
  await assertRejects(() => reader.read(), AppError, "cannot speak Two.");
  await settle();
  assertEquals(voice.begun, ["One.", "Two."]);
});

Deno.test("speakBySentences: a minute of a sentence is heard, and the rest of the sentence is left out", async () => {
  const minute = 60 * SPEECH_RATE;
  const voice = new FakeVoice((sentence) => Array(sentence === "Two." ? minute + 1 : 1).fill(7));
  const samples = await samplesOf(await speakBySentences(voice).speak(request(THREE), NEVER));
  assertEquals(samples.length, minute + 2);
});

Deno.test("speakBySentences: a slow voice gets shorter sentences", async () => {
  for (const [speed, longest] of [[0.25, 62], [0.5, 125], [1, 250], [4, 250]] as const) {
    const voice = new FakeVoice();
    const speaking = speakBySentences(voice).speak({ ...request("x".repeat(1_000)), speed }, NEVER);
    await samplesOf(await speaking);
    assertEquals(voice.begun[0]!.length, longest);
    assertEquals(voice.begun.join("").length, 1_000);
  }
});

Deno.test("speakBySentences: makes two sentences at once, or as many as the voice can", async () => {
  for (const [sentencesAtOnce, begun] of [[undefined, 2], [1, 1], [3, 3]] as const) {
    const go = Promise.withResolvers<number[]>();
    const voice = new FakeVoice(() => go.promise);
    const tts = speakBySentences(voice, sentencesAtOnce);
    const opening = ["A.", "B.", "C."].map((text) => tts.speak(request(text), NEVER));
    await voice.untilBegun(begun);
    await settle();
    assertEquals(voice.begun.length, begun);
    go.resolve([7]);
    for (const stream of opening) assertEquals(await samplesOf(await stream), [7]);
  }
});

Deno.test("speakBySentences: a text beyond the limit is refused until another one has ended", async () => {
  const tts = speakBySentences(new FakeVoice());
  const speak = () => tts.speak(request(THREE), NEVER);
  const streams = await Promise.all(Array.from({ length: MAX_TEXTS }, speak));
  const error = await assertRejects(speak, AppError);
  assertEquals([error.code, error.retryAfterSecs], ["rate_limit_exceeded", 5]);
  await new Response(streams.pop()).arrayBuffer();
  await streams.pop()!.cancel();
  streams.push(await speak(), await speak());
  await assertRejects(speak, AppError);
  for (const stream of streams) await stream.cancel();
});

Deno.test("speakBySentences: callers that leave at once keep no text from being spoken", async () => {
  const tts = speakBySentences(new FakeVoice());
  for (let count = 0; count <= MAX_TEXTS; count++) {
    const leave = new AbortController();
    const speaking = tts.speak(request(THREE), leave.signal);
    leave.abort(new Error("left"));
    await assertRejects(() => speaking, Error, "left");
  }
  assertEquals(await samplesOf(await tts.speak(request("One."), NEVER)), [4]);
});

Deno.test("speakBySentences: has the voices, and ends the voice", async () => {
  const voice = new FakeVoice();
  const tts = speakBySentences(voice);
  assertEquals((await tts.voices(NEVER)).map(({ id }) => id), ["fake"]);
  await tts[Symbol.asyncDispose]();
  assertEquals(voice.isDisposed, true);
});
