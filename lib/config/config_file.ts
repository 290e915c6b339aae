/** Reads the tables of the configuration file, and names each mistake by the path of its key. Pure. @module */

import { parse, TomlError } from "smol-toml";
import { z } from "zod";
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

/** A table of TOML. */
export type Table = Readonly<Record<string, unknown>>;

/** The tables that are read; the others of the file belong to OpenAB. */
const TABLES = ["agent", "agents", "keys", "embeddings", "speech", "transcription"];
/** Names of agents and keys: requests put a model behind a `/` after an agent's, and a conversation behind an `@`. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** A text of the file. */
export const text = z.string('must be a text: put it in quotes, such as "1"');

/** Whether a value of the file is a table. */
export function isTable(value: unknown): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Says what is wrong with the name of an agent or a key. */
export function nameFault(kind: "agent" | "key", name: string): string | undefined {
  if (NAME.test(name)) return undefined;
  const subject = kind === "agent" ? "an agent" : "a key";
  return `the name of ${subject} has at most 64 letters, digits, dots, underscores and hyphens, and begins with a ` +
    "letter or digit";
}

/** Lists the variables that a text names as `${NAME}`. */
export function variablesIn(text: string): string[] {
  return [...text.matchAll(/\$\{(\w+)\}/g)].map(([, name = ""]) => name);
}

/** Opens a file. Without one, and if it is not TOML, it has no tables. */
export function openConfigFile(
  file: ConfigFile | undefined,
  env: Readonly<Record<string, string>>,
  problems: Problems,
): TableReader {
  if (file === undefined) return new TableReader("", {}, env, problems);
  const { path } = file;
  const { mistakes, warnings } = problems;
  try {
    // Tables of other programs may hold integers beyond 2^53.
    const root = parse(file.text, { integersAsBigInt: "asNeeded" });
    for (const key of Object.keys(root)) {
      const suggestion = TABLES.includes(key) ? undefined : suggest(key, TABLES);
      if (suggestion) mistakes.push(`${path}: ${key} is not read. Did you mean ${suggestion}?`);
    }
    if (!TABLES.some((key) => key in root)) {
      const tables = TABLES.map((table) => `[${table}]`).join(" nor ");
      warnings.push(`${path}: the file has neither ${tables}: nothing of it is used.`);
    }
    return new TableReader(path, root, env, problems);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // The message of the error quotes the file.
    const place = `line ${error.line}, column ${error.column}`;
    mistakes.push(`${path}: ${place}: this is not TOML (a text needs quotes: NAME = "value").`);
    return new TableReader(path, {}, env, problems);
  }
}

/** Reads the tables of one file, and collects the problems with the paths of their keys. */
export class TableReader {
  readonly root: Table;
  readonly #file: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #problems: Problems;

  constructor(file: string, root: Table, env: Readonly<Record<string, string>>, problems: Problems) {
    this.root = root;
    this.#file = file;
    this.#env = env;
    this.#problems = problems;
  }

  /** Lists the tables `[agents.NAME]` or `[keys.NAME]`. Faults of their names are rejected. */
  named(kind: "agent" | "key", max: number, example: string): [name: string, raw: unknown][] {
    const path = `${kind}s`;
    const raw = this.root[path] ?? {};
    if (!isTable(raw)) {
      this.reject(path, `must be tables by name, such as [${path}.${example}]`);
      return [];
    }
    const entries = Object.entries(raw);
    if (entries.length > max) this.reject(path, `there can be at most ${max}`);
    const names = new Map<string, string>();
    for (const [name] of entries) {
      const key = name.toLowerCase();
      const other = names.get(key);
      const fault = nameFault(kind, name) ??
        (other && `this name also means ${other}, because capital letters make no difference`);
      if (fault) this.reject(`${path}.${name}`, fault);
      else names.set(key, name);
    }
    return entries;
  }

  /**
   * Reads a table. An unknown key is a mistake if another is probably meant, and otherwise a warning.
   *
   * @param isStrict An unknown key is always a mistake.
   */
  read<T>(
    schema: z.ZodObject & z.ZodType<T>,
    raw: unknown,
    path: string,
    isStrict = false,
  ): T | undefined {
    const keys = Object.keys(schema.shape);
    for (const key of isTable(raw) ? Object.keys(raw) : []) {
      if (keys.includes(key)) continue;
      const text = `${redactPath(`${path}.${key}`)} ${describeUnknown(key, keys)}`;
      const { mistakes, warnings } = this.#problems;
      // A typing error would start another agent, or the right one in another way.
      (isStrict || suggest(key, keys) ? mistakes : warnings).push(`${this.#file}: ${text}`);
    }
    const { data, error } = schema.safeParse(raw);
    for (const issue of error?.issues ?? []) this.reject([path, ...issue.path].join("."), issue.message);
    return data;
  }

  /**
   * Replaces `${NAME}` in every text of a value with the variable's value.
   *
   * @param faultOf Says why a variable that is not empty cannot stand here.
   */
  expand(
    value: unknown,
    path: string,
    faultOf: (name: string) => string | undefined = () => undefined,
  ): unknown {
    if (typeof value === "string") {
      return value.replace(/\$\{(\w+)\}/g, (all, name: string) => this.#valueOf(name, path, faultOf) ?? all);
    }
    if (Array.isArray(value)) {
      return value.map((item, index) => this.expand(item, `${path}.${index}`, faultOf));
    }
    if (!isTable(value)) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, this.expand(item, `${path}.${key}`, faultOf)]),
    );
  }

  #valueOf(name: string, path: string, faultOf: (name: string) => string | undefined): string | undefined {
    const value = Object.hasOwn(this.#env, name) ? this.#env[name] : undefined;
    const fault = value?.trim() ? faultOf(name) : undefined;
    if (value === undefined) this.reject(path, `\${${name}} is not set`);
    else if (fault) this.reject(path, fault);
    return value;
  }

  /** Adds a mistake. */
  reject(path: string, fault: string): void {
    this.#problems.mistakes.push(`${this.#file}: ${redactPath(path)}: ${fault}.`);
  }
}

/** Takes out a key with a `=` in it, which probably holds a value that was quoted by mistake. */
function redactPath(path: string): string {
  return path.replace(/[^.=]*=.*$/s, "...");
}
