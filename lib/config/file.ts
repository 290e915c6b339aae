/** The configuration file, in OpenAB's shape. @module */

import { parse as parseToml } from "@std/toml/parse";
import { z } from "zod";
import type { McpServer } from "../acp/mcp.ts";
import { PERMISSION_POLICIES } from "../acp/permission.ts";
import { DEFAULT_AGENT } from "../turn/agents.ts";
import { messageOf } from "../turn/failure.ts";
import { args, type Findings, program, readMcpServers, text, texts } from "./mcp_servers.ts";
import { isKeyVariable } from "./secrets.ts";

/** Agents in the file, beside `[agent]`. */
const MAX_AGENTS = 50;
/** Processes of one agent. */
const MAX_PROCESSES = 16;
/** What an agent can be called: requests put its model behind a `/`, and a conversation behind an `@`. */
const AGENT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** A word, or none if it is empty, as a variable in it may be. */
const word = text.transform((words) => words.trim() || undefined).optional();
const agentTable = z.looseObject({
  command: program.optional(),
  args,
  working_dir: text.refine((path) => path.trim() !== "", "may not be empty: leave it out, or name a folder")
    .optional(),
  env: texts,
  inherit_env: z.array(text, 'must be a list of names, such as ["OPENAI_API_KEY"]').default([]),
  mcp_servers: z.unknown().optional(),
  mode: word,
  model: word,
  processes: z.int(`must be a whole number from 1 to ${MAX_PROCESSES}`)
    .min(1, `must be from 1 to ${MAX_PROCESSES}`).max(MAX_PROCESSES, `must be from 1 to ${MAX_PROCESSES}`)
    .default(1),
  permissions: z.enum(PERMISSION_POLICIES, `must be one of ${PERMISSION_POLICIES.join(", ")}`).optional(),
}, "must be the table of an agent, such as [agent] or [agents.codex]");
const fileSchema = z.object({
  agent: agentTable.optional(),
  agents: z.record(z.string(), agentTable, "must be tables by name, such as [agents.codex]").default({}),
});
const TABLES = Object.keys(fileSchema.shape);
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
  /** Names of the variables whose values stand in them. */
  readonly variables: readonly string[];
}

/** A file without agents. */
export const NO_TABLES: AgentTables = { agent: undefined, agents: new Map(), variables: [] };

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
      const meant = nearest(key, known);
      const hint = meant ? ` Did you mean ${meant}?` : "";
      warnings.push(`${file.path}: ${path}.${key} is not a setting of this version.${hint}`);
    },
  };
  let raw: Readonly<Record<string, unknown>>;
  try {
    // Editors of Windows begin files with a mark.
    raw = parseToml(file.text.replace(/^\uFEFF/, ""));
  } catch (error) {
    mistakes.push(`${file.path}: ${messageOf(error)}`);
    return NO_TABLES;
  }
  warnings.push(...outsideWarnings(raw).map((what) => `${file.path}: ${what}`));
  const variables = new Set<string>();
  const expanded = TABLES.map((table) => [table, expand(raw[table], table, { env, findings, variables })]);
  const result = fileSchema.safeParse(Object.fromEntries(expanded));
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
    variables: [...variables],
  };
}

/** What is odd outside of the agents' tables. The others may be OpenAB's, and are left alone. */
function outsideWarnings(raw: Readonly<Record<string, unknown>>): string[] {
  const keys = Object.keys(raw).filter((key) => !TABLES.includes(key));
  const odd = keys.flatMap((key) => {
    const meant = nearest(key, TABLES);
    if (meant) return [`${key} is not read. Did you mean ${meant}?`];
    const [own] = AGENT_KEYS.filter((name) => plain(name) === plain(key));
    return own
      ? [`${key} is not read at the top of the file: ${own} belongs into [agent] or [agents.NAME].`]
      : [];
  });
  const hasAgents = TABLES.some((table) => table in raw);
  return hasAgents ? odd : [...odd, "the file has neither [agent] nor [agents]: it describes no agent."];
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
  if (name === DEFAULT_AGENT) {
    return `no agent can be called ${name}, since requests mean the default agent by it`;
  }
  if (AGENT_NAME.test(name)) return undefined;
  return 'an agent\'s name begins with a letter or digit, goes on with those, ".", "_" and "-", and has 64 at most';
}

/** A key however it is written: `mcpServers` is `mcp_servers`. */
function plain(key: string): string {
  return key.replace(/[-_]/g, "").toLowerCase();
}

/** The name that may be meant by a key: the same however it is written, or one slip away. */
function nearest(key: string, names: readonly string[]): string | undefined {
  return names.find((name) => plain(name) === plain(key)) ??
    names.find((name) => isOneSlip(plain(name), plain(key)));
}

/** Whether two words differ in one letter, or in two that changed places. */
function isOneSlip(one: string, other: string): boolean {
  let start = 0;
  while (start < one.length && one[start] === other[start]) start++;
  let end = 0;
  const rest = Math.min(one.length, other.length) - start;
  while (end < rest && one.at(-1 - end) === other.at(-1 - end)) end++;
  const [a, b] = [one.slice(start, one.length - end), other.slice(start, other.length - end)];
  return a.length <= 1 && b.length <= 1 || a.length === 2 && a === [...b].reverse().join("");
}

/** What texts are filled in with. */
interface Filling {
  readonly env: Readonly<Record<string, string>>;
  readonly findings: Findings;
  /** Names of the variables that were found. */
  readonly variables: Set<string>;
}

/** Puts variables in the place of `${NAME}` in every text. */
function expand(value: unknown, path: string, filling: Filling): unknown {
  if (typeof value === "string") {
    return value.replace(/\$\{(\w+)\}/g, (all, name: string) => fill(all, name, path, filling));
  }
  if (Array.isArray(value)) return value.map((item, place) => expand(item, `${path}.${place}`, filling));
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  const entries = Object.entries(value);
  return Object.fromEntries(entries.map(([key, item]) => [key, expand(item, `${path}.${key}`, filling)]));
}

function fill(all: string, name: string, path: string, { env, findings, variables }: Filling): string {
  const value = Object.hasOwn(env, name) ? env[name]! : undefined;
  if (value === undefined) findings.wrong(path, `${all} is not set`);
  else if (value.trim() !== "" && isKeyVariable(name)) {
    findings.wrong(path, `VTUBER_AUTH_KEY may not be handed to an agent: take ${all} out`);
  } else {
    variables.add(name);
    return value;
  }
  return all;
}

/** What is said of a file that cannot be read; `source` is the flag or the variable that names it. */
export function unreadable(source: string, path: string, error: unknown): string {
  const why = error instanceof Deno.errors.NotFound
    ? "there is no such file"
    : error instanceof Deno.errors.IsADirectory
    ? "it is a folder"
    : messageOf(error);
  return `${source}: ${path} cannot be read: ${why}.`;
}
