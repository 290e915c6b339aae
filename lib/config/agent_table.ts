/** The agents of the configuration file: `[agent]` and `[agents.NAME]`, in OpenAB's shape. Pure. @module */

import { parse, TomlError } from "smol-toml";
import { z } from "zod";
import { PERMISSION_POLICIES } from "../turn/permission.ts";
import type { McpServer } from "../acp/wire.ts";
import { DEFAULT_AGENT, isSameName } from "../turn/model_router.ts";
import { isVariableName } from "./parsers.ts";
import { isKeyVariable, namedValues } from "./secrets.ts";
import { describeUnknown, suggest } from "./suggest.ts";

/** Mistakes that keep a configuration from being used, and warnings about what works. Neither repeats a value. */
export interface Problems {
  readonly mistakes: string[];
  readonly warnings: string[];
}

/** A configuration file. */
export interface ConfigFile {
  readonly path: string;
  readonly text: string;
}

/** Limit of agents in `[agents]`, and of the MCP servers of one agent. */
const MAX_ENTRIES = 50;
/** Names of agents: requests put a model behind a `/` after them, and a conversation behind an `@`. */
const AGENT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** The tables that are read; the others of the file belong to OpenAB. */
const TABLES = ["agent", "agents"];

const text = z.string('must be a text: put it in quotes, such as "1"');
/** A text that counts as left out if it is empty, because a variable in it may be empty. */
const optionalWord = text.transform((word) => word.trim() || undefined).optional();
const program = z.string({
  error: ({ input }) =>
    input === undefined
      ? "is required: the program that is started"
      : 'must be a text: the program alone, such as "npx"; its arguments go into args',
}).min(1, "cannot be empty");
const args = z.array(text, 'must be a list of texts, such as ["--verbose"]').default([]);
const texts = z.record(z.string(), text, 'must be a table of texts by name, such as { NAME = "value" }')
  .default({});
// The messages about names do not repeat them, because users put values there by mistake.
const variables = texts.refine(
  (values) => Object.keys(values).every(isVariableName),
  "has a name that no variable can have: no spaces, and no =, which belongs outside of the quotes",
);
const variableName = text.refine(
  isVariableName,
  "must be the name of a variable, such as OPENAI_API_KEY, without spaces and without = and a value",
);

const serverName = z.string("is required: the name of the server").min(1, "cannot be empty");
const localServer = z.object({
  name: serverName,
  command: program,
  args,
  env: variables.transform(namedValues),
});
const remoteServer = z.object({
  name: serverName,
  type: z.enum(["http", "sse"], 'must be "http" or "sse"').default("http"),
  url: text.refine(
    (url) => /^https?:$/.test(URL.parse(url)?.protocol ?? ""),
    "must be an address that begins with http:// or https://",
  ),
  headers: texts.transform(namedValues),
});

const agentTable = z.object({
  /** `[agent]` may have no command, because a variable or a flag can give it. */
  command: program.optional(),
  args,
  working_dir: text.refine((path) => path.trim() !== "", "cannot be empty: leave it out, or name a folder")
    .optional(),
  env: variables,
  inherit_env: z.array(variableName, 'must be a list of names, such as ["OPENAI_API_KEY"]').default([]),
  mcp_servers: z.unknown().optional(),
  mode: optionalWord,
  model: optionalWord,
  permissions: z.enum(PERMISSION_POLICIES, `must be one of ${PERMISSION_POLICIES.join(", ")}`).optional(),
}, "must be the table of an agent, such as [agent] or [agents.codex]");
const namedAgentTable = agentTable.extend({ command: program });

/** The table of an agent. */
export interface AgentTable extends Readonly<z.output<typeof agentTable>> {
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
}

/** A file without agents. */
export const NO_TABLES: AgentTables = { agent: undefined, agents: new Map() };

/** Reads the agents of a file. An agent with a mistake is left out. */
export function readAgentTables(
  file: ConfigFile,
  env: Readonly<Record<string, string>>,
  problems: Problems,
): AgentTables {
  const reader = new TableReader(file.path, env, problems);
  try {
    // Tables of other programs may hold integers beyond 2^53.
    return reader.read(parse(file.text, { integersAsBigInt: "asNeeded" }));
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The message of the error quotes the file.
    const place = `line ${error.line}, column ${error.column}`;
    problems.mistakes.push(`${file.path}: ${place}: this is not TOML (a text needs quotes: NAME = "value").`);
    return NO_TABLES;
  }
}

type Table = Readonly<Record<string, unknown>>;

function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Reads the tables of one file, and collects the problems with the paths of their keys. */
class TableReader {
  readonly #file: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #problems: Problems;

  constructor(file: string, env: Readonly<Record<string, string>>, problems: Problems) {
    this.#file = file;
    this.#env = env;
    this.#problems = problems;
  }

  read(file: Table): AgentTables {
    const { mistakes, warnings } = this.#problems;
    for (const key of Object.keys(file)) {
      const suggestion = TABLES.includes(key) ? undefined : suggest(key, TABLES);
      if (suggestion) mistakes.push(`${this.#file}: ${key} is not read. Did you mean ${suggestion}?`);
    }
    if (!TABLES.some((key) => key in file)) {
      warnings.push(`${this.#file}: the file has neither [agent] nor [agents]: it describes no agent.`);
    }
    const agent = file.agent === undefined ? undefined : this.#readAgent(agentTable, file.agent, "agent");
    return { agent, agents: this.#readNamedAgents(file.agents) };
  }

  #readNamedAgents(raw: unknown = {}): Map<string, AgentTable> {
    const agents = new Map<string, AgentTable>();
    if (!isTable(raw)) {
      this.#reject("agents", "must be tables by name, such as [agents.codex]");
      return agents;
    }
    const names = Object.keys(raw);
    if (names.length > MAX_ENTRIES) this.#reject("agents", `there can be at most ${MAX_ENTRIES}`);
    for (const [index, name] of names.entries()) {
      const fault = nameFault(name, names.slice(0, index));
      if (fault) this.#reject(`agents.${name}`, fault);
      const agent = this.#readAgent(namedAgentTable, raw[name], `agents.${name}`);
      if (agent) agents.set(name, agent);
    }
    return agents;
  }

  #readAgent(
    schema: typeof agentTable | typeof namedAgentTable,
    raw: unknown,
    path: string,
  ): AgentTable | undefined {
    const table = this.#readTable<z.output<typeof agentTable>>(schema, this.#expand(raw, path), path);
    return table && { ...table, mcp_servers: this.#readServers(table.mcp_servers, `${path}.mcp_servers`) };
  }

  /** Reads `mcp_servers`: tables by name, or a list of tables that have a `name`. */
  #readServers(raw: unknown = [], path: string): McpServer[] {
    if (typeof raw !== "object" || raw === null) {
      this.#reject(path, "must be tables by name, or a list of tables that have a name");
      return [];
    }
    const entries = Object.entries<unknown>({ ...raw });
    if (entries.length > MAX_ENTRIES) this.#reject(path, `there can be at most ${MAX_ENTRIES}`);
    return entries.flatMap(([key, value]) => {
      const server = isTable(value) && !Array.isArray(raw) ? { name: key, ...value } : value;
      return this.#readServer(server, `${path}.${key}`) ?? [];
    });
  }

  #readServer(raw: unknown, path: string): McpServer | undefined {
    if (isTable(raw) && "command" in raw !== "url" in raw) {
      return "command" in raw
        ? this.#readTable<McpServer>(localServer, raw, path)
        : this.#readTable<McpServer>(remoteServer, raw, path);
    }
    this.#reject(path, "must be a table with a command or with a url");
    return undefined;
  }

  #readTable<T>(schema: z.ZodObject & z.ZodType<T>, raw: unknown, path: string): T | undefined {
    const keys = Object.keys(schema.shape);
    for (const key of isTable(raw) ? Object.keys(raw) : []) {
      if (keys.includes(key)) continue;
      const text = `${redactPath(`${path}.${key}`)} ${describeUnknown(key, keys)}`;
      const { mistakes, warnings } = this.#problems;
      // A typing error would start another agent, or the right one in another way.
      (suggest(key, keys) ? mistakes : warnings).push(`${this.#file}: ${text}`);
    }
    const { data, error } = schema.safeParse(raw);
    for (const issue of error?.issues ?? []) this.#reject([path, ...issue.path].join("."), issue.message);
    return data;
  }

  /** Replaces `${NAME}` in every text of a value with the variable's value. */
  #expand(value: unknown, path: string): unknown {
    if (typeof value === "string") {
      return value.replace(/\$\{(\w+)\}/g, (all, name: string) => this.#valueOf(name, path) ?? all);
    }
    if (Array.isArray(value)) return value.map((item, index) => this.#expand(item, `${path}.${index}`));
    if (!isTable(value)) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, this.#expand(item, `${path}.${key}`)]),
    );
  }

  #valueOf(name: string, path: string): string | undefined {
    const value = Object.hasOwn(this.#env, name) ? this.#env[name] : undefined;
    if (value === undefined) this.#reject(path, `\${${name}} is not set`);
    else if (value.trim() !== "" && isKeyVariable(name)) {
      this.#reject(path, `VTUBER_AUTH_KEY cannot be given to an agent: take \${${name}} out`);
    }
    return value;
  }

  #reject(path: string, fault: string): void {
    this.#problems.mistakes.push(`${this.#file}: ${redactPath(path)}: ${fault}.`);
  }
}

/** Takes out a key with a `=` in it, which probably holds a value that was quoted by mistake. */
function redactPath(path: string): string {
  return path.replace(/[^.=]*=.*$/s, "...");
}

function nameFault(name: string, earlier: readonly string[]): string | undefined {
  if (isSameName(name, DEFAULT_AGENT)) {
    return `no agent can have the name ${name}, because requests use it for the default agent`;
  }
  const other = earlier.find((other) => isSameName(name, other));
  if (other) return `this name also means ${other}, because capital letters make no difference in requests`;
  if (AGENT_NAME.test(name)) return undefined;
  return "the name of an agent has at most 64 letters, digits, dots, underscores and hyphens, and begins with a letter " +
    "or digit";
}
