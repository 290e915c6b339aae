/** The port of the voices: a provider that speaks text. @module */

/** The formats of OpenAI's speech endpoint. `pcm` is 16-bit little-endian mono sound of 24,000 samples in a second. */
export const SPEECH_FORMATS = ["mp3", "opus", "aac", "flac", "wav", "pcm"] as const;
/** One of {@linkcode SPEECH_FORMATS}. */
export type SpeechFormat = (typeof SPEECH_FORMATS)[number];

/** A voice that a request can name. */
export interface Voice {
  /** The value of `voice` in a request. */
  readonly id: string;
  readonly name: string;
  /** The language that the voice speaks, as a BCP 47 tag such as `en-US`; `undefined` if the provider does not tell. */
  readonly language: string | undefined;
}

/** A text to speak. */
export interface SpeechRequest {
  /** Plain text: without emotion tags, Markdown and code. */
  readonly text: string;
  /** A voice's id, or a name that the provider may not know, such as OpenAI's `alloy`; `undefined` is the provider's choice. */
  readonly voice: string | undefined;
  /** Speed, from 0.25 to 4; 1 is the voice's own. */
  readonly speed: number;
  /** One of the provider's formats. */
  readonly format: SpeechFormat;
  /** The model that the client named; only upstreams have models. */
  readonly model: string | undefined;
  /** The way of speaking, in words; only upstreams follow it. */
  readonly instructions: string | undefined;
}

/** Speaks text. */
export interface TextToSpeech extends AsyncDisposable {
  /** The formats that this provider makes. `wav` and `pcm` are always among them. */
  readonly formats: readonly SpeechFormat[];
  /** Lists the voices. The first is the one that speaks if a request names none. */
  voices(signal: AbortSignal): Promise<readonly Voice[]>;
  /**
   * Speaks a text. Resolves once the first sound is there. A long text is spoken sentence by sentence, so that the first
   * sound does not wait for the last sentence.
   *
   * @returns The bytes of the format, as they are made. Cancelling the stream ends the work.
   * @throws {AppError} if the provider fails before the first sound; a later failure errors the stream.
   */
  speak(request: SpeechRequest, signal: AbortSignal): Promise<ReadableStream<Uint8Array<ArrayBuffer>>>;
}
