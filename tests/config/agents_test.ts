import { assertEquals, assertMatch } from "@std/assert";
import { type Env, load, mistakesOf } from "../support/harness/config_fixture.ts";

const OWN = '[agent]\ncommand = "own"\n';
const CODEX = '[agents.codex]\ncommand = "codex-acp"\n';
const CLAUDE = '[agents.claude]\ncommand = "claude-acp"\n';
const OPENAB = '[agents.openab]\ncommand = "a"\n';

const CHOICES: [name: string, text: string, env: Env, agents: string[]][] = [
  ["nothing: the demo agent", "", {}, ["openab: undefined"]],
  ["nothing but a name: the demo agent", "", { VTUBER_DEFAULT_MODEL: "mao" }, ["mao: undefined"]],
  ["[agent]", OWN, {}, ["openab: own"]],
  ["[agent] with a name", OWN, { VTUBER_DEFAULT_MODEL: "mao" }, ["mao: own"]],
  ["a variable's agent", "", { OPENAB_AGENT_COMMAND: "goose acp" }, ["openab: goose"]],
  ["[agent] and others", CODEX + OWN + CLAUDE, {}, ["openab: own", "codex: codex-acp", "claude: claude-acp"]],
  ["a variable's agent with a name, and others", CODEX, {
    OPENAB_AGENT_COMMAND: "goose",
    VTUBER_DEFAULT_MODEL: "goose",
  }, ["goose: goose", "codex: codex-acp"]],
  ["only others: the first", CODEX + CLAUDE, {}, ["codex: codex-acp", "claude: claude-acp"]],
  ["only others, one of them chosen in other letters", CODEX + CLAUDE, { VTUBER_DEFAULT_MODEL: "Claude" }, [
    "claude: claude-acp",
    "codex: codex-acp",
  ]],
  ["another than [agent] chosen", OWN + CODEX + CLAUDE, { VTUBER_DEFAULT_MODEL: "claude" }, [
    "claude: claude-acp",
    "openab: own",
    "codex: codex-acp",
  ]],
  ["[agent] with a name that only looks like another's", OWN + CODEX, { VTUBER_DEFAULT_MODEL: "codex-2/m" }, [
    "codex-2/m: own",
    "codex: codex-acp",
  ]],
  ["only others, one of them called openab", CODEX + OPENAB, {}, ["openab: a", "codex: codex-acp"]],
];

for (const [name, text, env, expected] of CHOICES) {
  Deno.test(`readAgents: ${name}`, () => {
    const { config, warnings } = load(text, env);
    assertEquals(config.agents.map(({ name, command }) => `${name}: ${command}`), expected);
    assertEquals(config.model, expected[0]!.split(":")[0]);
    assertEquals(warnings, []);
  });
}

Deno.test("readAgents: [agent] without a command is the demo agent, or ignored beside others; with a warning", () => {
  const table = '[agent]\nmode = "x"\n';
  for (
    const [text, name, outcome] of [[table, "openab", "the built-in demo"], [
      table + CODEX,
      "codex",
      "ignored",
    ]]
  ) {
    const { config, warnings } = load(text);
    assertEquals(config.agents.map((agent) => agent.name), [name!]);
    assertMatch(warnings.join("\n"), new RegExp(`^\\[agent\\] has no command, and .*: it is ${outcome}.*$`));
  }
  assertEquals(load(table, { OPENAB_AGENT_COMMAND: "a" }).warnings, []);
});

const MISTAKES: [name: string, texts: string[], models: string[], mistake: RegExp][] = [
  [
    "a default that no agent has, among named agents",
    [CODEX + CLAUDE],
    ["gpt"],
    /^VTUBER_DEFAULT_MODEL: there is no agent gpt; there are codex, claude\.$/,
  ],
  [
    "a default name that requests take for a model of an agent",
    [OWN + CODEX, OWN + CODEX + OPENAB, CODEX],
    ["codex/m1", "Codex/m1/high", "codex/"],
    /^VTUBER_DEFAULT_MODEL: in requests, \S+ is a model of the agent codex\. Set it to codex/,
  ],
  [
    "a default name that is refused",
    [OWN + CODEX, CODEX, OWN + OPENAB],
    ["default", "Default", "a@b"],
    /^VTUBER_DEFAULT_MODEL: cannot /,
  ],
  [
    "two agents with the same name, in whatever letters",
    [OWN + OPENAB, `${OWN}[agents.OpenAB]\ncommand = "a"\n${CODEX}`],
    [""],
    /^Two agents have the name openab: \[agents\.openab\], and the one of \[agent\]/i,
  ],
];

for (const [name, texts, models, mistake] of MISTAKES) {
  Deno.test(`readAgents: one mistake: ${name}`, () => {
    for (const text of texts) {
      for (const VTUBER_DEFAULT_MODEL of models) {
        const [first, ...more] = mistakesOf(text, { VTUBER_DEFAULT_MODEL });
        assertMatch(first!, mistake);
        assertEquals(more, []);
      }
    }
  });
}

Deno.test("readAgents: the unnamed agent can be renamed", () => {
  const { agents } = load(OWN + OPENAB, { VTUBER_DEFAULT_MODEL: "mao" }).config;
  assertEquals(agents.map(({ name }) => name), ["mao", "openab"]);
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

Deno.test("readAgents: each has the values of its table", () => {
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
    keyPermissions: [],
    startMs: 180_000,
    isSessionLimitSet: false,
  });
  assertEquals([claude?.workingDir, claude?.permissions], [".", "ask"]);
});

Deno.test("readAgents: a variable wins over every table, a flag over both", () => {
  const env = { VTUBER_WORKING_DIR: "/env", VTUBER_PERMISSIONS: "ask" };
  const applied = (flags: Env) =>
    load(TWO, env, flags).config.agents.map(({ workingDir, permissions }) => `${workingDir} ${permissions}`);
  assertEquals(applied({}), ["/env ask", "/env ask", "/env ask"]);
  const flags = { VTUBER_WORKING_DIR: "/flag", VTUBER_PERMISSIONS: "deny" };
  assertEquals(applied(flags), ["/flag deny", "/flag deny", "/flag deny"]);
});

Deno.test("readAgents: the time limit of the start, and a session limit that is set, hold for every agent", () => {
  const limitsOf = (env: Env) =>
    load(TWO, env).config.agents.map(({ startMs, isSessionLimitSet }) => `${startMs} ${isSessionLimitSet}`);
  assertEquals(new Set(limitsOf({})), new Set(["180000 false"]));
  const env = { VTUBER_AGENT_START_SECS: "300", VTUBER_MAX_SESSIONS: "10" };
  assertEquals(new Set(limitsOf(env)), new Set(["300000 true"]));
});

Deno.test("readAgents: OpenAB's variables are about [agent] only; its command beats the variable, a flag beats both", () => {
  const env = { OPENAB_AGENT_INHERIT_ENV: "TZ", OPENAB_AGENT_COMMAND: "goose acp" };
  const applied = (text: string, flags: Env = {}) =>
    load(text, env, flags).config.agents.map(({ command, args, inheritEnv }) => [command, args, inheritEnv]);
  const others = [["codex-acp", ["-x"], ["C"]], ["claude-acp", [], []]];
  assertEquals(applied(TWO), [["own", [], ["A", "TZ"]], ...others]);
  assertEquals(applied(TWO, { OPENAB_AGENT_COMMAND: "flag -f" }), [["flag", ["-f"], ["A", "TZ"]], ...others]);
  assertEquals(applied('[agent]\ninherit_env = ["A"]\n'), [["goose", ["acp"], ["A", "TZ"]]]);
});
