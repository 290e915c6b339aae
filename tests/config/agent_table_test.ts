import { assertEquals } from "@std/assert";
import type { McpServer } from "../../lib/acp/wire.ts";
import { type AgentTable, EMPTY_TABLE, readAgentTables } from "../../lib/config/agent_table.ts";
import { openConfigFile, type Problems } from "../../lib/config/config_file.ts";
import type { Env } from "../support/harness/config_fixture.ts";

function read(text: string, env: Env = {}) {
  const problems: Problems = { mistakes: [], warnings: [] };
  const reader = openConfigFile({ path: "my.toml", text }, env, problems);
  const { agent, agents } = readAgentTables(reader, new Map());
  // Leave out undefined keys.
  return { agent: agent && JSON.parse(JSON.stringify(agent)), agents, ...problems };
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
const READ: [name: string, text: string, table: Partial<AgentTable>][] = [
  ["an empty table", "[agent]\n", {}],
  ["a byte order mark and line ends of Windows", "\ufeff[agent] # x\r\nmode = 'a'\r\n", { mode: "a" }],
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
  }],
  ["a variable's value is not expanded again", '[agent]\ncommand = "${A}"\n', { command: "${B}" }],
  ["an empty mode and model", '[agent]\nmode = "${EMPTY}"\nmodel = " "\n', {}],
  ["texts that are not variables", '[agent]\nargs = ["$NAME", "${}", "${a-b}", "$${NAME}"]\n', {
    args: ["$NAME", "${}", "${a-b}", "$mao"],
  }],
  ["names of variables as Windows has them", '[agent]\ninherit_env = ["ProgramFiles(x86)", "a.b-c"]\n', {
    inherit_env: ["ProgramFiles(x86)", "a.b-c"],
  }],
  [
    "other tables of OpenAB are left alone",
    '[discord]\nid = 123456789012345678901\ntoken = "${TOKEN}"\nsince = 2024-01-01\n[agent]\n[pool]\n[events]\n',
    {},
  ],
];

for (const [name, text, table] of READ) {
  Deno.test(`readAgentTables: ${name}`, () => {
    const agent = { ...JSON.parse(JSON.stringify(EMPTY_TABLE)), ...table };
    assertEquals(read(text, ENV), { agent, agents: new Map(), mistakes: [], warnings: [] });
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

const named = (name: string) => `[agents."${name}"]\ncommand = "a"\n`;
const fs = (lines: string) => `[agent.mcp_servers.fs]\n${lines}\n`;
const web = (lines: string) => `[agent.mcp_servers.web]\n${lines}\n`;
const inList = (lines: string) => `[[agent.mcp_servers]]\n${lines}\n`;
const times = (count: number) =>
  Array.from({ length: count }, (_, n) => inList(`name = "${n}"\ncommand = "a"`)).join("");
const NOT_TEXT = "must be a text";
const NOT_AGENT = "must be the table of an agent";
const AT = "agent.mcp_servers";
/** Each message is compared from its beginning. */
const MISTAKES: [text: string, ...messages: string[]][] = [
  ["[agent\ncommand = 1", "line 1, column 7"],
  ["[agnet]\n", "agnet is not read. Did you mean agent?"],
  ["[agent]\n[Agents.a]\n", "Agents is not read. Did you mean agents?"],
  ["[agent]\n[key.a]\n", "key is not read. Did you mean keys?"],
  [
    "[agent]\ncomand = 'a'\nmcpServers = {}\nmodle = 'b'\n",
    "agent.comand is not a setting of this version. Did you mean command?",
    "agent.mcpServers is not a setting of this version. Did you mean mcp_servers?",
    "agent.modle is not a setting of this version. Did you mean model?",
  ],
  ["[agent]\ncommand = claude\n", "line 2, column 11: this is not TOML (a text needs quotes"],
  [named("a") + named("a"), "line 3, column 2: "],
  [
    "[agent]\ncommand = 7\n",
    `agent.command: ${NOT_TEXT}: the program alone, such as "npx"; its arguments go`,
  ],
  ['[agent]\ncommand = ""\n', "agent.command: cannot be empty."],
  ['[agent]\nargs = "acp"\n', "agent.args: must be a list of texts"],
  ['[agent]\nargs = ["a", 1]\n', `agent.args.1: ${NOT_TEXT}`],
  ["[agent]\nenv = { PORT = 8080 }\n", `agent.env.PORT: ${NOT_TEXT}: put it in quotes`],
  ['[agent]\nenv = [{ name = "A" }]\n', "agent.env: must be a table of texts by name"],
  ['[agent]\ninherit_env = "A,B"\n', "agent.inherit_env: must be a list of names"],
  ['[agent]\nworking_dir = ""\n', "agent.working_dir: cannot be empty"],
  ["[agent]\nmode = 1\n", `agent.mode: ${NOT_TEXT}`],
  ['[agent]\npermissions = "never"\n', "agent.permissions: must be one of ask, allow, deny."],
  ['[agents.codex]\nargs = ["a"]\n', "agents.codex.command: is required: the program"],
  ['[agents]\ncommand = "a"\n', `agents.command: ${NOT_AGENT}`],
  ['agent = "opencode"\n', `agent: ${NOT_AGENT}`],
  ['[[agent]]\ncommand = "a"\n', `agent: ${NOT_AGENT}`],
  [named("Default"), "agents.Default: no agent can have the name Default"],
  [named("Codex") + named("codex"), "agents.codex: this name also means Codex"],
  [Array.from({ length: 51 }, (_, n) => named(`a${n}`)).join(""), "agents: there can be at most 50."],
  ...["a/b", "a@b", "", "-a", "a b", "\u00e9", "__proto__", "a".repeat(65)]
    .map((name): [string, string] => [named(name), `agents.${name}: the name of an agent has at most`]),
  ...["", "foo bar", "A=B", "A\\u0000"].flatMap((name): [string, string][] => [
    [`[agent]\ninherit_env = ["A", "${name}"]\n`, "agent.inherit_env.1: must be the name of a variable"],
    [`[agent]\nenv = { A = "1", "${name}" = "2" }\n`, "agent.env: has a name that no variable can have"],
  ]),
  ["[agent]\ncommand = 7\nargs = 8\ninherit_env = 9\n", "agent.command", "agent.args", "agent.inherit_env"],
  [
    '[agent]\nargs = ["${X}/a", "${constructor}"]\n',
    "agent.args.0: ${X} is not set.",
    "agent.args.1: ${constructor} is not set.",
  ],
  [
    '[agents."b c"]\nargs = ["x"]\n[agents.d]\nmcp_servers = 3\ncommand = "d"\n[agent]\ncommand = 7\n',
    "agent.command",
    "agents.b c: ",
    "agents.b c.command",
    "agents.d.mcp_servers",
  ],
  [
    '[agent]\nmcp_servers = "mcp-fs"\n',
    `${AT}: must be tables by name, or a list of tables that have a name.`,
  ],
  ['[agent.mcp_servers]\nfs = "mcp-fs"\n', `${AT}.fs: must be a table with a command or with a url.`],
  [fs('command = "a"\nurl = "https://a"'), `${AT}.fs: must be a table with a command or`],
  [fs('command = ["npx", "a"]'), `${AT}.fs.command: ${NOT_TEXT}: the program alone`],
  [fs('command = "a"\nargs = "b"'), `${AT}.fs.args: must be a list`],
  [fs('command = "a"\nenv = { "K=y" = "z" }'), `${AT}.fs.env: has a name that no`],
  [web('url = "https://a"\ntype = "stdio"'), `${AT}.web.type: must be "http" or "sse"`],
  [web('url = "file:///etc"'), `${AT}.web.url: must be an address`],
  [web('url = "https://a"\nheaders = { X = 1 }'), `${AT}.web.headers.X: ${NOT_TEXT}`],
  [inList('command = "a"'), `${AT}.0.name: is required: the name of the server.`],
  [times(51), `${AT}: there can be at most 50.`],
];

for (const [text, ...messages] of MISTAKES) {
  Deno.test(`readAgentTables: the mistakes of ${JSON.stringify(text.slice(0, 80))}`, () => {
    assertEquals(
      read(text).mistakes.map((mistake, index) => mistake.slice(0, `my.toml: ${messages[index]}`.length)),
      messages.map((message) => `my.toml: ${message}`),
    );
  });
}

const UNKNOWN = "is not a setting of this version.";
const NO_TABLES =
  "the file has neither [agent] nor [agents] nor [keys] nor [embeddings] nor [speech] nor [transcription]: nothing of it is used.";
const WARNINGS: [text: string, warnings: string[]][] = [
  ["", [NO_TABLES]],
  ["[discord]\ntoken = 'x'\n", [NO_TABLES]],
  ["[keys.a]\n", []],
  ["[agent]\ntimeout = 5\n", [`agent.timeout ${UNKNOWN}`]],
  [fs("command = 'c'\nheaders = {}") + web("url = 'http://a'\nenv = {}"), [
    `agent.mcp_servers.fs.headers ${UNKNOWN}`,
    `agent.mcp_servers.web.env ${UNKNOWN}`,
  ]],
];

for (const [text, warnings] of WARNINGS) {
  Deno.test(`readAgentTables: ${JSON.stringify(text)} causes ${warnings.length} warnings`, () => {
    const found = read(text);
    assertEquals([found.mistakes, found.warnings], [[], warnings.map((warning) => `my.toml: ${warning}`)]);
  });
}

const FS: McpServer = { name: "fs", command: "mcp-fs", args: [], env: [] };
const WEB: McpServer = { type: "http", name: "web", url: "https://mcp.example/a", headers: [] };
const SERVERS: [name: string, text: string, servers: McpServer[]][] = [
  ["none", "[agent]\nmcp_servers = []\n", []],
  ["a program", fs('command = "mcp-fs"'), [FS]],
  [
    "a program with everything",
    fs('command = "mcp-fs"\nargs = ["--root", "/w"]\nenv = { TOKEN = "t", DEBUG = "" }'),
    [{ ...FS, args: ["--root", "/w"], env: [{ name: "TOKEN", value: "t" }, { name: "DEBUG", value: "" }] }],
  ],
  [
    "an address with everything",
    web('type = "sse"\nurl = "http://127.0.0.1:1/sse"\nheaders = { X = "t" }'),
    [{ type: "sse", name: "web", url: "http://127.0.0.1:1/sse", headers: [{ name: "X", value: "t" }] }],
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

/** A secret that stands where values do. */
const HUSH = "sk-ant-hush";
const TABLES = [
  `[agent.env]\nKEY = ${HUSH}`,
  `[agent.env]\nKEY = "a" ${HUSH}`,
  `[agent.env]\nKEY = "${HUSH}"\nKEY = "${HUSH}"`,
  `[agent.env]\n"KEY=${HUSH}" = ""`,
  `[agent.env]\n"KEY=${HUSH}" = 1`,
  `[agent.env]\n"KEY=${HUSH}" = "\${NOT_SET}"`,
  `[agent]\ncommand = "a"\nenv = "${HUSH}"\nargs = "${HUSH}"\ninherit_env = "${HUSH}"`,
  `[agent]\npermissions = "${HUSH}"\nmcp_servers = "${HUSH}"`,
  `[agent]\nenv = ["${HUSH}"]\nargs = { a = "${HUSH}" }\ncommand = ["${HUSH}"]`,
  `[agent]\ninherit_env = ["KEY=${HUSH}", "KEY ${HUSH}", "${HUSH} "]`,
  `[agent]\n"command = ${HUSH}" = 1\ncommand = 7`,
  `[agent.mcp_servers.a]\ncommand = "a"\nenv = { "KEY=${HUSH}" = "" }`,
  `[agent.mcp_servers.a]\nurl = "${HUSH}"\nheaders = "${HUSH}"\ntype = "${HUSH}"`,
  `[agent.mcp_servers]\na = "${HUSH}"`,
  `agent = "${HUSH}"\nagents = "${HUSH}"`,
  `[agents]\na = "${HUSH}"`,
];

for (const text of TABLES) {
  Deno.test(`readAgentTables: no mistake or warning repeats a value of ${JSON.stringify(text)}`, () => {
    const { mistakes, warnings } = read(text);
    assertEquals(mistakes.length > 0, true);
    assertEquals([...mistakes, ...warnings].filter((line) => line.includes("hush")), []);
  });
}
