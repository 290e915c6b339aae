/** Creates a configured agent, ready to be started. @module */

import type { Log, LogFields, LogLevel } from "../core/log.ts";
import { AcpAgent } from "./agent.ts";
import { agentEnvironment, type EnvironmentSource } from "./environment.ts";
import { AGENT_TIMEOUTS, type AgentSettings } from "./handshake.ts";
import { launch } from "./process.ts";
import { findServerRef } from "../core/process_tree.ts";

/** The configuration of an agent. */
export interface AgentConfig
  extends Pick<AgentSettings, "mcpServers" | "mode" | "model" | "permissions" | "keyPermissions"> {
  /** The agent's name in requests. */
  readonly name: string;
  /** The program. Without one it is the demo agent. */
  readonly command: string | undefined;
  readonly args: readonly string[];
  /** The agent's working directory; may be relative. */
  readonly workingDir: string;
  /** Variables to set. */
  readonly env: Readonly<Record<string, string>>;
  /** Names of own variables to pass on. */
  readonly inheritEnv: readonly string[];
  /** Time limit of the start, and of each session that is opened, in milliseconds. */
  readonly startMs: number;
  /** Whether the user has chosen how many sessions stay open: an agent then has no limit of its own. */
  readonly isSessionLimitSet: boolean;
}

/** Dependencies that all agents share. */
export interface AgentDeps extends
  Pick<EnvironmentSource, "own" | "windows" | "programFolders">,
  Pick<
    AgentSettings,
    "broker" | "questions" | "version" | "log" | "onLifecycle" | "redact" | "canLogInAtTerminal"
  > {}

/** The command of an agent, with the environment and the folder that it gets. */
export interface AgentInvocation {
  readonly command: string;
  readonly args: readonly string[];
  /** Absolute path of the working directory, without links. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Finds out how an agent is started. @throws {Error} if its working directory does not exist. */
export async function agentInvocation(
  { name, workingDir, inheritEnv, env: set, ...config }: AgentConfig,
  { own, windows, programFolders }: Pick<AgentDeps, "own" | "windows" | "programFolders">,
): Promise<AgentInvocation> {
  const cwd = await Deno.realPath(workingDir).catch(() => undefined);
  if (cwd === undefined) {
    throw new Error(
      `The working directory of the agent ${name} does not exist: ${workingDir} ` +
        "(VTUBER_WORKING_DIR, or working_dir in config.toml).",
    );
  }
  const { command, args } = config.command === undefined
    ? demoCommand()
    : { ...config, command: config.command };
  const env = agentEnvironment({ own, windows, programFolders, inherit: inheritEnv, set });
  return { command, args, cwd, env };
}

/**
 * Creates an agent, which starts when it is needed.
 *
 * @throws {Error} if its working directory does not exist.
 */
export async function createAgent(config: AgentConfig, deps: AgentDeps): Promise<AcpAgent> {
  const { name, mcpServers, mode, model, permissions, keyPermissions } = config;
  const { broker, questions, version, redact, onLifecycle, canLogInAtTerminal } = deps;
  const log = withFields(deps.log, { agent: name });
  const { command, args, cwd, env } = await agentInvocation(config, deps);
  const server = await findServerRef();
  const onStderr = onLifecycle && ((line: string) => onLifecycle({ type: "stderr", line }));
  return new AcpAgent({
    name,
    program: JSON.stringify([command, ...args, cwd]),
    launch: () => launch({ command, args, cwd, env, server, redact, onStderr }, log),
    cwd,
    home: env.HOME ?? env.USERPROFILE,
    variables: new Set(Object.keys(env)),
    isSessionLimitSet: config.isSessionLimitSet,
    timeouts: { ...AGENT_TIMEOUTS, setupMs: config.startMs },
    ...{ mcpServers, mode, model, permissions, keyPermissions },
    ...{ broker, questions, version, log, redact, onLifecycle, canLogInAtTerminal },
  });
}

/** Adds fields to every line of a log. */
function withFields(log: Log, added: LogFields): Log {
  const write = (level: LogLevel) => (message: string, fields?: LogFields) =>
    log[level](message, { ...added, ...fields, ...added });
  return { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
}

/** Returns the command that starts this program's demo agent: the executable, or Deno with the source. */
function demoCommand(): { command: string; args: readonly string[] } {
  const source = `${import.meta.dirname}/../demo/agent.ts`;
  const flags = ["run", "--no-prompt", "--quiet", "--no-config", "--no-lock", source];
  return { command: Deno.execPath(), args: Deno.build.standalone ? ["demo-agent"] : flags };
}
