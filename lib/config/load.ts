/**
 * The configuration: flags, environment and file made into one frozen object. Every mistake is found at once, and
 * each names its variable. Pure: what is read is handed in.
 *
 * @module
 */

import type { AgentSetup } from "../acp/start.ts";
import type { BusyMode, SessionMode } from "../conversation/policy.ts";
import type { AmbientSettings } from "../events/ambient.ts";
import { isLoopback } from "../http/guard.ts";
import type { StreamOptions } from "../openai/answer.ts";
import type { LogLevel } from "../ops/log.ts";
import { type EmotionWords, emotionWords } from "../turn/emotion.ts";
import type { TurnLimits } from "../turn/run.ts";
import { readAgents } from "./agents.ts";
import { dataDirOf, keepsNothing, NO_HOME } from "./data_dir.ts";
import { NO_TABLES, readAgentTables } from "./file.ts";
import { leaksOf } from "./secrets.ts";
import { isKnown, readSettings } from "./settings.ts";

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
  readonly agents: readonly AgentSetup[];
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
  for (const [name, fields] of values.authKey ? leaksOf(agents, values.authKey, env) : []) {
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
