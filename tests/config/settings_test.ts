import { assertEquals, assertMatch, assertObjectMatch } from "@std/assert";
import type { Config } from "../../lib/config/load.ts";
import { SETTING_HELP } from "../../lib/config/settings.ts";
import { emotionWords } from "../../lib/turn/emotion.ts";
import { type Env, load, mistakesOf } from "../support/harness/config_fixture.ts";

Deno.test("SETTING_HELP: unique names and flags, and a sentence about each", () => {
  const names = SETTING_HELP.map(({ env }) => env);
  const flags = SETTING_HELP.flatMap(({ flag }) => flag ?? []);
  assertEquals(new Set(names).size, names.length);
  assertEquals(new Set(flags).size, flags.length);
  for (const flag of flags) assertMatch(flag, /^[a-z]+(-[a-z]+)*$/);
  for (const { help, group } of SETTING_HELP) assertMatch(`${group}: ${help}`, /^[A-Z]\w+: .{10,}\.$/);
});

Deno.test("SETTING_HELP: keys have no flags, because every user of a machine sees flags", () => {
  assertEquals(SETTING_HELP.filter(({ flag }) => flag === undefined).map(({ env }) => env), [
    "VTUBER_AUTH_KEY",
    "VTUBER_SPEECH_KEY",
    "VTUBER_TRANSCRIPTION_KEY",
  ]);
});

Deno.test("SETTING_HELP: switches are the settings that are true or false", () => {
  assertEquals(SETTING_HELP.filter(({ isSwitch }) => isSwitch).map(({ env }) => env), [
    "VTUBER_ENABLED",
    "VTUBER_INSECURE",
    "VTUBER_STRICT_MODELS",
    "VTUBER_CLAWD",
    "VTUBER_AMBIENT_ENABLED",
  ]);
});

const DEFAULTS: Partial<Config> = {
  enabled: false,
  listen: { hostname: "127.0.0.1", port: 8080 },
  authKey: undefined,
  allowedOrigins: [],
  insecure: false,
  model: "openab",
  strictModels: false,
  chatPath: "/v1/chat/completions",
  agents: [{
    name: "openab",
    command: undefined,
    args: [],
    workingDir: ".",
    env: {},
    inheritEnv: [],
    mcpServers: [],
    mode: undefined,
    model: undefined,
    permissions: "ask",
    startMs: 180_000,
    isSessionLimitSet: false,
  }],
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
  replyTimeoutMs: 180_000,
  turnTimeoutMs: 600_000,
  heartbeat: "chunk",
  heartbeatMs: 10_000,
  errors: "speak",
  shutdownGraceMs: 10_000,
  log: "info",
};

function assertConfig(config: Config, expected: Partial<Config>): void {
  assertObjectMatch(config as unknown as Record<string, unknown>, expected);
}

Deno.test("loadConfig: without any setting, everything has its default", () => {
  const { config, warnings } = load();
  assertConfig(config, DEFAULTS);
  assertEquals(warnings, []);
  assertEquals(Object.isFrozen(config), true);
});

Deno.test("loadConfig: an empty or blank text counts as unset", () => {
  const names = [...SETTING_HELP.map(({ env }) => env), "VTUBER_REPLY_TAIL_IDLE_MS"];
  for (const blank of ["", " \t"]) {
    const { config, warnings } = load("", Object.fromEntries(names.map((name) => [name, blank])));
    assertConfig(config, DEFAULTS);
    assertEquals(warnings, []);
  }
});

const AMBIENT = { intervalMs: 60_000, urgency: "high", prompt: "Anything new?", mode: "text" } as const;
const READ: [env: Env, expected: Partial<Config>][] = [
  ...["true", "1", "TRUE", " yes ", "on"].map((value): [Env, Partial<Config>] => [{ VTUBER_ENABLED: value }, {
    enabled: true,
  }]),
  [{ VTUBER_ENABLED: "false" }, { enabled: false }],
  [{ VTUBER_AUTH_KEY: "k" }, { authKey: "k" }],
  [{ VTUBER_DEFAULT_MODEL: "mao/large" }, { model: "mao/large" }],
  [{ VTUBER_PATH: "/chat" }, { chatPath: "/chat" }],
  [{ VTUBER_ALLOWED_ORIGINS: "https://a.example, https://b.example ,," }, {
    allowedOrigins: ["https://a.example", "https://b.example"],
  }],
  [{ VTUBER_PERMISSION_TIMEOUT_SECS: "5" }, { permissionTimeoutMs: 5_000 }],
  [{ VTUBER_EMOTIONS: "wink, Dizzy" }, { emotions: emotionWords(["wink", "dizzy"]) }],
  [{ VTUBER_EMOTIONS: "+wink" }, { emotions: emotionWords(["+wink"]) }],
  [{ VTUBER_CHARACTER: "./mao" }, { character: "./mao" }],
  [{ VTUBER_AMBIENT_INTERVAL_SECS: "60", VTUBER_AMBIENT_MODE: "text" }, { ambient: undefined }],
  [{
    VTUBER_AMBIENT_ENABLED: "true",
    VTUBER_AMBIENT_INTERVAL_SECS: "60",
    VTUBER_AMBIENT_URGENCY: "High",
    VTUBER_AMBIENT_PROMPT: "Anything new?",
    VTUBER_AMBIENT_MODE: "text",
  }, { ambient: AMBIENT }],
  [{ VTUBER_MAX_IN_FLIGHT: "1" }, { maxInFlight: 1 }],
  [{ VTUBER_REPLY_TIMEOUT_SECS: "0.5", VTUBER_TURN_TIMEOUT_SECS: "0" }, {
    replyTimeoutMs: 500,
    turnTimeoutMs: 0,
  }],
  [{ VTUBER_HEARTBEAT: "COMMENT", VTUBER_HEARTBEAT_SECS: "2", VTUBER_ERRORS: "event" }, {
    heartbeat: "comment",
    heartbeatMs: 2_000,
    errors: "event",
  }],
  [{ VTUBER_SHUTDOWN_GRACE_SECS: "0" }, { shutdownGraceMs: 0 }],
  [{ VTUBER_LOG: "debug" }, { log: "debug" }],
  [{ VTUBER_SESSIONS: "Persistent" }, { sessions: "persistent" }],
  [{ VTUBER_SESSIONS: "stateless", VTUBER_ON_BUSY: "queue" }, { sessions: "stateless", onBusy: "queue" }],
  [{ VTUBER_SESSION_TTL_HOURS: "0.5" }, { sessionTtlMs: 1_800_000 }],
  [{ VTUBER_STRICT_MODELS: "1" }, { strictModels: true }],
  [{ VTUBER_DATA_DIR: "./memory" }, { dataDir: "./memory" }],
  ...([
    ["127.0.0.1:0", "127.0.0.1", 0],
    ["localhost:65535", "localhost", 65535],
    ["[::1]:8080", "::1", 8080],
    [" 127.0.0.1:9 ", "127.0.0.1", 9],
  ] as const).map(([text, hostname, port]): [Env, Partial<Config>] => [{ GATEWAY_LISTEN: text }, {
    listen: { hostname, port },
  }]),
];

for (const [env, expected] of READ) {
  Deno.test(`loadConfig: reads ${JSON.stringify(env)}`, () => {
    const { config, warnings } = load("", env);
    assertConfig(config, expected);
    assertEquals(warnings, []);
  });
}

const WRONG: [variable: string, values: string[], says: RegExp][] = [
  ["VTUBER_ENABLED", ["maybe"], /must be true or false/],
  ["VTUBER_PATH", ["chat"], /must begin with a slash/],
  ["VTUBER_PERMISSIONS", ["always"], /must be one of ask, allow, deny/],
  ["VTUBER_MAX_IN_FLIGHT", ["0", "10001", "1.5", "-1", "many"], /must be a whole number from 1 to 10000/],
  ["VTUBER_REPLY_TIMEOUT_SECS", ["-1", "3m"], /must be a number of seconds from 0 to 86400/],
  ["VTUBER_TURN_TIMEOUT_SECS", ["86401", "Infinity"], /must be a number of seconds from 0 to 86400/],
  ["VTUBER_HEARTBEAT", ["ping"], /must be one of chunk, comment, off/],
  ["VTUBER_HEARTBEAT_SECS", ["0", "1e1"], /must be a number of seconds from 0\.05 to 86400/],
  ["VTUBER_ERRORS", ["shout"], /must be one of speak, event/],
  ["VTUBER_LOG", ["verbose"], /must be one of debug, info, warn, error/],
  ["VTUBER_SESSIONS", ["forever"], /must be one of auto, persistent, stateless/],
  ["VTUBER_ON_BUSY", ["wait"], /must be one of supersede, queue, reject/],
  ["VTUBER_SESSION_TTL_HOURS", ["0", "501", "4h"], /must be a number of hours from 0\.001 to 500/],
  ["VTUBER_DEFAULT_MODEL", ["default", "Default"], /cannot be default/],
  ["VTUBER_DEFAULT_MODEL", ["mao@home"], /cannot contain an @/],
  ["VTUBER_DEFAULT_MODEL", ["mao\u202e1", "mao\u009b1"], /cannot contain control characters/],
  [
    "OPENAB_AGENT_COMMAND",
    ['"', "'", 'opencode "acp', "agent 'x", `agent "x'`, `a"b c`],
    /has a quote that is not closed/,
  ],
  ["OPENAB_AGENT_INHERIT_ENV", ["KEY=sk-hush", "A,sk-hush more"], /must be names of variables(?!.*hush)/],
  ["GATEWAY_LISTEN", [
    ..."8080 :8080 127.0.0.1 127.0.0.1: 127.0.0.1:http 127.0.0.1:-1 127.0.0.1:65536 127.0.0.1:999999".split(
      " ",
    ),
    ..."::1:8080 [::1] [::1:8080 ::1]:8080 []:8080 http://127.0.0.1:8080 127.0.0.1:8080/v1".split(" "),
    "a b:8080",
  ], /must be an address and a port, like 127\.0\.0\.1:8080 or \[::1\]:8080/],
];

for (const [variable, values, says] of WRONG) {
  Deno.test(`loadConfig: a wrong ${variable} is a mistake that ${says.source.slice(0, 30)}`, () => {
    for (const value of values) {
      const [mistake, ...more] = mistakesOf("", { [variable]: value });
      assertEquals(more, []);
      assertMatch(mistake!, new RegExp(`^${variable}: ${says.source}`));
    }
  });
}

Deno.test("loadConfig: finds every mistake of settings and keys at once, and each names its variable", () => {
  const env = Object.fromEntries(WRONG.map(([variable, values]) => [variable, values[0]!]));
  const mistakes = mistakesOf('[agent]\ncommand = "${NOT_SET}/agent"\nargs = ["${NOR_THIS}"]\n', env);
  const names = [...Object.keys(env), "NOT_SET", "NOR_THIS"];
  for (const name of names) {
    const pattern = new RegExp(`(^|\\W)${name}(\\W|$)`);
    assertEquals(mistakes.filter((mistake) => pattern.test(mistake)).length, 1, name);
  }
  assertEquals(mistakes.length, names.length);
});

const COMMANDS: [line: string, command: string | undefined, args: string[]][] = [
  ["opencode", "opencode", []],
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
    const [agent] = load("", { OPENAB_AGENT_COMMAND: line }).config.agents;
    assertEquals([agent?.command, agent?.args], [command, args]);
  });
}
