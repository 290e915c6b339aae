/** Changes the rate of sound, without aliases: a windowed sinc in as many phases as the two rates have. Pure. @module */

import { setImmediate } from "node:timers/promises";
import { type Pcm, type Sound, toSample } from "./pcm.ts";

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
  const resampler = new Resampler(pcm.rate, rate);
  const samples = new Int16Array(resampler.lengthOf(pcm.samples.length));
  resampler.write(samples, 0, pcm.samples, 0);
  return { rate, samples };
}

/**
 * Reads sound at another rate, in steps between which the program does other work.
 *
 * @throws The signal's reason if it aborts.
 */
export async function resampleSound(sound: Sound, rate: number, signal: AbortSignal): Promise<Pcm> {
  const resampler = sound.rate === rate ? undefined : new Resampler(sound.rate, rate);
  const samples = new Int16Array(resampler?.lengthOf(sound.length) ?? sound.length);
  const step = Math.ceil(STEP_SAMPLES * Math.min(1, rate / sound.rate));
  for (let at = 0; at < samples.length; at += step) {
    signal.throwIfAborted();
    const part = samples.subarray(at, at + step);
    const end = at + part.length;
    if (resampler === undefined) {
      part.set(sound.read(at, end));
    } else {
      const [from, to] = resampler.inputOf(at, end);
      const start = Math.max(0, from);
      resampler.write(part, at, sound.read(start, Math.min(to, sound.length)), start);
    }
    await setImmediate();
  }
  return { rate, samples };
}

class Resampler {
  /** Input samples for one of the output. */
  readonly #step: number;
  readonly #taps: number;
  readonly #phases: number;
  /** The filter of each phase, one after the other. */
  readonly #filters: Float32Array;

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

  /** The samples of the input, some of which may not exist, that the output from `from` up to `to` is made of. */
  inputOf(from: number, to: number): [from: number, to: number] {
    return [
      Math.floor(from * this.#step) - this.#taps / 2,
      Math.ceil((to - 1) * this.#step) + this.#taps / 2 + 1,
    ];
  }

  /**
   * Makes samples of the output.
   *
   * @param outputStart The place of the first sample in the whole output.
   * @param inputStart The place of the first sample of `input` in the whole input. Samples that are not there are 0.
   */
  write(output: Int16Array, outputStart: number, input: Int16Array, inputStart: number): void {
    const taps = this.#taps;
    const phases = this.#phases;
    const filters = this.#filters;
    const step = this.#step;
    for (let i = 0; i < output.length; i++) {
      const position = (outputStart + i) * step;
      let whole = Math.floor(position);
      let phase = Math.round((position - whole) * phases);
      if (phase === phases) {
        whole++;
        phase = 0;
      }
      const first = whole - taps / 2 + 1 - inputStart;
      const start = first < 0 ? -first : 0;
      const end = first + taps > input.length ? input.length - first : taps;
      const filter = phase * taps;
      let sum = 0;
      for (let tap = start; tap < end; tap++) sum += filters[filter + tap]! * input[first + tap]!;
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
