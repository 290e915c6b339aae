/** Serves `POST /v1/audio/speech`, and the lists of voices and models that apps read. @module */

import { z } from "zod";
import { AppError, toAppError } from "../core/errors.ts";
import { startIdleTimer } from "../core/idle_timer.ts";
import type { Log } from "../core/log.ts";
import { nextTask } from "../core/next_task.ts";
import { errorBody } from "../http/error_response.ts";
import { readJson } from "../http/json_body.ts";
import type { KeyLimit } from "../http/key_limit.ts";
import type { Handler } from "../http/router.ts";
import { EVENT_STREAM_HEADERS, READ_TIMEOUT_MS } from "../http/sse.ts";
import { SPEECH_RATE } from "../speech/pcm.ts";
import { speakable } from "../speech/plain_text.ts";
import { SPEECH_FORMATS, type SpeechFormat, type TextToSpeech } from "../speech/text_to_speech.ts";
import { encodeWav } from "../speech/wav.ts";
import type { EmotionWords } from "../turn/emotion.ts";
import { TokenCount } from "./usage.ts";
import { modelName, parse } from "./wire.ts";

/** Most characters of a text. OpenAI's limit is 4,096, but skins send whole messages. */
const MAX_INPUT_CHARS = 16_384;
const MAX_INSTRUCTIONS_CHARS = 4_096;
const MAX_VOICE_CHARS = 256;
/** Most bytes of sound in an event, before base64. */
const MAX_EVENT_BYTES = 24 * 1024;

/** Most texts and chat replies of one key that are spoken at once: half of the texts of all keys. */
export const MAX_TEXTS_PER_KEY = 16;

/** The media types of the formats. */
const MEDIA_TYPES: Readonly<Record<SpeechFormat, string>> = {
  mp3: "audio/mpeg",
  opus: "audio/ogg",
  aac: "audio/aac",
  flac: "audio/flac",
  wav: "audio/wav",
  pcm: "audio/pcm",
};

/** Measures a request for speech or for a transcript. */
export interface AudioMeter {
  /** Records that the first sound has arrived. */
  onFirstAudio(): void;
  /** Records the end of the request. @param errorType The code of the error, `cancelled`, or empty. */
  onEnd(errorType: string): void;
}

/** The parts of the program that speech needs. */
export interface SpeechDeps {
  /** The voice; `undefined` if the owner has turned it off. */
  readonly textToSpeech: TextToSpeech | undefined;
  /** The name of the model that apps can list; the voice decides what it means. */
  readonly speechModel: string;
  readonly emotions: EmotionWords;
  readonly measureSpeech: () => AudioMeter;
  readonly log: Pick<Log, "warn">;
}

/** The field `voice`: a name, or an object with the name as its `id`. */
export const voiceName = z.union(
  [z.string(), z.object({ id: z.string() }).transform(({ id }) => id)],
  "must be a string or an object with an id",
).pipe(z.string().max(MAX_VOICE_CHARS));

const speechBody = z.object({
  model: modelName,
  input: z.string().max(MAX_INPUT_CHARS, `has more than ${MAX_INPUT_CHARS} characters: send it in parts`),
  voice: voiceName.nullish(),
  instructions: z.string().max(MAX_INSTRUCTIONS_CHARS).nullish(),
  response_format: z.string().nullish(),
  speed: z.number().min(0.25, "must be from 0.25 to 4").max(4, "must be from 0.25 to 4").nullish(),
  stream_format: z.enum(["audio", "sse"]).nullish(),
});

/** Creates the handler of `POST /audio/speech`. @param texts Counts the texts of each key. */
export function speechHandler(deps: SpeechDeps, texts: KeyLimit): Handler {
  const { textToSpeech, emotions, measureSpeech, log } = deps;
  if (textToSpeech === undefined) return refuse;
  let lastResult: Promise<unknown> = Promise.resolve();
  /** Makes a text speakable. Only one text is cleaned in each turn of the event loop: many long texts take a second. */
  const makeSpeakable = (text: string, signal: AbortSignal): Promise<string> => {
    const result = lastResult.then(async () => {
      await nextTask();
      signal.throwIfAborted();
      return speakable(text, emotions);
    });
    lastResult = result.catch(() => {});
    return result;
  };
  return async (http, { requestId, caller }) => {
    const body = parse(speechBody, (await readJson(http)).value);
    const format = chooseFormat(body.response_format || undefined, textToSpeech.formats);
    const place = texts.take(caller);
    const meter = measureSpeech();
    let sound: ReadableStream<Uint8Array<ArrayBuffer>>;
    let spoken: string;
    try {
      const text = spoken = await makeSpeakable(body.input, http.signal);
      // If a text has only a tag or code, the sound is a silence: after an error, some skins stop speaking.
      sound = text === "" ? new Blob([silence(format)]).stream() : await textToSpeech.speak({
        text,
        voice: body.voice || undefined,
        speed: body.speed ?? 1,
        format,
        model: body.model || undefined,
        instructions: body.instructions || undefined,
      }, http.signal);
    } catch (error) {
      place[Symbol.dispose]();
      meter.onEnd(http.signal.aborted ? "cancelled" : toAppError(error, "internal_error").code);
      throw error;
    }
    meter.onFirstAudio();
    const onEnd = (end: string, error?: unknown) => {
      place[Symbol.dispose]();
      meter.onEnd(end);
      if (error !== undefined) log.warn("the voice broke off", { code: end, error, requestId });
    };
    return body.stream_format === "sse"
      ? new Response(relay(sound, speechEvents(spoken), onEnd), { headers: EVENT_STREAM_HEADERS })
      : new Response(relay(sound, AS_IT_IS, onEnd), {
        headers: {
          "content-type": MEDIA_TYPES[format],
          // Keeps proxies from waiting for the whole sound.
          "cache-control": "no-cache, no-transform",
          "x-accel-buffering": "no",
        },
      });
  };
}

/** Creates the handler of `GET /audio/voices`, in the form that Open WebUI reads. */
export function voicesHandler({ textToSpeech }: SpeechDeps): Handler {
  if (textToSpeech === undefined) return refuse;
  return async (http) => Response.json({ voices: await textToSpeech.voices(http.signal) });
}

/** Creates the handler of `GET /audio/models`, in the form that Open WebUI reads. */
export function speechModelsHandler({ textToSpeech, speechModel }: SpeechDeps): Handler {
  if (textToSpeech === undefined) return refuse;
  return () => Response.json({ models: [{ id: speechModel, name: speechModel }] });
}

function refuse(): never {
  throw new AppError(
    "not_configured",
    "The voice is turned off: set provider of [speech] in config.toml, or VTUBER_SPEECH_PROVIDER, to another one.",
  );
}

/** Chooses the format of a request. The default is OpenAI's `mp3`, or `wav` if `mp3` cannot be made. */
function chooseFormat(asked: string | undefined, formats: readonly SpeechFormat[]): SpeechFormat {
  if (asked === undefined) return formats.includes("mp3") ? "mp3" : "wav";
  const found = formats.find((format) => format === asked);
  if (found) return found;
  const isKnown = SPEECH_FORMATS.some((format) => format === asked);
  const hint = isKnown ? ". ffmpeg, once it is installed, makes the others" : "";
  const message = `"response_format" must be one of ${formats.join(", ")} here${hint}.`;
  throw new AppError("unsupported_value", message, { param: "response_format" });
}

/** Encodes sound in pieces of base64 for one event each. Each piece can be decoded on its own. */
export function* toBase64Pieces(sound: Uint8Array<ArrayBuffer>): Generator<string> {
  for (let at = 0; at < sound.length; at += MAX_EVENT_BYTES) {
    yield sound.subarray(at, at + MAX_EVENT_BYTES).toBase64();
  }
}

/** Turns sound into the body of a response. */
interface Encoding {
  encode(sound: Uint8Array<ArrayBuffer>): readonly Uint8Array<ArrayBuffer>[];
  /** Returns the last bytes of the body; `undefined` if a failure has to break the body off. */
  end(failure?: AppError): Uint8Array<ArrayBuffer> | undefined;
}

const AS_IT_IS: Encoding = { encode: (sound) => [sound], end: () => undefined };

/** Encodes sound as the events of OpenAI's `stream_format: "sse"`. */
function speechEvents(text: string): Encoding {
  const encoder = new TextEncoder();
  const event = (name: string, data: object) =>
    encoder.encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  return {
    encode: (sound) =>
      toBase64Pieces(sound).map((audio) => event("speech.audio.delta", { type: "speech.audio.delta", audio }))
        .toArray(),
    end(failure) {
      if (failure) return event("error", errorBody(failure));
      const count = new TokenCount();
      count.add(text);
      // `output_tokens` is 0, because voices report no tokens.
      const usage = { input_tokens: count.value, output_tokens: 0, total_tokens: count.value };
      return event("speech.audio.done", { type: "speech.audio.done", usage });
    },
  };
}

/**
 * Relays sound at the speed of its reader, so that a slow reader slows down the voice. If the reader takes nothing for
 * {@linkcode READ_TIMEOUT_MS}, the sound breaks off.
 */
function relay(
  sound: ReadableStream<Uint8Array<ArrayBuffer>>,
  { encode, end }: Encoding,
  onEnd: (errorType: string, error?: unknown) => void,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const reader = sound.getReader();
  let isCancelled = false;
  const cancel = (reason: unknown) => {
    isCancelled = true;
    onEnd("cancelled");
    return reader.cancel(reason);
  };
  let waiting: Disposable | undefined;
  return new ReadableStream({
    async pull(controller) {
      waiting?.[Symbol.dispose]();
      const finish = (last: Uint8Array<ArrayBuffer> | undefined) => {
        if (last) controller.enqueue(last);
        controller.close();
      };
      try {
        // `pull` must enqueue something, because the stream does not call it again otherwise.
        for (let count = 0; count === 0;) {
          const { done, value } = await reader.read();
          if (isCancelled) return;
          if (done) {
            onEnd("");
            return finish(end());
          }
          const pieces = encode(value);
          for (const bytes of pieces) controller.enqueue(bytes);
          count = pieces.length;
        }
        waiting = startIdleTimer(READ_TIMEOUT_MS, () => {
          waiting?.[Symbol.dispose]();
          const unread = new Error(`Nobody took the sound for ${READ_TIMEOUT_MS / 60_000} minutes.`);
          controller.error(unread);
          cancel(unread).catch(() => {});
        });
      } catch (error) {
        if (isCancelled) return;
        const failure = toAppError(error, "internal_error");
        onEnd(failure.code, error);
        const last = end(failure);
        if (last === undefined) throw error;
        finish(last);
      }
    },
    cancel(reason) {
      waiting?.[Symbol.dispose]();
      return cancel(reason);
    },
  }, { highWaterMark: 0 });
}

/** Length of the silence for a text without words, in samples: a tenth of a second. */
const SILENT_SAMPLES = SPEECH_RATE / 10;
/** A frame of 24 milliseconds (MPEG-2, layer III, 8 kbit/s, 24,000 Hz, mono): its header, and no sound. */
const MP3_FRAME_BYTES = 24;
const MP3_FRAME_HEADER = [0xff, 0xf3, 0x14, 0xc4];
const MP3_FRAMES = 5;
/** Silent files, made with ffmpeg. */
const SILENT_FILES = {
  opus:
    "T2dnUwACAAAAAAAAAAAAAAAAAAAAAENewaEBE09wdXNIZWFkAQE4AcBdAAAAAABPZ2dTAAAAAAAAAAAAAAAAAAABAAAASZW+VAEuT3B1c1RhZ3MG" +
    "AAAAZmZtcGVnAQAAABQAAABlbmNvZGVyPUxhdmMgbGlib3B1c09nZ1MABPgTAAAAAAAAAAAAAAIAAABBShkFBgcGBgYGBggL5jsjq2AICKyzDsYI" +
    "CKyzDsYICKyzDsYICKyzDsYICKyzDsY=",
  aac: "//FYQAF//AEYIAf/8VhAAX/8ARggB//xWEABf/wBGCAH//FYQAF//AEYIAc=",
  flac: "ZkxhQ4AAACIJAAkAAAALAAAMBdwA8AAACWDnCTh7JO6yjCG2DlubZjnv//hHCACyAAAAy1L/+GcIAV9WAAAAPzY=",
};

/** Creates a short silence, because some players refuse an empty file. */
function silence(format: SpeechFormat): Uint8Array<ArrayBuffer> {
  switch (format) {
    case "mp3": {
      const bytes = new Uint8Array(MP3_FRAME_BYTES * MP3_FRAMES);
      for (let at = 0; at < bytes.length; at += MP3_FRAME_BYTES) bytes.set(MP3_FRAME_HEADER, at);
      return bytes;
    }
    case "wav":
      return encodeWav({ rate: SPEECH_RATE, samples: new Int16Array(SILENT_SAMPLES) });
    case "pcm":
      return new Uint8Array(SILENT_SAMPLES * Int16Array.BYTES_PER_ELEMENT);
    case "opus":
    case "aac":
    case "flac":
      return Uint8Array.fromBase64(SILENT_FILES[format]);
    default:
      return format satisfies never;
  }
}
