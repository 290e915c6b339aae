import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { AgentTable } from "../../lib/config/agent_table.ts";
import { type AgentTables, NO_TABLES, readAgentTables, unreadable } from "../../lib/config/file.ts";

interface Read {
  tables: AgentTables;
  mistakes: string[];
  warnings: string[];
}

function read(text: string, env: Record<string, string> = {}): Read {
  const mistakes: string[] = [];
  const warnings: string[] = [];
  const tables = readAgentTables({ path: "my.toml", text }, env, mistakes, warnings);
  return { tables, mistakes, warnings };
}

const EMPTY: AgentTable = {
  command: undefined,
  args: [],
  workingDir: undefined,
  env: {},
  inheritEnv: [],
  mcpServers: [],
  mode: undefined,
  model: undefined,
  processes: 1,
  permissions: undefined,
};
const ENV = { BIN: "/opt/bin", NAME: "mao", EMPTY: "", A: "${B}", B: "b" };
const READ: [name: string, text: string, table: AgentTable, variables?: string[]][] = [
  ["an empty agent", "[agent]\n", EMPTY],
  ["a command", '[agent]\ncommand = "opencode"\nargs = ["acp"]\n', {
    ...EMPTY,
    command: "opencode",
    args: ["acp"],
  }],
  [
    "everything",
    [
      "[agent]",
      'command = "a"',
      'args = ["b c", "d"]',
      'working_dir = "/w"',
      'env = { X = "1", Y = "2" }',
      'inherit_env = ["Z"]',
      'mode = "plan"',
      'model = "gpt-5/high"',
      "processes = 16",
      'permissions = "deny"',
      "[agent.mcp_servers.fs]",
      'command = "mcp-fs"',
    ].join("\n"),
    {
      command: "a",
      args: ["b c", "d"],
      workingDir: "/w",
      env: { X: "1", Y: "2" },
      inheritEnv: ["Z"],
      mode: "plan",
      model: "gpt-5/high",
      processes: 16,
      permissions: "deny",
      mcpServers: [{ name: "fs", command: "mcp-fs", args: [], env: [] }],
    },
  ],
  ["line ends of Windows", '[agent]\r\ncommand = "a"\r\n', { ...EMPTY, command: "a" }],
  ["a comment", '# x\n[agent] # y\ncommand = "a" # z\n', { ...EMPTY, command: "a" }],
  ["a variable", '[agent]\ncommand = "${BIN}/agent"\n', { ...EMPTY, command: "/opt/bin/agent" }, [
    "BIN",
  ]],
  ["variables", '[agent]\ncommand = "a"\nargs = ["${NAME}-${NAME}"]\nenv = { X = "${NAME}" }\n', {
    ...EMPTY,
    command: "a",
    args: ["mao-mao"],
    env: { X: "mao" },
  }, ["NAME"]],
  ["a variable that is empty", '[agent]\ncommand = "a"\nargs = ["<${EMPTY}>"]\n', {
    ...EMPTY,
    command: "a",
    args: ["<>"],
  }, ["EMPTY"]],
  ["a variable is put in place once", '[agent]\ncommand = "${A}"\n', { ...EMPTY, command: "${B}" }, ["A"]],
  ["a mode and a model that are empty", '[agent]\nmode = "${EMPTY}"\nmodel = " "\n', EMPTY, ["EMPTY"]],
  ["what is no variable", '[agent]\ncommand = "a"\nargs = ["$NAME", "${}", "${a-b}", "$${NAME}"]\n', {
    ...EMPTY,
    command: "a",
    args: ["$NAME", "${}", "${a-b}", "$mao"],
  }, ["NAME"]],
  ["tables in any order", '[agent.env]\nX = "1"\n[agent]\ncommand = "a"\n', {
    ...EMPTY,
    command: "a",
    env: { X: "1" },
  }],
  [
    "names of variables as systems have them",
    '[agent]\ninherit_env = ["ProgramFiles(x86)", "a.b-c", "_"]\n',
    {
      ...EMPTY,
      inheritEnv: ["ProgramFiles(x86)", "a.b-c", "_"],
    },
  ],
  ["a byte order mark", '\ufeff[agent]\ncommand = "a"\n', { ...EMPTY, command: "a" }],
  [
    "variables of other tables, which are left alone",
    '[discord]\nbot_token = "${DISCORD_BOT_TOKEN}"\nsince = 2024-01-01\n[agent]\ncommand = "a"\n',
    { ...EMPTY, command: "a" },
  ],
  [
    "other tables of OpenAB",
    '[agent]\ncommand = "a"\n[discord]\n[pool]\n[reactions.emojis]\n[slack]\n[gateway]\n',
    {
      ...EMPTY,
      command: "a",
    },
  ],
];

for (const [name, text, table, variables = []] of READ) {
  Deno.test(`readAgentTables: ${name}`, () => {
    assertEquals(read(text, ENV), {
      tables: { agent: table, agents: new Map(), variables },
      mistakes: [],
      warnings: [],
    });
  });
}

Deno.test("readAgentTables: named agents, in the file's order", () => {
  const { tables, mistakes, warnings } = read(
    `
[agents.codex]
command = "codex-acp"
[agents.claude-4_5.x]
command = "\${BIN}/claude"
processes = 2
[agent]
command = "opencode"
`.replace("claude-4_5.x", '"claude-4_5.x"'),
    ENV,
  );
  assertEquals([mistakes, warnings], [[], []]);
  assertEquals(tables, {
    agent: { ...EMPTY, command: "opencode" },
    variables: ["BIN"],
    agents: new Map([
      ["codex", { ...EMPTY, command: "codex-acp" }],
      ["claude-4_5.x", { ...EMPTY, command: "/opt/bin/claude", processes: 2 }],
    ]),
  });
});

Deno.test("readAgentTables: what this version does not know is warned of, with what may be meant", () => {
  const { tables, mistakes, warnings } = read(`
[agent]
command = "a"
timeout = 5
[agents.b]
command = "b"
mcpServers = {}
[agents.b.mcp_servers.fs]
command = "c"
cwd = "/"
`);
  assertEquals(mistakes, []);
  assertEquals([tables.agent?.command, tables.agents.get("b")?.command], ["a", "b"]);
  assertEquals(warnings, [
    "my.toml: agent.timeout is not a setting of this version.",
    "my.toml: agents.b.mcpServers is not a setting of this version. Did you mean mcp_servers?",
    "my.toml: agents.b.mcp_servers.fs.cwd is not a setting of this version.",
  ]);
});

Deno.test("readAgentTables: of a table with mistakes the rest is read", () => {
  const { agent } = read('[agent]\ncommand = "a"\nargs = 1\nmode = "x"\nenv = { A = 1 }\n').tables;
  assertEquals(agent, { ...EMPTY, command: "a", mode: "x" });
});

Deno.test("readAgentTables: a command that is wrong is one all the same", () => {
  assertEquals(read("[agent]\ncommand = 7\n").tables.agent, { ...EMPTY, command: "" });
});

Deno.test("readAgentTables: nothing is read of a file that has no tables where they should be", () => {
  for (const text of ['agent = "a"\n', "[agents]\na = 1\n", '[agents]\ncommand = "a"\n', "agents = 1\n"]) {
    assertEquals(read(`${text}[agents.codex]\ncommand = "a"\n`).tables, NO_TABLES);
    assertEquals(read(text).tables, NO_TABLES);
  }
});

Deno.test("readAgentTables: what is wrong in several tables is told at once, with the hints", () => {
  const { tables, mistakes, warnings } = read(`
[agents.a]
processes = 0
[agents."b c"]
args = ["x"]
[agents.d]
comand = "x"
mcp_servers = 3
[agent]
command = 7
[agent.mcp_servers.fs]
comand = "y"
`);
  assertEquals(mistakes.map((mistake) => mistake.split(": ")[1]), [
    "agent.command",
    "agent.mcp_servers.fs",
    "agents.a.processes",
    "agents.a.command",
    "agents.b c",
    "agents.b c.command",
    "agents.d.mcp_servers",
    "agents.d.command",
  ]);
  assertEquals(warnings, [
    "my.toml: agents.d.comand is not a setting of this version. Did you mean command?",
  ]);
  assertEquals(tables.agent?.command, "");
  assertEquals([...tables.agents.keys()], ["a", "b c", "d"]);
});

Deno.test("readAgentTables: an agent may have the name of an object's own", () => {
  const { tables, mistakes } = read(
    '[agents.toString]\ncommand = "a"\n[agents.constructor]\ncommand = "b"\n',
  );
  assertEquals([mistakes, [...tables.agents.keys()]], [[], ["toString", "constructor"]]);
});

const NONE = "my.toml: the file has neither [agent] nor [agents]: it describes no agent.";
const ODD: [text: string, warnings: string[]][] = [
  ["", [NONE]],
  ["[discord]\ntoken = 'x'\n", [NONE]],
  ["[agnet]\n", ["my.toml: agnet is not read. Did you mean agent?", NONE]],
  ["[Agents.codex]\n", ["my.toml: Agents is not read. Did you mean agents?", NONE]],
  ["[agent]\n[agentss.a]\n", ["my.toml: agentss is not read. Did you mean agents?"]],
  ["command = 'a'\n", [
    "my.toml: command is not read at the top of the file: command belongs into [agent] or [agents.NAME].",
    NONE,
  ]],
  ["[agent]\n[mcpServers.a]\n", [
    "my.toml: mcpServers is not read at the top of the file: mcp_servers belongs into [agent] or [agents.NAME].",
  ]],
  ["[agent]\n[events]\n[pool]\n[stt]\n[cron]\n[agenda]\n", []],
  ["[agent]\ncomand = 'a'\n", [
    "my.toml: agent.comand is not a setting of this version. Did you mean command?",
  ]],
];

for (const [text, expected] of ODD) {
  Deno.test(`readAgentTables: ${JSON.stringify(text)} is warned of ${expected.length} times`, () => {
    const { mistakes, warnings } = read(text);
    assertEquals([mistakes, warnings], [[], expected]);
  });
}

Deno.test("unreadable: says which setting names the file, and why it cannot be read", async () => {
  const folder = await Deno.makeTempDir();
  const why = async (path: string) =>
    unreadable("OPENAB_CONFIG", path, await assertRejects(() => Deno.readTextFile(path)));
  try {
    const missing = `${folder}/nope.toml`;
    assertEquals(await why(missing), `OPENAB_CONFIG: ${missing} cannot be read: there is no such file.`);
    assertMatch(await why(folder), /^OPENAB_CONFIG: .* cannot be read: /);
  } finally {
    await Deno.remove(folder);
  }
});
