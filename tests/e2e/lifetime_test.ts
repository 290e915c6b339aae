/** The life of the program: its start, its signals, and what remains of its agents. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { ChildCommand } from "../support/agents/agent_io.ts";
import type { ScriptedAgentOptions } from "../support/agents/scripted_agent.ts";
import { createGate } from "../support/harness/data_dir_fixture.ts";
import {
  isAlive,
  readAnswer,
  replyOf,
  runProgram,
  script,
  type ServerProcess,
  startServer,
  terminateAgain,
  until,
} from "../support/harness/server_process.ts";

Deno.test("start: without VTUBER_ENABLED it prints the variable to set and exits with 2", async () => {
  const { code, out, err } = await runProgram([], { VTUBER_ENABLED: "" });
  assertEquals([code, out], [2, ""]);
  assertStringIncludes(err, "VTUBER_ENABLED=true");
});

Deno.test("start: --help and --version", async () => {
  const help = await runProgram(["--help"]);
  assertEquals(help.code, 0);
  assertStringIncludes(help.out, "OPENAB_AGENT_COMMAND");
  const version = await runProgram(["--version"]);
  assertEquals(version.code, 0);
  assert(/^oab-vtuber \d+\.\d+\.\d+ \(/.test(version.out), version.out);
});

Deno.test("start: all errors of the configuration are printed together, by the names of the settings", async () => {
  const { code, err } = await runProgram(["--heartbeat", "loud"], {
    GATEWAY_LISTEN: "0.0.0.0:8080",
    VTUBER_MAX_IN_FLIGHT: "many",
  });
  assertEquals(code, 2);
  for (const name of ["VTUBER_HEARTBEAT", "GATEWAY_LISTEN", "VTUBER_MAX_IN_FLIGHT", "oab-vtuber key new"]) {
    assertStringIncludes(err, name);
  }
});

Deno.test("start: an unknown flag, an address in use and missing paths are errors that name them", async () => {
  await using server = await startServer();
  const address = server.url.slice("http://".length);
  const cases: [string[], Record<string, string>, number, string][] = [
    [["--nonsense"], {}, 2, "--nonsense"],
    [[], { GATEWAY_LISTEN: address }, 1, `${address}: `],
    [[], { GATEWAY_LISTEN: address }, 1, "--listen"],
    [[], { VTUBER_WORKING_DIR: "/nowhere/at/all" }, 2, "VTUBER_WORKING_DIR"],
    [["--config", "/nowhere/config.toml"], {}, 2, "/nowhere/config.toml"],
  ];
  for (const [args, env, expected, name] of cases) {
    const { code, err } = await runProgram(args, { VTUBER_DATA_DIR: "none", ...env });
    assertEquals(code, expected, err);
    assertStringIncludes(err, name);
  }
});

Deno.test("SIGTERM: /readyz fails, new turns are refused, running ones may end; then exit code 0", async () => {
  await using gate = await createGate();
  await using server = await startServer({ env: { VTUBER_SHUTDOWN_GRACE_SECS: "600" } });
  const running = await server.chat(script({ text: "I am " }, gate.step, { text: "done." }));
  server.signal("SIGTERM");
  await server.logged('"message":"shutting down"');
  const ready = await fetch(`${server.url}/readyz`);
  assertEquals([ready.status, (await ready.json()).status], [503, "draining"]);
  const refused = await server.chat("too late");
  assertEquals([refused.status, refused.headers.has("retry-after")], [503, true]);
  assertEquals((await refused.json()).error.code, "shutting_down");
  await gate.open();
  const { text, finish } = await replyOf(running);
  assertEquals([text, finish], ["I am done.\n", "stop"]);
  assertEquals((await server.exited).code, 0);
});

Deno.test("SIGINT: after the grace a running turn fails in its stream, and no process of the agent survives", async () => {
  await using server = await startServer({ env: { VTUBER_SHUTDOWN_GRACE_SECS: "0.2" } });
  const command = "sleep 1000";
  const response = await server.chat(script(
    { spawn: command },
    { spawn: command, setsid: true },
    // This process has neither the agent's mark nor its group: it is found only before the agent ends.
    { spawn: `env -i ${command}`, setsid: true },
    { text: "." },
    { hang: true },
  ));
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let stream = "";
  while (!stream.includes('"."')) stream += (await reader.read()).value;
  server.signal("SIGINT");
  for (let next = await reader.read(); !next.done; next = await reader.read()) stream += next.value;
  const { text, finish, done } = readAnswer(stream);
  assertStringIncludes(text, "shutting down");
  assertEquals([finish, done], ["error", true]);
  assertEquals((await server.exited).code, 0);
  const pids = [...text.matchAll(/pid:(\d+)/g)].map((match) => Number(match[1]));
  assertEquals(pids.length, 3);
  await until(() => !pids.some(isAlive));
});

Deno.test("a second signal ends the program at once with exit code 1", async () => {
  await using server = await startServer({ env: { VTUBER_SHUTDOWN_GRACE_SECS: "600" } });
  const response = await server.chat(script({ text: "." }, { hang: true }));
  server.signal("SIGTERM");
  await server.logged('"message":"shutting down"');
  assertEquals(await terminateAgain(server), 1);
  await response.text().catch(() => {});
});

Deno.test({
  name: "SIGHUP: if the terminal is closed, the log is lost, but running turns may end",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using gate = await createGate();
    await using server = await startServer({ atTerminal: true, env: { VTUBER_SHUTDOWN_GRACE_SECS: "600" } });
    const running = await server.chat(script({ text: "I am " }, gate.step, { text: "done." }));
    server.signal("SIGKILL");
    await until(async () => (await server.get("/readyz")).status === "draining");
    await gate.open();
    const { text, finish } = await replyOf(running);
    assertEquals([text, finish], ["I am done.\n", "stop"]);
    await until(() => server.get("/health").then(() => false, () => true));
  },
});

const ENDS: [name: string, signal: Deno.Signal, agent: ScriptedAgentOptions, isImpatient: boolean][] = [
  ["SIGTERM", "SIGTERM", { ignoreEof: true, ignoreSigterm: true }, false],
  ["SIGHUP without a terminal", "SIGHUP", { ignoreEof: true }, false],
  ["SIGQUIT", "SIGQUIT", { ignoreEof: true }, false],
  ["a second signal", "SIGTERM", { ignoreEof: true, ignoreSigterm: true }, true],
];

for (const [name, signal, agent, isImpatient] of ENDS) {
  Deno.test(`${name}: an agent with ${Object.keys(agent).join(" and ")} is ended, with its children`, async () => {
    await using server = await startServer({ agent });
    const { text } = await replyOf(server.chat(script({ spawn: "sleep 1000" })));
    const child = Number(/pid:(\d+)/.exec(text)?.[1]);
    assert(isAlive(child));
    server.signal(signal);
    if (isImpatient) {
      await server.receivedUntil((messages) => messages.some(({ eof }) => eof));
      assertEquals(await terminateAgain(server), 1);
    } else assertEquals((await server.exited).code, 0);
    await until(() => !isAlive(child));
  });
}

Deno.test("start: ends the agents that a killed server left behind, and no agent of a running server", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  const agent = { ignoreEof: true, ignoreSigterm: true };
  const startChild = async (server: ServerProcess) => {
    const { text } = await replyOf(server.chat(script({ spawn: "sleep 1000" })));
    return Number(/pid:(\d+)/.exec(text)?.[1]);
  };
  await using running = await startServer({ agent });
  await using killed = await startServer({ agent });
  const [ours, orphan] = [await startChild(running), await startChild(killed)];
  await killed.end("SIGKILL");
  // Any server that starts from now on ends it, also one of another test.
  await using _next = await startServer();
  await until(() => !isAlive(orphan));
  assert(isAlive(ours));
  assertEquals((await replyOf(running.chat(script({ text: "Still here." })))).text, "Still here.\n");
});

Deno.test("the log never tells what was said or done, also at debug", async () => {
  const mark = "s3cret-plan";
  await using server = await startServer({ env: { VTUBER_PERMISSIONS: "allow" } });
  const steps = script(
    { text: `${mark} reply` },
    { thought: mark },
    { tool: { id: "t", title: mark, kind: "execute", rawInput: { command: mark } } },
    {
      toolUpdate: {
        id: "t",
        status: "completed",
        content: [{ type: "content", content: { type: "text", text: mark } }],
      },
    },
    {
      permission: {
        toolCall: { toolCallId: "p", title: "Run", kind: "execute", rawInput: { command: mark } },
        options: [{ optionId: "a", name: mark, kind: "allow_once" }],
      },
    },
    { plan: [{ content: mark, priority: "high", status: "pending" }] },
    { raw: `the user said ${mark}` },
    { raw: `{"jsonrpc":"2.0","method":"session/update","params":{"update":"${mark}` },
    { update: { sessionUpdate: "agent_message_chunk", content: mark } },
  );
  const messages = [{ role: "system", content: `You are ${mark}.` }, { role: "user", content: steps }];
  const { finish } = await replyOf(server.chat("", { messages }));
  assertEquals(finish, "stop");
  const refused = await server.post("/v1/chat/completions", { messages: [{ role: mark, content: mark }] });
  assertEquals(refused.status, 400);
  await refused.body?.cancel();
  await (await server.post("/v1/chat/completions", `{"messages": "${mark}`)).body?.cancel();
  await server.logged("skipped a line of the agent");
  await server.end("SIGTERM");
  assertEquals(server.log().split("\n").filter((line) => line.includes(mark)), []);
});

Deno.test("an agent that exits at its start: 503 with the reason and Retry-After, its stderr in the log", async () => {
  await using server = await startServer({ agent: { dieOnStart: 3, stderr: "cannot find my head" } });
  let response: Response | undefined;
  await until(async () => {
    response = await server.chat("hello");
    const { error } = await response.json();
    assertEquals([response.status, error.code], [503, "agent_unavailable"]);
    return error.message.includes("in a row");
  });
  const wait = Number(response!.headers.get("retry-after"));
  assert(wait >= 1 && wait <= 60);
  assertEquals(response!.headers.has("x-should-retry"), false);
  assertStringIncludes(server.log(), "cannot find my head");
  const ready = await fetch(`${server.url}/readyz`);
  const body = { status: "degraded", checks: { "agent:openab": "failing" } };
  assertEquals([ready.status, await ready.json()], [503, body]);
});

const UNUSABLE: [name: string, agent: ChildCommand, text: RegExp][] = [
  [
    "whose program is missing",
    { command: "no-such-agent", args: [] },
    /^ {2}The agent openab cannot answer: The agent's program "no-such-agent" was not found/m,
  ],
  [
    "that is no ACP agent",
    { command: "echo", args: ["v20.20.2"] },
    /^ {2}The agent openab cannot answer: .* not an ACP agent: it printed "v20\.20\.2"\..*\n.* doctor/m,
  ],
];

for (const [name, agent, text] of UNUSABLE) {
  Deno.test(`start: an agent ${name} is named below the banner, before any request`, async () => {
    await using server = await startServer({ agent });
    const output = await server.printed("says more.");
    assert(text.test(output), output);
  });
}

Deno.test("an agent whose program is missing: 503 that names the program", async () => {
  await using server = await startServer({ agent: { command: "no-such-agent", args: [] } });
  const response = await server.chat("hello");
  assertEquals(response.status, 503);
  assertStringIncludes((await response.json()).error.message, "no-such-agent");
  assertEquals((await server.get("/readyz")).status, "degraded");
});

Deno.test("an agent that needs a log-in: 503 that names the ways to log in, and no retry", async () => {
  const authMethods = [{ id: "browser", name: "Log in with a browser" }];
  await using server = await startServer({ agent: { authRequired: true, authMethods } });
  const response = await server.chat("hello");
  assertEquals([response.status, response.headers.get("x-should-retry")], [503, "false"]);
  const { error } = await response.json();
  assertEquals(error.code, "agent_auth_required");
  assertStringIncludes(error.message, "browser (Log in with a browser)");
});
