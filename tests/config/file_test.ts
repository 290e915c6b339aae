import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  type AgentTable,
  type AgentTables,
  NO_TABLES,
  readAgentTables,
  unreadable,
} from "../../lib/config/file.ts";

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

const MISTAKES: [name: string, text: string, says: RegExp[]][] = [
  ["broken TOML", "[agent\ncommand = 1", [/^my\.toml: /]],
  ["a value that is none", "[agent]\ncommand = \n", [/^my\.toml: /]],
  ["a command that is a number", "[agent]\ncommand = 7\n", [/^my\.toml: agent\.command: /]],
  ["an empty command", '[agent]\ncommand = ""\n', [/^my\.toml: agent\.command: /]],
  ["a command that is a list", '[agent]\ncommand = ["a"]\n', [
    /^my\.toml: agent\.command: must be a text: .*args\.$/,
  ]],
  ["arguments that are a string", '[agent]\nargs = "acp"\n', [
    /^my\.toml: agent\.args: must be a list of texts/,
  ]],
  ["an argument that is a number", '[agent]\nargs = ["a", 1]\n', [/^my\.toml: agent\.args\.1: /]],
  ["a variable that is a number", "[agent]\nenv = { PORT = 8080 }\n", [
    /^my\.toml: agent\.env\.PORT: must be a text: put it in quotes/,
  ]],
  ["variables in a list", '[agent]\nenv = [{ name = "A", value = "b" }]\n', [
    /agent\.env: must be a table of texts by name/,
  ]],
  ["names to hand on that are a text", '[agent]\ninherit_env = "A,B"\n', [
    /agent\.inherit_env: must be a list of names, such as/,
  ]],
  ["an empty folder", '[agent]\nworking_dir = ""\n', [/agent\.working_dir: may not be empty/]],
  ["an agent's key in [agents]", '[agents]\ncommand = "a"\n', [
    /agents\.command: must be the table of an agent/,
  ]],
  ["a mode that is a number", "[agent]\nmode = 1\n", [/^my\.toml: agent\.mode: /]],
  ["no processes", "[agent]\nprocesses = 0\n", [/^my\.toml: agent\.processes: must be from 1 to 16\.$/]],
  ["too many processes", "[agent]\nprocesses = 17\n", [
    /^my\.toml: agent\.processes: must be from 1 to 16\.$/,
  ]],
  ["half a process", "[agent]\nprocesses = 1.5\n", [/^my\.toml: agent\.processes: must be a whole number/]],
  ["an unknown policy", '[agent]\npermissions = "never"\n', [
    /^my\.toml: agent\.permissions: must be one of ask, allow, deny\.$/,
  ]],
  ["a named agent without a command", '[agents.codex]\nargs = ["a"]\n', [
    /^my\.toml: agents\.codex\.command: is required: the agent's program\.$/,
  ]],
  ["a named agent whose command is a number", "[agents.codex]\ncommand = 7\n", [
    /^my\.toml: agents\.codex\.command: /,
  ]],
  ["agents that are no tables", "[agents]\ncodex = 1\n", [/^my\.toml: agents\.codex: /]],
  ["agents that are a list", '[[agents]]\ncommand = "a"\n', [/^my\.toml: agents: /]],
  ["the reserved name", '[agents.default]\ncommand = "a"\n', [
    /^my\.toml: agents\.default: .*requests mean the default agent by it\.$/,
  ]],
  ...["a/b", "a@b", "", "-a", ".a", "a b", "\u00e9", "a".repeat(65)].map((
    name,
  ): [string, string, RegExp[]] => [
    `the name ${JSON.stringify(name)}`,
    `[agents."${name}"]\ncommand = "a"\n`,
    [
      /^my\.toml: agents\.[^:]*: an agent's name begins with/,
    ],
  ]),
  [
    "more agents than there may be",
    Array.from({ length: 51 }, (_, n) => `[agents.a${n}]\ncommand = "a"\n`).join(""),
    [
      /^my\.toml: agents: there may be 50 at most\.$/,
    ],
  ],
  ["an agent that is a string", 'agent = "opencode"\n', [/^my\.toml: agent: /]],
  ["several at once", "[agent]\ncommand = 7\nargs = 8\ninherit_env = 9\n", [
    /agent\.command/,
    /agent\.args/,
    /agent\.inherit_env/,
  ]],
  ["a variable that is not set", '[agent]\ncommand = "${NOPE}/agent"\n', [
    /^my\.toml: agent\.command: \$\{NOPE\} is not set\.$/,
  ]],
  ["variables that are not set", '[agent]\ncommand = "a"\nargs = ["${X}", "${Y}"]\n', [
    /agent\.args\.0: \$\{X\}/,
    /agent\.args\.1: \$\{Y\}/,
  ]],
  ["a variable by the name of an object's own", '[agent]\ncommand = "a${constructor}"\n', [
    /\$\{constructor\} is not set/,
  ]],
];

for (const [name, text, says] of MISTAKES) {
  Deno.test(`readAgentTables: ${name} is a mistake`, () => {
    const { mistakes } = read(text);
    assertEquals(mistakes.length, says.length, mistakes.join("\n"));
    says.forEach((pattern, at) => assertMatch(mistakes[at]!, pattern));
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

Deno.test("readAgentTables: nothing is read of a file with mistakes in its shape", () => {
  assertEquals(read('[agent]\ncommand = "a"\nargs = 1\n').tables, NO_TABLES);
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
