/** The port of the recognizers: a provider that transcribes recordings. @module */

/** First size of the buffer for a recording, in bytes. A full buffer is replaced by a larger one. */
const FIRST_BYTES = 256 * 1024;

/** A recording to transcribe. */
export interface Recording {
  /** The name of the file. A server may detect the format by its extension. */
  readonly filename: string;
  /**
   * Yields the bytes of the file while they arrive, and then returns the options: the fields of a form can follow its
   * file. A provider reads the generator to its end. If the generator throws, `transcribe` throws the same error.
   */
  readonly audio: AsyncGenerator<Uint8Array<ArrayBuffer>, TranscriptionOptions, undefined>;
  /** Reserves memory for bytes that the provider keeps. @throws {AppError} if there is no room. */
  readonly hold?: (bytes: number) => void;
}

/** Options of a transcription. */
export interface TranscriptionOptions {
  /** The language of the recording, as an ISO 639-1 code. Without a code, the provider detects the language. */
  readonly language?: string | undefined;
  /** Text that precedes the recording, as a hint; only upstreams use it. */
  readonly prompt?: string | undefined;
  readonly temperature?: number | undefined;
  /** The model that the client named; only upstreams have models. */
  readonly model?: string | undefined;
  /** The timestamps that the client asks for. A provider that has none leaves them out. */
  readonly times?: readonly ("segment" | "word")[];
  /** Receives the text in pieces, if the provider streams. The pieces joined are the whole text. */
  readonly onText?: ((piece: string) => void) | undefined;
}

/** A part of a recording; its times are seconds from the start. */
export interface TimedText {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** The text of a recording. */
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
  /** Transcribes a recording. @throws {AppError} if the recording cannot be read, or the provider fails. */
  transcribe(recording: Recording, signal: AbortSignal): Promise<Transcript>;
}

/** Creates a recording from a file in memory. */
export function recordingOf(
  filename: string,
  bytes: Uint8Array<ArrayBuffer>,
  options: TranscriptionOptions = {},
): Recording {
  return {
    filename,
    audio: async function* (): Recording["audio"] {
      yield bytes;
      return options;
    }(),
  };
}

/**
 * Reads a whole recording into memory. Each chunk is copied when it arrives: a copy of 25 MB at the end would block the
 * event loop for 50 ms.
 *
 * @throws The error of `audio` or `hold`.
 */
export async function readRecording(
  { audio, hold }: Recording,
): Promise<{ bytes: Uint8Array<ArrayBuffer>; options: TranscriptionOptions }> {
  let bytes = new Uint8Array(FIRST_BYTES);
  let size = 0;
  for (;;) {
    const { done, value } = await audio.next();
    if (done) return { bytes: bytes.subarray(0, size), options: value };
    const start = size;
    size += value.length;
    hold?.(value.length);
    if (size > bytes.length) {
      const larger = new Uint8Array(2 * size);
      larger.set(bytes);
      bytes = larger;
    }
    bytes.set(value, start);
  }
}
