import { assertEquals, assertMatch } from "@std/assert";
import { sha256 } from "../../lib/http/access.ts";
import { type Caller, SCOPES } from "../../lib/turn/caller.ts";
import { type Env, load, mistakesOf } from "../support/harness/config_fixture.ts";

const KEY = "s3cret-key-of-twenty/+";
const ENV = { OVERLAY_KEY: ` ${KEY}\n`, EMPTY: " " };
const AGENTS = '[agents.Codex]\ncommand = "codex-acp"\n[agents.sandbox]\ncommand = "sandbox-acp"\n';
const HASH = "0123456789abcdef".repeat(4);

const key = (lines: string, name = "a") => `[keys.${name}]\n${lines}\n`;
/** The table of a key that is right, with more lines. */
const right = (lines: string, name = "a") => key(`key = "${KEY}-${name}"\nscopes = ["chat"]\n${lines}`, name);
const caller = (parts: Partial<Caller> = {}): Caller => ({
  id: "keys.a",
  scopes: new Set(["chat"]),
  requestsPerMinute: undefined,
  turnsPerDay: undefined,
  concurrentTurns: undefined,
  permissions: undefined,
  agent: undefined,
  ...parts,
});

const EVERYTHING = `
key_sha256 = "${HASH.toUpperCase()}"
scopes = ["events", "chat", "events"]
requests_per_minute = 30
turns_per_day = 200
concurrent_turns = 2
permissions = "deny"
agent = "sandbox"
`;
const READ: [name: string, text: string, hash: string, caller?: Partial<Caller>][] = [
  ["a key", key(`key = "${KEY}"\nscopes = ["chat"]`), sha256(KEY)],
  ["a key with letters of every script", key('key = "схема-鍵"\nscopes = ["chat"]'), sha256("схема-鍵")],
  ["a variable, without the spaces around it", key('key = "${OVERLAY_KEY}"\nscopes = ["chat"]'), sha256(KEY)],
  ["a key with a variable in it", key('key = "x${OVERLAY_KEY}"\nscopes = ["chat"]'), sha256(`x ${KEY}`)],
  ["everything", key(EVERYTHING), HASH, {
    scopes: new Set(["chat", "events"]),
    requestsPerMinute: 30,
    turnsPerDay: 200,
    concurrentTurns: 2,
    permissions: "deny",
    agent: "sandbox",
  }],
  ["every scope", key(`key_sha256 = "${HASH}"\nscopes = ${JSON.stringify(SCOPES)}`), HASH, {
    scopes: new Set(SCOPES),
  }],
  ["an agent in other letters", right('agent = "cODEX"'), sha256(`${KEY}-a`), { agent: "Codex" }],
  ["the default agent", right('agent = "Default"'), sha256(`${KEY}-a`), { agent: "Codex" }],
  [
    "the largest limits",
    right("requests_per_minute = 10000\nturns_per_day = 1000000\nconcurrent_turns = 10_000"),
    sha256(`${KEY}-a`),
    { requestsPerMinute: 10_000, turnsPerDay: 1_000_000, concurrentTurns: 10_000 },
  ],
];

for (const [name, text, hash, parts] of READ) {
  Deno.test(`keys: ${name}`, () => {
    const { config, warnings } = load(AGENTS + text, ENV);
    assertEquals(config.keys.map(({ label, sha256, caller }) => ({ label, sha256, caller })), [
      { label: "keys.a", sha256: hash, caller: caller(parts) },
    ]);
    assertEquals(warnings, []);
  });
}

Deno.test("keys: a file with keys alone is served by the demo agent, and has no warning", () => {
  const names = ["overlay", "chat.bot", "Stage-2_x", "toString", "constructor"];
  const text = names.map((name) => key(`key = "${name}-${KEY}"\nscopes = ["chat"]`, `"${name}"`)).join("");
  const { config, warnings } = load(text);
  assertEquals(config.keys.map(({ caller }) => caller.id), names.map((name) => `keys.${name}`));
  assertEquals([config.agents.map(({ command }) => command), warnings], [[undefined], []]);
  assertEquals(load().config.keys, []);
});

const MANY = (count: number) =>
  Array.from({ length: count }, (_, n) => key(`key = "${KEY}${n}"\nscopes = ["chat"]`, `k${n}`)).join("");

Deno.test("keys: an agent knows the permissions of the keys that it answers", () => {
  const text = [
    AGENTS,
    right('permissions = "deny"'),
    right('permissions = "allow"\nagent = "sandbox"', "b"),
    right('agent = "sandbox"', "c"),
  ].join("");
  const policies = load(text, ENV).config.agents.map(({ name, keyPermissions }) => [name, keyPermissions]);
  assertEquals(policies, [["Codex", ["deny"]], ["sandbox", ["deny", "allow"]]]);
});

Deno.test("keys: as many as the limit", () => {
  assertEquals(load(MANY(1_000)).config.keys.length, 1_000);
});

const SCOPE_LIST = `The scopes are ${SCOPES.join(", ")}.`;
const WHOLE = (max: number) => `must be a whole number from 1 to ${max}, without quotes.`;
/** Each message is compared from its beginning. */
const MISTAKES: [text: string, ...messages: string[]][] = [
  ['keys = "x"\n', "keys: must be tables by name, such as [keys.overlay]."],
  [`[keys]\na = "${KEY}"\n`, "keys.a: must be the table of a key, such as [keys.overlay]."],
  [MANY(1_001), "keys: there can be at most 1000."],
  [key('scopes = ["chat"]'), "keys.a: needs key_sha256, or key: `oab-vtuber key new NAME` prints one."],
  [
    right(`key_sha256 = "${HASH}"`),
    "keys.a: has both key and key_sha256: take one of them out.",
  ],
  [key('key = " "\nscopes = ["chat"]'), "keys.a.key: cannot be empty."],
  [key('key = "${EMPTY}"\nscopes = ["chat"]'), "keys.a.key: cannot be empty."],
  [key('key = "${NOT_SET}"\nscopes = ["chat"]'), "keys.a.key: ${NOT_SET} is not set."],
  [key('key = 12\nscopes = ["chat"]'), "keys.a.key: must be a text"],
  ...[HASH.slice(1), `${HASH}0`, HASH.replace("0", "g"), ""].map((hash): [string, string] => [
    key(`key_sha256 = "${hash}"\nscopes = ["chat"]`),
    "keys.a.key_sha256: must have 64 hexadecimal digits, as `oab-vtuber key new NAME` prints them.",
  ]),
  [
    key(`key = "${KEY}"`),
    `keys.a.scopes: is required: what the key allows, such as ["chat"]. ${SCOPE_LIST}`,
  ],
  [key(`key = "${KEY}"\nscopes = []`), `keys.a.scopes: cannot be empty. ${SCOPE_LIST}`],
  [key(`key = "${KEY}"\nscopes = "chat"`), 'keys.a.scopes: must be a list of scopes, such as ["chat"].'],
  [
    key(`key = "${KEY}"\nscopes = ["chat", "event", "all", 7]`),
    `keys.a.scopes.1: is not a scope. Did you mean events? ${SCOPE_LIST}`,
    `keys.a.scopes.2: is not a scope. ${SCOPE_LIST}`,
    `keys.a.scopes.3: is not a scope. ${SCOPE_LIST}`,
  ],
  ...["0", "-1", "1.5", '"5"', "10001", "9223372036854775807", "true", "inf"].map((
    value,
  ): [string, string] => [
    right(`concurrent_turns = ${value}`),
    `keys.a.concurrent_turns: ${WHOLE(10_000)}`,
  ]),
  [right("turns_per_day = 1000001"), `keys.a.turns_per_day: ${WHOLE(1_000_000)}`],
  [right("requests_per_minute = 10001"), `keys.a.requests_per_minute: ${WHOLE(10_000)}`],
  [right('permissions = "never"'), "keys.a.permissions: must be one of ask, allow, deny."],
  [right('agent = ""'), "keys.a.agent: cannot be empty: leave it out, or name an agent."],
  [right('agent = "sandbx"'), "keys.a.agent: there is no such agent. Did you mean sandbox? There is Codex,"],
  [right('agent = "gpt"'), "keys.a.agent: there is no such agent. There is Codex, sandbox."],
  [right("turn_per_day = 5"), "keys.a.turn_per_day is not a setting of this version. Did you mean turns_per"],
  [right("tokens = 5"), "keys.a.tokens is not a setting of this version."],
  ...["a/b", "", "-a", "a b", "\u00e9", "__proto__", "a".repeat(65)].map((name): [string, string] => [
    key(`key = "${KEY}"\nscopes = ["chat"]`, `"${name}"`),
    `keys.${name}: the name of a key has at most 64 letters, digits, dots, underscores and hyphens, and`,
  ]),
  [
    right("", "Bot") + right("", "bot"),
    "keys.bot: this name also means Bot, because capital letters make no",
  ],
  [
    key(`key = "${KEY}"\nscopes = ["chat"]`) + key('key = "${OVERLAY_KEY}"\nscopes = ["events"]', "b") +
    key(`key_sha256 = "${sha256(KEY)}"\nscopes = ["live"]`, "c"),
    "keys.b.key: is the same key as keys.a: `oab-vtuber key new NAME` makes another one.",
    "keys.c.key_sha256: is the same key as keys.",
  ],
];

for (const [text, ...messages] of MISTAKES) {
  Deno.test(`keys: the mistakes of ${JSON.stringify(text.slice(0, 100))}`, () => {
    const mistakes = mistakesOf(text + AGENTS, ENV);
    assertEquals(
      mistakes.map((mistake, index) => mistake.slice(0, `config.toml: ${messages[index]}`.length)),
      messages.map((message) => `config.toml: ${message}`),
    );
    assertEquals(mistakes.join().includes(KEY), false);
  });
}

Deno.test("keys: the key of the owner cannot be a key of the file too", () => {
  const tables = [`key = "${KEY}"`, 'key = "${VTUBER_AUTH_KEY}"', `key_sha256 = "${sha256(KEY)}"`];
  for (const line of tables) {
    const [mistake, ...others] = mistakesOf(key(`${line}\nscopes = ["chat"]`), {
      VTUBER_AUTH_KEY: ` ${KEY} `,
    });
    assertMatch(mistake!, /^config\.toml: keys\.a\.key(_sha256)?: is the same key as VTUBER_AUTH_KEY: /);
    assertEquals(others, []);
  }
});

const NOWHERE: [env: Env, isMistake: boolean][] = [
  [{ VTUBER_DATA_DIR: "none" }, true],
  [{ HOME: "" }, true],
  [{ VTUBER_DATA_DIR: "/data" }, false],
  [{}, false],
];

for (const [env, isMistake] of NOWHERE) {
  Deno.test(`keys: turns_per_day with ${JSON.stringify(env)} is ${isMistake ? "a mistake" : "fine"}`, () => {
    assertEquals(load(right("concurrent_turns = 1\nrequests_per_minute = 1"), env).config.keys.length, 1);
    const text = right("turns_per_day = 1");
    if (isMistake) {
      assertEquals(mistakesOf(text, env), [
        "config.toml: keys.a.turns_per_day: needs a folder for data, because the count must survive a restart: set " +
        "VTUBER_DATA_DIR to a folder.",
      ]);
    } else assertEquals(load(text, env).config.keys[0]?.caller.turnsPerDay, 1);
  });
}

/** A secret that stands where values do. */
const HUSH = "oab_hush";
const TABLES = [
  key(`key = ${HUSH}`),
  key(`key_sha256 = "${HUSH}"\nscopes = ["${HUSH}"]\npermissions = "${HUSH}"\nagent = 5`),
  key(`key = ["${HUSH}"]\nscopes = "${HUSH}"\nconcurrent_turns = "${HUSH}"`),
  key(`"key = ${HUSH}" = 1\nscopes = ["chat"]`),
  key(`key = "${HUSH}"\nkey_sha256 = "${HUSH}"`),
  key(`key = "\${NOT_SET}${HUSH}"\nscopes = ["chat"]`),
  right(`agent = "${HUSH}"`),
  right("", `"key=${HUSH}"`) + right("", `"Key=${HUSH}"`),
  `[keys]\nkey = "${HUSH}"\n`,
  `keys = "${HUSH}"\n`,
];

for (const text of TABLES) {
  Deno.test(`keys: no mistake repeats a value of ${JSON.stringify(text)}`, () => {
    const mistakes = mistakesOf(text, { HUSH });
    assertEquals(mistakes.filter((line) => line.includes("hush")), []);
  });
}
