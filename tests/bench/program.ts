/** The programs that are measured: started as real processes, looked at from outside, ended whatever happens. @module */

import { freePort, Inspector } from "./inspector.ts";

/** A program on a port of this machine. */
export interface Program extends AsyncDisposable {
  readonly port: number;
  /** Time from its start until it answered a request, in milliseconds. */
  readonly startMs: number;
  /** What the process has used of the processors so far, in microseconds; undefined where that cannot be told. */
  cpuMicros(): number | undefined;
  /** Its memory in megabytes; undefined where that cannot be told. */
  rssMb(): number | undefined;
  /** Collects its garbage and measures its heap, in megabytes; only of one that was started to be looked into. */
  heapMb(): Promise<number>;
}

/** How to start a program. */
export interface Start {
  readonly command: string;
  readonly args: readonly string[];
}

/** Milliseconds in which a program must be up, and in which it must end when it is asked to. */
const START_MS = 30_000;
const STOP_MS = 8_000;
/** Of `/proc/PID/stat`, in clock ticks; Linux has told programs of 100 a second for ever. */
const TICK_MICROS = 10_000;

/** The project's folder. */
export const ROOT = `${import.meta.dirname}/../..`;
const DENO = ["run", "--no-prompt", "--quiet"];
const SERVER_ARGS = ["--enabled", "--listen", "127.0.0.1:0", "--max-in-flight", "2000"];

/** The executable, where `deno task compile` puts it. */
export const EXECUTABLE = `${ROOT}/dist/oab-vtuber${Deno.build.os === "windows" ? ".exe" : ""}`;
/** The server from its source. */
export const SERVER: Start = serverWith();
/** The server as it is delivered. */
export const COMPILED: Start = { command: EXECUTABLE, args: serverArgs() };
/** The bare relay. */
export const RELAY: Start = relayWith();
/** The bare broadcast. */
export const BROADCAST: Start = bare("broadcast.ts");

/** What runs, each with the folder that it may write in. */
const live = new Map<Deno.ChildProcess, string>();

/** The server from its source, with these flags beside the usual ones, and an agent that has these arguments. */
export function serverWith(flags: readonly string[] = [], agentArgs: readonly string[] = []): Start {
  const allowed = ["--allow-net", "--allow-env", "--allow-read", "--allow-write", "--allow-run"];
  const args = [...DENO, ...allowed, `${ROOT}/main.ts`, ...serverArgs(agentArgs), ...flags];
  return { command: Deno.execPath(), args };
}

/** The bare relay, with an agent that has these arguments. */
export function relayWith(agentArgs: readonly string[] = []): Start {
  return bare("relay.ts", agentArgs);
}

/** Ends every program at once. Their agents end with them, as their input does. */
export function killAll(): void {
  for (const [child, folder] of live) {
    signal(child, "SIGKILL");
    remove(folder);
  }
}

/** Starts a program and waits until it answers. @throws {Error} if it does not. */
export async function start({ command, args }: Start, lookInto = false): Promise<Program> {
  const inspectorPort = lookInto ? freePort() : 0;
  const folder = await Deno.makeTempDir({ prefix: "oab-vtuber-bench-" });
  const startedAt = performance.now();
  const child = new Deno.Command(command, {
    args: lookInto ? args.toSpliced(1, 0, `--inspect=127.0.0.1:${inspectorPort}`) : [...args],
    env: environment(folder),
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  live.set(child, folder);
  const ended = child.status.finally(() => {
    live.delete(child);
    remove(folder);
  });
  const timer = setTimeout(() => signal(child, "SIGKILL"), START_MS);
  try {
    const url = await firstUrl(child.stdout);
    await (await fetch(`${url}/health`)).body?.cancel();
    const startMs = performance.now() - startedAt;
    const files = `/proc/${child.pid}`;
    return {
      port: Number(new URL(url).port),
      startMs,
      cpuMicros: () => ticks(read(`${files}/stat`)),
      rssMb: () => kilobytes(read(`${files}/status`)),
      heapMb: async () => {
        using inspector = await Inspector.connect(inspectorPort);
        return await inspector.heapMb();
      },
      [Symbol.asyncDispose]: () => stop(child, ended),
    };
  } catch (error) {
    await stop(child, ended);
    throw new Error(`${command} ${args.join(" ")} did not start`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

function bare(file: string, agentArgs: readonly string[] = []): Start {
  const allowed = ["--allow-net", "--allow-read", "--allow-run"];
  const args = [...DENO, ...allowed, `${import.meta.dirname}/${file}`, ...agent(agentArgs)];
  return { command: Deno.execPath(), args };
}

function serverArgs(agentArgs: readonly string[] = []): string[] {
  return [...SERVER_ARGS, "--agent-command", agent(agentArgs).map((word) => `"${word}"`).join(" ")];
}

function agent(args: readonly string[]): string[] {
  return [Deno.execPath(), ...DENO, "--no-config", "--no-lock", `${import.meta.dirname}/agent.ts`, ...args];
}

/** This process's own, without any setting of the server but those of every run; it may write in this folder. */
function environment(folder: string): Record<string, string> {
  const own = Object.entries(Deno.env.toObject());
  const kept = own.filter(([name]) => !/^(VTUBER|OPENAB|GATEWAY)_/.test(name));
  return {
    ...Object.fromEntries(kept),
    VTUBER_LOG: "warn",
    VTUBER_SHUTDOWN_GRACE_SECS: "0",
    VTUBER_DATA_DIR: folder,
  };
}

/** The first address that a program prints; what it prints after that is read and dropped. */
async function firstUrl(output: ReadableStream<Uint8Array>): Promise<string> {
  const reader = output.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`it ended, having said: ${text}`);
    text += value;
    const url = /(http:\/\/127\.0\.0\.1:\d+)\s/.exec(text)?.[1];
    if (url === undefined) continue;
    drop(reader);
    return url;
  }
}

async function drop(reader: ReadableStreamDefaultReader<string>): Promise<void> {
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
    // It is gone already, or a program that was killed still has it open, which some systems do not let be removed.
  }
}

function signal(child: Deno.ChildProcess, name: Deno.Signal): void {
  try {
    child.kill(name);
  } catch {
    // It has ended already.
  }
}

function read(path: string): string | undefined {
  try {
    return Deno.build.os === "linux" ? Deno.readTextFileSync(path) : undefined;
  } catch {
    return undefined;
  }
}

/** User and system time are the 14th and 15th field; the second, in parentheses, may hold anything. */
function ticks(stat: string | undefined): number | undefined {
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields && (Number(fields[11]) + Number(fields[12])) * TICK_MICROS;
}

function kilobytes(status: string | undefined): number | undefined {
  const found = status && /^VmRSS:\s+(\d+) kB/m.exec(status)?.[1];
  return found ? Number(found) / 1024 : undefined;
}
