/** Sound as samples: the form between the voices, the recognizers and the file formats. @module */

/** Samples in a second of the speech that clients get: OpenAI's `pcm`. */
export const SPEECH_RATE = 24_000;
/** Samples in a second of the sound that recognizers get. */
export const LISTENING_RATE = 16_000;

/** Sound of one channel. */
export interface Pcm {
  /** Samples in a second. */
  readonly rate: number;
  /** Signed 16-bit samples. */
  readonly samples: Int16Array<ArrayBuffer>;
}
