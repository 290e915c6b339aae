/** An agent as a child process: its start, its stderr, and its end with everything that it started. @module */

import { settlesWithin } from "../core/deadline.ts";
import { AppError, messageOf } from "../core/errors.ts";
import { limitRate, type Log } from "../core/log.ts";
import type { Redact } from "../core/redact.ts";
import type { PeerStreams } from "./json_rpc.ts";
import { readLines } from "./ndjson.ts";
import {
  findDescendants,
  findOrphans,
  killTree,
  listProcesses,
  MARK_VARIABLE,
  sendSignal,
  signalGroup,
} from "../core/process_tree.ts";

/** Last lines of stderr that are kept, and their characters: few enough for one line of the log. */
const TAIL = { lines: 20, chars: 300 };
/** Characters of a line of stderr that are read; the rest is dropped. Progress bars may never end their line. */
const STDERR_READ_CHARS = 64 * 1024;
/**
 * Characters of a line of stderr that are logged and reported: fewer, so that no secret is cut before it is redacted.
 */
const STDERR_LINE_CHARS = 2_000;
/** Lines of stderr that are logged in a period. */
const STDERR_RATE = { max: 200, ms: 10_000 };

/** A command to launch. */
export interface LaunchOptions {
  readonly command: string;
  readonly args: readonly string[];
  /** Absolute path of the working directory. */
  readonly cwd: string;
  /** The whole environment: nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  /** This program's process in the agent's mark, from `findServerRef`. */
  readonly server?: string | undefined;
  /** Removes secrets from stderr. */
  readonly redact?: Redact | undefined;
  /** Called with each redacted line of stderr. */
  readonly onStderr?: ((line: string) => void) | undefined;
}

/** Time limits of the steps that end an agent, in milliseconds. */
export interface StopTimes {
  /** From the end of its input to SIGTERM. */
  readonly endMs: number;
  /** From SIGTERM to SIGKILL. */
  readonly termMs: number;
}

/** Default {@linkcode StopTimes}: agents take up to a second to end with their input, and up to three after SIGTERM. */
const STOP_TIMES: StopTimes = { endMs: 1_000, termMs: 3_000 };

/** A running agent. Tests implement it in memory. */
export interface AgentProcess extends PeerStreams {
  /** Resolves when the process has ended, to its status: `exited with code 1`. */
  readonly exited: Promise<string>;
  /** Returns the last lines of stderr, redacted. */
  stderrTail(): readonly string[];
  /**
   * Ends the agent and every process that it started: end of input, SIGTERM to the group, SIGKILL to the group and the
   * descendants. Descendants are listed before the first step, because the parent of an orphan cannot be found any
   * more.
   *
   * @param endInput Closes the agent's input.
   */
  stop(endInput?: () => void): Promise<void>;
  /** Sends SIGKILL to the process group, without waiting. */
  kill(): void;
}

/**
 * Launches an agent.
 *
 * @throws {AppError} `agent_unavailable` with the reason `program_not_found` or `program_not_started`.
 */
export function launch(options: LaunchOptions, log: Log, times = STOP_TIMES): AgentProcess {
  const mark = [options.server, crypto.randomUUID()].filter((part) => part !== undefined).join(".");
  const child = spawn(options, mark);
  const exited = child.status.then(({ code, signal }) =>
    signal ? `was ended by ${signal}` : `exited with code ${code}`
  );

  const tail: string[] = [];
  const { redact = (text) => text } = options;
  // The last lines are logged again, as a warning, when the agent exits.
  const logLine = limitRate(log.debug, STDERR_RATE);
  const stderr = readLines(child.stderr, (text) => {
    const line = redact(text).slice(0, STDERR_LINE_CHARS);
    tail.push(line.slice(0, TAIL.chars));
    if (tail.length > TAIL.lines) tail.shift();
    logLine("agent stderr", { line });
    options.onStderr?.(line);
  }, STDERR_READ_CHARS);
  const stderrDone = stderr.done.catch((error) => log.warn("stopped reading the agent's stderr", { error }));

  const descendants = async () => findDescendants(child.pid, mark, await listProcesses());

  async function stop(endInput: () => void): Promise<void> {
    const seen = await descendants();
    endInput();
    if (!await settlesWithin(times.endMs, exited)) {
      signalGroup(child.pid, "SIGTERM");
      if (!await settlesWithin(times.termMs, exited)) {
        log.warn("the agent did not end after SIGTERM; sending SIGKILL", { pid: child.pid });
        seen.push(...await descendants());
      }
    }
    await killTree(child.pid, mark, seen);
    await exited;
    await stderr.cancel();
    await stderrDone;
  }

  let stopping: Promise<void> | undefined;
  return {
    readable: child.stdout,
    writable: child.stdin,
    exited,
    stderrTail: () => tail,
    stop: (endInput = () => {}) => stopping ??= stop(endInput),
    kill: () => signalGroup(child.pid, "SIGKILL"),
  };
}

/** Kills the agents whose server is gone, such as after a `kill -9`, with all that they started. On Linux only. */
export async function endOrphans(log: Log): Promise<void> {
  const orphans = findOrphans(await listProcesses());
  for (const { pid } of orphans) sendSignal(pid, "SIGKILL");
  if (orphans.length === 0) return;
  log.warn("ended agents that an earlier server left behind", { pids: orphans.map(({ pid }) => pid) });
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
      // In a process group of its own, the agent can be signalled together with the processes that it started.
      detached: Deno.build.os !== "windows",
    }).spawn();
  } catch (cause) {
    const isMissing = cause instanceof Deno.errors.NotFound;
    const message = isMissing
      ? `The agent's program "${command}" was not found on the PATH, or its working directory ${cwd} does not exist.`
      : `The agent's program "${command}" could not be started: ${messageOf(cause)}.`;
    const reason = isMissing ? "program_not_found" : "program_not_started";
    throw new AppError("agent_unavailable", message, { reason, cause });
  }
}
