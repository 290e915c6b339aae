/** The table of an agent, as the configuration file has it. @module */

import { z } from "zod";
import type { McpServer } from "../acp/mcp.ts";
import { PERMISSION_POLICIES } from "../acp/permission.ts";
import { variableName } from "./kinds.ts";
import { args, type Findings, program, readMcpServers, readTable, text, variables } from "./mcp_servers.ts";
import { isTable } from "./toml.ts";

/** Processes of one agent. */
const MAX_PROCESSES = 16;
/** What is said of what is no table. */
const NO_TABLE = "must be the table of an agent, such as [agent] or [agents.codex]";

/** A word, or none if it is empty, as a variable in it may be. */
const word = text.transform((words) => words.trim() || undefined).optional();
const agentTable = z.looseObject({
  command: program.optional(),
  args,
  working_dir: text.refine((path) => path.trim() !== "", "may not be empty: leave it out, or name a folder")
    .optional(),
  env: variables,
  inherit_env: z.array(variableName, 'must be a list of names, such as ["OPENAI_API_KEY"]').default([]),
  mcp_servers: z.unknown().optional(),
  mode: word,
  model: word,
  processes: z.int(`must be a whole number from 1 to ${MAX_PROCESSES}`)
    .min(1, `must be from 1 to ${MAX_PROCESSES}`).max(MAX_PROCESSES, `must be from 1 to ${MAX_PROCESSES}`)
    .default(1),
  permissions: z.enum(PERMISSION_POLICIES, `must be one of ${PERMISSION_POLICIES.join(", ")}`).optional(),
});

/** The keys of an agent's table. */
export const AGENT_KEYS: readonly string[] = Object.keys(agentTable.shape);

/** The table of an agent. */
export interface AgentTable {
  /** `[agent]` may have none, since a variable or a flag can give it. */
  readonly command: string | undefined;
  readonly args: readonly string[];
  readonly workingDir: string | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly inheritEnv: readonly string[];
  readonly mcpServers: readonly McpServer[];
  readonly mode: string | undefined;
  readonly model: string | undefined;
  readonly processes: number;
  readonly permissions: (typeof PERMISSION_POLICIES)[number] | undefined;
}

/**
 * Reads a table, and tells all that is wrong or odd about it. What is wrong is left out, but for a command, which is then
 * an empty text; nothing if it is no table.
 */
export function readAgentTable(raw: unknown, path: string, findings: Findings): AgentTable | undefined {
  if (!isTable(raw)) {
    findings.wrong(path, NO_TABLE);
    return undefined;
  }
  const table = readTable(agentTable, raw, path, findings);
  for (const key of Object.keys(raw)) {
    if (!AGENT_KEYS.includes(key)) findings.unknown(path, key, AGENT_KEYS);
  }
  const mcpServers = readMcpServers(raw.mcp_servers, `${path}.mcp_servers`, findings);
  if (table === undefined) return undefined;
  const { args, env, mode, model, processes, permissions } = table;
  return {
    // Without one it would be another agent.
    command: table.command ?? (raw.command === undefined ? undefined : ""),
    args,
    workingDir: table.working_dir,
    env,
    inheritEnv: table.inherit_env,
    mcpServers,
    mode,
    model,
    processes,
    permissions,
  };
}
