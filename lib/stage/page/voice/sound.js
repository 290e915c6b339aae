// @ts-check
/** Sound as samples: loudness, another rate, and the WAV file that recognizers read. @module */

/** Samples in a second of the sound that is sent to recognizers. */
export const LISTENING_RATE = 16_000;
/** The loudness at which the mouth begins to open, and at which it is wide open, in dB below full scale. */
const QUIET_DB = -46;
const LOUD_DB = -16;
/** Samples of the sound on each side of a new sample, at the lower of both rates. */
const KERNEL_SAMPLES = 8;

/** Returns the loudness of samples, in dB below full scale; -100 for silence. @param {Float32Array} samples */
export function loudnessDb(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return Math.max(-100, 10 * Math.log10(sum / Math.max(1, samples.length) + 1e-12));
}

/** Returns how far a mouth is open for a loudness, from 0 to 1. @param {number} db */
export function opennessOf(db) {
  return Math.min(1, Math.max(0, (db - QUIET_DB) / (LOUD_DB - QUIET_DB)));
}

/**
 * Converts 16-bit little-endian samples.
 *
 * @param {Uint8Array} bytes An even number of bytes.
 */
export function toFloats(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from(
    { length: bytes.length >> 1 },
    (_, index) => view.getInt16(2 * index, true) / 32_768,
  );
}

/**
 * Changes the rate of samples. Frequencies that the new rate cannot carry are removed by a windowed sinc.
 *
 * @param {Float32Array} samples @param {number} from @param {number} to Samples in a second.
 */
export function resample(samples, from, to) {
  if (from === to) return samples;
  const step = from / to;
  const width = Math.max(1, step);
  const radius = Math.ceil(KERNEL_SAMPLES * width);
  return Float32Array.from({ length: Math.floor(samples.length / step) }, (_, index) => {
    const center = index * step;
    let [sum, weights] = [0, 0];
    for (let at = Math.ceil(center - radius); at <= center + radius; at++) {
      const x = (at - center) / width;
      const weight = sinc(x) * (0.5 + 0.5 * Math.cos(Math.PI * x / KERNEL_SAMPLES));
      weights += weight;
      sum += weight * (samples[at] ?? 0);
    }
    return sum / weights;
  });
}

/** @param {number} x */
function sinc(x) {
  return Math.abs(x) < 1e-9 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/**
 * Makes a WAV file of one channel with 16 bits.
 *
 * @param {Float32Array} samples @param {number} rate
 */
export function encodeWav(samples, rate) {
  const bytes = new Uint8Array(44 + 2 * samples.length);
  const view = new DataView(bytes.buffer);
  /** @param {number} at @param {string} text */
  const word = (at, text) => bytes.set(new TextEncoder().encode(text), at);
  word(0, "RIFF");
  view.setUint32(4, bytes.length - 8, true);
  word(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  word(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, index) => {
    view.setInt16(44 + 2 * index, Math.round(32_767 * Math.min(1, Math.max(-1, sample))), true);
  });
  return bytes;
}
