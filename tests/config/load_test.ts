import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { AgentConfig } from "../../lib/acp/create_agent.ts";
import { type Config, dataDirOf, type Flags, loadConfig, readFlags } from "../../lib/config/load.ts";
import { SETTING_HELP } from "../../lib/config/settings.ts";
import { configError, type Env, load, mistakesOf } from "../support/harness/config_fixture.ts";

const OPEN_ADDRESSES = ["0.0.0.0:8080", "[::]:8080", "192.168.1.2:80", "nas.lan:8080", "[2001:db8::1]:8080"];
const ACCESS: [name: string, env: Env, isServed: boolean][] = [
  ["without a key", {}, false],
  ["with an empty key", { VTUBER_AUTH_KEY: "" }, false],
  ["with a key", { VTUBER_AUTH_KEY: "k" }, true],
  ["if insecure", { VTUBER_INSECURE: "true" }, true],
  ["if explicitly not insecure", { VTUBER_INSECURE: "false" }, false],
];

for (const [name, env, isServed] of ACCESS) {
  Deno.test(`loadConfig: other machines are ${isServed ? "" : "not "}served ${name}`, () => {
    for (const listen of OPEN_ADDRESSES) {
      const all = { ...env, GATEWAY_LISTEN: listen };
      if (isServed) load("", all);
      else {assertMatch(
          mistakesOf("", all).join("\n"),
          /^GATEWAY_LISTEN=.*set VTUBER_AUTH_KEY, or VTUBER_INSECURE=true.*$/,
        );}
    }
  });
}

const FILE = `
[agent]
command = "claude-agent-acp"
args = ["--verbose"]
working_dir = "/from/file"
inherit_env = ["ANTHROPIC_API_KEY"]
[agent.env]
MODE = "file"
`;
const DIR = '[agent]\nworking_dir = "/from/file"\n';
const OPENCODE = { OPENAB_AGENT_COMMAND: "opencode acp" };
const PRECEDENCE: [name: string, text: string, env: Env, flags: Env, agent: Partial<AgentConfig>][] = [
  ["the file's agent is served", FILE, {}, {}, {
    command: "claude-agent-acp",
    args: ["--verbose"],
    workingDir: "/from/file",
    env: { MODE: "file" },
    inheritEnv: ["ANTHROPIC_API_KEY"],
  }],
  ["the file's command beats the variable's", FILE, OPENCODE, {}, {
    command: "claude-agent-acp",
    args: ["--verbose"],
  }],
  ["a flag's command beats the file's", FILE, OPENCODE, { OPENAB_AGENT_COMMAND: "codex-acp -x" }, {
    command: "codex-acp",
    args: ["-x"],
    workingDir: "/from/file",
    inheritEnv: ["ANTHROPIC_API_KEY"],
  }],
  ["the variable's command counts if the file has none", DIR, OPENCODE, {}, {
    command: "opencode",
    args: ["acp"],
    workingDir: "/from/file",
  }],
  ["the variable's folder beats the file's", FILE, { VTUBER_WORKING_DIR: "/env" }, {}, {
    workingDir: "/env",
  }],
  ["a flag's folder beats both", FILE, { VTUBER_WORKING_DIR: "/env" }, { VTUBER_WORKING_DIR: "/flag" }, {
    workingDir: "/flag",
  }],
  ["names to inherit are joined", FILE, { OPENAB_AGENT_INHERIT_ENV: "LANG, TZ" }, {}, {
    inheritEnv: ["ANTHROPIC_API_KEY", "LANG", "TZ"],
  }],
  ["a file without an agent changes nothing", "[gateway]\nx = 1\n", {}, {}, { command: undefined }],
];

for (const [name, text, env, flags, expected] of PRECEDENCE) {
  Deno.test(`loadConfig: ${name}`, () => {
    const [agent] = load(text, env, flags).config.agents;
    assertEquals({ ...agent, ...expected }, agent);
  });
}

Deno.test("loadConfig: a flag beats a variable, an empty flag does not", () => {
  const env = { GATEWAY_LISTEN: "127.0.0.1:1", VTUBER_LOG: "warn" };
  const { listen, log } = load("", env, { GATEWAY_LISTEN: "127.0.0.1:2", VTUBER_LOG: "" }).config;
  assertEquals([listen.port, log], [2, "warn"]);
});

const WARNINGS: [env: Env, warnings: RegExp[]][] = [
  [{ VTUBER_REPLY_TAIL_IDLE_MS: "1500" }, [
    /^VTUBER_REPLY_TAIL_IDLE_MS has no effect: a turn ends when the agent .*out\.$/,
  ]],
  [{ VTUBER_AUTHKEY: "x" }, [
    /^VTUBER_AUTHKEY is not a setting of this version\. Did you mean VTUBER_AUTH_KEY\?$/,
  ]],
  [{ VTUBER_NOPE: "x" }, [/^VTUBER_NOPE is not a setting of this version\.$/]],
  [{ VTUBER_LOG: "info", OPENAB_OTHER: "y", OPENAB_CONFIG: "z", PATH: "/bin" }, []],
  [{ constructor: "x", toString: "y", hasOwnProperty: "z" }, []],
];

for (const [env, warnings] of WARNINGS) {
  Deno.test(`loadConfig: ${Object.keys(env).join(", ")} cause ${warnings.length} warnings`, () => {
    const found = load("", env).warnings;
    assertEquals(found.length, warnings.length);
    warnings.forEach((pattern, index) => assertMatch(found[index]!, pattern));
  });
}

Deno.test("loadConfig: reports the warnings with the mistakes", () => {
  const { message, mistakes, warnings } = configError('[agents.a]\ncomand = "true"\n', { VTUBER_NOPE: "1" });
  assertEquals(mistakes, ["config.toml: agents.a.command: is required: the agent's program."]);
  assertEquals(message, mistakes.join("\n"));
  assertEquals(warnings, [
    "config.toml: agents.a.comand is not a setting of this version. Did you mean command?",
    "VTUBER_NOPE is not a setting of this version.",
  ]);
});

Deno.test("loadConfig: a configuration of an earlier version loads, with one warning for each removed key", () => {
  const text = '[agent]\ncommand = "a"\nprocesses = 3\n[agents.b]\ncommand = "b"\nprocesses = "many"\n';
  const { config, warnings } = load(text);
  assertEquals(config.agents.map(({ name }) => name), ["openab", "b"]);
  assertEquals(
    warnings,
    ["agent", "agents.b"].map((table) =>
      `config.toml: ${table}.processes has no effect: one process now serves all sessions of an agent. Take it out.`
    ),
  );
});

Deno.test("loadConfig: ~ is the home folder, in folders and in the command, of variables and of the file", () => {
  const expand = (home: Env, path: string) => {
    const env = {
      ...home,
      VTUBER_WORKING_DIR: path,
      VTUBER_DATA_DIR: path,
      OPENAB_AGENT_COMMAND: `${path} ~/x`,
    };
    const { agents: [agent], dataDir } = loadConfig({ env }).config;
    assertEquals([agent?.workingDir, agent?.command, agent?.args], [dataDir, dataDir, ["~/x"]]);
    return dataDir;
  };
  assertEquals(expand({ HOME: "/home/mao" }, "~/agents"), "/home/mao/agents");
  assertEquals(expand({ HOME: "/home/mao" }, "~"), "/home/mao");
  assertEquals(expand({ HOME: "", USERPROFILE: "C:\\mao" }, "~\\agents"), "C:\\mao\\agents");
  for (const path of ["~other/agents", "/a/~/b", "a~"]) {
    assertEquals(expand({ HOME: "/home/mao" }, path), path);
  }
  assertEquals(expand({}, "~/agents"), "~/agents");
  const [agent] = load('[agents.a]\ncommand = "~/bin/a"\nworking_dir = "~/project"\n').config.agents;
  assertEquals([agent?.command, agent?.workingDir], ["/home/mao/bin/a", "/home/mao/project"]);
});

Deno.test("loadConfig: fileVariables are the variables of the file's agents", () => {
  const text = '[agent]\ncommand = "${BIN}/a"\nargs = ["${A}", "${A}"]\n[discord]\ntoken = "${OTHER}"\n';
  assertEquals(load(text, { BIN: "/bin", A: "a", OTHER: "o" }).config.fileVariables, ["BIN", "A"]);
});

const HOME = { HOME: "/home/mao" };
const FOLDERS: [os: string, set: string | undefined, env: Env, folder: string | undefined][] = [
  ["linux", undefined, HOME, "/home/mao/.local/share/oab-vtuber"],
  ["linux", undefined, { ...HOME, XDG_DATA_HOME: "/data" }, "/data/oab-vtuber"],
  ["linux", undefined, { XDG_DATA_HOME: "/data" }, "/data/oab-vtuber"],
  ["linux", undefined, { ...HOME, XDG_DATA_HOME: "data" }, "/home/mao/.local/share/oab-vtuber"],
  ["linux", undefined, { ...HOME, XDG_DATA_HOME: "" }, "/home/mao/.local/share/oab-vtuber"],
  ["linux", undefined, { HOME: "" }, undefined],
  ["linux", undefined, {}, undefined],
  ["freebsd", undefined, HOME, "/home/mao/.local/share/oab-vtuber"],
  [
    "darwin",
    undefined,
    { ...HOME, XDG_DATA_HOME: "/data" },
    "/home/mao/Library/Application Support/oab-vtuber",
  ],
  ["darwin", undefined, {}, undefined],
  ["windows", undefined, { LOCALAPPDATA: "C:\\Users\\mao\\Local" }, "C:\\Users\\mao\\Local\\oab-vtuber"],
  ["windows", undefined, { USERPROFILE: "C:\\Users\\mao" }, "C:\\Users\\mao\\AppData\\Local\\oab-vtuber"],
  ["windows", undefined, HOME, undefined],
  ["linux", "/elsewhere", HOME, "/elsewhere"],
  ["linux", "here", {}, "here"],
  ["linux", "none", HOME, undefined],
  ["windows", "NONE", { LOCALAPPDATA: "C:\\Local" }, undefined],
];

for (const [os, set, env, folder] of FOLDERS) {
  Deno.test(`dataDirOf: ${set ?? "unset"} on ${os} with ${JSON.stringify(env)}`, () => {
    assertEquals(dataDirOf(set, os, env), folder);
    assertEquals(loadConfig({ env: { ...env, VTUBER_DATA_DIR: set ?? "" }, os }).config.dataDir, folder);
  });
}

Deno.test("loadConfig: without a home folder it warns that nothing is kept, unless nothing should be", () => {
  assertMatch(loadConfig({ env: {} }).warnings.join("\n"), /^Conversations are not kept.*VTUBER_DATA_DIR.*$/);
  const settings: Env[] = [{ VTUBER_DATA_DIR: "none" }, { VTUBER_DATA_DIR: "x" }, {
    VTUBER_SESSIONS: "stateless",
  }];
  for (const env of settings) assertEquals(loadConfig({ env }).warnings, []);
});

const NO_FLAGS: Flags = { flags: {}, help: false, version: false, config: undefined };
const FLAGS: [args: string[], expected: Partial<Flags>][] = [
  [[], {}],
  [["--help"], { help: true }],
  [["-h"], { help: true }],
  [["--version"], { version: true }],
  [["-V"], { version: true }],
  [["--config", "a.toml"], { config: "a.toml" }],
  [["--config=a b.toml"], { config: "a b.toml" }],
  [["--enabled"], { flags: { VTUBER_ENABLED: "true" } }],
  [["--insecure", "--listen", "[::1]:0"], { flags: { VTUBER_INSECURE: "true", GATEWAY_LISTEN: "[::1]:0" } }],
  [["--agent-command", "opencode acp", "--model=mao"], {
    flags: { OPENAB_AGENT_COMMAND: "opencode acp", VTUBER_DEFAULT_MODEL: "mao" },
  }],
  [["--model", "a", "--model", "b"], { flags: { VTUBER_DEFAULT_MODEL: "b" } }],
  [["--model="], { flags: { VTUBER_DEFAULT_MODEL: "" } }],
];

for (const [args, expected] of FLAGS) {
  Deno.test(`readFlags: ${args.join(" ") || "nothing"}`, () => {
    assertEquals(readFlags(args), { ...NO_FLAGS, ...expected });
  });
}

for (const line of ["--nope", "--listen", "--enabled=yes", "--auth-key x", "serve", "-x", "--__proto__ x"]) {
  Deno.test(`readFlags: ${line} is a mistake`, () => {
    assertThrows(() => readFlags(line.split(" ")), TypeError);
  });
}

Deno.test("readFlags: every flag sets its setting", () => {
  for (const { flag, env, isSwitch } of SETTING_HELP) {
    if (flag === undefined) continue;
    const args = isSwitch ? [`--${flag}`] : [`--${flag}`, "x"];
    assertEquals(readFlags(args).flags, { [env]: isSwitch ? "true" : "x" });
  }
});

Deno.test("loadConfig: the model's name is the default agent's", () => {
  const config: Config = load('[agents.codex]\ncommand = "codex-acp"\n').config;
  assertEquals(config.model, "codex");
});
