import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { runTurn, Turn } from "../../lib/turn/turn.ts";
import { brief, settled, soon } from "../support/harness/turn_recorder.ts";
import { begin, BLOCKS, hasEnded, heardOf, NO_LIMITS, quietAgent } from "../support/harness/turn_fixture.ts";

Deno.test("runTurn: resolves once the prompt was taken, with what was asked", async () => {
  const agent = quietAgent();
  const { promise, resolve } = Promise.withResolvers<void>();
  agent.promptGate = promise;
  const session = await agent.newSession();
  let begun = false;
  const beginning = runTurn({ session, resolvedModel: "openab", blocks: BLOCKS, limits: NO_LIMITS }).then(
    (turn) => {
      begun = true;
      return turn;
    },
  );
  await settled();
  assertEquals(begun, false);
  resolve();
  const turn = await beginning;
  const prompt = await agent.nextPrompt();
  assertEquals(prompt.blocks, BLOCKS);
  assertEquals([turn.sessionId, turn.isOver, turn.isAbandoned], [session.id, false, false]);
  prompt.end();
  await turn.ended;
});

Deno.test("runTurn: a prompt that is not taken is thrown, and nothing is left running", async () => {
  const agent = quietAgent();
  const refusal = agent.promptError = new AppError("agent_unavailable", "Gone.");
  const session = await agent.newSession();
  const limits = { replyTimeoutMs: 60_000, turnTimeoutMs: 60_000 };
  assertStrictEquals(
    await runTurn({ session, resolvedModel: "openab", blocks: BLOCKS, limits }).catch((error) => error),
    refusal,
  );
});

Deno.test("Turn: every event comes in order, to its reader and to who observes", async () => {
  const observed: [string, Turn][] = [];
  const { turn, prompt } = await begin({
    observer: { onStart() {}, onEvent: (event, turn) => observed.push([brief(event), turn]) },
  });
  const heard = heardOf(turn);
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
  assertEquals(heard.briefs, expected);
  assertEquals(observed, expected.map((event) => [event, turn]));
  assertEquals(turn.isOver, true);
  await turn.ended;
});

Deno.test("Turn: ids are its own", async () => {
  const [one, two] = [await begin(), await begin()];
  assertEquals(one.turn.id === two.turn.id, false);
  one.prompt.end();
  two.prompt.end();
});

Deno.test("Turn: an agent that answers before the prompt counts as taken leaves no timer", async () => {
  const agent = quietAgent();
  agent.script = (prompt) => {
    prompt.say("fast");
    prompt.end();
  };
  const session = await agent.newSession();
  const limits = { replyTimeoutMs: 60_000, turnTimeoutMs: 60_000 };
  const turn = await runTurn({ session, resolvedModel: "openab", blocks: BLOCKS, limits });
  assertEquals(turn.isOver, true);
  assertEquals(heardOf(turn).briefs, ["text fast", "end end_turn"]);
  await turn.ended;
});

Deno.test("Turn: cancel asks the agent once, and its answer is the end", async () => {
  const { turn, prompt } = await begin();
  const heard = heardOf(turn);
  turn.cancel();
  turn.cancel();
  assertEquals([prompt.cancelCount, turn.isOver], [1, false]);
  prompt.say("last words");
  prompt.end("cancelled");
  turn.cancel();
  assertEquals(prompt.cancelCount, 1);
  assertEquals(heard.briefs, ["text last words", "end cancelled"]);
  assertEquals(turn.isAbandoned, false);
});

Deno.test("Turn: a cancel before the prompt is taken reaches the agent once it is", async () => {
  const agent = quietAgent();
  const { promise, resolve } = Promise.withResolvers<void>();
  agent.promptGate = promise;
  const session = await agent.newSession();
  const turn = new Turn({ session, resolvedModel: "openab", blocks: BLOCKS, limits: NO_LIMITS });
  const starting = turn.start(session, BLOCKS);
  turn.cancel();
  resolve();
  await starting;
  const prompt = await agent.nextPrompt();
  assertEquals(prompt.cancelCount, 1);
  prompt.end("cancelled");
  assertEquals(heardOf(turn).briefs, ["end cancelled"]);
});

Deno.test("Turn: an end that came although it was cancelled is what the agent said", async () => {
  const { turn, prompt } = await begin();
  const heard = heardOf(turn);
  turn.cancel();
  prompt.end("end_turn");
  assertEquals(heard.briefs, ["end end_turn"]);
});

Deno.test("Turn: a cancel that nobody asked for is a failure", async () => {
  const { turn, prompt } = await begin();
  const heard = heardOf(turn);
  prompt.end("cancelled");
  assertEquals(heard.briefs, ["failure agent_cancelled"]);
  assertEquals(heard.failure.prompted, true);
  await turn.ended;
});

Deno.test("Turn: silence fails it at once; what comes later is swallowed, and it ends when the agent ends it", async () => {
  const observed: string[] = [];
  const { turn, prompt } = await begin({
    limits: { replyTimeoutMs: 5, turnTimeoutMs: 0 },
    observer: { onStart() {}, onEvent: (event) => observed.push(brief(event)) },
    record: true,
  });
  const heard = heardOf(turn);
  prompt.say("a");
  assertEquals(await heard.last(), "failure agent_timeout");
  assertEquals([turn.isOver, prompt.cancelCount], [true, 1]);
  assertEquals(await hasEnded(turn), false);
  prompt.say("late");
  assertEquals(await hasEnded(turn), false);
  prompt.end("cancelled");
  assertEquals(await hasEnded(turn), true);
  const all = ["text a", "failure agent_timeout"];
  assertEquals(heard.briefs, all);
  assertEquals(observed, all);
  assertEquals(heardOf(turn).briefs, all);
  assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 1]);
  assertEquals([heard.failure.prompted, heard.failure.retryAfterSecs], [true, undefined]);
});

Deno.test("Turn: one that takes too long fails although the agent speaks", async () => {
  const { turn, prompt } = await begin({ limits: { replyTimeoutMs: 60_000, turnTimeoutMs: 10 } });
  const heard = heardOf(turn);
  const speaking = setInterval(() => prompt.think("hm"), 1);
  try {
    assertEquals(await heard.last(), "failure agent_timeout");
  } finally {
    clearInterval(speaking);
  }
  assertEquals(prompt.cancelCount, 1);
  heard.assertWhole();
  prompt.end("cancelled");
  await soon(turn.ended, "the end");
});

Deno.test("Turn: every event is a sign of life, not only text", async () => {
  const { turn, prompt } = await begin({ limits: { replyTimeoutMs: 40, turnTimeoutMs: 0 } });
  const heard = heardOf(turn);
  let spokenAt = performance.now();
  const says = [
    () => prompt.think("hm"),
    () => prompt.tool(),
    () => prompt.plan(),
    () => prompt.usage({}),
    () => prompt.say("a"),
  ];
  for (const say of says) {
    await new Promise((resolve) => setTimeout(resolve, 15));
    if (turn.isOver) break; // a slow machine was silent itself
    say();
    spokenAt = performance.now();
  }
  assertEquals(await heard.last(), "failure agent_timeout");
  assertEquals(performance.now() - spokenAt >= 38, true);
  prompt.end();
  await turn.ended;
});

Deno.test("Turn: fail tells the readers, once, and asks the agent to stop", async () => {
  const { turn, prompt } = await begin();
  const heard = heardOf(turn);
  turn.fail(new AppError("shutting_down", "Bye."));
  turn.fail(new AppError("internal_error", "Again."));
  assertEquals(heard.briefs, ["failure shutting_down"]);
  assertEquals(prompt.cancelCount, 1);
  heard.leave();
  assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 1]);
  assertEquals(await hasEnded(turn), false);
  prompt.fail(new AppError("agent_crashed", "Gone."));
  assertEquals(await hasEnded(turn), true);
});

Deno.test("Turn: the agent's failure is the last event, and ends it", async () => {
  const { turn, prompt } = await begin();
  const heard = heardOf(turn);
  prompt.say("a");
  prompt.fail(new AppError("agent_crashed", "Gone."));
  await turn.ended;
  assertEquals(heard.briefs, ["text a", "failure agent_crashed"]);
});

Deno.test("runTurn: the session's own error is thrown as it is", async () => {
  const agent = quietAgent();
  const session = await agent.newSession();
  session.prompt = () => Promise.reject(new TypeError("odd"));
  await assertRejects(
    () => runTurn({ session, resolvedModel: "openab", blocks: BLOCKS, limits: NO_LIMITS }),
    TypeError,
    "odd",
  );
});
