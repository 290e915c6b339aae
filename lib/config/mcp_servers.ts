/** The MCP servers of an agent, as the configuration file has them. @module */

import { z } from "zod";
import type { McpServer, NamedValue } from "../acp/mcp.ts";
import { isVariableName } from "./kinds.ts";
import { isTable, type TomlTable } from "./toml.ts";

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
