/** What the doctor looks for on this machine: an address that is free, a program, a folder. @module */

import { isAbsolute, resolve } from "node:path";
import { agentEnvironment } from "../acp/environment.ts";
import { type AgentSetup, type AgentSurroundings, makeAgent } from "../acp/start.ts";
import type { Config } from "../config/load.ts";
import { openStore } from "../conversation/store.ts";
import type { DoctorAgent } from "./doctor.ts";
import type { Finding, Program } from "./report.ts";
import type { LogFields } from "../ops/log.ts";
import { asFailure, Failure, messageOf } from "../turn/failure.ts";

/** How long whoever listens already may take to say who that is, and how much is read of it. */
const NEIGHBOUR_MS = 1_000;
const NEIGHBOUR_CHARS = 4_096;
/** Lines of an agent's stderr that are told when it fails, and characters of each. */
const STDERR_LINES = 3;
const STDERR_CHARS = 150;

/** What stands in the way of listening at an address, if anything does; also who it is, where that can be told. */
export async function listenFault(listen: Config["listen"]): Promise<string | undefined> {
  try {
    Deno.listen({ ...listen }).close();
    return undefined;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return await neighbour(listen);
    if (error instanceof Deno.errors.AddrNotAvailable) return "this machine has no such address";
    if (error instanceof Deno.errors.PermissionDenied) {
      return "only an administrator may use ports below 1024";
    }
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
    if (/"name": ?"oab-vtuber"/.test(text)) return "an oab-vtuber runs there already";
  } catch {
    // It speaks no HTTP, or not to us.
  } finally {
    clearTimeout(timer);
  }
  return "another program listens there";
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
export async function findProgram(
  { command, cwd, env, windows }: ProgramSource,
): Promise<Program | undefined> {
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

/** The whole path of a folder, if it exists. */
export async function findFolder(path: string): Promise<string | undefined> {
  const info = await Deno.stat(path).catch(() => undefined);
  return info?.isDirectory ? await Deno.realPath(path) : undefined;
}

/** Opens what conversations are remembered in, as the program does. */
export async function checkDataDir(folder: string): Promise<Finding> {
  const said: string[] = [];
  using store = await openStore(folder, {
    warn: (message, fields) => said.push(`${message} (${Object.values(fields).map(messageOf).join(", ")})`),
  });
  const count = store.load().length;
  if (said.length === 0) {
    return { level: "ok", text: `conversations are remembered in ${folder}: ${count} so far` };
  }
  const fix = "Nothing is lost but what was remembered: conversations begin anew where they are not known.";
  return { level: "warn", text: `${folder}: ${said.join("; ")}`, fix };
}

/** An agent to be tried as the program would start it: one process of it. */
export function doctorAgent(config: AgentSetup, around: AgentSurroundings): DoctorAgent {
  const { command, workingDir } = config;
  const { own, windows, programFolders } = around;
  const env = agentEnvironment({ own, windows, programFolders, inherit: config.inheritEnv, set: config.env });
  const folder = () => findFolder(workingDir);
  return {
    config,
    findFolder: folder,
    async findProgram() {
      if (command === undefined) return undefined;
      return await findProgram({ command, cwd: await folder() ?? resolve(workingDir), env, windows });
    },
    async describe(signal) {
      const lines: string[] = [];
      const listen = (message: string, fields?: LogFields) => {
        if (typeof fields?.line === "string") lines.push(fields.line.slice(0, STDERR_CHARS));
        if (lines.length > STDERR_LINES) lines.shift();
        around.log.info(message, fields);
      };
      try {
        await using agent = await makeAgent({ ...config, processes: 1 }, {
          ...around,
          log: { ...around.log, info: listen },
        });
        return await agent.describe(signal);
      } catch (error) {
        const { code, message } = asFailure(error, "agent_unavailable");
        if (code !== "agent_unavailable" || lines.length === 0) throw error;
        throw new Failure(code, `${message} The last that it wrote to stderr: ${lines.join(" / ")}`);
      }
    },
  };
}
