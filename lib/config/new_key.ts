/** The command `oab-vtuber key new`: makes a key, and prints the lines to paste. @module */

import { parseArgs } from "node:util";
import { sha256 } from "../http/access.ts";
import { type Scope, SCOPES } from "../turn/caller.ts";
import { nameFault } from "./config_file.ts";
import { scopeFault } from "./keys.ts";
import { ConfigError, flagError } from "./load.ts";

/** Bytes of randomness in a key. */
const KEY_BYTES = 24;
/** Scopes of a named key if none are named. */
export const DEFAULT_SCOPES: readonly Scope[] = ["chat"];

const USAGE = "The command is: oab-vtuber key new [NAME --scopes chat,events]";

/** A new key, for people. */
export interface NewKey {
  /** The lines to paste, and beside a table the key itself. */
  readonly text: string;
  /** Says what to do with the lines. */
  readonly advice: string;
}

/** Makes a key: a prefix by which people and scanners know it, and characters that need no quotes and no escapes. */
function createKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(KEY_BYTES));
  return `oab_${bytes.toBase64({ alphabet: "base64url", omitPadding: true })}`;
}

/**
 * Runs the command with the arguments behind `key`. Without a name it makes the key of the owner, for the environment;
 * with a name a table for the configuration file.
 *
 * @returns `undefined` if the help is wanted.
 * @throws {ConfigError} that says what is wrong with the arguments.
 */
export function newKey(args: readonly string[]): NewKey | undefined {
  const { help, name, scopes } = readArguments(args);
  if (help) return undefined;
  const key = createKey();
  if (name === undefined) {
    return {
      text: `VTUBER_AUTH_KEY=${key}`,
      advice:
        "Set this variable where the server starts. The key has every scope but commands: keep it to yourself.",
    };
  }
  const table = `[keys.${/^[\w-]+$/.test(name) ? name : JSON.stringify(name)}]
key_sha256 = "${sha256(key)}"
scopes = ${JSON.stringify(scopes).replaceAll(",", ", ")}`;
  return {
    text: `The key of ${name}, which is shown only now:

${key}

The table for config.toml:

${table}`,
    advice:
      "Give the key to the program that it is for, add the table to the configuration file, and restart the server.",
  };
}

interface Arguments {
  readonly help: boolean;
  readonly name: string | undefined;
  readonly scopes: readonly Scope[];
}

function readArguments(args: readonly string[]): Arguments {
  const { values, positionals } = parse(args);
  const [command, name, ...others] = positionals;
  if (values.help) return { help: true, name, scopes: [] };
  if (command !== "new") {
    throw new ConfigError([command ? `There is no command key ${command}. ${USAGE}.` : `${USAGE}.`]);
  }
  const mistakes: string[] = [];
  if (others.length > 0) mistakes.push(`There are too many arguments, from ${others[0]} on. ${USAGE}.`);
  const fault = name === undefined ? undefined : nameFault("key", name);
  if (fault) mistakes.push(`${name}: ${fault}.`);
  if (name === undefined && values.scopes !== undefined) {
    mistakes.push(
      "--scopes belongs to a key with a name: oab-vtuber key new NAME --scopes LIST. VTUBER_AUTH_KEY has every scope " +
        "but commands.",
    );
  }
  const words = values.scopes?.flatMap((list) => list.split(",")).map((word) => word.trim()) ??
    DEFAULT_SCOPES;
  for (const word of words) {
    if (SCOPES.some((scope) => scope === word)) continue;
    mistakes.push(`--scopes: ${word || "an empty text"} ${scopeFault(word)}.`);
  }
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  return { help: false, name, scopes: SCOPES.filter((scope) => words.includes(scope)) };
}

function parse(args: readonly string[]) {
  const options = {
    help: { type: "boolean", short: "h" },
    scopes: { type: "string", multiple: true },
  } as const;
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    throw flagError(error, args, Object.keys(options));
  }
}
