import { assertEquals } from "@std/assert";
import { collectSecrets } from "../../lib/config/secrets.ts";
import { sha256 } from "../../lib/http/access.ts";
import { type Env, load, mistakesOf } from "../support/harness/config_fixture.ts";

/** The secrets of an agent with these lines in its table. */
function secretsOf(lines: string, env: Env = {}): string[] {
  const own = { HOME: "/home/mao", NODE_ENV: "production", ...env };
  return collectSecrets(load(`[agent]\ncommand = "a"\n${lines}`, own).config, own);
}

const OVERLAY = '[keys.overlay]\nscopes = ["events"]\n';

const MCP = "[agent.mcp_servers.a]\n";
const NAMES = "API_KEY token MY_SECRET DB_PASSWORD AUTHORIZATION CREDENTIALS COOKIE private_pem OAUTH_CODE"
  .split(" ");
const SECRETS: [name: string, lines: string, secrets: string[], env?: Env][] = [
  ["nothing", "", []],
  ["the key of the server, however short", "", ["k"], { VTUBER_AUTH_KEY: "k" }],
  ["keys of the file, however short", `${OVERLAY}key = "k"\n`, ["o", "k"], { VTUBER_AUTH_KEY: "o" }],
  ["the variables that a key is made of", OVERLAY + 'key = "${A}-${LANG}"\n', ["value-1-C", "value-1"], {
    A: "value-1",
    LANG: "C",
  }],
  ["no hash of a key", `${OVERLAY}key_sha256 = "${"a".repeat(64)}"\n`, []],
  [
    "variables whose names say that they are secret",
    `[agent.env]\n${NAMES.map((name, n) => `${name} = "value-${n}"`).join("\n")}\n`,
    NAMES.map((_, n) => `value-${n}`),
  ],
  [
    "other variables",
    'env = { NODE_ENV = "production", GIT_AUTHOR_NAME = "Mao Mao", LANG = "en_US.UTF-8" }\n',
    [],
  ],
  ["short values", 'env = { API_KEY = "12345" }\n', []],
  ["own variables", "", ["value-1", "value-2"], {
    API_TOKEN: "value-1",
    MY_SECRET: "value-2",
    TZ: "Europe/Rome",
  }],
  ["an MCP server's variables", `${MCP}command = "fs"\nenv = { LEVEL = "verbose", KEY = "value-1" }\n`, [
    "value-1",
  ]],
  [
    "an MCP server's headers, whatever their names",
    `${MCP}url = "https://a.example/mcp"\nheaders = { X = "value-1", Y = "short" }\n`,
    ["value-1"],
  ],
  ["an MCP server's password and query", `${MCP}url = "https://mao:value-1@a.example/?token=value-2"\n`, [
    "?token=value-2",
    "value-1",
    "value-2",
  ]],
  ["one value twice", 'env = { KEY = "${API_KEY}" }\n', ["value-1"], { API_KEY: "value-1" }],
  [
    "arguments are never printed, so they are not searched",
    'args = ["--api-key", "value-1", "TOKEN=value-2"]\n',
    [],
  ],
];

for (const [name, lines, secrets, env] of SECRETS) {
  Deno.test(`collectSecrets: ${name}`, () => {
    assertEquals(secretsOf(lines, env), secrets);
  });
}

const OWN = '[agent]\ncommand = "own"\n';
const CODEX = '[agents.codex]\ncommand = "codex-acp"\n';
const KEY = "s3cret-key-of-twenty/+";
const AT = "${VTUBER_AUTH_KEY}";
const FS = `${CODEX}[agents.codex.mcp_servers.fs]\n`;
const WEB = `${OWN}[agent.mcp_servers.web]\n`;
const LEAK = "VTUBER_AUTH_KEY cannot be given to an agent: take it out of";
const LEAKS: [where: string, text: string, env?: Env][] = [
  ["inherit_env of the agent openab", `${OWN}inherit_env = ["vtuber_auth_key"]\n`],
  ["inherit_env of the agent openab", "", { OPENAB_AGENT_INHERIT_ENV: "TZ,VTUBER_AUTH_KEY" }],
  ["inherit_env of the agent openab", `${OWN}inherit_env = ["other"]\n`, { OTHER: `Bearer ${KEY}` }],
  ["inherit_env of the agent codex", `${CODEX}inherit_env = ["VTUBER_AUTH_KEY"]\n`],
  ["command of the agent openab", `[agent]\ncommand = "/bin/${KEY}"\n`],
  ["working_dir of the agent openab", `${OWN}working_dir = "/tmp/${KEY}"\n`],
  ["mode and model of the agent openab", `${OWN}mode = "${KEY}"\nmodel = "${KEY}"\n`],
  ["env of the agent openab", `${OWN}env = { TOKEN = "Bearer ${KEY}" }\n`],
  ["env of the agent openab", OWN + 'env = { TOKEN = "${OTHER}" }\n', { OTHER: KEY }],
  ["mcp_servers of the agent codex", `${FS}command = "fs"\nenv = { A = "${KEY}" }\n`],
  ["mcp_servers of the agent openab", `${WEB}url = "https://a.example/?key=${encodeURIComponent(KEY)}"\n`],
  ["args and env of the agent openab", `${OWN}args = ["${KEY}"]\nenv = { A = "${KEY}", "${KEY}" = "" }\n`],
];

for (const [where, text, env = {}] of LEAKS) {
  Deno.test(`findKeyLeaks: ${where}: ${text.split("\n").at(-2) ?? JSON.stringify(env)} ${Object.keys(env)}`, () => {
    assertEquals(mistakesOf(text, { VTUBER_AUTH_KEY: KEY, ...env }), [`${LEAK} ${where}.`]);
  });
}

/** The table of the key, as it is and as its hash. */
const PLAIN_KEY = `${OVERLAY}key = "${KEY}"\n`;
const URL_SAFE = "oab_A-b_c9A-b_c9A-b_c9A-b_c9A-b_c9";
const hashed = (key: string) => `${OVERLAY}key_sha256 = "${sha256(key)}"\n`;

for (const [where, text, env = {}] of LEAKS) {
  if (/VTUBER_AUTH_KEY/i.test(JSON.stringify([text, env]))) continue;
  Deno.test(`findKeyLeaks: a key of the file: ${where}: ${text.split("\n").at(-2)}`, () => {
    const leak = [`keys.overlay cannot be given to an agent: take it out of ${where}.`];
    assertEquals(mistakesOf(PLAIN_KEY + text, env), leak);
    // The hash of a key tells nothing of it in another form.
    if (text.includes(encodeURIComponent(KEY))) return;
    const safe = (from: string) => from.replaceAll(KEY, URL_SAFE);
    const safeEnv = Object.fromEntries(Object.entries(env).map(([name, value]) => [name, safe(value)]));
    assertEquals(mistakesOf(hashed(URL_SAFE) + safe(text), safeEnv), leak);
  });
}

Deno.test("findKeyLeaks: each key is named, and a short hashed key may be an ordinary word", () => {
  const two = `[keys.bot]\nscopes = ["chat"]\nkey = "another-${KEY}"\n${hashed("acp")}`;
  const env = { VTUBER_AUTH_KEY: KEY };
  assertEquals(mistakesOf(`${two}[agent]\ncommand = "a"\nargs = ["acp", "another-${KEY}"]\n`, env), [
    `${LEAK} args of the agent openab.`,
    "keys.bot cannot be given to an agent: take it out of args of the agent openab.",
  ]);
});

Deno.test("loadConfig: a variable that a key is made of reaches no agent, however short it is", () => {
  const text = OVERLAY + 'key = "${A_PART}-and-more-of-the-key"\n';
  const env = { A_PART: "acp" };
  assertEquals(mistakesOf(`${text}${OWN}inherit_env = ["a_part"]\n`, env), [
    "keys.overlay cannot be given to an agent: take it out of inherit_env of the agent openab.",
  ]);
  assertEquals(mistakesOf(text + OWN + 'args = ["${A_PART}"]\n', env), [
    "config.toml: agent.args.0: keys.overlay cannot be given to an agent: take ${A_PART} out.",
  ]);
});

Deno.test("readAgentTables: the key's variable can stand nowhere in the tables of agents, however short the key is", () => {
  const places: [path: string, text: string][] = [
    ["agent.args.1", `${OWN}args = ["--key", "${AT}"]\n`],
    ["agents.codex.mcp_servers.fs.args.0", `${FS}command = "fs"\nargs = ["${AT}"]\n`],
  ];
  for (const [path, text] of places) {
    assertEquals(mistakesOf(text, { VTUBER_AUTH_KEY: "acp" }), [
      `config.toml: ${path}: VTUBER_AUTH_KEY cannot be given to an agent: take ${AT} out.`,
    ]);
  }
});

Deno.test("findKeyLeaks: a short key may be an ordinary word, so that only its variable is refused", () => {
  const key = { VTUBER_AUTH_KEY: "acp" };
  const words =
    'command = "acp"\nargs = ["acp", "--acp"]\nmode = "acp"\nenv = { KIND = "acp-x", acp = "1" }\n';
  assertEquals(load(`[agent]\n${words}`, key).config.agents[0]?.args, ["acp", "--acp"]);
  assertEquals(mistakesOf(`${OWN}inherit_env = ["VTUBER_AUTH_KEY"]\n`, key), [
    `${LEAK} inherit_env of the agent openab.`,
  ]);
});

Deno.test("loadConfig: no mistake repeats the key", () => {
  const env = { VTUBER_AUTH_KEY: KEY, GATEWAY_LISTEN: "x", VTUBER_LOG: "y" };
  const table = `[agents.a]\ncommand = "a"\npermissions = "${AT}"\nmcp_servers = "${AT}"\n`;
  for (const text of ["[agent", `[agent]\ncommand = 7\nargs = ["${AT}"]\n`, table]) {
    assertEquals(mistakesOf(text, env).join().includes(KEY), false);
  }
});
