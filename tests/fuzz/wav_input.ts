/** Mutated WAV files for the parser. @module */

import { assert } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import type { Pcm } from "../../lib/speech/pcm.ts";
import { parseWav } from "../../lib/speech/wav.ts";
import { Random } from "../support/harness/random.ts";
import { type Chunk, data, FLOAT, fmt, riff, type WavFormat } from "../support/harness/wav_file.ts";
import { damage } from "./mutation.ts";

/** Bytes of the longest file, so that a hundred thousand are quick. */
const MAX_BYTES = 2_000;
/** Bytes of a header and one sample at least. */
const HEADER_BYTES = 44;
/** Bytes around a file in its buffer. */
const MARGIN_BYTES = 64;
const FORMATS: readonly WavFormat[] = [
  ...[8, 16, 24, 32].map((bits) => ({ bits })),
  ...[32, 64].map((bits) => ({ tag: FLOAT, bits })),
];
const ODD_FIELDS = [0, 1, 2, 3, 7, 8, 16, 24, 32, 40, 64, 255, 0x7fff, 0x8000, 0xfffe, 0xffff];
const ODD_LENGTHS = [0, 1, 2, 3, 15, 16, 17, 0x7fff_ffff, 0x8000_0000, 0xffff_fff7, 0xffff_fffe, 0xffff_ffff];

/**
 * Parses as many mutated files as there are inputs, one seed each.
 *
 * @throws If the parser fails with another error than an `AppError`, finds more samples than there are bytes, or finds
 *   something else when the bytes around the file are different.
 */
export function fuzzWav(firstSeed: number, inputs: number): { accepted: number; refused: number } {
  let accepted = 0;
  for (let seed = firstSeed; seed < firstSeed + inputs; seed++) {
    const file = mutatedWav(new Random(seed));
    const name = `WAV of seed ${seed}`;
    const found = parse(file, 0x00, name);
    assert(isEqual(parse(file, 0xff, name), found), `${name}: depends on the bytes around it`);
    if (typeof found === "string") continue;
    accepted++;
    assert(found.samples.length <= Math.max(0, file.length - HEADER_BYTES), `${name}: too many samples`);
  }
  return { accepted, refused: inputs - accepted };
}

/** Parses a file between other bytes. @returns The sound, or why it was refused. */
function parse(file: Uint8Array, margin: number, name: string): Pcm | string {
  const buffer = new Uint8Array(file.length + 2 * MARGIN_BYTES).fill(margin);
  buffer.set(file, MARGIN_BYTES);
  try {
    return parseWav(buffer.subarray(MARGIN_BYTES, MARGIN_BYTES + file.length));
  } catch (error) {
    if (error instanceof AppError) return error.message;
    throw new Error(name, { cause: error });
  }
}

/** Compares as `assertEquals` does, in a tenth of the time. */
function isEqual(one: Pcm | string, other: Pcm | string): boolean {
  if (typeof one === "string" || typeof other === "string") return one === other;
  return one.rate === other.rate && one.samples.length === other.samples.length &&
    one.samples.every((sample, i) => sample === other.samples[i]);
}

function mutatedWav(random: Random): Uint8Array {
  const format: WavFormat = {
    ...random.pick(FORMATS),
    channels: random.pick([1, 1, 2, 6, 32]),
    rate: random.pick([1_000, 8_000, 16_000, 44_100, 384_000]),
    ...(random.once(3) ? { guid: true } : {}),
  };
  const values = Array.from({ length: random.below(20) }, () => random.below(256) - 128);
  const length = random.once(3) ? random.pick(ODD_LENGTHS) : undefined;
  const sound: Chunk = ["data", data(format, values), length];
  const other =
    (): Chunk => [random.pick(["LIST", "fact", "data", "fmt "]), new Uint8Array(random.below(20))];
  const chunks = [fmt(format), sound];
  for (let i = random.below(3); i > 0; i--) chunks.splice(random.below(3), 0, other());
  let file: Uint8Array = riff(chunks, random.once(20) ? "RF64" : "RIFF");
  for (let changes = random.below(4); changes > 0; changes--) file = mutate(random, file);
  return file.subarray(0, MAX_BYTES);
}

/** Changes a field, most often of the header, or any bytes. */
function mutate(random: Random, file: Uint8Array): Uint8Array {
  if (random.once(4) || file.length < 4) return damage(random, file);
  const changed = file.slice();
  const view = new DataView(changed.buffer);
  const most = random.once(4) ? changed.length : Math.min(changed.length, HEADER_BYTES + 24);
  const at = random.below(Math.max(1, most - 3));
  switch (random.below(3)) {
    case 0:
      view.setUint8(at, random.below(256));
      break;
    case 1:
      view.setUint16(at - at % 2, random.pick(ODD_FIELDS), true);
      break;
    default:
      view.setUint32(at - at % 4, random.pick(ODD_LENGTHS), true);
  }
  return changed;
}
