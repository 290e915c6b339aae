/** Changes the rate of sound, without aliases: a windowed sinc in as many phases as the two rates have. Pure. @module */

import type { Pcm } from "./pcm.ts";
import { toSample } from "./wav.ts";

/** Zero crossings of the sinc on each side. More make the filter steeper. */
const ZERO_CROSSINGS = 16;
/** Width of the pass band, as a part of the lower of the two Nyquist frequencies. The stop band begins at about 1. */
const PASS_BAND = 0.89;
/** Shape of the Kaiser window: about 60 dB of attenuation. */
const KAISER_BETA = 5.65;
/** Phases of the filter. The rates in use need up to 640; with others a sample is at the nearest phase. */
const MAX_PHASES = 1_024;

/** Returns sound at another rate. The sound may be the same object. */
export function resample(pcm: Pcm, rate: number): Pcm {
  if (pcm.rate === rate) return pcm;
  const resampler = new Resampler(pcm.rate, rate);
  const length = resampler.lengthOf(pcm.samples.length);
  const samples = new Int16Array(length);
  resampler.read(pcm.samples, samples, 0, length);
  return { rate, samples };
}

class Resampler {
  readonly #step: number;
  readonly #taps: number;
  readonly #phases: number;
  /** The filter of each phase, one after the other. */
  readonly #filters: Float32Array;

  constructor(from: number, to: number) {
    const divisor = greatestCommonDivisor(from, to);
    this.#step = from / to;
    this.#phases = Math.min(to / divisor, MAX_PHASES);
    const cutoff = PASS_BAND * Math.min(1, to / from);
    const halfTaps = Math.ceil(ZERO_CROSSINGS / Math.min(1, to / from));
    this.#taps = 2 * halfTaps;
    this.#filters = makeFilters(this.#phases, halfTaps, cutoff);
  }

  lengthOf(samples: number): number {
    return Math.round(samples / this.#step);
  }

  /** Makes the samples from `from` to `to`. */
  read(input: Int16Array, output: Int16Array, from: number, to: number): void {
    const taps = this.#taps;
    const filters = this.#filters;
    for (let i = from; i < to; i++) {
      const position = Math.round(i * this.#step * this.#phases);
      const phase = position % this.#phases;
      const first = (position - phase) / this.#phases - taps / 2 + 1;
      const start = Math.max(0, -first);
      const end = Math.min(taps, input.length - first);
      let sum = 0;
      for (let tap = start, at = phase * taps + start; tap < end; tap++, at++) {
        sum += filters[at]! * input[first + tap]!;
      }
      output[i] = toSample(sum);
    }
  }
}

/** Makes a low-pass filter for each phase. `cutoff` is a part of the Nyquist frequency. */
function makeFilters(phases: number, halfTaps: number, cutoff: number): Float32Array {
  const taps = 2 * halfTaps;
  const filters = new Float32Array(phases * taps);
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
