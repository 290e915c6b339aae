/** Local programs that speak, listen and convert: started without a shell, bounded, and ended with their children. @module */

import { basename } from "node:path";
import { AppError, messageOf, shuttingDown } from "../core/errors.ts";
import { killTree, MARK_VARIABLE, signalGroup } from "../core/process_tree.ts";
import type { Redact } from "../core/redact.ts";
import { spaceUnsafe } from "../core/unsafe_text.ts";

/** Last characters of stderr that are kept, and the lines and characters of them that an error has. */
const STDERR = { keptChars: 16 * 1024, lines: 3, chars: 300 };
/** Longest wait for the end of the output after a program has exited, in milliseconds. */
const DRAIN_MS = 1_000;

/** The parts of this program that the programs need. */
export interface ProgramDeps {
  /** The whole environment of the programs: nothing else is inherited. */
  readonly env: Readonly<Record<string, string>>;
  /** Removes secrets from the last lines of stderr. */
  readonly redact: Redact;
  /** Ends the programs when this program ends. */
  readonly runs?: ProgramRuns | undefined;
  /** This program's process in the marks of its children, from `findServerRef`. */
  readonly server?: string | undefined;
}

/** The work that programs do, which ends before this program does. */
export class ProgramRuns implements AsyncDisposable {
  readonly #ending = new AbortController();
  /** Each work with what ends it at once. */
  readonly #running = new Map<Promise<unknown>, () => void>();

  /** Aborts when this program ends. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /** Keeps this program from ending before the work has. @param kill Ends the work at once. */
  track(work: Promise<unknown>, kill: () => void): void {
    this.#running.set(work, kill);
    const forget = () => void this.#running.delete(work);
    work.then(forget, forget);
  }

  /** Ends the programs at once, and removes their files. */
  kill(): void {
    for (const kill of this.#running.values()) kill();
  }

  /** Ends the programs, and waits for their end. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort(shuttingDown());
    await Promise.allSettled(this.#running.keys());
  }
}

/** A program to run. */
export interface ProgramRun {
  readonly command: string;
  readonly args: readonly string[];
  /** The program at the start of a sentence: `The speech program`. */
  readonly subject: string;
  /** Advice for a program that cannot be started, as the end of a sentence: `correct command of [speech]`. */
  readonly fix: string;
  /** The bytes for its stdin. */
  readonly input: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly timeoutMs: number;
  /** Bytes that it can write to stdout. */
  readonly maxBytes: number;
}

/**
 * Starts a program. It is ended, with everything that it started, if the signal aborts, the stream is cancelled, its
 * time is over, or it writes too much.
 *
 * @returns Its stdout. The stream closes when the program has succeeded, and errors with an {@linkcode AppError} if not.
 * @throws {AppError} if the program cannot be started.
 */
export function startProgram(
  run: ProgramRun,
  { env, redact, server, runs }: ProgramDeps,
  asked: AbortSignal,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const signal = runs ? AbortSignal.any([asked, runs.signal]) : asked;
  signal.throwIfAborted();
  const { input, timeoutMs, maxBytes } = run;
  const subject = `${run.subject} ${basename(run.command)}`;
  const mark = [server, crypto.randomUUID()].filter((part) => part !== undefined).join(".");
  const child = spawn(run, subject, { ...env, [MARK_VARIABLE]: mark });
  const stdout = child.stdout.getReader();
  const stderr = readTail(child.stderr);
  let failure: { readonly reason: unknown } | undefined;
  let killing: Promise<void> | undefined;

  const kill = () => killing ??= killTree(child.pid, mark);
  const fail = (reason: unknown) => {
    failure ??= { reason };
    kill();
  };
  const onAbort = () => fail(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  const timer = setTimeout(() => {
    fail(new AppError("upstream_timeout", `${subject} did not end within ${timeoutMs / 1000} seconds.`));
  }, timeoutMs);
  const feeding = feed(input, child.stdin, fail);

  /** Ends the processes that the program has left behind, which would keep its output open. */
  const ended = child.status.then(async (status) => {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    feeding.stop();
    signalGroup(child.pid, "SIGKILL");
    const drained = setTimeout(
      () => kill().then(() => Promise.all([stdout.cancel(), stderr.cancel()])),
      DRAIN_MS,
    );
    const lines = await stderr.text;
    clearTimeout(drained);
    await killing;
    if (failure || status.success) return;
    const { code, signal: endedBy } = status;
    const how = endedBy ? `was ended by ${endedBy}` : `exited with code ${code}`;
    failure = { reason: new AppError("upstream_error", `${subject} ${how}${lastLines(lines, redact)}.`) };
  });
  runs?.track(ended, () => signalGroup(child.pid, "SIGKILL"));

  let size = 0;
  return new ReadableStream({
    async pull(controller) {
      const { value } = await stdout.read();
      if (value === undefined) {
        await ended;
        return failure ? controller.error(failure.reason) : controller.close();
      }
      size += value.length;
      if (size <= maxBytes) return controller.enqueue(value);
      const limit = `${maxBytes / 1024 ** 2} MiB`;
      fail(new AppError("upstream_error", `${subject} wrote more than ${limit}.`));
      await stdout.cancel();
      await ended;
      controller.error(failure?.reason);
    },
    async cancel(reason) {
      fail(reason);
      await stdout.cancel();
      await ended;
    },
  }, { highWaterMark: 0 });
}

/** Runs a program to its end. @returns Its stdout. @throws {AppError} like {@linkcode startProgram}. */
export async function runProgram(
  run: ProgramRun,
  deps: ProgramDeps,
  signal: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  return await new Response(startProgram(run, deps, signal)).bytes();
}

function spawn(
  { command, args, fix }: ProgramRun,
  subject: string,
  env: Record<string, string>,
): Deno.ChildProcess {
  try {
    return new Deno.Command(command, {
      args: [...args],
      // Without it, Python on Windows does not read UTF-8.
      env: { PYTHONUTF8: "1", ...env },
      clearEnv: true,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      // In a process group of its own, the program is ended together with the processes that it started.
      detached: Deno.build.os !== "windows",
    }).spawn();
  } catch (cause) {
    const fault = cause instanceof Deno.errors.NotFound
      ? "was not found: install it"
      : `cannot be started (${messageOf(cause)}): make it a program that can run`;
    throw new AppError("upstream_unavailable", `${subject} ${fault}, or ${fix}.`, { cause });
  }
}

/** Writes the input to a program, which may end before it has read all. */
function feed(
  input: ProgramRun["input"],
  stdin: WritableStream<Uint8Array<ArrayBuffer>>,
  fail: (reason: unknown) => void,
): { stop(): void } {
  const writer = stdin.getWriter();
  // An error of the writer means that the program does not read any more. Its exit code tells whether that is a fault.
  writer.closed.catch(() => {});
  const source = input instanceof Uint8Array ? undefined : input.getReader();
  const feeding = (async () => {
    if (input instanceof Uint8Array) await writer.write(input);
    while (source !== undefined) {
      const { value } = await source.read().catch((error) => {
        fail(error);
        throw error;
      });
      if (value === undefined) break;
      await writer.write(value);
    }
    await writer.close();
  })();
  feeding.catch(() => source?.cancel().catch(() => {}));
  return {
    stop() {
      source?.cancel().catch(() => {});
      writer.abort().catch(() => {});
    },
  };
}

/** Reads a stream to its end, and keeps its last characters. */
function readTail(stream: ReadableStream<Uint8Array>): { text: Promise<string>; cancel(): Promise<void> } {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  const read = async () => {
    let tail = "";
    for (let value; ({ value } = await reader.read()).value !== undefined;) {
      tail = (tail + decoder.decode(value, { stream: true })).slice(-STDERR.keptChars);
    }
    return tail;
  };
  return { text: read().catch(() => ""), cancel: () => reader.cancel() };
}

/** Formats the last lines of stderr as the end of a sentence. */
function lastLines(text: string, redact: Redact): string {
  const lines = redact(text).split(/[\r\n]+/).map((line) => spaceUnsafe(line).trim()).filter(Boolean);
  if (lines.length === 0) return "";
  const last = lines.slice(-STDERR.lines).map((line) => line.slice(-STDERR.chars).toWellFormed());
  return `: ${last.join(" / ").replace(/\.$/, "")}`;
}
