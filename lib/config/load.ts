/**
 * The configuration: flags, environment and file made into one frozen object. Every mistake is found at once, and
 * each names its variable. Pure: what is read is handed in.
 *
 * @module
 */

import type { PermissionPolicy } from "../acp/permission.ts";
import type { AmbientSettings } from "../events/ambient.ts";
import { isLoopback } from "../http/guard.ts";
import type { StreamOptions } from "../openai/answer.ts";
import type { LogLevel } from "../ops/log.ts";
import { type EmotionWords, emotionWords } from "../turn/emotion.ts";
import type { TurnLimits } from "../turn/run.ts";
import { type AgentTable, readAgentTable } from "./file.ts";
import { isKnown, readSettings, type Values, WITHOUT_EFFECT } from "./settings.ts";

/** An agent as it is configured. */
export interface AgentConfig {
  /** The program, or nothing for the built-in demo agent. */
  readonly command: string | undefined;
  readonly args: readonly string[];
  /** The agent's folder; perhaps not absolute yet. */
  readonly workingDir: string;
  /** Variables to set for it. */
  readonly env: Readonly<Record<string, string>>;
  /** Names of variables to hand on to it. */
  readonly inheritEnv: readonly string[];
}

/** The whole configuration. */
export interface Config {
  readonly enabled: boolean;
  readonly listen: { readonly hostname: string; readonly port: number };
  readonly authKey: string | undefined;
  readonly allowedOrigins: readonly string[];
  readonly insecure: boolean;
  readonly model: string;
  readonly chatPath: string;
  readonly agent: AgentConfig;
  readonly permissions: PermissionPolicy;
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
}

/** The configuration, and what is odd about it but no mistake. */
export interface Loaded {
  readonly config: Config;
  readonly warnings: readonly string[];
}

/** All that is wrong with a configuration. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly mistakes: readonly string[];

  constructor(mistakes: readonly string[]) {
    super(mistakes.join("\n"));
    this.mistakes = mistakes;
  }
}

/**
 * Makes the configuration. Flags win over the environment, and that over the file; but, as in OpenAB, the file's
 * `[agent]` command wins over `OPENAB_AGENT_COMMAND`. An empty variable counts as unset.
 *
 * @throws {ConfigError} with every mistake.
 */
export function loadConfig({ env, flags = {}, file }: ConfigSource): Loaded {
  const mistakes: string[] = [];
  const warnings: string[] = [];
  const values = readSettings(env, flags, mistakes);
  const table = file ? readAgentTable(file, env, mistakes, warnings) : undefined;
  for (const [name, value] of Object.entries(env)) {
    const why = WITHOUT_EFFECT.get(name);
    if (value.trim() === "") continue;
    if (why) warnings.push(`${name} has no effect here: ${why}.`);
    else if (name.startsWith("VTUBER_") && !isKnown(name)) {
      warnings.push(`${name} is not a setting of this version.`);
    }
  }
  const agent = readAgent(values, table, flags, env);
  const secret = values.authKey;
  const handed = [...Object.values(agent.env), ...agent.args];
  if (
    secret && (agent.inheritEnv.includes("VTUBER_AUTH_KEY") || handed.some((text) => text.includes(secret)))
  ) {
    mistakes.push(
      "VTUBER_AUTH_KEY may not be handed to the agent: take it out of its args, env and inherit_env.",
    );
  }
  if (values.listen && !values.authKey && !values.insecure && !isLoopback(values.listen.hostname)) {
    mistakes.push(
      `GATEWAY_LISTEN=${values.listen.hostname}:${values.listen.port} is open to other machines: set VTUBER_AUTH_KEY, ` +
        "or VTUBER_INSECURE=true if everyone who reaches it may use the agent.",
    );
  }
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  return {
    warnings,
    config: Object.freeze({
      enabled: values.enabled,
      listen: values.listen,
      authKey: values.authKey,
      allowedOrigins: values.allowedOrigins,
      insecure: values.insecure,
      model: values.model,
      chatPath: values.chatPath,
      agent,
      permissions: values.permissions,
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

function readAgent(
  values: Values,
  table: AgentTable | undefined,
  flags: Readonly<Record<string, string>>,
  env: Readonly<Record<string, string>>,
): AgentConfig {
  const fromFile = table?.command !== undefined && !flags.OPENAB_AGENT_COMMAND;
  const [program, ...args] = values.agentCommand ?? [];
  const workingDirIsSet = flags.VTUBER_WORKING_DIR || env.VTUBER_WORKING_DIR;
  return {
    command: fromFile ? table.command : program,
    args: fromFile ? table.args : args,
    workingDir: workingDirIsSet ? values.workingDir : table?.working_dir ?? values.workingDir,
    env: table?.env ?? {},
    inheritEnv: [...table?.inherit_env ?? [], ...values.agentInherit ?? []],
  };
}
