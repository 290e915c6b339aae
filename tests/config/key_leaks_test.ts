import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { ConfigError, loadConfig, type Loaded } from "../../lib/config/load.ts";

type Env = Record<string, string>;

function load(text: string, env: Env): Loaded {
  return loadConfig({
    env: { HOME: "/home/mao", ...env },
    ...text && { file: { path: "config.toml", text } },
  });
}

function mistakesOf(text: string, env: Env): readonly string[] {
  return assertThrows(() => load(text, env), ConfigError).mistakes;
}

const OWN = '[agent]\ncommand = "own"\n';
const CODEX = '[agents.codex]\ncommand = "codex-acp"\n';
const KEY = "s3cret-key-of-twenty/+";
const AT = "${VTUBER_AUTH_KEY}";
const FS = `${CODEX}[agents.codex.mcp_servers.fs]\n`;
const WEB = `${OWN}[agent.mcp_servers.web]\n`;
const LEAKS: [name: string, fields: string, text: string, env?: Env][] = [
  ["by the name", "inherit_env of the agent openab", `${OWN}inherit_env = ["VTUBER_AUTH_KEY"]\n`],
  [
    "by the name in lower case",
    "inherit_env of the agent openab",
    `${OWN}inherit_env = ["vtuber_auth_key"]\n`,
  ],
  ["by the name in the environment", "inherit_env of the agent openab", "", {
    OPENAB_AGENT_INHERIT_ENV: "TZ,VTUBER_AUTH_KEY",
  }],
  ["by another name", "inherit_env of the agent openab", `${OWN}inherit_env = ["OTHER"]\n`, { OTHER: KEY }],
  ["by another name, within more", "inherit_env of the agent openab", `${OWN}inherit_env = ["other"]\n`, {
    OTHER: `Bearer ${KEY}`,
  }],
  [
    "to another agent by the name",
    "inherit_env of the agent codex",
    `${CODEX}inherit_env = ["VTUBER_AUTH_KEY"]\n`,
  ],
  ["in the command of the environment", "args of the agent openab", "", { OPENAB_AGENT_COMMAND: `a ${KEY}` }],
  ["as the command", "command of the agent openab", `[agent]\ncommand = "/bin/${KEY}"\n`],
  ["as the folder", "working_dir of the agent openab", `${OWN}working_dir = "/tmp/${KEY}"\n`],
  [
    "as the mode and the model",
    "mode and model of the agent openab",
    `${OWN}mode = "${KEY}"\nmodel = "${KEY}"\n`,
  ],
  ["by the value", "env of the agent openab", `${OWN}env = { TOKEN = "${KEY}" }\n`],
  ["by the value, within another", "env of the agent openab", `${OWN}env = { TOKEN = "Bearer ${KEY}" }\n`],
  ["by another variable's value", "env of the agent openab", OWN + 'env = { TOKEN = "${OTHER}" }\n', {
    OTHER: KEY,
  }],
  ["as the name of a variable", "env of the agent openab", `${OWN}env = { "${KEY}" = "1" }\n`],
  ["as an argument", "args of the agent openab", `${OWN}args = ["--key", "${KEY}"]\n`],
  ["to another agent", "args of the agent codex", `${OWN}${CODEX}args = ["${KEY}"]\n`],
  [
    "as an MCP server's command",
    "mcp_servers.fs.command of the agent codex",
    `${FS}command = "${KEY}"\n`,
  ],
  [
    "as an argument of an MCP server",
    "mcp_servers.fs.args of the agent codex",
    `${FS}command = "fs"\nargs = ["${KEY}"]\n`,
  ],
  [
    "as a variable of an MCP server",
    "mcp_servers.fs.env of the agent codex",
    `${FS}command = "fs"\nenv = { A = "${KEY}" }\n`,
  ],
  [
    "as the name of a variable of an MCP server",
    "mcp_servers.fs.env of the agent codex",
    `${FS}command = "fs"\nenv = { "${KEY}" = "a" }\n`,
  ],
  [
    "as the name of an MCP server",
    "mcp_servers of the agent codex",
    `${CODEX}[agents.codex.mcp_servers."${KEY}"]\ncommand = "${KEY}"\n`,
  ],
  [
    "in the address of an MCP server",
    "mcp_servers.web.url of the agent openab",
    `${WEB}url = "https://a.example/?key=${KEY}"\n`,
  ],
  [
    "in the address of an MCP server, encoded",
    "mcp_servers.web.url of the agent openab",
    `${WEB}url = "https://a.example/?key=${encodeURIComponent(KEY)}"\n`,
  ],
  [
    "in a header of an MCP server",
    "mcp_servers.web.headers of the agent openab",
    `${WEB}url = "https://a.example"\nheaders = { Authorization = "Bearer ${KEY}" }\n`,
  ],
  [
    "as the name of a header",
    "mcp_servers.web.headers of the agent openab",
    `${WEB}url = "https://a.example"\nheaders = { "${KEY}" = "1" }\n`,
  ],
  [
    "in several ways",
    "args and env of the agent openab",
    `${OWN}args = ["${KEY}"]\nenv = { A = "${KEY}", "${KEY}" = "" }\n`,
  ],
];

for (const [name, fields, text, env] of LEAKS) {
  Deno.test(`agents: the key may not be handed to one ${name}`, () => {
    assertEquals(mistakesOf(text, { VTUBER_AUTH_KEY: KEY, ...env }), [
      `VTUBER_AUTH_KEY may not be handed to an agent: take it out of ${fields}.`,
    ]);
  });
}

Deno.test("agents: the key's variable may stand nowhere in their tables, however short the key is", () => {
  const places: [path: string, text: string][] = [
    ["agent.command", `[agent]\ncommand = "/bin/${AT}"\n`],
    ["agent.args.1", `${OWN}args = ["--key", "${AT}"]\n`],
    ["agent.env.TOKEN", `${OWN}env = { TOKEN = "Bearer ${AT}" }\n`],
    ["agents.codex.mcp_servers.fs.args.0", `${FS}command = "fs"\nargs = ["${AT}"]\n`],
    ["agent.mcp_servers.web.url", `${WEB}url = "https://a.example/?key=${AT}"\n`],
  ];
  for (const [path, text] of places) {
    for (const key of [KEY, "acp"]) {
      assertEquals(mistakesOf(text, { VTUBER_AUTH_KEY: key }), [
        `config.toml: ${path}: VTUBER_AUTH_KEY may not be handed to an agent: take ${AT} out.`,
      ]);
    }
  }
});

Deno.test("agents: a short key is looked for where values are, and only as a whole", () => {
  const key = { VTUBER_AUTH_KEY: "acp" };
  const well =
    `[agent]\ncommand = "acp"\nargs = ["acp", "--acp"]\nmode = "acp"\nenv = { KIND = "acp-x", acp = "1" }\n`;
  assertEquals(load(well, key).config.agents[0]?.args, ["acp", "--acp"]);
  assertMatch(mistakesOf(`${OWN}env = { TOKEN = "acp" }\n`, key)[0]!, /out of env of the agent openab\.$/);
  assertMatch(mistakesOf(`${OWN}inherit_env = ["A"]\n`, { ...key, A: "acp" })[0]!, /out of inherit_env of/);
  assertMatch(mistakesOf(`${FS}command = "fs"\nenv = { A = "acp" }\n`, key)[0]!, /mcp_servers\.fs\.env of/);
});

Deno.test("agents: a leak is told with what is wrong with a table, the same or another", () => {
  const env = `env = { TOKEN = "${KEY}" }\n`;
  const fs = `${FS}command = "fs"\nargs = 7\n${env}`;
  const cases: [agent: string, field: string, text: string][] = [
    ["openab", "env", `${OWN}args = 7\n${env}`],
    ["codex", "env", `[agent]\ncommand = 7\n${CODEX}${env}`],
    ["codex", "mcp_servers.fs.env", fs],
  ];
  for (const [agent, field, text] of cases) {
    const [wrong, leak, ...more] = mistakesOf(text, { VTUBER_AUTH_KEY: KEY });
    assertMatch(wrong!, /^config\.toml: /);
    assertEquals([leak, ...more], [
      `VTUBER_AUTH_KEY may not be handed to an agent: take it out of ${field} of the agent ${agent}.`,
    ]);
  }
});

Deno.test("agents: no mistake tells the key", () => {
  const env = { VTUBER_AUTH_KEY: KEY, GATEWAY_LISTEN: "x", VTUBER_LOG: "y" };
  for (
    const text of [
      "[agent",
      `[agent]\ncommand = 7\nargs = ["${AT}"]\n`,
      `[agents.a]\ncommand = "a"\nprocesses = "${AT}"\nmcp_servers = "${AT}"\n`,
    ]
  ) {
    assertEquals(mistakesOf(text, env).join().includes(KEY), false);
  }
});
