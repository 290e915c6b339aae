/** `POST /v1/audio/speech` without a port, with a voice in memory. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { createLog } from "../../lib/core/log.ts";
import { SPEECH_FORMATS } from "../../lib/speech/text_to_speech.ts";
import { openWav } from "../../lib/speech/wav.ts";
import { errorOf, startApp, type TestApp, WriteReader } from "../support/harness/app_harness.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { FakeVoice, VOICE } from "../support/harness/fake_voice.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const speak = (app: TestApp, body: object = {}, options = {}) =>
  app.post("/v1/audio/speech", { input: "Hello.", ...body }, options);

const PASSED: [name: string, body: object, passed: object][] = [
  ["its text", { input: "Hello **there**. [happy] See https://a.example/x" }, { text: "Hello there. See" }],
  ["a voice", { voice: "alloy" }, { voice: "alloy" }],
  ["a voice as an object", { voice: { id: "slt" } }, { voice: "slt" }],
  ["an empty voice", { voice: "" }, { voice: undefined }],
  ["a speed", { speed: 0.25 }, { speed: 0.25 }],
  ["null", { voice: null, speed: null, model: null, instructions: null, response_format: null }, {}],
  ["a model and instructions", { model: "kokoro", instructions: "Whisper." }, {
    model: "kokoro",
    instructions: "Whisper.",
  }],
  ["a format", { response_format: "pcm" }, { format: "pcm" }],
  ["other fields", { pitch: 1, volume: 2, lang: "en" }, {}],
];
for (const [name, body, passed] of PASSED) {
  Deno.test(`speech: what the voice gets: ${name}`, async () => {
    const textToSpeech = new FakeVoice();
    await using app = startApp({ textToSpeech });
    assertEquals((await (await speak(app, body)).text()).slice(0, 5), "Hello");
    assertEquals(textToSpeech.requests, [{
      ...{ text: "Hello.", voice: undefined, speed: 1, format: "wav" },
      ...{ model: undefined, instructions: undefined },
      ...passed,
    }]);
  });
}

const TYPES: [
  asked: string | undefined,
  possible: readonly (typeof SPEECH_FORMATS)[number][],
  type: string,
][] = [
  [undefined, SPEECH_FORMATS, "audio/mpeg"],
  [undefined, ["wav", "pcm"], "audio/wav"],
  ["mp3", SPEECH_FORMATS, "audio/mpeg"],
  ["opus", SPEECH_FORMATS, "audio/ogg"],
  ["aac", SPEECH_FORMATS, "audio/aac"],
  ["flac", SPEECH_FORMATS, "audio/flac"],
  ["wav", ["wav", "pcm"], "audio/wav"],
  ["pcm", ["wav", "pcm"], "audio/pcm"],
];
for (const [asked, possible, type] of TYPES) {
  Deno.test(`speech: ${asked ?? "no format"}, where ${possible.join(", ")} can be made, is ${type}`, async () => {
    const textToSpeech = new FakeVoice(({ format }) => [format], possible);
    await using app = startApp({ textToSpeech });
    const response = await speak(app, { response_format: asked });
    assertEquals(response.headers.get("content-type"), type);
    assertEquals(await response.text(), asked ?? (possible.includes("mp3") ? "mp3" : "wav"));
  });
}

const REFUSED: [body: object, code: string, param: string | null, message?: string][] = [
  [{ input: undefined }, "missing_required_parameter", "input"],
  [{ input: 7 }, "invalid_type", "input"],
  [
    { input: "a".repeat(16_385) },
    "invalid_value",
    "input",
    '"input" is wrong: has more than 16384 characters: send it in parts.',
  ],
  [
    { response_format: "mp3" },
    "unsupported_value",
    "response_format",
    '"response_format" must be one of wav, pcm here. ffmpeg, once it is installed, makes the others.',
  ],
  [
    { response_format: "midi" },
    "unsupported_value",
    "response_format",
    '"response_format" must be one of wav, pcm here.',
  ],
  [{ response_format: 7 }, "invalid_type", "response_format"],
  [{ speed: 0.2 }, "invalid_value", "speed", '"speed" is wrong: must be from 0.25 to 4.'],
  [{ speed: 4.1 }, "invalid_value", "speed", '"speed" is wrong: must be from 0.25 to 4.'],
  [{ speed: "1" }, "invalid_type", "speed"],
  [{ voice: 7 }, "invalid_type", "voice"],
  [{ voice: {} }, "invalid_type", "voice"],
  [{ stream_format: "ndjson" }, "invalid_value", "stream_format"],
];
for (const [body, code, param, message] of REFUSED) {
  Deno.test(`speech: refuses ${JSON.stringify(body).slice(0, 60)}`, async () => {
    const textToSpeech = new FakeVoice();
    await using app = startApp({ textToSpeech });
    const error = await errorOf(await speak(app, body));
    assertEquals([error.status, error.code, error.param], [400, code, param]);
    if (message) assertEquals(error.message, message);
    assertEquals(textToSpeech.requests, []);
  });
}

Deno.test("speech: texts with nothing to say are a short silence in every format", async () => {
  const textToSpeech = new FakeVoice(undefined, SPEECH_FORMATS);
  await using app = startApp({ textToSpeech });
  const magic = {
    mp3: [0xff, 0xf3],
    opus: "OggS",
    aac: [0xff, 0xf1],
    flac: "fLaC",
    wav: "RIFF",
    pcm: [0, 0],
  };
  for (const input of ["", "[happy]", "```js\nx\n```", "https://a.example"]) {
    for (const response_format of SPEECH_FORMATS) {
      const response = await speak(app, { input, response_format });
      assertEquals(response.status, 200);
      const bytes = await response.bytes();
      const expected = magic[response_format];
      const start = typeof expected === "string" ? [...new TextEncoder().encode(expected)] : expected;
      assertEquals([...bytes.slice(0, start.length)], start, response_format);
      if (response_format === "wav") assertEquals(openWav(bytes).length, 2_400);
    }
  }
  assertEquals(textToSpeech.requests, []);
});

Deno.test("speech: the head and the first sound leave before the rest is made, and a slow reader slows down the voice", async () => {
  const { promise: goOn, resolve } = Promise.withResolvers<void>();
  let made = 0;
  const textToSpeech = new FakeVoice(async function* () {
    yield "first";
    await goOn;
    for (; made < 1_000; made++) yield "more";
  });
  await using app = startApp({ textToSpeech });
  const response = await speak(app);
  // Proxies must not wait for the whole sound either.
  const names = ["content-length", "cache-control", "x-accel-buffering"];
  assertEquals(names.map((name) => response.headers.get(name)), [null, "no-cache, no-transform", "no"]);
  await using reader = new WriteReader(response);
  assertEquals(await reader.next(), "first");
  resolve();
  assertEquals([await reader.next(), await reader.next()], ["more", "more"]);
  assert(made < 10, `${made} pieces were made for a reader of two`);
  assertEquals((await reader.rest()).length, 998 * "more".length);
});

Deno.test("speech: a client that hangs up ends the voice", async () => {
  const ended = Promise.withResolvers<void>();
  const textToSpeech = new FakeVoice(async function* () {
    try {
      for (;;) yield await Promise.resolve("la ");
    } finally {
      ended.resolve();
    }
  });
  await using app = startApp({ textToSpeech });
  for (const stream_format of ["audio", "sse"]) {
    const reader = new WriteReader(await speak(app, { stream_format }));
    await reader.next();
    await reader.cancel();
  }
  await ended.promise;
});

Deno.test("speech: a text whose sound nobody takes for five minutes ends, and a slow voice does not", async () => {
  using clock = new FakeClock();
  const [ended, slow] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const textToSpeech = new FakeVoice(async function* () {
    try {
      yield "first";
      await slow.promise;
      for (;;) yield await Promise.resolve("la ");
    } finally {
      ended.resolve();
    }
  });
  await using app = startApp({ textToSpeech });
  const reader = (await speak(app)).body!.getReader();
  await reader.read();
  clock.advance(200_000);
  const second = reader.read();
  await nextTask();
  clock.advance(301_000);
  await nextTask();
  slow.resolve();
  assertEquals(new TextDecoder().decode((await second).value), "la ");
  clock.advance(301_000);
  await ended.promise;
  await assertRejects(() => reader.read(), Error, "Nobody took the sound for 5 minutes.");
  assertEquals(clock.waits.filter((ms) => ms > 200_000 && ms <= 300_000), []);
});

Deno.test("speech: a client that hangs up before the first sound ends the voice", async () => {
  const stop = new AbortController();
  const textToSpeech = new FakeVoice(async function* (_request, signal) {
    stop.abort();
    await Promise.resolve();
    signal.throwIfAborted();
    yield "never";
  });
  await using app = startApp({ textToSpeech });
  assertEquals((await speak(app, {}, { signal: stop.signal })).status, 499);
});

Deno.test("speech: as events", async () => {
  const sound = "x".repeat(30_000);
  const textToSpeech = new FakeVoice(() => ["first ", "", sound]);
  await using app = startApp({ textToSpeech });
  const response = await speak(app, { input: "Hello there, you.", stream_format: "sse" });
  assertEquals(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const events = (await response.text()).split("\n\n").filter((event) => event !== "").map((event) => {
    const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(event)!;
    return { name, data: JSON.parse(data!) };
  });
  const last = events.pop();
  const usage = { input_tokens: 5, output_tokens: 0, total_tokens: 5 };
  assertEquals(last, { name: "speech.audio.done", data: { type: "speech.audio.done", usage } });
  assertEquals(events.map(({ name }) => name), Array(3).fill("speech.audio.delta"));
  assertEquals(events.map(({ data: { audio } }) => atob(audio)).join(""), `first ${sound}`);
});

Deno.test("speech: a voice that fails before its first sound is a status", async () => {
  const textToSpeech = new FakeVoice(async function* () {
    await Promise.reject(new AppError("rate_limit_exceeded", "Too much to say.", { retryAfterSecs: 2 }));
    yield "";
  });
  await using app = startApp({ textToSpeech });
  for (const stream_format of ["audio", "sse"]) {
    const response = await speak(app, { stream_format });
    assertEquals(response.headers.get("retry-after"), "2");
    const { status, code, message } = await errorOf(response);
    assertEquals([status, code, message], [429, "rate_limit_exceeded", "Too much to say."]);
  }
});

Deno.test("speech: a voice that breaks off breaks off the sound, is an event, and is logged without the words", async () => {
  const lines: string[] = [];
  const log = createLog({ level: "debug", pretty: false, secrets: [], write: (line) => lines.push(line) });
  const textToSpeech = new FakeVoice(async function* () {
    yield "first";
    await Promise.reject(new AppError("upstream_timeout", "The voice is late."));
  });
  await using app = startApp({ textToSpeech, log });
  const input = "My dear diary.";
  const sound = await speak(app, { input });
  await assertRejects(() => sound.text(), AppError, "The voice is late.");
  const events = await (await speak(app, { input, stream_format: "sse" })).text();
  const [, event] = events.trim().split("\n\n");
  const error = {
    message: "The voice is late.",
    type: "server_error",
    param: null,
    code: "upstream_timeout",
  };
  assertEquals(event, `event: error\ndata: ${JSON.stringify({ error })}`);
  const text = lines.join("\n");
  assertEquals(text.match(/the voice broke off/g)?.length, 2);
  assert(!text.includes("diary"), text);
});

Deno.test("speech: the lists of voices and models", async () => {
  await using app = startApp({ textToSpeech: new FakeVoice() });
  assertEquals(await (await app.get("/v1/audio/voices")).json(), { voices: [VOICE] });
  assertEquals(await (await app.get("/v1/audio/models")).json(), {
    models: [{ id: "tts-1", name: "tts-1" }],
  });
});

Deno.test("speech: turned off is final, and names the setting", async () => {
  await using app = startApp();
  const requests = [speak(app), app.get("/v1/audio/voices"), app.get("/v1/audio/models")];
  for (const response of await Promise.all(requests)) {
    assertEquals(response.headers.get("x-should-retry"), "false");
    const { status, code, message } = await errorOf(response);
    assertEquals([status, code], [501, "not_configured"]);
    assert(message.includes("VTUBER_SPEECH_PROVIDER"), message);
  }
});

Deno.test("speech: the voice ends with the server", async () => {
  const textToSpeech = new FakeVoice();
  await startApp({ textToSpeech })[Symbol.asyncDispose]();
  assert(textToSpeech.isDisposed);
});

Deno.test("speech: its time is measured", async () => {
  const textToSpeech = new FakeVoice(async function* ({ text }) {
    if (text === "fail") await Promise.reject(new AppError("upstream_error", "no"));
    yield "a";
    if (text === "break") await Promise.reject(new AppError("upstream_error", "no"));
    yield "b";
  });
  await using app = startApp({ textToSpeech });
  await (await speak(app)).text();
  await (await speak(app, { input: "fail" })).text();
  await (await speak(app, { input: "break" })).text().catch(() => {});
  await (await speak(app)).body!.cancel();
  const metrics = await (await app.get("/metrics")).text();
  const count = (name: string) =>
    Number(metrics.split("\n").find((line) => line.startsWith(name))?.split(" ")[1]);
  assertEquals(count("time_to_first_audio_seconds_count"), 3);
  const ends = ["", "upstream_error", "cancelled"].map((end) =>
    count(`tts_request_duration_seconds_count{error_type="${end}"}`)
  );
  assertEquals(ends, [1, 2, 1]);
});

Deno.test("speech: texts that fail do not count for their key", async () => {
  const textToSpeech = new FakeVoice(async function* ({ text }) {
    if (text === "fail") await Promise.reject(new AppError("upstream_error", "no"));
    yield "a";
    if (text === "break") await Promise.reject(new AppError("upstream_error", "no"));
  });
  await using app = startApp({ textToSpeech, access: { keys: [apiKey("a")] } });
  for (let i = 0; i < 16; i++) {
    for (const input of ["fail", "break", ""]) {
      await (await speak(app, { input }, withKey("a"))).text().catch(() => {});
    }
  }
  assertEquals(await (await speak(app, {}, withKey("a"))).text(), "a");
});

Deno.test("speech: a key speaks 16 texts at once, and others go on", async () => {
  const isOver = Promise.withResolvers<void>();
  const textToSpeech = new FakeVoice(async function* () {
    yield "first";
    await isOver.promise;
  });
  await using app = startApp({ textToSpeech, access: { keys: [apiKey("a"), apiKey("b")] } });
  const running = await Promise.all(Array.from({ length: 16 }, () => speak(app, {}, withKey("a"))));
  const refused = await speak(app, {}, withKey("a"));
  assertEquals([refused.status, refused.headers.get("retry-after")], [429, "5"]);
  await refused.text();
  const other = await speak(app, {}, withKey("b"));
  assertEquals(other.status, 200);
  await running[0]!.body!.cancel();
  running.push(other, await speak(app, {}, withKey("a")));
  assertEquals(running.at(-1)!.status, 200);
  isOver.resolve();
  await Promise.all(running.slice(1).map((response) => response.text()));
});
