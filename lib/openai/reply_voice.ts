/** The voice of a chat reply: `modalities: ["text", "audio"]`. @module */

import { z } from "zod";
import { BoundedMap } from "../core/bounded_map.ts";
import { AppError } from "../core/errors.ts";
import { USUAL_SPEECH_MODEL } from "../speech/config.ts";
import { speakable } from "../speech/plain_text.ts";
import { SentenceSplitter } from "../speech/sentences.ts";
import type { SpeechFormat, SpeechRequest, TextToSpeech } from "../speech/text_to_speech.ts";
import { type Caller, requireScopes } from "../turn/caller.ts";
import type { EmotionWords } from "../turn/emotion.ts";
import { SpeechScan } from "../turn/speech_scan.ts";
import { voiceName } from "./speech.ts";
import { parse } from "./wire.ts";

/** Most characters that the voice gets at once, fewer than OpenAI's limit for a text. */
const MAX_BATCH_CHARS = 2_000;
/** Most characters of a reply that are spoken, about an hour. The rest of the reply is sent as text only. */
const MAX_SPOKEN_CHARS = 60_000;
/** Most bytes of the sound of a reply that is not streamed. */
const MAX_SOUND_BYTES = 32 * 1024 * 1024;

/** The formats by their names in OpenAI's chat API. */
const FORMATS: Readonly<Record<string, SpeechFormat>> = {
  ...{ wav: "wav", mp3: "mp3", flac: "flac", opus: "opus", aac: "aac" },
  pcm16: "pcm",
};
/** The only format that can be streamed, as in OpenAI's API: its pieces can be joined. */
const STREAMED = "pcm16";

/** The voice that a request asks for. */
export type VoiceRequest = Pick<SpeechRequest, "voice" | "format">;

const audioField = z.object({
  voice: voiceName.nullish(),
  format: z.string().nullish(),
});

/** The fields of a chat request that ask for sound. */
export const VOICE_FIELDS: readonly string[] = ["modalities", "audio"];

/** The rest of a request that asks for sound. */
interface VoiceOptions {
  readonly isStreamed: boolean;
  /** Whether the reply is JSON, by `response_format`. */
  readonly isJson: boolean;
  readonly textToSpeech: TextToSpeech | undefined;
  readonly caller: Caller;
}

/**
 * Reads the fields `modalities` and `audio` of a chat request.
 *
 * @returns `undefined` if the request asks for no sound.
 * @throws {AppError} that names the field.
 */
export function parseVoice(
  body: unknown,
  { isStreamed, isJson, textToSpeech, caller }: VoiceOptions,
): VoiceRequest | undefined {
  const { modalities, audio } = Object(body);
  if (!Array.isArray(modalities) || !modalities.includes("audio")) return undefined;
  if (textToSpeech === undefined) {
    const message =
      '"modalities" asks for audio, but the voice is turned off: set provider of [speech] in config.toml to another ' +
      "one, or ask for text.";
    throw new AppError("not_configured", message, { param: "modalities" });
  }
  requireScopes(caller, ["audio"], "Sound in a reply");
  if (isJson) {
    const message = '"modalities" cannot ask for audio together with "response_format": JSON is not spoken.';
    throw new AppError("unsupported_value", message, { param: "modalities" });
  }
  const { voice, format: asked } = parse(audioField, audio ?? {}, ["audio"]);
  const name = asked || (isStreamed ? STREAMED : "wav");
  const format = Object.hasOwn(FORMATS, name) ? FORMATS[name] : undefined;
  const possible = isStreamed
    ? [STREAMED]
    : Object.keys(FORMATS).filter((name) => textToSpeech.formats.includes(FORMATS[name]!));
  if (format === undefined || !possible.includes(name)) {
    const where = isStreamed ? "in a stream" : "here";
    const hint = format && !isStreamed ? " ffmpeg, once it is installed, makes the others." : "";
    const message = `"audio.format" must be one of ${possible.join(", ")} ${where}.${hint}`;
    throw new AppError("unsupported_value", message, { param: "audio.format" });
  }
  return { voice: voice || undefined, format };
}

/** Creates the request for the sound of a text. */
function speechRequest(text: string, { voice, format }: VoiceRequest): SpeechRequest {
  // The `model` of a chat request names the agent, not a model of the voice.
  return { text, voice, format, speed: 1, model: USUAL_SPEECH_MODEL, instructions: undefined };
}

/** Options of {@linkcode speakReply}. */
interface ReplySpeech extends Pick<ReplyVoiceOptions, "textToSpeech" | "request" | "words" | "signal"> {
  /** Reserves memory for bytes. @throws {AppError} if there is no room. */
  readonly hold: (bytes: number) => void;
}

/**
 * Speaks a whole reply.
 *
 * @returns Base64; `undefined` if nothing in the reply can be spoken.
 * @throws {AppError} if the voice fails, or the sound is too large.
 */
export async function speakReply(
  text: string,
  { textToSpeech, request, words, hold, signal }: ReplySpeech,
): Promise<string | undefined> {
  const spoken = speakable(text.slice(0, MAX_SPOKEN_CHARS), words);
  if (spoken === "") return undefined;
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  for await (const piece of await textToSpeech.speak(speechRequest(spoken, request), signal)) {
    size += piece.byteLength;
    hold(piece.byteLength);
    if (size > MAX_SOUND_BYTES) {
      throw new AppError(
        "body_too_large",
        `The sound has more than ${MAX_SOUND_BYTES / 1024 ** 2} MiB: stream it.`,
      );
    }
    pieces.push(piece);
  }
  return (await new Blob(pieces).bytes()).toBase64();
}

/** Time for which the text of a spoken reply is kept, in seconds, and the most replies that are kept. */
export const SPOKEN_REPLY_SECS = 3_600;
const MAX_SPOKEN_REPLIES = 1_000;

/** The texts of spoken replies. A client sends a spoken reply back without its text, by the id of its sound. */
export class SpokenReplies {
  readonly #replies = new BoundedMap<string, { owner: string; text: string; at: number }>(MAX_SPOKEN_REPLIES);

  /** Returns the text of a reply that the owner got. */
  get(id: string, owner: string): string | undefined {
    const reply = this.#replies.get(id);
    const isFresh = reply && performance.now() - reply.at < SPOKEN_REPLY_SECS * 1000;
    return isFresh && reply.owner === owner ? reply.text : undefined;
  }

  /** Remembers a reply of at most {@linkcode MAX_SPOKEN_CHARS} characters. */
  set(id: string, owner: string, text: string): void {
    if (text.length > MAX_SPOKEN_CHARS) return;
    this.#replies.set(id, { owner, text, at: performance.now() });
  }
}

/** The parts that a {@linkcode ReplyVoice} works with. */
export interface ReplyVoiceOptions {
  readonly textToSpeech: TextToSpeech;
  readonly request: VoiceRequest;
  readonly words: EmotionWords;
  /** Receives the sound in order. The voice waits until the promise resolves. */
  readonly onSound: (sound: Uint8Array<ArrayBuffer>) => Promise<void>;
  /** Is called if the voice fails. The rest of the reply is then sent as text only. */
  readonly onFailure: (error: unknown) => void;
  readonly signal: AbortSignal;
}

/** Speaks a reply while the agent writes it. Sentences that wait are spoken together. */
export class ReplyVoice {
  readonly #options: ReplyVoiceOptions;
  readonly #splitter = new SentenceSplitter();
  readonly #scan: SpeechScan;
  #waiting: string[] = [];
  #chars = 0;
  #working: Promise<void> | undefined;
  #hasFailed = false;

  constructor(options: ReplyVoiceOptions) {
    this.#options = options;
    this.#scan = new SpeechScan(options.words, () => true, (event) => {
      if (event.type === "speech") this.#add(this.#splitter.push(event.text));
    });
  }

  /** Takes the next piece of the reply. */
  push(text: string): void {
    this.#scan.push(text);
  }

  /** Ends a run of text, because a tool call or a thought follows. The text so far is spoken meanwhile. */
  pause(): void {
    this.#scan.pause();
    this.#add(this.#splitter.end());
  }

  /** Marks the end of the reply. Resolves once all of it is spoken, or the voice has failed. */
  async end(): Promise<void> {
    this.#scan.end();
    this.#add(this.#splitter.end());
    await this.#working;
  }

  #add(sentences: readonly string[]): void {
    for (const sentence of sentences) {
      this.#chars += sentence.length;
      if (this.#hasFailed || this.#chars > MAX_SPOKEN_CHARS) return;
      this.#waiting.push(sentence);
    }
    if (this.#waiting.length > 0) this.#working ??= this.#work();
  }

  async #work(): Promise<void> {
    const { textToSpeech, request, onSound, onFailure, signal } = this.#options;
    try {
      while (this.#waiting.length > 0) {
        const text = this.#takeBatch();
        const sound = await textToSpeech.speak(speechRequest(text, request), signal).catch(skipOtherLanguage);
        for await (const piece of sound ?? []) await onSound(piece);
      }
    } catch (error) {
      this.#hasFailed = true;
      this.#waiting = [];
      if (!signal.aborted) onFailure(error);
    } finally {
      this.#working = undefined;
    }
  }

  /** Takes the sentences that wait, at least one. */
  #takeBatch(): string {
    let text = this.#waiting.shift()!;
    while (this.#waiting.length > 0 && text.length + this.#waiting[0]!.length < MAX_BATCH_CHARS) {
      text += ` ${this.#waiting.shift()}`;
    }
    return text;
  }
}

/** Skips sentences in a language that the voice does not speak. @throws Any other error. */
function skipOtherLanguage(error: unknown): undefined {
  if (!(error instanceof AppError && error.code === "unsupported_value")) throw error;
}
