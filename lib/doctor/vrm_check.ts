/** The doctor's check of a VRM model: a binary glTF file (GLB 2.0) with the extension of VRM 0.x or 1.0. @module */

import { messageOf } from "../core/errors.ts";

/** `glTF` and `JSON` as little-endian numbers, and the only version. */
const GLB_MAGIC = 0x46546c67;
const GLB_VERSION = 2;
const JSON_CHUNK = 0x4e4f534a;
/** Bytes of the file's header and of the header of its first chunk, which is the JSON. */
const HEADER_BYTES = 20;
/** Largest JSON chunk that is read, in bytes; usual models have less than 1 MiB. */
const MAX_JSON_BYTES = 32 * 1024 * 1024;

/** Says why a file is no VRM model; `undefined` if it is one. */
export async function findVrmFault(path: string): Promise<string | undefined> {
  try {
    using file = await Deno.open(path);
    const { size } = await file.stat();
    const header = new DataView(await readBytes(file, HEADER_BYTES));
    const number = (at: number) => header.getUint32(at, true);
    if (header.byteLength < HEADER_BYTES || number(0) !== GLB_MAGIC) return "it is no binary glTF file";
    if (number(4) !== GLB_VERSION || number(16) !== JSON_CHUNK) return "it is no binary glTF 2.0 file";
    if (number(8) > size) return `it is cut off: it has ${size} of ${number(8)} bytes`;
    if (number(12) > MAX_JSON_BYTES) return "its description is too large";
    const { extensions } = JSON.parse(new TextDecoder().decode(await readBytes(file, number(12))));
    const isVrm = extensions?.VRM !== undefined || extensions?.VRMC_vrm !== undefined;
    return isVrm ? undefined : "it is a glTF model without the extension VRM or VRMC_vrm";
  } catch (error) {
    return messageOf(error);
  }
}

/** Reads up to this many bytes. */
async function readBytes(file: Deno.FsFile, count: number): Promise<ArrayBuffer> {
  const bytes = new Uint8Array(count);
  let filled = 0;
  while (filled < count) {
    const read = await file.read(bytes.subarray(filled));
    if (read === null) break;
    filled += read;
  }
  return bytes.buffer.slice(0, filled);
}
