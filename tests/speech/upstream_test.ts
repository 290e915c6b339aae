/** The upstream provider in front of a server on this machine. */

import { assertEquals, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { recordingOf, type TranscriptionOptions } from "../../lib/speech/speech_to_text.ts";
import { SPEECH_FORMATS, type SpeechFormat, type SpeechRequest } from "../../lib/speech/text_to_speech.ts";
import {
  upstreamSpeech,
  type UpstreamSpeechConfig,
  upstreamTranscription,
  type UpstreamTranscriptionConfig,
} from "../../lib/speech/upstream.ts";
import { encodeWav } from "../../lib/speech/wav.ts";
import { FakeUpstream, sound, type UpstreamScript } from "../support/harness/fake_upstream.ts";

const { signal } = new AbortController();

/** Speaks with a server that answers as a script says. */
async function speak(
  script: UpstreamScript,
  request: Partial<SpeechRequest> = {},
  config: Partial<UpstreamSpeechConfig> = {},
) {
  await using server = new FakeUpstream(script);
  const voice = upstreamSpeech({
    baseUrl: server.url,
    key: undefined,
    model: undefined,
    voices: [],
    ...config,
  });
  const speech = await voice.speak({
    ...{ text: "Hello.", voice: undefined, speed: 1, format: "mp3", model: "tts-1", instructions: undefined },
    ...request,
  }, signal);
  const bytes = await new Response(speech).bytes();
  return { bytes, body: server.call.body, path: server.call.path };
}

const MP3 = "ID3 and the rest of the sound";
const SENT: [
  name: string,
  request: Partial<SpeechRequest>,
  config: Partial<UpstreamSpeechConfig>,
  sent: object,
][] = [
  ["a voice that OpenAI has", {}, {}, {}],
  ["the voice that is asked for", { voice: "nova" }, {}, { voice: "nova" }],
  ["a configured voice", { voice: "b" }, { voices: ["a", "b"] }, { voice: "b" }],
  ["the first voice in place of one that is not there", { voice: "alloy" }, { voices: ["a", "b"] }, {
    voice: "a",
  }],
  ["the first voice", {}, { voices: ["a", "b"] }, { voice: "a" }],
  ["the configured model", {}, { model: "kokoro" }, { model: "kokoro" }],
  ["speed and instructions", { speed: 1.5, instructions: "Whisper." }, {}, {
    speed: 1.5,
    instructions: "Whisper.",
  }],
];
for (const [name, request, config, sent] of SENT) {
  Deno.test(`upstream speech: sends ${name}`, async () => {
    const { bytes, body, path } = await speak(() => sound("audio/mpeg", "ID", MP3.slice(2)), request, config);
    assertEquals([new TextDecoder().decode(bytes), path], [MP3, "/v1/audio/speech"]);
    assertEquals(body, { model: "tts-1", input: "Hello.", voice: "alloy", response_format: "mp3", ...sent });
  });
}

/** The starts of sounds. */
const STARTS: Readonly<Record<string, string | Uint8Array>> = {
  id3: "ID3\x03",
  frame: Uint8Array.of(0xff, 0xf3, 0x14, 0xc4, 0, 0, 0, 0, 0, 0, 0, 0, 0),
  adts: Uint8Array.of(0xff, 0xf1, 0x58, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0),
  ogg: "OggS",
  flac: "fLaC",
  riff: "RIFF\xff\xff\xff\xffWAVE",
  samples: new Uint8Array(20),
};
const TYPES: [start: keyof typeof STARTS, mediaType: string, format: SpeechFormat][] = [
  ["id3", "audio/mpeg", "mp3"],
  ["frame", "audio/mpeg", "mp3"],
  ["frame", "application/octet-stream", "mp3"],
  ["frame", "", "mp3"],
  ["adts", "audio/aac", "aac"],
  ["adts", "audio/mpeg", "aac"],
  ["ogg", "audio/ogg", "opus"],
  ["ogg", "audio/opus", "opus"],
  ["flac", "audio/flac", "flac"],
  ["riff", "audio/x-wav", "wav"],
  // Many servers send one type for all.
  ["riff", "audio/mpeg", "wav"],
  ["samples", "audio/pcm", "pcm"],
  ["samples", "application/octet-stream", "pcm"],
];
for (const [start, mediaType, format] of TYPES) {
  for (const asked of SPEECH_FORMATS) {
    const isFrame = start === "frame" || start === "adts";
    // Samples can look like a frame, and like any format whose start is not checked.
    if (asked === "pcm" && isFrame && !/aac|mpeg/.test(mediaType)) continue;
    if (start === "samples" && asked !== format && mediaType !== "audio/pcm") continue;
    Deno.test(`upstream speech: ${start} as ${mediaType || "no type"}, asked for ${asked}`, async () => {
      const speaking = () => speak(() => sound(mediaType, STARTS[start]!), { format: asked });
      if (asked === format) {
        const { bytes } = await speaking();
        assertEquals(bytes, await sound("", STARTS[start]!).bytes());
        return;
      }
      const error: AppError = await assertRejects(speaking, AppError);
      assertEquals([error.code, error.param], ["unsupported_value", "response_format"]);
      const found = asked === "pcm" && isFrame ? mediaType === "audio/aac" ? "aac" : "mp3" : format;
      assertEquals(
        error.message,
        `The speech server answers with ${found} instead of ${asked}: ask for another format.`,
      );
    });
  }
}

const WRONG: [mediaType: string, body: string, fault: string][] = [
  ["application/json", '{"audio":"..."}', "answers with application/json instead of sound"],
  ["text/html; charset=utf-8", "<html>", "answers with text/html instead of sound"],
  ["text/event-stream", "data: {}\n\n", "answers with text/event-stream instead of sound"],
  ["audio/mpeg", "", "answers without sound"],
];
for (const [mediaType, body, fault] of WRONG) {
  Deno.test(`upstream speech: ${mediaType} with ${JSON.stringify(body)} is no sound`, async () => {
    const error: AppError = await assertRejects(() => speak(() => sound(mediaType, body)), AppError);
    assertEquals(error.code, "upstream_unavailable");
    assertEquals(error.message, `The speech server ${fault}: check base_url of [speech] in config.toml.`);
  });
}

Deno.test("upstream speech: without a model, a request has to name one", async () => {
  const error: AppError = await assertRejects(
    () => speak(() => new Response(), { model: undefined }),
    AppError,
  );
  assertEquals([error.code, error.param, error.message], [
    "missing_required_parameter",
    "model",
    '"model" is required, because model of [speech] in config.toml is not set.',
  ]);
});

Deno.test("upstream speech: the server's errors are ours", async () => {
  const refused = () =>
    Response.json({ error: { message: "No such voice.", param: "voice" } }, { status: 400 });
  const error: AppError = await assertRejects(() => speak(refused), AppError);
  assertEquals([error.code, error.status, error.param, error.message], [
    ...["upstream_error", 400, "voice"],
    "No such voice.",
  ]);
});

Deno.test("upstream speech: the first sound is passed on before the rest comes, and a hang-up reaches the server", async () => {
  const { promise: cancelled, resolve } = Promise.withResolvers<void>();
  await using server = new FakeUpstream(() =>
    new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(new TextEncoder().encode(MP3)),
        cancel: () => resolve(),
      }),
    )
  );
  const voice = upstreamSpeech({ baseUrl: server.url, key: undefined, model: "a", voices: [] });
  const speech = await voice.speak({
    ...{
      text: "Hello.",
      voice: undefined,
      speed: 1,
      format: "mp3",
      model: undefined,
      instructions: undefined,
    },
  }, signal);
  const reader = speech.getReader();
  assertEquals(new TextDecoder().decode((await reader.read()).value), MP3);
  await reader.cancel();
  await cancelled;
});

const openAi = (id: string) => ({ id, name: id, language: undefined });
const OPENAI = ["alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer"].map(
  openAi,
);
const LISTS: [name: string, answer: () => Response, voices: object[]][] = [
  ["names", () => Response.json({ voices: ["af_heart", "af_sky"] }), [openAi("af_heart"), openAi("af_sky")]],
  [
    "objects",
    () =>
      Response.json({
        voices: [{ id: "a", name: "Anna", language: "en" }, { voice_id: "b" }, { name: "c" }, {}],
      }),
    [
      { id: "a", name: "Anna", language: "en" },
      openAi("b"),
      openAi("c"),
    ],
  ],
  ["nothing", () => Response.json({ voices: [] }), OPENAI],
  ["something else", () => Response.json(["a"]), OPENAI],
  ["404", () => new Response("not found", { status: 404 }), OPENAI],
  ["no JSON", () => new Response("<html>"), OPENAI],
];
for (const [name, answer, voices] of LISTS) {
  Deno.test(`upstream speech: a server that lists ${name} as its voices`, async () => {
    await using server = new FakeUpstream(answer);
    const voice = upstreamSpeech({ baseUrl: server.url, key: undefined, model: undefined, voices: [] });
    assertEquals(await voice.voices(signal), voices as typeof OPENAI);
    assertEquals(server.call.path, "/v1/audio/voices");
  });
}

Deno.test("upstream speech: configured voices need no request", async () => {
  await using server = new FakeUpstream();
  const voice = upstreamSpeech({ baseUrl: server.url, key: undefined, model: undefined, voices: ["a"] });
  assertEquals(await voice.voices(signal), [openAi("a")]);
  assertEquals(server.calls, []);
});

/** Writes down with a server that answers as a script says. */
async function transcribe(
  script: UpstreamScript,
  options: TranscriptionOptions = {},
  config: Partial<UpstreamTranscriptionConfig> = {},
  audio: Uint8Array<ArrayBuffer> = Uint8Array.of(1, 2, 3),
) {
  await using server = new FakeUpstream(script);
  const recognizer = upstreamTranscription({
    baseUrl: server.url,
    key: undefined,
    model: undefined,
    ...config,
  });
  const transcript = await recognizer.transcribe(
    recordingOf('語 "a".ogg', audio, { model: "whisper-1", ...options }),
    signal,
  );
  const { path, form } = server.call;
  const { file, ...fields } = Object.fromEntries(form!);
  assertEquals([path, (file as File).name, await (file as File).bytes()], [
    // Browsers escape quotes so.
    ...["/v1/audio/transcriptions", "語 %22a%22.ogg"],
    audio,
  ]);
  return { transcript, fields, granularities: form!.getAll("timestamp_granularities[]") };
}

const NO_TIMES = { language: undefined, durationSecs: undefined, segments: undefined, words: undefined };
const SENT_FORMS: [
  name: string,
  options: TranscriptionOptions,
  fields: object,
  granularities: string[],
][] = [
  ["the least", {}, { response_format: "json" }, []],
  ["all", { language: "en", prompt: "Mao", temperature: 0 }, {
    ...{ response_format: "json", language: "en", prompt: "Mao", temperature: "0" },
  }, []],
  ["times", { times: ["segment", "word"] }, { response_format: "verbose_json" }, ["segment", "word"]],
];
for (const [name, options, expected, times] of SENT_FORMS) {
  Deno.test(`upstream transcription: sends ${name}`, async () => {
    const { transcript, fields, granularities } = await transcribe(
      () => Response.json({ text: "Hi" }),
      options,
    );
    const { "timestamp_granularities[]": _, ...others } = fields;
    assertEquals([others, granularities], [{ model: "whisper-1", ...expected }, times]);
    assertEquals(transcript, { ...NO_TIMES, text: "Hi" });
  });
}

Deno.test("upstream transcription: the configured model wins, and one is needed", async () => {
  const { fields } = await transcribe(() => Response.json({ text: "" }), {}, { model: "large" });
  assertEquals(fields.model, "large");
  const none = () => transcribe(() => Response.json({ text: "" }), { model: undefined });
  const error: AppError = await assertRejects(none, AppError);
  assertEquals([error.code, error.param], ["missing_required_parameter", "model"]);
});

const ANSWERS: [answer: object, transcript: object][] = [
  [{ text: "Hi", usage: { type: "duration", seconds: 2 } }, { durationSecs: 2 }],
  [{ text: "Hi", usage: { type: "tokens", total_tokens: 2 } }, {}],
  [{ text: "Hi", duration: "1.5", language: "english" }, { durationSecs: 1.5, language: "english" }],
  [{ text: "Hi", duration: null, language: 7, segments: null, words: "" }, {}],
  [{
    text: "Hi",
    segments: [{ id: 0, start: 0, end: 1, text: " Hi", tokens: [1] }],
    words: [{ word: "Hi", start: 0, end: 1 }],
  }, { segments: [{ start: 0, end: 1, text: " Hi" }], words: [{ start: 0, end: 1, text: "Hi" }] }],
  [{ text: "Hi", segments: [{ start: "a" }] }, {}],
];
for (const [answer, expected] of ANSWERS) {
  Deno.test(`upstream transcription: reads ${JSON.stringify(answer)}`, async () => {
    const { transcript } = await transcribe(() => Response.json(answer), { times: ["segment"] });
    assertEquals({ ...transcript }, { ...NO_TIMES, text: "Hi", ...expected });
  });
}

const WAV = encodeWav({ rate: 16_000, samples: new Int16Array(24_000) });
const LENGTHS: [name: string, audio: Uint8Array<ArrayBuffer>, answer: object, secs: number | undefined][] = [
  ["a WAV", WAV, {}, 1.5],
  ["a WAV that the server has measured", WAV, { duration: 2 }, 2],
  ["another format", Uint8Array.of(1, 2, 3), {}, undefined],
];
for (const [name, audio, answer, secs] of LENGTHS) {
  Deno.test(`upstream transcription: the length of ${name}`, async () => {
    const { transcript } = await transcribe(() => Response.json({ text: "Hi", ...answer }), {}, {}, audio);
    assertEquals(transcript.durationSecs, secs);
  });
}

const event = (data: unknown) => `event: x\r\ndata: ${JSON.stringify(data)}\r\n\r\n`;
const delta = (delta: string) => event({ type: "transcript.text.delta", delta });
const done = (text: string) => event({ type: "transcript.text.done", text });
const STREAMS: [name: string, type: string, pieces: string[], text: string, found: string[]][] = [
  ["pieces", "text/event-stream", [delta("Hel"), delta("lo"), done("Hello")], "Hello", ["Hel", "lo"]],
  ["cut lines", "text/event-stream; charset=utf-8", [...delta("日本"), ...done("日本")], "日本", ["日本"]],
  ["no end", "text/event-stream", [delta("Hel"), delta("lo"), "data: [DONE]\n\n"], "Hello", ["Hel", "lo"]],
  ["other events", "text/event-stream", [": hi\n\n", event({ type: "other" }), delta("a"), done("a")], "a", [
    "a",
  ]],
  ["no stream", "application/json", ['{"text":"Hello"}'], "Hello", []],
];
for (const [name, type, pieces, text, found] of STREAMS) {
  Deno.test(`upstream transcription: streams ${name}`, async () => {
    const heard: string[] = [];
    const { transcript, fields } = await transcribe(() => sound(type, ...pieces), {
      onText: (piece) => heard.push(piece),
    });
    assertEquals([transcript.text, heard, fields.stream], [text, found, "true"]);
  });
}

const FAULTS: [name: string, response: () => Response, isStreamed: boolean, code: string, message: string][] =
  [
    ["another JSON", () => Response.json({}), false, "upstream_unavailable", "answers without a transcript"],
    ["no JSON", () => new Response("hi"), false, "upstream_unavailable", "without a transcript"],
    [
      "an empty stream",
      () => sound("text/event-stream", ""),
      true,
      "upstream_unavailable",
      "without a transcript",
    ],
    ["no stream and no JSON", () => new Response("hi"), true, "upstream_unavailable", "without a transcript"],
    [
      "an error in a stream",
      () => sound("text/event-stream", delta("a"), event({ error: { message: "out of memory" } })),
      ...[true, "upstream_error", "The transcription server failed."] as const,
    ],
    ["an error", () => new Response(null, { status: 503 }), true, "upstream_error", "failed (status 503)"],
  ];
for (const [name, response, isStreamed, code, message] of FAULTS) {
  Deno.test(`upstream transcription: ${name} is a fault`, async () => {
    const failing = () => transcribe(response, isStreamed ? { onText() {} } : {});
    const error: AppError = await assertRejects(failing, AppError, message);
    assertEquals(error.code, code);
  });
}
