/** Changes the rate of sound, without aliases: a windowed sinc in as many phases as the two rates have. Pure. @module */

import { nextTask } from "../core/next_task.ts";
import { type Pcm, type Sound, soundOf, toSample } from "./pcm.ts";

/** Zero crossings of the sinc on each side. More make the filter steeper. */
const ZERO_CROSSINGS = 16;
/** Width of the pass band, as a part of the lower of the two Nyquist frequencies. The stop band begins at about 1. */
const PASS_BAND = 0.89;
/** Shape of the Kaiser window: about 60 dB of attenuation. */
const KAISER_BETA = 5.65;
/** Phases of the filter. The rates in use need up to 640; with others a sample is at the nearest phase. */
const MAX_PHASES = 1_024;

/** Samples that are read and made between two pauses: some milliseconds of work. */
const STEP_SAMPLES = 65_536;

/** Returns sound at another rate; at the same rate, the same object. */
export function resample(pcm: Pcm, rate: number): Pcm {
  if (pcm.rate === rate) return pcm;
  const { length, parts } = resampleInParts(soundOf(pcm), rate);
  return { rate, samples: join([...parts], length) };
}

/**
 * Does the same as {@linkcode resample} in steps, so that other tasks can run between them.
 *
 * @throws The signal's reason if it aborts.
 */
export async function resampleInSteps(pcm: Pcm, rate: number, signal: AbortSignal): Promise<Pcm> {
  if (pcm.rate === rate) return pcm;
  const { length, parts } = resampleInParts(soundOf(pcm), rate);
  const made: Int16Array[] = [];
  for (const part of parts) {
    made.push(part);
    await nextTask();
    signal.throwIfAborted();
  }
  return { rate, samples: join(made, length) };
}

function join(parts: readonly Int16Array[], length: number): Int16Array<ArrayBuffer> {
  const samples = new Int16Array(length);
  let at = 0;
  for (const part of parts) {
    samples.set(part, at);
    at += part.length;
  }
  return samples;
}

/** Returns the length of sound at another rate, and its parts. Each part is computed when the iterator gets to it. */
export function resampleInParts(
  sound: Sound,
  rate: number,
): { length: number; parts: Iterable<Int16Array<ArrayBuffer>> } {
  const resampler = sound.rate === rate ? undefined : new Resampler(sound.rate, rate);
  const length = resampler?.lengthOf(sound.length) ?? sound.length;
  const step = Math.ceil(STEP_SAMPLES * Math.min(1, rate / sound.rate));
  function* parts() {
    for (let at = 0; at < length; at += step) {
      const end = Math.min(length, at + step);
      yield resampler?.read(sound, at, end) ?? sound.read(at, end);
    }
  }
  return { length, parts: parts() };
}

class Resampler {
  /** Input samples for one of the output. */
  readonly #step: number;
  readonly #taps: number;
  readonly #phases: number;
  /** The filter of each phase, one after the other. */
  readonly #filters: Float64Array;

  constructor(from: number, to: number) {
    this.#step = from / to;
    this.#phases = Math.min(to / greatestCommonDivisor(from, to), MAX_PHASES);
    const narrowing = Math.max(1, this.#step);
    const halfTaps = Math.ceil(ZERO_CROSSINGS * narrowing);
    this.#taps = 2 * halfTaps;
    this.#filters = makeFilters(this.#phases, halfTaps, PASS_BAND / narrowing);
  }

  lengthOf(samples: number): number {
    return Math.round(samples / this.#step);
  }

  /** Makes the samples of the output from `from` up to `to`. */
  read(sound: Sound, from: number, to: number): Int16Array<ArrayBuffer> {
    const part = new Int16Array(to - from);
    const taps = this.#taps;
    const phases = this.#phases;
    const filters = this.#filters;
    const step = this.#step;
    const start = Math.max(0, Math.floor(from * step) - taps);
    const end = Math.min(sound.length, Math.ceil(to * step) + taps);
    // As the filters, because numbers of one kind are multiplied fastest. Around the sound is silence.
    const input = new Float64Array(end - start + 2 * taps);
    input.set(sound.read(start, end), taps);
    const offset = taps / 2 + 1 - start;
    for (let i = 0; i < part.length; i++) {
      const position = (from + i) * step;
      let first = Math.floor(position);
      let phase = Math.round((position - first) * phases);
      if (phase === phases) {
        first++;
        phase = 0;
      }
      first += offset;
      const filter = phase * taps;
      // Two sums do not wait for each other.
      let [even, odd] = [0, 0];
      for (let tap = 0; tap < taps; tap += 2) {
        even += filters[filter + tap]! * input[first + tap]!;
        odd += filters[filter + tap + 1]! * input[first + tap + 1]!;
      }
      part[i] = toSample(even + odd);
    }
    return part;
  }
}

/** Makes a low-pass filter for each phase. `cutoff` is a part of the Nyquist frequency. */
function makeFilters(phases: number, halfTaps: number, cutoff: number): Float64Array {
  const taps = 2 * halfTaps;
  const filters = new Float64Array(phases * taps);
  const scale = bessel(KAISER_BETA);
  for (let phase = 0; phase < phases; phase++) {
    const start = phase * taps;
    let sum = 0;
    for (let tap = 0; tap < taps; tap++) {
      const x = tap - halfTaps + 1 - phase / phases;
      const edge = x / halfTaps;
      const window = bessel(KAISER_BETA * Math.sqrt(Math.max(0, 1 - edge * edge))) / scale;
      const angle = Math.PI * x * cutoff;
      const value = window * (angle === 0 ? 1 : Math.sin(angle) / angle);
      filters[start + tap] = value;
      sum += value;
    }
    // Every phase is as loud as the others.
    for (let tap = 0; tap < taps; tap++) filters[start + tap]! /= sum;
  }
  return filters;
}

/** The modified Bessel function of the first kind, of order 0. */
function bessel(x: number): number {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-9; k++) sum += term *= (x / 2 / k) ** 2;
  return sum;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
