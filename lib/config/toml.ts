/** Reads TOML, and tells what is wrong with it without repeating it, since it may hold secrets. Pure. @module */

import { parse, TomlError } from "smol-toml";

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
