import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { AgentDeps } from "../../lib/acp/create_agent.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { failedOf } from "../../lib/doctor/command.ts";
import { type AgentObservations, diagnose } from "../../lib/doctor/diagnosis.ts";
import { doctorAgent } from "../../lib/doctor/checks.ts";
import { type Log, NO_LOG } from "../../lib/core/log.ts";
import { AppError } from "../../lib/core/errors.ts";
import { agentCommand } from "../support/agents/scripted_agent.ts";

/** What agents of these tests are given. */
function around(log: Log): AgentDeps {
  return {
    own: Deno.env.toObject(),
    windows: Deno.build.os === "windows",
    broker: { ask: () => Promise.resolve(undefined) },
    version: "0.0.0",
    log,
  };
}

Deno.test("doctorAgent: finds its program in the environment that it gets, and describes one process", async () => {
  const root = await Deno.realPath(await Deno.makeTempDir());
  try {
    const { command, args } = agentCommand({ image: true, authMethods: ["key"] });
    const text = [
      "[agent]",
      `command = ${JSON.stringify(command)}`,
      `args = ${JSON.stringify(args)}`,
      `working_dir = ${JSON.stringify(root)}`,
      "processes = 3",
      "[agents.tool]",
      'command = "tool"',
      `env = { PATH = ${JSON.stringify(`${root}/none:${root}`)} }`,
    ].join("\n");
    await Deno.writeTextFile(`${root}/tool`, "", { mode: 0o755 });
    const { agents } = loadConfig({ env: { HOME: root }, file: { path: "config.toml", text } }).config;
    const [fake, tool] = agents.map((config) => doctorAgent(config, around(NO_LOG)));
    assertEquals(await tool!.findProgram(), { path: `${root}/tool`, isExecutable: true });
    assertEquals(await fake!.findFolder(), { path: root, isFolder: true });
    const { accepts, authMethods } = await fake!.describe(AbortSignal.timeout(60_000));
    assertEquals([accepts, authMethods], [{ image: true, audio: false }, ["key"]]);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

/** An agent with this program; `strayMs` as {@linkcode doctorAgent} takes it. */
function tried(program: { command: string; args: string[] }, log: Log = NO_LOG, strayMs?: number) {
  const { command, args } = program;
  const text = `[agent]\ncommand = ${JSON.stringify(command)}\nargs = ${JSON.stringify(args)}\n`;
  const { agents } = loadConfig({ env: { HOME: "/" }, file: { path: "config.toml", text } }).config;
  return doctorAgent(agents[0]!, around(log), strayMs);
}

Deno.test("doctorAgent: tells what an agent wrote to stderr when it cannot be used", async () => {
  const givenUp = new AbortController();
  const why = new AppError("agent_unavailable", "Too slow.");
  const log: Log = {
    ...NO_LOG,
    info: (_message, fields) => fields?.line === "four" && givenUp.abort(why),
  };
  const agent = tried(agentCommand({ startDelayMs: 600_000, stderr: "one\ntwo\nthree\nfour\n" }), log);
  const error = await assertRejects(() => agent.describe(givenUp.signal), AppError);
  assertEquals(error.message, "Too slow.");
  const { stderr, stray, how } = agent.said();
  assertEquals([stderr, stray, how], [["two", "three", "four"], undefined, undefined]);
});

Deno.test("doctorAgent: an agent that writes nothing but what is no ACP is given up early", async () => {
  const program = { command: "sh", args: ["-c", "echo; echo Welcome; echo again; exec sleep 300"] };
  const agent = tried(program, NO_LOG, 1);
  const error = await assertRejects(() => agent.describe(new AbortController().signal), AppError);
  assertMatch(error.message, /no ACP/);
  assertEquals(agent.said().stray, "Welcome");
});

Deno.test("doctorAgent: an agent that writes what is no ACP, and ends", async () => {
  const agent = tried({ command: "sh", args: ["-c", "echo usage: agent acp"] });
  await assertRejects(() => agent.describe(new AbortController().signal), AppError);
  assertEquals(agent.said().stray, "usage: agent acp");
});

Deno.test("doctorAgent: a line before an agent's first word of ACP does no harm", async () => {
  const { command, args } = agentCommand({});
  const agent = tried({ command: "sh", args: ["-c", 'echo Welcome; exec "$@"', "sh", command, ...args] });
  assertEquals((await agent.describe(new AbortController().signal)).protocolVersion, 1);
  assertEquals(agent.said().stray, undefined);
});

const READY = `read l; echo '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":1}}'; read l`;
const LOGIN =
  `read l; echo '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":1,"authMethods":[{"id":"api-key"}]}}'
read l; echo '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"Log in"}}'; read l`;
const DEATHS: [name: string, script: string, said: Partial<AgentObservations>][] = [
  ["at once", "echo bye >&2; exit 3", { step: "start", how: "exited with code 3", stderr: ["bye"] }],
  ["as a signal says", "kill -SEGV $$", { step: "start", how: "was ended by SIGSEGV" }],
  [
    "while it opens a session",
    `echo Welcome; ${READY}; echo panic: no beans; exit 7`,
    { step: "session", how: "exited with code 7", stray: undefined, lastStray: "panic: no beans" },
  ],
  ["in its log-in", `${LOGIN}; exit 9`, { step: "login", login: "api-key", how: "exited with code 9" }],
  // It was asked to end then, by us.
  ["with its output only", `${READY}; exec >&-; exec sleep 300`, { step: "session", how: undefined }],
];

for (const [name, script, said] of DEATHS) {
  Deno.test(`doctorAgent: an agent that ends ${name}`, async () => {
    const agent = tried({ command: "sh", args: ["-c", script] });
    await assertRejects(() => agent.describe(new AbortController().signal), AppError);
    const heard = agent.said();
    const names = Object.keys(said) as (keyof AgentObservations)[];
    assertEquals(Object.fromEntries(names.map((name) => [name, heard[name]])), said);
  });
}

Deno.test("doctorAgent: failures of a real agent are told as what they are", async () => {
  const cases: [program: { command: string; args: string[] }, text: RegExp][] = [
    [agentCommand({ protocolVersion: 2 }), /^could not be used: The agent speaks version 2/],
    [{ command: "sh", args: ["a\0b"] }, /^could not be used: The agent's program "sh" could not be started/],
    [{ command: "sh", args: ["-c", `${READY}; exit 7`] }, /^ended while it opened a session: it exited/],
    [
      {
        command: "sh",
        args: ["-c", `${READY}; echo '{"jsonrpc":"2.0","id":1,"error":{"message":"no beans"}}'; read l`],
      },
      /^opened no session: no beans$/,
    ],
  ];
  for (const [program, text] of cases) {
    const agent = tried(program);
    const error = await assertRejects(() => agent.describe(new AbortController().signal), AppError);
    assertMatch(diagnose(agent.config, failedOf(error, agent.said())).text, text);
  }
});

Deno.test("doctorAgent: an agent that logs in with what it was given", async () => {
  const agent = tried(agentCommand({ authRequired: true, authMethods: ["api-key"] }));
  await agent.describe(new AbortController().signal);
  assertEquals(agent.said().login, "api-key");
});

Deno.test("doctorAgent: variables that are not set, and programs of MCP servers", async () => {
  const text = `[agent]
command = "sh"
inherit_env = ["HERE", "NOWHERE", "EMPTY", "GIVEN"]
env = { GIVEN = "1", PATH = "/bin:/usr/bin" }
[agent.mcp_servers.well]
command = "sh"
[agent.mcp_servers.nowhere]
command = "no-such-mcp-program"
[agent.mcp_servers.other_path]
command = "sh"
env = { PATH = "/no/such/folder" }
[agent.mcp_servers.web]
url = "https://mcp.example/"
`;
  const { agents } = loadConfig({ env: { HOME: "/" }, file: { path: "config.toml", text } }).config;
  const agent = doctorAgent(agents[0]!, { ...around(NO_LOG), own: { HERE: "1", EMPTY: " " } });
  assertEquals(agent.unset, ["NOWHERE", "EMPTY"]);
  const found = (await agent.findServers()).map(({ name, program }) => [name, program?.isExecutable]);
  assertEquals(found, [["well", true], ["nowhere", undefined], ["other_path", undefined]]);
});

Deno.test("doctorAgent: can be killed while it is described, and starts no more then", async () => {
  const heard = Promise.withResolvers<void>();
  const log: Log = { ...NO_LOG, info: (_message, fields) => fields?.line === "here" && heard.resolve() };
  const agent = tried({ command: "sh", args: ["-c", "echo here >&2; exec sleep 300"] }, log);
  const describing = agent.describe(new AbortController().signal);
  await heard.promise;
  agent.kill();
  await assertRejects(() => describing, AppError);
  await assertRejects(() => agent.describe(new AbortController().signal), AppError, "It was ended.");
});
