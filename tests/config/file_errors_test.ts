import { assertEquals, assertMatch } from "@std/assert";
import { readAgentTables } from "../../lib/config/file.ts";

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
  ["the reserved name in other letters", '[agents.Default]\ncommand = "a"\n', [
    /^my\.toml: agents\.Default: .*requests mean the default agent by it\.$/,
  ]],
  [
    "a name that is another's in other letters",
    '[agents.Codex]\ncommand = "a"\n[agents.codex]\ncommand = "b"\n',
    [
      /^my\.toml: agents\.codex: .*requests mean Codex by it too.*\.$/,
    ],
  ],
  ["the name __proto__", '[agents.__proto__]\ncommand = "a"\n', [
    /^my\.toml: agents\.__proto__: nothing can be called __proto__\.$/,
  ]],
  ["a variable called __proto__", '[agent.env]\n__proto__ = "a"\n', [
    /^my\.toml: agent\.env\.__proto__: nothing can be called __proto__\.$/,
  ]],
  ["a table twice", '[agents.a]\ncommand = "a"\n[agents.a]\ncommand = "b"\n', [
    /^my\.toml: line 3, column 2: .*already defined/,
  ]],
  ["a text without quotes", "[agent]\ncommand = claude\n", [/^my\.toml: line 2, column 11: .*quotes/]],
  ["an agent that is a date", "agent = 2024-01-01\n", [/^my\.toml: agent: must be the table of an agent/]],
  ["an agent that is a list", '[[agent]]\ncommand = "a"\n', [
    /^my\.toml: agent: must be the table of an agent/,
  ]],
  ["agents that are a date", "agents = 2024-01-01\n", [/^my\.toml: agents: must be tables by name/]],
  ["a command that is a date", "[agent]\ncommand = 2024-01-01\n", [/^my\.toml: agent\.command: /]],
  ["variables that are a date", "[agent]\nenv = 2024-01-01\n", [/^my\.toml: agent\.env: must be a table/]],
  ["MCP servers that are a date", "[agent]\nmcp_servers = 2024-01-01\n", [
    /^my\.toml: agent\.mcp_servers: must be tables/,
  ]],
  ["processes without end", "[agent]\nprocesses = 123456789012345678901\n", [
    /^my\.toml: agent\.processes: must be/,
  ]],
  ...["", "foo bar", "A=B", " A", "A\\u0000"].map((name): [string, string, RegExp[]] => [
    `to hand on ${JSON.stringify(name)}`,
    `[agent]\ninherit_env = ["A", "${name}"]\n`,
    [/^my\.toml: agent\.inherit_env\.1: must be the name of a variable/],
  ]),
  ...["", "foo bar", "A=B", "A\\u0000"].map((name): [string, string, RegExp[]] => [
    `to set ${JSON.stringify(name)}`,
    `[agent]\nenv = { A = "1", "${name}" = "2" }\n`,
    [/^my\.toml: agent\.env: has a name that no variable can have/],
  ]),
  ["names of variables, and what is no text", '[agent]\nenv = {A=1, "B C"="x", "K=sekret"="y"}\n', [
    /^my\.toml: agent\.env\.A: must be a text: put it in quotes/,
    /^my\.toml: agent\.env: has 2 names that no variable can have: [^"]*$/,
  ]],
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
    const mistakes: string[] = [];
    readAgentTables({ path: "my.toml", text }, {}, mistakes, []);
    assertEquals(mistakes.length, says.length, mistakes.join("\n"));
    says.forEach((pattern, at) => assertMatch(mistakes[at]!, pattern));
  });
}
