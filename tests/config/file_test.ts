import { assertEquals, assertMatch } from "@std/assert";
import { type AgentTable, readAgentTable } from "../../lib/config/file.ts";

interface Read {
  table: AgentTable | undefined;
  mistakes: string[];
  warnings: string[];
}

function read(text: string, env: Record<string, string> = {}): Read {
  const mistakes: string[] = [];
  const warnings: string[] = [];
  const table = readAgentTable({ path: "my.toml", text }, env, mistakes, warnings);
  return { table, mistakes, warnings };
}

const EMPTY = { args: [], env: {}, inherit_env: [] };
const ENV = { BIN: "/opt/bin", NAME: "mao", EMPTY: "", A: "${B}", B: "b" };
const READ: [name: string, text: string, table: AgentTable | undefined][] = [
  ["nothing", "", undefined],
  ["no agent", "[discord]\ntoken = 'x'\n", undefined],
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
    ].join("\n"),
    {
      command: "a",
      args: ["b c", "d"],
      working_dir: "/w",
      env: { X: "1", Y: "2" },
      inherit_env: ["Z"],
    },
  ],
  ["line ends of Windows", '[agent]\r\ncommand = "a"\r\n', { ...EMPTY, command: "a" }],
  ["a comment", '# x\n[agent] # y\ncommand = "a" # z\n', { ...EMPTY, command: "a" }],
  ["a variable", '[agent]\ncommand = "${BIN}/agent"\n', { ...EMPTY, command: "/opt/bin/agent" }],
  ["variables", '[agent]\ncommand = "a"\nargs = ["${NAME}-${NAME}"]\nenv = { X = "${NAME}" }\n', {
    ...EMPTY,
    command: "a",
    args: ["mao-mao"],
    env: { X: "mao" },
  }],
  ["a variable that is empty", '[agent]\ncommand = "a"\nargs = ["<${EMPTY}>"]\n', {
    ...EMPTY,
    command: "a",
    args: ["<>"],
  }],
  ["a variable is put in place once", '[agent]\ncommand = "${A}"\n', { ...EMPTY, command: "${B}" }],
  ["what is no variable", '[agent]\ncommand = "a"\nargs = ["$NAME", "${}", "${a-b}", "$${NAME}"]\n', {
    ...EMPTY,
    command: "a",
    args: ["$NAME", "${}", "${a-b}", "$mao"],
  }],
];

for (const [name, text, table] of READ) {
  Deno.test(`readAgentTable: ${name}`, () => {
    assertEquals(read(text, ENV), { table, mistakes: [], warnings: [] });
  });
}

const MISTAKES: [name: string, text: string, says: RegExp[]][] = [
  ["broken TOML", "[agent\ncommand = 1", [/^my\.toml: /]],
  ["a value that is none", "[agent]\ncommand = \n", [/^my\.toml: /]],
  ["a command that is a number", "[agent]\ncommand = 7\n", [/^my\.toml: agent\.command: /]],
  ["an empty command", '[agent]\ncommand = ""\n', [/^my\.toml: agent\.command: /]],
  ["a command that is a list", '[agent]\ncommand = ["a"]\n', [/^my\.toml: agent\.command: /]],
  ["arguments that are a string", '[agent]\nargs = "acp"\n', [/^my\.toml: agent\.args: /]],
  ["an argument that is a number", '[agent]\nargs = ["a", 1]\n', [/^my\.toml: agent\.args\.1: /]],
  ["a variable that is a number", "[agent]\nenv = { PORT = 8080 }\n", [/^my\.toml: agent\.env\.PORT: /]],
  ["an agent that is a string", 'agent = "opencode"\n', [/^my\.toml: agent: /]],
  ["several at once", "[agent]\ncommand = 7\nargs = 8\ninherit_env = 9\n", [
    /agent\.command/,
    /agent\.args/,
    /agent\.inherit_env/,
  ]],
  ["a variable that is not set", '[agent]\ncommand = "${NOPE}/agent"\n', [
    /^my\.toml: \$\{NOPE\} is not set\.$/,
  ]],
  ["variables that are not set", '[agent]\ncommand = "a"\nargs = ["${X}", "${Y}"]\n', [/\$\{X\}/, /\$\{Y\}/]],
  ["a variable by the name of an object's own", '[agent]\ncommand = "a${constructor}"\n', [
    /\$\{constructor\} is not set/,
  ]],
];

for (const [name, text, says] of MISTAKES) {
  Deno.test(`readAgentTable: ${name} is a mistake`, () => {
    const { mistakes } = read(text);
    assertEquals(mistakes.length, says.length, mistakes.join("\n"));
    says.forEach((pattern, at) => assertMatch(mistakes[at]!, pattern));
  });
}

Deno.test("readAgentTable: what this version does not know is warned of", () => {
  const { table, mistakes, warnings } = read(
    '[agent]\ncommand = "a"\ntimeout = 5\n[agents.b]\ncommand = "b"\n',
  );
  assertEquals(mistakes, []);
  assertEquals(table?.command, "a");
  assertEquals(warnings, [
    "my.toml: agent.timeout is not a setting of this version.",
    "my.toml: only [agent] is served by this version, not [agents].",
  ]);
});

Deno.test("readAgentTable: variables of other tables count too, since they may be OpenAB's", () => {
  const { table } = read('[discord]\ntoken = "${NAME}"\nsince = 2024-01-01\n[agent]\ncommand = "a"\n', ENV);
  assertEquals(table?.command, "a");
});
