/** The agents that are served: the file's tables, with the variables and flags that beat them. Pure. @module */

import type { AgentConfig } from "../acp/create_agent.ts";
import { isSameName } from "../turn/model_router.ts";
import { type AgentTable, type AgentTables, EMPTY_TABLE } from "./agent_table.ts";
import type { Problems } from "./config_file.ts";
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
export function readAgents(source: AgentSource, { mistakes, warnings }: Problems): AgentConfig[] {
  const { tables: { agent, agents }, settings: { model } } = source;
  const names = [...agents.keys()];
  const find = (name: string) => names.find((other) => isSameName(name, other));
  const chosen = find(model);
  const [command, ...args] = unnamedCommand(source);
  const served = [...agents].map(([name, table]) => toConfig(name, table, source));
  if (agent && command === undefined) {
    const outcome = agents.size > 0 ? "it is ignored" : "it is the built-in demo agent";
    warnings.push(`[agent] has no command, and OPENAB_AGENT_COMMAND is not set: ${outcome}.`);
  }

  const owner = model.includes("/") ? find(model.split("/")[0]!) : undefined;
  if (owner) {
    mistakes.push(
      `VTUBER_DEFAULT_MODEL: in requests, ${model} is a model of the agent ${owner}. Set it to ${owner}, and model in ` +
        `[agents.${owner}].`,
    );
  }
  if (command !== undefined || agents.size === 0) {
    const name = chosen === undefined ? model : UNNAMED;
    const namesake = find(name);
    if (namesake) {
      mistakes.push(
        `Two agents have the name ${name}: [agents.${namesake}], and the one of [agent] or OPENAB_AGENT_COMMAND. ` +
          "Rename the first, or give the second a name with VTUBER_DEFAULT_MODEL.",
      );
    }
    const table = agent ?? EMPTY_TABLE;
    const inherit_env = [...table.inherit_env, ...source.settings.agentInheritEnv];
    served.unshift(toConfig(name, { ...table, command, args, inherit_env }, source));
  } else if (!chosen && !owner && isSet(source, "VTUBER_DEFAULT_MODEL")) {
    mistakes.push(`VTUBER_DEFAULT_MODEL: there is no agent ${model}; there are ${names.join(", ")}.`);
  }
  const first = served.filter(({ name }) => name === chosen);
  return [...first, ...served.filter(({ name }) => name !== chosen)];
}

/** Finds the command of the unnamed agent: as in OpenAB the file's beats the variable's; the flag's beats both. */
function unnamedCommand({ tables: { agent }, settings, flags }: AgentSource): readonly string[] {
  const hasFlag = flags.OPENAB_AGENT_COMMAND?.trim();
  return agent?.command && !hasFlag ? [agent.command, ...agent.args] : settings.agentCommand;
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
    startMs: settings.agentStartMs,
    isSessionLimitSet: isSet(source, "VTUBER_MAX_SESSIONS"),
  };
}

function isSet({ env, flags }: AgentSource, variable: string): boolean {
  return Boolean(flags[variable]?.trim() || env[variable]?.trim());
}
