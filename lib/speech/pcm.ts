/** Sound as samples, the common form of voices, recognizers and file formats. @module */

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

/** Sound that is read in parts, so that it need not be in memory as a whole. */
export interface Sound {
  /** Samples in a second. */
  readonly rate: number;
  /** Samples of the whole sound. */
  readonly length: number;
  /** Reads the samples from `from` up to `to`, which are from 0 to `length`. */
  read(from: number, to: number): Int16Array<ArrayBuffer>;
}

/** Rounds and limits a value to 16 bits. A value that is no number is silence. */
export function toSample(value: number): number {
  if (value >= 0x7fff) return 0x7fff;
  if (value <= -0x8000) return -0x8000;
  return (value < 0 ? value - 0.5 : value + 0.5) | 0;
}
