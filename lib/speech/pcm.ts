/** Sound as samples, the common form of voices, recognizers and file formats. @module */

import { AppError } from "../core/errors.ts";

/** Samples in a second of the speech that clients get: OpenAI's `pcm`. */
export const SPEECH_RATE = 24_000;
/** Samples in a second of the sound that recognizers get. */
export const LISTENING_RATE = 16_000;

/**
 * Longest recording, in seconds: 115 MB at {@linkcode LISTENING_RATE}. A small compressed file can contain days of silence.
 * Uncompressed files of 25 MB are shorter, even at 8 bits and 8,000 Hz.
 */
export const MAX_RECORDING_SECS = 3_600;

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

/** Creates a sound from samples in memory. */
export function soundOf({ rate, samples }: Pcm): Sound {
  return { rate, length: samples.length, read: (from, to) => samples.subarray(from, to) };
}

/** Checks the length of a recording. @throws {AppError} if it is longer than {@linkcode MAX_RECORDING_SECS}. */
export function requireLength(samples: number, rate: number): void {
  if (samples <= rate * MAX_RECORDING_SECS) return;
  const message = `The recording is longer than ${MAX_RECORDING_SECS / 60} minutes: send it in parts.`;
  throw new AppError("body_too_large", message);
}

/** Rounds and limits a value to 16 bits. A value that is no number is silence. */
export function toSample(value: number): number {
  if (value >= 0x7fff) return 0x7fff;
  if (value <= -0x8000) return -0x8000;
  return (value < 0 ? value - 0.5 : value + 0.5) | 0;
}
