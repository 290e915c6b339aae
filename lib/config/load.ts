/**
 * The configuration: flags, environment and file made into one frozen object. Every mistake is found at once, and
 * each names its variable. Pure: what is read is handed in.
 *
 * @module
 */

import type { AgentConfig } from "../acp/create_agent.ts";
import type { SessionMode } from "../conversation/resolve.ts";
import type { BusyMode } from "../conversation/turn_queue.ts";
import type { LogLevel } from "../core/log.ts";
import type { AmbientSettings } from "../events/ambient.ts";
import { isLoopback } from "../http/access.ts";
import type { StreamOptions } from "../openai/response.ts";
import { type EmotionWords, emotionWords } from "../turn/emotion.ts";
import type { TurnLimits } from "../turn/turn.ts";
import { readAgents } from "./agents.ts";
import { NO_TABLES, readAgentTables } from "./file.ts";
import { expandHome } from "./parsers.ts";
import { findKeyLeaks } from "./secrets.ts";
import { isKnown, readSettings, SETTING_HELP } from "./settings.ts";
import { parseArgs, type ParseArgsConfig } from "node:util";

/** Accepted for OpenAB's sake, without effect, with the reason. */
const WITHOUT_EFFECT: ReadonlyMap<string, string> = new Map([
  ["VTUBER_REPLY_TAIL_IDLE_MS", "a turn ends when the agent says so"],
]);

/** The whole configuration. */
export interface Config {
  readonly enabled: boolean;
  readonly listen: { readonly hostname: string; readonly port: number };
  readonly authKey: string | undefined;
  readonly allowedOrigins: readonly string[];
  readonly insecure: boolean;
  /** The name of the default agent, told where a request names none. */
  readonly model: string;
  readonly strictModels: boolean;
  readonly chatPath: string;
  /** One at least; the default one is the first. */
  readonly agents: readonly AgentConfig[];
  /** Names of the variables whose values the file's agents are made with: `${NAME}`. */
  readonly fileVariables: readonly string[];
  /** Which requests are one conversation. */
  readonly sessions: SessionMode;
  readonly onBusy: BusyMode;
  /** How long an idle conversation keeps its session open. */
  readonly sessionTtlMs: number;
  /** Conversations whose sessions are kept open. */
  readonly maxSessions: number;
  /** Where conversations are remembered; perhaps not absolute. Without it nothing is kept on disk. */
  readonly dataDir: string | undefined;
  readonly permissionTimeoutMs: number;
  readonly maxInFlight: number;
  readonly limits: TurnLimits;
  readonly stream: StreamOptions;
  /** The words that are emotions in replies. */
  readonly emotions: EmotionWords;
  /** How the character speaks up by itself, if it does. */
  readonly ambient: AmbientSettings | undefined;
  readonly clawd: boolean;
  /** Where the character of the stage comes from. */
  readonly character: string | undefined;
  readonly shutdownGraceMs: number;
  readonly log: LogLevel;
}

/** What configuration is made from. */
export interface ConfigSource {
  readonly env: Readonly<Record<string, string>>;
  /** Values of flags, by the variable that they stand for. */
  readonly flags?: Readonly<Record<string, string>>;
  /** The configuration file. */
  readonly file?: { readonly path: string; readonly text: string } | undefined;
  /** The operating system, as `Deno.build.os`. */
  readonly os?: string;
}

/** The configuration, and what is odd about it but no mistake. */
export interface Loaded {
  readonly config: Config;
  readonly warnings: readonly string[];
}

/** All that is wrong with a configuration, and what is odd about it, which may say why. */
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
 * Makes the configuration. Flags win over the environment, and that over the file; but, as in OpenAB, the file's
 * `[agent]` command wins over `OPENAB_AGENT_COMMAND`. An empty variable counts as unset.
 *
 * @throws {ConfigError} with every mistake, and every warning.
 */
export function loadConfig({ env, flags = {}, file, os = "linux" }: ConfigSource): Loaded {
  const mistakes: string[] = [];
  const warnings: string[] = [];
  const values = readSettings(env, flags, mistakes);
  const tables = file ? readAgentTables(file, env, mistakes, warnings) : NO_TABLES;
  warnings.push(...variableWarnings(env));
  const agents = readAgents({ tables, values, env, flags }, mistakes, warnings);
  for (const [name, fields] of values.authKey ? findKeyLeaks(agents, values.authKey, env) : []) {
    mistakes.push(
      `VTUBER_AUTH_KEY may not be handed to an agent: take it out of ${
        fields.join(" and ")
      } of the agent ${name}.`,
    );
  }
  const dataDir = dataDirOf(values.dataDir, os, env);
  if (dataDir === undefined && !keepsNothing(values.dataDir) && values.sessions !== "stateless") {
    warnings.push(NO_HOME);
  }
  if (values.listen && !values.authKey && !values.insecure && !isLoopback(values.listen.hostname)) {
    mistakes.push(
      `GATEWAY_LISTEN=${values.listen.hostname}:${values.listen.port} is open to other machines: set VTUBER_AUTH_KEY, ` +
        "or VTUBER_INSECURE=true if everyone who reaches it may use the agent.",
    );
  }
  if (mistakes.length > 0) throw new ConfigError(mistakes, warnings);
  return {
    warnings,
    config: Object.freeze({
      enabled: values.enabled,
      listen: values.listen,
      authKey: values.authKey,
      allowedOrigins: values.allowedOrigins,
      insecure: values.insecure,
      model: agents[0]!.name,
      strictModels: values.strictModels,
      chatPath: values.chatPath,
      agents,
      fileVariables: tables.variables,
      sessions: values.sessions,
      onBusy: values.onBusy,
      sessionTtlMs: values.sessionTtl,
      maxSessions: values.maxSessions,
      dataDir,
      permissionTimeoutMs: values.permissionTimeout,
      maxInFlight: values.maxInFlight,
      limits: { replyTimeoutMs: values.replyTimeout, turnTimeoutMs: values.turnTimeout },
      stream: { heartbeat: values.heartbeat, heartbeatMs: values.heartbeatEvery, errors: values.errors },
      emotions: emotionWords(values.emotions),
      ambient: values.ambientEnabled
        ? {
          intervalMs: values.ambientInterval,
          urgency: values.ambientUrgency,
          prompt: values.ambientPrompt,
          mode: values.ambientMode,
        }
        : undefined,
      clawd: values.clawd,
      character: values.character,
      shutdownGraceMs: values.shutdownGrace,
      log: values.log,
    }),
  };
}

/** What is odd about variables that are set. */
function variableWarnings(env: Readonly<Record<string, string>>): string[] {
  return Object.entries(env).flatMap(([name, value]) => {
    if (value.trim() === "") return [];
    const why = WITHOUT_EFFECT.get(name);
    if (why) return [`${name} has no effect here: ${why}.`];
    const isOurs = name.startsWith("VTUBER_");
    return isOurs && !isKnown(name) ? [`${name} is not a setting of this version.`] : [];
  });
}

/** What the command line says. */
export interface Flags {
  /** Values by the variable that each flag stands for. */
  readonly flags: Readonly<Record<string, string>>;
  readonly help: boolean;
  readonly version: boolean;
  /** Path of the configuration file. */
  readonly config: string | undefined;
}

/** Reads the arguments. @throws {TypeError} that names a flag which is not known or lacks its value. */
export function readFlags(args: readonly string[]): Flags {
  const options: NonNullable<ParseArgsConfig["options"]> = {
    help: { type: "boolean", short: "h" },
    version: { type: "boolean", short: "V" },
    config: { type: "string" },
  };
  const variables = new Map<string, string>();
  for (const { flag, env, isSwitch } of SETTING_HELP) {
    if (flag === undefined) continue;
    options[flag] = { type: isSwitch ? "boolean" : "string" };
    variables.set(flag, env);
  }
  const { values } = parseArgs({ args: [...args], options, strict: true });
  const { help, version, config, ...others } = values;
  const flags = Object.entries(others).map(([name, value]) => [variables.get(name), String(value)]);
  return {
    flags: Object.fromEntries(flags),
    help: help === true,
    version: version === true,
    config: typeof config === "string" ? config : undefined,
  };
}

/** What `VTUBER_DATA_DIR` is set to so that nothing is kept on disk. */
const NONE = "none";
/** The folder in the system's folder for data. */
const OWN = "oab-vtuber";
/** The warning for who has no home folder. */
export const NO_HOME =
  "Conversations are not kept on disk, since this user has no home folder: set VTUBER_DATA_DIR to a folder.";

/** The folder that is set, or the usual one of the operating system (`Deno.build.os`); nothing if there is none. */
export function dataDirOf(
  set: string | undefined,
  os: string,
  env: Readonly<Record<string, string>>,
): string | undefined {
  if (set !== undefined) return keepsNothing(set) ? undefined : expandHome(set, env);
  if (os === "windows") {
    const local = env.LOCALAPPDATA || (env.USERPROFILE && `${env.USERPROFILE}\\AppData\\Local`);
    return local ? `${local}\\${OWN}` : undefined;
  }
  const { HOME: home, XDG_DATA_HOME: xdg } = env;
  if (os === "darwin") return home ? `${home}/Library/Application Support/${OWN}` : undefined;
  // What is not absolute is to be ignored, says the XDG specification.
  if (xdg?.startsWith("/")) return `${xdg}/${OWN}`;
  return home ? `${home}/.local/share/${OWN}` : undefined;
}

/** Whether nothing is to be kept on disk, as it was set. */
export function keepsNothing(set: string | undefined): boolean {
  return set?.toLowerCase() === NONE;
}
