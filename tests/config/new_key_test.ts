import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { ConfigError } from "../../lib/config/load.ts";
import { newKey } from "../../lib/config/new_key.ts";
import { createRedactor } from "../../lib/core/redact.ts";
import { sha256 } from "../../lib/http/access.ts";
import { SCOPES } from "../../lib/turn/caller.ts";
import { load } from "../support/harness/config_fixture.ts";

/** A key: its prefix, and 192 bits in base64url. */
const KEY = /oab_[\w-]{32}/;

function made(...args: string[]): { key: string; text: string; advice: string } {
  const { text, advice } = newKey(["new", ...args])!;
  const [key = ""] = KEY.exec(text) ?? [];
  assertEquals(text.split(key).length, 2, "The key is printed once.");
  assertEquals(advice.includes(key), false);
  return { key, text, advice };
}

Deno.test("newKey: without a name, one line for the environment, with another key each time", () => {
  const { text } = made();
  assertMatch(text, /^VTUBER_AUTH_KEY=oab_[\w-]{32}$/);
  const keys = new Set(Array.from({ length: 1_000 }, () => made().key));
  assertEquals(keys.size, 1_000);
  assertEquals(load("", { VTUBER_AUTH_KEY: text.split("=")[1]! }).config.authKey, text.split("=")[1]);
});

const TABLES: [args: string[], id: string, scopes: string[]][] = [
  [["overlay"], "keys.overlay", ["chat"]],
  [["chat-bot_2", "--scopes", "chat,events"], "keys.chat-bot_2", ["chat", "events"]],
  [["--scopes= events , chat,chat", "a.b"], "keys.a.b", ["chat", "events"]],
  [["a", "--scopes", "live", "--scopes", "audio"], "keys.a", ["audio", "live"]],
  [["a", "--scopes", SCOPES.join()], "keys.a", [...SCOPES]],
];

for (const [args, id, scopes] of TABLES) {
  Deno.test(`newKey: ${args.join(" ")}: its table loads, and has the hash of the key only`, () => {
    const { key, text } = made(...args);
    const table = text.slice(text.indexOf("\n[keys"));
    assertEquals(table.includes(key), false);
    const { config, warnings } = load(table);
    assertEquals(config.keys.map(({ caller, sha256 }) => [caller.id, [...caller.scopes], sha256]), [
      [id, scopes, sha256(key)],
    ]);
    assertEquals(warnings, []);
  });
}

const MISTAKES: [line: string, ...mistakes: RegExp[]][] = [
  ["", /^The command is: oab-vtuber key new \[NAME --scopes chat,events\]\.$/],
  ["nwe", /^There is no command key nwe\. The command is: /],
  ["new a b c", /^There are too many arguments, from b on\. The command is: /],
  ["new a/b", /^a\/b: the name of a key has at most 64 letters/],
  ["new -a", /^Unknown option '-a'/],
  ["new a --scope=chat", /^There is no flag --scope\. Did you mean --scopes\?$/],
  ["new a --scopes", /argument missing/],
  ["new a --enabled", /^There is no flag --enabled\.$/],
  ["new --scopes chat", /^--scopes belongs to a key with a name: /],
  ["new a --scopes=", /^--scopes: an empty text is not a scope\. The scopes are chat, audio, /],
  [
    "new a --scopes chta,,evil",
    /^--scopes: chta is not a scope\. Did you mean chat\? The scopes are chat/,
    /^--scopes: an empty text/,
    /^--scopes: evil is not a scope\. The scopes/,
  ],
];

for (const [line, ...expected] of MISTAKES) {
  Deno.test(`newKey: the mistakes of ${JSON.stringify(line)}`, () => {
    const { mistakes }: ConfigError = assertThrows(
      () => newKey(line.split(" ").filter(Boolean)),
      ConfigError,
    );
    assertEquals(mistakes.length, expected.length, mistakes.join("\n"));
    for (const [index, pattern] of expected.entries()) assertMatch(mistakes[index]!, pattern);
  });
}

Deno.test("newKey: with --help there is no key", () => {
  for (const line of ["--help", "new -h", "new a --help"]) assert(newKey(line.split(" ")) === undefined);
});

Deno.test("key new: the log leaves the key out, though the server may know its hash only", () => {
  const { key } = made("overlay");
  assertEquals(createRedactor([])(`There is no model "${key}".`), 'There is no model "[secret]".');
});
