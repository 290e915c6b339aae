/** What the test agents share: their messages on stdin and stdout, and their logs. Imports nothing, as they start fast. @module */

/** Any JSON object. */
export type Json = Record<string, unknown>;

/** A program and its arguments. */
export interface ChildCommand {
  readonly command: string;
  readonly args: string[];
}

/** Builds the command that runs a program of this folder. */
export function denoCommand(moduleUrl: string, mayWrite: boolean, programArgs: string[]): ChildCommand {
  const permissions = ["--allow-env", "--allow-run", "--allow-read", ...(mayWrite ? ["--allow-write"] : [])];
  return {
    command: Deno.execPath(),
    args: ["run", "--quiet", "--no-config", "--no-lock", ...permissions, moduleUrl, ...programArgs],
  };
}

/** Reads the lines of a byte stream, without blank ones. */
export async function* readLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let unfinished: string[] = [];
  for await (const bytes of stream) {
    const pieces = decoder.decode(bytes, { stream: true }).split("\n");
    const last = pieces.pop() ?? "";
    for (const piece of pieces) {
      const whole = unfinished.join("") + piece;
      unfinished = [];
      if (whole.trim() !== "") yield whole;
    }
    if (last !== "") unfinished.push(last);
  }
  const rest = unfinished.join("");
  if (rest.trim() !== "") yield rest;
}

/** Waits until the time is over or the signal aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, Math.max(0, ms));
    signal?.addEventListener("abort", done);
  });
}

/** Resolves when the signal aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** The only writer of stdout. Lines that are queued together leave in one write. */
export class Output {
  readonly #encoder = new TextEncoder();
  /** The queued lines whose write has not begun. */
  #batch: { text: string } | undefined;
  #writing: Promise<void> = Promise.resolve();

  /** Queues whole lines of text. */
  write(text: string): void {
    if (this.#batch === undefined) {
      const batch = this.#batch = { text: "" };
      this.#enqueue(async () => {
        if (this.#batch === batch) this.#batch = undefined;
        await writeAll(this.#encoder.encode(batch.text));
      });
    }
    this.#batch.text += text;
  }

  /** Queues one message. */
  send(message: unknown): void {
    this.write(line(message));
  }

  /** Queues parts that are written separately, a few milliseconds apart. */
  writeParts(parts: Uint8Array[]): void {
    this.#batch = undefined;
    this.#enqueue(async () => {
      for (const part of parts) {
        await writeAll(part);
        await sleep(3);
      }
    });
  }

  /** Resolves when everything queued is written. */
  async drained(): Promise<void> {
    for (let writing; writing !== this.#writing;) await (writing = this.#writing);
  }

  #enqueue(job: () => Promise<void>): void {
    // A write fails if the reader is gone. The end of stdin follows.
    this.#writing = this.#writing.then(job).catch(() => {});
  }
}

async function writeAll(bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) written += await Deno.stdout.write(bytes.subarray(written));
}

/** Time for the last output after the end of input: a client that does not read must not keep the agent alive. */
export const DRAIN_MS = 2_000;

/** Formats a message as a line. */
export function line(message: unknown): string {
  return JSON.stringify(message) + "\n";
}

/** Whether a parsed JSON value is an object. */
export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Opens a file to which JSON lines are appended. Does nothing without a path. */
export function openLog(path: string | undefined): (entry: unknown) => void {
  if (path === undefined) return () => {};
  const file = Deno.openSync(path, { create: true, append: true });
  const encoder = new TextEncoder();
  return (entry) => file.writeSync(encoder.encode(line(entry)));
}

/** Parses the lines of such a file, without an unfinished last one. */
export function readEntries(text: string): Json[] {
  return text.split("\n").slice(0, -1).filter((line) => line !== "").map((line) => JSON.parse(line));
}

/** Reads the messages on stdin, and logs them. Lines that are not JSON objects are skipped. */
export async function* readMessages(log: (entry: unknown) => void): AsyncGenerator<Json> {
  for await (const text of readLines(Deno.stdin.readable)) {
    let message: unknown;
    try {
      message = JSON.parse(text);
    } catch {
      message = text;
    }
    log(message);
    if (isObject(message)) yield message;
  }
  log({ eof: true });
}
