/** The port of the recognizers: a provider that transcribes recordings. @module */

/** A recording to transcribe. */
export interface TranscriptionRequest {
  /** The file as the client sent it. */
  readonly audio: Uint8Array<ArrayBuffer>;
  /** The name of the file, whose ending can tell the container. */
  readonly filename: string;
  /** The language of the recording, as an ISO 639-1 code; `undefined` lets the provider find out. */
  readonly language: string | undefined;
  /** Text that precedes the recording, as a hint; only upstreams use it. */
  readonly prompt: string | undefined;
  readonly temperature: number | undefined;
  /** The model that the client named; only upstreams have models. */
  readonly model: string | undefined;
  /** The times that the client asks for. A provider without them leaves them out. */
  readonly times: readonly ("segment" | "word")[];
}

/** A part of a recording; its times are seconds from the start. */
export interface TimedText {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** The words of a recording. */
export interface Transcript {
  readonly text: string;
  /** The language that the provider reports. */
  readonly language: string | undefined;
  /** The length of the recording in seconds; `undefined` if it is unknown. */
  readonly durationSecs: number | undefined;
  readonly segments: readonly TimedText[] | undefined;
  readonly words: readonly TimedText[] | undefined;
}

/** Transcribes recordings. */
export interface SpeechToText {
  /**
   * Transcribes a recording.
   *
   * @param onText Receives pieces of the text, if the provider streams. All pieces together are the text.
   * @throws {AppError} if the recording cannot be read, or the provider fails.
   */
  transcribe(
    request: TranscriptionRequest,
    signal: AbortSignal,
    onText?: (piece: string) => void,
  ): Promise<Transcript>;
}
