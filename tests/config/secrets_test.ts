import { assertEquals } from "@std/assert";
import { loadConfig } from "../../lib/config/load.ts";
import { collectSecrets } from "../../lib/config/secrets.ts";
import { createRedactor } from "../../lib/core/redact.ts";

type Env = Record<string, string>;

/** What is secret of an agent with these lines in its table. */
function secretsWith(lines: string, env: Env = {}): string[] {
  const own = { HOME: "/home/mao", NODE_ENV: "production", ...env };
  const text = `[agent]\ncommand = "a"\n${lines}`;
  return collectSecrets(loadConfig({ env: own, file: { path: "config.toml", text } }).config, own);
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
  [
    "addresses of other kinds",
    'args = ["postgresql://bob:value-1@db/x", "--to=redis://:value-2@h", "ws://u:p@h", "jdbc:x://a:value-3@b"]\n',
    [
      "postgresql://bob:value-1@db/x",
      "value-1",
      "redis://:value-2@h",
      "value-2",
      "ws://u:p@h",
      "x://a:value-3@b",
      "value-3",
    ],
  ],
  ["an address behind an option", 'args = ["--url", "postgresql://bob:value-1@db/x", "file:///a/b"]\n', [
    "postgresql://bob:value-1@db/x",
    "value-1",
  ]],
  [
    "an address with a password that is escaped",
    'args = ["amqp://bob:value%2F1@mq", "amqp://bob:%value-2@mq"]\n',
    [
      "amqp://bob:value%2F1@mq",
      "value%2F1",
      "value/1",
      "amqp://bob:%value-2@mq",
      "%value-2",
    ],
  ],
  [
    "pairs in pairs, up to a depth",
    `args = ["--env=URL=x://a:value-1@b", "--a=b=TOKEN=value-2", "${"a=".repeat(50_000)}TOKEN=value-3"]\n`,
    [
      "x://a:value-1@b",
      "value-1",
      "value-2",
    ],
  ],
  ["an address by a secret name", 'args = ["--auth=x://a:value-1@b"]\nenv = { KEY = "x://a:value-2@b" }\n', [
    "x://a:value-1@b",
    "value-1",
    "x://a:value-2@b",
    "value-2",
  ]],
  [
    "what is nearly an address",
    'args = ["mongodb://bob:value-1@a:1,b:2/x", "x://bob:value#2@h", "x://h:1,h:2/", "x://h:1,h:2/?token=value-3"]\n',
    [
      "mongodb://bob:value-1@a:1,b:2/x",
      "value-1",
      "x://bob:value#2@h",
      "value#2",
      "x://h:1,h:2/?token=value-3",
      "value-3",
    ],
  ],
  [
    "addresses in variables",
    'inherit_env = ["PROXY"]\nenv = { DATABASE_URL = "postgresql://bob:value-1@db/x", SITE = "https://a.example/" }\n',
    ["http://ann:value-2@p", "value-2", "postgresql://bob:value-1@db/x", "value-1"],
    { PROXY: "http://ann:value-2@p" },
  ],
  [
    "quotes",
    `args = ["-c", 'api_key="value-1"', "-c", "token='value-2'", '--key="value-3"', '--key', '"value-4"']\n`,
    [
      "value-1",
      "value-2",
      "value-3",
      "value-4",
    ],
  ],
  [
    "JSON",
    `args = ['{"apiKey":"value-1"}', '--json={"a":{"token": "value-2","b":"readable"},"keys":["value-3"]}']\n`,
    ["value-1", "value-2", "value-3"],
  ],
  ["JSON with a line in it", `args = ['{"private_key":"value-1\\nvalue-2"}']\n`, ["value-1\nvalue-2"]],
  ["JSON with an address", `args = ['{"max_tokens":3200000,"url":"redis://:value-1@h"}']\n`, [
    "redis://:value-1@h",
    "value-1",
  ]],
  ["TOML and programs", `args = ["x.y={ env = { TOKEN = 'value-1' } }", 'f({apiKey:"value-2"})']\n`, [
    "value-1",
    "value-2",
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
    assertEquals(collectSecrets(loadConfig({ env, flags }).config, {}), ["value-1", "value-2"]);
  }
});

const READABLE: [name: string, lines: string, words: string[], env?: Env][] = [
  ["an agent", 'args = ["--auth", "openab"]\n', ["openab"]],
  [
    "the name of a variable that is handed on",
    'args = ["--key", "OTHER_KEY"]\ninherit_env = ["OTHER_KEY"]\n',
    ["OTHER_KEY"],
  ],
  ["the name of a variable of the file", 'args = ["--key", "MY_WORDS", "${MY_WORDS}"]\n', ["MY_WORDS"], {
    MY_WORDS: "value-1",
  }],
  ["the name of a variable that is set", 'args = ["--key=NODE_ENV"]\n', ["NODE_ENV"]],
  ["the name of a variable that is not set", 'args = ["--api-key-env", "MY_API_KEY"]\n', ["MY_API_KEY"]],
  [
    "numbers",
    'args = ["--max-tokens", "32000000", "--max-tokens=1600000"]\nenv = { MAX_TOKENS = "6400000" }\n',
    [
      "32000000",
      "1600000",
      "6400000",
    ],
  ],
  [
    "files and kinds",
    'args = ["--token-file", "/home/mao/t", "--key-type=password-file", "--auth-method", "browser", "KEY_NAME=mao-key"]\n',
    ["/home/mao/t", "password-file", "browser", "mao-key"],
  ],
  [
    "kinds in JSON",
    `args = ['{"authMethods":["chatgpt"],"tokenType":"bearer-token","keyFile":"/home/mao/t"}']\n`,
    ["chatgpt", "bearer-token", "/home/mao/t"],
  ],
  ["files of variables", 'env = { TOKEN_FILE = "/home/mao/t" }\n', ["/home/mao/t"]],
];

for (const [name, lines, words, env] of READABLE) {
  Deno.test(`secretsOf: readable stays ${name}`, () => {
    const said = words.join(" and ");
    assertEquals(createRedactor(secretsWith(lines, env))(said), said);
  });
}

Deno.test("secretsOf: what may be a password is hidden, though it looks like something else", () => {
  assertEquals(
    secretsWith(
      'args = ["--password", "12345678", "--key=87654321", "--key", "/a/b/c/d", "--token", "PLAIN_WORD"]\n',
    ),
    ["12345678", "87654321", "/a/b/c/d", "PLAIN_WORD"],
  );
  const own = { lower_case: "x" };
  const { config } = loadConfig({ env: {}, flags: { OPENAB_AGENT_COMMAND: "a --key lower_case" } });
  assertEquals(collectSecrets(config, own), ["lower_case"]);
  // The key of this program is hidden whatever it is.
  assertEquals(secretsWith("", { VTUBER_AUTH_KEY: "openab" }), ["openab"]);
});
