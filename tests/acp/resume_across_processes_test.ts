import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { AcpAgent } from "../../lib/acp/agent.ts";
import { serveDemo } from "../../lib/demo/agent.ts";
import { launch } from "../../lib/acp/process.ts";
import { untilAborted } from "../../lib/core/abortable.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { isObject, readEntries } from "../support/agents/scripted_agent.ts";
import { replayCommand } from "../support/agents/replayed_agent.ts";
import { Heard, soon } from "../support/harness/turn_recorder.ts";
import { bareEnvironment, PATIENT, ScriptedAgentHarness } from "../support/harness/agent_process_harness.ts";
import { AT_ONCE } from "../support/harness/demo_client.ts";
import { LogRecorder, memoryProcess, streamPair } from "../support/harness/json_rpc_harness.ts";
import { PROMPT } from "../support/agents/memory_acp_agent.ts";
import { NO_BROKER } from "../support/harness/no_broker.ts";

/** Longer than an early death's wait. */
const A_WHILE_MS = 60_000;

for (const way of ["resume", "load"] as const) {
  Deno.test(`AcpAgent: a session outlives its process, by session/${way}`, async () => {
    const memory = await Deno.makeTempFile();
    {
      await using house = new ScriptedAgentHarness({
        memory,
        resume: way === "resume",
        loadSession: way === "load",
      });
      const session = await house.agent.newSession();
      assertEquals((await house.runTurn(session, { text: "one" })).text, "one");
      const killed = await house.startTurn(session, { text: "two" }, { kill: true });
      assertEquals(await killed.heard.last(), "failure agent_crashed");
      await soon(untilAborted(session.closed), "the session's end");
      house.nowMs += A_WHILE_MS;
      const again = await house.agent.resumeSession(session.id);
      assert(again);
      const heard = await house.runTurn(again!, { recall: true });
      assertEquals(heard.events.filter(({ type }) => type === "text").length, 1, "nothing is told again");
      assertEquals(JSON.parse(heard.text).length, 2);
      assertEquals([house.processes.length, house.count(`session/${way}`)], [2, 1]);
      // Another server that is started later.
      await using next = new ScriptedAgentHarness(house.options);
      const later = await next.agent.resumeSession(session.id);
      assertEquals(JSON.parse((await next.runTurn(later!, { recall: true })).text).length, 3);
      assertEquals(await next.agent.resumeSession("fake-other" as SessionId), undefined);
    }
    await Deno.remove(memory);
  });
}

Deno.test("AcpAgent: a session that was closed is brought back; one that was forgotten is deleted", async () => {
  await using house = new ScriptedAgentHarness({ resume: true, delete: true });
  const session = await house.agent.newSession();
  await house.runTurn(session, { text: "one" });
  session.close();
  const again = await house.agent.resumeSession(session.id);
  assertEquals(JSON.parse((await house.runTurn(again!, { recall: true })).text).length, 1);
  house.agent.deleteSession(session.id);
  // It stands in line behind the delete.
  await house.agent.resumeSession(session.id);
  assertEquals(house.methods, [
    "initialize",
    "session/prompt",
    "session/close",
    "session/resume",
    "session/prompt",
    "session/close",
    "session/delete",
    "session/resume",
  ]);
});

Deno.test("AcpAgent: the demo agent remembers a session that was closed, and not one that was forgotten", async () => {
  const served: Promise<void>[] = [];
  {
    await using agent = new AcpAgent({
      name: "demo",
      program: "demo",
      launch: () => {
        const [mine, theirs] = streamPair();
        served.push(serveDemo(theirs, AT_ONCE));
        return memoryProcess(mine, () => {});
      },
      cwd: "/",
      permissions: "allow",
      broker: NO_BROKER,
      version: "1",
      variables: new Set(),
      log: new LogRecorder().log,
    });
    const session = await agent.newSession();
    for (const turn of [1, 2, 3]) {
      const heard = new Heard();
      const again = turn === 1 ? session : await agent.resumeSession(session.id);
      await again?.prompt(PROMPT, heard.reader);
      assertEquals(await heard.last(), "end end_turn");
      assertStringIncludes(heard.text, turn === 1 ? "Hello!" : `this is turn ${turn}.`);
      again?.close();
    }
    agent.deleteSession(session.id);
    assertEquals(await agent.resumeSession(session.id), undefined);
  }
  await soon(Promise.all(served), "the demo agent's end");
});

Deno.test("AcpAgent: an agent that has forgotten a session says so, and serves on", async () => {
  await using house = new ScriptedAgentHarness({ resume: true, loadSession: true, forgetful: true });
  const session = await house.agent.newSession();
  session.close();
  assertEquals(await house.agent.resumeSession(session.id), undefined);
  assertEquals((await house.runTurn(await house.agent.newSession(), { text: "anew" })).text, "anew");
});

Deno.test("AcpAgent: a session is brought back with its mode, its model and its MCP servers", async () => {
  const mcpServers = [{ name: "files", command: "mcp-files", args: ["."], env: [{ name: "A", value: "b" }] }];
  await using house = new ScriptedAgentHarness({
    resume: true,
    models: { ids: ["a", "b"], by: "set_model" },
    modes: ["ask", "code"],
  }, { mode: "code", model: "b", mcpServers });
  const session = await house.agent.newSession();
  session.close();
  const again = await house.agent.resumeSession(session.id);
  assertEquals(again?.model, "b");
  const { id: sessionId } = session;
  // The next session may be made ahead meanwhile.
  const said = house.received.filter(({ method, params }) =>
    /session\/(resume|set)/.test(String(method)) && isObject(params) && params.sessionId === sessionId
  );
  const settings = [
    ["session/set_mode", { sessionId, modeId: "code" }],
    ["session/set_model", { sessionId, modelId: "b" }],
  ];
  assertEquals(house.received.find(({ method }) => method === "session/new")?.params, {
    cwd: Deno.cwd(),
    mcpServers,
  });
  assertEquals(said.map(({ method, params }) => [method, params]) as unknown, [
    ...settings,
    ["session/resume", { sessionId, cwd: Deno.cwd(), mcpServers }],
    ...settings,
  ]);
});

for (
  const [recording, model, other] of [
    ["claude-load", "claude-sonnet-4-5", "opus"],
    ["codex2-load", "gpt-5", "gpt-6-astra"],
  ] as const
) {
  Deno.test(`AcpAgent: ${recording}, a session that is closed, brought back, and forgotten`, async () => {
    const log = await Deno.makeTempFile();
    const recorder = new LogRecorder();
    const heard = new Heard();
    {
      await using agent = new AcpAgent({
        name: "recorded",
        program: recording,
        launch: () =>
          launch(
            { ...replayCommand(recording, { log }), cwd: Deno.cwd(), env: bareEnvironment() },
            recorder.log,
            PATIENT,
          ),
        cwd: Deno.cwd(),
        permissions: "allow",
        broker: NO_BROKER,
        version: "1",
        variables: new Set(),
        log: recorder.log,
      });
      const session = await agent.newSession();
      assertEquals(session.model, model);
      assert(agent.models.some(({ id }) => id === other));
      await session.prompt(PROMPT, heard.reader);
      assertEquals(await heard.last(), "end end_turn");
      const told = heard.events.length;
      session.close();
      const again = await agent.resumeSession(session.id);
      assertEquals([again?.id, again?.model], [session.id, model]);
      assertEquals(heard.events.length, told);
      agent.deleteSession(session.id);
      await soon(untilAborted(again!.closed), "its end");
      const { closed } = await agent.newSession();
      assertEquals(closed.aborted, false);
    }
    const methods = readEntries(Deno.readTextFileSync(log)).flatMap(({ method }) => method ? [method] : []);
    assertEquals(methods.filter((method) => method !== "session/new").slice(0, 5), [
      "initialize",
      "session/prompt",
      "session/close",
      "session/resume",
      "session/close",
    ]);
    await Deno.remove(log);
  });
}
