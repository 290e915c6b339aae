import { assertEquals } from "@std/assert";
import { loadConfig } from "../../lib/config/load.ts";
import { secretsOf } from "../../lib/config/secrets.ts";

type Env = Record<string, string>;

/** What is secret of an agent with these lines in its table. */
function secretsWith(lines: string, env: Env = {}): string[] {
  const own = { HOME: "/home/mao", NODE_ENV: "production", ...env };
  const text = `[agent]\ncommand = "a"\n${lines}`;
  return secretsOf(loadConfig({ env: own, file: { path: "config.toml", text } }).config, own);
}

const MCP = "[agent.mcp_servers.a]\n";
const CASES: [name: string, lines: string, secrets: string[], env?: Env][] = [
  ["nothing", "", []],
  ["the key, however short", "", ["k"], { VTUBER_AUTH_KEY: "k" }],
  [
    "variables, by their names",
    'env = { API_KEY = "value-1", token = "value-2", MY_SECRET = "value-3", DB_PASSWORD = "value-4", ' +
    'AUTHORIZATION = "value-5", CREDENTIALS = "value-6", COOKIE = "value-7", private_pem = "value-8" }\n',
    [1, 2, 3, 4, 5, 6, 7, 8].map((n) => `value-${n}`),
  ],
  [
    "words of variables",
    'env = { NODE_ENV = "production", GIT_AUTHOR_NAME = "Mao Mao", LANG = "en_US.UTF-8" }\n',
    [],
  ],
  ["a short value", 'env = { API_KEY = "12345" }\n', []],
  ["variables that are handed on", 'inherit_env = ["HOME", "NODE_ENV", "Api_Token", "NOT_SET_KEY"]\n', [
    "value-1",
  ], {
    API_TOKEN: "value-1",
  }],
  ["a program's variables", `${MCP}command = "fs"\nenv = { LEVEL = "verbose", KEY = "value-1" }\n`, [
    "value-1",
  ]],
  [
    "headers, all of them",
    `${MCP}url = "https://a.example/mcp"\nheaders = { X = "value-1", Y = "short" }\n`,
    [
      "value-1",
    ],
  ],
  ["an address", `${MCP}url = "https://a.example/mcp"\n`, []],
  ["an address with a query", `${MCP}url = "https://a.example/?mode=readonly&token=value-1"\n`, [
    "https://a.example/?mode=readonly&token=value-1",
    "value-1",
  ]],
  ["an address with a password", `${MCP}url = "https://mao:value-1@a.example/"\n`, [
    "https://mao:value-1@a.example/",
    "value-1",
  ]],
  ["variables in arguments", 'args = ["--key=${API_KEY}", "${HOME}/x"]\n', ["value-1"], {
    API_KEY: "value-1",
  }],
  ["variables in an MCP server's arguments", MCP + 'command = "fs"\nargs = ["${API_KEY}"]\n', ["value-1"], {
    API_KEY: "value-1",
  }],
  [
    "words behind options",
    'args = ["--api-key", "value-1", "-token", "value-2", "--verbose", "value-x", "--auth", "--readonly-mode"]\n',
    ["value-1", "value-2"],
  ],
  [
    "words of options and variables",
    'args = ["--token=value-1", "API_KEY=value=2", "--level=verbose", "-password=value-3", "X-Auth: value-4"]\n',
    ["value-1", "value=2", "value-3", "value-4"],
  ],
  [
    "pairs and addresses behind options",
    'args = ["--env=TOKEN=value-1", "--header=X-Auth: value-2", "--url=https://a.example/?token=value-3"]\n',
    ["value-1", "value-2", "https://a.example/?token=value-3", "value-3"],
  ],
  ["an option without its word", 'args = ["--max", "--api-key"]\n', []],
  ["short words behind options", 'args = ["--api-key", "short", "--token=short"]\n', []],
  ["words of a shell", `args = ["-c", "TOKEN=value-1 a --key 'value-2 3'"]\n`, [
    "value-1 a --key 'value-2 3'",
    "value-1",
    "value-2 3",
  ]],
  ["addresses in arguments", 'args = ["https://a.example/mcp", "https://a.example/?a=b&token=value-1"]\n', [
    "https://a.example/?a=b&token=value-1",
    "value-1",
  ]],
  ["an MCP server's arguments", `${MCP}command = "fs"\nargs = ["--header", "Authorization: Bearer 1"]\n`, [
    "Bearer 1",
  ]],
  ["variables of other tables", '[discord]\ntoken = "${BOT_TOKEN}"\n', [], { BOT_TOKEN: "value-1" }],
  ["one value twice", 'args = ["${API_KEY}"]\nenv = { KEY = "${API_KEY}" }\n', ["value-1"], {
    API_KEY: "value-1",
  }],
];

for (const [name, lines, secrets, env] of CASES) {
  Deno.test(`secretsOf: ${name}`, () => {
    assertEquals(secretsWith(lines, env), secrets);
  });
}

Deno.test("secretsOf: words of the command of variables and flags", () => {
  const said = { OPENAB_AGENT_COMMAND: "env GH_TOKEN=value-1 agent --api-key value-2 --mode readonly" };
  for (const [env, flags] of [[said, {}], [{}, said]] as [Env, Env][]) {
    assertEquals(secretsOf(loadConfig({ env, flags }).config, {}), ["value-1", "value-2"]);
  }
});
