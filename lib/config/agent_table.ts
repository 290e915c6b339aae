/** The table of an agent, as the configuration file has it. @module */

import { PERMISSION_POLICIES } from "../acp/permission.ts";
import type { McpServer, NamedValue } from "../acp/wire.ts";
import { isTable, type TomlTable } from "./file.ts";
import { isVariableName, variableName } from "./parsers.ts";
import { z } from "zod";

/** MCP servers of one agent. */
const MAX_SERVERS = 50;

/** A text. */
export const text = z.string('must be a text: put it in quotes, such as "1"');
/** Arguments of a program. */
export const args = z.array(text, 'must be a list of texts, such as ["--verbose"]').default([]);
/** Texts by name. */
const texts = z.record(
  z.string(),
  text,
  'must be a table of texts by name, such as { NAME = "value" }',
)
  .default({});
/** Variables to set. A name may be a secret that was put there by mistake, and is not told. */
export const variables = texts.check(z.superRefine((values, context) => {
  const wrong = Object.keys(values).filter((name) => !isVariableName(name)).length;
  if (wrong === 0) return;
  const names = wrong === 1 ? "a name" : `${wrong} names`;
  context.addIssue(
    `has ${names} that no variable can have: without a space, and without a =, which stands outside of the quotes`,
  );
}, { when: ({ value }) => isTable(value) }));
/** A program. */
export const program = z.string(
  'must be a text: the program alone, such as "npx"; its arguments go into args',
)
  .min(1, "may not be empty");

const local = z.object({
  type: z.literal("stdio", 'must be "stdio" where there is a command, or left out').optional(),
  command: program,
  args,
  env: variables,
});
const address = z.object({
  type: z.enum(["http", "sse"], 'must be "http" or "sse" where there is a url').default("http"),
  url: text.refine((url) => /^https?:$/.test(URL.parse(url)?.protocol ?? ""), {
    message: "must be an address that begins with http:// or https://",
  }),
  headers: texts,
});

/** Where what is found goes. */
export interface Findings {
  wrong(path: string, what: string): void;
  /** A key that is not a setting. */
  unknown(path: string, key: string, known: readonly string[]): void;
}

/**
 * Reads a table, and tells all that is wrong about it. What is right about it is read all the same, so that it is looked
 * at too; nothing if that does not make one.
 */
export function readTable<T>(
  schema: z.ZodType<T>,
  table: TomlTable,
  path: string,
  findings: Pick<Findings, "wrong">,
): T | undefined {
  const { data, error } = schema.safeParse(table);
  if (error === undefined) return data;
  for (const issue of error.issues) findings.wrong([path, ...issue.path].join("."), issue.message);
  const right = Object.entries(table).filter(([key]) => error.issues.every((issue) => issue.path[0] !== key));
  return schema.safeParse(Object.fromEntries(right)).data;
}

/** Reads `mcp_servers`: tables by name, or a list of tables that have their `name` in them. */
export function readMcpServers(raw: unknown, path: string, findings: Findings): McpServer[] {
  if (raw === undefined) return [];
  if (!isTable(raw) && !Array.isArray(raw)) {
    findings.wrong(path, "must be tables by name, or a list of tables that have a name");
    return [];
  }
  const entries = Array.isArray(raw)
    ? raw.map((table: unknown, index) => [nameOf(table), table, index] as const)
    : Object.entries(raw).map(([name, table]) => [name, table, name] as const);
  if (entries.length > MAX_SERVERS) findings.wrong(path, `there may be ${MAX_SERVERS} at most`);
  const servers = new Map<string, McpServer>();
  for (const [name, table, place] of entries) {
    const here = `${path}.${name || place}`;
    if (!name) findings.wrong(`${here}.name`, "is required: what the server is called");
    else if (servers.has(name)) findings.wrong(here, "two servers have this name");
    const server = readServer(name ?? "", table, here, findings);
    if (name && server) servers.set(name, server);
  }
  return [...servers.values()];
}

function readServer(name: string, table: unknown, path: string, findings: Findings): McpServer | undefined {
  if (!isTable(table)) {
    findings.wrong(path, "must be a table with a command, or with a url");
    return undefined;
  }
  const isProgram = "command" in table;
  if (isProgram === "url" in table) {
    findings.wrong(path, `must have a command or a url${isProgram ? ", not both" : ""}`);
    return undefined;
  }
  const schema = isProgram ? local : address;
  const known = ["name", ...Object.keys(schema.shape)];
  for (const key of Object.keys(table)) if (!known.includes(key)) findings.unknown(path, key, known);
  const server = readTable<z.output<typeof local> | z.output<typeof address>>(schema, table, path, findings);
  if (server === undefined) return undefined;
  return "command" in server
    ? { name, command: server.command, args: server.args, env: listed(server.env) }
    : { type: server.type, name, url: server.url, headers: listed(server.headers) };
}

function nameOf(table: unknown): string | undefined {
  const name = isTable(table) ? table.name : undefined;
  return typeof name === "string" ? name : undefined;
}

function listed(values: Readonly<Record<string, string>>): NamedValue[] {
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}

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
