/** The port of the recognizers: a provider that transcribes recordings. @module */

/** Bytes of the memory for a recording at first. It is doubled when it is full. */
const FIRST_BYTES = 256 * 1024;

/** A recording to transcribe. */
export interface Recording {
  /** The name of the file, whose ending can tell the container. */
  readonly filename: string;
  /**
   * Yields the bytes of the file as they come, and returns what is asked for, because the fields of a form can follow
   * its file. An error of it is the error of the transcription. A provider reads it to its end, or fails.
   */
  readonly audio: AsyncGenerator<Uint8Array<ArrayBuffer>, TranscriptionOptions, undefined>;
  /** Makes room for bytes that the provider keeps. @throws {AppError} if there is none. */
  readonly hold?: (bytes: number) => void;
}

/** What is asked for. */
export interface TranscriptionOptions {
  /** The language of the recording, as an ISO 639-1 code; without it, the provider finds out. */
  readonly language?: string | undefined;
  /** Text that precedes the recording, as a hint; only upstreams use it. */
  readonly prompt?: string | undefined;
  readonly temperature?: number | undefined;
  /** The model that the client named; only upstreams have models. */
  readonly model?: string | undefined;
  /** The times that the client asks for. A provider without them leaves them out. */
  readonly times?: readonly ("segment" | "word")[];
  /** Receives pieces of the text, if the provider streams. All pieces together are the text. */
  readonly onText?: ((piece: string) => void) | undefined;
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
  /** Transcribes a recording. @throws {AppError} if the recording cannot be read, or the provider fails. */
  transcribe(recording: Recording, signal: AbortSignal): Promise<Transcript>;
}

/** Makes a recording of a file that is in memory already. */
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
 * Reads a recording to its end, for a provider that needs it whole. Each chunk is copied as it comes: 25 MB at once would
 * hold up other requests for 50 ms.
 *
 * @throws {AppError}
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
