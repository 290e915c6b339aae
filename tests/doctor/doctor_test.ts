import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { AgentDescription } from "../../lib/acp/describe.ts";
import type { AgentSetup } from "../../lib/acp/start.ts";
import { type Config, loadConfig } from "../../lib/config/load.ts";
import { type DoctorAgent, type DoctorDeps, runDoctor } from "../../lib/doctor/doctor.ts";
import { secretsOf } from "../../lib/config/secrets.ts";
import type { Program } from "../../lib/doctor/report.ts";
import { Failure } from "../../lib/turn/failure.ts";

const KEY = "a-key-of-twenty-chars";
const ENV = { HOME: "/home/mao", VTUBER_ENABLED: "true", VTUBER_AUTH_KEY: KEY };

function configOf(env: Record<string, string> = {}, toml = '[agent]\ncommand = "codex-acp"\n'): Config {
  return loadConfig({ env: { ...ENV, ...env }, file: { path: "config.toml", text: toml } }).config;
}

const TOLD: AgentDescription = {
  agent: { name: "codex", version: "1.2.3" },
  protocolVersion: 1,
  accepts: { image: true, audio: false },
  canResume: "load",
  canClose: true,
  canDelete: false,
  mcp: { http: true, sse: false },
  authMethods: [],
  model: "gpt-5",
  models: [{ id: "gpt-5", name: "GPT-5" }, { id: "gpt-5/high", name: "GPT-5 (high)" }],
  mode: "ask",
  modes: ["ask", "code"],
  warnings: [],
  startedMs: 124.6,
};
const PROGRAM: Program = { path: "/usr/bin/codex-acp", isExecutable: true };

/** An agent whose parts are all well, but for those that are given. */
function agentOf(config: AgentSetup, parts: Partial<DoctorAgent> = {}): DoctorAgent {
  return {
    config,
    findProgram: () => Promise.resolve(PROGRAM),
    findFolder: () => Promise.resolve({ path: "/project", isFolder: true }),
    describe: () => Promise.resolve(TOLD),
    said: () => ({ stderr: [], stray: undefined }),
    kill() {},
    ...parts,
  };
}

/** What the doctor prints of a configuration that is all well, but for the parts that are given. */
async function examine(
  parts: Partial<DoctorDeps> & { agent?: Partial<DoctorAgent> } = {},
  signal?: AbortSignal,
): Promise<{ lines: string[]; isWell: boolean }> {
  const lines: string[] = [];
  const { config = configOf(), agent } = parts;
  const isWell = await runDoctor({
    print: (line) => lines.push(line),
    config,
    mistakes: [],
    warnings: [],
    agents: config.agents.map((one) => agentOf(one, agent)),
    secrets: [],
    listenFault: () => Promise.resolve(undefined),
    checkDataDir: () => Promise.resolve({ level: "ok", text: "conversations are kept in /data" }),
    ...parts,
  }, signal);
  return { lines, isWell };
}

Deno.test("runDoctor: one line for each thing that is well, and the sum", async () => {
  const { lines, isWell } = await examine();
  assertEquals(lines, [
    "ok   the configuration was read; its agents: openab",
    "ok   VTUBER_ENABLED is set",
    "ok   VTUBER_AUTH_KEY is set, and long enough",
    "ok   127.0.0.1:8080 is free to listen on",
    "ok   conversations are kept in /data",
    "ok   openab: its program is /usr/bin/codex-acp",
    "ok   openab: its folder is /project",
    "ok   openab: started in 125 ms: codex 1.2.3, protocol version 1",
    "ok   openab: opened a session: it needs no log-in, or has one",
    "ok   openab: takes pictures: yes, sounds: no",
    "ok   openab: sessions come back (session/load); closes them: yes, deletes them: no",
    "ok   openab: reaches MCP servers by address: http yes, sse no",
    "ok   openab: model now: gpt-5; 2 offered: gpt-5, gpt-5/high",
    "ok   openab: mode now: ask; 2 offered: ask, code",
    "14 ok, 0 warnings, 0 failed. All is well.",
  ]);
  assertEquals(isWell, true);
});

const failing = (code: "agent_unavailable" | "agent_auth_required", message: string) => () =>
  Promise.reject(new Failure(code, message));
const FINDINGS: [
  name: string,
  parts: Partial<DoctorDeps> & { agent?: Partial<DoctorAgent> },
  line: RegExp,
  fix: RegExp | undefined,
][] = [
  [
    "a warning of the configuration",
    { warnings: ["VTUBER_X is not a setting."] },
    /^warn VTUBER_X is not/,
    /--help/,
  ],
  [
    "not enabled",
    { config: configOf({ VTUBER_ENABLED: "" }) },
    /^warn VTUBER_ENABLED/,
    /VTUBER_ENABLED=true/,
  ],
  [
    "no key, on this machine",
    { config: configOf({ VTUBER_AUTH_KEY: "" }) },
    /^warn no key: every program/,
    /is fine/,
  ],
  [
    "no key, open to others",
    { config: configOf({ VTUBER_AUTH_KEY: "", VTUBER_INSECURE: "true", GATEWAY_LISTEN: "0.0.0.0:80" }) },
    /^warn no key: everyone who reaches this machine/,
    /^ {5}Set VTUBER_AUTH_KEY/,
  ],
  [
    "a short key",
    { config: configOf({ VTUBER_AUTH_KEY: "fifteen-chars-k" }) },
    /^warn .*less than 16/,
    /openssl/,
  ],
  [
    "an address in use",
    { listenFault: () => Promise.resolve("another program listens there") },
    /^FAIL 127\.0\.0\.1:8080 cannot be listened on: another program listens there$/,
    /GATEWAY_LISTEN/,
  ],
  [
    "an address of IPv6",
    { config: configOf({ GATEWAY_LISTEN: "[::1]:9" }) },
    /^ok {3}\[::1\]:9 is free to listen on$/,
    undefined,
  ],
  [
    "nothing kept",
    { config: configOf({ VTUBER_DATA_DIR: "none" }) },
    /^ok {3}conversations are not kept/,
    undefined,
  ],
  [
    "a file that is damaged",
    {
      checkDataDir: () => Promise.resolve({ level: "warn", text: "it was set aside", fix: "Nothing to do." }),
    },
    /^warn it was set aside$/,
    /^ {5}Nothing to do\.$/,
  ],
  [
    "a folder that cannot be looked at",
    { checkDataDir: () => Promise.reject(new Error("no such place")) },
    /^warn conversations are remembered only until the program ends: no such place$/,
    /VTUBER_DATA_DIR/,
  ],
  [
    "an address that the machine does not have",
    { listenFault: () => Promise.resolve("this machine has no such address") },
    /^FAIL 127\.0\.0\.1:8080 cannot be listened on: this machine has no such address$/,
    /^ {5}Give one that it has: /,
  ],
  [
    "a port that only administrators may use",
    { listenFault: () => Promise.resolve("only an administrator may use ports below 1024") },
    /^FAIL .*below 1024$/,
    /^ {5}Give a port from 1024 on/,
  ],
  [
    "no home folder",
    { warnings: loadConfig({ env: {} }).warnings },
    /^warn Conversations are not kept on disk/,
    /^ {5}VTUBER_DATA_DIR=none says/,
  ],
  [
    "the demo agent",
    { config: configOf({}, ""), agent: { findProgram: () => Promise.resolve(undefined) } },
    /^ok {3}openab: is the built-in demo agent/,
    undefined,
  ],
  [
    "a program that is not there",
    { agent: { findProgram: () => Promise.resolve(undefined) } },
    /^FAIL openab: its program codex-acp was not found$/,
    /Install it/,
  ],
  [
    "a program with its arguments in it",
    {
      config: configOf({}, '[agent]\ncommand = "npx -y foo acp"\n'),
      agent: { findProgram: () => Promise.resolve(undefined) },
    },
    /^FAIL openab: its program npx -y foo acp was not found$/,
    /^ {5}Arguments go into args: command = "npx", args = \["-y", "foo", "acp"\]\. If/,
  ],
  [
    "a script that nothing can run",
    { agent: { findProgram: () => Promise.resolve({ ...PROGRAM, missingInterpreter: "/bin/nosh" }) } },
    /^FAIL openab: its program \/usr\/bin\/codex-acp is run by \/bin\/nosh, as its first line says, which was not found$/,
    /^ {5}Install \/bin\/nosh, or correct the first line/,
  ],
  [
    "a program that cannot be executed",
    { agent: { findProgram: () => Promise.resolve({ ...PROGRAM, isExecutable: false }) } },
    /^FAIL openab: its program \/usr\/bin\/codex-acp is not executable$/,
    /chmod \+x "\/usr\/bin\/codex-acp"/,
  ],
  [
    "a folder that is not there",
    {
      config: configOf({ VTUBER_WORKING_DIR: "nowhere" }),
      agent: { findFolder: () => Promise.resolve(undefined) },
    },
    /^FAIL openab: its folder nowhere does not exist$/,
    /VTUBER_WORKING_DIR/,
  ],
  [
    "a folder that is a file",
    { agent: { findFolder: () => Promise.resolve({ path: "/project/file", isFolder: false }) } },
    /^FAIL openab: its folder \/project\/file is not a folder$/,
    /^ {5}Instead, give one that exists: VTUBER_WORKING_DIR/,
  ],
  [
    "an agent that speaks to people",
    {
      config: configOf({}, '[agent]\ncommand = "opencode"\nargs = ["--quiet"]\n'),
      agent: {
        describe: failing("agent_unavailable", "It ended."),
        said: () => ({ stderr: ["oops"], stray: "Welcome to \u001b[1mopencode" }),
      },
    },
    /^FAIL openab: writes what is no ACP: "Welcome to \\u001b\[1mopencode" The last that it wrote to stderr: oops$/,
    /^ {5}Does it need an argument, such as acp or --acp\? Its command and args are "opencode" and \["--quiet"\]\.$/,
  ],
  [
    "an agent that fails, and what it wrote to stderr",
    {
      agent: {
        describe: failing("agent_unavailable", "It ended."),
        said: () => ({ stderr: ["one", "two"], stray: undefined }),
      },
    },
    /^FAIL openab: could not be used: It ended\. The last that it wrote to stderr: one \/ two$/,
    /by hand/,
  ],
  [
    "a log-in",
    { agent: { describe: failing("agent_auth_required", "Log in: chatgpt, api-key.") } },
    /^FAIL openab: was started, and opens no session before a log-in$/,
    /^ {5}Log in: chatgpt, api-key\.$/,
  ],
  [
    "an agent that does not start",
    { agent: { describe: failing("agent_unavailable", "It exited with code 3.") } },
    /^FAIL openab: could not be used: It exited with code 3\.$/,
    /by hand/,
  ],
  [
    "an agent of which something else is wrong",
    { agent: { describe: () => Promise.reject(new TypeError("oops")) } },
    /^FAIL openab: could not be used: oops$/,
    /by hand/,
  ],
];
const TELLS: [name: string, told: Partial<AgentDescription>, line: RegExp, fix: RegExp | undefined][] = [
  ["no name", { agent: undefined }, /125 ms: it does not tell its name, protocol version 1$/, undefined],
  [
    "ways to log in",
    { authMethods: ["chatgpt", "key"] },
    /has one; its ways to log in: chatgpt, key$/,
    undefined,
  ],
  ["resuming", { canResume: "resume" }, /sessions come back \(session\/resume\)/, undefined],
  ["no resuming", { canResume: undefined }, /sessions do not come back: it is told again/, undefined],
  ["sounds", { accepts: { image: false, audio: true } }, /takes pictures: no, sounds: yes/, undefined],
  ["no models", { model: undefined, models: [] }, /it tells of no models$/, undefined],
  ["a model without a choice", { models: [] }, /model now: gpt-5; it offers no choice$/, undefined],
  [
    "many models",
    { model: undefined, models: Array.from({ length: 300 }, (_, n) => ({ id: `m${n}`, name: "" })) },
    /model now: not told; 300 offered: m0, m1, m2, m3, m4, \.\.\.$/,
    undefined,
  ],
  ["no modes", { mode: undefined, modes: [] }, /it tells of no modes$/, undefined],
  [
    "a warning",
    { warnings: ["the model x is unknown"] },
    /^warn openab: the model x is unknown$/,
    /config\.toml/,
  ],
  [
    "text that moves the cursor",
    { agent: { name: "a\u001b[2J\nb", version: "" } },
    /: a \[2J b, protocol/,
    undefined,
  ],
];

for (
  const [name, parts, line, fix] of [
    ...FINDINGS,
    ...TELLS.map(([name, told, ...says]): (typeof FINDINGS)[number] => [
      `an agent that tells of ${name}`,
      { agent: { describe: () => Promise.resolve({ ...TOLD, ...told }) } },
      ...says,
    ]),
  ]
) {
  Deno.test(`runDoctor: ${name}`, async () => {
    const { lines, isWell } = await examine(parts);
    const at = lines.findIndex((one) => line.test(one));
    assertEquals(at >= 0, true, lines.join("\n"));
    const isFail = lines[at]!.startsWith("FAIL");
    assertEquals(isWell, !isFail, lines.join("\n"));
    if (fix) {
      assertMatch(lines[at + 1]!, /^ {5}\S/);
      assertMatch(lines[at + 1]!, fix);
    } else {
      assertEquals(lines[at + 1]!.startsWith("  "), false);
    }
    assertMatch(lines.at(-1)!, isFail ? /1 failed\. It would not work/ : /0 failed\. (All is well|It works)/);
  });
}

Deno.test("runDoctor: with mistakes nothing else is checked", async () => {
  const lines: string[] = [];
  const never = () => {
    throw new Error("This is not to be asked.");
  };
  const isWell = await runDoctor({
    print: (line) => lines.push(line),
    config: undefined,
    mistakes: ["VTUBER_LOG: must be one of debug, info.", "config.toml: agent.args: must be a list."],
    warnings: [],
    agents: [],
    secrets: [],
    listenFault: never,
    checkDataDir: never,
  });
  assertEquals(isWell, false);
  assertEquals(lines.map((line) => line.slice(0, 20)), [
    "FAIL VTUBER_LOG: mus",
    "     Correct it, and",
    "FAIL config.toml: ag",
    "     Correct it, and",
    "0 ok, 0 warnings, 2 ",
  ]);
});

Deno.test("runDoctor: an agent whose program or folder is missing is not started", async () => {
  for (const missing of ["findProgram", "findFolder"] as const) {
    let started = false;
    const { isWell } = await examine({
      agent: {
        [missing]: () => Promise.resolve(undefined),
        describe: () => {
          started = true;
          return Promise.resolve(TOLD);
        },
      },
    });
    assertEquals([isWell, started], [false, false]);
  }
});

const NAMES = ["a", "b", "c", "d", "e", "f", "g"];
const SEVEN = NAMES.map((name) => `[agents.${name}]\ncommand = "${name}-acp"\n`).join("");

Deno.test("runDoctor: agents are tried a few at once, and told of in order", async () => {
  const config = configOf({}, SEVEN);
  const waiting: (() => void)[] = [];
  let atOnce = 0;
  let most = 0;
  const { lines } = await examine({
    config,
    agents: config.agents.map((one) =>
      agentOf(one, {
        async describe() {
          most = Math.max(most, ++atOnce);
          const { promise, resolve } = Promise.withResolvers<void>();
          // The last that was begun is the first that is done.
          waiting.push(resolve);
          if (waiting.length === 4 || one.name === "g") {
            for (const go of waiting.splice(0).reverse()) go();
          }
          await promise;
          atOnce--;
          return { ...TOLD, agent: { name: one.name, version: "1" } };
        },
      })
    ),
  });
  const told = lines.flatMap((line) => /^ok {3}(\w): started in \d+ ms: (\w) 1/.exec(line)?.slice(1) ?? []);
  assertEquals(told, NAMES.flatMap((name) => [name, name]));
  assertEquals(most, 4);
});

Deno.test("runDoctor: one agent that fails keeps none of the others from being tried", async () => {
  const config = configOf({}, SEVEN);
  const { lines, isWell } = await examine({
    config,
    agents: config.agents.map((one) =>
      agentOf(one, one.name === "b" ? { describe: failing("agent_unavailable", "No.") } : {})
    ),
  });
  assertEquals(isWell, false);
  assertEquals(lines.filter((line) => line.includes("opened a session")).length, 6);
  assertEquals(lines.filter((line) => line.startsWith("FAIL")), ["FAIL b: could not be used: No."]);
});

Deno.test("runDoctor: an agent that never opens a session is given up", async () => {
  let wasGivenUp = false;
  const { lines, isWell } = await examine({
    agentMs: 1,
    agent: {
      describe: (signal) =>
        new Promise((_, reject) =>
          signal.addEventListener("abort", () => {
            wasGivenUp = true;
            reject(signal.reason);
          })
        ),
    },
  });
  assertEquals([isWell, wasGivenUp], [false, true]);
  assertMatch(lines.at(-3)!, /^FAIL openab: could not be used: It opened no session within 0\.001 seconds/);
});

Deno.test("runDoctor: when it is asked to end it stops, once agents have ended, and tells that not all was checked", async () => {
  const asked = new AbortController();
  let hasEnded = false;
  const { lines, isWell } = await examine({
    agent: {
      async describe(signal) {
        const { promise, reject } = Promise.withResolvers<never>();
        signal.addEventListener("abort", () => reject(signal.reason));
        asked.abort();
        await promise.catch(() => {});
        await Promise.resolve();
        hasEnded = true;
        throw signal.reason;
      },
    },
  }, asked.signal);
  assertEquals([isWell, hasEnded], [false, true]);
  assertMatch(lines.at(-3)!, /^FAIL stopped before everything was checked$/);
});

Deno.test("runDoctor: a mistake of ours is not taken for a finding", async () => {
  await assertRejects(
    () => examine({ listenFault: () => Promise.reject(new RangeError("ours")) }),
    RangeError,
    "ours",
  );
});

Deno.test("runDoctor: no secret is printed, wherever it comes from", async () => {
  const secrets = {
    key: KEY,
    env: 'env-"s3cret',
    inherited: "inherited-s3cret",
    mcpEnv: "mcp-env-s3cret",
    header: "Bearer header-s3cret",
    url: "https://a.example/?token=s3cret",
  };
  const config = configOf(
    {},
    `
[agent]
command = "codex-acp"
env = { A_KEY = '${secrets.env}', SHORT_KEY = "acp" }
inherit_env = ["TOKEN", "NOT_SET"]
[agent.mcp_servers.fs]
command = "fs"
env = { B_TOKEN = "${secrets.mcpEnv}" }
[agent.mcp_servers.web]
url = "${secrets.url}"
headers = { Authorization = "${secrets.header}" }
`,
  );
  // One that begins before the end of a long line, and ends behind it.
  const all = `${Object.values(secrets).join(" and ")} and ${JSON.stringify(secrets)} ${
    "x".repeat(240)
  } ${secrets.url}`;
  const { lines } = await examine({
    config,
    warnings: [all],
    secrets: secretsOf(config, { TOKEN: secrets.inherited, OTHER: "x" }),
    checkDataDir: () => Promise.resolve({ level: "fail", text: all, fix: all }),
    agent: { describe: failing("agent_auth_required", all) },
  });
  // One that lies where a line of the agent is cut.
  const line = `${"x".repeat(95)}${secrets.header}`;
  const failed = await examine({
    config,
    secrets: secretsOf(config, {}),
    agent: {
      describe: failing("agent_unavailable", "It ended."),
      said: () => ({ stderr: [line, line], stray: line }),
    },
  });
  assertMatch(failed.lines.join("\n"), /x{95}\[secr/);
  const text = [...lines, ...failed.lines].join("\n");
  assertEquals(text.includes("Beare"), false);
  for (const secret of Object.values(secrets)) assertEquals(text.includes(secret), false, secret);
  assertEquals(text.includes("s3cret"), false);
  // Words that stand everywhere are not taken for secrets.
  assertMatch(text, /its program is \/usr\/bin\/codex-acp/);
});
