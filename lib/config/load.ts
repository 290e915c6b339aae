/**
 * Loads the configuration: flags, variables and file become one frozen object. Every mistake is found at once, and each
 * names its setting. Pure: the environment and the file's text are parameters.
 *
 * @module
 */

import { parseArgs, type ParseArgsOptionsConfig } from "node:util";
import type { AgentConfig } from "../acp/create_agent.ts";
import { messageOf } from "../core/errors.ts";
import type { AmbientSettings } from "../events/ambient.ts";
import { isLoopback } from "../http/access.ts";
import type { EmbeddingsConfig } from "../openai/embeddings.ts";
import type { SpeechConfig, TranscriptionConfig } from "../speech/config.ts";
import { readAgentTables } from "./agent_table.ts";
import { readAgents } from "./agents.ts";
import { type ConfigFile, openConfigFile, type Problems } from "./config_file.ts";
import {
  isShort,
  type KeyConfig,
  keyPermissionsOf,
  keyVariables,
  readKeyTables,
  resolveKeys,
  SAFE_KEY_CHARS,
  type ServerKey,
  serverKeys,
} from "./keys.ts";
import { expandHome } from "./parsers.ts";
import { findKeyLeaks } from "./secrets.ts";
import { readSettings, SETTING_HELP, type Settings } from "./settings.ts";
import { readSpeech, readTranscription } from "./speech.ts";
import { describeUnknown, suggest } from "./suggest.ts";
import { readEmbeddings } from "./upstreams.ts";

/** The whole configuration: every setting, and the values that are made of several. */
export interface Config extends Settings {
  /** The name of the default agent. */
  readonly model: string;
  /** The keys of `[keys.NAME]`. */
  readonly keys: readonly KeyConfig[];
  /** At least one agent; the default agent is the first. */
  readonly agents: readonly AgentConfig[];
  /** The server that makes embeddings; `undefined` if there is none. */
  readonly embeddings: EmbeddingsConfig | undefined;
  /** The provider that speaks. */
  readonly speech: SpeechConfig;
  /** The provider that transcribes recordings; `undefined` if there is none. */
  readonly transcription: TranscriptionConfig | undefined;
  /** The folder that remembers conversations, perhaps relative; `undefined` keeps nothing on disk. */
  readonly dataDir: string | undefined;
  /** How the character speaks up by itself; `undefined` if it does not. */
  readonly ambient: AmbientSettings | undefined;
}

/** The sources of a configuration. */
export interface ConfigSource {
  readonly env: Readonly<Record<string, string>>;
  /** Values of flags by the variable that each stands for. */
  readonly flags?: Readonly<Record<string, string>>;
  readonly file?: ConfigFile | undefined;
  /** The operating system, as `Deno.build.os`. */
  readonly os?: string;
}

/** A configuration that can be used, and its warnings. */
export interface Loaded {
  readonly config: Config;
  readonly warnings: readonly string[];
}

/** The mistakes of a configuration; and its warnings, which may name the cause. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly mistakes: readonly string[];
  readonly warnings: readonly string[];

  constructor(mistakes: readonly string[], warnings: readonly string[] = []) {
    super(mistakes.join("\n"));
    this.mistakes = mistakes;
    this.warnings = warnings;
  }
}

/**
 * Loads the configuration. A flag beats a variable, and a variable beats the file; but, as in OpenAB, the command of
 * `[agent]` beats `OPENAB_AGENT_COMMAND`. An empty variable counts as unset.
 *
 * @throws {ConfigError} with the mistakes of every setting and key; without any, with those of their combinations.
 */
export function loadConfig({ env, flags = {}, file, os = "linux" }: ConfigSource): Loaded {
  const problems: Problems = { mistakes: [], warnings: [] };
  const { mistakes, warnings } = problems;
  const settings = readSettings(env, flags, mistakes);
  const reader = openConfigFile(file, env, problems);
  const keyTables = readKeyTables(reader);
  const owners = keyVariables(keyTables);
  const tables = readAgentTables(reader, owners);
  const embeddings = readEmbeddings(reader);
  const speech = readSpeech({ reader, settings, owners, env }, problems);
  const transcription = readTranscription({ reader, settings, owners, env }, problems);
  const names = SETTING_HELP.map((setting) => setting.env);
  for (const name of Object.keys(env)) {
    if (!name.startsWith("VTUBER_") || !env[name]?.trim() || names.includes(name)) continue;
    warnings.push(`${name} ${describeUnknown(name, names)}`);
  }
  // A setting with a mistake is undefined. A key with a mistake is left out, but counts.
  const { listen, authKey, insecure, tlsCert, tlsKey } = settings;
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    const [set, missing] = tlsCert
      ? ["VTUBER_TLS_CERT", "VTUBER_TLS_KEY"]
      : ["VTUBER_TLS_KEY", "VTUBER_TLS_CERT"];
    mistakes.push(
      `${set} needs ${missing} too: https takes the files of a certificate and of its private key.`,
    );
  }
  const hasKey = authKey !== undefined || Object.keys(reader.root.keys ?? {}).length > 0;
  if (listen && !hasKey && !insecure && !isLoopback(listen.hostname)) {
    mistakes.push(
      `GATEWAY_LISTEN=${listen.hostname}:${listen.port} is open to other machines: make a key with \`oab-vtuber key ` +
        "new`, or set VTUBER_INSECURE=true if everyone who reaches it may use the agent.",
    );
  }
  if (mistakes.length > 0) throw new ConfigError(mistakes, warnings);

  const keepsNothing = settings.dataDir?.toLowerCase() === "none";
  const dataDir = keepsNothing ? undefined : dataDirOf(settings.dataDir, os, env);
  const agents = readAgents({ tables, settings, env, flags }, problems);
  const keys = resolveKeys(keyTables, { authKey, agents, dataDir }, reader);
  const owned = serverKeys({ authKey, keys });
  if (!isLoopback(listen.hostname)) warnings.push(...openWarnings(owned));
  for (const agent of owned.length > 0 ? agents : []) {
    for (const { label, fields } of findKeyLeaks(agent, owned, env)) {
      const where = `${fields.join(" and ")} of the agent ${agent.name}`;
      mistakes.push(`${label} cannot be given to an agent: take it out of ${where}.`);
    }
  }
  if (mistakes.length > 0) throw new ConfigError(mistakes, warnings);

  if (dataDir === undefined && !keepsNothing && settings.sessions !== "stateless") {
    warnings.push(
      "Conversations are not kept on disk, because this user has no home folder: set VTUBER_DATA_DIR to a folder, or " +
        "to none.",
    );
  }
  const config: Config = {
    ...settings,
    tlsCert: tlsCert && expandHome(tlsCert, env),
    tlsKey: tlsKey && expandHome(tlsKey, env),
    model: agents[0]!.name,
    keys,
    agents: agents.map((agent) => ({ ...agent, keyPermissions: keyPermissionsOf(agent, keys) })),
    embeddings,
    speech,
    transcription,
    dataDir,
    ambient: !settings.ambientEnabled ? undefined : {
      intervalMs: settings.ambientIntervalMs,
      urgency: settings.ambientUrgency,
      prompt: settings.ambientPrompt,
      mode: settings.ambientMode,
    },
  };
  return { config: Object.freeze(config), warnings };
}

/** Warns of an address that is open to other machines without a key, or with one that can be guessed. */
function openWarnings(keys: readonly ServerKey[]): string[] {
  if (keys.length === 0) {
    return ["VTUBER_INSECURE: everyone who reaches this address may use the agents, without a key."];
  }
  return keys.filter(isShort).map(({ label }) =>
    `${label} has fewer than ${SAFE_KEY_CHARS} characters, and other machines reach this address: it could be ` +
    "guessed. Make a longer one with `oab-vtuber key new`."
  );
}

/** Finds the folder for data: the one that is set, or the usual one of the operating system (`Deno.build.os`). */
export function dataDirOf(
  set: string | undefined,
  os: string,
  env: Readonly<Record<string, string>>,
): string | undefined {
  if (set !== undefined) return expandHome(set, env);
  if (os === "windows") {
    const local = env.LOCALAPPDATA || (env.USERPROFILE && `${env.USERPROFILE}\\AppData\\Local`);
    return local ? `${local}\\oab-vtuber` : undefined;
  }
  const { HOME: home, XDG_DATA_HOME: xdg } = env;
  if (os === "darwin") return home ? `${home}/Library/Application Support/oab-vtuber` : undefined;
  // The XDG specification says that relative paths are ignored.
  if (xdg?.startsWith("/")) return `${xdg}/oab-vtuber`;
  return home ? `${home}/.local/share/oab-vtuber` : undefined;
}

/** The command line. */
export interface Flags {
  /** Values by the variable that each flag stands for. */
  readonly flags: Readonly<Record<string, string>>;
  readonly help: boolean;
  readonly version: boolean;
  readonly licenses: boolean;
  /** Path of the configuration file. */
  readonly config: string | undefined;
}

/** Reads the arguments. @throws {ConfigError} that names a flag which is unknown or lacks its value. */
export function readFlags(args: readonly string[]): Flags {
  const options: ParseArgsOptionsConfig = {
    help: { type: "boolean", short: "h" },
    version: { type: "boolean", short: "V" },
    licenses: { type: "boolean" },
    config: { type: "string" },
  };
  const variables = new Map<string, string>();
  for (const { flag, env, isSwitch } of SETTING_HELP) {
    if (flag === undefined) continue;
    options[flag] = { type: isSwitch ? "boolean" : "string" };
    variables.set(flag, env);
  }
  try {
    const { help, version, licenses, config, ...others } = parseArgs({ args: [...args], options }).values;
    const flags = Object.entries(others).map(([name, value]) => [variables.get(name), String(value)]);
    return {
      flags: Object.fromEntries(flags),
      help: help === true,
      version: version === true,
      licenses: licenses === true,
      config: config?.toString(),
    };
  } catch (error) {
    throw flagError(error, args, Object.keys(options));
  }
}

/** Makes the error of arguments that cannot be read: it names a flag that is unknown. */
export function flagError(error: unknown, args: readonly string[], flags: readonly string[]): ConfigError {
  const names = args.map((arg) => /^--([^=]+)/.exec(arg)?.[1]).filter((name) => name !== undefined);
  const unknown = names.find((name) => !flags.includes(name));
  if (unknown === undefined) return new ConfigError([messageOf(error)]);
  const meant = suggest(unknown, flags);
  return new ConfigError([`There is no flag --${unknown}.${meant ? ` Did you mean --${meant}?` : ""}`]);
}
