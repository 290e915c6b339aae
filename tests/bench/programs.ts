/** The programs that are measured: real processes that are always ended, whatever happens. @module */

import { cpuMicros, freePort, heapMb, residentMiB } from "../support/harness/inspector.ts";
import type { Column, Columns } from "./report.ts";

/** A running program. */
export interface Program extends AsyncDisposable {
  readonly port: number;
  /** The key that the program asks for. */
  readonly authKey: string | undefined;
  /** Time from the start of the process to its first response. */
  readonly startMs: number;
  /** Processor time of the process so far; undefined on systems that do not tell. */
  cpuMicros(): number | undefined;
  /** Resident memory in megabytes; undefined on systems that do not tell. */
  rssMb(): number | undefined;
  /** Collects the garbage and returns the heap in megabytes. The program must have been started with an inspector. */
  heapMb(): Promise<number>;
}

/** Longest time until a program responds. */
const START_MS = 30_000;
/** Longest time until a program ends after SIGTERM. */
const STOP_MS = 8_000;

/** The project's folder. */
export const ROOT = `${import.meta.dirname}/../..`;
/** The executable that `deno task compile` makes. */
export const EXECUTABLE = `${ROOT}/dist/oab-vtuber${Deno.build.os === "windows" ? ".exe" : ""}`;
const DENO = ["run", "--no-prompt", "--quiet"];
const PERMISSIONS = ["--allow-net", "--allow-read", "--allow-run"];
const RELAY_PERMISSIONS = [...PERMISSIONS, "--allow-env=VTUBER_SPEECH_BASE_URL"];
const SERVER_PERMISSIONS = [...PERMISSIONS, "--allow-env", "--allow-write"];
const AGENT = [Deno.execPath(), ...DENO, "--no-config", "--no-lock", `${import.meta.dirname}/agent.ts`];
const SERVER_ARGS = [
  ...["--enabled", "--listen", "127.0.0.1:0", "--max-in-flight", "2000"],
  ...["--agent-command", AGENT.map((word) => `"${word}"`).join(" ")],
];

/** The running processes and their data directories. */
const running = new Map<Deno.ChildProcess, string>();

/** Kills every program. Their agents end with them, because their input ends. */
export function killAll(): void {
  for (const [child, folder] of running) {
    signal(child, "SIGKILL");
    remove(folder);
  }
}

/** The folders of the servers that are measured. */
export interface Checkouts {
  readonly against?: string | undefined;
}

/** Programs that were started together, and are stopped together. */
export interface Programs extends AsyncDisposable {
  readonly columns: Columns<Program>;
}

/**
 * Starts the server, the other checkout's server if there is one, and, if there is no key, the relay; `warmUp` is run
 * on each.
 */
export async function startPrograms(
  checkouts: Checkouts,
  warmUp: (program: Program) => Promise<void>,
  options: StartOptions = {},
): Promise<Programs> {
  await using stack = new AsyncDisposableStack();
  const columns: Partial<Record<Column, Program>> = {};
  const isMeasured = (column: Column) => column !== "relay" || options.authKey === undefined;
  for (const column of columnsOf(checkouts).filter(isMeasured)) {
    const program = stack.use(await startColumn(column, checkouts, options));
    await warmUp(program);
    columns[column] = program;
  }
  const owner = stack.move();
  return { columns, [Symbol.asyncDispose]: () => owner.disposeAsync() };
}

/** How a program is started. */
interface StartOptions {
  /** Starts it with an inspector, for {@linkcode Program.heapMb}. */
  readonly inspect?: boolean;
  /** The key that the server asks for. The relay knows no keys. */
  readonly authKey?: string;
  /** The upstream whose speech the program passes on. */
  readonly speechUrl?: string;
}

/** Lists the columns of a measurement. */
export function columnsOf({ against }: Checkouts): Column[] {
  return against === undefined ? ["server", "relay"] : ["server", "against", "relay"];
}

/** Starts the program of a column. */
export function startColumn(
  column: Column,
  { against }: Checkouts,
  options: StartOptions = {},
): Promise<Program> {
  switch (column) {
    case "relay": {
      const args = [...DENO, ...RELAY_PERMISSIONS, `${import.meta.dirname}/relay.ts`, ...AGENT];
      return start(Deno.execPath(), args, options);
    }
    case "server":
    case "against": {
      const main = `${column === "server" ? ROOT : against}/main.ts`;
      return start(Deno.execPath(), [...DENO, ...SERVER_PERMISSIONS, main, ...SERVER_ARGS], options);
    }
    default:
      return column satisfies never;
  }
}

/** Starts the executable. */
export function startExecutable(): Promise<Program> {
  return start(EXECUTABLE, SERVER_ARGS);
}

async function start(
  command: string,
  args: readonly string[],
  { inspect = false, authKey, speechUrl }: StartOptions = {},
): Promise<Program> {
  const inspectorPort = inspect ? freePort() : 0;
  const folder = await Deno.makeTempDir({ prefix: "oab-vtuber-bench-" });
  const startedAt = performance.now();
  const child = new Deno.Command(command, {
    args: inspect ? args.toSpliced(1, 0, `--inspect=127.0.0.1:${inspectorPort}`) : [...args],
    env: {
      ...environment(folder),
      ...authKey !== undefined && { VTUBER_AUTH_KEY: authKey },
      ...speechUrl !== undefined && { VTUBER_SPEECH_BASE_URL: speechUrl },
    },
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  running.set(child, folder);
  const ended = child.status.finally(() => {
    running.delete(child);
    remove(folder);
  });
  const timer = setTimeout(() => signal(child, "SIGKILL"), START_MS);
  try {
    const url = await firstUrl(child.stdout);
    await (await fetch(`${url}/health`)).body?.cancel();
    const startMs = performance.now() - startedAt;
    return {
      port: Number(new URL(url).port),
      authKey,
      startMs,
      cpuMicros: () => cpuMicros(child.pid),
      rssMb: () => residentMiB(child.pid),
      heapMb: () => heapMb(inspectorPort),
      [Symbol.asyncDispose]: () => stop(child, ended),
    };
  } catch (cause) {
    await stop(child, ended);
    throw new Error(`${command} ${args.join(" ")} did not start`, { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** This process's variables without the server's settings, and the settings of every run. */
function environment(folder: string): Record<string, string> {
  const kept = Object.entries(Deno.env.toObject()).filter(([name]) =>
    !/^(VTUBER|OPENAB|GATEWAY)_/.test(name)
  );
  return {
    ...Object.fromEntries(kept),
    VTUBER_LOG: "warn",
    VTUBER_SHUTDOWN_GRACE_SECS: "0",
    VTUBER_DATA_DIR: folder,
  };
}

/** Resolves to the first address that a program prints; discards all later output. */
async function firstUrl(output: ReadableStream<Uint8Array>): Promise<string> {
  const reader = output.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`the output ended: ${text}`);
    text += value;
    const url = /(http:\/\/127\.0\.0\.1:\d+)[\s/]/.exec(text)?.[1];
    if (url === undefined) continue;
    discard(reader);
    return url;
  }
}

async function discard(reader: ReadableStreamDefaultReader<string>): Promise<void> {
  while (!(await reader.read()).done);
}

async function stop(child: Deno.ChildProcess, ended: Promise<unknown>): Promise<void> {
  signal(child, "SIGTERM");
  const timer = setTimeout(() => signal(child, "SIGKILL"), STOP_MS);
  await ended;
  clearTimeout(timer);
}

function remove(folder: string): void {
  try {
    Deno.removeSync(folder, { recursive: true });
  } catch {
    // The folder is already removed, or on Windows a killed program still has it open.
  }
}

function signal(child: Deno.ChildProcess, name: Deno.Signal): void {
  try {
    child.kill(name);
  } catch {
    // The process has already ended.
  }
}
