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

Deno.test("agents: what is wrong with the default is told with what is wrong with a table", () => {
  const wrong = "[agents.claude]\ncommand = 7\nargs = 8\n";
  const mistakes = mistakesOf(CODEX + wrong, { VTUBER_DEFAULT_MODEL: "gpt" });
  assertEquals(mistakes.length, 3, mistakes.join("\n"));
  assertEquals(mistakes[2], "VTUBER_DEFAULT_MODEL: there is no agent gpt; there are codex, claude.");
  assertEquals(mistakesOf(CODEX + wrong, { VTUBER_DEFAULT_MODEL: "claude" }).length, 2);
});

Deno.test("agents: of a command that is wrong nothing is said that is not so", () => {
  for (const text of ["[agent]\ncommand = 7\n", `[agent]\ncommand = ""\n${CODEX}`]) {
    const error = assertThrows(() => load(text, { VTUBER_DEFAULT_MODEL: "mao" }), ConfigError);
    assertEquals([error.mistakes.length, error.warnings], [1, []]);
  }
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

Deno.test("agents: two whose names differ in capital letters only are a mistake", () => {
  const [mistake, ...more] = mistakesOf(`${OWN}[agents.OpenAB]\ncommand = "a"\n`);
  assertEquals(more, []);
  assertMatch(mistake!, /^Two agents are called openab: \[agents\.OpenAB\], and that of \[agent\]/);
});

Deno.test("agents: a name that requests take for a model of another is a mistake that says what to set", () => {
  for (const model of ["codex/m1", "Codex/m1/high", "codex/"]) {
    const openab = '[agents.openab]\ncommand = "a"\n';
    for (const text of [OWN + CODEX, OWN + CODEX + openab, CODEX]) {
      const [mistake, ...more] = mistakesOf(text, { VTUBER_DEFAULT_MODEL: model });
      assertEquals(more, []);
      assertMatch(
        mistake!,
        /^VTUBER_DEFAULT_MODEL: by \S+ requests mean a model of the agent codex\. Set it to codex/,
      );
    }
  }
});

Deno.test("agents: a name that was refused is told once", () => {
  for (const text of [OWN + CODEX, CODEX, `${OWN}[agents.openab]\ncommand = "a"\n`]) {
    for (const model of ["default", "Default", "a@b"]) {
      const mistakes = mistakesOf(text, { VTUBER_DEFAULT_MODEL: model });
      assertEquals(mistakes.length, 1, mistakes.join("\n"));
      assertMatch(mistakes[0]!, /^VTUBER_DEFAULT_MODEL: may /);
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
