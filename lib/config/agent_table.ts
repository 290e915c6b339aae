/** The agents of the configuration file: `[agent]` and `[agents.NAME]`, in OpenAB's shape. Pure. @module */

import { z } from "zod";
import { PERMISSION_POLICIES } from "../turn/permission.ts";
import type { McpServer } from "../acp/wire.ts";
import { DEFAULT_AGENT, isSameName } from "../turn/model_router.ts";
import { isTable, type TableReader, text } from "./config_file.ts";
import { isVariableName } from "./parsers.ts";
import { namedValues } from "./secrets.ts";

/** Limit of agents in `[agents]`, and of the MCP servers of one agent. */
const MAX_ENTRIES = 50;

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

/**
 * Reads the agents of a file. An agent with a mistake is left out.
 *
 * @param keyVariables The labels of this server's keys, by the variables that hold them, in capital letters.
 */
export function readAgentTables(
  reader: TableReader,
  keyVariables: ReadonlyMap<string, string>,
): AgentTables {
  const faultOf = (variable: string) => {
    const key = keyVariables.get(variable.toUpperCase());
    return key && `${key} cannot be given to an agent: take \${${variable}} out`;
  };
  const readAgent = (schema: typeof agentTable | typeof namedAgentTable, raw: unknown, path: string) => {
    const table = reader.read<z.output<typeof agentTable>>(schema, reader.expand(raw, path, faultOf), path);
    return table && { ...table, mcp_servers: readServers(reader, table.mcp_servers, `${path}.mcp_servers`) };
  };
  const { agent } = reader.root;
  const unnamed = agent === undefined ? undefined : readAgent(agentTable, agent, "agent");
  const agents = new Map<string, AgentTable>();
  for (const [name, raw] of reader.named("agent", MAX_ENTRIES, "codex")) {
    const path = `agents.${name}`;
    if (isSameName(name, DEFAULT_AGENT)) {
      reader.reject(
        path,
        `no agent can have the name ${name}, because requests use it for the default agent`,
      );
    }
    const table = readAgent(namedAgentTable, raw, path);
    if (table) agents.set(name, table);
  }
  return { agent: unnamed, agents };
}

/** Reads `mcp_servers`: tables by name, or a list of tables that have a `name`. */
function readServers(reader: TableReader, raw: unknown = [], path: string): McpServer[] {
  if (typeof raw !== "object" || raw === null) {
    reader.reject(path, "must be tables by name, or a list of tables that have a name");
    return [];
  }
  const entries = Object.entries<unknown>({ ...raw });
  if (entries.length > MAX_ENTRIES) reader.reject(path, `there can be at most ${MAX_ENTRIES}`);
  return entries.flatMap(([key, value]) => {
    const server = isTable(value) && !Array.isArray(raw) ? { name: key, ...value } : value;
    return readServer(reader, server, `${path}.${key}`) ?? [];
  });
}

function readServer(reader: TableReader, raw: unknown, path: string): McpServer | undefined {
  if (isTable(raw) && "command" in raw !== "url" in raw) {
    return "command" in raw
      ? reader.read<McpServer>(localServer, raw, path)
      : reader.read<McpServer>(remoteServer, raw, path);
  }
  reader.reject(path, "must be a table with a command or with a url");
  return undefined;
}
