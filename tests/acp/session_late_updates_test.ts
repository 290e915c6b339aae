import { assertEquals } from "@std/assert";
import { AcpHarness, answersAfter, type MemoryAcpAgent, PROMPT } from "../support/agents/memory_acp_agent.ts";
import { TEST_TIMEOUTS } from "../support/harness/json_rpc_harness.ts";
import { nextTask, TurnRecorder } from "../support/harness/turn_recorder.ts";

const TOOL = { sessionUpdate: "tool_call", toolCallId: "t", title: "ls" };
const THOUGHT = { sessionUpdate: "agent_thought_chunk" };
const QUIET = { ...TEST_TIMEOUTS, afterPrompt: { silenceMs: 30, maxMs: 60_000 } };
const chunk = (text: string, messageId?: string) => ({
  sessionUpdate: "agent_message_chunk",
  content: { type: "text", text },
  messageId,
});

Deno.test("AcpSession: a turn has the updates behind its answer, and the next prompt waits for them", async () => {
  await using harness: AcpHarness = new AcpHarness({
    "session/prompt": ({ sessionId }, running) => {
      running.update(sessionId, TOOL);
      queueMicrotask(async () => {
        await nextTask();
        running.update(sessionId, { ...TOOL, sessionUpdate: "tool_call_update", status: "completed" });
        running.sendText(sessionId, "late");
      });
      return { stopReason: "end_turn" };
    },
  }, { timeouts: QUIET });
  const session = await harness.agent.newSession();
  const first = new TurnRecorder();
  await session.prompt(PROMPT, first.reader);
  const next = harness.runTurn(session);
  await first.until(({ type }) => type === "text");
  assertEquals(harness.running.count("session/prompt"), 1);
  await first.lastSummary();
  assertEquals(first.summaries, [
    "tool ls other pending",
    "tool ls other completed",
    "text late",
    "end end_turn",
  ]);
  await next;
  first.assertComplete();
});

Deno.test("AcpSession: an agent that is never quiet ends its turn all the same", async () => {
  let isOver = false;
  let talking: Promise<void> | undefined;
  const talk = async (sessionId: string, running: MemoryAcpAgent) => {
    while (!isOver) {
      running.sendText(sessionId, "on ");
      await nextTask();
    }
  };
  await using harness = new AcpHarness({
    "session/prompt": ({ sessionId }, running) => {
      talking = talk(sessionId, running);
      return { stopReason: "end_turn" };
    },
  }, { timeouts: { ...QUIET, afterPrompt: { silenceMs: 60_000, maxMs: 40 } } });
  const heard = await harness.runTurn();
  isOver = true;
  await talking;
  assertEquals(heard.summaries.at(-1), "end end_turn");
});

Deno.test("AcpSession: drops text with the messageId of an earlier turn, and text outside of a turn", async () => {
  await using harness = new AcpHarness({
    "session/prompt": ({ sessionId }, running) => {
      const number = running.count("session/prompt");
      if (number > 1) running.update(sessionId, chunk("of the first turn", "m1"));
      if (number > 1) running.update(sessionId, { ...THOUGHT, ...chunk("of the first turn", "m1") });
      running.update(sessionId, chunk("a ", `m${number}`));
      running.update(sessionId, chunk("b ", `n${number}`));
      running.update(sessionId, chunk("c", `m${number}`));
      return { stopReason: "end_turn" };
    },
  });
  const session = await harness.agent.newSession();
  assertEquals((await harness.runTurn(session)).text, "a b c");
  harness.running.update(session.id, chunk("between the turns", "o"));
  await nextTask();
  assertEquals((await harness.runTurn(session)).text, "a b c");
});

Deno.test("AcpSession: an agent that gives every message the same id is heard all the same", async () => {
  await using harness = new AcpHarness({
    "session/prompt": ({ sessionId }, running) => {
      for (const text of ["a ", "b"]) running.update(sessionId, chunk(text, "always the same"));
      return { stopReason: "end_turn" };
    },
  });
  const session = await harness.agent.newSession();
  for (let turn = 1; turn <= 3; turn++) {
    assertEquals((await harness.runTurn(session)).summaries, ["text a ", "text b", "end end_turn"]);
  }
});

Deno.test("AcpSession: a long reply whose every piece has the same id is heard to its end", async () => {
  const pieces = Array.from({ length: 1_500 }, (_, index) => `${index} `);
  await using harness = new AcpHarness({
    "session/prompt": ({ sessionId }, running) => {
      for (const text of pieces) running.update(sessionId, chunk(text, "always the same"));
      return { stopReason: "end_turn" };
    },
  });
  const session = await harness.agent.newSession();
  for (let turn = 1; turn <= 2; turn++) assertEquals((await harness.runTurn(session)).text, pieces.join(""));
});

Deno.test("AcpSession: a cancel behind the answer ends the turn at once, as the agent ended it", async () => {
  await using harness = new AcpHarness({ "session/prompt": answersAfter(Promise.resolve()) }, {
    timeouts: { ...QUIET, afterPrompt: { silenceMs: 60_000, maxMs: 60_000 } },
  });
  const { session, heard, prompt } = await harness.startTurn();
  await nextTask();
  prompt.cancel();
  assertEquals(heard.summaries, ["text working", "end end_turn"]);
  assertEquals([session.closed.aborted, harness.running.count("session/cancel")], [false, 0]);
});
