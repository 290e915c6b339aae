/** What the doctor looks for on this machine: an address that is free, a program, a folder. @module */

import { isAbsolute, resolve } from "node:path";
import { agentEnvironment } from "../acp/environment.ts";
import { type AgentConfig, type AgentDeps, createAgent } from "../acp/create_agent.ts";
import type { Config } from "../config/load.ts";
import { openStore } from "../conversation/store.ts";
import type { DoctorAgent } from "./command.ts";
import { listen } from "./ear.ts";
import {
  ALREADY_RUNNING,
  type Finding,
  type Folder,
  IN_USE,
  LOW_PORT,
  NO_SUCH_ADDRESS,
  type Program,
  type ServerProgram,
} from "./report.ts";
import { AppError, messageOf } from "../core/errors.ts";

/** How long whoever listens already may take to say who that is, and how much is read of it. */
const NEIGHBOUR_MS = 5_000;
const NEIGHBOUR_CHARS = 4_096;
/** How long an agent may write nothing but what is no ACP. */
const STRAY_MS = 5_000;
/** How much of a program is read for what runs it: more is not looked at when it is started either. */
const SHEBANG_BYTES = 256;

/** What stands in the way of listening at an address, if anything does; also who it is, where that can be told. */
export async function listenFault(listen: Config["listen"]): Promise<string | undefined> {
  try {
    Deno.listen({ ...listen }).close();
    return undefined;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return await neighbour(listen);
    if (error instanceof Deno.errors.AddrNotAvailable) return NO_SUCH_ADDRESS;
    if (error instanceof Deno.errors.PermissionDenied) return LOW_PORT;
    return messageOf(error);
  }
}

/** Who listens there already, as far as it tells. */
async function neighbour({ hostname, port }: Config["listen"]): Promise<string> {
  const host = { "0.0.0.0": "127.0.0.1", "::": "[::1]" }[hostname] ??
    (hostname.includes(":") ? `[${hostname}]` : hostname);
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), NEIGHBOUR_MS);
  try {
    const { body } = await fetch(`http://${host}:${port}/`, {
      headers: { accept: "application/json" },
      redirect: "manual",
      signal: late.signal,
    });
    let text = "";
    for await (const piece of body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += piece;
      if (text.length >= NEIGHBOUR_CHARS) break;
    }
    if (/"name": ?"oab-vtuber"/.test(text)) return ALREADY_RUNNING;
  } catch {
    // It speaks no HTTP, or not to us.
  } finally {
    clearTimeout(timer);
  }
  return IN_USE;
}

/** Where a program is looked for. */
export interface ProgramSource {
  readonly command: string;
  /** The folder that it is started in; absolute. */
  readonly cwd: string;
  /** The environment that it gets. */
  readonly env: Readonly<Record<string, string>>;
  readonly windows: boolean;
}

/** Finds a program as it is found when it is started: the first on the PATH that can be executed, or its own path. */
export async function findProgram(source: ProgramSource): Promise<Program | undefined> {
  const program = await lookFor(source);
  if (source.windows || !program?.isExecutable) return program;
  const missingInterpreter = await missingInterpreterOf(program.path, source);
  return missingInterpreter === undefined ? program : { ...program, missingInterpreter };
}

/** What the first line of a script says that runs it, if that is not there. */
async function missingInterpreterOf(path: string, source: ProgramSource): Promise<string | undefined> {
  const line = await firstLineOf(path).catch(() => "");
  const [interpreter, ...words] = line.startsWith("#!") ? line.slice(2).trim().split(/[ \t]+/) : [];
  if (!interpreter) return undefined;
  if (!await lookFor({ ...source, command: resolve(source.cwd, interpreter) })) return interpreter;
  // `#!/usr/bin/env -S NAME=value node --flag` looks for node on the PATH.
  const named = words.find((word) => !word.startsWith("-") && !word.includes("="));
  if (!interpreter.endsWith("/env") || named === undefined) return undefined;
  return await lookFor({ ...source, command: named }) ? undefined : named;
}

async function firstLineOf(path: string): Promise<string> {
  const file = await Deno.open(path);
  try {
    const bytes = new Uint8Array(SHEBANG_BYTES);
    const length = await file.read(bytes) ?? 0;
    return new TextDecoder().decode(bytes.subarray(0, length)).split("\n")[0]!;
  } finally {
    file.close();
  }
}

async function lookFor({ command, cwd, env, windows }: ProgramSource): Promise<Program | undefined> {
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

/** What is where a folder should be. */
export async function findFolder(path: string): Promise<Folder | undefined> {
  const info = await Deno.stat(path).catch(() => undefined);
  return info && { path: await Deno.realPath(path), isFolder: info.isDirectory };
}

/** Opens what conversations are remembered in, as the program does. */
export async function checkDataDir(folder: string): Promise<Finding> {
  const said: string[] = [];
  const store = await openStore(folder, {
    warn: (message, fields) => said.push(`${message} (${Object.values(fields).map(messageOf).join(", ")})`),
  });
  let count: number;
  try {
    count = store.load().length;
  } finally {
    store[Symbol.dispose]();
  }
  if (said.length === 0) {
    return { level: "ok", text: `conversations are remembered in ${folder}: ${count} so far` };
  }
  const fix = "Nothing is lost but what was remembered: conversations begin anew where they are not known.";
  return { level: "warn", text: `${folder}: ${said.join("; ")}`, fix };
}

/**
 * An agent to be tried as the program would start it: one process of it. `strayMs` is how long it may write nothing but
 * what is no ACP.
 */
export function doctorAgent(
  config: AgentConfig,
  around: AgentDeps,
  strayMs: number = STRAY_MS,
): DoctorAgent {
  const { command, workingDir } = config;
  const { own, windows, programFolders } = around;
  const env = agentEnvironment({ own, windows, programFolders, inherit: config.inheritEnv, set: config.env });
  const folder = () => findFolder(workingDir);
  const find = async (command: string, more: Readonly<Record<string, string>> = {}) => {
    const cwd = (await folder())?.path ?? resolve(workingDir);
    return await findProgram({ command, cwd, env: { ...env, ...more }, windows });
  };
  const over = new AbortController();
  const ear = listen(around.log);
  return {
    config,
    unset: config.inheritEnv.filter((name) => !env[name]?.trim()),
    findFolder: folder,
    findProgram: async () => command === undefined ? undefined : await find(command),
    async findServers() {
      const programs = config.mcpServers.filter((server) => "command" in server);
      return await Promise.all(programs.map(async ({ name, command, env }): Promise<ServerProgram> => {
        const own = Object.fromEntries(env.map(({ name, value }) => [name, value]));
        return { name, command, program: await find(command, own) };
      }));
    },
    async describe(signal) {
      const agent = await createAgent({ ...config, processes: 1 }, { ...around, log: ear.log });
      const end = () => agent.kill();
      over.signal.addEventListener("abort", end);
      const stray = new AbortController();
      let timer: ReturnType<typeof setTimeout> | undefined;
      ear.onStray = () => timer = setTimeout(() => stray.abort(strayFailure()), strayMs);
      ear.onReady = () => clearTimeout(timer);
      try {
        over.signal.throwIfAborted();
        return await agent.describe(AbortSignal.any([signal, stray.signal, over.signal]));
      } finally {
        await agent[Symbol.asyncDispose]();
        over.signal.removeEventListener("abort", end);
        clearTimeout(timer);
      }
    },
    said: () => ear.said,
    kill: () => over.abort(new AppError("agent_unavailable", "It was ended.")),
  };
}

function strayFailure(): AppError {
  return new AppError("agent_unavailable", "It writes what is no ACP, and nothing else.");
}
