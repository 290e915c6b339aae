/** The agents that are served: made of the file's tables, and of what variables and flags say of them. @module */

import type { AgentSetup } from "../acp/start.ts";
import type { AgentTable, AgentTables } from "./file.ts";
import { atHome } from "./kinds.ts";
import type { Values } from "./settings.ts";

/** What the agent of `[agent]` is called where another one is the default. */
const OWN_NAME = "openab";

/** What the agents are made of. */
export interface AgentSource {
  readonly tables: AgentTables;
  readonly values: Values;
  readonly env: Readonly<Record<string, string>>;
  readonly flags: Readonly<Record<string, string>>;
}

/**
 * The agents, the default one first. That is the one that `VTUBER_DEFAULT_MODEL` names; else that of `[agent]` or
 * `OPENAB_AGENT_COMMAND`, which takes that name; else the first of `[agents]`. Adds what is wrong to `mistakes`, what is
 * odd to `warnings`.
 */
export function readAgents(source: AgentSource, mistakes: string[], warnings: string[]): AgentSetup[] {
  const { tables: { agent, agents }, values, env, flags } = source;
  const isNamed = agents.has(values.model);
  const command = ownCommand(source);
  const served = [...agents].map(([name, table]) => toConfig(name, table, source));
  if (command || agents.size === 0) {
    const [program, ...args] = command ?? [];
    const table = { ...agent ?? NO_TABLE, command: program, args };
    const inheritEnv = [...table.inheritEnv, ...values.agentInherit ?? []];
    const own = { ...toConfig(isNamed ? OWN_NAME : values.model, table, source), inheritEnv };
    if (agents.has(own.name)) {
      mistakes.push(
        `Two agents are called ${own.name}: [agents.${own.name}], and that of [agent] or OPENAB_AGENT_COMMAND. ` +
          "Give the first another name, or name the second with VTUBER_DEFAULT_MODEL.",
      );
    }
    served.unshift(own);
    if (!command && agent) {
      warnings.push(
        "[agent] has no command, and OPENAB_AGENT_COMMAND is not set: it is the built-in demo agent.",
      );
    }
  } else {
    if (agent) warnings.push("[agent] has no command: there is no such agent, only those of [agents].");
    if (values.agentInherit?.length) {
      warnings.push(
        "OPENAB_AGENT_INHERIT_ENV has no effect: it is about the agent of [agent] or OPENAB_AGENT_COMMAND, and there " +
          "is none. Those of [agents] have inherit_env in their tables.",
      );
    }
    const isSet = flags.VTUBER_DEFAULT_MODEL?.trim() || env.VTUBER_DEFAULT_MODEL?.trim();
    if (isSet && !isNamed) {
      const names = [...agents.keys()].join(", ");
      mistakes.push(`VTUBER_DEFAULT_MODEL: there is no agent ${values.model}; there are ${names}.`);
    }
  }
  const first = served.findIndex(({ name }) => name === values.model);
  return first > 0 ? [served[first]!, ...served.toSpliced(first, 1)] : served;
}

const NO_TABLE: AgentTable = {
  command: undefined,
  args: [],
  workingDir: undefined,
  env: {},
  inheritEnv: [],
  mcpServers: [],
  mode: undefined,
  model: undefined,
  processes: 1,
  permissions: undefined,
};

/** The command of the agent that has no name: as in OpenAB, the file's wins over the variable, and the flag over both. */
function ownCommand({ tables: { agent }, values, flags }: AgentSource): readonly string[] | undefined {
  if (agent?.command !== undefined && !flags.OPENAB_AGENT_COMMAND?.trim()) {
    return [agent.command, ...agent.args];
  }
  return values.agentCommand?.length ? values.agentCommand : undefined;
}

/** A variable or flag that is set wins over every table. */
function toConfig(name: string, table: AgentTable, { values, env, flags }: AgentSource): AgentSetup {
  const isSet = (variable: string) => flags[variable]?.trim() || env[variable]?.trim();
  const workingDir = isSet("VTUBER_WORKING_DIR") ? values.workingDir : table.workingDir ?? values.workingDir;
  return {
    ...table,
    name,
    command: table.command && atHome(table.command, env),
    workingDir: atHome(workingDir, env),
    permissions: isSet("VTUBER_PERMISSIONS") ? values.permissions : table.permissions ?? values.permissions,
  };
}
