/** The configuration file, in OpenAB's shape. @module */

import { parse as parseToml } from "@std/toml/parse";
import { z } from "zod";
import type { McpServer } from "../acp/mcp.ts";
import { PERMISSION_POLICIES } from "../acp/permission.ts";
import { messageOf } from "../turn/failure.ts";
import { type Findings, readMcpServers } from "./mcp_servers.ts";

/** Agents in the file, beside `[agent]`. */
const MAX_AGENTS = 50;
/** Processes of one agent. */
const MAX_PROCESSES = 16;
/** What an agent can be called: requests put its model behind a `/`, and a conversation behind an `@`. */
const AGENT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** What requests call the default agent, whatever its name. */
const RESERVED_NAME = "default";

/** A word, or none if it is empty, as a variable in it may be. */
const word = z.string().transform((text) => text.trim() || undefined).optional();
const agentTable = z.looseObject({
  command: z.string().min(1, "may not be empty").optional(),
  args: z.array(z.string()).default([]),
  working_dir: z.string().optional(),
  env: z.record(z.string(), z.string()).default({}),
  inherit_env: z.array(z.string()).default([]),
  mcp_servers: z.unknown().optional(),
  mode: word,
  model: word,
  processes: z.int(`must be a whole number from 1 to ${MAX_PROCESSES}`)
    .min(1, `must be from 1 to ${MAX_PROCESSES}`).max(MAX_PROCESSES, `must be from 1 to ${MAX_PROCESSES}`)
    .default(1),
  permissions: z.enum(PERMISSION_POLICIES, `must be one of ${PERMISSION_POLICIES.join(", ")}`).optional(),
});
const fileSchema = z.looseObject({
  agent: agentTable.optional(),
  agents: z.record(z.string(), agentTable).default({}),
});
const AGENT_KEYS = Object.keys(agentTable.shape);

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

/** The agents of a file. */
export interface AgentTables {
  /** `[agent]`. */
  readonly agent: AgentTable | undefined;
  /** `[agents.NAME]` by name, each with a command. */
  readonly agents: ReadonlyMap<string, AgentTable>;
}

/** A file without agents. */
export const NO_TABLES: AgentTables = { agent: undefined, agents: new Map() };

/** Reads the agents, with `${NAME}` replaced by variables. Adds what is wrong to `mistakes`, what is odd to `warnings`. */
export function readAgentTables(
  file: { readonly path: string; readonly text: string },
  env: Readonly<Record<string, string>>,
  mistakes: string[],
  warnings: string[],
): AgentTables {
  const findings: Findings = {
    wrong: (path, what) => mistakes.push(`${file.path}: ${path}: ${what}.`),
    unknown(path, key, known) {
      const meant = known.find((name) => plain(name) === plain(key));
      const hint = meant ? ` Did you mean ${meant}?` : "";
      warnings.push(`${file.path}: ${path}.${key} is not a setting of this version.${hint}`);
    },
  };
  let raw: unknown;
  try {
    raw = parseToml(file.text);
  } catch (error) {
    mistakes.push(`${file.path}: ${messageOf(error)}`);
    return NO_TABLES;
  }
  const expanded = expand(raw, env, (name) => mistakes.push(`${file.path}: \${${name}} is not set.`));
  const result = fileSchema.safeParse(expanded);
  if (!result.success) {
    for (const { path, message } of result.error.issues) findings.wrong(path.join("."), message);
    return NO_TABLES;
  }
  const { agent, agents } = result.data;
  const named = Object.entries(agents);
  if (named.length > MAX_AGENTS) findings.wrong("agents", `there may be ${MAX_AGENTS} at most`);
  for (const [name, { command }] of named) {
    const fault = nameFault(name);
    if (fault) findings.wrong(`agents.${name}`, fault);
    if (command === undefined) findings.wrong(`agents.${name}.command`, "is required: the agent's program");
  }
  return {
    agent: agent && readTable(agent, "agent", findings),
    agents: new Map(named.map(([name, table]) => [name, readTable(table, `agents.${name}`, findings)])),
  };
}

function readTable(table: z.output<typeof agentTable>, path: string, findings: Findings): AgentTable {
  const { command, args, env, mode, model, processes, permissions } = table;
  for (const key of Object.keys(table)) {
    if (!AGENT_KEYS.includes(key)) findings.unknown(path, key, AGENT_KEYS);
  }
  return {
    command,
    args,
    workingDir: table.working_dir,
    env,
    inheritEnv: table.inherit_env,
    mcpServers: readMcpServers(table.mcp_servers, `${path}.mcp_servers`, findings),
    mode,
    model,
    processes,
    permissions,
  };
}

function nameFault(name: string): string | undefined {
  if (name === RESERVED_NAME) {
    return `no agent can be called ${name}, since requests mean the default agent by it`;
  }
  if (AGENT_NAME.test(name)) return undefined;
  return 'an agent\'s name begins with a letter or digit, goes on with those, ".", "_" and "-", and has 64 at most';
}

/** A key however it is written: `mcpServers` is `mcp_servers`. */
function plain(key: string): string {
  return key.replace(/[-_]/g, "").toLowerCase();
}

/** Puts variables in the place of `${NAME}` in every string. */
function expand(
  value: unknown,
  env: Readonly<Record<string, string>>,
  missing: (name: string) => void,
): unknown {
  if (typeof value === "string") {
    return value.replace(/\$\{(\w+)\}/g, (all, name: string) => {
      if (Object.hasOwn(env, name)) return env[name]!;
      missing(name);
      return all;
    });
  }
  if (Array.isArray(value)) return value.map((item) => expand(item, env, missing));
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, expand(item, env, missing)]));
}
