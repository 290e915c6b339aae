/** WAV files of any format, as other programs write them. @module */

/** A chunk of a file. */
export type Chunk = readonly [id: string, bytes: Uint8Array, length?: number];

/** The format of a file; what is left out follows from the rest. */
export interface WavFormat {
  readonly tag?: number;
  readonly channels?: number;
  readonly rate?: number;
  readonly bits?: number;
  readonly blockBytes?: number;
  /** `WAVE_FORMAT_EXTENSIBLE`, with this GUID in place of the one of `tag`. */
  readonly guid?: string | true;
}

export const INTEGER = 1;
export const FLOAT = 3;

/** Makes a `fmt ` chunk. */
export function fmt(format: WavFormat = {}): Chunk {
  const { tag = INTEGER, channels = 1, rate = 16_000, bits = 16, guid } = format;
  const blockBytes = format.blockBytes ?? channels * bits / 8;
  const bytes = new Uint8Array(guid === undefined ? 16 : 40);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, guid === undefined ? tag : 0xfffe, true);
  view.setUint16(2, channels, true);
  view.setUint32(4, rate, true);
  view.setUint32(8, rate * blockBytes, true);
  view.setUint16(12, blockBytes, true);
  view.setUint16(14, bits, true);
  if (guid !== undefined) {
    view.setUint16(16, 22, true);
    view.setUint16(18, bits, true);
    bytes.set(Uint8Array.fromHex(guid === true ? "0000000000001000800000aa00389b71" : guid), 24);
    if (guid === true) view.setUint16(24, tag, true);
  }
  return ["fmt ", bytes];
}

/** Makes the samples of a file: numbers as its format writes them. */
export function data({ tag = INTEGER, bits = 16 }: WavFormat, values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * bits / 8);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) {
    const at = i * bits / 8;
    if (tag === FLOAT && bits === 32) view.setFloat32(at, value, true);
    else if (tag === FLOAT) view.setFloat64(at, value, true);
    else if (bits === 8) view.setUint8(at, value);
    else if (bits === 16) view.setInt16(at, value, true);
    else if (bits === 32) view.setInt32(at, value, true);
    else {
      view.setUint16(at, value & 0xffff, true);
      view.setInt8(at + 2, value >> 16);
    }
  }
  return bytes;
}

/** Makes a file of chunks, each padded to an even length. */
export function riff(chunks: readonly Chunk[], id = "RIFF", form = "WAVE"): Uint8Array<ArrayBuffer> {
  const length = chunks.reduce((sum, [, { length }]) => sum + 8 + length + length % 2, 12);
  const file = new Uint8Array(length);
  const view = new DataView(file.buffer);
  const text = (at: number, chars: string) => file.set(new TextEncoder().encode(chars), at);
  text(0, id);
  view.setUint32(4, length - 8, true);
  text(8, form);
  let at = 12;
  for (const [id, bytes, length = bytes.length] of chunks) {
    text(at, id);
    view.setUint32(at + 4, length, true);
    file.set(bytes, at + 8);
    at += 8 + bytes.length + bytes.length % 2;
  }
  return file;
}

/** Makes a file of one sound. */
export function wavFile(format: WavFormat, values: readonly number[]): Uint8Array<ArrayBuffer> {
  return riff([fmt(format), ["data", data(format, values)]]);
}
