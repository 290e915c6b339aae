import { assertEquals, assertMatch } from "@std/assert";
import { configError, type Env, load, mistakesOf } from "../support/harness/config_fixture.ts";

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
  ["only others, one of them chosen in other letters", CODEX + CLAUDE, { VTUBER_DEFAULT_MODEL: "Claude" }, [
    ["claude", "claude-acp"],
    ["codex", "codex-acp"],
  ]],
  ["another than [agent] chosen in other letters", OWN + CODEX, { VTUBER_DEFAULT_MODEL: "CODEX" }, [
    ["codex", "codex-acp"],
    ["openab", "own"],
  ]],
  ["[agent] with a name that only looks like another's", OWN + CODEX, { VTUBER_DEFAULT_MODEL: "codex-2/m" }, [
    ["codex-2/m", "own"],
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

Deno.test("agents: [agent] without a command is ignored beside others, and the demo agent alone; both with a warning", () => {
  const table = '[agent]\nmode = "x"\n';
  const { config, warnings } = load(table + CODEX);
  assertEquals(config.agents.map(({ name }) => name), ["codex"]);
  assertEquals(warnings, [
    "[agent] has no command: it is ignored, and only the agents of [agents] are served.",
  ]);
  const alone = load(table);
  assertEquals(alone.config.agents.map(({ name, command }) => [name, command]), [["openab", undefined]]);
  assertEquals(alone.warnings, [
    "[agent] has no command, and OPENAB_AGENT_COMMAND is not set: it is the built-in demo agent.",
  ]);
  assertEquals(load(table, { OPENAB_AGENT_COMMAND: "a" }).warnings, []);
});

Deno.test("agents: names to inherit have no effect without [agent], and cause a warning", () => {
  const [warning, ...more] = load(CODEX, { OPENAB_AGENT_INHERIT_ENV: "TZ" }).warnings;
  assertEquals(more, []);
  assertMatch(warning!, /^OPENAB_AGENT_INHERIT_ENV has no effect, because .*inherit_env/);
  assertEquals(load(OWN + CODEX, { OPENAB_AGENT_INHERIT_ENV: "TZ" }).warnings, []);
});

Deno.test("agents: a default that no agent has, among named agents, is a mistake that lists their names", () => {
  const mistake = "VTUBER_DEFAULT_MODEL: there is no agent gpt; there are codex, claude.";
  assertEquals(mistakesOf(CODEX + CLAUDE, { VTUBER_DEFAULT_MODEL: "gpt" }), [mistake]);
  assertEquals(mistakesOf(CODEX, {}, { VTUBER_DEFAULT_MODEL: "gpt" }).length, 1);
  // Mistakes of a table do not hide it.
  const wrong = "[agents.claude]\ncommand = 7\nargs = 8\n";
  const mistakes = mistakesOf(CODEX + wrong, { VTUBER_DEFAULT_MODEL: "gpt" });
  assertEquals([mistakes.length, mistakes[2]], [3, mistake]);
  assertEquals(mistakesOf(CODEX + wrong, { VTUBER_DEFAULT_MODEL: "claude" }).length, 2);
});

Deno.test("agents: a wrong command causes no mistake or warning about a missing command", () => {
  for (const text of ["[agent]\ncommand = 7\n", `[agent]\ncommand = ""\n${CODEX}`]) {
    const { mistakes, warnings } = configError(text, { VTUBER_DEFAULT_MODEL: "mao" });
    assertEquals([mistakes.length, warnings], [1, []]);
  }
});

Deno.test("agents: two with the same name, in whatever letters, are a mistake", () => {
  for (const other of ["openab", "OpenAB"]) {
    const text = `${OWN}[agents.${other}]\ncommand = "a"\n`;
    const [mistake, ...more] = mistakesOf(text);
    assertEquals(more, []);
    assertMatch(
      mistake!,
      new RegExp(`^Two agents have the name openab: \\[agents\\.${other}\\], and the one of \\[agent\\]`),
    );
    assertEquals(load(text, { VTUBER_DEFAULT_MODEL: "mao" }).config.agents.map(({ name }) => name), [
      "mao",
      other,
    ]);
  }
});

Deno.test("agents: a default name that requests take for a model of an agent is a mistake that says what to set", () => {
  for (const model of ["codex/m1", "Codex/m1/high", "codex/"]) {
    const openab = '[agents.openab]\ncommand = "a"\n';
    for (const text of [OWN + CODEX, OWN + CODEX + openab, CODEX]) {
      const [mistake, ...more] = mistakesOf(text, { VTUBER_DEFAULT_MODEL: model });
      assertEquals(more, []);
      assertMatch(
        mistake!,
        /^VTUBER_DEFAULT_MODEL: in requests, \S+ is a model of the agent codex\. Set it to codex/,
      );
    }
  }
});

Deno.test("agents: a refused default name is one mistake", () => {
  for (const text of [OWN + CODEX, CODEX, `${OWN}[agents.openab]\ncommand = "a"\n`]) {
    for (const model of ["default", "Default", "a@b"]) {
      const mistakes = mistakesOf(text, { VTUBER_DEFAULT_MODEL: model });
      assertEquals(mistakes.length, 1, mistakes.join("\n"));
      assertMatch(mistakes[0]!, /^VTUBER_DEFAULT_MODEL: cannot /);
    }
  }
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
permissions = "deny"
[[agents.codex.mcp_servers]]
name = "web"
url = "https://mcp.example"
[agents.claude]
command = "claude-acp"
`;

Deno.test("agents: each has the values of its table", () => {
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
    permissions: "deny",
  });
  assertEquals([claude?.workingDir, claude?.permissions], [".", "ask"]);
});

Deno.test("agents: a variable wins over every table, a flag over both", () => {
  const env = { VTUBER_WORKING_DIR: "/env", VTUBER_PERMISSIONS: "ask" };
  const applied = (flags: Env) =>
    load(TWO, env, flags).config.agents.map(({ workingDir, permissions }) => `${workingDir} ${permissions}`);
  assertEquals(applied({}), ["/env ask", "/env ask", "/env ask"]);
  const flags = { VTUBER_WORKING_DIR: "/flag", VTUBER_PERMISSIONS: "deny" };
  assertEquals(applied(flags), ["/flag deny", "/flag deny", "/flag deny"]);
});

Deno.test("agents: the command and the names of OpenAB's variables are about [agent] only", () => {
  const env = { OPENAB_AGENT_INHERIT_ENV: "TZ", OPENAB_AGENT_COMMAND: "goose acp" };
  const applied = (flags: Env) =>
    load(TWO, env, flags).config.agents.map(({ command, args, inheritEnv }) => [command, args, inheritEnv]);
  const others = [["codex-acp", ["-x"], ["C"]], ["claude-acp", [], []]];
  assertEquals(applied({}), [["own", [], ["A", "TZ"]], ...others]);
  assertEquals(applied({ OPENAB_AGENT_COMMAND: "flag -f" }), [["flag", ["-f"], ["A", "TZ"]], ...others]);
});
