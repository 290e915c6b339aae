/** The WAV format: reads recordings of any writer, and writes 16-bit mono. Pure. @module */

import { AppError } from "../core/errors.ts";
import { nextTask } from "../core/next_task.ts";
import { type Pcm, requireLength, type Sound, toSample } from "./pcm.ts";
import { resampleInParts } from "./resample.ts";

/** Samples in a second of a file that is read. */
const MIN_RATE = 1_000;
const MAX_RATE = 384_000;
const MAX_CHANNELS = 32;
/** Chunks of a file that are looked at before its sound. Each costs a writer 8 bytes only. */
const MAX_CHUNKS = 1_000;

/** `wFormatTag` of the `fmt ` chunk. */
const FORMAT_INTEGER = 0x0001;
const FORMAT_FLOAT = 0x0003;
const FORMAT_EXTENSIBLE = 0xfffe;
/** The rest of the GUID in a `WAVE_FORMAT_EXTENSIBLE` whose first two bytes are a `wFormatTag`. */
const SUBFORMAT_TAIL = "000000001000800000aa00389b71";
const EXTENSIBLE_BYTES = 40;
/** A length that its writer did not know, because the file was a stream. */
const UNKNOWN_LENGTH = 0xffff_ffff;

/** Samples that are converted at once, so that a file costs little memory beside its own. */
const MAX_STEP_SAMPLES = 65_536;

/** Bytes of the header that {@linkcode wavHeader} makes. */
const HEADER_BYTES = 44;
const BYTES_PER_SAMPLE = 2;

const ACCEPTED = "WAV is accepted with 8, 16, 24 or 32-bit integers or 32 or 64-bit floats, " +
  `${MIN_RATE} to ${MAX_RATE} Hz and 1 to ${MAX_CHANNELS} channels`;

/** The content of the `fmt ` chunk. */
interface Format {
  readonly isFloat: boolean;
  readonly channels: number;
  readonly rate: number;
  readonly bytesPerSample: number;
}

/**
 * Reads a WAV file, and mixes its channels to one. A `data` chunk that is longer than the file, or whose length its
 * writer did not know, ends with the file. A sample that is not complete at the end is left out.
 *
 * @throws {AppError} if the file is no WAV, or of a kind that is not accepted.
 */
export function parseWav(bytes: Uint8Array): Pcm {
  const sound = openWav(bytes);
  return { rate: sound.rate, samples: sound.read(0, sound.length) };
}

/** Finds the sound in a WAV file, without reading its samples. @throws {AppError} like {@linkcode parseWav}. */
export function openWav(bytes: Uint8Array): Sound {
  const { format, start, end } = findData(bytes);
  return soundOf(format, bytes.subarray(start, end));
}

/**
 * Returns the length of a WAV file in seconds, if its first bytes contain it.
 *
 * @param fileBytes The size of the whole file.
 */
export function wavSecs(head: Uint8Array, fileBytes: number): number | undefined {
  try {
    const { format: { rate, channels, bytesPerSample }, start, end } = findData(head);
    return Math.floor((Math.min(end, fileBytes) - start) / (channels * bytesPerSample)) / rate;
  } catch {
    return undefined;
  }
}

/** Finds the `data` chunk of a WAV file. `end` can be beyond the file. @throws {AppError} like {@linkcode parseWav}. */
function findData(bytes: Uint8Array): { format: Format; start: number; end: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isWav = view.byteLength >= 12 && /^(?:RIFF|RF64|BW64)$/.test(textAt(view, 0)) &&
    textAt(view, 8) === "WAVE";
  if (!isWav) throw refused("The file is no WAV.");
  let format: Format | undefined;
  let at = 12;
  for (let chunks = 0; chunks < MAX_CHUNKS && at + 8 <= view.byteLength; chunks++) {
    const id = textAt(view, at);
    const length = view.getUint32(at + 4, true);
    const start = at + 8;
    const rest = view.byteLength - start;
    if (id === "fmt ") {
      format ??= parseFormat(new DataView(view.buffer, view.byteOffset + start, Math.min(length, rest)));
    } else if (id === "data") {
      if (format === undefined) throw refused("The WAV has no fmt chunk before its data.");
      return { format, start, end: length === 0 ? Infinity : start + length };
    }
    // A chunk of an odd length is followed by a byte that belongs to none.
    at = start + length + length % 2;
  }
  throw refused(format === undefined ? "The WAV has no fmt chunk." : "The WAV has no data chunk.");
}

function parseFormat(chunk: DataView): Format {
  if (chunk.byteLength < 16) throw refused("The fmt chunk of the WAV is too short.");
  const channels = chunk.getUint16(2, true);
  const rate = chunk.getUint32(4, true);
  const blockBytes = chunk.getUint16(12, true);
  const bits = chunk.getUint16(14, true);
  const tag = formatTag(chunk);
  if (tag !== FORMAT_INTEGER && tag !== FORMAT_FLOAT) throw refused(`The WAV has the format tag ${tag}.`);
  const isFloat = tag === FORMAT_FLOAT;
  if (!(isFloat ? [32, 64] : [8, 16, 24, 32]).includes(bits)) {
    throw refused(`The WAV has ${bits}-bit ${isFloat ? "floats" : "integers"}.`);
  }
  if (channels < 1 || channels > MAX_CHANNELS) throw refused(`The WAV has ${channels} channels.`);
  if (rate < MIN_RATE || rate > MAX_RATE) throw refused(`The WAV has ${rate} samples in a second.`);
  const bytesPerSample = bits / 8;
  if (blockBytes !== bytesPerSample * channels) {
    throw refused(
      `The WAV has blocks of ${blockBytes} bytes for ${channels} samples of ${bytesPerSample} bytes.`,
    );
  }
  return { isFloat, channels, rate, bytesPerSample };
}

function formatTag(chunk: DataView): number {
  const tag = chunk.getUint16(0, true);
  if (tag !== FORMAT_EXTENSIBLE) return tag;
  if (chunk.byteLength < EXTENSIBLE_BYTES) throw refused("The fmt chunk of the WAV is too short.");
  const guid = new Uint8Array(chunk.buffer, chunk.byteOffset + 24, 16);
  if (guid.subarray(2).toHex() !== SUBFORMAT_TAIL) throw refused("The WAV has an unknown subformat.");
  return chunk.getUint16(24, true);
}

function soundOf(format: Format, data: Uint8Array): Sound {
  const { isFloat, channels, rate, bytesPerSample } = format;
  const blockBytes = channels * bytesPerSample;
  const length = Math.floor(data.length / blockBytes);
  requireLength(length, rate);
  // Only samples of 8 bits are unsigned.
  const zero = bytesPerSample === 1 ? 0x80 : 0;
  const scale = (isFloat ? 0x8000 : 2 ** (16 - 8 * bytesPerSample)) / channels;
  return {
    rate,
    length,
    read(from, to) {
      const samples = new Int16Array(to - from);
      const step = Math.ceil(MAX_STEP_SAMPLES / channels);
      for (let start = from; start < to; start += step) {
        const end = Math.min(to, start + step);
        // A copy, because the samples of a file need not be aligned.
        const values = toFloats(data.slice(start * blockBytes, end * blockBytes).buffer, format);
        mix(values, channels, zero, scale, samples.subarray(start - from, end - from));
      }
      return samples;
    },
  };
}

/** Converts samples as they are. The conversions of typed arrays are much faster than a loop. */
function toFloats(bytes: ArrayBuffer, { isFloat, bytesPerSample }: Format): Float32Array {
  if (isFloat) return new Float32Array(bytesPerSample === 4 ? bytes : new Float64Array(bytes));
  switch (bytesPerSample) {
    case 1:
      return new Float32Array(new Uint8Array(bytes));
    case 2:
      return new Float32Array(new Int16Array(bytes));
    case 4:
      return new Float32Array(new Int32Array(bytes));
  }
  const packed = new Uint8Array(bytes);
  const values = new Float32Array(packed.length / 3);
  for (let i = 0, at = 0; i < values.length; i++, at += 3) {
    values[i] = (packed[at]! << 8 | packed[at + 1]! << 16 | packed[at + 2]! << 24) >> 8;
  }
  return values;
}

/** Writes the mean of the channels into `samples`. */
function mix(
  values: Float32Array,
  channels: number,
  zero: number,
  scale: number,
  samples: Int16Array<ArrayBuffer>,
): void {
  for (let i = 0, at = 0; i < samples.length; i++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += values[at++]! - zero;
    samples[i] = toSample(sum * scale);
  }
}

/** Makes a WAV file. */
export function encodeWav({ rate, samples }: Pcm): Uint8Array<ArrayBuffer> {
  const file = new Uint8Array(HEADER_BYTES + samples.byteLength);
  file.set(wavHeader(rate, samples.byteLength));
  file.set(toBytes(samples), HEADER_BYTES);
  return file;
}

/**
 * Streams a WAV file at another rate. Other tasks can run between two chunks. Only one chunk is in memory, because a whole
 * file can be large: 3.6 MB of 8-bit sound at 1,000 Hz become 115 MB at 16,000 Hz. The stream errors if the signal aborts.
 */
export function streamWav(
  sound: Sound,
  rate: number,
  signal: AbortSignal,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const { length, parts } = resampleInParts(sound, rate);
  async function* file() {
    yield wavHeader(rate, length * BYTES_PER_SAMPLE);
    for (const samples of parts) {
      yield toBytes(samples);
      await nextTask();
      signal.throwIfAborted();
    }
  }
  return ReadableStream.from(file());
}

/**
 * Makes the header of a WAV of 16-bit mono sound.
 *
 * @param dataBytes Bytes of the samples that follow. Without it the file is a stream, whose length is not known.
 */
export function wavHeader(rate: number, dataBytes?: number): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(HEADER_BYTES);
  const view = new DataView(header.buffer);
  const text = (at: number, chars: string) => header.set(new TextEncoder().encode(chars), at);
  text(0, "RIFF");
  view.setUint32(4, dataBytes === undefined ? UNKNOWN_LENGTH : dataBytes + HEADER_BYTES - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, FORMAT_INTEGER, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * BYTES_PER_SAMPLE, true);
  view.setUint16(32, BYTES_PER_SAMPLE, true);
  view.setUint16(34, 8 * BYTES_PER_SAMPLE, true);
  text(36, "data");
  view.setUint32(40, dataBytes ?? UNKNOWN_LENGTH, true);
  return header;
}

/** Returns samples as the bytes of `pcm` and WAV, without a copy. Every system of Deno is little-endian. */
export function toBytes(samples: Int16Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
}

function textAt(view: DataView, at: number): string {
  return String.fromCharCode(
    view.getUint8(at),
    view.getUint8(at + 1),
    view.getUint8(at + 2),
    view.getUint8(at + 3),
  );
}

function refused(problem: string): AppError {
  return new AppError("unsupported_value", `${problem} ${ACCEPTED}.`);
}
