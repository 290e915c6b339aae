/** The configuration file, in OpenAB's shape. @module */

import { messageOf } from "../core/errors.ts";
import { DEFAULT_AGENT, isSameName } from "../turn/model_router.ts";
import { AGENT_KEYS, type AgentTable, type Findings, readAgentTable } from "./agent_table.ts";
import { isKeyVariable } from "./secrets.ts";
import { plain, suggest } from "./suggest.ts";
import { parse, TomlError } from "smol-toml";

/** Agents in the file, beside `[agent]`. */
const MAX_AGENTS = 50;
/** What an agent can be called: requests put its model behind a `/`, and a conversation behind an `@`. */
const AGENT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** What describes agents; the rest of the file is another program's. */
const TABLES = ["agent", "agents"];

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

/**
 * Reads the agents, with `${NAME}` replaced by variables. Adds all that is wrong to `mistakes`, what is odd to `warnings`;
 * neither repeats a value. What is wrong in a table is left out; of a file that has none where it should, no agent is read.
 */
export function readAgentTables(
  file: { readonly path: string; readonly text: string },
  env: Readonly<Record<string, string>>,
  mistakes: string[],
  warnings: string[],
): AgentTables {
  const { table: raw, fault } = readToml(file.text);
  if (raw === undefined) {
    mistakes.push(`${file.path}: ${fault}.`);
    return NO_TABLES;
  }
  const findings = findingsOf(file.path, mistakes, warnings);
  warnings.push(...outsideWarnings(raw).map((what) => `${file.path}: ${what}`));
  const variables = new Set<string>();
  const [own, named] = TABLES.map((table) => expand(raw[table], table, { env, findings, variables }));
  const agent = own === undefined ? undefined : readAgentTable(own, "agent", findings);
  const agents = readNamed(named, findings);
  const isWhole = agents !== undefined && (agent !== undefined || own === undefined);
  return isWhole ? { agent, agents, variables: [...variables] } : NO_TABLES;
}

/** Reads `[agents]`; nothing if one is no table. */
function readNamed(raw: unknown = {}, findings: Findings): Map<string, AgentTable> | undefined {
  if (!isTable(raw)) {
    findings.wrong("agents", "must be tables by name, such as [agents.codex]");
    return undefined;
  }
  const names = Object.keys(raw);
  if (names.length > MAX_AGENTS) findings.wrong("agents", `there may be ${MAX_AGENTS} at most`);
  const agents = new Map<string, AgentTable>();
  for (const [place, name] of names.entries()) {
    const path = `agents.${name}`;
    const table = raw[name];
    const fault = nameFault(name, names.slice(0, place));
    // A key of an agent that stands in [agents] is no agent with a wrong name.
    if (fault && isTable(table)) findings.wrong(path, fault);
    const agent = readAgentTable(table, path, findings);
    if (isTable(table) && table.command === undefined) {
      findings.wrong(`${path}.command`, "is required: the agent's program");
    }
    if (agent) agents.set(name, agent);
  }
  return agents.size === names.length ? agents : undefined;
}

/** Where what is found in a file goes. What stands behind a `=` in a key may be a value that was put there by mistake. */
function findingsOf(file: string, mistakes: string[], warnings: string[]): Findings {
  const shown = (path: string) => path.replace(/[^.=]*=.*$/s, "...");
  return {
    wrong: (path, what) => mistakes.push(`${file}: ${shown(path)}: ${what}.`),
    unknown(path, key, known) {
      const meant = suggest(key, known);
      const hint = meant ? ` Did you mean ${meant}?` : "";
      warnings.push(`${file}: ${shown(`${path}.${key}`)} is not a setting of this version.${hint}`);
    },
  };
}

/** What is odd outside of the agents' tables. The others may be OpenAB's, and are left alone. */
function outsideWarnings(raw: TomlTable): string[] {
  const keys = Object.keys(raw).filter((key) => !TABLES.includes(key));
  const odd = keys.flatMap((key) => {
    const meant = suggest(key, TABLES);
    if (meant) return [`${key} is not read. Did you mean ${meant}?`];
    const [own] = AGENT_KEYS.filter((name) => plain(name) === plain(key));
    return own
      ? [`${key} is not read at the top of the file: ${own} belongs into [agent] or [agents.NAME].`]
      : [];
  });
  const hasAgents = TABLES.some((table) => table in raw);
  return hasAgents ? odd : [...odd, "the file has neither [agent] nor [agents]: it describes no agent."];
}

/** What is wrong with an agent's name, `others` being those of the agents before it. */
function nameFault(name: string, others: readonly string[]): string | undefined {
  if (isSameName(name, DEFAULT_AGENT)) {
    return `no agent can be called ${name}, since requests mean the default agent by it`;
  }
  const other = others.find((other) => isSameName(name, other));
  if (other) return `requests mean ${other} by it too, since capital letters make no difference to them`;
  if (AGENT_NAME.test(name)) return undefined;
  return 'an agent\'s name begins with a letter or digit, goes on with those, ".", "_" and "-", and has 64 at most';
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
  if (!isTable(value)) return value;
  const entries = Object.entries(value).filter(([key]) => {
    // Assigned to an object, it would be lost without a word.
    const isLost = key === "__proto__";
    if (isLost) filling.findings.wrong(`${path}.${key}`, `nothing can be called ${key}`);
    return !isLost;
  });
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

/** A table of a file. */
export type TomlTable = Readonly<Record<string, unknown>>;

/** What was read, or what stands in the way. */
export type TomlRead =
  | { readonly table: TomlTable; readonly fault?: undefined }
  | { readonly table?: undefined; readonly fault: string };

/** What to do about the kinds of errors that are made most. */
const HINTS: readonly [kind: RegExp, hint: string][] = [
  [/^invalid value$|numeric literal$/, 'a text must stand in quotes, as in NAME = "value"'],
  [/^trying to redefine/, "each table and each key may stand there only once"],
];

/** Reads a file. A fault names line, column and the kind of error, and nothing of the text. */
export function readToml(text: string): TomlRead {
  try {
    // Other tables may hold numbers that are too big for us.
    return { table: parse(text, { integersAsBigInt: "asNeeded" }) };
  } catch (error) {
    if (!(error instanceof TomlError)) return { fault: "it is no TOML" };
    const kind = kindOf(error);
    const hint = HINTS.find(([pattern]) => pattern.test(kind))?.[1];
    return { fault: `line ${error.line}, column ${error.column}: ${kind}${hint ? ` (${hint})` : ""}` };
  }
}

/** What stands in the first line of the message; the others quote the file. */
function kindOf({ message }: TomlError): string {
  return /^Invalid TOML document: ([a-z][a-z ,.:-]*?)\.?$/m.exec(message)?.[1] ?? "it is no TOML";
}

/** Whether a value of a file is a table; dates are objects too. */
export function isTable(value: unknown): value is TomlTable {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
