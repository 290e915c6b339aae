import { assertEquals, assertStrictEquals, assertStringIncludes } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { appErrorOf, nextTask, waitFor } from "../support/harness/turn_recorder.ts";
import { AcpHarness, exits, worksUntilCancelled } from "../support/agents/memory_acp_agent.ts";

Deno.test("RestartBackoff: early exits delay the next start, and after three a request is refused", async () => {
  await using harness = new AcpHarness({
    initialize: exits,
  });
  const { agent } = harness;
  for (const waitMs of [0, 500, 1_000]) {
    harness.nowMs += waitMs;
    assertEquals((await appErrorOf(agent.newSession())).code, "agent_unavailable");
  }
  assertEquals([harness.starts.length, agent.state], [3, "failing"]);
  const refused = await appErrorOf(agent.newSession());
  assertEquals([refused.code, refused.retryAfterSecs, refused.prompted], ["agent_unavailable", 2, false]);
  assertStringIncludes(refused.message, "exited 3 times");
  harness.nowMs += 1_500;
  assertEquals((await appErrorOf(agent.newSession())).retryAfterSecs, 1);
  assertEquals(harness.starts.length, 3);
  for (
    const [waitMs, retryAfterSecs] of [[500, 4], [4_000, 8], [8_000, 16], [16_000, 30], [30_000, 30]] as const
  ) {
    harness.nowMs += waitMs;
    await appErrorOf(agent.newSession());
    assertEquals((await appErrorOf(agent.newSession())).retryAfterSecs, retryAfterSecs);
  }
  assertEquals(harness.starts.length, 8);
  assertEquals(harness.recorder.matching("agent exited during start-up").length, 8);
  harness.handlers = {};
  harness.nowMs += 30_000;
  assertEquals((await harness.runTurn()).summaries, ["end end_turn"]);
  assertEquals(agent.state, "ready");
});

Deno.test("RestartBackoff: an answered prompt resets the count", async () => {
  await using harness = new AcpHarness({ initialize: () => ({ protocolVersion: 7 }) });
  for (const waitMs of [0, 500]) {
    harness.nowMs += waitMs;
    await appErrorOf(harness.agent.newSession());
  }
  harness.handlers = {};
  harness.nowMs += 1_000;
  await harness.runTurn();
  harness.handlers = { initialize: () => ({ protocolVersion: 7 }) };
  harness.running.exit();
  const early = () => harness.recorder.matching("agent exited during start-up");
  while (early().length < 3) await nextTask();
  const counts = early().map(({ fields }) => fields.exits);
  assertEquals([harness.starts.length, counts], [4, [1, 2, 1]]);
});

Deno.test("RestartBackoff: with fewer than three exits a request waits for the start", async () => {
  await using harness = new AcpHarness();
  harness.beforeStart = () => {
    throw new AppError("agent_unavailable", "not found");
  };
  await appErrorOf(harness.agent.newSession());
  harness.beforeStart = () => {};
  harness.nowMs = 497;
  const opening = harness.agent.newSession();
  await nextTask();
  assertEquals(harness.starts.length, 0);
  await waitFor(opening, "the session");
  assertEquals(harness.starts.length, 1);
});

Deno.test("RestartBackoff: a process that ran for a while is restarted at once", async () => {
  await using harness = new AcpHarness({ "session/prompt": worksUntilCancelled });
  const { heard } = await harness.startTurn();
  harness.nowMs += 60_000;
  harness.running.exit();
  assertEquals(await heard.lastSummary(), "failure agent_crashed");
  await harness.agent.newSession();
  assertEquals([harness.starts.length, harness.agent.state], [2, "ready"]);
});

Deno.test("AcpAgent: an agent that exits at rest is started again at once, with a warm session", async () => {
  await using harness = new AcpHarness();
  await harness.runTurn();
  const states: string[] = [];
  harness.beforeStart = () => states.push(harness.agent.state);
  harness.running.exit();
  while (states.length === 0) await nextTask();
  await harness.running.waitFor("session/new");
  await nextTask();
  assertEquals([...states, harness.agent.state, harness.starts.length], ["starting", "ready", 2]);
  await harness.agent.newSession();
  assertEquals(harness.running.count("session/new"), 1);
});

Deno.test("RestartBackoff: an agent that takes long to start and then exits is not started again and again", async () => {
  await using harness: AcpHarness = new AcpHarness({
    "initialize": () => {
      harness.nowMs += 60_000;
      return { protocolVersion: 1 };
    },
    "session/new": exits,
  });
  await appErrorOf(harness.agent.newSession());
  const { fields } = await harness.recorder.waitFor("agent exited during start-up");
  assertEquals([fields.exits, fields.nextStartMs], [1, 500]);
});

Deno.test("AcpAgent: an agent that keeps exiting is started again with the same back-off, three times", async () => {
  let nowMs = 0;
  // Each look at the clock takes longer than the first delay.
  await using harness = new AcpHarness({ "session/new": exits }, { now: () => nowMs += 600 });
  harness.agent.warm();
  const failures = () => harness.recorder.matching("could not open a session in advance");
  while (failures().length < 4) await nextTask();
  assertEquals([harness.starts.length, harness.agent.state], [3, "failing"]);
  assertStringIncludes(String(failures().at(-1)!.fields.error), "exited 3 times");
  assertEquals((await appErrorOf(harness.agent.newSession())).code, "agent_unavailable");
});

Deno.test("AcpAgent: a failed launch is the error of the request, and is logged", async () => {
  await using harness = new AcpHarness();
  const failure = new AppError("agent_unavailable", 'The agent\'s program "x" was not found.');
  harness.beforeStart = () => {
    throw failure;
  };
  assertStrictEquals(await appErrorOf(harness.agent.newSession()), failure);
  const errors = harness.recorder.entries.filter(({ level }) => level === "error");
  assertEquals(errors, [{
    level: "error",
    message: "could not start the agent",
    fields: { nextStartMs: 500, exits: 1, error: failure },
  }]);
});
