/** The configuration file as text: TOML to tables, `${NAME}` to the values of variables. Pure. @module */

import { parse, TomlError } from "smol-toml";
import { messageOf } from "../core/errors.ts";
import { isKeyVariable } from "./secrets.ts";
import { describeUnknown } from "./suggest.ts";

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

/** A table of a file. */
export type TomlTable = Readonly<Record<string, unknown>>;

/** Reports whether a value of a file is a table; dates are objects too. */
export function isTable(value: unknown): value is TomlTable {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** The tables of a file, or the reason why it cannot be read. */
export type TomlRead =
  | { readonly table: TomlTable; readonly fault?: undefined }
  | { readonly table?: undefined; readonly fault: string };

/** Advice for the most common kinds of errors. */
const HINTS: readonly [kind: RegExp, hint: string][] = [
  [/^invalid value$|numeric literal$/, 'a text needs quotes, as in NAME = "value"'],
  [/^trying to redefine/, "each table and each key can occur only once"],
];

/** Reads TOML. A fault names line, column and the kind of error, and quotes nothing of the text. */
export function readToml(text: string): TomlRead {
  try {
    // Tables of other programs may hold integers beyond 2^53.
    return { table: parse(text, { integersAsBigInt: "asNeeded" }) };
  } catch (error) {
    if (!(error instanceof TomlError)) return { fault: "it is not TOML" };
    // The lines of the message after the first quote the file.
    const kind = /^Invalid TOML document: ([a-z][a-z ,.:-]*?)\.?$/m.exec(error.message)?.[1] ??
      "it is not TOML";
    const hint = HINTS.find(([pattern]) => pattern.test(kind))?.[1];
    return { fault: `line ${error.line}, column ${error.column}: ${kind}${hint ? ` (${hint})` : ""}` };
  }
}

/** Describes why a file cannot be read; `source` is the flag or the variable that names the file. */
export function unreadable(source: string, path: string, error: unknown): string {
  const why = error instanceof Deno.errors.NotFound
    ? "there is no such file"
    : error instanceof Deno.errors.IsADirectory
    ? "it is a folder"
    : messageOf(error);
  return `${source}: ${path} cannot be read: ${why}.`;
}

/** Collects the problems of one file, each with the path of its key. */
export interface FileReport {
  wrong(path: string, what: string): void;
  /** Warns of a key that is not among the keys of its table. */
  unknown(path: string, key: string, keys: readonly string[]): void;
}

/** Makes a report that adds to `problems`. */
export function createReport(file: string, { mistakes, warnings }: Problems): FileReport {
  // A key with a `=` in it probably holds a value that was quoted by mistake.
  const redact = (path: string) => path.replace(/[^.=]*=.*$/s, "...");
  return {
    wrong: (path, what) => mistakes.push(`${file}: ${redact(path)}: ${what}.`),
    unknown: (path, key, keys) => {
      warnings.push(`${file}: ${redact(`${path}.${key}`)} ${describeUnknown(key, keys)}`);
    },
  };
}

/** The variables of an expansion, and the places for its results. */
export interface Expansion {
  readonly env: Readonly<Record<string, string>>;
  readonly report: FileReport;
  /** Collects the names of the variables that were used. */
  readonly variables: Set<string>;
}

/** Replaces `${NAME}` in every text of a value with the variable's value. */
export function expandVariables(value: unknown, path: string, expansion: Expansion): unknown {
  if (typeof value === "string") {
    return value.replace(/\$\{(\w+)\}/g, (all, name: string) => valueOf(all, name, path, expansion));
  }
  if (Array.isArray(value)) {
    return value.map((item, index) => expandVariables(item, `${path}.${index}`, expansion));
  }
  if (!isTable(value)) return value;
  const entries = Object.entries(value).filter(([key]) => {
    // An assignment to this key of an object would be lost silently.
    if (key === "__proto__") expansion.report.wrong(`${path}.${key}`, `nothing can have the name ${key}`);
    return key !== "__proto__";
  });
  return Object.fromEntries(
    entries.map(([key, item]) => [key, expandVariables(item, `${path}.${key}`, expansion)]),
  );
}

function valueOf(all: string, name: string, path: string, { env, report, variables }: Expansion): string {
  const value = Object.hasOwn(env, name) ? env[name] : undefined;
  if (value === undefined) report.wrong(path, `${all} is not set`);
  else if (value.trim() !== "" && isKeyVariable(name)) {
    report.wrong(path, `VTUBER_AUTH_KEY cannot be given to an agent: take ${all} out`);
  } else {
    variables.add(name);
    return value;
  }
  return all;
}
