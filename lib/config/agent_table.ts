/** The tables of the configuration file that describe agents: `[agent]` and `[agents.NAME]`, in OpenAB's shape. @module */

import { z } from "zod";
import { PERMISSION_POLICIES } from "../acp/permission.ts";
import type { McpServer, NamedValue } from "../acp/wire.ts";
import { DEFAULT_AGENT, isSameName } from "../turn/model_router.ts";
import {
  type ConfigFile,
  createReport,
  expandVariables,
  type FileReport,
  isTable,
  type Problems,
  readToml,
  type TomlTable,
} from "./file.ts";
import { isVariableName, variableName } from "./parsers.ts";
import { normalizeKey, suggest } from "./suggest.ts";

/** Limit of agents in `[agents]`. */
const MAX_AGENTS = 50;
/** Limit of MCP servers of one agent. */
const MAX_SERVERS = 50;
/** Names of agents: requests put a model behind a `/` after them, and a conversation behind an `@`. */
const AGENT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** The tables that are read; the others of the file belong to OpenAB. */
const TABLES = ["agent", "agents"];

const text = z.string('must be a text: put it in quotes, such as "1"');
/** A text that counts as left out if it is empty, because a variable in it may be empty. */
const word = text.transform((words) => words.trim() || undefined).optional();
const program = z.string('must be a text: the program alone, such as "npx"; its arguments go into args')
  .min(1, "cannot be empty");
const args = z.array(text, 'must be a list of texts, such as ["--verbose"]').default([]);
const texts = z.record(z.string(), text, 'must be a table of texts by name, such as { NAME = "value" }')
  .default({});
/** Variables to set. The message does not repeat a wrong name, because users put values there by mistake. */
const variables = texts.check(z.superRefine((values, context) => {
  const wrong = Object.keys(values).filter((name) => !isVariableName(name)).length;
  if (wrong === 0) return;
  const names = wrong === 1 ? "a name" : `${wrong} names`;
  context.addIssue(
    `has ${names} that no variable can have: no spaces, and no =, which belongs outside of the quotes`,
  );
}, { when: ({ value }) => isTable(value) }));

const localServer = z.object({
  type: z.literal("stdio", 'must be "stdio" if there is a command, or left out').optional(),
  command: program,
  args,
  env: variables,
});
const remoteServer = z.object({
  type: z.enum(["http", "sse"], 'must be "http" or "sse" if there is a url').default("http"),
  url: text.refine(
    (url) => /^https?:$/.test(URL.parse(url)?.protocol ?? ""),
    "must be an address that begins with http:// or https://",
  ),
  headers: texts,
});

const agentTable = z.object({
  command: program.optional(),
  args,
  working_dir: text.refine((path) => path.trim() !== "", "cannot be empty: leave it out, or name a folder")
    .optional(),
  env: variables,
  inherit_env: z.array(variableName, 'must be a list of names, such as ["OPENAI_API_KEY"]').default([]),
  mcp_servers: z.unknown().optional(),
  mode: word,
  model: word,
  permissions: z.enum(PERMISSION_POLICIES, `must be one of ${PERMISSION_POLICIES.join(", ")}`).optional(),
});
const AGENT_KEYS = Object.keys(agentTable.shape);

/** The table of an agent. `[agent]` may have no command, because a variable or a flag can give it. */
export interface AgentTable extends Readonly<Omit<z.output<typeof agentTable>, "mcp_servers">> {
  readonly mcp_servers: readonly McpServer[];
}

/** A table with nothing in it. */
export const EMPTY_TABLE: AgentTable = { ...agentTable.parse({}), mcp_servers: [] };

/** The agents of a file. */
export interface AgentTables {
  /** `[agent]`. */
  readonly agent: AgentTable | undefined;
  /** `[agents.NAME]` by name, each with a command. */
  readonly agents: ReadonlyMap<string, AgentTable>;
  /** Names of the variables that the tables refer to as `${NAME}`. */
  readonly variables: readonly string[];
}

/** A file without agents. */
export const NO_TABLES: AgentTables = { agent: undefined, agents: new Map(), variables: [] };

/**
 * Reads the agents of a file. A key with a mistake is left out of its table; if a table is missing where there should
 * be one, no agent is read.
 */
export function readAgentTables(
  file: ConfigFile,
  env: Readonly<Record<string, string>>,
  problems: Problems,
): AgentTables {
  const { table, fault } = readToml(file.text);
  if (table === undefined) {
    problems.mistakes.push(`${file.path}: ${fault}.`);
    return NO_TABLES;
  }
  problems.warnings.push(...unreadKeyWarnings(table).map((warning) => `${file.path}: ${warning}`));
  const report = createReport(file.path, problems);
  const variables = new Set<string>();
  const [own, named] = TABLES.map((key) => expandVariables(table[key], key, { env, report, variables }));
  const agent = own === undefined ? undefined : readAgentTable(own, "agent", report);
  const agents = readNamedAgents(named, report);
  if (agents === undefined || (own !== undefined && agent === undefined)) return NO_TABLES;
  return { agent, agents, variables: [...variables] };
}

/** Warns of keys at the top of the file that were probably meant for agents. */
function unreadKeyWarnings(table: TomlTable): string[] {
  const keys = Object.keys(table).filter((key) => !TABLES.includes(key));
  const warnings = keys.flatMap((key) => {
    const suggestion = suggest(key, TABLES);
    if (suggestion) return [`${key} is not read. Did you mean ${suggestion}?`];
    const ofAgent = AGENT_KEYS.find((name) => normalizeKey(name) === normalizeKey(key));
    return ofAgent
      ? [`${key} is not read at the top of the file: put ${ofAgent} into [agent] or [agents.NAME].`]
      : [];
  });
  if (!TABLES.some((key) => key in table)) {
    warnings.push("the file has neither [agent] nor [agents]: it describes no agent.");
  }
  return warnings;
}

/** Reads `[agents]`; returns `undefined` if it, or an agent in it, is not a table. */
function readNamedAgents(raw: unknown = {}, report: FileReport): Map<string, AgentTable> | undefined {
  if (!isTable(raw)) {
    report.wrong("agents", "must be tables by name, such as [agents.codex]");
    return undefined;
  }
  const names = Object.keys(raw);
  if (names.length > MAX_AGENTS) report.wrong("agents", `there can be at most ${MAX_AGENTS}`);
  const agents = new Map<string, AgentTable>();
  for (const [index, name] of names.entries()) {
    const path = `agents.${name}`;
    const table = raw[name];
    const fault = nameFault(name, names.slice(0, index));
    // A key of an agent directly in [agents] is a mistake of its own, not an agent with a wrong name.
    if (fault && isTable(table)) report.wrong(path, fault);
    const agent = readAgentTable(table, path, report);
    if (agent === undefined) continue;
    if (agent.command === undefined) report.wrong(`${path}.command`, "is required: the agent's program");
    agents.set(name, agent);
  }
  return agents.size === names.length ? agents : undefined;
}

function nameFault(name: string, earlier: readonly string[]): string | undefined {
  if (isSameName(name, DEFAULT_AGENT)) {
    return `no agent can have the name ${name}, because requests use it for the default agent`;
  }
  const other = earlier.find((other) => isSameName(name, other));
  if (other) return `this name also means ${other}, because capital letters make no difference in requests`;
  if (AGENT_NAME.test(name)) return undefined;
  return 'the name of an agent begins with a letter or digit, continues with those, ".", "_" and "-", and has at most 64 ' +
    "characters";
}

/** Reads the table of an agent; returns `undefined` if it is not a table. */
function readAgentTable(raw: unknown, path: string, report: FileReport): AgentTable | undefined {
  if (!isTable(raw)) {
    report.wrong(path, "must be the table of an agent, such as [agent] or [agents.codex]");
    return undefined;
  }
  const table = readTable(agentTable, raw, path, report);
  for (const key of Object.keys(raw)) if (!AGENT_KEYS.includes(key)) report.unknown(path, key, AGENT_KEYS);
  const mcp_servers = readMcpServers(raw.mcp_servers, `${path}.mcp_servers`, report);
  // A wrong command becomes an empty one, because a table without a command is the demo agent.
  return table &&
    { ...table, command: table.command ?? (raw.command === undefined ? undefined : ""), mcp_servers };
}

/** Reads a table and reports its mistakes. The keys without a mistake are read anyway, so that they are checked too. */
function readTable<T>(
  schema: z.ZodType<T>,
  table: TomlTable,
  path: string,
  report: FileReport,
): T | undefined {
  const { data, error } = schema.safeParse(table);
  if (error === undefined) return data;
  for (const issue of error.issues) report.wrong([path, ...issue.path].join("."), issue.message);
  const right = Object.entries(table).filter(([key]) => error.issues.every((issue) => issue.path[0] !== key));
  return schema.safeParse(Object.fromEntries(right)).data;
}

/** Reads `mcp_servers`: tables by name, or a list of tables that have a `name`. */
function readMcpServers(raw: unknown, path: string, report: FileReport): McpServer[] {
  if (raw === undefined) return [];
  if (!isTable(raw) && !Array.isArray(raw)) {
    report.wrong(path, "must be tables by name, or a list of tables that have a name");
    return [];
  }
  const entries = Array.isArray(raw)
    ? raw.map((table: unknown, index) => ({
      name: isTable(table) ? table.name : undefined,
      table,
      key: `${index}`,
    }))
    : Object.entries(raw).map(([name, table]) => ({ name, table, key: name }));
  if (entries.length > MAX_SERVERS) report.wrong(path, `there can be at most ${MAX_SERVERS}`);
  const servers = new Map<string, McpServer>();
  for (const { name, table, key } of entries) {
    const isNamed = typeof name === "string" && name !== "";
    const here = `${path}.${isNamed ? name : key}`;
    if (!isNamed) report.wrong(`${here}.name`, "is required: the name of the server");
    else if (servers.has(name)) report.wrong(here, "two servers have this name");
    const server = readMcpServer(isNamed ? name : "", table, here, report);
    if (isNamed && server) servers.set(name, server);
  }
  return [...servers.values()];
}

function readMcpServer(
  name: string,
  table: unknown,
  path: string,
  report: FileReport,
): McpServer | undefined {
  if (!isTable(table)) {
    report.wrong(path, "must be a table with a command or with a url");
    return undefined;
  }
  const isLocal = "command" in table;
  if (isLocal === "url" in table) {
    report.wrong(path, `must have a command or a url${isLocal ? ", not both" : ""}`);
    return undefined;
  }
  const schema = isLocal ? localServer : remoteServer;
  const keys = ["name", ...Object.keys(schema.shape)];
  for (const key of Object.keys(table)) if (!keys.includes(key)) report.unknown(path, key, keys);
  const server = readTable<z.output<typeof localServer> | z.output<typeof remoteServer>>(
    schema,
    table,
    path,
    report,
  );
  if (server === undefined) return undefined;
  return "command" in server
    ? { name, command: server.command, args: server.args, env: namedValues(server.env) }
    : { type: server.type, name, url: server.url, headers: namedValues(server.headers) };
}

function namedValues(values: Readonly<Record<string, string>>): NamedValue[] {
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}
