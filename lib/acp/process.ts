/** The agent as a child process: started, listened to, and ended with everything that it started. @module */

import { settlesWithin } from "../core/deadline.ts";
import type { Log } from "../core/log.ts";
import { AppError, messageOf } from "../core/errors.ts";
import {
  findDescendants,
  listProcesses,
  MARK_VARIABLE,
  type ProcessRef,
  stillRunning,
} from "./process_tree.ts";
import { readLines } from "./ndjson.ts";
import type { PeerStreams } from "./json_rpc.ts";
import type { Redact } from "../core/redact.ts";

/** Last lines of the agent's stderr that are kept. */
const STDERR_LINES = 20;
/** Characters of a line of stderr; an agent that writes longer ones is no longer listened to. */
const STDERR_LINE_CHARS = 1024 * 1024;

/** What is started. */
export interface LaunchOptions {
  readonly command: string;
  readonly args: readonly string[];
  /** The agent's folder; absolute. */
  readonly cwd: string;
  /** The whole environment of the agent: nothing else reaches it. */
  readonly env: Readonly<Record<string, string>>;
  /** Takes secrets out of what it writes to stderr. */
  readonly redact?: Redact | undefined;
  /** Called with each line of stderr, redacted. */
  readonly onStderr?: ((line: string) => void) | undefined;
}

/** How long an agent may take to end, in milliseconds. */
export interface StopTimes {
  /** After its input was closed, before SIGTERM. */
  readonly endMs: number;
  /** After SIGTERM, before SIGKILL. */
  readonly termMs: number;
}
/** The usual {@linkcode StopTimes}: agents that end by themselves do so within a second, those that obey within three. */
export const STOP_TIMES: StopTimes = { endMs: 1_000, termMs: 3_000 };

/** A running agent, however it is run: its two streams, its end, and the way to end it. */
export interface AgentProcess extends PeerStreams {
  /** Resolves when it ended, to how: `exited with code 1`. */
  readonly exited: Promise<string>;
  /** Whether this program sent it a signal to end. */
  readonly wasSignalled?: boolean;
  /** The last lines of its stderr. */
  stderrTail(): readonly string[];
  /**
   * Ends it, politely at first: `endInput` closes its input. Leaves nothing behind that it started, which is looked for
   * before: once the agent is gone nobody can tell any more.
   */
  stop(endInput?: () => void): Promise<void>;
  /** Ends it at once, as far as that can be done without waiting. */
  kill(): void;
}

/**
 * Starts an agent.
 *
 * @throws {AppError} `agent_unavailable` if it cannot be started.
 */
export function launch(options: LaunchOptions, log: Log, times = STOP_TIMES): AgentProcess {
  const mark = crypto.randomUUID();
  const child = spawn(options, mark);
  const group = Deno.build.os === "windows" ? child.pid : -child.pid;
  const tail: string[] = [];
  const { redact = (text) => text } = options;
  const stderr = readLines(child.stderr, (text) => {
    const line = redact(text);
    tail.push(line);
    if (tail.length > STDERR_LINES) tail.shift();
    log.info("agent stderr", { line });
    options.onStderr?.(line);
  }, STDERR_LINE_CHARS);
  const drained = stderr.done.catch((error) => log.warn("the agent's stderr ended early", { error }));
  const exited = child.status.then(({ code, signal }) =>
    signal ? `was ended by ${signal}` : `exited with code ${code}`
  );

  let wasSignalled = false;
  function signal(target: number, name: Deno.Signal): void {
    wasSignalled = true;
    try {
      Deno.kill(target, name);
    } catch {
      // It is gone already.
    }
  }

  let stopping: Promise<void> | undefined;
  const descendants = async () => findDescendants(child.pid, await listProcesses(mark));

  async function stop(endInput: () => void): Promise<void> {
    const seen = await descendants();
    endInput();
    if (!await settlesWithin(times.endMs, exited)) {
      signal(group, "SIGTERM");
      if (!await settlesWithin(times.termMs, exited)) {
        log.warn("the agent did not end when asked to; killing it", { pid: child.pid });
        seen.push(...await descendants());
      }
    }
    await sweep(seen);
    await exited;
    await stderr.cancel();
    await drained;
  }

  /** Kills the group, and what left it but still lives. */
  async function sweep(seen: readonly ProcessRef[]): Promise<void> {
    if (Deno.build.os === "windows") return await killTree(child.pid);
    signal(group, "SIGKILL");
    const rows = await listProcesses(mark);
    for (const { pid } of [...findDescendants(child.pid, rows), ...stillRunning(seen, rows)]) {
      signal(pid, "SIGKILL");
    }
  }

  return {
    readable: child.stdout,
    writable: child.stdin,
    exited,
    get wasSignalled() {
      return wasSignalled;
    },
    stderrTail: () => tail,
    stop: (endInput = () => {}) => stopping ??= stop(endInput),
    kill: () => signal(group, "SIGKILL"),
  };
}

function spawn({ command, args, cwd, env }: LaunchOptions, mark: string): Deno.ChildProcess {
  try {
    return new Deno.Command(command, {
      args: [...args],
      cwd,
      env: { ...env, [MARK_VARIABLE]: mark },
      clearEnv: true,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      // A process group of its own, so that it can be signalled with what it started.
      detached: Deno.build.os !== "windows",
    }).spawn();
  } catch (error) {
    const isNotFound = error instanceof Deno.errors.NotFound;
    const why = isNotFound
      ? `The agent's program "${command}" was not found on the PATH, or its folder ${cwd} does not exist.`
      : `The agent's program "${command}" could not be started: ${messageOf(error)}.`;
    const reason = isNotFound ? "program_not_found" : "program_not_started";
    throw new AppError("agent_unavailable", why, { reason, cause: error });
  }
}

async function killTree(pid: number): Promise<void> {
  await new Deno.Command("taskkill", {
    args: ["/PID", String(pid), "/T", "/F"],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).output().catch(() => {});
}
