import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { ConfigError, type ConfigSource, loadConfig } from "../../lib/config/load.ts";

type Env = Record<string, string>;

function load(text: string, env: Env = {}, flags: Env = {}) {
  return loadConfig(source(text, env, flags));
}

function mistakesOf(text: string, env: Env = {}, flags: Env = {}): readonly string[] {
  return assertThrows(() => load(text, env, flags), ConfigError).mistakes;
}

function source(text: string, env: Env, flags: Env): ConfigSource {
  return { env: { HOME: "/home/mao", ...env }, flags, ...text && { file: { path: "config.toml", text } } };
}

const OWN = '[agent]\ncommand = "own"\n';
const CODEX = '[agents.codex]\ncommand = "codex-acp"\n';
const CLAUDE = '[agents.claude]\ncommand = "claude-acp"\n';

const CHOICES: [
  name: string,
  text: string,
  env: Env,
  agents: [name: string, command: string | undefined][],
][] = [
  ["nothing: the demo agent", "", {}, [["openab", undefined]]],
  ["nothing but a name: the demo agent", "", { VTUBER_DEFAULT_MODEL: "mao" }, [["mao", undefined]]],
  ["[agent]", OWN, {}, [["openab", "own"]]],
  ["[agent] with a name", OWN, { VTUBER_DEFAULT_MODEL: "mao" }, [["mao", "own"]]],
  ["a variable's agent", "", { OPENAB_AGENT_COMMAND: "goose acp" }, [["openab", "goose"]]],
  ["[agent] and others", CODEX + OWN + CLAUDE, {}, [
    ["openab", "own"],
    ["codex", "codex-acp"],
    ["claude", "claude-acp"],
  ]],
  ["a variable's agent and others", CODEX, { OPENAB_AGENT_COMMAND: "goose" }, [
    ["openab", "goose"],
    ["codex", "codex-acp"],
  ]],
  ["a variable's agent with a name, and others", CODEX, {
    OPENAB_AGENT_COMMAND: "goose",
    VTUBER_DEFAULT_MODEL: "goose",
  }, [["goose", "goose"], ["codex", "codex-acp"]]],
  ["only others: the first", CODEX + CLAUDE, {}, [["codex", "codex-acp"], ["claude", "claude-acp"]]],
  ["only others, one of them chosen", CODEX + CLAUDE, { VTUBER_DEFAULT_MODEL: "claude" }, [
    ["claude", "claude-acp"],
    ["codex", "codex-acp"],
  ]],
  ["another than [agent] chosen", OWN + CODEX + CLAUDE, { VTUBER_DEFAULT_MODEL: "claude" }, [
    ["claude", "claude-acp"],
    ["openab", "own"],
    ["codex", "codex-acp"],
  ]],
  ["only others, one of them called openab", CODEX + '[agents.openab]\ncommand = "a"\n', {}, [
    ["openab", "a"],
    ["codex", "codex-acp"],
  ]],
];

for (const [name, text, env, expected] of CHOICES) {
  Deno.test(`agents: ${name}`, () => {
    const { config, warnings } = load(text, env);
    assertEquals(config.agents.map(({ name, command }) => [name, command]), expected);
    assertEquals(config.model, expected[0]![0]);
    assertEquals(warnings, []);
  });
}

Deno.test("agents: [agent] without a command is no agent beside others, and that is told", () => {
  const { config, warnings } = load(`[agent]\nmode = "x"\n${CODEX}`);
  assertEquals(config.agents.map(({ name }) => name), ["codex"]);
  assertEquals(warnings.length, 1);
  assertMatch(warnings[0]!, /^\[agent\] has no command/);
});

Deno.test("agents: [agent] without a command, alone, is the demo agent, and that is told", () => {
  const { config, warnings } = load('[agent]\nmode = "x"\n');
  assertEquals(config.agents.map(({ name, command }) => [name, command]), [["openab", undefined]]);
  assertEquals(warnings, [
    "[agent] has no command, and OPENAB_AGENT_COMMAND is not set: it is the built-in demo agent.",
  ]);
  assertEquals(load('[agent]\nmode = "x"\n', { OPENAB_AGENT_COMMAND: "a" }).warnings, []);
});

Deno.test("agents: variables to hand on to [agent], where there is none, are warned of", () => {
  const [warning, ...more] = load(CODEX, { OPENAB_AGENT_INHERIT_ENV: "TZ" }).warnings;
  assertEquals(more, []);
  assertMatch(warning!, /^OPENAB_AGENT_INHERIT_ENV has no effect: .*inherit_env/);
  assertEquals(load(OWN + CODEX, { OPENAB_AGENT_INHERIT_ENV: "TZ" }).warnings, []);
});

Deno.test("agents: a default that nobody is, where only others are, is a mistake that names them", () => {
  assertEquals(mistakesOf(CODEX + CLAUDE, { VTUBER_DEFAULT_MODEL: "gpt" }), [
    "VTUBER_DEFAULT_MODEL: there is no agent gpt; there are codex, claude.",
  ]);
  assertEquals(mistakesOf(CODEX, {}, { VTUBER_DEFAULT_MODEL: "gpt" }).length, 1);
});

Deno.test("agents: two of one name are a mistake", () => {
  const text = `${OWN}[agents.openab]\ncommand = "a"\n`;
  for (const env of [{}, { VTUBER_DEFAULT_MODEL: "openab" }] as Env[]) {
    const [mistake, ...more] = mistakesOf(text, env);
    assertEquals(more, []);
    assertMatch(mistake!, /^Two agents are called openab: /);
  }
  assertEquals(load(text, { VTUBER_DEFAULT_MODEL: "mao" }).config.agents.map(({ name }) => name), [
    "mao",
    "openab",
  ]);
});

const TWO = `
[agent]
command = "own"
inherit_env = ["A"]
working_dir = "/own"
permissions = "allow"
[agents.codex]
command = "codex-acp"
args = ["-x"]
working_dir = "work"
env = { B = "b" }
inherit_env = ["C"]
mode = "plan"
model = "gpt-5"
processes = 3
permissions = "deny"
[[agents.codex.mcp_servers]]
name = "web"
url = "https://mcp.example"
[agents.claude]
command = "claude-acp"
`;

Deno.test("agents: each has what its table says", () => {
  const [own, codex, claude] = load(TWO).config.agents;
  assertEquals(own?.permissions, "allow");
  assertEquals(codex, {
    name: "codex",
    command: "codex-acp",
    args: ["-x"],
    workingDir: "work",
    env: { B: "b" },
    inheritEnv: ["C"],
    mcpServers: [{ type: "http", name: "web", url: "https://mcp.example", headers: [] }],
    mode: "plan",
    model: "gpt-5",
    processes: 3,
    permissions: "deny",
  });
  assertEquals([claude?.workingDir, claude?.permissions, claude?.processes], [".", "ask", 1]);
});

Deno.test("agents: a variable wins over every table, a flag over both", () => {
  const env = { VTUBER_WORKING_DIR: "/env", VTUBER_PERMISSIONS: "ask" };
  const told = (flags: Env) =>
    load(TWO, env, flags).config.agents.map(({ workingDir, permissions }) => `${workingDir} ${permissions}`);
  assertEquals(told({}), ["/env ask", "/env ask", "/env ask"]);
  const flags = { VTUBER_WORKING_DIR: "/flag", VTUBER_PERMISSIONS: "deny" };
  assertEquals(told(flags), ["/flag deny", "/flag deny", "/flag deny"]);
});

Deno.test("agents: the command and the names of OpenAB's variables are about [agent] only", () => {
  const env = { OPENAB_AGENT_INHERIT_ENV: "TZ", OPENAB_AGENT_COMMAND: "goose acp" };
  const told = (flags: Env) =>
    load(TWO, env, flags).config.agents.map(({ command, args, inheritEnv }) => [command, args, inheritEnv]);
  const others = [["codex-acp", ["-x"], ["C"]], ["claude-acp", [], []]];
  assertEquals(told({}), [["own", [], ["A", "TZ"]], ...others]);
  assertEquals(told({ OPENAB_AGENT_COMMAND: "flag -f" }), [["flag", ["-f"], ["A", "TZ"]], ...others]);
});

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
