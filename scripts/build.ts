/** What compile.ts and release.ts share: baked permissions, the Deno commands, and running them. */

import { VRM_FILE, vrmBundleArgs } from "../lib/stage/vrm_module.ts";

/** What the executable may do, given to `deno compile` once and for all. Not listed, so refused: ffi. */
export const PERMISSIONS: readonly string[] = [
  "--no-prompt", // a server has nobody to ask: what is not allowed is refused
  "--allow-net", // serve, on whatever address is configured
  "--allow-env", // configuration, and the environment handed to the agent
  "--allow-read", // the configuration file and the working folder
  "--allow-write", // conversations in VTUBER_DATA_DIR
  "--allow-run", // the agent is whatever program the user names
];

/** The longest one child may take, downloads included, before it is ended. */
const COMMAND_LIMIT_MS = 10 * 60_000;

/** One program to run to its end. */
export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** How a command ended, with all that it printed. */
export interface Outcome {
  readonly success: boolean;
  readonly output: string;
}

/** Runs a command; tests pass one that only pretends. */
export type Run = (command: Command) => Promise<Outcome>;

/** Says something to whoever started the build. */
export type Log = (line: string) => void;

/** A directory that is removed, with all that is in it, when its holder is done. */
export interface WorkDirectory extends AsyncDisposable {
  readonly path: string;
}

/** Makes a hidden work directory inside `parent`, so that what is built moves out of it in one step. */
export async function workDirectory(parent: string): Promise<WorkDirectory> {
  await Deno.mkdir(parent, { recursive: true });
  const path = await Deno.makeTempDir({ dir: parent, prefix: ".build-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** Bundles `entry` with the running Deno into one file inside `work` and returns its path. */
export async function bundle(run: Run, root: string, entry: string, work: string): Promise<string> {
  const output = `${work}/main.js`;
  const bundled = await run({
    program: Deno.execPath(),
    // Minifying inlines a `using` that is read once, in the next statement, and loses its end: tests/scripts/using_test.ts.
    args: ["bundle", "--minify", "--platform", "deno", "--output", output, entry],
    cwd: root,
  });
  if (!bundled.success) throw new Error(`Cannot bundle ${entry}: ${reason(bundled.output)}`);
  return output;
}

/** Bundles the browser's module for VRM characters and packs it into a file inside `work`, to be included. */
export async function bundleVrm(run: Run, root: string, work: string): Promise<string> {
  const output = `${work}/vrm.js`;
  const bundled = await run({ program: Deno.execPath(), args: vrmBundleArgs(output), cwd: root });
  if (!bundled.success) {
    throw new Error(`Cannot bundle the module for VRM characters: ${reason(bundled.output)}`);
  }
  const packed = `${work}/${VRM_FILE}`;
  const source = await Deno.open(output);
  await Deno.writeFile(packed, source.readable.pipeThrough(new CompressionStream("gzip")));
  return packed;
}

/** What the program switches on: a request's signal tells that the client hung up, and nothing else. */
export const FEATURES: readonly string[] = ["--unstable-no-legacy-abort"];

/** What a compiled program has beside its bundle, and what it is for. */
export interface CompileExtras {
  /** Files that the program finds beside itself. */
  readonly include?: readonly string[];
  /** Another system than this machine's. */
  readonly target?: string;
}

/** The arguments that make `deno` compile one bundled file. */
export function compileArgs(
  bundled: string,
  output: string,
  { include = [], target }: CompileExtras = {},
): string[] {
  return [
    "compile",
    "--no-check", // `deno task check` does that, and a bundle has no types
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

/** The part of a Deno command's output that says why it failed. */
export function reason(output: string): string {
  const start = output.search(/^error:/m);
  const message = start < 0 ? output : output.slice(start + "error:".length);
  return message.split("Stack backtrace:")[0]?.trim() || "it said nothing";
}

/** Refuses an environment that makes `deno compile` use another base executable than its own. */
export function refuseForeignBase(denortBin: string | undefined): void {
  if (denortBin === undefined) return;
  throw new Error("DENORT_BIN is set and would replace Deno's base executable: unset it and try again");
}

/** The hexadecimal SHA-256 of some bytes. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** Runs a script's work: Ctrl-C ends its children and cleans up, an error is printed and sets exit code 1. */
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

/** Runs a command to its end, to its time limit or to the interrupt, whichever comes first. */
export async function runCommand(command: Command, interrupt: AbortSignal): Promise<Outcome> {
  interrupt.throwIfAborted();
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
      signal: AbortSignal.any([interrupt, limit.signal]),
    }).output();
    interrupt.throwIfAborted();
    const late = limit.signal.aborted ? `\nended after ${COMMAND_LIMIT_MS / 60_000} minutes` : "";
    const decoder = new TextDecoder();
    return { success, output: decoder.decode(stdout) + decoder.decode(stderr) + late };
  } finally {
    clearTimeout(timer);
  }
}
