import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { untilAborted } from "../../lib/core/abortable.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { MemoryPrompt } from "../support/agents/memory_agent.ts";
import { appErrorOf, nextTask, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";
import { ConversationHarness, crash } from "../support/harness/conversation_harness.ts";
import { assistant, user } from "../support/harness/message_fixture.ts";

Deno.test("Conversations: a slot is given back when the agent has ended, not when the readers were told", async () => {
  using harness = new ConversationHarness({ limit: 1, limits: { replyTimeoutMs: 2, turnTimeoutMs: 0 } });
  const turn = await harness.start(undefined, [user("one")]);
  const heard = new TurnRecorder();
  turn.read(heard.reader);
  assertEquals(await heard.lastSummary(), "failure agent_timeout");
  await nextTask();
  assertEquals([harness.turnLimiter.running, harness.closed], [1, [false]]);
  assertEquals((await appErrorOf(harness.start(undefined, [user("two")]))).code, "rate_limit_exceeded");
  (await harness.agent.nextPrompt()).end("cancelled");
  await nextTask();
  assertEquals([harness.turnLimiter.running, harness.closed], [0, [true]]);
});

Deno.test("Conversations: the 33rd turn is refused, and fits when one has ended", async () => {
  using harness = new ConversationHarness();
  const prompts: MemoryPrompt[] = [];
  for (let number = 0; number < 32; number++) {
    prompts.push(await harness.prompt(number % 2 === 0 ? undefined : `talk ${number}`, user("hi")));
  }
  const failure = await appErrorOf(harness.start("one more", [user("hi")]));
  assertEquals([failure.code, failure.prompted], ["rate_limit_exceeded", false]);
  assert(failure.retryAfterSecs);
  assertEquals(harness.agent.sessions.length, 32);
  prompts[7]?.end();
  await nextTask();
  assertEquals((await harness.prompt("one more", user("hi"))).text, "hi");
  assertEquals(harness.turnLimiter.running, 32);
});

Deno.test("Conversations: one that takes the place of a running turn is never refused", async () => {
  using harness = new ConversationHarness({ limit: 1 });
  const running = await harness.prompt("a", user("one"));
  const next = harness.start("a", [user("one"), user("two")]);
  running.end("cancelled");
  await waitFor(next, "the next turn");
  assertEquals(harness.turnLimiter.running, 1);
  assertEquals((await appErrorOf(harness.start("b", [user("one")]))).code, "rate_limit_exceeded");
});

Deno.test("Conversations: those that are refused for want of a slot displace no conversation", async () => {
  using harness = new ConversationHarness({ limit: 1, maxSessions: 2 });
  await harness.run("a", [user("one")]);
  const running = await harness.prompt("b", user("one"));
  for (const name of ["c", "d", "e"]) await appErrorOf(harness.start(name, [user("one")]));
  running.end();
  await nextTask();
  await harness.run("a", [user("one"), assistant("1"), user("two")]);
  assertEquals(harness.closed, [false, false]);
});

Deno.test("Conversations: beyond the limit the one that was idle longest is closed", async () => {
  using harness = new ConversationHarness({ maxSessions: 2 });
  for (const name of ["a", "b", "a", "c"]) await harness.run(name, [user("one")]);
  assertEquals(harness.closed, [false, true, false]);
  await harness.run("b", [user("one")]);
  assertEquals(harness.closed, [true, true, false, false]);
});

Deno.test("Conversations: one whose session could not be opened displaces none", async () => {
  using harness = new ConversationHarness({ maxSessions: 1 });
  await harness.run("a", [user("one")]);
  harness.agent.openError = new AppError("agent_unavailable", "Not yet.");
  await appErrorOf(harness.start("b", [user("one")]));
  await nextTask();
  assertEquals(harness.closed, [false]);
});

Deno.test("Conversations: a busy one is never closed, whatever the limit", async () => {
  using harness = new ConversationHarness({ maxSessions: 1 });
  const busy = await harness.prompt("a", user("one"));
  await harness.prompt("b", user("one"));
  await harness.prompt("c", user("one"));
  assertEquals(harness.closed, [false, false, false]);
  busy.end();
  await nextTask();
  assertEquals(harness.closed, [true, false, false]);
  assertEquals([...harness.registry.running].length, 2);
});

Deno.test("Conversations: a busy one beyond the limit is still the one of its name", async () => {
  using harness = new ConversationHarness({ maxSessions: 1 });
  const running = await harness.prompt("a", user("one"));
  await harness.prompt("b", user("one"));
  await harness.prompt("c", user("one"));
  const next = harness.start("a", [user("one"), user("two")]);
  assertEquals(running.cancelCount, 1);
  running.end("cancelled");
  await waitFor(next, "the next turn");
  const prompt = await harness.agent.nextPrompt();
  assertEquals([prompt.text, prompt.session], ["two", running.session]);
});

Deno.test("Conversations: one that is idle is closed after a while", async () => {
  using harness = new ConversationHarness({ idleMs: 2 });
  await harness.run("a", [user("one")]);
  await waitFor(untilAborted(harness.session(0).closed), "the idle session's close");
  const prompt = await harness.run("a", [user("one"), assistant("1"), user("two")]);
  assertEquals(prompt.session, harness.session(1));
  assert(prompt.text.startsWith("<user>\none"));
});

Deno.test("Conversations: one is idle from the end of its last turn, however long that took", async () => {
  using harness = new ConversationHarness({ idleMs: 5 });
  const first = await harness.start("a", [user("one")]);
  (await harness.agent.nextPrompt()).end();
  await first.ended;
  const second = await harness.start("a", [user("one"), assistant("1"), user("two")]);
  const prompt = await harness.agent.nextPrompt();
  // What is idle since later is closed: by then the one that is busy would be, if it counted as idle.
  await harness.run("another", [user("one")]);
  await waitFor(untilAborted(harness.session(1).closed), "the other session's close");
  prompt.end();
  await second.ended;
  assertEquals([harness.closed, prompt.session], [[false, true], harness.session(0)]);
  await waitFor(untilAborted(prompt.session.closed), "its own close");
});

Deno.test("Conversations: drain takes no more turns, and resolves when the last has ended", async () => {
  using harness = new ConversationHarness();
  const one = await harness.prompt("a", user("one"));
  const two = await harness.prompt(undefined, user("one"));
  const waiting = harness.start("a", [user("one"), user("two")]);
  let drained = false;
  const draining = harness.registry.drain().then(() => drained = true);
  const failure = await appErrorOf(harness.start(undefined, [user("late")]));
  assertEquals([failure.code, failure.prompted], ["shutting_down", false]);
  one.end("cancelled");
  await waitFor(waiting, "the turn that had been asked for");
  two.end();
  await nextTask();
  assertEquals(drained, false);
  for (const prompt of harness.agent.prompts) prompt.end();
  await waitFor(draining, "the drain");
  assertEquals(harness.turnLimiter.running, 0);
});

Deno.test("Conversations: drain of nothing resolves", async () => {
  using harness = new ConversationHarness();
  await harness.run("a", [user("one")]);
  await waitFor(harness.registry.drain(), "the drain");
});

const GOING = new AppError("shutting_down", "The server is shutting down.");

for (const onBusy of ["queue", "supersede"] as const) {
  Deno.test(`Conversations: when all are failed, ${onBusy}: none of those that wait begins, and all are told why`, async () => {
    using harness = new ConversationHarness({ onBusy });
    const turn = await harness.start("a", [user("one")]);
    const heard = new TurnRecorder();
    turn.read(heard.reader);
    const running = await harness.agent.nextPrompt();
    const waiting = [[user("one"), user("two")], [user("one"), user("two"), user("three")]]
      .map((messages) => appErrorOf(harness.start("a", messages)));
    const drained = harness.registry.drain();
    harness.registry.fail(GOING);
    assertEquals([heard.failure, running.cancelCount > 0], [GOING, true]);
    running.end("cancelled");
    const codes = (await Promise.all(waiting)).map(({ code }) => code);
    // The one in the middle was passed by before that.
    assertEquals(codes, [onBusy === "queue" ? "shutting_down" : "turn_cancelled", "shutting_down"]);
    await waitFor(drained, "the drain");
    assertEquals([harness.agent.prompts.length, harness.agent.sessions.length, harness.turnLimiter.running], [
      1,
      1,
      0,
    ]);
  });
}

Deno.test("Conversations: when all are failed, one that waits opens no session in place of a lost one", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const running = await harness.prompt("a", user("one"));
  const waiting = appErrorOf(harness.start("a", [user("one"), user("two")]));
  harness.registry.fail(GOING);
  crash(running.session);
  assertEquals((await waiting).code, "shutting_down");
  assertEquals([harness.agent.sessions.length, harness.turnLimiter.running], [1, 0]);
});

Deno.test("Conversations: when all are failed, one whose session is being opened does not begin", async () => {
  using harness = new ConversationHarness();
  const opens = Promise.withResolvers<void>();
  harness.agent.openGate = opens.promise;
  const begins = appErrorOf(harness.start("a", [user("one")]));
  await nextTask();
  harness.registry.fail(GOING);
  opens.resolve();
  assertStrictEquals(await begins, GOING);
  assertEquals([harness.agent.prompts.length, harness.turnLimiter.running], [0, 0]);
});

Deno.test("Conversations: when all are failed, one whose prompt is being put fails once it is taken", async () => {
  using harness = new ConversationHarness();
  const takes = Promise.withResolvers<void>();
  harness.agent.promptGate = takes.promise;
  const begins = harness.start("a", [user("one")]);
  await nextTask();
  harness.registry.fail(GOING);
  takes.resolve();
  const heard = new TurnRecorder();
  (await waitFor(begins, "the turn")).read(heard.reader);
  const prompt = await harness.agent.nextPrompt();
  assertEquals([heard.summaries, prompt.cancelCount], [["failure shutting_down"], 1]);
  prompt.end("cancelled");
  await nextTask();
  assertEquals(harness.turnLimiter.running, 0);
});

Deno.test("Conversations: close ends idle sessions at once and busy ones after their turn", async () => {
  using harness = new ConversationHarness();
  await harness.run("idle", [user("one")]);
  const busy = await harness.prompt("busy", user("one"));
  harness.registry.close();
  assertEquals(harness.closed, [true, false]);
  assertEquals(busy.cancelCount, 0);
  busy.say("still here");
  busy.end();
  await nextTask();
  assertEquals(harness.closed, [true, true]);
});

Deno.test("Conversations: a turn that comes while one is closed still takes its turn in it", async () => {
  using harness = new ConversationHarness();
  const busy = await harness.prompt("a", user("one"));
  harness.registry.close();
  const begins = harness.start("a", [user("one"), user("two")]);
  assertEquals(busy.cancelCount, 1);
  busy.end("cancelled");
  await waitFor(begins, "the next turn");
  const next = await harness.agent.nextPrompt();
  assertEquals([next.text, next.session === busy.session, harness.closed], ["two", true, [false]]);
  next.end();
  await nextTask();
  assertEquals(harness.closed, [true]);
});

Deno.test("Conversations: who gives up while waiting for the running turn is let go at once", async () => {
  using harness = new ConversationHarness();
  const running = await harness.prompt("a", user("one"));
  const hangUp = new AbortController();
  const waiting = harness.start("a", [user("one"), user("two")], hangUp.signal);
  await nextTask();
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await waiting.catch((error) => error), reason);
  assertEquals([harness.turnLimiter.running, harness.agent.prompts.length, running.cancelCount], [1, 1, 1]);
  const next = harness.start("a", [user("one"), user("three")]);
  await nextTask();
  assertEquals(harness.agent.prompts.length, 1);
  running.end("cancelled");
  await waitFor(next, "the turn after it");
  assertEquals((await harness.agent.nextPrompt()).text, "three");
});

Deno.test("Conversations: who gives up while the session is opened is let go at once", async () => {
  using harness = new ConversationHarness();
  const opens = Promise.withResolvers<void>();
  harness.agent.openGate = opens.promise;
  const hangUp = new AbortController();
  const waiting = harness.start("a", [user("one")], hangUp.signal);
  await nextTask();
  hangUp.abort(new Error("hung up"));
  await assertRejects(() => waiting, Error, "hung up");
  assertEquals(harness.turnLimiter.running, 0);
  opens.resolve();
  assertEquals((await harness.run("a", [user("one")])).text, "one");
});

Deno.test("Conversations: who has given up already prompts nobody", async () => {
  using harness = new ConversationHarness();
  await harness.run("a", [user("one")]);
  const signal = AbortSignal.abort(new Error("hung up"));
  await assertRejects(
    () => harness.start("a", [user("one"), assistant("1"), user("two")], signal),
    Error,
    "hung up",
  );
  assertEquals([harness.agent.prompts.length, harness.turnLimiter.running], [1, 0]);
});
