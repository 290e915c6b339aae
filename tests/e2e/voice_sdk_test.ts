/** Speech and transcriptions with the official OpenAI client, and the requests of apps, in front of an upstream. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import OpenAI, { toFile } from "npm:openai@7.55.0";
import { createSpeechToText, createTextToSpeech } from "../../lib/speech/create.ts";
import { encodeWav } from "../../lib/speech/wav.ts";
import type { TestAppOptions } from "../support/harness/app_harness.ts";
import {
  FakeUpstream,
  sound,
  type UpstreamCall,
  type UpstreamScript,
} from "../support/harness/fake_upstream.ts";
import { FakeVoice } from "../support/harness/fake_voice.ts";
import { PROGRAM_DEPS } from "../support/harness/programs.ts";
import { ServedApp } from "../support/harness/served_app.ts";
import { startServer } from "../support/harness/server_process.ts";

const MACHINE = { programs: PROGRAM_DEPS, ffmpeg: undefined };
const MP3 = ["ID3", "the first sentence", "the second sentence"];
const WAV = encodeWav({ rate: 16_000, samples: new Int16Array(16_000) });
const FRAMES = [
  { start: 0, end: 0.5, text: " Hello" },
  { start: 0.5, end: 1, text: " there." },
];

/** Answers as a server with a voice and a recognizer. */
const speaking: UpstreamScript = ({ path, form }) => {
  if (path === "/v1/audio/speech") return sound("audio/mpeg", ...MP3);
  if (path === "/v1/audio/voices") return Response.json({ voices: ["af_sky"] });
  if (form!.get("stream") === "true") {
    const event = (data: object) => `data: ${JSON.stringify(data)}\n\n`;
    return sound(
      "text/event-stream",
      event({ type: "transcript.text.delta", delta: "Hello" }),
      event({ type: "transcript.text.delta", delta: " there." }),
      event({ type: "transcript.text.done", text: "Hello there." }),
    );
  }
  const isVerbose = form!.get("response_format") === "verbose_json";
  const times = isVerbose ? { language: "english", duration: 1, segments: FRAMES } : {};
  return Response.json({ text: "Hello there.", ...times });
};

/** The app in front of an upstream. */
class Voice implements AsyncDisposable {
  private constructor(readonly served: ServedApp, readonly upstream: FakeUpstream) {}

  static start(script = speaking, options: TestAppOptions = {}): Voice {
    const upstream = new FakeUpstream(script);
    const config = { provider: "upstream", baseUrl: upstream.url, key: undefined, model: undefined } as const;
    const textToSpeech = createTextToSpeech({ ...config, voices: [] }, MACHINE)!;
    const speechToText = createSpeechToText(config, MACHINE)!;
    return new Voice(ServedApp.start({ textToSpeech, speechToText, ...options }), upstream);
  }

  get url(): string {
    return `${this.served.url}/v1`;
  }

  get call(): UpstreamCall {
    return this.upstream.call;
  }

  get audio(): OpenAI["audio"] {
    return new OpenAI({ baseURL: this.url, apiKey: "anything", maxRetries: 0 }).audio;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.served[Symbol.asyncDispose]();
    await this.upstream[Symbol.asyncDispose]();
  }
}

const SPEECH = { model: "tts-1", voice: "alloy", input: "Hello there." } as const;
const recording = () => toFile(WAV, "audio.wav", { type: "audio/wav" });

Deno.test("openai SDK: audio.speech.create", async () => {
  await using voice = Voice.start();
  const response = await voice.audio.speech.create(SPEECH);
  assertEquals(response.headers.get("content-type"), "audio/mpeg");
  assertEquals(new TextDecoder().decode(await response.arrayBuffer()), MP3.join(""));
  assertEquals(voice.call.body, { ...SPEECH, response_format: "mp3" });
});

Deno.test("openai SDK: audio.speech.create gets the first sound while the rest is made", async () => {
  const { promise: goOn, resolve } = Promise.withResolvers<void>();
  const textToSpeech = new FakeVoice(async function* () {
    yield "first";
    await goOn;
    yield "second";
  });
  await using voice = Voice.start(speaking, { textToSpeech });
  const response = await voice.audio.speech.create({ ...SPEECH, response_format: "pcm" });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  assertEquals((await reader.read()).value, "first");
  resolve();
  assertEquals((await reader.read()).value, "second");
  assertEquals((await reader.read()).done, true);
});

Deno.test("openai SDK: audio.speech.create as events", async () => {
  await using voice = Voice.start();
  const response = await voice.audio.speech.create({ ...SPEECH, stream_format: "sse" });
  const data = (await response.text()).match(/(?<=^data: ).*$/gm)!.map((json) => JSON.parse(json));
  const last = data.pop();
  assertEquals(
    data.map(({ type, audio }) => [type, atob(audio)]).map(String).join("").replaceAll(
      "speech.audio.delta,",
      "",
    ),
    MP3.join(""),
  );
  assertEquals(last.type, "speech.audio.done");
});

Deno.test("openai SDK: a client that hangs up ends the upstream's speech", async () => {
  const { promise: hungUp, resolve } = Promise.withResolvers<void>();
  await using voice = Voice.start(() =>
    new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(new TextEncoder().encode(MP3.join(""))),
        cancel: () => resolve(),
      }),
    )
  );
  const stop = new AbortController();
  const response = await voice.audio.speech.create(SPEECH, { signal: stop.signal });
  await response.body!.getReader().read();
  stop.abort();
  await hungUp;
});

Deno.test("openai SDK: errors of the speech", async () => {
  await using voice = Voice.start(() =>
    Response.json({ error: { message: "No voice x.", param: "voice" } }, { status: 400 })
  );
  const refused = await assertRejects(() => voice.audio.speech.create(SPEECH), OpenAI.BadRequestError);
  assertEquals([refused.code, refused.param, refused.message], [
    "upstream_error",
    "voice",
    "400 No voice x.",
  ]);
  await using fallback = Voice.start(speaking, { textToSpeech: new FakeVoice() });
  const named = () => fallback.audio.speech.create({ ...SPEECH, response_format: "mp3" });
  const format = await assertRejects(named, OpenAI.BadRequestError, "must be one of wav, pcm");
  assertEquals([format.code, format.param], ["unsupported_value", "response_format"]);
});

const NEUTRAL = {
  seek: 0,
  tokens: [],
  temperature: 0,
  avg_logprob: 0,
  compression_ratio: 1,
  no_speech_prob: 0,
};
const usage = { type: "duration", seconds: 1 };
const VERBOSE = {
  ...{ task: "transcribe", language: "english", duration: 1, text: "Hello there." },
  ...{ segments: FRAMES.map((frame, id) => ({ id, ...frame, ...NEUTRAL })), usage },
};
const FORMATS: [format: OpenAI.AudioResponseFormat | undefined, transcript: unknown][] = [
  [undefined, { text: "Hello there.", usage }],
  ["json", { text: "Hello there.", usage }],
  ["text", "Hello there.\n"],
  ["verbose_json", VERBOSE],
  ["srt", "1\n00:00:00,000 --> 00:00:00,500\nHello\n\n2\n00:00:00,500 --> 00:00:01,000\nthere.\n\n"],
  ["vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:00.500\nHello\n\n00:00:00.500 --> 00:00:01.000\nthere.\n\n"],
];
for (const [response_format, transcript] of FORMATS) {
  Deno.test(`openai SDK: audio.transcriptions.create as ${response_format ?? "it is"}`, async () => {
    await using voice = Voice.start();
    const found = await voice.audio.transcriptions.create({
      file: await recording(),
      model: "whisper-1",
      language: "en",
      ...response_format && { response_format },
    });
    const { _request_id, ...fields } = typeof found === "string" ? { _request_id: "" } : found;
    assertEquals(typeof found === "string" ? found : fields, transcript);
    const { form } = voice.call;
    assertEquals(await (form!.get("file") as File).bytes(), WAV);
    assertEquals([form!.get("model"), form!.get("language")], ["whisper-1", "en"]);
  });
}

Deno.test("openai SDK: audio.transcriptions.create as a stream", async () => {
  await using voice = Voice.start();
  const stream = await voice.audio.transcriptions.create({
    file: await recording(),
    model: "gpt-4o-transcribe",
    stream: true,
  });
  const events = await Array.fromAsync(stream);
  assertEquals(
    events.map((event) => event.type === "transcript.text.delta" ? event.delta : event),
    [
      ...["Hello", " there."],
      {
        ...{ type: "transcript.text.done", text: "Hello there." },
        usage: { type: "tokens", input_tokens: 0, output_tokens: 3, total_tokens: 3 },
      },
    ] as typeof events,
  );
});

Deno.test("openai SDK: errors of the transcription", async () => {
  await using voice = Voice.start();
  const diarized = async () =>
    await voice.audio.transcriptions.create({
      ...{ file: await recording(), model: "a", response_format: "diarized_json" as const },
    });
  const error = await assertRejects(diarized, OpenAI.BadRequestError, "must be one of json, text");
  assertEquals([error.code, error.param], ["unsupported_value", "response_format"]);
  const translating = async () =>
    await voice.audio.translations.create({ file: await recording(), model: "a" });
  await assertRejects(translating, OpenAI.NotFoundError, "POST /v1/audio/transcriptions");
});

Deno.test("openai SDK: not configured is asked once", async () => {
  await using served = ServedApp.start();
  let requests = 0;
  const { audio } = new OpenAI({
    baseURL: `${served.url}/v1`,
    apiKey: "anything",
    fetch: (url, init) => {
      // The library first asks for `data:`, to see whether this `fetch` knows forms.
      if (String(url).startsWith("http")) requests++;
      return fetch(url, init);
    },
  });
  await assertRejects(
    () => audio.speech.create(SPEECH),
    OpenAI.InternalServerError,
    "501 The voice is turned off",
  );
  const transcribing = async () => await audio.transcriptions.create({ file: await recording(), model: "a" });
  await assertRejects(transcribing, OpenAI.InternalServerError, "501 No program transcribes recordings");
  assertEquals(requests, 2);
});

Deno.test("the program: its variables name the servers, whose keys are not in its log", async () => {
  await using upstream = new FakeUpstream(speaking);
  const keys = ["speech-key-1", "transcription-key-1"];
  await using server = await startServer({
    env: {
      VTUBER_SPEECH_BASE_URL: upstream.url,
      VTUBER_SPEECH_KEY: keys[0]!,
      VTUBER_SPEECH_MODEL: "kokoro",
      VTUBER_SPEECH_VOICES: "af_sky, af_heart",
      VTUBER_TRANSCRIPTION_BASE_URL: `${upstream.url}/v1/`,
      VTUBER_TRANSCRIPTION_KEY: keys[1]!,
    },
  });
  const { audio } = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "anything" });
  assertEquals((await server.get("/v1/audio/models")).models[0].id, "kokoro");
  assertEquals((await server.get("/v1/audio/voices")).voices[1].id, "af_heart");
  assertEquals(await (await audio.speech.create(SPEECH)).text(), MP3.join(""));
  const { text } = await audio.transcriptions.create({ file: await recording(), model: "whisper-1" });
  assertEquals(text, "Hello there.");
  const [spoken, heard] = upstream.calls;
  assertEquals([spoken!.body.model, spoken!.body.voice, heard!.path], [
    ...["kokoro", "af_sky"],
    "/v1/audio/transcriptions",
  ]);
  assertEquals([spoken, heard].map((call) => call!.authorization), keys.map((key) => `Bearer ${key}`));
  for (const key of keys) assert(!server.log().includes(key));
});

/** Sends JSON as an app does. */
function post(url: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  const type = { "content-type": "application/json", ...headers };
  return fetch(url, { method: "POST", headers: type, body: JSON.stringify(body) });
}

/** A form as apps send it. */
function form(fields: readonly (readonly [name: string, value: string | File])[]): FormData {
  const body = new FormData();
  for (const [name, value] of fields) body.append(name, value);
  return body;
}

const AUTHORIZED = { authorization: "Bearer sk-anything" };
const wav = new File([WAV], "record.wav", { type: "audio/wav" });

Deno.test("apps: SillyTavern's OpenAI Compatible voice and speech recognition", async () => {
  await using voice = Voice.start();
  // It always names mp3, and sends no key as an empty one.
  const spoken = await post(`${voice.url}/audio/speech`, {
    ...{ input: '*waves* "Hello there!"', response_format: "mp3", voice: "alloy", speed: 1, model: "tts-1" },
  }, { authorization: "Bearer " });
  assertEquals([spoken.status, spoken.headers.get("content-type")], [200, "audio/mpeg"]);
  assertEquals(await spoken.text(), MP3.join(""));
  assertEquals(voice.call.body.input, 'waves "Hello there!"');
  const body = form([["file", new File([WAV], "audio.wav", { type: "audio/wav" })], ["model", "whisper-1"], [
    "language",
    "en",
  ]]);
  const heard = await fetch(`${voice.url}/audio/transcriptions`, { method: "POST", body });
  assertEquals((await heard.json()).text, "Hello there.");
});

Deno.test("apps: SillyTavern without mp3 is told what to install", async () => {
  await using voice = Voice.start(speaking, { textToSpeech: new FakeVoice() });
  const response = await post(`${voice.url}/audio/speech`, { input: "Hi", response_format: "mp3" });
  assertEquals(response.status, 400);
  assert((await response.text()).includes("ffmpeg"));
});

Deno.test("apps: AIRI's voice plays what it gets, and its hearing reads json", async () => {
  for (const textToSpeech of [undefined, new FakeVoice()]) {
    await using voice = Voice.start(speaking, textToSpeech && { textToSpeech });
    const origin = { origin: "http://localhost:5173" };
    const preflight = await fetch(`${voice.url}/audio/speech`, {
      method: "OPTIONS",
      headers: { ...origin, "access-control-request-headers": "authorization,content-type" },
    });
    assertEquals([preflight.status, preflight.headers.get("access-control-allow-headers")], [
      204,
      "authorization,content-type",
    ]);
    const spoken = await post(`${voice.url}/audio/speech`, {
      ...{ model: "tts-1", input: "Hello.", voice: "alloy", speed: 1, pitch: 0, volume: 0 },
    }, { ...AUTHORIZED, ...origin });
    assertEquals(spoken.headers.get("content-type"), textToSpeech ? "audio/wav" : "audio/mpeg");
    assertEquals(
      (await spoken.arrayBuffer()).byteLength,
      textToSpeech ? "Hello.".length : MP3.join("").length,
    );
    const body = form([["model", "whisper-1"], ["file", wav], ["response_format", "json"]]);
    const heard = await fetch(`${voice.url}/audio/transcriptions`, {
      method: "POST",
      body,
      headers: AUTHORIZED,
    });
    assertEquals((await heard.json()).text, "Hello there.");
  }
});

Deno.test("apps: Open WebUI's lists, voice and speech recognition", async () => {
  await using voice = Voice.start();
  assertEquals(await (await fetch(`${voice.url}/audio/models`)).json(), {
    models: [{ id: "tts-1", name: "tts-1" }],
  });
  const { voices } = await (await fetch(`${voice.url}/audio/voices`)).json();
  assertEquals(voices, [{ id: "af_sky", name: "af_sky" }]);
  // It makes mp3 of other formats by their content type.
  const spoken = await post(
    `${voice.url}/audio/speech`,
    { input: "Hello.", voice: "af_sky", model: "tts-1" },
    AUTHORIZED,
  );
  assertEquals([spoken.status, spoken.headers.get("content-type")], [200, "audio/mpeg"]);
  await spoken.body?.cancel();
  const heard = await fetch(`${voice.url}/audio/transcriptions`, {
    method: "POST",
    headers: AUTHORIZED,
    body: form([
      ...[["model", "whisper-1"], ["response_format", "verbose_json"]] as const,
      ["timestamp_granularities[]", "segment"],
      ["file", wav],
    ]),
  });
  const { text, language, segments } = await heard.json();
  assertEquals([text, language, segments.at(-1).end], ["Hello there.", "english", 1]);
});

Deno.test("apps: Amica, Open-LLM-VTuber and AniCompanion", async () => {
  await using voice = Voice.start();
  for (
    const body of [
      { model: "tts-1", voice: "nova", input: "Hello.", response_format: "mp3" },
      { model: "tts-1", voice: "nova", input: "Hello.", response_format: "mp3", speed: 1.1 },
    ]
  ) {
    const spoken = await post(`${voice.url}/audio/speech`, body, AUTHORIZED);
    assertEquals(await spoken.text(), MP3.join(""));
  }
  for (const fields of [[["language", "en"]], [["language", "ja"], ["response_format", "json"]]] as const) {
    const body = form([["model", "whisper-1"], ...fields, ["file", new File([WAV], "audio.wav")]]);
    const heard = await fetch(`${voice.url}/audio/transcriptions`, {
      method: "POST",
      body,
      headers: AUTHORIZED,
    });
    assertEquals((await heard.json()).text, "Hello there.");
  }
});
