/** The doctor's checks of this machine: an address, a program, a folder, an agent that is tried. @module */

import { LimitedBytesTransformStream } from "@std/streams/limited-bytes-transform-stream";
import { toText } from "@std/streams/to-text";
import { isAbsolute, resolve } from "node:path";
import type { AgentDescription } from "../acp/agent.ts";
import { type AgentConfig, type AgentDeps, createAgent } from "../acp/create_agent.ts";
import { agentEnvironment } from "../acp/environment.ts";
import type { Config } from "../config/load.ts";
import { FileInUseError } from "../conversation/sqlite.ts";
import { openStore } from "../conversation/store.ts";
import { AppError, messageOf } from "../core/errors.ts";
import { type AgentObservations, NOTHING_OBSERVED, observe } from "./diagnosis.ts";
import {
  type AgentRequirements,
  type Finding,
  type ListenProblem,
  ok,
  type Program,
  warn,
} from "./report.ts";

/** Longest wait for the answer of a server that has the address, in milliseconds. */
const PROBE_MS = 5_000;
/** Bytes that are read of that answer. */
const PROBE_BYTES = 4_096;
/** Longest time that an agent may print only lines that are not ACP, in milliseconds. */
const NOT_ACP_MS = 5_000;
/** Bytes of a script that are read for its first line; systems read no more either. */
const SHEBANG_BYTES = 256;

/** Finds out whether an address can be listened on. */
export async function checkAddress(listen: Config["listen"]): Promise<ListenProblem | Error | undefined> {
  try {
    Deno.listen({ ...listen }).close();
    return undefined;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) {
      return await isOurServer(listen) ? "already_running" : "in_use";
    }
    if (error instanceof Deno.errors.AddrNotAvailable) return "no_such_address";
    if (error instanceof Deno.errors.PermissionDenied) return "low_port";
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** Asks the server at an address whether it is an oab-vtuber. */
async function isOurServer({ hostname, port }: Config["listen"]): Promise<boolean> {
  const host = { "0.0.0.0": "127.0.0.1", "::": "[::1]" }[hostname] ??
    (hostname.includes(":") ? `[${hostname}]` : hostname);
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), PROBE_MS);
  try {
    const { body } = await fetch(`http://${host}:${port}/`, {
      headers: { accept: "application/json" },
      redirect: "manual",
      signal: late.signal,
    });
    const text: string = body
      ? await toText(body.pipeThrough(new LimitedBytesTransformStream(PROBE_BYTES)))
      : "";
    return /"name": ?"oab-vtuber"/.test(text);
  } catch {
    // The server does not speak HTTP.
    return false;
  } finally {
    clearTimeout(timer);
  }
}

/** The program to look for, and the places. */
export interface ProgramSource {
  readonly command: string;
  /** The folder that the program is started in; absolute. */
  readonly cwd: string;
  /** The environment that the program gets. */
  readonly env: Readonly<Record<string, string>>;
  readonly windows: boolean;
}

/** Finds a program like the system does: the first executable on the PATH, or the command itself if it is a path. */
export async function findProgram(source: ProgramSource): Promise<Program | undefined> {
  const program = await findFile(source);
  if (source.windows || !program?.isExecutable) return program;
  const missingInterpreter = await findMissingInterpreter(program.path, source);
  return missingInterpreter === undefined ? program : { ...program, missingInterpreter };
}

/** Returns the interpreter that the first line of a script names, if it is missing. */
async function findMissingInterpreter(path: string, source: ProgramSource): Promise<string | undefined> {
  const line = await readFirstLine(path).catch(() => "");
  const [interpreter, ...words] = line.startsWith("#!") ? line.slice(2).trim().split(/[ \t]+/) : [];
  if (!interpreter) return undefined;
  if (!await findFile({ ...source, command: resolve(source.cwd, interpreter) })) return interpreter;
  // `#!/usr/bin/env -S NAME=value node --flag` looks for node on the PATH.
  const command = words.find((word) => !word.startsWith("-") && !word.includes("="));
  if (!interpreter.endsWith("/env") || command === undefined) return undefined;
  return await findFile({ ...source, command }) ? undefined : command;
}

async function readFirstLine(path: string): Promise<string> {
  const file = await Deno.open(path);
  try {
    const bytes = new Uint8Array(SHEBANG_BYTES);
    const length = await file.read(bytes) ?? 0;
    return new TextDecoder().decode(bytes.subarray(0, length)).split("\n")[0]!;
  } finally {
    file.close();
  }
}

async function findFile({ command, cwd, env, windows }: ProgramSource): Promise<Program | undefined> {
  const isPath = windows ? /[\\/]/.test(command) : command.includes("/");
  const folders = isPath ? [cwd] : (env.PATH ?? "").split(windows ? ";" : ":").filter(isAbsolute);
  const endings = windows ? ["", ...(env.PATHEXT ?? ".COM;.EXE;.BAT;.CMD").split(";")] : [""];
  let found: Program | undefined;
  for (const folder of folders) {
    for (const ending of endings) {
      const path = resolve(folder, command + ending);
      const info = await Deno.stat(path).catch(() => undefined);
      if (!info?.isFile) continue;
      const isExecutable = windows || ((info.mode ?? 0) & 0o111) !== 0;
      if (isExecutable) return { path, isExecutable };
      found ??= { path, isExecutable };
    }
  }
  return found;
}

/** Finds what is at a path. */
export async function findFolder(path: string): Promise<AgentRequirements["folder"]> {
  const info = await Deno.stat(path).catch(() => undefined);
  return info && { path: await Deno.realPath(path), isFolder: info.isDirectory };
}

/** Opens the folder that remembers conversations, as the server does. @throws {Error} if nothing can be kept there. */
export async function checkDataDir(folder: string): Promise<Finding> {
  const warnings: string[] = [];
  using store = await openStore(folder, {
    warn: (message, fields) =>
      warnings.push(`${message} (${Object.values(fields).map(messageOf).join(", ")})`),
  }).catch((error) => {
    if (error instanceof FileInUseError) return undefined;
    throw error;
  });
  if (store === undefined) {
    return ok(`conversations are remembered in ${folder}, which a running server uses`);
  }
  const { length } = store.load();
  if (warnings.length === 0) return ok(`conversations are remembered in ${folder}: ${length} so far`);
  return warn(
    `${folder}: ${warnings.join("; ")}`,
    "Only the memory of conversations is lost. Unknown conversations start anew.",
  );
}

/** The checks of one agent; tests replace them. */
export interface AgentChecks {
  readonly config: AgentConfig;
  /** Looks for the things that the agent needs. */
  findRequirements(): Promise<AgentRequirements>;
  /**
   * Starts the agent, opens a session, and ends the agent.
   *
   * @throws {AppError} if the agent cannot be used.
   */
  describe(signal: AbortSignal): Promise<AgentDescription>;
  /** The observations of the agent so far. */
  readonly observed: AgentObservations;
  /** Kills its processes at once, as far as that is possible without waiting, and starts no more. */
  kill(): void;
}

/**
 * Makes the checks of an agent, which is started like the server starts it.
 *
 * @param notAcpMs Longest time that the agent may print only lines that are not ACP.
 */
export function agentChecks(
  config: AgentConfig,
  deps: AgentDeps,
  notAcpMs: number = NOT_ACP_MS,
): AgentChecks {
  const { own, windows, programFolders } = deps;
  const { command, workingDir, inheritEnv, mcpServers } = config;
  const env = agentEnvironment({ own, windows, programFolders, inherit: inheritEnv, set: config.env });
  const killed = new AbortController();
  let observed = NOTHING_OBSERVED;
  return {
    config,
    async findRequirements() {
      const folder = await findFolder(workingDir);
      const cwd = folder?.path ?? resolve(workingDir);
      const find = (command: string, more: Readonly<Record<string, string>> = {}) =>
        findProgram({ command, cwd, env: { ...env, ...more }, windows });
      const locals = mcpServers.filter((server) => "command" in server);
      return {
        program: command === undefined ? undefined : await find(command),
        folder,
        unsetVariables: inheritEnv.filter((name) => !env[name]?.trim()),
        servers: await Promise.all(locals.map(async ({ name, command, env }) => {
          const variables = Object.fromEntries(env.map(({ name, value }) => [name, value]));
          return { name, command, program: await find(command, variables) };
        })),
      };
    },
    async describe(signal) {
      const notAcp = new AbortController();
      let timer: ReturnType<typeof setTimeout> | undefined;
      const agent = await createAgent(config, {
        ...deps,
        onLifecycle(event) {
          observed = observe(observed, event);
          if (observed.invalidLine !== undefined) {
            timer ??= setTimeout(() => notAcp.abort(notAcpError()), notAcpMs);
          } else clearTimeout(timer);
          deps.onLifecycle?.(event);
        },
      });
      const kill = () => agent.kill();
      killed.signal.addEventListener("abort", kill);
      try {
        killed.signal.throwIfAborted();
        return await agent.describe(AbortSignal.any([signal, notAcp.signal, killed.signal]));
      } finally {
        await agent[Symbol.asyncDispose]();
        killed.signal.removeEventListener("abort", kill);
        clearTimeout(timer);
      }
    },
    get observed() {
      return observed;
    },
    kill: () => killed.abort(new AppError("agent_unavailable", "The agent was killed.")),
  };
}

function notAcpError(): AppError {
  return new AppError("agent_unavailable", "The agent prints only lines that are not ACP.");
}
