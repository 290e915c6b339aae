import { assertEquals } from "@std/assert";
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
const NOT_TEXT = "must be a text";
const NOT_AGENT = "must be the table of an agent";
const WRONG_NAMES =
  "has 2 names that no variable can have: no spaces, and no =, which belongs outside of the quotes.";
/** Each message is compared from its beginning. */
const MISTAKES: [text: string, ...messages: string[]][] = [
  ["[agent\ncommand = 1", "line 1, column 7"],
  ["[agent]\ncommand = \n", "line 2, column 11"],
  ["[agent]\ncommand = claude\n", "line 2, column 11: invalid value (a text needs quotes"],
  [named("a") + named("a"), "line 3, column 2"],
  ["[agent]\ncommand = 7\n", `agent.command: ${NOT_TEXT}`],
  ["[agent]\ncommand = 2024-01-01\n", `agent.command: ${NOT_TEXT}`],
  [
    '[agent]\ncommand = ["a"]\n',
    `agent.command: ${NOT_TEXT}: the program alone, such as "npx"; its arguments go`,
  ],
  ['[agent]\ncommand = ""\n', "agent.command: cannot be empty."],
  ['[agent]\nargs = "acp"\n', "agent.args: must be a list of texts"],
  ['[agent]\nargs = ["a", 1]\n', `agent.args.1: ${NOT_TEXT}`],
  ["[agent]\nenv = { PORT = 8080 }\n", `agent.env.PORT: ${NOT_TEXT}: put it in quotes`],
  ['[agent]\nenv = [{ name = "A" }]\n', "agent.env: must be a table of texts by name"],
  ["[agent]\nenv = 2024-01-01\n", "agent.env: must be a table"],
  ['[agent]\ninherit_env = "A,B"\n', "agent.inherit_env: must be a list of names"],
  ['[agent]\nworking_dir = ""\n', "agent.working_dir: cannot be empty"],
  ["[agent]\nmode = 1\n", `agent.mode: ${NOT_TEXT}`],
  ['[agent]\npermissions = "never"\n', "agent.permissions: must be one of ask, allow, deny."],
  ["[agent]\nmcp_servers = 2024-01-01\n", "agent.mcp_servers: must be tables"],
  ['[agents.codex]\nargs = ["a"]\n', "agents.codex.command: is required: the agent's program."],
  ["[agents.codex]\ncommand = 7\n", `agents.codex.command: ${NOT_TEXT}`],
  ['[agents]\ncommand = "a"\n', `agents.command: ${NOT_AGENT}`],
  ["[agents]\ncodex = 1\n", `agents.codex: ${NOT_AGENT}`],
  ['[[agents]]\ncommand = "a"\n', "agents: must be tables by name"],
  ["agents = 2024-01-01\n", "agents: must be tables by name"],
  ['agent = "opencode"\n', `agent: ${NOT_AGENT}`],
  ["agent = 2024-01-01\n", `agent: ${NOT_AGENT}`],
  ['[[agent]]\ncommand = "a"\n', `agent: ${NOT_AGENT}`],
  [named("Default"), "agents.Default: no agent can have the name Default"],
  [named("Codex") + named("codex"), "agents.codex: this name also means Codex"],
  [named("__proto__"), "agents.__proto__: nothing can have the name __proto__."],
  ['[agent.env]\n__proto__ = "a"\n', "agent.env.__proto__: nothing can have the name"],
  [MANY, "agents: there can be at most 50."],
  ...["a/b", "a@b", "", "-a", ".a", "a b", "\u00e9", "a".repeat(65)]
    .map((name): [string, string] => [named(name), `agents.${name}: the name of an agent begins with`]),
  ...["", "foo bar", "A=B", " A", "A\\u0000"]
    .map((name): [string, string] => [inherit(name), "agent.inherit_env.1: must be the name of a variable"]),
  ...["", "foo bar", "A=B", "A\\u0000"]
    .map((name): [string, string] => [set(name), "agent.env: has a name that no variable can have"]),
  ['[agent]\nenv = {A=1, "B C"="x", "K=y"="z"}\n', `agent.env.A: ${NOT_TEXT}`, `agent.env: ${WRONG_NAMES}`],
  ["[agent]\ncommand = 7\nargs = 8\ninherit_env = 9\n", "agent.command", "agent.args", "agent.inherit_env"],
  ['[agent]\ncommand = "${NOPE}/agent"\n', "agent.command: ${NOPE} is not set."],
  [
    '[agent]\nargs = ["${X}", "${constructor}"]\n',
    "agent.args.0: ${X} is not set.",
    "agent.args.1: ${constructor} is not set.",
  ],
  [
    '[agents."b c"]\nargs = ["x"]\n[agents.d]\nmcp_servers = 3\n[agent]\ncommand = 7\n',
    "agent.command",
    "agents.b c: ",
    "agents.b c.command",
    "agents.d.mcp_servers",
    "agents.d.command",
  ],
];

checkMistakes(MISTAKES);

function checkMistakes(table: typeof MISTAKES): void {
  for (const [text, ...messages] of table) {
    Deno.test(`readAgentTables: the mistakes of ${JSON.stringify(text.slice(0, 80))}`, () => {
      assertEquals(
        read(text).mistakes.map((mistake, index) => mistake.slice(0, `my.toml: ${messages[index]}`.length)),
        messages.map((message) => `my.toml: ${message}`),
      );
    });
  }
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

const AT = "agent.mcp_servers";
const SERVER_MISTAKES: [text: string, ...messages: string[]][] = [
  [
    '[agent]\nmcp_servers = "mcp-fs"\n',
    `${AT}: must be tables by name, or a list of tables that have a name.`,
  ],
  ['[agent.mcp_servers]\nfs = "mcp-fs"\n', `${AT}.fs: must be a table with a command or with a url.`],
  ['[agent.mcp_servers]\nfs = ["mcp-fs"]\n', `${AT}.fs: must be a table`],
  [fs(""), `${AT}.fs: must have a command or a url.`],
  [fs('command = "a"\nurl = "https://a"'), `${AT}.fs: must have a command or a url, not both.`],
  [fs("command = 7"), `${AT}.fs.command: ${NOT_TEXT}`],
  [fs('command = ["npx", "a"]'), `${AT}.fs.command: ${NOT_TEXT}: the program alone`],
  [fs('command = ""'), `${AT}.fs.command: cannot be empty.`],
  [fs('command = "a"\nargs = "b"'), `${AT}.fs.args: must be a list`],
  [fs('command = "a"\nargs = ["b", 1]'), `${AT}.fs.args.1: ${NOT_TEXT}`],
  [fs('command = "a"\nenv = [{ name = "A" }]'), `${AT}.fs.env: must be a table of texts by name, such as`],
  [
    fs('command = "a"\nenv = { A = 1, "B C" = "x", "K=y" = "z" }'),
    `${AT}.fs.env.A: ${NOT_TEXT}`,
    `${AT}.fs.env: has 2`,
  ],
  [fs('command = "a"\ntype = "http"'), `${AT}.fs.type: must be "stdio"`],
  [web('url = "https://a"\ntype = "stdio"'), `${AT}.web.type: must be "http" or "sse"`],
  [web("url = 7"), `${AT}.web.url: ${NOT_TEXT}`],
  [web('url = "mcp.example"'), `${AT}.web.url: must be an address`],
  [web('url = "file:///etc"'), `${AT}.web.url: must be an address`],
  [web('url = "https://a"\nheaders = { X = 1 }'), `${AT}.web.headers.X: ${NOT_TEXT}`],
  [inList('command = "a"'), `${AT}.0.name: is required: the name of the server.`],
  [inList('name = ""\ncommand = "a"'), `${AT}.0.name: is required`],
  [inList('name = "fs"\ncommand = "a"').repeat(2), `${AT}.fs: two servers have this name.`],
  [times(51), `${AT}: there can be at most 50.`],
  [fs("command = 1") + web("url = 2"), `${AT}.fs.command`, `${AT}.web.url`],
];

checkMistakes(SERVER_MISTAKES);
