/** A configured agent, made ready to start. @module */

import type { Log, LogFields, LogLevel } from "../core/log.ts";
import type { PermissionBroker } from "../turn/permission.ts";
import type { AgentLifecycleEvent } from "./lifecycle.ts";
import { AcpAgent } from "./agent.ts";
import { agentEnvironment, type EnvironmentSource } from "./environment.ts";
import type { McpServer } from "./wire.ts";
import type { PermissionPolicy } from "./permission.ts";
import { AgentPool } from "./pool.ts";
import { launch } from "./process.ts";
import type { Redact } from "../core/redact.ts";

/** An agent as it is configured. */
export interface AgentConfig {
  /** What requests call it. */
  readonly name: string;
  /** The program; without one it is the demo agent. */
  readonly command: string | undefined;
  readonly args: readonly string[];
  /** The folder that it works in; perhaps not absolute. */
  readonly workingDir: string;
  /** Variables to set for it. */
  readonly env: Readonly<Record<string, string>>;
  /** Names of variables to hand on to it. */
  readonly inheritEnv: readonly string[];
  /** What it is told of with each session. */
  readonly mcpServers: readonly McpServer[];
  /** The mode that its sessions begin in, as it calls it; without one its own choice. */
  readonly mode: string | undefined;
  /** The model that its sessions begin with, as it calls it; without one its own choice. */
  readonly model: string | undefined;
  /** How many processes share its sessions. */
  readonly processes: number;
  readonly permissions: PermissionPolicy;
}

/** What every agent is given. */
export interface AgentDeps extends Pick<EnvironmentSource, "own" | "windows" | "programFolders"> {
  readonly broker: Pick<PermissionBroker, "ask">;
  readonly version: string;
  readonly log: Log;
  readonly onLifecycle?: ((event: AgentLifecycleEvent) => void) | undefined;
  /** Takes secrets out of what agents say in errors, and of what is logged of their words. */
  readonly redact?: Redact | undefined;
}

/**
 * Makes an agent; it starts when it is needed.
 *
 * @throws {Error} if its folder does not exist.
 */
export async function createAgent(setup: AgentConfig, around: AgentDeps): Promise<AcpAgent | AgentPool> {
  const { name, mcpServers, mode, model, permissions, processes, workingDir } = setup;
  const { own, windows, programFolders, broker, version, redact, onLifecycle } = around;
  const log = logOf(around.log, { agent: name });
  const cwd = await Deno.realPath(workingDir).catch(() => undefined);
  if (cwd === undefined) {
    throw new Error(
      `The folder of the agent ${name} does not exist: ${workingDir} (VTUBER_WORKING_DIR, working_dir).`,
    );
  }
  const { command, args } = setup.command === undefined
    ? demoCommand()
    : { ...setup, command: setup.command };
  const env = agentEnvironment({ own, windows, programFolders, inherit: setup.inheritEnv, set: setup.env });
  const onStderr = onLifecycle && ((line: string) => onLifecycle({ type: "stderr", line }));
  const make = () =>
    new AcpAgent({
      name,
      program: JSON.stringify([command, ...args, cwd]),
      launch: () => launch({ command, args, cwd, env, redact, onStderr }, log),
      cwd,
      mcpServers,
      mode,
      model,
      permissions,
      broker,
      version,
      home: env.HOME ?? env.USERPROFILE,
      variables: new Set(Object.keys(env)),
      log,
      redact,
      onLifecycle,
    });
  const members = Array.from({ length: processes }, make);
  return members.length === 1 ? members[0]! : new AgentPool(members);
}

/** The same log, with these fields in every line. */
function logOf(log: Log, fixed: LogFields): Log {
  const say = (level: LogLevel) => (message: string, fields?: LogFields) =>
    log[level](message, { ...fixed, ...fields, ...fixed });
  return { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") };
}

/** How this program starts its demo agent: itself, or its source, which needs nothing but Deno. */
function demoCommand(): { command: string; args: readonly string[] } {
  const source = [
    "run",
    "--no-prompt",
    "--quiet",
    "--no-config",
    "--no-lock",
    `${import.meta.dirname}/../demo/agent.ts`,
  ];
  return { command: Deno.execPath(), args: Deno.build.standalone ? ["demo-agent"] : source };
}
