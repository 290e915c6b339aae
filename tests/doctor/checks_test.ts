import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { AgentDeps } from "../../lib/acp/create_agent.ts";
import { AppError, toAppError } from "../../lib/core/errors.ts";
import { NO_LOG } from "../../lib/core/log.ts";
import { agentChecks, checkAddress, checkDataDir, findFolder, findProgram } from "../../lib/doctor/checks.ts";
import { type AgentObservations, diagnose } from "../../lib/doctor/diagnosis.ts";
import { agentCommand } from "../support/agents/scripted_agent.ts";
import { configOf } from "../support/harness/doctor_fixture.ts";

const LOOPBACK = { hostname: "127.0.0.1", port: 0 };

/** Runs a test in a new folder, given as an absolute path without links. */
async function inFolder(test: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.realPath(await Deno.makeTempDir());
  try {
    await test(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("checkAddress: a free address, and an address of another machine", async () => {
  assertEquals(await checkAddress(LOOPBACK), undefined);
  assertEquals(await checkAddress({ hostname: "192.0.2.1", port: 0 }), "no_such_address");
});

function endless(): ReadableStream<Uint8Array> {
  return new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1024).fill(32)) });
}

const SERVERS: [name: string, answer: () => Response, problem: string][] = [
  ["this program", () => Response.json({ name: "oab-vtuber", version: "1" }), "already_running"],
  ["another program", () => Response.json({ name: "other" }), "in_use"],
  ["a program that never ends its answer", () => new Response(endless()), "in_use"],
];

for (const [name, answer, problem] of SERVERS) {
  Deno.test(`checkAddress: the address of ${name}`, async () => {
    await using server = Deno.serve({ ...LOOPBACK, onListen() {} }, answer);
    assertEquals(await checkAddress({ ...LOOPBACK, port: server.addr.port }), problem);
  });
}

Deno.test("checkAddress: the address of a program that does not speak HTTP", async () => {
  using listener = Deno.listen(LOOPBACK);
  const serving = (async () => {
    for await (const connection of listener) connection.close();
  })();
  assertEquals(await checkAddress({ ...LOOPBACK, port: listener.addr.port }), "in_use");
  listener.close();
  await serving;
});

Deno.test("findProgram: finds a program like the system does", async () => {
  await inFolder(async (root) => {
    await Deno.mkdir(`${root}/one`);
    await Deno.mkdir(`${root}/two/dir`, { recursive: true });
    await Deno.writeTextFile(`${root}/one/plain`, "", { mode: 0o644 });
    await Deno.writeTextFile(`${root}/two/plain`, "", { mode: 0o755 });
    await Deno.writeTextFile(`${root}/one/only`, "", { mode: 0o644 });
    await Deno.writeTextFile(`${root}/two/tool.CMD`, "", { mode: 0o644 });
    const unix = { cwd: root, env: { PATH: `${root}/none:${root}/one::two:${root}/two` }, windows: false };
    const cases: [command: string, path: string | undefined, isExecutable?: boolean][] = [
      ["plain", `${root}/two/plain`, true],
      ["only", `${root}/one/only`, false],
      ["dir", undefined],
      ["nowhere", undefined],
      ["two/plain", `${root}/two/plain`, true],
      ["./one/only", `${root}/one/only`, false],
      [`${root}/two/plain`, `${root}/two/plain`, true],
      [`${root}/nowhere`, undefined],
    ];
    for (const [command, path, isExecutable = false] of cases) {
      assertEquals(await findProgram({ ...unix, command }), path && { path, isExecutable }, command);
    }
    assertEquals(await findProgram({ ...unix, env: {}, command: "plain" }), undefined);
    const env = { PATH: `${root}/one;${root}/two`, PATHEXT: ".EXE;.CMD" };
    const tool = await findProgram({ cwd: root, env, windows: true, command: "tool" });
    assertEquals(tool, { path: `${root}/two/tool.CMD`, isExecutable: true });
  });
});

const SCRIPTS: [line: string, missing: string | undefined][] = [
  ["", undefined],
  ["#!/bin/sh", undefined],
  ["#! /bin/sh -e", undefined],
  ["#!/no/such/shell -e", "/no/such/shell"],
  ["#!/usr/bin/env sh", undefined],
  ["#!/usr/bin/env no-such-node", "no-such-node"],
  ["#!/usr/bin/env -S A=b no-such-node --flag", "no-such-node"],
  ["#!", undefined],
];

Deno.test("findProgram: finds out that the interpreter of a script is missing", async () => {
  await inFolder(async (root) => {
    const path = `${root}/script`;
    for (const [line, missingInterpreter] of SCRIPTS) {
      await Deno.writeTextFile(path, `${line}\nexit 0\n`, { mode: 0o755 });
      const found = await findProgram({
        command: path,
        cwd: root,
        env: { PATH: "/usr/bin:/bin" },
        windows: false,
      });
      assertEquals(
        found,
        { path, isExecutable: true, ...missingInterpreter && { missingInterpreter } },
        line,
      );
    }
  });
});

Deno.test("findFolder: the absolute path of a file or folder", async () => {
  await inFolder(async (root) => {
    await Deno.writeTextFile(`${root}/file`, "");
    await Deno.symlink(root, `${root}/link`);
    assertEquals(await findFolder(`${root}/link`), { path: root, isFolder: true });
    assertEquals(await findFolder(`${root}/file`), { path: `${root}/file`, isFolder: false });
    assertEquals(await findFolder(`${root}/nowhere`), undefined);
    assertEquals(await findFolder("."), { path: await Deno.realPath("."), isFolder: true });
  });
});

Deno.test("checkDataDir: a new folder, a damaged one, and one that cannot be made", async () => {
  await inFolder(async (root) => {
    const folder = `${root}/memory`;
    const ok = { level: "ok", text: `conversations are remembered in ${folder}: 0 so far` } as const;
    assertEquals(await checkDataDir(folder), ok);
    for await (const { name } of Deno.readDir(folder)) {
      if (name.endsWith(".db")) await Deno.writeTextFile(`${folder}/${name}`, "no database".repeat(1000));
    }
    const damaged = await checkDataDir(folder);
    assertEquals(damaged.level, "warn");
    assertMatch(damaged.text, /damaged/);
    assertEquals(await checkDataDir(folder), ok);
    await Deno.writeTextFile(`${root}/file`, "");
    await assertRejects(() => checkDataDir(`${root}/file/memory`), Error, "file/memory");
  });
});

type Command = Readonly<{ command: string; args: readonly string[] }>;

function shell(script: string): Command {
  return { command: "sh", args: ["-c", script] };
}

/** Makes the checks of the agent that this table describes. */
function checksOf(table: string, deps: Partial<AgentDeps> = {}, notAcpMs?: number) {
  return agentChecks(configOf({ HOME: "/" }, `[agent]\n${table}`).agents[0]!, {
    own: Deno.env.toObject(),
    windows: Deno.build.os === "windows",
    broker: { ask: () => Promise.resolve(undefined) },
    version: "0.0.0",
    log: NO_LOG,
    ...deps,
  }, notAcpMs);
}

function startOf({ command, args }: Command, deps: Partial<AgentDeps> = {}, notAcpMs?: number) {
  return checksOf(`command = ${JSON.stringify(command)}\nargs = ${JSON.stringify(args)}\n`, deps, notAcpMs);
}

const FOREVER = new AbortController().signal;

Deno.test("agentChecks: finds the program in the agent's environment, its folder, and what is missing", async () => {
  await inFolder(async (root) => {
    await Deno.writeTextFile(`${root}/tool`, "", { mode: 0o755 });
    const table = `
command = "tool"
working_dir = "${root}"
inherit_env = ["HERE", "NOWHERE", "EMPTY", "GIVEN"]
env = { GIVEN = "1", PATH = "${root}/none:${root}:/bin:/usr/bin" }
[agent.mcp_servers.good]
command = "sh"
[agent.mcp_servers.missing]
command = "no-such-mcp-program"
[agent.mcp_servers.other_path]
command = "sh"
env = { PATH = "/no/such/folder" }
[agent.mcp_servers.web]
url = "https://mcp.example/"
`;
    const found = await checksOf(table, { own: { HERE: "1", EMPTY: " " } }).findRequirements();
    assertEquals(found.program, { path: `${root}/tool`, isExecutable: true });
    assertEquals(found.folder, { path: root, isFolder: true });
    assertEquals(found.unsetVariables, ["NOWHERE", "EMPTY"]);
    const servers = found.servers.map(({ name, program }) => [name, program?.isExecutable]);
    assertEquals(servers, [["good", true], ["missing", undefined], ["other_path", undefined]]);
  });
});

Deno.test("agentChecks: describes an agent, also one that prints a greeting first", async () => {
  const { command, args } = agentCommand({ image: true, authMethods: ["key"] });
  const greeting = { command: "sh", args: ["-c", 'echo Welcome; exec "$@"', "sh", command, ...args] };
  for (const start of [{ command, args }, greeting]) {
    const agent = startOf(start);
    const { promptCapabilities, authMethods, protocolVersion } = await agent.describe(FOREVER);
    assertEquals([promptCapabilities, authMethods, protocolVersion], [
      { image: true, audio: false },
      ["key"],
      1,
    ]);
    assertEquals(agent.observed.invalidLine, undefined);
  }
});

Deno.test("agentChecks: observes the log-in of an agent", async () => {
  const agent = startOf(agentCommand({ authRequired: true, authMethods: ["api-key"] }));
  await agent.describe(FOREVER);
  assertEquals(agent.observed.login, "api-key");
});

Deno.test("agentChecks: observes stderr until the agent is given up", async () => {
  const giveUp = new AbortController();
  const agent = startOf(agentCommand({ startDelayMs: 600_000, stderr: "one\ntwo\nthree\nfour\n" }), {
    onLifecycle: (event) =>
      event.type === "stderr" && event.line === "four" &&
      giveUp.abort(new AppError("agent_unavailable", "Too slow.")),
  });
  await assertRejects(() => agent.describe(giveUp.signal), AppError, "Too slow.");
  const { stderr, invalidLine, exit } = agent.observed;
  assertEquals([stderr, invalidLine, exit], [["two", "three", "four"], undefined, undefined]);
});

Deno.test("agentChecks: an agent that prints only lines that are not ACP is given up early", async () => {
  const agent = startOf(shell("echo; echo Welcome; echo again; exec sleep 300"), {}, 1);
  await assertRejects(() => agent.describe(FOREVER), AppError, "not ACP");
  assertEquals(agent.observed.invalidLine, "Welcome");
});

const READY = `read l; echo '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":1}}'; read l`;
const LOGIN =
  `read l; echo '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":1,"authMethods":[{"id":"api-key"}]}}'
read l; echo '{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"Log in"}}'; read l`;
const REFUSES = `${READY}; echo '{"jsonrpc":"2.0","id":1,"error":{"message":"no beans"}}'; read l`;
const FAILURES: [name: string, start: Command, observed: Partial<AgentObservations>, text: RegExp][] = [
  ["ends at once", shell("echo bye >&2; exit 3"), {
    step: "start",
    exit: "exited with code 3",
    stderr: ["bye"],
  }, /^exited/],
  [
    "ends by a signal",
    shell("kill -SEGV $$"),
    { exit: "was ended by SIGSEGV" },
    /^was ended by SIGSEGV before/,
  ],
  [
    "prints its usage and ends",
    shell("echo usage: agent acp"),
    { invalidLine: "usage: agent acp" },
    /^is not an ACP/,
  ],
  [
    "ends while it opens a session",
    shell(`echo Welcome; ${READY}; echo panic: no beans; exit 7`),
    {
      step: "session",
      exit: "exited with code 7",
      invalidLine: undefined,
      lastInvalidLine: "panic: no beans",
    },
    /^exited with code 7 while it opened a session\. Last line on stdout: "panic: no beans"\.$/,
  ],
  [
    "ends during its log-in",
    shell(`${LOGIN}; exit 9`),
    { step: "login", login: "api-key", exit: "exited with code 9" },
    /^needs a log-in .*; it exited with code 9$/,
  ],
  // The process itself is ended by this program then.
  [
    "closes its output",
    shell(`${READY}; exec >&-; exec sleep 300`),
    { step: "session", exit: undefined },
    /^closed its/,
  ],
  ["refuses a session", shell(REFUSES), { step: "session" }, /^opened no session: .*no beans/],
  [
    "speaks another version",
    agentCommand({ protocolVersion: 2 }),
    { step: "start" },
    /^The agent speaks version 2/,
  ],
  ["cannot be started", { command: "sh", args: ["a\0b"] }, { step: "start" }, /could not be started/],
];

for (const [name, start, observed, text] of FAILURES) {
  Deno.test(`agentChecks: an agent that ${name}`, async () => {
    const agent = startOf(start);
    const error = await agent.describe(FOREVER).then(() => undefined, (error) => error);
    assertEquals({ ...agent.observed, ...observed }, agent.observed);
    assertMatch(diagnose(agent.config, toAppError(error, "internal_error"), agent.observed).text, text);
  });
}

Deno.test("agentChecks: an agent can be killed while it is described, and is not started again", async () => {
  const started = Promise.withResolvers<void>();
  const agent = startOf(shell("echo here >&2; exec sleep 300"), {
    onLifecycle: (event) => event.type === "stderr" && started.resolve(),
  });
  const describing = agent.describe(FOREVER);
  await started.promise;
  agent.kill();
  await assertRejects(() => describing, AppError);
  await assertRejects(() => agent.describe(FOREVER), AppError, "The agent was killed.");
});
