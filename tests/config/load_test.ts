import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { ConfigError, type Flags, loadConfig, readFlags } from "../../lib/config/load.ts";
import { SETTING_HELP } from "../../lib/config/settings.ts";
import { configError, type Env, load, mistakesOf } from "../support/harness/config_fixture.ts";

const OPEN_ADDRESSES = ["0.0.0.0:8080", "[::]:8080", "192.168.1.2:80", "nas.lan:8080", "[2001:db8::1]:8080"];
const NAMED = (lines: string) => `[keys.overlay]\nscopes = ["events"]\n${lines}\n`;
const HASH = `key_sha256 = "${"a".repeat(64)}"`;
const INSECURE = { VTUBER_INSECURE: "true" };
const ACCESS: [name: string, env: Env, warning?: RegExp, text?: string][] = [
  ["without a key", {}],
  ["with an empty key", { VTUBER_AUTH_KEY: "" }],
  ["with a table without keys", {}, undefined, "[keys]\n"],
  ["with a key", { VTUBER_AUTH_KEY: "sixteen-letters-" }, /^$/],
  ["with a key of the file", {}, /^$/, NAMED('key = "sixteen-letters-"')],
  ["with the hash of a key", {}, /^$/, NAMED(HASH)],
  ["with a key of the file, also if insecure", INSECURE, /^$/, NAMED(HASH)],
  [
    "with a short key, with a warning",
    { VTUBER_AUTH_KEY: "fifteen-letters" },
    /^VTUBER_AUTH_KEY has fewer than 16 .* `oab-vtuber key new`\.$/,
  ],
  [
    "with a short key of the file, with a warning",
    { VTUBER_AUTH_KEY: "sixteen-letters-" },
    /^keys\.overlay has fewer than 16 .*$/,
    NAMED('key = "fifteen-letters"'),
  ],
  ["if insecure, with a warning", INSECURE, /^VTUBER_INSECURE: everyone who reaches/],
];
const OPEN = /^GATEWAY_LISTEN=.*: make a key with `oab-vtuber key new`, or set VTUBER_INSECURE=true.*$/;

for (const [name, env, warning, text = ""] of ACCESS) {
  Deno.test(`loadConfig: other machines are ${warning ? "" : "not "}served ${name}`, () => {
    for (const GATEWAY_LISTEN of OPEN_ADDRESSES) {
      const all = { ...env, GATEWAY_LISTEN };
      if (warning) assertMatch(load(text, all).warnings.join("\n"), warning);
      else assertMatch(mistakesOf(text, all).join("\n"), OPEN);
    }
  });
}

Deno.test("loadConfig: a key with a mistake counts as a key, so that only its mistake is told", () => {
  const [mistake, ...others] = mistakesOf("[keys.overlay]\nscopes = []\n" + HASH, {
    GATEWAY_LISTEN: "0.0.0.0:8080",
  });
  assertMatch(mistake!, /^config\.toml: keys\.overlay\.scopes: cannot be empty/);
  assertEquals(others, []);
});

Deno.test("loadConfig: a flag beats a variable, an empty flag does not", () => {
  const env = { GATEWAY_LISTEN: "127.0.0.1:1", VTUBER_LOG: "warn" };
  const { listen, log } = load("", env, { GATEWAY_LISTEN: "127.0.0.1:2", VTUBER_LOG: "" }).config;
  assertEquals([listen.port, log], [2, "warn"]);
});

const WARNINGS: [env: Env, warning: RegExp][] = [
  [
    { VTUBER_REPLY_TAIL_IDLE_MS: "1500" },
    /^VTUBER_REPLY_TAIL_IDLE_MS has no effect: a turn ends when.*out\.$/,
  ],
  [{ VTUBER_AUTHKEY: "x" }, /^VTUBER_AUTHKEY is not a setting .*\. Did you mean VTUBER_AUTH_KEY\?$/],
  [{ VTUBER_NOPE: "x" }, /^VTUBER_NOPE is not a setting of this version\.$/],
  [{ VTUBER_LOG: "info", OPENAB_OTHER: "y", PATH: "/bin", constructor: "x" }, /^$/],
];

for (const [env, warning] of WARNINGS) {
  Deno.test(`loadConfig: the warning about ${Object.keys(env)}`, () => {
    assertMatch(load("", env).warnings.join("\n"), warning);
  });
}

Deno.test("loadConfig: reports the warnings with the mistakes", () => {
  const { message, mistakes, warnings } = configError('[agents.a]\ncomand = "true"\n', { VTUBER_NOPE: "1" });
  assertEquals(mistakes, [
    "config.toml: agents.a.comand is not a setting of this version. Did you mean command?",
    "config.toml: agents.a.command: is required: the program that is started.",
  ]);
  assertEquals(message, mistakes.join("\n"));
  assertEquals(warnings, ["VTUBER_NOPE is not a setting of this version."]);
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
    const folders = { VTUBER_WORKING_DIR: path, VTUBER_DATA_DIR: path };
    const env = { ...home, ...folders, OPENAB_AGENT_COMMAND: `${path} ~/x` };
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

const HOME = { HOME: "/home/mao" };
const FOLDERS: [os: string, env: Env, folder: string | undefined][] = [
  ["linux", HOME, "/home/mao/.local/share/oab-vtuber"],
  ["linux", { ...HOME, XDG_DATA_HOME: "/data" }, "/data/oab-vtuber"],
  ["linux", { ...HOME, XDG_DATA_HOME: "data" }, "/home/mao/.local/share/oab-vtuber"],
  ["linux", { HOME: "" }, undefined],
  ["darwin", { ...HOME, XDG_DATA_HOME: "/data" }, "/home/mao/Library/Application Support/oab-vtuber"],
  ["darwin", {}, undefined],
  ["windows", { LOCALAPPDATA: "C:\\Users\\mao\\Local" }, "C:\\Users\\mao\\Local\\oab-vtuber"],
  ["windows", { USERPROFILE: "C:\\Users\\mao" }, "C:\\Users\\mao\\AppData\\Local\\oab-vtuber"],
  ["windows", HOME, undefined],
  ["linux", { ...HOME, VTUBER_DATA_DIR: "/elsewhere" }, "/elsewhere"],
  ["linux", { ...HOME, VTUBER_DATA_DIR: "none" }, undefined],
  ["windows", { LOCALAPPDATA: "C:\\Local", VTUBER_DATA_DIR: "NONE" }, undefined],
];

for (const [os, env, folder] of FOLDERS) {
  Deno.test(`loadConfig: the folder for data on ${os} with ${JSON.stringify(env)}`, () => {
    assertEquals(loadConfig({ env, os }).config.dataDir, folder);
  });
}

Deno.test("loadConfig: without a home folder it warns that nothing is kept, unless nothing should be", () => {
  assertMatch(loadConfig({ env: {} }).warnings.join("\n"), /^Conversations are not kept.*VTUBER_DATA_DIR.*$/);
  const settings: Env[] = [{ VTUBER_DATA_DIR: "none" }, { VTUBER_DATA_DIR: "x" }, {
    VTUBER_SESSIONS: "stateless",
  }];
  for (const env of settings) assertEquals(loadConfig({ env }).warnings, []);
});

const NO_FLAGS: Flags = { flags: {}, help: false, version: false, licenses: false, config: undefined };
const FLAGS: [args: string[], expected: Partial<Flags>][] = [
  [[], {}],
  [["--help"], { help: true }],
  [["-h"], { help: true }],
  [["--version"], { version: true }],
  [["-V"], { version: true }],
  [["--config", "a.toml"], { config: "a.toml" }],
  [["--config=a b.toml"], { config: "a b.toml" }],
  [["--insecure", "--listen", "[::1]:0"], { flags: { VTUBER_INSECURE: "true", GATEWAY_LISTEN: "[::1]:0" } }],
  [["--agent-command", "opencode acp", "--model=mao"], {
    flags: { OPENAB_AGENT_COMMAND: "opencode acp", VTUBER_DEFAULT_MODEL: "mao" },
  }],
  [["--model", "a", "--model="], { flags: { VTUBER_DEFAULT_MODEL: "" } }],
];

for (const [args, expected] of FLAGS) {
  Deno.test(`readFlags: ${args.join(" ") || "nothing"}`, () => {
    assertEquals(readFlags(args), { ...NO_FLAGS, ...expected });
  });
}

for (const line of ["--nope", "--listen", "--enabled=yes", "--auth-key x", "serve", "-x", "--__proto__ x"]) {
  Deno.test(`readFlags: ${line} is a mistake`, () => {
    assertThrows(() => readFlags(line.split(" ")), ConfigError);
  });
}

Deno.test("readFlags: a typing error is named with the flag that is meant", () => {
  for (const [flag, meant] of [["--modle", "--model"], ["--lisen=x", "--listen"], ["--Config", "--config"]]) {
    const error: ConfigError = assertThrows(() => readFlags([flag!, "x"]), ConfigError);
    assertEquals(error.mistakes, [`There is no flag ${flag!.split("=")[0]}. Did you mean ${meant}?`]);
  }
});

Deno.test("readFlags: every flag sets its setting", () => {
  for (const { flag, env, isSwitch } of SETTING_HELP) {
    if (flag === undefined) continue;
    const args = isSwitch ? [`--${flag}`] : [`--${flag}`, "x"];
    assertEquals(readFlags(args).flags, { [env]: isSwitch ? "true" : "x" });
  }
});
