/** The agents that are served: made of the file's tables, and of what variables and flags say of them. @module */

import type { AgentConfig } from "../acp/create_agent.ts";
import { isSameName } from "../turn/model_router.ts";
import type { AgentTable } from "./agent_table.ts";
import type { AgentTables } from "./file.ts";
import { expandHome } from "./parsers.ts";
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
export function readAgents(source: AgentSource, mistakes: string[], warnings: string[]): AgentConfig[] {
  const { tables: { agent, agents }, values } = source;
  const names = [...agents.keys()];
  const chosen = chosenOf(source, names);
  const isAgent = chosen !== undefined && chosen.model === undefined;
  const command = ownCommand(source);
  const hasOwn = command !== undefined || agents.size === 0;
  if (chosen?.model !== undefined) {
    mistakes.push(modelAsName(values.model, chosen.name, chosen.model, hasOwn));
  }
  const served = [...agents].map(([name, table]) => toConfig(name, table, source));
  if (hasOwn) {
    const own = ownAgent(source, command, isAgent ? OWN_NAME : values.model ?? OWN_NAME);
    // A name that was refused has been told.
    const other = values.model && names.find((name) => isSameName(name, own.name));
    if (other) mistakes.push(twoOfOneName(own.name, other));
    served.unshift(own);
    if (!command && agent) {
      warnings.push(
        "[agent] has no command, and OPENAB_AGENT_COMMAND is not set: it is the built-in demo agent.",
      );
    }
  } else {
    warnings.push(...withoutOwn(source));
    if (isSet(source, "VTUBER_DEFAULT_MODEL") && values.model && chosen === undefined) {
      mistakes.push(
        `VTUBER_DEFAULT_MODEL: there is no agent ${values.model}; there are ${names.join(", ")}.`,
      );
    }
  }
  const first = served.findIndex(({ name }) => name === chosen?.name);
  return first > 0 ? [served[first]!, ...served.toSpliced(first, 1)] : served;
}

/** Of the agents of `[agents]`, the one that `VTUBER_DEFAULT_MODEL` names; and the model, if it goes on with one. */
function chosenOf(
  { values }: AgentSource,
  names: readonly string[],
): { name: string; model?: string } | undefined {
  // It is nothing where it was refused.
  const wanted: string | undefined = values.model;
  if (wanted === undefined) return undefined;
  const name = names.find((name) => name === wanted) ?? names.find((name) => isSameName(name, wanted));
  if (name !== undefined) return { name };
  const [agent = "", ...model] = wanted.split("/");
  const owner = model.length > 0 ? names.find((name) => isSameName(name, agent)) : undefined;
  return owner === undefined ? undefined : { name: owner, model: model.join("/") };
}

function modelAsName(wanted: string, name: string, model: string, hasOwn: boolean): string {
  const table = model ? `, with model = ${JSON.stringify(model)} in [agents.${name}]` : "";
  return `VTUBER_DEFAULT_MODEL: by ${wanted} requests mean a model of the agent ${name}. Set it to ${name}${table}` +
    (hasOwn ? `; or to a name that does not begin with ${name}/.` : ".");
}

function twoOfOneName(own: string, other: string): string {
  return `Two agents are called ${own}: [agents.${other}], and that of [agent] or OPENAB_AGENT_COMMAND. ` +
    "Give the first another name, or name the second with VTUBER_DEFAULT_MODEL.";
}

/** The agent of `[agent]` or `OPENAB_AGENT_COMMAND`; without either, the demo agent. */
function ownAgent(source: AgentSource, command: readonly string[] | undefined, name: string): AgentConfig {
  const { tables: { agent }, values } = source;
  const [program, ...args] = command ?? [];
  const table = { ...agent ?? NO_TABLE, command: program, args };
  const inheritEnv = [...table.inheritEnv, ...values.agentInherit ?? []];
  return { ...toConfig(name, table, source), inheritEnv };
}

/** What is odd where only those of `[agents]` are served. */
function withoutOwn({ tables: { agent }, values }: AgentSource): string[] {
  const warnings: string[] = [];
  if (agent) warnings.push("[agent] has no command: there is no such agent, only those of [agents].");
  if (values.agentInherit?.length) {
    warnings.push(
      "OPENAB_AGENT_INHERIT_ENV has no effect: it is about the agent of [agent] or OPENAB_AGENT_COMMAND, and there " +
        "is none. Those of [agents] have inherit_env in their tables.",
    );
  }
  return warnings;
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
function toConfig(name: string, table: AgentTable, source: AgentSource): AgentConfig {
  const { values, env } = source;
  const workingDir = isSet(source, "VTUBER_WORKING_DIR")
    ? values.workingDir
    : table.workingDir ?? values.workingDir;
  return {
    ...table,
    name,
    command: table.command && expandHome(table.command, env),
    workingDir: expandHome(workingDir, env),
    permissions: isSet(source, "VTUBER_PERMISSIONS")
      ? values.permissions
      : table.permissions ?? values.permissions,
  };
}

/** Whether a variable, or the flag for it, says anything. */
function isSet({ env, flags }: AgentSource, variable: string): boolean {
  return Boolean(flags[variable]?.trim() || env[variable]?.trim());
}
