/** The doctor's checks of this machine: the address, the character, the folder for data, and what an agent needs. @module */

import { LimitedBytesTransformStream } from "@std/streams/limited-bytes-transform-stream";
import { toText } from "@std/streams/to-text";
import { isAbsolute, resolve } from "node:path";
import type { AgentConfig, AgentDeps } from "../acp/create_agent.ts";
import { agentEnvironment } from "../acp/environment.ts";
import type { Config } from "../config/load.ts";
import { FileInUseError } from "../conversation/sqlite.ts";
import { openStore } from "../conversation/store.ts";
import { messageOf } from "../core/errors.ts";
import { openCharacter } from "../stage/character.ts";
import { addressFinding, type AgentRequirements, fail, type Finding, ok, warn } from "./report.ts";

/** Longest wait for the answer of a server that has the address, in milliseconds. */
const PROBE_MS = 5_000;
/** Bytes that are read of that answer. */
const PROBE_BYTES = 4_096;

/** Finds out whether an address can be listened on. */
export async function checkAddress(listen: Config["listen"]): Promise<Finding> {
  try {
    Deno.listen({ ...listen }).close();
    return addressFinding(listen);
  } catch (error) {
    const isOurs = error instanceof Deno.errors.AddrInUse && await isOurServer(listen);
    return addressFinding(listen, error, isOurs);
  }
}

/** Asks the server at an address whether it is an oab-vtuber. */
async function isOurServer({ hostname, port }: Config["listen"]): Promise<boolean> {
  const host = { "0.0.0.0": "127.0.0.1", "::": "[::1]" }[hostname] ??
    (hostname.includes(":") ? `[${hostname}]` : hostname);
  try {
    const { body } = await fetch(`http://${host}:${port}/`, {
      headers: { accept: "application/json" },
      redirect: "manual",
      signal: AbortSignal.timeout(PROBE_MS),
    });
    const text: string = body
      ? await toText(body.pipeThrough(new LimitedBytesTransformStream(PROBE_BYTES)))
      : "";
    return /"name": ?"oab-vtuber"/.test(text);
  } catch {
    // The server does not speak HTTP.
    return false;
  }
}

/** Opens the character, as the server does. */
export async function checkCharacter(character: string): Promise<Finding> {
  try {
    await openCharacter(character);
    return ok("VTUBER_CHARACTER can be shown");
  } catch (error) {
    return fail(messageOf(error), "Correct it, or take it out: then the stage shows a drawn character.");
  }
}

/** Opens the folder that remembers conversations, as the server does. */
export async function checkDataDir(folder: string | undefined): Promise<Finding> {
  if (folder === undefined) return ok("conversations are not kept on disk");
  const warnings: string[] = [];
  try {
    const store = await openStore(folder, {
      warn: (message, fields) =>
        warnings.push(`${message} (${Object.values(fields).map(messageOf).join(", ")})`),
    });
    // Minifying would inline a `using` variable that is read once.
    using _store = store;
    const { length } = store.load();
    if (warnings.length === 0) return ok(`conversations are remembered in ${folder}: ${length} so far`);
    return warn(
      `${folder}: ${warnings.join("; ")}`,
      "Only the memory of conversations is lost. Unknown conversations start anew.",
    );
  } catch (error) {
    if (error instanceof FileInUseError) {
      return ok(`conversations are remembered in ${folder}, which a running server uses`);
    }
    return warn(
      `conversations are remembered only until the program ends: ${messageOf(error)}`,
      "Set VTUBER_DATA_DIR to a folder that can be written, or to none.",
    );
  }
}

/** Looks for the things that an agent needs, in the environment that the agent gets. */
export async function findRequirements(
  { command, workingDir, inheritEnv, env: set, mcpServers }: AgentConfig,
  { own, windows, programFolders }: Pick<AgentDeps, "own" | "windows" | "programFolders">,
): Promise<AgentRequirements> {
  const env = agentEnvironment({ own, windows, programFolders, inherit: inheritEnv, set });
  const isFolder = await Deno.stat(workingDir).then((info) => info.isDirectory, () => false);
  const folder = isFolder ? await Deno.realPath(workingDir) : undefined;
  const cwd = folder ?? resolve(workingDir);
  const servers = mcpServers.filter((server) => "command" in server);
  const programs = await Promise.all(
    servers.map((server) => {
      const variables = Object.fromEntries(server.env.map(({ name, value }) => [name, value]));
      return findProgram({ command: server.command, cwd, env: { ...env, ...variables }, windows });
    }),
  );
  return {
    program: command === undefined ? undefined : await findProgram({ command, cwd, env, windows }),
    folder,
    unsetVariables: inheritEnv.filter((name) => !env[name]?.trim()),
    missingServers: servers.filter((_, index) => programs[index] === undefined),
  };
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
export async function findProgram(source: ProgramSource): Promise<string | undefined> {
  const { command, cwd, env, windows } = source;
  const isPath = windows ? /[\\/]/.test(command) : command.includes("/");
  const folders = isPath ? [cwd] : (env.PATH ?? "").split(windows ? ";" : ":").filter(isAbsolute);
  const endings = windows ? ["", ...(env.PATHEXT ?? ".COM;.EXE;.BAT;.CMD").split(";")] : [""];
  for (const folder of folders) {
    for (const ending of endings) {
      const path = resolve(folder, command + ending);
      const info = await Deno.stat(path).catch(() => undefined);
      if (info?.isFile && (windows || ((info.mode ?? 0) & 0o111) !== 0)) return path;
    }
  }
  return undefined;
}
