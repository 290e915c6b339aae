/** The agents that are served: the file's tables, with the variables and flags that have a say in them. Pure. @module */

import type { AgentConfig } from "../acp/create_agent.ts";
import { isSameName } from "../turn/model_router.ts";
import { type AgentTable, type AgentTables, EMPTY_TABLE } from "./agent_table.ts";
import type { Problems } from "./file.ts";
import { expandHome } from "./parsers.ts";
import type { Settings } from "./settings.ts";

/** Name of the agent of `[agent]` or `OPENAB_AGENT_COMMAND` if another agent is the default. */
const UNNAMED = "openab";

/** The sources of the agents. */
export interface AgentSource {
  readonly tables: AgentTables;
  readonly settings: Settings;
  readonly env: Readonly<Record<string, string>>;
  readonly flags: Readonly<Record<string, string>>;
}

/**
 * Makes the agents, the default one first. The default is the agent of `[agents]` that `VTUBER_DEFAULT_MODEL` names;
 * otherwise the unnamed agent of `[agent]` or `OPENAB_AGENT_COMMAND`, which then takes that name; otherwise the first
 * of `[agents]`. Without any agent, it is the demo agent.
 */
export function readAgents(source: AgentSource, problems: Problems): AgentConfig[] {
  const { tables: { agent, agents }, settings } = source;
  const { mistakes, warnings } = problems;
  const names = [...agents.keys()];
  // A refused name is undefined, and reported already.
  const wanted: string | undefined = settings.model;
  const chosen = names.find((name) => name === wanted) ??
    names.find((name) => wanted !== undefined && isSameName(name, wanted));
  const command = unnamedCommand(source);
  const hasUnnamed = command !== undefined || agents.size === 0;
  if (chosen === undefined && wanted !== undefined) {
    const fault = nameFault(wanted, names, source, hasUnnamed);
    if (fault) mistakes.push(`VTUBER_DEFAULT_MODEL: ${fault}`);
  }
  const served = [...agents].map(([name, table]) => toConfig(name, table, source));
  if (hasUnnamed) {
    const name = chosen === undefined ? wanted ?? UNNAMED : UNNAMED;
    const other = wanted && names.find((other) => isSameName(other, name));
    if (other) {
      mistakes.push(
        `Two agents have the name ${name}: [agents.${other}], and the one of [agent] or OPENAB_AGENT_COMMAND. ` +
          "Rename the first, or give the second a name with VTUBER_DEFAULT_MODEL.",
      );
    }
    if (!command && agent) {
      warnings.push(
        "[agent] has no command, and OPENAB_AGENT_COMMAND is not set: it is the built-in demo agent.",
      );
    }
    served.unshift(unnamedAgent(name, command ?? [], source));
  } else {
    if (agent) {
      warnings.push("[agent] has no command: it is ignored, and only the agents of [agents] are served.");
    }
    if (settings.agentInheritEnv?.length) {
      warnings.push(
        "OPENAB_AGENT_INHERIT_ENV has no effect, because there is no agent of [agent] or OPENAB_AGENT_COMMAND. Use " +
          "inherit_env in the tables of [agents].",
      );
    }
  }
  const first = served.find(({ name }) => name === chosen);
  return first ? [first, ...served.filter((agent) => agent !== first)] : served;
}

/** Finds out why no agent can have the name that `VTUBER_DEFAULT_MODEL` gives, if there is a reason. */
function nameFault(
  wanted: string,
  names: readonly string[],
  source: AgentSource,
  hasUnnamed: boolean,
): string | undefined {
  const [prefix = "", ...model] = wanted.split("/");
  const owner = model.length > 0 ? names.find((name) => isSameName(name, prefix)) : undefined;
  if (owner !== undefined) {
    const table = model.some(Boolean)
      ? `, with model = ${JSON.stringify(model.join("/"))} in [agents.${owner}]`
      : "";
    const rename = hasUnnamed ? `; or to a name that does not begin with ${owner}/` : "";
    return `in requests, ${wanted} is a model of the agent ${owner}. Set it to ${owner}${table}${rename}.`;
  }
  const isMissing = !hasUnnamed && isSet(source, "VTUBER_DEFAULT_MODEL");
  return isMissing ? `there is no agent ${wanted}; there are ${names.join(", ")}.` : undefined;
}

/** Finds the command of the unnamed agent: as in OpenAB the file's beats the variable's; the flag's beats both. */
function unnamedCommand({ tables: { agent }, settings, flags }: AgentSource): readonly string[] | undefined {
  if (agent?.command !== undefined && !flags.OPENAB_AGENT_COMMAND?.trim()) {
    return [agent.command, ...agent.args];
  }
  return settings.agentCommand?.length ? settings.agentCommand : undefined;
}

function unnamedAgent(name: string, [command, ...args]: readonly string[], source: AgentSource): AgentConfig {
  const { tables: { agent = EMPTY_TABLE }, settings } = source;
  const inherit_env = [...agent.inherit_env, ...settings.agentInheritEnv ?? []];
  return toConfig(name, { ...agent, command, args, inherit_env }, source);
}

/** Applies the settings to a table: a variable or flag that is set beats every table. */
function toConfig(name: string, table: AgentTable, source: AgentSource): AgentConfig {
  const { settings, env } = source;
  const workingDir = isSet(source, "VTUBER_WORKING_DIR") ? undefined : table.working_dir;
  const permissions = isSet(source, "VTUBER_PERMISSIONS") ? undefined : table.permissions;
  return {
    name,
    command: table.command && expandHome(table.command, env),
    args: table.args,
    workingDir: expandHome(workingDir ?? settings.workingDir, env),
    env: table.env,
    inheritEnv: table.inherit_env,
    mcpServers: table.mcp_servers,
    mode: table.mode,
    model: table.model,
    permissions: permissions ?? settings.permissions,
  };
}

function isSet({ env, flags }: AgentSource, variable: string): boolean {
  return Boolean(flags[variable]?.trim() || env[variable]?.trim());
}
