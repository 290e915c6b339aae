import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { AgentConfig } from "../../lib/acp/create_agent.ts";
import {
  type Config,
  ConfigError,
  type ConfigSource,
  loadConfig,
  type Loaded,
} from "../../lib/config/load.ts";
import { emotionWords } from "../../lib/turn/emotion.ts";

type Env = Record<string, string>;

/** As at home: somebody's machine. */
function load(source: ConfigSource): Loaded {
  return loadConfig({ ...source, env: { HOME: "/home/mao", ...source.env } });
}

function warningsOf(source: ConfigSource): readonly string[] {
  return load(source).warnings;
}

function mistakesOf(source: ConfigSource): readonly string[] {
  const error: ConfigError = assertThrows(() => loadConfig(source), ConfigError);
  assertEquals(error.message, error.mistakes.join("\n"));
  return error.mistakes;
}

function file(text: string): { path: string; text: string } {
  return { path: "config.toml", text };
}

const DEMO: AgentConfig = {
  name: "openab",
  command: undefined,
  args: [],
  workingDir: ".",
  env: {},
  inheritEnv: [],
  mcpServers: [],
  mode: undefined,
  model: undefined,
  processes: 1,
  permissions: "ask",
};
const DEFAULTS: Config = {
  enabled: false,
  listen: { hostname: "127.0.0.1", port: 8080 },
  authKey: undefined,
  allowedOrigins: [],
  insecure: false,
  model: "openab",
  strictModels: false,
  chatPath: "/v1/chat/completions",
  agents: [DEMO],
  fileVariables: [],
  sessions: "auto",
  onBusy: "supersede",
  sessionTtlMs: 4 * 3_600_000,
  maxSessions: 10,
  dataDir: "/home/mao/.local/share/oab-vtuber",
  permissionTimeoutMs: 60_000,
  emotions: emotionWords(),
  ambient: undefined,
  clawd: false,
  character: undefined,
  maxInFlight: 32,
  limits: { replyTimeoutMs: 180_000, turnTimeoutMs: 600_000 },
  stream: { heartbeat: "chunk", heartbeatMs: 10_000, errors: "speak" },
  shutdownGraceMs: 10_000,
  log: "info",
};

Deno.test("loadConfig: what nobody sets", () => {
  const { config, warnings } = load({ env: {} });
  assertEquals(config, DEFAULTS);
  assertEquals(warnings, []);
  assertEquals(Object.isFrozen(config), true);
});

const READ: [env: Env, expected: Partial<Config>][] = [
  [{ VTUBER_ENABLED: "true" }, { enabled: true }],
  [{ VTUBER_ENABLED: "1" }, { enabled: true }],
  [{ VTUBER_ENABLED: "TRUE" }, { enabled: true }],
  [{ VTUBER_ENABLED: " yes " }, { enabled: true }],
  [{ VTUBER_ENABLED: "false" }, { enabled: false }],
  [{ VTUBER_ENABLED: "0" }, { enabled: false }],
  [{ VTUBER_AUTH_KEY: "k" }, { authKey: "k" }],
  [{ VTUBER_DEFAULT_MODEL: "mao" }, { model: "mao", agents: [{ ...DEMO, name: "mao" }] }],
  [{ VTUBER_PATH: "/chat" }, { chatPath: "/chat" }],
  [{ VTUBER_ALLOWED_ORIGINS: "https://a.example, https://b.example ,," }, {
    allowedOrigins: ["https://a.example", "https://b.example"],
  }],
  [{ VTUBER_PERMISSIONS: "Deny" }, { agents: [{ ...DEMO, permissions: "deny" }] }],
  [{ VTUBER_PERMISSIONS: "allow" }, { agents: [{ ...DEMO, permissions: "allow" }] }],
  [{ VTUBER_PERMISSION_TIMEOUT_SECS: "5" }, { permissionTimeoutMs: 5_000 }],
  [{ VTUBER_EMOTIONS: "wink, Dizzy" }, { emotions: emotionWords(["wink", "dizzy"]) }],
  [{ VTUBER_EMOTIONS: "+wink" }, { emotions: emotionWords(["+wink"]) }],
  [{ VTUBER_CLAWD: "true" }, { clawd: true }],
  [{ VTUBER_CHARACTER: "./mao" }, { character: "./mao" }],
  [{ VTUBER_AMBIENT_INTERVAL_SECS: "60", VTUBER_AMBIENT_MODE: "text" }, { ambient: undefined }],
  [{
    VTUBER_AMBIENT_ENABLED: "true",
    VTUBER_AMBIENT_INTERVAL_SECS: "60",
    VTUBER_AMBIENT_URGENCY: "High",
    VTUBER_AMBIENT_PROMPT: "Anything new?",
    VTUBER_AMBIENT_MODE: "text",
  }, { ambient: { intervalMs: 60_000, urgency: "high", prompt: "Anything new?", mode: "text" } }],
  [{ VTUBER_MAX_IN_FLIGHT: "1" }, { maxInFlight: 1 }],
  [{ VTUBER_REPLY_TIMEOUT_SECS: "0.5", VTUBER_TURN_TIMEOUT_SECS: "0" }, {
    limits: { replyTimeoutMs: 500, turnTimeoutMs: 0 },
  }],
  [{ VTUBER_HEARTBEAT: "COMMENT", VTUBER_HEARTBEAT_SECS: "2", VTUBER_ERRORS: "event" }, {
    stream: { heartbeat: "comment", heartbeatMs: 2_000, errors: "event" },
  }],
  [{ VTUBER_HEARTBEAT: "off" }, { stream: { heartbeat: "off", heartbeatMs: 10_000, errors: "speak" } }],
  [{ VTUBER_SHUTDOWN_GRACE_SECS: "0" }, { shutdownGraceMs: 0 }],
  [{ VTUBER_LOG: "debug" }, { log: "debug" }],
  [{ VTUBER_INSECURE: "true" }, { insecure: true }],
  [{ VTUBER_SESSIONS: "Persistent" }, { sessions: "persistent" }],
  [{ VTUBER_SESSIONS: "stateless", VTUBER_ON_BUSY: "queue" }, { sessions: "stateless", onBusy: "queue" }],
  [{ VTUBER_ON_BUSY: "reject" }, { onBusy: "reject" }],
  [{ VTUBER_SESSION_TTL_HOURS: "0.5" }, { sessionTtlMs: 1_800_000 }],
  [{ VTUBER_SESSION_TTL_HOURS: "0.001" }, { sessionTtlMs: 3_600 }],
  [{ VTUBER_SESSION_TTL_HOURS: "500" }, { sessionTtlMs: 500 * 3_600_000 }],
  [{ VTUBER_MAX_SESSIONS: "1" }, { maxSessions: 1 }],
  [{ VTUBER_STRICT_MODELS: "1" }, { strictModels: true }],
  [{ VTUBER_DATA_DIR: "./memory" }, { dataDir: "./memory" }],
  [{ VTUBER_DATA_DIR: "None" }, { dataDir: undefined }],
];

for (const [env, expected] of READ) {
  Deno.test(`loadConfig: ${JSON.stringify(env)}`, () => {
    const { config, warnings } = load({ env });
    assertEquals(config, { ...DEFAULTS, ...expected });
    assertEquals(warnings, []);
  });
}

const ADDRESSES: [listen: string, hostname: string, port: number][] = [
  ["127.0.0.1:8080", "127.0.0.1", 8080],
  ["127.0.0.1:0", "127.0.0.1", 0],
  ["localhost:65535", "localhost", 65535],
  ["[::1]:8080", "::1", 8080],
  ["[::1]:0", "::1", 0],
  ["127.1.2.3:80", "127.1.2.3", 80],
  [" 127.0.0.1:9 ", "127.0.0.1", 9],
];

for (const [listen, hostname, port] of ADDRESSES) {
  Deno.test(`loadConfig: listens on ${JSON.stringify(listen)}`, () => {
    assertEquals(loadConfig({ env: { GATEWAY_LISTEN: listen } }).config.listen, { hostname, port });
  });
}

for (
  const listen of [
    "8080",
    ":8080",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:http",
    "127.0.0.1:-1",
    "127.0.0.1:65536",
    "127.0.0.1:999999",
    "::1:8080",
    "[::1]",
    "[::1:8080",
    "::1]:8080",
    "[]:8080",
    "http://127.0.0.1:8080",
    "127.0.0.1:8080/v1",
    "a b:8080",
  ]
) {
  Deno.test(`loadConfig: ${listen} is no address`, () => {
    assertEquals(mistakesOf({ env: { GATEWAY_LISTEN: listen } }), [
      "GATEWAY_LISTEN: must be an address and a port, like 127.0.0.1:8080 or [::1]:8080.",
    ]);
  });
}

const OPEN_ADDRESSES = ["0.0.0.0:8080", "[::]:8080", "192.168.1.2:80", "nas.lan:8080", "[2001:db8::1]:8080"];
const DOORS: [name: string, env: Env, opens: boolean][] = [
  ["without a key", {}, false],
  ["with an empty key", { VTUBER_AUTH_KEY: "" }, false],
  ["with a key", { VTUBER_AUTH_KEY: "k" }, true],
  ["insecure", { VTUBER_INSECURE: "true" }, true],
  ["explicitly not insecure", { VTUBER_INSECURE: "false" }, false],
];

for (const [name, env, opens] of DOORS) {
  Deno.test(`loadConfig: other machines are ${opens ? "" : "not "}served ${name}`, () => {
    for (const listen of OPEN_ADDRESSES) {
      const source = { env: { ...env, GATEWAY_LISTEN: listen } };
      if (opens) {
        loadConfig(source);
        continue;
      }
      const [mistake, ...more] = mistakesOf(source);
      assertEquals(more, []);
      assertMatch(
        mistake!,
        /GATEWAY_LISTEN=.*open to other machines: set VTUBER_AUTH_KEY, or VTUBER_INSECURE=true/,
      );
    }
  });
}

const WRONG: [variable: string, value: string, says: RegExp][] = [
  ["VTUBER_ENABLED", "maybe", /must be true or false/],
  ["VTUBER_INSECURE", "2", /must be true or false/],
  ["VTUBER_PATH", "chat", /must begin with a slash/],
  ["VTUBER_PERMISSIONS", "always", /must be one of ask, allow, deny/],
  ["VTUBER_MAX_IN_FLIGHT", "0", /whole number from 1 to 10000/],
  ["VTUBER_MAX_IN_FLIGHT", "10001", /whole number from 1 to 10000/],
  ["VTUBER_MAX_IN_FLIGHT", "1.5", /whole number/],
  ["VTUBER_MAX_IN_FLIGHT", "-1", /whole number/],
  ["VTUBER_MAX_IN_FLIGHT", "many", /whole number/],
  ["VTUBER_REPLY_TIMEOUT_SECS", "-1", /number of seconds/],
  ["VTUBER_REPLY_TIMEOUT_SECS", "3m", /number of seconds/],
  ["VTUBER_TURN_TIMEOUT_SECS", "86401", /from 0 to 86400 seconds/],
  ["VTUBER_TURN_TIMEOUT_SECS", "Infinity", /number of seconds/],
  ["VTUBER_HEARTBEAT", "ping", /must be one of chunk, comment, off/],
  ["VTUBER_HEARTBEAT_SECS", "0", /from 0\.05/],
  ["VTUBER_HEARTBEAT_SECS", "1e1", /number of seconds/],
  ["VTUBER_ERRORS", "shout", /must be one of speak, event/],
  ["VTUBER_SHUTDOWN_GRACE_SECS", "soon", /number of seconds/],
  ["VTUBER_LOG", "verbose", /must be one of debug, info, warn, error/],
  ["VTUBER_SESSIONS", "forever", /must be one of auto, persistent, stateless/],
  ["VTUBER_ON_BUSY", "wait", /must be one of supersede, queue, reject/],
  ["VTUBER_SESSION_TTL_HOURS", "0", /from 0\.001 to 500 hours/],
  ["VTUBER_SESSION_TTL_HOURS", "501", /from 0\.001 to 500 hours/],
  ["VTUBER_SESSION_TTL_HOURS", "4h", /number of hours/],
  ["VTUBER_MAX_SESSIONS", "0", /whole number from 1 to 10000/],
  ["VTUBER_DEFAULT_MODEL", "default", /may not be default/],
  ["VTUBER_DEFAULT_MODEL", "mao@home", /may have no @/],
  ["VTUBER_STRICT_MODELS", "maybe", /must be true or false/],
  ["OPENAB_AGENT_COMMAND", 'opencode "acp', /quote that is not closed/],
];

for (const [variable, value, says] of WRONG) {
  Deno.test(`loadConfig: ${variable}=${value} is a mistake`, () => {
    const [mistake, ...more] = mistakesOf({ env: { [variable]: value } });
    assertEquals(more, []);
    assertEquals(mistake!.startsWith(`${variable}: `), true, mistake);
    assertMatch(mistake!, says);
  });
}

Deno.test("loadConfig: every mistake is told at once, each with its variable", () => {
  const env = Object.fromEntries(WRONG.map(([variable, value]) => [variable, value]));
  const mistakes = mistakesOf({
    env: { ...env, GATEWAY_LISTEN: "nowhere" },
    file: file('[agent]\ncommand = "${NOT_SET}/agent"\nargs = ["${NOR_THIS}"]\n'),
  });
  const named = [...Object.keys(env), "GATEWAY_LISTEN", "NOT_SET", "NOR_THIS"];
  for (const name of named) {
    const naming = mistakes.filter((mistake) => new RegExp(`(^|\\W)${name}(\\W|$)`).test(mistake));
    assertEquals(naming.length, 1, name);
  }
  assertEquals(mistakes.length, named.length);
});

Deno.test("loadConfig: what is odd is told with the mistakes", () => {
  const env = { VTUBER_NOPE: "1" };
  const text = '[agents.a]\ncomand = "true"\n';
  const error = assertThrows(() => loadConfig({ env, file: file(text), os: "linux" }), ConfigError);
  assertEquals(error.mistakes, ["config.toml: agents.a.command: is required: the agent's program."]);
  assertEquals(error.warnings.slice(0, 2), [
    "config.toml: agents.a.comand is not a setting of this version. Did you mean command?",
    "VTUBER_NOPE is not a setting of this version.",
  ]);
});

Deno.test("loadConfig: what no variable can be called is not handed on, and what it is, is not told", () => {
  for (const names of ["KEY=sk-hush", "A,sk-hush more"]) {
    const [mistake, ...more] = mistakesOf({ env: { OPENAB_AGENT_INHERIT_ENV: names } });
    assertEquals(more, []);
    assertMatch(mistake!, /^OPENAB_AGENT_INHERIT_ENV: must be names of variables/);
    assertEquals(mistake!.includes("hush"), false);
  }
});

Deno.test("loadConfig: an empty variable counts as unset", () => {
  const names = Object.keys(Object.fromEntries(WRONG.map(([name]) => [name, ""])));
  const env = Object.fromEntries([...names, "GATEWAY_LISTEN", "VTUBER_AUTH_KEY", "VTUBER_DEFAULT_MODEL"].map((
    name,
  ) => [name, ""]));
  assertEquals(load({ env }).config, DEFAULTS);
  assertEquals(warningsOf({ env: { VTUBER_REPLY_TAIL_IDLE_MS: "" } }), []);
});

Deno.test("loadConfig: a variable of nothing but spaces counts as unset", () => {
  const env = {
    GATEWAY_LISTEN: " ",
    VTUBER_MAX_IN_FLIGHT: "\t",
    VTUBER_LOG: "  ",
    VTUBER_DEFAULT_MODEL: " ",
  };
  assertEquals(load({ env }).config, DEFAULTS);
});

const AGENT_FILE = file(`
[agent]
command = "claude-agent-acp"
args = ["--verbose"]
working_dir = "/from/file"
inherit_env = ["ANTHROPIC_API_KEY"]
[agent.env]
MODE = "file"
`);
const AGENT = {
  ...DEMO,
  command: "claude-agent-acp",
  args: ["--verbose"],
  workingDir: "/from/file",
  env: { MODE: "file" },
  inheritEnv: ["ANTHROPIC_API_KEY"],
};

const PRECEDENCE: [name: string, source: ConfigSource, expected: Partial<Config>][] = [
  ["a flag beats the environment", {
    env: { GATEWAY_LISTEN: "127.0.0.1:1", VTUBER_LOG: "warn" },
    flags: { GATEWAY_LISTEN: "127.0.0.1:2" },
  }, { listen: { hostname: "127.0.0.1", port: 2 }, log: "warn" }],
  ["an empty flag does not", {
    env: { VTUBER_DEFAULT_MODEL: "env" },
    flags: { VTUBER_DEFAULT_MODEL: "" },
  }, { model: "env", agents: [{ ...DEMO, name: "env" }] }],
  ["the agent of the file", { env: {}, file: AGENT_FILE }, { agents: [AGENT] }],
  ["the file's agent command beats the environment's", {
    env: { OPENAB_AGENT_COMMAND: "opencode acp" },
    file: AGENT_FILE,
  }, { agents: [AGENT] }],
  ["a flag's agent command beats the file's", {
    env: { OPENAB_AGENT_COMMAND: "opencode acp" },
    flags: { OPENAB_AGENT_COMMAND: "codex-acp -x" },
    file: AGENT_FILE,
  }, { agents: [{ ...AGENT, command: "codex-acp", args: ["-x"] }] }],
  ["the environment's agent command, where the file has none", {
    env: { OPENAB_AGENT_COMMAND: "opencode acp" },
    file: file('[agent]\nworking_dir = "/from/file"\n'),
  }, { agents: [{ ...DEMO, command: "opencode", args: ["acp"], workingDir: "/from/file" }] }],
  ["the environment's folder beats the file's", {
    env: { VTUBER_WORKING_DIR: "/from/env" },
    file: AGENT_FILE,
  }, { agents: [{ ...AGENT, workingDir: "/from/env" }] }],
  ["a flag's folder beats both", {
    env: { VTUBER_WORKING_DIR: "/from/env" },
    flags: { VTUBER_WORKING_DIR: "/from/flag" },
    file: AGENT_FILE,
  }, { agents: [{ ...AGENT, workingDir: "/from/flag" }] }],
  ["names to hand on are gathered", {
    env: { OPENAB_AGENT_INHERIT_ENV: "LANG, TZ" },
    file: AGENT_FILE,
  }, { agents: [{ ...AGENT, inheritEnv: ["ANTHROPIC_API_KEY", "LANG", "TZ"] }] }],
  ["a file without an agent changes nothing", { env: {}, file: file("[gateway]\nx = 1\n") }, {}],
  ["an empty file changes nothing", { env: {}, file: file("") }, {}],
];

for (const [name, source, expected] of PRECEDENCE) {
  Deno.test(`loadConfig: ${name}`, () => {
    assertEquals(load(source).config, { ...DEFAULTS, ...expected });
  });
}

const COMMANDS: [line: string, command: string | undefined, args: string[]][] = [
  ["opencode", "opencode", []],
  ["opencode acp", "opencode", ["acp"]],
  ["  opencode \t acp  ", "opencode", ["acp"]],
  ['"/Program Files/agent" --acp', "/Program Files/agent", ["--acp"]],
  ["'/a b/agent' 'c d'", "/a b/agent", ["c d"]],
  [`agent "it's" 'a "b"'`, "agent", ["it's", 'a "b"']],
  ['agent --name="two words"', "agent", ["--name=two words"]],
  ['agent ""', "agent", [""]],
  ["npx -y @zed-industries/claude-agent-acp", "npx", ["-y", "@zed-industries/claude-agent-acp"]],
  ["C:\\agents\\acp.exe -x", "C:\\agents\\acp.exe", ["-x"]],
  ["agent $HOME ${X} ;rm|x", "agent", ["$HOME", "${X}", ";rm|x"]],
  ["  ", undefined, []],
];

for (const [line, command, args] of COMMANDS) {
  Deno.test(`loadConfig: the command ${JSON.stringify(line)}`, () => {
    const [agent] = load({ env: { OPENAB_AGENT_COMMAND: line } }).config.agents;
    assertEquals([agent?.command, agent?.args], [command, args]);
  });
}

for (const line of ['"', "'", 'agent "x', "agent 'x", `agent "x'`, `a"b c`]) {
  Deno.test(`loadConfig: the command ${line} has a quote that is not closed`, () => {
    assertMatch(mistakesOf({ env: { OPENAB_AGENT_COMMAND: line } })[0]!, /^OPENAB_AGENT_COMMAND: .*quote/);
  });
}

Deno.test("loadConfig: a variable without effect is warned of, once, with the reason", () => {
  assertEquals(warningsOf({ env: { VTUBER_REPLY_TAIL_IDLE_MS: "1500" } }), [
    "VTUBER_REPLY_TAIL_IDLE_MS has no effect here: a turn ends when the agent says so.",
  ]);
});

Deno.test("loadConfig: a variable that this version does not know is warned of", () => {
  const env = {
    VTUBER_AUTHKEY: "x",
    VTUBER_LOG: "info",
    OPENAB_OTHER: "y",
    OPENAB_CONFIG: "z",
    PATH: "/bin",
  };
  assertEquals(warningsOf({ env }), ["VTUBER_AUTHKEY is not a setting of this version."]);
});

Deno.test("loadConfig: variables by the names of an object's own are nobody's business", () => {
  assertEquals(warningsOf({ env: { constructor: "x", toString: "y", hasOwnProperty: "z" } }), []);
});

Deno.test("loadConfig: a model's name may have a slash", () => {
  assertEquals(load({ env: { VTUBER_DEFAULT_MODEL: "mao/large" } }).config.model, "mao/large");
});

Deno.test("loadConfig: ~ is the home folder, in folders and in the agent's command", () => {
  const told = (home: Env, path: string) => {
    const env = {
      ...home,
      VTUBER_WORKING_DIR: path,
      VTUBER_DATA_DIR: path,
      OPENAB_AGENT_COMMAND: `${path} ~/x`,
    };
    const { agents: [agent], dataDir } = loadConfig({ env }).config;
    assertEquals([agent?.workingDir, agent?.args], [dataDir, ["~/x"]]);
    return [agent?.command, dataDir];
  };
  const both = (path: string) => [path, path];
  assertEquals(told({ HOME: "/home/mao" }, "~/agents"), both("/home/mao/agents"));
  assertEquals(told({ HOME: "/home/mao" }, "~"), both("/home/mao"));
  assertEquals(told({ HOME: "", USERPROFILE: "C:\\mao" }, "~\\agents"), both("C:\\mao\\agents"));
  for (const path of ["~other/agents", "/a/~/b", "a~"]) {
    assertEquals(told({ HOME: "/home/mao" }, path), both(path));
  }
  assertEquals(told({}, "~/agents"), both("~/agents"));
});

Deno.test("loadConfig: ~ is the home folder in the file too", () => {
  const text = '[agents.a]\ncommand = "~/bin/a"\nworking_dir = "~/project"\n';
  const [agent] = load({ env: {}, file: file(text) }).config.agents;
  assertEquals([agent?.command, agent?.workingDir], ["/home/mao/bin/a", "/home/mao/project"]);
});

Deno.test("loadConfig: which variables the file's agents are made with", () => {
  const text = '[agent]\ncommand = "${BIN}/a"\nargs = ["${A}", "${A}"]\n[discord]\ntoken = "${OTHER}"\n';
  const { fileVariables } = load({ env: { BIN: "/bin", A: "a", OTHER: "o" }, file: file(text) }).config;
  assertEquals(fileVariables, ["BIN", "A"]);
});
