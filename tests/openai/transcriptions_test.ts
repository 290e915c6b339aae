/** `POST /v1/audio/transcriptions` without a port, with a recognizer in memory. */

import { assert, assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import type { Transcript } from "../../lib/speech/speech_to_text.ts";
import { encodeWav } from "../../lib/speech/wav.ts";
import { errorOf, startApp, type TestApp, WriteReader } from "../support/harness/app_harness.ts";
import { FakeRecognizer, transcript } from "../support/harness/fake_voice.ts";

/** A recording of 1.5 seconds. */
const WAV = encodeWav({ rate: 16_000, samples: new Int16Array(24_000) });

/** A form with a recording and these fields. */
function form(fields: Record<string, string | readonly string[]> = {}, ...files: File[]): FormData {
  const body = new FormData();
  for (const file of files.length > 0 ? files : [new File([WAV], "a.wav")]) body.append("file", file);
  for (const [name, values] of Object.entries(fields)) {
    for (const value of [values].flat()) body.append(name, value);
  }
  return body;
}

function transcribe(app: TestApp, body: FormData, signal?: AbortSignal): Promise<Response> {
  return app.send("/v1/audio/transcriptions", { method: "POST", body, ...signal && { signal } });
}

const SEGMENTS = [{ start: 0, end: 1.25, text: " Hello" }, {
  start: 3661.5,
  end: 3662.0004,
  text: " there.\n\n1 --> 2",
}];
const WORDS = [{ start: 0, end: 0.4, text: "Hello" }];
const TIMED = transcript({ language: "en", durationSecs: 1.2, segments: SEGMENTS, words: WORDS });
const neutral = {
  ...{ seek: 0, tokens: [], temperature: 0 },
  ...{ avg_logprob: 0, compression_ratio: 1, no_speech_prob: 0 },
};
const usage = (seconds: number) => ({ usage: { type: "duration", seconds } });
const SUBTITLES = "Hello\n\n", THERE = "there.\n1 → 2\n\n";

const WRITTEN: [
  name: string,
  heard: Transcript,
  fields: Parameters<typeof form>[0],
  type: string,
  body: unknown,
][] = [
  ["json", TIMED, {}, "application/json", { text: "Hello there.", ...usage(2) }],
  ["json of a recording that nobody has measured", transcript(), {}, "application/json", {
    text: "Hello there.",
  }],
  ["text", TIMED, { response_format: "text" }, "text/plain; charset=utf-8", "Hello there.\n"],
  ["verbose_json", TIMED, { response_format: "verbose_json" }, "application/json", {
    ...{ task: "transcribe", language: "english", duration: 1.2, text: "Hello there." },
    segments: SEGMENTS.map((segment, id) => ({ id, ...segment, ...neutral })),
    ...usage(2),
  }],
  [
    "verbose_json with words",
    TIMED,
    {
      response_format: "verbose_json",
      "timestamp_granularities[]": "word",
    },
    "application/json",
    {
      ...{ task: "transcribe", language: "english", duration: 1.2, text: "Hello there." },
      words: [{ word: "Hello", start: 0, end: 0.4 }],
      ...usage(2),
    },
  ],
  [
    "verbose_json without times",
    transcript({ language: "klingon" }),
    {
      response_format: "verbose_json",
      "timestamp_granularities[]": ["word", "segment"],
    },
    "application/json",
    {
      ...{ task: "transcribe", language: "klingon", duration: 1, text: "Hello there." },
      segments: [{ id: 0, start: 0, end: 1, text: "Hello there.", ...neutral }],
      ...usage(1),
    },
  ],
  [
    "verbose_json of silence",
    transcript({ text: "" }),
    { response_format: "verbose_json" },
    "application/json",
    {
      ...{ task: "transcribe", language: "unknown", duration: 0, text: "", segments: [] },
      ...usage(0),
    },
  ],
  [
    "srt",
    TIMED,
    { response_format: "srt" },
    "text/plain; charset=utf-8",
    `1\n00:00:00,000 --> 00:00:01,250\n${SUBTITLES}2\n01:01:01,500 --> 01:01:02,000\n${THERE}`,
  ],
  [
    "vtt",
    TIMED,
    { response_format: "vtt" },
    "text/vtt; charset=utf-8",
    `WEBVTT\n\n00:00:00.000 --> 00:00:01.250\n${SUBTITLES}01:01:01.500 --> 01:01:02.000\n${THERE}`,
  ],
  [
    "srt without times",
    transcript(),
    { response_format: "srt" },
    "text/plain; charset=utf-8",
    "1\n00:00:00,000 --> 00:00:01,000\nHello there.\n\n",
  ],
  [
    "vtt of silence",
    transcript({ text: " " }),
    { response_format: "vtt" },
    "text/vtt; charset=utf-8",
    "WEBVTT\n\n",
  ],
];
for (const [name, heard, fields, type, body] of WRITTEN) {
  Deno.test(`transcriptions: ${name}`, async () => {
    await using app = startApp({ speechToText: new FakeRecognizer(() => heard) });
    const response = await transcribe(app, form(fields));
    assertEquals([response.status, response.headers.get("content-type")], [200, type]);
    assertEquals(typeof body === "string" ? await response.text() : await response.json(), body);
  });
}

const PASSED: [name: string, fields: Parameters<typeof form>[0], passed: object][] = [
  ["nothing", {}, {}],
  ["all fields", { model: "whisper-1", language: "en", prompt: "Mao", temperature: "0.2" }, {
    ...{ model: "whisper-1", language: "en", prompt: "Mao", temperature: 0.2 },
  }],
  ["empty fields", { model: "", language: "", prompt: " ", temperature: "", response_format: "" }, {}],
  ["the language auto", { language: "auto" }, {}],
  ["other fields", { "include[]": "logprobs", chunking_strategy: "auto", user: "mao" }, {}],
  ["times of subtitles", { response_format: "srt", "timestamp_granularities[]": "word" }, {
    times: ["segment"],
  }],
  ["times by their older name", { response_format: "verbose_json", timestamp_granularities: "word" }, {
    times: ["word"],
  }],
  ["the last value of a repeated field", { model: ["a", "b"] }, { model: "b" }],
];
for (const [name, fields, passed] of PASSED) {
  Deno.test(`transcriptions: what the recognizer gets: ${name}`, async () => {
    const speechToText = new FakeRecognizer();
    await using app = startApp({ speechToText });
    assertEquals((await transcribe(app, form(fields))).status, 200);
    const [request] = speechToText.requests;
    const told = Object.entries(request!).filter(([, value]) => value !== undefined);
    assertEquals(Object.fromEntries(told), { audio: WAV, filename: "a.wav", times: [], ...passed });
  });
}

const EMPTY = new File([], "a.wav"), SOUND = new File(["a"], "a.ogg");
const REFUSED: [name: string, body: FormData, code: string, param: string, message?: string][] = [
  [
    "no file",
    (() => {
      const body = form({ model: "a" });
      body.delete("file");
      return body;
    })(),
    "missing_required_parameter",
    "file",
    '"file" is required: send a file.',
  ],
  [
    "a file as text",
    (() => {
      const body = form();
      body.set("file", "abc");
      return body;
    })(),
    "invalid_value",
    "file",
    '"file" must be a file: send it with a filename.',
  ],
  [
    "two files",
    form({}, SOUND, SOUND),
    "invalid_value",
    "file",
    '"file" must be one file, not several.',
  ],
  ["an empty file", form({}, EMPTY), "invalid_value", "file", '"file" is empty.'],
  [
    "diarized_json",
    form({ response_format: "diarized_json" }),
    "unsupported_value",
    "response_format",
    '"response_format" must be one of json, text, verbose_json, srt, vtt here.',
  ],
  [
    "a temperature",
    form({ temperature: "warm" }),
    "invalid_type",
    "temperature",
    '"temperature" is wrong: must be a number.',
  ],
  [
    "a temperature that is too high",
    form({ temperature: "2" }),
    "invalid_value",
    "temperature",
    '"temperature" is wrong: must be from 0 to 1.',
  ],
  ["a stream that is neither", form({ stream: "maybe" }), "invalid_value", "stream"],
  [
    "streamed subtitles",
    form({ stream: "true", response_format: "srt" }),
    "unsupported_value",
    "stream",
    '"stream" cannot be true with srt: send json or text in "response_format".',
  ],
  [
    "other times",
    form({ "timestamp_granularities[]": "letter" }),
    "invalid_value",
    "timestamp_granularities[0]",
  ],
  ["a long language", form({ language: "a".repeat(33) }), "invalid_value", "language"],
];
for (const [name, body, code, param, message] of REFUSED) {
  Deno.test(`transcriptions: refuses ${name}`, async () => {
    const speechToText = new FakeRecognizer();
    await using app = startApp({ speechToText });
    const error = await errorOf(await transcribe(app, body));
    assertEquals([error.status, error.code, error.param], [400, code, param]);
    if (message) assertEquals(error.message, message);
    assertEquals(speechToText.requests, []);
  });
}

Deno.test("transcriptions: 25 MB are read, and more are refused", async () => {
  await using app = startApp({ speechToText: new FakeRecognizer() });
  const size = 25 * 1024 * 1024;
  assertEquals((await transcribe(app, form({}, new File([new Uint8Array(size)], "a.mp3")))).status, 200);
  const larger = form({}, new File([new Uint8Array(size + 1)], "a.mp3"));
  const announced = app.send("/v1/audio/transcriptions", {
    method: "POST",
    headers: { "content-type": "multipart/form-data; boundary=b", "content-length": "30000000" },
    body: "--b\r\n",
  });
  for (const response of await Promise.all([transcribe(app, larger), announced])) {
    const error = await errorOf(response);
    assertEquals([error.status, error.code, error.param, error.message], [
      ...[413, "body_too_large", "file"],
      '"file" is larger than 25 MiB: send it in parts.',
    ]);
  }
});

/** The names and the data of events. */
function eventsOf(text: string) {
  return text.split("\n\n").filter((event) => event !== "").map((event) => {
    const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(event)!;
    return { name, ...JSON.parse(data!) };
  });
}
const delta = (delta: string) => ({ name: "transcript.text.delta", type: "transcript.text.delta", delta });
const done = (text: string, tokens: number) => ({
  ...{ name: "transcript.text.done", type: "transcript.text.done", text },
  usage: { type: "tokens", input_tokens: 0, output_tokens: tokens, total_tokens: tokens },
});

Deno.test("transcriptions: streams pieces as they are found", async () => {
  const { promise: goOn, resolve } = Promise.withResolvers<void>();
  const speechToText = new FakeRecognizer(async (_request, _signal, onText) => {
    onText!("Hello ");
    await goOn;
    onText!("there.");
    return transcript();
  });
  await using app = startApp({ speechToText });
  const response = await transcribe(app, form({ stream: "true" }));
  assertEquals(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  await using reader = new WriteReader(response);
  assertEquals(eventsOf((await reader.next())!), [delta("Hello ")]);
  resolve();
  assertEquals(eventsOf(await reader.rest()), [delta("there."), done("Hello there.", 3)]);
});

const STREAMED: [name: string, text: string, events: object[]][] = [
  ["a recognizer that finds no pieces", "Hello there.", [delta("Hello there."), done("Hello there.", 3)]],
  ["silence", "", [done("", 1)]],
];
for (const [name, text, events] of STREAMED) {
  Deno.test(`transcriptions: streams ${name}`, async () => {
    await using app = startApp({ speechToText: new FakeRecognizer(() => transcript({ text })) });
    const response = await transcribe(app, form({ stream: "true", response_format: "text" }));
    assertEquals(eventsOf(await response.text()), events);
  });
}

Deno.test("transcriptions: a recognizer that fails is a status, and after the first piece an event", async () => {
  const fail = new AppError("upstream_timeout", "The recognizer is late.");
  const speechToText = new FakeRecognizer(async ({ prompt }, _signal, onText) => {
    if (prompt === "late") onText!("Hello");
    await Promise.resolve();
    throw fail;
  });
  await using app = startApp({ speechToText });
  for (const stream of ["true", "false"]) {
    const error = await errorOf(await transcribe(app, form({ stream })));
    assertEquals([error.status, error.code, error.message], [504, fail.code, fail.message]);
  }
  const events = eventsOf(await (await transcribe(app, form({ stream: "true", prompt: "late" }))).text());
  const error = { message: fail.message, type: "server_error", param: null, code: fail.code };
  assertEquals(events, [delta("Hello"), { name: "error", error }]);
  const metrics = await (await app.get("/metrics")).text();
  assert(metrics.includes('stt_request_duration_seconds_count{error_type="upstream_timeout"} 3'), metrics);
  assert(metrics.includes("sse_streams 0"), metrics);
});

const UNREADABLE: [error: AppError, param: string][] = [
  [new AppError("unsupported_value", "The recording cannot be decoded."), "file"],
  [new AppError("body_too_large", "The recording is longer than 60 minutes."), "file"],
  [new AppError("missing_required_parameter", '"model" is required.', { param: "model" }), "model"],
];
for (const [failure, param] of UNREADABLE) {
  Deno.test(`transcriptions: "${failure.message}" names the field ${param}`, async () => {
    const speechToText = new FakeRecognizer(() => Promise.reject(failure));
    await using app = startApp({ speechToText });
    for (const stream of ["true", "false"]) {
      const error = await errorOf(await transcribe(app, form({ stream })));
      assertEquals([error.code, error.param, error.message], [failure.code, param, failure.message]);
    }
  });
}

Deno.test("transcriptions: a client that hangs up ends the work", async () => {
  for (const stream of ["true", "false"]) {
    const stop = new AbortController();
    const speechToText = new FakeRecognizer((_request, signal) => {
      stop.abort();
      signal.throwIfAborted();
      return transcript();
    });
    await using app = startApp({ speechToText });
    assertEquals((await transcribe(app, form({ stream }), stop.signal)).status, 499);
  }
});

Deno.test("transcriptions: not configured is final, and names the settings", async () => {
  await using app = startApp();
  const response = await transcribe(app, form());
  assertEquals(response.headers.get("x-should-retry"), "false");
  const { status, code, message } = await errorOf(response);
  assertEquals([status, code], [501, "not_configured"]);
  for (const name of ["[transcription]", "VTUBER_TRANSCRIPTION_COMMAND", "VTUBER_TRANSCRIPTION_BASE_URL"]) {
    assert(message.includes(name), message);
  }
});
