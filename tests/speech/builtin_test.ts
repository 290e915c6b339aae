import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { createBuiltinVoice } from "../../lib/speech/builtin.ts";
import { SPEECH_RATE } from "../../lib/speech/pcm.ts";
import type { SpeechRequest, TextToSpeech } from "../../lib/speech/text_to_speech.ts";
import { parseWav } from "../../lib/speech/wav.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { until } from "../support/harness/server_process.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const NEVER = new AbortController().signal;
/** A sentence that takes a second or more to compute. */
const SLOW: Partial<SpeechRequest> = { text: "w".repeat(60), speed: 0.25 };

function request(fields: Partial<SpeechRequest>): SpeechRequest {
  const defaults = { text: "", voice: undefined, speed: 1, model: undefined, instructions: undefined };
  return { ...defaults, format: "pcm", ...fields };
}

/** Speaks `pcm`. */
async function speak(tts: TextToSpeech, fields: Partial<SpeechRequest>): Promise<Int16Array> {
  return new Int16Array(await new Response(await tts.speak(request(fields), NEVER)).arrayBuffer());
}

/** The loudness of sound, from 0 to 1. */
function loudness(samples: Int16Array): number {
  return Math.sqrt(samples.reduce((sum, sample) => sum + (sample / 0x8000) ** 2, 0) / samples.length);
}

/** Counts the workers that are started. */
function countWorkers(): { readonly started: number; readonly last: Worker | undefined } & Disposable {
  const { Worker } = globalThis;
  const all: InstanceType<typeof Worker>[] = [];
  globalThis.Worker = class extends Worker {
    constructor(...args: ConstructorParameters<typeof Worker>) {
      super(...args);
      all.push(this);
    }
  };
  return {
    get started() {
      return all.length;
    },
    get last() {
      return all.at(-1);
    },
    [Symbol.dispose]: () => void (globalThis.Worker = Worker),
  };
}

Deno.test("the built-in voice: speaks, in each of its voices and at each speed", async () => {
  await using tts = createBuiltinVoice();
  const text = "Good morning! How do you do?";
  const stream = await tts.speak(request({ text, format: "wav" }), NEVER);
  const { rate, samples } = parseWav(await new Response(stream).bytes());
  assertEquals(rate, SPEECH_RATE);
  const secs = samples.length / rate;
  assert(secs > 1 && secs < 4, `${secs} s`);
  assert(loudness(samples) > 0.02, `${loudness(samples)}`);

  const voices = await tts.voices(NEVER);
  assertEquals(voices.map(({ id, language }) => `${id} ${language}`), [
    "slt en-US",
    "rms en-US",
    "awb en-US",
    "kal16 en-US",
  ]);
  const spoken = [];
  for (const { id } of voices) spoken.push(await speak(tts, { text, voice: id }));
  assertEquals(spoken[0], samples);
  for (const [index, sound] of spoken.entries()) {
    assert(loudness(sound) > 0.02, voices[index]!.id);
    if (index > 0) assertNotEquals(sound, spoken[0]);
  }
  for (const voice of ["alloy", "", "../slt"]) {
    assertEquals(await speak(tts, { text, voice }), samples, voice);
  }

  for (
    const [speed, least, most] of [[0.25, 3.2, 4.2], [0.5, 1.7, 2.2], [2, 0.4, 0.6], [4, 0.2, 0.35]] as const
  ) {
    const ratio = (await speak(tts, { text, speed })).length / samples.length;
    assert(ratio > least && ratio < most, `speed ${speed}: ${ratio} times as long`);
  }
});

Deno.test("the built-in voice: reads what stands outside of ASCII as its nearest spelling", async () => {
  await using tts = createBuiltinVoice();
  const cases = [
    ["It’s a “naïve” café…", `It's a "naive" cafe...`],
    ["Yes — no。 Ｗｅｌｌ、fine", "Yes , no. Well, fine"],
    ["Straße 😀 ends", "Strasse ends"],
    ["10² is 10²", "102 is 102"],
    ["It costs €5.50.", "It costs 5.50 euros ."],
    ["Hello 世界!", "Hello !"],
    [`Hello${"…".repeat(200)}`, "Hello..."],
  ] as const;
  for (const [text, spelling] of cases) {
    assertEquals(await speak(tts, { text }), await speak(tts, { text: spelling }), text);
  }
});

Deno.test("the built-in voice: speaks every sentence of a text, and all of one that flite divides", async () => {
  await using tts = createBuiltinVoice();
  const lengthOf = async (text: string) => (await speak(tts, { text })).length;
  const one = await lengthOf("Good morning.");
  const ratio = await lengthOf("Good morning. Good morning. Good morning.") / one;
  assert(ratio > 2.9 && ratio < 3.1, `${ratio}`);
  // Not followed by a space, the ends in it divide it for flite only.
  const divided = await lengthOf("Good morning!Good morning?Good morning.") / one;
  assert(divided > 2 && divided < 3.5, `${divided}`);
});

Deno.test("the built-in voice: refuses a text in another script, and says what to set", async () => {
  await using tts = createBuiltinVoice();
  for (const text of ["你好，世界。", "こんにちは", "안녕하세요", "Привет, мир", "你好世界 OK", "第 1 章"]) {
    const error = await assertRejects(() => tts.speak(request({ text }), NEVER), AppError, "English", text);
    assertEquals([error.code, error.param], ["unsupported_value", "input"]);
    assert(
      error.message.includes("VTUBER_SPEECH_COMMAND") && error.message.includes("VTUBER_SPEECH_BASE_URL"),
    );
  }
});

Deno.test("the built-in voice: its worker starts when the voices are listed, and is the one that speaks", async () => {
  using workers = countWorkers();
  await using tts = createBuiltinVoice();
  assertEquals(workers.started, 0);
  await tts.voices(NEVER);
  await until(() => workers.started === 1);
  await tts.voices(NEVER);
  await speak(tts, { text: "Hello." });
  assertEquals(workers.started, 1);
  // A worker that still starts ends with its voice.
  await using other = createBuiltinVoice();
  await other.voices(NEVER);
  await until(() => workers.started === 2);
});

Deno.test("the built-in voice: a text without words is silence", async () => {
  await using tts = createBuiltinVoice();
  for (const text of ["", "…", "😀!"]) {
    assertEquals(await speak(tts, { text }), new Int16Array(SPEECH_RATE / 10), text);
  }
});

Deno.test("the built-in voice: a worker that fails while it speaks nothing is replaced", async () => {
  using workers = countWorkers();
  await using tts = createBuiltinVoice();
  const expected = await speak(tts, { text: "Hello." });
  workers.last!.dispatchEvent(new ErrorEvent("error", { message: "no memory", cancelable: true }));
  await nextTask();
  assertEquals(await speak(tts, { text: "Hello." }), expected);
  assertEquals(workers.started, 2);
});

Deno.test("the built-in voice: a sentence that takes too long is an error, and the next one is spoken", async () => {
  await using tts = createBuiltinVoice();
  const expected = await speak(tts, { text: "Hello." });
  {
    using clock = new FakeClock();
    const speaking = tts.speak(request(SLOW), NEVER);
    const failing = assertRejects(() => speaking, AppError, "it took longer than 30 seconds");
    await until(() => clock.waits.some((ms) => ms > 29_000 && ms <= 30_000));
    clock.advance(30_001);
    await failing;
  }
  assertEquals(await speak(tts, { text: "Hello." }), expected);
});

Deno.test("the built-in voice: a sentence has 40 seconds of digits at most, and a minute of letters", async () => {
  await using tts = createBuiltinVoice();
  for (const [part, maxSecs] of [["7", 40], ["777777 ", 40], ["w", 60]] as const) {
    const text = part.repeat(Math.ceil(300 / part.length));
    const reader = (await tts.speak(request({ text, voice: "rms", speed: 0.25 }), NEVER)).getReader();
    const { value } = await reader.read();
    const secs = value!.length / 2 / SPEECH_RATE;
    assert(secs > 10 && secs <= maxSecs, `${part}: ${secs} s`);
    await reader.cancel();
  }
});

Deno.test("the built-in voice: the worker ends after ten minutes without speech, and starts again", async () => {
  const terminate = Worker.prototype.terminate;
  let ended = 0;
  Worker.prototype.terminate = function () {
    ended++;
    terminate.call(this);
  };
  try {
    using clock = new FakeClock();
    await using tts = createBuiltinVoice();
    const expected = await speak(tts, { text: "Hello." });
    clock.advance(599_000);
    assertEquals(await speak(tts, { text: "Hello." }), expected);
    clock.advance(599_000);
    assertEquals(ended, 0);
    clock.advance(2_000);
    assertEquals(ended, 1);
    assertEquals(await speak(tts, { text: "Hello." }), expected);
  } finally {
    Worker.prototype.terminate = terminate;
  }
});

Deno.test("the built-in voice: a caller that leaves holds nobody up, and starts no sentence", async () => {
  await using tts = createBuiltinVoice();
  const expected = await speak(tts, { text: "Hello." });
  const leave = new AbortController();
  const left = [SLOW, SLOW, SLOW].map((fields) =>
    assertRejects(() => tts.speak(request(fields), leave.signal), Error, "left")
  );
  const next = speak(tts, { text: "Hello." });
  leave.abort(new Error("left"));
  await Promise.all(left);
  assertEquals(await next, expected);
});

Deno.test("the built-in voice: ends its work when it is disposed of, also before the first sentence", async () => {
  for (const isStarted of [true, false]) {
    const tts = createBuiltinVoice();
    if (isStarted) await speak(tts, { text: "Hello." });
    const failing = assertRejects(() => tts.speak(request(SLOW), NEVER), AppError);
    if (isStarted) await new Promise((resolve) => setTimeout(resolve));
    await tts[Symbol.asyncDispose]();
    assertEquals((await failing).code, "shutting_down");
    await tts[Symbol.asyncDispose]();
  }
});
