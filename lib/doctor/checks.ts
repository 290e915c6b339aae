/** The doctor's checks of this machine: the address, the character, the folder for data, and what an agent needs. @module */

import { X509Certificate } from "node:crypto";
import http from "node:http";
import https from "node:https";
import { isAbsolute, resolve } from "node:path";
import type { AgentConfig, AgentDeps } from "../acp/create_agent.ts";
import { agentEnvironment } from "../acp/environment.ts";
import { addressText, describeCommand } from "../config/help.ts";
import type { Config } from "../config/load.ts";
import { readTls } from "../config/tls.ts";
import { splitCommand } from "../config/parsers.ts";
import { FileInUseError } from "../conversation/sqlite.ts";
import { openStore } from "../conversation/store.ts";
import { AppError, messageOf } from "../core/errors.ts";
import { createUpstream } from "../core/upstream.ts";
import { type EmbeddingsConfig, requestEmbeddings } from "../openai/embeddings.ts";
import { openCharacter } from "../stage/character.ts";
import { fail, type Finding, ok, warn } from "./report.ts";
import { findVrmFault } from "./vrm_check.ts";

/** Longest wait for the answer of a server that has the address, in milliseconds. */
const PROBE_MS = 5_000;
/** Most characters that are needed of that answer. */
const PROBE_CHARS = 4_096;
/** Longest wait for an embedding, in milliseconds: a local server may have to load its model first. */
const EMBEDDING_MS = 60_000;

/** Finds out whether an address can be listened on. */
export async function checkAddress(listen: Config["listen"]): Promise<Finding> {
  const address = addressText(listen);
  const choose = "choose another address with GATEWAY_LISTEN or --listen (port 0 takes a free one).";
  try {
    Deno.listen({ ...listen }).close();
    return ok(`${address} is free to listen on`);
  } catch (error) {
    return error instanceof Deno.errors.AddrInUse && await isOurServer(addressText(listen, true))
      ? warn(
        `${address} is in use by another oab-vtuber`,
        `This is fine if it is the server that you are asking about. Otherwise stop it, or ${choose}`,
      )
      : fail(
        `${address} cannot be listened on: ${messageOf(error)}`,
        `Stop the program that uses it, or ${choose}`,
      );
  }
}

/** Asks the server at an address whether it is an oab-vtuber. Tries http and https: the doctor may lack the TLS settings. */
async function isOurServer(address: string): Promise<boolean> {
  const answers = await Promise.all(
    [http.get, https.get].map((get, index) => readStart(get, `${["http", "https"][index]}://${address}/`)),
  );
  return answers.some((text) => /"name": ?"oab-vtuber"/.test(text));
}

/** Reads the start of an answer. Resolves to an empty text if there is none. */
async function readStart(get: typeof https.get, url: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  // Any certificate is accepted, because the request contains no secret. Without a `ca`, Deno reads the system's
  // certificates, which this program has no permission for.
  const options = { rejectUnauthorized: false, ca: [], signal: AbortSignal.timeout(PROBE_MS) };
  get(url, { ...options, headers: { accept: "application/json" } }, resolve).on("error", reject);
  let text = "";
  try {
    const response = await promise;
    for await (const bytes of response) {
      text += bytes;
      if (text.length >= PROBE_CHARS) break;
    }
  } catch {
    // The server does not speak this protocol.
  }
  return text;
}

/** Reads the certificate and its key, as the server does, and until when the certificate is valid. */
export async function checkTls(
  config: Pick<Config, "tlsCert" | "tlsKey">,
  nowMs: number = Date.now(),
): Promise<Finding> {
  const fix = "Correct both settings, or take both out: then the server speaks http.";
  try {
    const { cert } = (await readTls(config))!;
    const { validTo } = new X509Certificate(cert);
    if (Date.parse(validTo) >= nowMs) {
      return ok(`https can be spoken: the certificate is valid until ${validTo}`);
    }
    return fail(`VTUBER_TLS_CERT: the certificate was valid until ${validTo}`, "Make or get a new one.");
  } catch (error) {
    return fail(messageOf(error), fix);
  }
}

/** Opens the character, as the server does; and looks into a VRM model, which only the page reads. */
export async function checkCharacter(character: string): Promise<Finding> {
  const fix = "Correct it, or take it out: then the stage shows a drawn character.";
  try {
    await openCharacter(character);
  } catch (error) {
    return fail(messageOf(error), fix);
  }
  if (/^https?:/i.test(character)) return ok("VTUBER_CHARACTER is an address, which the page will load");
  const fault = /\.vrm$/i.test(character) ? await findVrmFault(character) : undefined;
  return fault
    ? fail(`VTUBER_CHARACTER: ${character} is no VRM model: ${fault}`, fix)
    : ok("VTUBER_CHARACTER can be shown");
}

/** Opens the folder that remembers conversations, as the server does. With `turns_per_day` the server needs the folder. */
export async function checkDataDir(folder: string | undefined, keys: Config["keys"] = []): Promise<Finding> {
  const isNeeded = keys.some(({ caller }) => caller.turnsPerDay !== undefined);
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
      "Only the memory of conversations and the counts of turns are lost. Unknown conversations start anew.",
    );
  } catch (error) {
    if (error instanceof FileInUseError) {
      const inUse = `conversations are remembered in ${folder}, which a running server uses`;
      return isNeeded
        ? warn(
          `${inUse}: a second server does not start, because turns_per_day is counted there`,
          "This is fine if it is the server that you are asking about. Otherwise stop it, or set another VTUBER_DATA_DIR.",
        )
        : ok(inUse);
    }
    if (isNeeded) {
      return fail(
        `turns_per_day cannot be counted: ${messageOf(error)}`,
        "Set VTUBER_DATA_DIR to a folder that can be written.",
      );
    }
    return warn(
      `conversations are remembered only until the program ends: ${messageOf(error)}`,
      "Set VTUBER_DATA_DIR to a folder that can be written, or to none.",
    );
  }
}

/** Requests the embedding of one word, as the server does for its clients. */
export async function checkEmbeddings(config: EmbeddingsConfig, signal: AbortSignal): Promise<Finding> {
  const { model } = config;
  const upstream = createUpstream("embeddings", config, { timeoutMs: EMBEDDING_MS });
  try {
    const request = { model: model ?? "", input: "hello" };
    const { data } = await requestEmbeddings(upstream, request, { signal });
    return ok(`embeddings: the server answers with ${data[0]!.embedding.length} numbers`);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    const { code, status = 500, message, cause } = error;
    if (model === undefined && code === "upstream_error" && status < 500) {
      return ok("embeddings: the server answers; its clients name the model");
    }
    // The cause of `fetch failed` has the system's words.
    const reason = cause instanceof Error ? `${message} ${messageOf(cause.cause ?? cause)}` : message;
    return warn(`embeddings do not work: ${reason}`, `Correct ${upstream.table}, or start its server.`);
  }
}

/** Looks for the things that an agent needs, in the environment that the agent gets. */
export async function checkRequirements(
  { command, workingDir, inheritEnv, env: set, mcpServers }: AgentConfig,
  { own, windows, programFolders }: Pick<AgentDeps, "own" | "windows" | "programFolders">,
): Promise<Finding[]> {
  const env = agentEnvironment({ own, windows, programFolders, inherit: inheritEnv, set });
  const isFolder = await Deno.stat(workingDir).then((info) => info.isDirectory, () => false);
  const cwd = isFolder ? await Deno.realPath(workingDir) : resolve(workingDir);
  const found: Finding[] = [];
  if (command === undefined) {
    found.push(ok("is the built-in demo agent (OPENAB_AGENT_COMMAND sets a real one)"));
  } else {
    const program = await findProgram({ command, cwd, env, windows });
    const setting = "command in config.toml, or OPENAB_AGENT_COMMAND";
    found.push(program ? ok(`program: ${program}`) : missingProgram(fail, "program", command, setting));
  }
  found.push(
    isFolder ? ok(`folder: ${cwd}`) : fail(
      `folder ${workingDir} does not exist`,
      "Make it, or set VTUBER_WORKING_DIR, or working_dir in config.toml, to a folder that exists.",
    ),
  );
  for (const name of inheritEnv) {
    if (env[name]?.trim()) continue;
    const text = `inherit_env names ${name}, which is not set here`;
    found.push(warn(text, "Set it before you start the program."));
  }
  for (const server of mcpServers) {
    if (!("command" in server)) continue;
    const { name, command } = server;
    const variables = Object.fromEntries(server.env.map(({ name, value }) => [name, value]));
    if (await findProgram({ command, cwd, env: { ...env, ...variables }, windows })) continue;
    const setting = `mcp_servers.${name}.command in config.toml`;
    found.push(missingProgram(warn, `MCP server ${name}: program`, command, setting));
  }
  return found;
}

/** Reports that a program was not found; `setting` names the place where it is configured. */
function missingProgram(report: typeof fail, subject: string, command: string, setting: string): Finding {
  const [name = command, ...args] = splitCommand(command) ?? [];
  const fix = args.length === 0
    ? `Install it, or give its whole path: ${setting}.`
    : `Put the arguments into args, with command = ${JSON.stringify(name)}.`;
  return report(`${subject} ${describeCommand(name, args)} was not found`, fix);
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
export async function findProgram(
  { command, cwd, env, windows }: ProgramSource,
): Promise<string | undefined> {
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
