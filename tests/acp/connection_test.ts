import {
  assert,
  assertEquals,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
} from "@std/assert";
import { RPC } from "../../lib/acp/json_rpc.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import type { Json } from "../support/agents/agent_io.ts";
import { TEST_TIMEOUTS } from "../support/harness/json_rpc_harness.ts";
import { appErrorOf, nextTask, waitFor } from "../support/harness/turn_recorder.ts";
import {
  AcpHarness,
  type Handler,
  neverAnswers,
  refuses,
  withCapabilities,
  worksUntilCancelled,
} from "../support/agents/memory_acp_agent.ts";

const ID = "session-1" as SessionId;
const OLD = "old" as SessionId;
const RESUMES = withCapabilities({ loadSession: true, sessionCapabilities: { close: {}, resume: {} } });
const LOADS = withCapabilities({ loadSession: true, sessionCapabilities: { close: {} } });
const ONLY_LOADS = withCapabilities({ loadSession: true });
const unknown = refuses(RPC.resourceNotFound, "No such session");
/** Handlers of an agent that has every session. */
const HAS_ALL: Readonly<Record<string, Handler>> = {
  "session/resume": () => ({}),
  "session/load": () => ({}),
};

for (const initialize of [RESUMES, ONLY_LOADS]) {
  Deno.test(`AcpAgent.newSession: refuses the id of another session, open or ${initialize === RESUMES ? "closed" : "not closed"} at the agent`, async () => {
    await using harness = new AcpHarness({ initialize, "session/new": () => ({ sessionId: ID }) });
    const session = await harness.agent.newSession();
    const failure = await appErrorOf(harness.agent.newSession());
    assertEquals(failure.code, "agent_unavailable");
    assertStringIncludes(failure.message, "the id of another session");
    assertEquals((await harness.runTurn(session)).summaries, ["end end_turn"], "the first one serves on");
    session.close();
    await nextTask();
    const next = await harness.agent.newSession().then(({ id }) => id, ({ code }) => code);
    assertEquals(next, initialize === RESUMES ? ID : "agent_unavailable");
  });
}

const METHODS: readonly (readonly [name: string, initialize: Handler, method: string | undefined])[] = [
  ["resumes and loads", RESUMES, "session/resume"],
  ["resumes", withCapabilities({ sessionCapabilities: { resume: {} } }), "session/resume"],
  ["loads", LOADS, "session/load"],
  ["does neither", withCapabilities({ sessionCapabilities: { close: {} } }), undefined],
];
for (const [name, initialize, method] of METHODS) {
  Deno.test(`AcpAgent.resumeSession: an agent that ${name}`, async () => {
    await using harness = new AcpHarness({ initialize, ...HAS_ALL });
    const session = await harness.agent.resumeSession(OLD);
    assertEquals(session?.id, method && OLD);
    const received = harness.running.received.filter(({ method }) => /resume|load/.test(method));
    assertEquals(
      received as unknown,
      method ? [{ method, params: { sessionId: OLD, cwd: "/", mcpServers: [] } }] : [],
    );
    assertEquals(harness.starts.length, 1, "the agent was started");
  });
}

const FAILURES: readonly (readonly [name: string, load: Handler])[] = [
  ["does not know it", unknown],
  ["cannot do it after all", refuses(RPC.methodNotFound)],
  ["does not answer", neverAnswers],
];
for (const [name, load] of FAILURES) {
  Deno.test(`AcpAgent.resumeSession: returns nothing if the agent ${name}, and the agent still serves`, async () => {
    await using harness = new AcpHarness({ initialize: LOADS, "session/load": load }, {
      timeouts: { ...TEST_TIMEOUTS, resumeMs: 10 },
    });
    assertEquals(await harness.agent.resumeSession(OLD), undefined);
    assertEquals(harness.recorder.matching("could not resume a session").map(({ level }) => level), [
      "info",
    ]);
    assert(await harness.agent.newSession());
    assertEquals(harness.starts.length, 1);
  });
}

for (const answer of [null, "ok", { configOptions: 7, modes: [], models: null }]) {
  Deno.test(`AcpAgent.resumeSession: takes the answer ${JSON.stringify(answer)}`, async () => {
    await using harness = new AcpHarness({ initialize: LOADS, "session/load": () => answer });
    const heard = await harness.runTurn(await harness.agent.resumeSession(OLD));
    assertEquals(heard.summaries, ["end end_turn"]);
  });
}

Deno.test("AcpAgent.resumeSession: drops the repeated history, and cancels its permission requests", async () => {
  const outcomes: unknown[] = [];
  await using harness = new AcpHarness({
    "initialize": LOADS,
    "session/load": async ({ sessionId }, running) => {
      running.update(sessionId, {
        sessionUpdate: "user_message_chunk",
        content: { type: "text", text: "Hi" },
      });
      running.sendText(sessionId, "An earlier answer.");
      outcomes.push(
        await running.peer.request("session/request_permission", {
          sessionId,
          toolCall: { toolCallId: "t", title: "rm", kind: "execute" },
          options: [{ optionId: "yes", name: "Yes", kind: "allow_once" }],
        }),
      );
      return {};
    },
  });
  const heard = await harness.runTurn(await harness.agent.resumeSession(OLD));
  assertEquals(heard.summaries, ["end end_turn"]);
  assertEquals(outcomes, [{ outcome: { outcome: "cancelled" } }]);
});

Deno.test("AcpAgent.resumeSession: drops the history that an agent repeats behind its answer", async () => {
  await using harness = new AcpHarness({
    "initialize": LOADS,
    "session/load": ({ sessionId }, running) => {
      queueMicrotask(async () => {
        await nextTask();
        running.sendText(sessionId, "An earlier answer.");
        running.update(sessionId, { sessionUpdate: "tool_call", toolCallId: "t", title: "ls" });
      });
      return {};
    },
  }, { timeouts: { ...TEST_TIMEOUTS, afterLoad: { silenceMs: 30, maxMs: 60_000 } } });
  const heard = await harness.runTurn(await harness.agent.resumeSession(OLD));
  assertEquals(heard.summaries, ["end end_turn"]);
});

Deno.test("AcpAgent.resumeSession: hands out an open session only once", async () => {
  await using harness = new AcpHarness({ initialize: RESUMES, ...HAS_ALL });
  const session = await harness.agent.newSession();
  assertEquals(await harness.agent.resumeSession(session.id), undefined);
  const both = await Promise.all([harness.agent.resumeSession(OLD), harness.agent.resumeSession(OLD)]);
  assertEquals(both.map((one) => one?.id), [OLD, undefined]);
  assertEquals(harness.running.summary("session/resume"), ["session/resume old"]);
});

Deno.test("AcpAgent.resumeSession: waits until the agent has closed the session", async () => {
  const closing = Promise.withResolvers<void>();
  await using harness = new AcpHarness({
    initialize: RESUMES,
    ...HAS_ALL,
    "session/close": () => closing.promise.then(() => ({})),
  });
  const first = await harness.agent.newSession();
  first.close();
  const resuming = harness.agent.resumeSession(ID);
  await harness.running.waitFor("session/close");
  await nextTask();
  assertEquals(harness.running.count("session/resume"), 0);
  closing.resolve();
  const second = await resuming;
  assert(second);
  assertNotStrictEquals(first, second);
  assertEquals([first.closed.aborted, second?.closed.aborted], [true, false]);
});

Deno.test("AcpAgent.resumeSession: waits for the end of a cancelled turn", async () => {
  const cancelled = Promise.withResolvers<void>();
  await using harness = new AcpHarness({
    "initialize": ONLY_LOADS,
    "session/prompt": async (params, running) => {
      const answer = await worksUntilCancelled(params, running);
      await cancelled.promise;
      return answer;
    },
  });
  const { session, heard } = await harness.startTurn();
  session.close();
  const resuming = harness.agent.resumeSession(ID);
  let isResumed = false;
  resuming.then(() => isResumed = true);
  await nextTask();
  assertEquals(isResumed, false);
  harness.running.sendText(ID, "late");
  cancelled.resolve();
  const next = await harness.startTurn(await resuming);
  assertEquals([heard.summaries.at(-1), next.heard.summaries], ["end cancelled", ["text working"]]);
});

Deno.test("AcpAgent.resumeSession: sends nothing for a session that the agent could not close", async () => {
  const models = { currentModelId: "a", availableModels: [{ modelId: "a" }, { modelId: "b" }] };
  await using harness = new AcpHarness({
    "initialize": ONLY_LOADS,
    "session/load": unknown,
    "session/new": (_params, running) => ({ sessionId: `session-${running.nextSession++}`, models }),
    "session/set_model": () => ({}),
  });
  const first = await harness.agent.newSession();
  await first.setModel("b");
  first.close();
  const again = await harness.agent.resumeSession(first.id);
  assertEquals([again?.id, again?.model, harness.running.count("session/load")], [first.id, "b", 0]);
  await again?.setModel(undefined);
  assertEquals(again?.model, "a");
  again?.close();
  harness.running.exit();
  harness.nowMs += 60_000;
  await nextTask();
  assertEquals(await harness.agent.resumeSession(first.id), undefined);
  assertEquals(harness.starts.map((start) => start.count("session/load")), [0, 1]);
});

Deno.test("AcpAgent.resumeSession: keeps a hundred sessions that the agent could not close", async () => {
  await using harness = new AcpHarness({ initialize: ONLY_LOADS, "session/load": unknown });
  for (let count = 0; count <= 100; count++) (await harness.agent.newSession()).close();
  await nextTask();
  assertEquals(await harness.agent.resumeSession(ID), undefined);
  assert(await harness.agent.resumeSession("session-2" as SessionId));
  assertEquals(harness.running.summary("session/load"), ["session/load session-1"]);
});

Deno.test("AcpAgent.resumeSession: ends the session of a caller that left, before the next caller gets it", async () => {
  const coming = Promise.withResolvers<void>();
  await using harness = new AcpHarness({
    initialize: RESUMES,
    "session/resume": () => coming.promise.then(() => ({})),
  });
  const reason = new Error("hung up");
  const controller = new AbortController();
  const waiting = harness.agent.resumeSession(OLD, controller.signal).catch((error) => error);
  await nextTask();
  await harness.running.waitFor("session/resume");
  controller.abort(reason);
  assertStrictEquals(await waiting, reason);
  const next = harness.agent.resumeSession(OLD);
  await nextTask();
  coming.resolve();
  assertEquals((await waitFor(next, "the session"))?.id, OLD);
  assertEquals(harness.running.summary("session/resume", "session/close"), [
    "session/resume old",
    "session/close old",
    "session/resume old",
  ]);
  await assertRejects(() => harness.agent.resumeSession(OLD, AbortSignal.abort(reason)), Error, "hung up");
});

Deno.test("AcpAgent.resumeSession: has the agent close a session that does not come in time", async () => {
  await using harness = new AcpHarness({ initialize: RESUMES, "session/resume": neverAnswers }, {
    timeouts: { ...TEST_TIMEOUTS, resumeMs: 20 },
  });
  assertEquals(await harness.agent.resumeSession(OLD), undefined);
  assertEquals(harness.running.summary("session/close"), ["session/close old"]);
});

for (
  const { name, isSessionLimitSet = false, open } of [
    { name: "@agentclientprotocol/claude-agent-acp", open: 4 },
    { name: "@agentclientprotocol/claude-agent-acp", isSessionLimitSet: true, open: 7 },
    { name: "gemini-cli", open: 7 },
  ]
) {
  Deno.test(`Connection: ${name} keeps ${open} sessions open${isSessionLimitSet ? ", if so many are wanted" : ""}`, async () => {
    const capabilities = RESUMES({} as never, {} as never);
    await using harness = new AcpHarness({
      "initialize": () => ({ ...capabilities as Json, agentInfo: { name, version: "1" } }),
      ...HAS_ALL,
      "session/prompt": ({ sessionId }, running) =>
        sessionId === "session-1"
          ? worksUntilCancelled({ sessionId } as never, running)
          : { stopReason: "end_turn" },
    }, { isSessionLimitSet });
    const { session: busy, prompt, heard } = await harness.startTurn();
    const sessions = [busy];
    for (let count = 2; count <= 6; count++) {
      const session = await harness.agent.newSession();
      await harness.runTurn(session);
      sessions.push(session);
      // The second session is used again and again.
      if (!sessions[1]!.closed.aborted) await harness.runTurn(sessions[1]);
    }
    await harness.running.waitFor("session/new", 7);
    await nextTask();
    // The seventh session is warm.
    const openIds = sessions.filter(({ closed }) => !closed.aborted).map(({ id }) => id.slice(-1));
    assertEquals(openIds, open === 7 ? ["1", "2", "3", "4", "5", "6"] : ["1", "2", "6"]);
    prompt.cancel();
    assertEquals(await heard.lastSummary(), "end cancelled");
    if (open < 7) assertEquals((await harness.agent.resumeSession(sessions[2]!.id))?.id, sessions[2]!.id);
  });
}

const DELETES = withCapabilities({ sessionCapabilities: { close: {}, delete: {}, resume: {} } });
const BOTH = ["session/close session-1", "session/delete session-1"];
const ONLY_DELETES = withCapabilities({ sessionCapabilities: { delete: {} } });
const DELETIONS: readonly (readonly [name: string, initialize: Handler, closed: boolean, sent: string[]])[] =
  [
    ["deletes, of a session that is open", DELETES, false, BOTH],
    ["deletes, of a session that is closed", DELETES, true, BOTH],
    ["only closes", RESUMES, false, ["session/close session-1"]],
    ["does neither", ONLY_LOADS, true, []],
    ["only deletes", ONLY_DELETES, false, ["session/delete session-1"]],
  ];
for (const [name, initialize, closed, sent] of DELETIONS) {
  Deno.test(`AcpAgent.deleteSession: an agent that ${name}`, async () => {
    await using harness = new AcpHarness({
      initialize,
      "session/delete": () => ({}),
      "session/load": unknown,
    });
    const session = await harness.agent.newSession();
    if (closed) session.close();
    harness.agent.deleteSession(session.id);
    assertEquals(session.closed.aborted, true);
    for (const entry of sent) await harness.running.waitFor(entry.split(" ")[0]!);
    // Later it is not resumed from this program's own list either.
    await harness.agent.resumeSession(session.id);
    assertEquals(harness.running.summary("session/close", "session/delete"), sent);
  });
}

Deno.test("AcpAgent.deleteSession: does not start the agent, and ignores a refusal", async () => {
  await using harness = new AcpHarness({ initialize: DELETES, "session/delete": unknown });
  harness.agent.deleteSession(OLD);
  await nextTask();
  assertEquals(harness.starts.length, 0);
  await harness.agent.newSession();
  harness.agent.deleteSession(OLD);
  assertEquals((await harness.recorder.waitFor("session/delete failed")).level, "debug");
  assert(await harness.agent.newSession());
});
