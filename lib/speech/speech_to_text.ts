/** The port of the recognizers: a provider that writes down what a recording says. @module */

/** A recording to write down. */
export interface TranscriptionRequest {
  /** The file as the client sent it. */
  readonly audio: Uint8Array<ArrayBuffer>;
  /** The name of the file, whose ending can tell the container. */
  readonly filename: string;
  /** The language of the recording, as an ISO 639-1 code; `undefined` lets the provider find out. */
  readonly language: string | undefined;
  /** Words before the recording; only upstreams use them. */
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
  /** The language, as the provider tells it. */
  readonly language: string | undefined;
  /** The length of the recording in seconds; `undefined` if nobody has measured it. */
  readonly durationSecs: number | undefined;
  readonly segments: readonly TimedText[] | undefined;
  readonly words: readonly TimedText[] | undefined;
}

/** Writes down what recordings say. */
export interface SpeechToText {
  /**
   * Writes down a recording.
   *
   * @param onText Gets pieces of the text as they are found, if the provider finds pieces; together they are the text.
   * @throws {AppError} if the recording cannot be read, or the provider fails.
   */
  transcribe(
    request: TranscriptionRequest,
    signal: AbortSignal,
    onText?: (piece: string) => void,
  ): Promise<Transcript>;
}
