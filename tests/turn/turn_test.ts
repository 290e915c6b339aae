import { assertEquals, assertStrictEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { runTurn, Turn, type TurnObserver } from "../../lib/turn/turn.ts";
import type { MemoryAgent, MemoryPrompt } from "../support/agents/memory_agent.ts";
import {
  beginTurn,
  BLOCKS,
  hasEnded,
  manualAgent,
  observer,
  permission,
  recordTurn,
  resolved,
} from "../support/harness/turn_fixture.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { nextTask, waitFor } from "../support/harness/turn_recorder.ts";

/** Runs a turn as far as the agent's answer to the prompt, with limits that leave a timer if it is not disposed of. */
async function runWith(agent: MemoryAgent): Promise<Turn> {
  const session = await agent.newSession();
  const limits = { replyTimeoutMs: 60_000, turnTimeoutMs: 60_000 };
  return await runTurn({ session, resolvedModel: "openab", blocks: BLOCKS, limits });
}

Deno.test("runTurn: resolves once the agent took the prompt", async () => {
  const agent = manualAgent();
  const { promise, resolve } = Promise.withResolvers<void>();
  agent.promptGate = promise;
  let isRunning = false;
  const running = runWith(agent).finally(() => isRunning = true);
  await nextTask();
  assertEquals(isRunning, false);
  resolve();
  const turn = await running;
  const prompt = await agent.nextPrompt();
  assertEquals(prompt.blocks, BLOCKS);
  assertEquals([turn.sessionId, turn.isOver, turn.isAbandoned], [agent.sessions[0]!.id, false, false]);
  prompt.end();
  await turn.ended;
});

Deno.test("runTurn: throws the error of a prompt that the agent did not take, and leaves no timer", async () => {
  const agent = manualAgent();
  const failure = agent.promptError = new AppError("agent_unavailable", "Gone.");
  assertStrictEquals(await runWith(agent).catch((error) => error), failure);
});

Deno.test("Turn: an agent that answers before the prompt counts as taken leaves no timer", async () => {
  const agent = manualAgent();
  agent.script = (prompt) => {
    prompt.say("fast");
    prompt.end();
  };
  const turn = await runWith(agent);
  assertEquals(turn.isOver, true);
  assertEquals(recordTurn(turn).summaries, ["text fast", "end end_turn"]);
  await turn.ended;
});

Deno.test("Turn: reader and observer get every event in order", async () => {
  const watcher = observer();
  const { turn, prompt } = await beginTurn({ observer: watcher });
  const recorder = recordTurn(turn);
  prompt.think("hm");
  prompt.tool({ title: "ls", kind: "search", status: "completed" });
  prompt.plan({ content: "a", priority: "low", status: "pending" });
  prompt.say("Hello");
  prompt.usage({ inputTokens: 3, outputTokens: 4 });
  assertEquals(turn.isOver, false);
  prompt.end("max_tokens");
  const expected = [
    "thought hm",
    "tool ls search completed",
    "plan pending",
    "text Hello",
    "usage 3+4",
    "end max_tokens",
  ];
  assertEquals(recorder.summaries, expected);
  assertEquals(watcher.summaries, ["start", ...expected]);
  assertEquals(turn.isOver, true);
  await turn.ended;
});

Deno.test("Turn: cancel asks the agent once, drops what it says later, and its answer is the end", async () => {
  const { turn, prompt } = await beginTurn();
  const recorder = recordTurn(turn);
  turn.cancel();
  turn.cancel();
  assertEquals([prompt.cancelCount, turn.isOver, turn.isCancelled], [1, false, true]);
  prompt.say("last words");
  prompt.think("hm");
  prompt.tool({ title: "ls", kind: "search", status: "completed" });
  prompt.end("cancelled");
  turn.cancel();
  assertEquals([prompt.cancelCount, turn.isAbandoned], [1, false]);
  assertEquals(recorder.summaries, ["tool ls search completed", "end cancelled"]);
});

const ENDS_OF_CANCELLED: Readonly<Record<string, (prompt: MemoryPrompt, turn: Turn) => void>> = {
  "is answered": (prompt) => prompt.end("end_turn"),
  "is refused": (prompt) => prompt.end("refusal"),
  "fails": (prompt) => prompt.fail(new AppError("agent_error", "No.")),
  "loses its agent": (prompt) => prompt.fail(new AppError("agent_crashed", "Gone.")),
  "is failed by this side": (_prompt, turn) => turn.fail(new AppError("shutting_down", "Bye.")),
};
for (const [what, end] of Object.entries(ENDS_OF_CANCELLED)) {
  Deno.test(`Turn: a cancelled turn that ${what} ends as cancelled`, async () => {
    const { turn, prompt } = await beginTurn();
    const recorder = recordTurn(turn);
    turn.cancel();
    end(prompt, turn);
    assertEquals(recorder.summaries, ["end cancelled"]);
    prompt.end();
    await turn.ended;
  });
}

Deno.test("Turn: more than 8 MiB of text and thoughts end it as too long, and stop the agent", async () => {
  const { turn, prompt } = await beginTurn();
  const recorder = recordTurn(turn);
  const MIB = "x".repeat(1024 * 1024);
  for (let count = 0; count < 4; count++) {
    prompt.say(MIB);
    prompt.think(MIB);
  }
  assertEquals(turn.isOver, false);
  prompt.say("!");
  assertEquals([recorder.summaries.at(-1), recorder.events.length], ["end max_tokens", 9]);
  assertEquals([prompt.cancelCount, await hasEnded(turn)], [1, false]);
  prompt.end("cancelled");
  assertEquals(await hasEnded(turn), true);
});

Deno.test("observer: the readers get the last event once its promise settles, and at the latest after a second", async () => {
  for (const isSlow of [false, true]) {
    using clock = new FakeClock();
    const saved = Promise.withResolvers<void>();
    const watcher: TurnObserver = {
      wantsSpeech: false,
      onStart() {},
      onEvent: (event) => event.type === "end" ? saved.promise : undefined,
    };
    const { turn, prompt } = await beginTurn({ observer: watcher, record: true });
    const recorder = recordTurn(turn);
    prompt.say("Hi");
    prompt.end();
    // The agent's next turn need not wait.
    await turn.ended;
    const late = recordTurn(turn);
    assertEquals([recorder.summaries, turn.isOver], [["text Hi"], true]);
    if (isSlow) clock.advance(1_000);
    else saved.resolve();
    for (const each of [recorder, late]) assertEquals(await each.lastSummary(), "end end_turn");
    assertEquals(recordTurn(turn).summaries, ["text Hi", "end end_turn"]);
    late.leave();
    assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 0]);
  }
});

Deno.test("Turn: a `cancelled` that nobody asked for is a failure", async () => {
  const { turn, prompt } = await beginTurn();
  const recorder = recordTurn(turn);
  prompt.end("cancelled");
  assertEquals(recorder.summaries, ["failure agent_cancelled"]);
  assertEquals(recorder.failure.prompted, true);
  await turn.ended;
});

Deno.test("Turn: silence fails it at once; later events are dropped until the agent ends it", async () => {
  const watcher = observer();
  const limits = { replyTimeoutMs: 5, turnTimeoutMs: 0 };
  const { turn, prompt } = await beginTurn({ limits, observer: watcher, record: true });
  const recorder = recordTurn(turn);
  prompt.say("a");
  assertEquals(await recorder.lastSummary(), "failure agent_timeout");
  assertEquals([turn.isOver, prompt.cancelCount, await hasEnded(turn)], [true, 1, false]);
  prompt.say("late");
  assertEquals(await hasEnded(turn), false);
  prompt.end("cancelled");
  assertEquals(await hasEnded(turn), true);
  const all = ["text a", "failure agent_timeout"];
  assertEquals([recorder.summaries, recordTurn(turn).summaries, watcher.summaries], [all, all, [
    "start",
    ...all,
  ]]);
  assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 1]);
  assertEquals([recorder.failure.prompted, recorder.failure.retryAfterSecs], [true, undefined]);
});

Deno.test("Turn: a turn that takes too long fails although the agent speaks", async () => {
  const { turn, prompt } = await beginTurn({ limits: { replyTimeoutMs: 60_000, turnTimeoutMs: 10 } });
  const recorder = recordTurn(turn);
  const speaking = setInterval(() => prompt.think("hm"), 1);
  try {
    assertEquals(await recorder.lastSummary(), "failure agent_timeout");
  } finally {
    clearInterval(speaking);
  }
  assertEquals(prompt.cancelCount, 1);
  recorder.assertComplete();
  prompt.end("cancelled");
  await waitFor(turn.ended, "the end");
});

Deno.test("Turn: every event breaks the silence, not only text", async () => {
  const { turn, prompt } = await beginTurn({ limits: { replyTimeoutMs: 40, turnTimeoutMs: 0 } });
  const recorder = recordTurn(turn);
  let lastEventAt = performance.now();
  const events = [
    () => prompt.think("hm"),
    () => prompt.tool(),
    () => prompt.plan(),
    () => prompt.usage({}),
    () => prompt.say("a"),
  ];
  for (const send of events) {
    await new Promise((resolve) => setTimeout(resolve, 15));
    if (turn.isOver) break; // a slow machine may pause longer than the limit
    send();
    lastEventAt = performance.now();
  }
  assertEquals(await recorder.lastSummary(), "failure agent_timeout");
  assertEquals(performance.now() - lastEventAt >= 38, true);
  prompt.end();
  await turn.ended;
});

Deno.test("Turn: fail is the last event, and asks the agent to stop", async () => {
  const { turn, prompt } = await beginTurn();
  const recorder = recordTurn(turn);
  turn.fail(new AppError("shutting_down", "Bye."));
  turn.fail(new AppError("internal_error", "Again."));
  assertEquals(recorder.summaries, ["failure shutting_down"]);
  recorder.leave();
  assertEquals([turn.isAbandoned, prompt.cancelCount, await hasEnded(turn)], [false, 1, false]);
  prompt.fail(new AppError("agent_crashed", "Gone."));
  assertEquals(await hasEnded(turn), true);
});

Deno.test("permissions: an open request counts as cancelled before the end", async () => {
  const { turn, prompt } = await beginTurn();
  const recorder = recordTurn(turn);
  for (const event of [permission("p1"), permission("p2"), resolved("p1")]) prompt.emit(event);
  prompt.end();
  assertEquals(recorder.summaries, [
    "permission rm -r",
    "permission rm -r",
    "permission allowed by me",
    "permission cancelled by turn",
    "end end_turn",
  ]);
  const ids = recorder.events.map((event) => event.type === "permission_resolved" ? event.resolution.id : "");
  assertEquals(ids.filter(Boolean), ["p1", "p2"]);
});

Deno.test("permissions: while one is open, silence does not fail the turn", async () => {
  const limits = { replyTimeoutMs: 5, turnTimeoutMs: 0 };
  const { turn, prompt } = await beginTurn({ limits });
  const recorder = recordTurn(turn);
  prompt.emit(permission("p1"));
  // Turns that begin later time out, so that this turn's timer has fired before.
  for (let count = 0; count < 3; count++) {
    const silent = await beginTurn({ limits });
    assertEquals(await recordTurn(silent.turn).lastSummary(), "failure agent_timeout");
    silent.prompt.end("cancelled");
  }
  assertEquals([turn.isOver, recorder.summaries], [false, ["permission rm -r"]]);
  prompt.emit(resolved("p1"));
  assertEquals(await recorder.lastSummary(), "failure agent_timeout");
  prompt.end("cancelled");
});
