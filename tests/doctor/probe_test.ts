import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { AgentSurroundings } from "../../lib/acp/start.ts";
import { type Log, SILENT } from "../../lib/ops/log.ts";
import { Failure } from "../../lib/turn/failure.ts";
import { agentCommand } from "../fakes/agent.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { checkDataDir, doctorAgent, findFolder, findProgram, listenFault } from "../../lib/doctor/probe.ts";

/** What agents of these tests are given. */
function around(log: Log): AgentSurroundings {
  return {
    own: Deno.env.toObject(),
    windows: Deno.build.os === "windows",
    desk: { ask: () => Promise.resolve(undefined) },
    version: "0.0.0",
    log,
  };
}

const LOOPBACK = { hostname: "127.0.0.1", port: 0 };

Deno.test("listenFault: an address that is free, and is not kept", async () => {
  assertEquals(await listenFault(LOOPBACK), undefined);
});

const NEIGHBOURS: [name: string, answer: () => Response, fault: string][] = [
  [
    "this program",
    () => Response.json({ name: "oab-vtuber", version: "1" }),
    "an oab-vtuber runs there already",
  ],
  ["another program", () => Response.json({ name: "other" }), "another program listens there"],
  ["one that never ends its answer", () => new Response(endless()), "another program listens there"],
];

function endless(): ReadableStream<Uint8Array> {
  return new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1024).fill(32)) });
}

for (const [name, answer, fault] of NEIGHBOURS) {
  Deno.test(`listenFault: an address that ${name} has`, async () => {
    await using server = Deno.serve({ ...LOOPBACK, onListen() {} }, answer);
    assertEquals(await listenFault({ ...LOOPBACK, port: server.addr.port }), fault);
  });
}

Deno.test("listenFault: an address that somebody has who speaks no HTTP", async () => {
  using listener = Deno.listen(LOOPBACK);
  const serving = (async () => {
    for await (const connection of listener) connection.close();
  })();
  assertEquals(
    await listenFault({ ...LOOPBACK, port: listener.addr.port }),
    "another program listens there",
  );
  listener.close();
  await serving;
});

Deno.test("listenFault: an address of another machine", async () => {
  assertEquals(await listenFault({ hostname: "192.0.2.1", port: 0 }), "this machine has no such address");
});

Deno.test("findProgram: where a program is, as it is found when it is started", async () => {
  const root = await Deno.realPath(await Deno.makeTempDir());
  try {
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
    const windows = {
      cwd: root,
      env: { PATH: `${root}/one;${root}/two`, PATHEXT: ".EXE;.CMD" },
      windows: true,
    };
    assertEquals(await findProgram({ ...windows, command: "tool" }), {
      path: `${root}/two/tool.CMD`,
      isExecutable: true,
    });
    assertEquals(await findProgram({ ...unix, env: {}, command: "plain" }), undefined);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
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

for (const [line, missingInterpreter] of SCRIPTS) {
  Deno.test(`findProgram: a script that begins with ${JSON.stringify(line)}`, async () => {
    const root = await Deno.realPath(await Deno.makeTempDir());
    try {
      const path = `${root}/script`;
      await Deno.writeTextFile(path, `${line}\nexit 0\n`, { mode: 0o755 });
      const source = { command: path, cwd: root, env: { PATH: "/usr/bin:/bin" }, windows: false };
      const found = { path, isExecutable: true, ...missingInterpreter && { missingInterpreter } };
      assertEquals(await findProgram(source), found);
    } finally {
      await Deno.remove(root, { recursive: true });
    }
  });
}

Deno.test("findFolder: the whole path of what is there, and whether it is a folder", async () => {
  const root = await Deno.realPath(await Deno.makeTempDir());
  try {
    await Deno.writeTextFile(`${root}/file`, "");
    await Deno.symlink(root, `${root}/link`);
    assertEquals(await findFolder(`${root}/link`), { path: root, isFolder: true });
    assertEquals(await findFolder(`${root}/file`), { path: `${root}/file`, isFolder: false });
    assertEquals(await findFolder(`${root}/nowhere`), undefined);
    assertEquals(await findFolder("."), { path: await Deno.realPath("."), isFolder: true });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("checkDataDir: a folder that is new, one that is damaged, and one that cannot be", async () => {
  const root = await Deno.makeTempDir();
  try {
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
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

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
    const [fake, tool] = agents.map((config) => doctorAgent(config, around(SILENT)));
    assertEquals(await tool!.findProgram(), { path: `${root}/tool`, isExecutable: true });
    assertEquals(await fake!.findFolder(), { path: root, isFolder: true });
    const { accepts, authMethods } = await fake!.describe(AbortSignal.timeout(60_000));
    assertEquals([accepts, authMethods], [{ image: true, audio: false }, ["key"]]);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

/** An agent with this program; `strayMs` as {@linkcode doctorAgent} takes it. */
function tried(program: { command: string; args: string[] }, log: Log = SILENT, strayMs?: number) {
  const { command, args } = program;
  const text = `[agent]\ncommand = ${JSON.stringify(command)}\nargs = ${JSON.stringify(args)}\n`;
  const { agents } = loadConfig({ env: { HOME: "/" }, file: { path: "config.toml", text } }).config;
  return doctorAgent(agents[0]!, around(log), strayMs);
}

Deno.test("doctorAgent: tells what an agent wrote to stderr when it cannot be used", async () => {
  const givenUp = new AbortController();
  const why = new Failure("agent_unavailable", "Too slow.");
  const log: Log = {
    ...SILENT,
    info: (_message, fields) => fields?.line === "four" && givenUp.abort(why),
  };
  const agent = tried(agentCommand({ startDelayMs: 600_000, stderr: "one\ntwo\nthree\nfour\n" }), log);
  const error = await assertRejects(() => agent.describe(givenUp.signal), Failure);
  assertEquals(error.message, "Too slow.");
  assertEquals(agent.said(), { stderr: ["two", "three", "four"], stray: undefined });
});

Deno.test("doctorAgent: an agent that writes nothing but what is no ACP is given up early", async () => {
  const program = { command: "sh", args: ["-c", "echo; echo Welcome; echo again; exec sleep 300"] };
  const agent = tried(program, SILENT, 1);
  const error = await assertRejects(() => agent.describe(new AbortController().signal), Failure);
  assertMatch(error.message, /no ACP/);
  assertEquals(agent.said().stray, "Welcome");
});

Deno.test("doctorAgent: an agent that writes what is no ACP, and ends", async () => {
  const agent = tried({ command: "sh", args: ["-c", "echo usage: agent acp"] });
  await assertRejects(() => agent.describe(new AbortController().signal), Failure);
  assertEquals(agent.said().stray, "usage: agent acp");
});

Deno.test("doctorAgent: a line before an agent's first word of ACP does no harm", async () => {
  const { command, args } = agentCommand({});
  const agent = tried({ command: "sh", args: ["-c", 'echo Welcome; exec "$@"', "sh", command, ...args] });
  assertEquals((await agent.describe(new AbortController().signal)).protocolVersion, 1);
  assertEquals(agent.said().stray, undefined);
});

Deno.test("doctorAgent: can be killed while it is described, and starts no more then", async () => {
  const heard = Promise.withResolvers<void>();
  const log: Log = { ...SILENT, info: (_message, fields) => fields?.line === "here" && heard.resolve() };
  const agent = tried({ command: "sh", args: ["-c", "echo here >&2; exec sleep 300"] }, log);
  const describing = agent.describe(new AbortController().signal);
  await heard.promise;
  agent.kill();
  await assertRejects(() => describing, Failure);
  await assertRejects(() => agent.describe(new AbortController().signal), Failure, "It was ended.");
});
