import { assertEquals, assertMatch } from "@std/assert";
import type { McpServer } from "../../lib/acp/wire.ts";
import { type AgentTable, EMPTY_TABLE, NO_TABLES, readAgentTables } from "../../lib/config/agent_table.ts";
import type { Problems } from "../../lib/config/file.ts";
import type { Env } from "../support/harness/config_fixture.ts";

function read(text: string, env: Env = {}) {
  const problems: Problems = { mistakes: [], warnings: [] };
  const { agent, agents, variables } = readAgentTables({ path: "my.toml", text }, env, problems);
  return { agent: agent && defined(agent), agents, variables, ...problems };
}

/** An object without its undefined properties. */
function defined(table: AgentTable): Partial<AgentTable> {
  return Object.fromEntries(Object.entries(table).filter(([, value]) => value !== undefined));
}

const ENV = { BIN: "/opt/bin", NAME: "mao", EMPTY: "", A: "${B}", B: "b" };
const EVERYTHING = `
[agent]
command = "a"
args = ["b c", "d"]
working_dir = "/w"
env = { X = "1", Y = "2" }
inherit_env = ["Z"]
mode = "plan"
model = "gpt-5/high"
permissions = "deny"
[agent.mcp_servers.fs]
command = "mcp-fs"
`;
const READ: [name: string, text: string, table: Partial<AgentTable>, variables?: string[]][] = [
  ["an empty table", "[agent]\n", {}],
  ["everything", EVERYTHING, {
    command: "a",
    args: ["b c", "d"],
    working_dir: "/w",
    env: { X: "1", Y: "2" },
    inherit_env: ["Z"],
    mode: "plan",
    model: "gpt-5/high",
    permissions: "deny",
    mcp_servers: [{ name: "fs", command: "mcp-fs", args: [], env: [] }],
  }],
  ["variables", '[agent]\ncommand = "${BIN}/a"\nargs = ["${NAME}-${NAME}"]\nenv = { X = "${NAME}" }\n', {
    command: "/opt/bin/a",
    args: ["mao-mao"],
    env: { X: "mao" },
  }, ["BIN", "NAME"]],
  ["a variable that is empty", '[agent]\nargs = ["<${EMPTY}>"]\n', { args: ["<>"] }, ["EMPTY"]],
  ["a variable's value is not expanded again", '[agent]\ncommand = "${A}"\n', { command: "${B}" }, ["A"]],
  ["an empty mode and model", '[agent]\nmode = "${EMPTY}"\nmodel = " "\n', {}, ["EMPTY"]],
  ["texts that are not variables", '[agent]\nargs = ["$NAME", "${}", "${a-b}", "$${NAME}"]\n', {
    args: ["$NAME", "${}", "${a-b}", "$mao"],
  }, ["NAME"]],
  [
    "names of variables as systems have them",
    '[agent]\ninherit_env = ["ProgramFiles(x86)", "a.b-c", "_"]\n',
    {
      inherit_env: ["ProgramFiles(x86)", "a.b-c", "_"],
    },
  ],
  [
    "variables of other tables are left alone",
    '[discord]\ntoken = "${TOKEN}"\nsince = 2024-01-01\n[agent]\n',
    {},
  ],
  ["other tables of OpenAB", "[agent]\n[discord]\n[pool]\n[reactions.emojis]\n[slack]\n[gateway]\n", {}],
];

for (const [name, text, table, variables = []] of READ) {
  Deno.test(`readAgentTables: ${name}`, () => {
    const expected = { ...EMPTY_TABLE, ...table };
    assertEquals(read(text, ENV), {
      agent: expected,
      agents: new Map(),
      variables,
      mistakes: [],
      warnings: [],
    });
  });
}

Deno.test("readAgentTables: named agents in the file's order, also with names that objects have", () => {
  const names = ["codex", "claude-4_5.x", "toString", "constructor"];
  const text = names.map((name) => `[agents."${name}"]\ncommand = "\${BIN}/${name}"\n`).join("");
  const { agents, mistakes, warnings } = read(`${text}[agent]\ncommand = "opencode"\n`, ENV);
  assertEquals([mistakes, warnings], [[], []]);
  assertEquals(
    [...agents].map(([name, { command }]) => [name, command]),
    names.map((name) => [name, `/opt/bin/${name}`]),
  );
});

Deno.test("readAgentTables: the keys without a mistake are read; a wrong command is empty, not missing", () => {
  const { agent } = read('[agent]\ncommand = "a"\nargs = 1\nmode = "x"\nenv = { A = 1 }\n');
  assertEquals(agent, { ...EMPTY_TABLE, command: "a", mode: "x" });
  assertEquals(read("[agent]\ncommand = 7\n").agent?.command, "");
});

Deno.test("readAgentTables: no agent is read if there is no table where there should be one", () => {
  for (const text of ['agent = "a"\n', "[agents]\na = 1\n", '[agents]\ncommand = "a"\n', "agents = 1\n"]) {
    for (const more of ["", '[agents.codex]\ncommand = "a"\n']) {
      const { agent, agents } = read(text + more);
      assertEquals({ agent, agents, variables: [] }, NO_TABLES);
    }
  }
});

const named = (name: string) => `[agents."${name}"]\ncommand = "a"\n`;
const inherit = (name: string) => `[agent]\ninherit_env = ["A", "${name}"]\n`;
const set = (name: string) => `[agent]\nenv = { A = "1", "${name}" = "2" }\n`;
const MANY = Array.from({ length: 51 }, (_, n) => named(`a${n}`)).join("");
const NO_TEXT = "must be a text";
const NO_AGENT = "must be the table of an agent";
const NO_NAME = "has a name that no variable can have";
/** Each message is compared from its beginning. */
const MISTAKES: [name: string, text: string, messages: string[]][] = [
  ["broken TOML", "[agent\ncommand = 1", ["line 1, column 7"]],
  ["a missing value", "[agent]\ncommand = \n", ["line 2, column 11"]],
  ["a text without quotes", "[agent]\ncommand = claude\n", [
    "line 2, column 11: invalid value (a text needs quotes",
  ]],
  ["a table twice", named("a") + named("a"), ["line 3, column 2"]],
  ["a command that is a number", "[agent]\ncommand = 7\n", [`agent.command: ${NO_TEXT}`]],
  ["a command that is a date", "[agent]\ncommand = 2024-01-01\n", [`agent.command: ${NO_TEXT}`]],
  ["a command that is a list", '[agent]\ncommand = ["a"]\n', [
    `agent.command: ${NO_TEXT}: the program alone, such as "npx"; its arguments go into args.`,
  ]],
  ["an empty command", '[agent]\ncommand = ""\n', ["agent.command: cannot be empty."]],
  ["arguments that are a text", '[agent]\nargs = "acp"\n', ["agent.args: must be a list of texts"]],
  ["an argument that is a number", '[agent]\nargs = ["a", 1]\n', [`agent.args.1: ${NO_TEXT}`]],
  ["a variable that is a number", "[agent]\nenv = { PORT = 8080 }\n", [
    `agent.env.PORT: ${NO_TEXT}: put it in quotes`,
  ]],
  ["variables in a list", '[agent]\nenv = [{ name = "A" }]\n', [
    "agent.env: must be a table of texts by name",
  ]],
  ["variables that are a date", "[agent]\nenv = 2024-01-01\n", ["agent.env: must be a table"]],
  ["names to inherit that are a text", '[agent]\ninherit_env = "A,B"\n', [
    "agent.inherit_env: must be a list of names",
  ]],
  ["an empty folder", '[agent]\nworking_dir = ""\n', ["agent.working_dir: cannot be empty"]],
  ["a mode that is a number", "[agent]\nmode = 1\n", [`agent.mode: ${NO_TEXT}`]],
  ["an unknown policy", '[agent]\npermissions = "never"\n', [
    "agent.permissions: must be one of ask, allow, deny.",
  ]],
  ["MCP servers that are a date", "[agent]\nmcp_servers = 2024-01-01\n", [
    "agent.mcp_servers: must be tables",
  ]],
  ["an agent without a command", '[agents.codex]\nargs = ["a"]\n', [
    "agents.codex.command: is required: the agent's",
  ]],
  ["a named agent whose command is a number", "[agents.codex]\ncommand = 7\n", [
    `agents.codex.command: ${NO_TEXT}`,
  ]],
  ["an agent's key in [agents]", '[agents]\ncommand = "a"\n', [`agents.command: ${NO_AGENT}`]],
  ["agents that are numbers", "[agents]\ncodex = 1\n", [`agents.codex: ${NO_AGENT}`]],
  ["agents that are a list", '[[agents]]\ncommand = "a"\n', ["agents: must be tables by name"]],
  ["agents that are a date", "agents = 2024-01-01\n", ["agents: must be tables by name"]],
  ["an agent that is a text", 'agent = "opencode"\n', [`agent: ${NO_AGENT}`]],
  ["an agent that is a date", "agent = 2024-01-01\n", [`agent: ${NO_AGENT}`]],
  ["an agent that is a list", '[[agent]]\ncommand = "a"\n', [`agent: ${NO_AGENT}`]],
  ["the reserved name", named("Default"), ["agents.Default: no agent can have the name Default"]],
  ["a name in other letters", named("Codex") + named("codex"), ["agents.codex: this name also means Codex"]],
  ["the name __proto__", named("__proto__"), ["agents.__proto__: nothing can have the name __proto__."]],
  ["a variable called __proto__", '[agent.env]\n__proto__ = "a"\n', [
    "agent.env.__proto__: nothing can have the name",
  ]],
  ["more agents than the limit", MANY, ["agents: there can be at most 50."]],
  ...["a/b", "a@b", "", "-a", ".a", "a b", "\u00e9", "a".repeat(65)].map((
    name,
  ): [string, string, string[]] => [
    `the name ${JSON.stringify(name)}`,
    named(name),
    [`agents.${name}: the name of an agent begins with`],
  ]),
  ...["", "foo bar", "A=B", " A", "A\\u0000"].map((name): [string, string, string[]] => [
    `to inherit ${JSON.stringify(name)}`,
    inherit(name),
    ["agent.inherit_env.1: must be the name of a variable"],
  ]),
  ...["", "foo bar", "A=B", "A\\u0000"].map((name): [string, string, string[]] => [
    `to set ${JSON.stringify(name)}`,
    set(name),
    [`agent.env: ${NO_NAME}`],
  ]),
  ["wrong names and wrong values of variables", '[agent]\nenv = {A=1, "B C"="x", "K=sekret"="y"}\n', [
    `agent.env.A: ${NO_TEXT}`,
    "agent.env: has 2 names that no variable can have: no spaces, and no =, which belongs outside of the quotes.",
  ]],
  ["several mistakes", "[agent]\ncommand = 7\nargs = 8\ninherit_env = 9\n", [
    "agent.command",
    "agent.args",
    "agent.inherit_env",
  ]],
  ["a variable that is not set", '[agent]\ncommand = "${NOPE}/agent"\n', [
    "agent.command: ${NOPE} is not set.",
  ]],
  ["variables that are not set", '[agent]\nargs = ["${X}", "${constructor}"]\n', [
    "agent.args.0: ${X} is not set.",
    "agent.args.1: ${constructor} is not set.",
  ]],
  [
    "mistakes in several tables",
    '[agents."b c"]\nargs = ["x"]\n[agents.d]\nmcp_servers = 3\n[agent]\ncommand = 7\n',
    [
      "agent.command",
      "agents.b c: ",
      "agents.b c.command",
      "agents.d.mcp_servers",
      "agents.d.command",
    ],
  ],
];

for (const [name, text, messages] of MISTAKES) {
  Deno.test(`readAgentTables: ${name} is a mistake`, () => {
    const { mistakes } = read(text);
    assertEquals(
      mistakes.map((mistake, index) => mistake.slice(0, `my.toml: ${messages[index]}`.length)),
      messages.map((message) => `my.toml: ${message}`),
    );
  });
}

const UNKNOWN = "is not a setting of this version.";
const NO_AGENTS = "the file has neither [agent] nor [agents]: it describes no agent.";
const WARNINGS: [text: string, warnings: string[]][] = [
  ["", [NO_AGENTS]],
  ["[discord]\ntoken = 'x'\n", [NO_AGENTS]],
  ["[agnet]\n", ["agnet is not read. Did you mean agent?", NO_AGENTS]],
  ["[Agents.codex]\n", ["Agents is not read. Did you mean agents?", NO_AGENTS]],
  ["[agent]\n[agentss.a]\n", ["agentss is not read. Did you mean agents?"]],
  ["command = 'a'\n", [
    "command is not read at the top of the file: put command into [agent] or [agents.NAME].",
    NO_AGENTS,
  ]],
  ["[agent]\n[mcpServers.a]\n", [
    "mcpServers is not read at the top of the file: put mcp_servers into [agent] or [agents.NAME].",
  ]],
  ["[agent]\n[events]\n[pool]\n[stt]\n[cron]\n[agenda]\n", []],
  ["[agent]\ntimeout = 5\ncomand = 'a'\nmcpServers = {}\n", [
    `agent.timeout ${UNKNOWN}`,
    `agent.comand ${UNKNOWN} Did you mean command?`,
    `agent.mcpServers ${UNKNOWN} Did you mean mcp_servers?`,
  ]],
  [
    "[agent.mcp_servers.fs]\ncommand = 'c'\ncwd = '/'\nheaders = {}\n[agent.mcp_servers.web]\nurl = 'http://a'\nenv = {}\n",
    [
      `agent.mcp_servers.fs.cwd ${UNKNOWN}`,
      `agent.mcp_servers.fs.headers ${UNKNOWN}`,
      `agent.mcp_servers.web.env ${UNKNOWN}`,
    ],
  ],
];

for (const [text, warnings] of WARNINGS) {
  Deno.test(`readAgentTables: ${JSON.stringify(text)} causes ${warnings.length} warnings`, () => {
    const found = read(text);
    assertEquals([found.mistakes, found.warnings], [[], warnings.map((warning) => `my.toml: ${warning}`)]);
  });
}

const FS: McpServer = { name: "fs", command: "mcp-fs", args: [], env: [] };
const WEB: McpServer = { type: "http", name: "web", url: "https://mcp.example/a", headers: [] };
const fs = (lines: string) => `[agent.mcp_servers.fs]\n${lines}\n`;
const web = (lines: string) => `[agent.mcp_servers.web]\n${lines}\n`;
const inList = (lines: string) => `[[agent.mcp_servers]]\n${lines}\n`;
const times = (count: number) =>
  Array.from({ length: count }, (_, n) => inList(`name = "${n}"\ncommand = "a"`)).join("");
const SERVERS: [name: string, text: string, servers: McpServer[]][] = [
  ["none", "[agent]\n", []],
  ["an empty list", "[agent]\nmcp_servers = []\n", []],
  ["an empty table", "[agent.mcp_servers]\n", []],
  ["a program", fs('command = "mcp-fs"'), [FS]],
  ["a program with its type", fs('type = "stdio"\ncommand = "mcp-fs"'), [FS]],
  [
    "a program with everything",
    fs('command = "mcp-fs"\nargs = ["--root", "/w"]\nenv = { TOKEN = "t", DEBUG = "" }'),
    [
      { ...FS, args: ["--root", "/w"], env: [{ name: "TOKEN", value: "t" }, { name: "DEBUG", value: "" }] },
    ],
  ],
  ["an address", web('url = "https://mcp.example/a"'), [WEB]],
  [
    "an address with everything",
    web('type = "sse"\nurl = "http://127.0.0.1:1/sse"\nheaders = { X = "Bearer t" }'),
    [
      {
        type: "sse",
        name: "web",
        url: "http://127.0.0.1:1/sse",
        headers: [{ name: "X", value: "Bearer t" }],
      },
    ],
  ],
  [
    "a list",
    inList('name = "web"\nurl = "https://mcp.example/a"') + inList('name = "fs"\ncommand = "mcp-fs"'),
    [WEB, FS],
  ],
  [
    "as many as the limit",
    times(50),
    Array.from({ length: 50 }, (_, n) => ({ ...FS, name: `${n}`, command: "a" })),
  ],
];

for (const [name, text, servers] of SERVERS) {
  Deno.test(`readAgentTables: MCP servers: ${name}`, () => {
    const { agent, mistakes, warnings } = read(text);
    assertEquals([agent?.mcp_servers, mistakes, warnings], [servers, [], []]);
  });
}

const SERVER_MISTAKES: [name: string, text: string, messages: RegExp[]][] = [
  ["a text", '[agent]\nmcp_servers = "mcp-fs"\n', [/: must be tables by name, or a list/]],
  ["a server that is a text", '[agent.mcp_servers]\nfs = "mcp-fs"\n', [
    /\.fs: must be a table with a command or/,
  ]],
  ["a server that is a list", '[agent.mcp_servers]\nfs = ["mcp-fs"]\n', [/\.fs: must be a table/]],
  ["an empty server", fs(""), [/\.fs: must have a command or a url\.$/]],
  ["a server of both kinds", fs('command = "a"\nurl = "https://a"'), [/\.fs: .* not both\.$/]],
  ["a command that is a number", fs("command = 7"), [/\.fs\.command: must be a text/]],
  ["a command that is a list", fs('command = ["npx", "a"]'), [/\.fs\.command: must be a text: .*into args/]],
  ["an empty command", fs('command = ""'), [/\.fs\.command: cannot be empty\.$/]],
  ["arguments that are a text", fs('command = "a"\nargs = "b"'), [/\.fs\.args: must be a list/]],
  ["an argument that is a number", fs('command = "a"\nargs = ["b", 1]'), [/\.fs\.args\.1: must be a text/]],
  ["variables as ACP lists them", fs('command = "a"\nenv = [{ name = "A" }]'), [
    /\.fs\.env: must be a table of texts/,
  ]],
  ["wrong variables", fs('command = "a"\nenv = { PORT = 1, "B C" = "x", "K=y" = "z" }'), [
    /\.fs\.env\.PORT: must be a text/,
    /\.fs\.env: has 2 names that no variable can have/,
  ]],
  ["a wrong type of a program", fs('command = "a"\ntype = "http"'), [/\.fs\.type: must be "stdio"/]],
  ["a wrong type of an address", web('url = "https://a"\ntype = "stdio"'), [
    /\.web\.type: must be "http" or "sse"/,
  ]],
  ["an address that is a number", web("url = 7"), [/\.web\.url: must be a text/]],
  ["an address that is none", web('url = "mcp.example"'), [/\.web\.url: must be an address/]],
  ["an address of another scheme", web('url = "file:///etc"'), [/\.web\.url: must be an address/]],
  ["a header that is a number", web('url = "https://a"\nheaders = { X = 1 }'), [
    /\.web\.headers\.X: must be a text/,
  ]],
  ["a list without a name", inList('command = "a"'), [/\.mcp_servers\.0\.name: is required/]],
  ["a list with an empty name", inList('name = ""\ncommand = "a"'), [/\.mcp_servers\.0\.name: is required/]],
  ["a list with a name twice", inList('name = "fs"\ncommand = "a"').repeat(2), [
    /\.fs: two servers have this name\.$/,
  ]],
  ["more than the limit", times(51), [/\.mcp_servers: there can be at most 50\.$/]],
  ["several mistakes", fs("command = 1") + web("url = 2"), [/\.fs\.command: /, /\.web\.url: /]],
];

for (const [name, text, messages] of SERVER_MISTAKES) {
  Deno.test(`readAgentTables: MCP servers: ${name} is a mistake`, () => {
    const { mistakes } = read(text);
    assertEquals(mistakes.length, messages.length, mistakes.join("\n"));
    messages.forEach((message, index) => assertMatch(mistakes[index]!, message));
  });
}
