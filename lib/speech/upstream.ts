/** Speaks and transcribes with an OpenAI-compatible server. @module */

import { z } from "zod";
import { AppError } from "../core/errors.ts";
import { firstOf } from "../core/schema.ts";
import { createUpstream, type Upstream, type UpstreamConfig } from "../core/upstream.ts";
import type { SpeechToText, TranscriptionOptions } from "./speech_to_text.ts";
import { SPEECH_FORMATS, type SpeechFormat, type TextToSpeech, type Voice } from "./text_to_speech.ts";
import { wavSecs } from "./wav.ts";

/** The server that speaks. */
export interface UpstreamSpeechConfig extends UpstreamConfig {
  /** The model of every request; `undefined` lets clients choose. */
  readonly model: string | undefined;
  /** The voices that clients can name. Any other name selects the first voice. An empty list allows every name. */
  readonly voices: readonly string[];
}

/** The server that transcribes recordings. */
export interface UpstreamTranscriptionConfig extends UpstreamConfig {
  /** The model of every request; `undefined` lets clients choose. */
  readonly model: string | undefined;
}

/** OpenAI's voices. OpenAI's API has no endpoint that lists them. */
const OPENAI_VOICES = ["alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer"];
/** Most voices that are read from a list, and the longest wait for a list, in milliseconds. */
const MAX_VOICES = 10_000;
const VOICES_TIMEOUT_MS = 10_000;
/** Most bytes of speech, which is more than an hour of `wav`, and of a transcript with the times of many words. */
const MAX_SPEECH_BYTES = 256 * 1024 * 1024;
const MAX_TRANSCRIPT_BYTES = 64 * 1024 * 1024;
/** First bytes of a WAV recording, which contain the length of its sound. */
const WAV_HEAD_BYTES = 4 * 1024;
/** First bytes of a sound, which identify its format. */
const MAGIC_BYTES = 12;
/** Most segments or words of a transcript, and characters of a line of a streamed transcript. */
const MAX_TIMED_TEXTS = 100_000;
const MAX_LINE_CHARS = 1024 * 1024;

/** Creates a voice that passes on the sound of a server while it arrives. */
export function upstreamSpeech(config: UpstreamSpeechConfig): TextToSpeech {
  const upstream = createUpstream("speech", config);
  const { voices } = config;
  return {
    formats: SPEECH_FORMATS,
    voices: async (signal) =>
      voices.length > 0 ? voices.map((id) => toVoice({ id })) : await listVoices(upstream, signal),
    async speak({ text, voice, speed, format, model, instructions }, signal) {
      const isKnown = voices.length === 0 || voices.includes(voice!);
      const { mediaType, head, body } = await upstream.postForStream("/audio/speech", {
        model: chooseModel(upstream, config.model, model),
        input: text,
        voice: (isKnown ? voice : voices[0]) ?? OPENAI_VOICES[0],
        response_format: format,
        ...speed !== 1 && { speed },
        ...instructions && { instructions },
      }, { signal, maxBytes: MAX_SPEECH_BYTES, headBytes: MAGIC_BYTES });
      if (head.length === 0) throw upstream.wrongAnswer("answers without sound");
      const isText = /^text\/|\bjson$/.test(mediaType);
      const actual = detectFormat(mediaType, head, format);
      if (!isText && actual === format) return body;
      await body.cancel();
      if (isText) throw upstream.wrongAnswer(`answers with ${mediaType} instead of sound`);
      const message =
        `${upstream.subject} answers with ${actual} instead of ${format}: ask for another format.`;
      throw new AppError("unsupported_value", message, { param: "response_format" });
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Chooses the model of a request: the owner's, otherwise the client's. */
function chooseModel(
  { table }: Upstream,
  configured: string | undefined,
  requested: string | undefined,
): string {
  const model = configured ?? requested;
  if (model) return model;
  const message = `"model" is required, because model of ${table} is not set.`;
  throw new AppError("missing_required_parameter", message, { param: "model" });
}

const voiceItem = z.union([
  z.string().transform((id) => ({ id })),
  z.object({
    id: z.string().optional(),
    voice_id: z.string().optional(),
    name: z.string().optional(),
    language: z.string().optional().catch(undefined),
  }).transform(({ id, voice_id, name, language }) => ({ id: id ?? voice_id ?? name ?? "", name, language })),
]);
/** A list of voices, as Kokoro-FastAPI and other servers send it. */
const voiceList = z.object({ voices: firstOf(voiceItem, MAX_VOICES) });

/** Asks a server for its voices. Returns OpenAI's voices if the server has no list. */
async function listVoices(upstream: Upstream, signal: AbortSignal): Promise<Voice[]> {
  const listSignal = AbortSignal.any([signal, AbortSignal.timeout(VOICES_TIMEOUT_MS)]);
  const answer = await upstream.getJson("/audio/voices", { signal: listSignal }).catch(() => undefined);
  signal.throwIfAborted();
  const found = voiceList.safeParse(answer).data?.voices.filter(({ id }) => id !== "") ?? [];
  return found.length > 0 ? found.map(toVoice) : OPENAI_VOICES.map((id) => toVoice({ id }));
}

function toVoice({ id, name = id, language }: { id: string; name?: string; language?: string }): Voice {
  return { id, name, language };
}

/** The formats of the media types that servers send. `application/octet-stream` is missing, because any format has it. */
const MEDIA_TYPES: Readonly<Record<string, SpeechFormat>> = {
  "audio/mpeg": "mp3",
  "audio/mp3": "mp3",
  "audio/ogg": "opus",
  "audio/opus": "opus",
  "audio/aac": "aac",
  "audio/flac": "flac",
  "audio/x-flac": "flac",
  "audio/wav": "wav",
  "audio/wave": "wav",
  "audio/x-wav": "wav",
  "audio/vnd.wave": "wav",
  "audio/pcm": "pcm",
};

/**
 * Detects the format of a sound by its first bytes, because many servers send one media type for all formats. If the
 * bytes are unknown, the media type decides. If the type is unknown too, the sound has the format that was asked for.
 */
function detectFormat(mediaType: string, head: Uint8Array, requested: SpeechFormat): SpeechFormat {
  const text = String.fromCharCode(...head);
  if (text.startsWith("RIFF")) return "wav";
  if (text.startsWith("fLaC")) return "flac";
  if (text.startsWith("OggS")) return "opus";
  if (text.startsWith("ID3")) return "mp3";
  const declared = MEDIA_TYPES[mediaType];
  // An MP3 or AAC frame starts with 11 bits of 1. PCM samples can look the same. In AAC, the two layer bits are 0.
  const isFrame = requested !== "pcm" && head[0] === 0xff && (head[1]! & 0xf0) >= 0xe0;
  if (isFrame) return (head[1]! & 0xf6) === 0xf0 ? "aac" : "mp3";
  return declared ?? requested;
}

const time = z.number().nonnegative();
const transcriptAnswer = z.object({
  text: z.string(),
  language: z.string().optional().catch(undefined),
  // Some servers send the duration as a string.
  duration: z.union([time, z.string().transform(Number).pipe(time)]).optional().catch(undefined),
  usage: z.object({ seconds: time }).optional().catch(undefined),
  segments: firstOf(z.object({ start: time, end: time, text: z.string() }), MAX_TIMED_TEXTS)
    .nullish().catch(undefined),
  words: firstOf(
    z.object({ start: time, end: time, word: z.string() })
      .transform(({ word, ...times }) => ({ ...times, text: word })),
    MAX_TIMED_TEXTS,
  ).nullish().catch(undefined),
});
const streamEvent = z.union([
  z.object({ type: z.literal("transcript.text.delta"), delta: z.string() }),
  z.object({ type: z.literal("transcript.text.done"), text: z.string() }),
  z.object({ error: z.object({ message: z.string() }) }).transform(() => ({ type: "error" as const })),
]);

/** Creates a recognizer that passes each recording on to a server while it arrives. */
export function upstreamTranscription(config: UpstreamTranscriptionConfig): SpeechToText {
  const upstream = createUpstream("transcription", config);
  const modelOf = (requested: string | undefined) => chooseModel(upstream, config.model, requested);
  return {
    async transcribe({ filename, audio }, signal) {
      const boundary = `oab-vtuber-${crypto.randomUUID()}`;
      const startPart = (header: string) =>
        `--${boundary}\r\nContent-Disposition: form-data; ${header}\r\n\r\n`;
      let onText: TranscriptionOptions["onText"];
      let secs: number | undefined;

      // The file comes before the fields, because the fields may follow the file in the client's form.
      async function* writeForm() {
        const name = filename.replaceAll('"', "%22");
        yield encoder.encode(
          startPart(`name="file"; filename="${name}"\r\nContent-Type: application/octet-stream`),
        );
        const head = new Uint8Array(WAV_HEAD_BYTES);
        let size = 0;
        let read;
        while (!(read = await audio.next()).done) {
          const { value } = read;
          if (size < head.length) head.set(value.subarray(0, head.length - size), size);
          size += value.length;
          yield value;
        }
        secs = wavSecs(head.subarray(0, size), size);
        onText = read.value.onText;
        const fields = fieldsOf(read.value, modelOf(read.value.model))
          .map(([name, value]) => `\r\n${startPart(`name="${name}"`)}${value}`);
        yield encoder.encode(`${fields.join("")}\r\n--${boundary}--\r\n`);
      }

      const form = { contentType: `multipart/form-data; boundary=${boundary}`, chunks: writeForm() };
      const options = { signal, maxBytes: MAX_TRANSCRIPT_BYTES };
      const { mediaType, body } = await upstream.upload("/audio/transcriptions", form, options);
      if (onText && mediaType === "text/event-stream") return await readEvents(upstream, body, onText);
      // Some models do not stream.
      const transcript = parseTranscript(upstream, parseJson(await new Response(body).text()));
      return { ...transcript, durationSecs: transcript.durationSecs ?? secs };
    },
  };
}

const encoder = new TextEncoder();

/** Returns the form fields of a request, without the file. */
function fieldsOf(
  { language, prompt, temperature, times = [], onText }: TranscriptionOptions,
  model: string,
): (readonly [name: string, value: string])[] {
  const fields = {
    model,
    response_format: times.length > 0 ? "verbose_json" : "json",
    language,
    prompt,
    temperature: temperature?.toString(),
    // OpenAI's streams have no timestamps.
    stream: onText && times.length === 0 ? "true" : undefined,
  };
  return [
    ...Object.entries(fields).flatMap(([name, value]) => value === undefined ? [] : [[name, value] as const]),
    ...times.map((times) => ["timestamp_granularities[]", times] as const),
  ];
}

function parseTranscript(upstream: Upstream, answer: unknown) {
  const { data } = transcriptAnswer.safeParse(answer);
  if (data === undefined) throw upstream.wrongAnswer("answers without a transcript");
  const { text, language, duration, usage, segments, words } = data;
  return {
    text,
    language,
    durationSecs: duration ?? usage?.seconds,
    segments: segments ?? undefined,
    words: words ?? undefined,
  };
}

/** Reads a transcript from server-sent events. Passes each piece of text to `onText`. */
async function readEvents(
  upstream: Upstream,
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  onText: (piece: string) => void,
) {
  let text = "";
  let rest = "";
  // The loop cancels the body when it ends early.
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split(/\r?\n/);
    rest = lines.pop()!;
    if (rest.length > MAX_LINE_CHARS) break;
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const event = streamEvent.safeParse(parseJson(line.slice("data:".length))).data;
      if (event?.type === "error") throw new AppError("upstream_error", `${upstream.subject} failed.`);
      if (event?.type === "transcript.text.done") return { ...NO_TIMES, text: event.text };
      if (event === undefined) continue;
      text += event.delta;
      onText(event.delta);
    }
  }
  if (text === "") throw upstream.wrongAnswer("answers without a transcript");
  return { ...NO_TIMES, text };
}

const NO_TIMES = { language: undefined, durationSecs: undefined, segments: undefined, words: undefined };

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
