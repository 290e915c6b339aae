import { assertEquals, assertStrictEquals } from "@std/assert";
import { MAX_QUEUED } from "../../lib/conversation/turn_queue.ts";
import type { Message } from "../../lib/conversation/message.ts";
import { AppError } from "../../lib/core/errors.ts";
import { appErrorOf, nextTask, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";
import { ConversationHarness, crash } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

/** A talk of so many questions, the last of them not answered. */
function talk(questions: number): Message[] {
  return Array.from({ length: questions }, (_, index) => [user(`question ${index + 1}`), assistant("Yes.")])
    .flat().slice(0, -1);
}

Deno.test("supersede: the older reader hears its turn to the end, and nothing of the newer one", async () => {
  using harness = new ConversationHarness({ mode: "auto" });
  const older = new TurnRecorder();
  (await harness.start(undefined, talk(1))).read(older.reader);
  const running = await harness.agent.nextPrompt();
  running.say("Once upon");
  const next = harness.start(undefined, [...talk(1), user("Stop!")]);
  running.say(" a time");
  running.end("cancelled");
  const newer = new TurnRecorder();
  (await waitFor(next, "the newer turn")).read(newer.reader);
  const prompt = await harness.agent.nextPrompt();
  prompt.say("Yes?");
  running.say("late");
  prompt.end();
  assertEquals(older.summaries, ["text Once upon", "text  a time", "end cancelled"]);
  assertEquals(newer.summaries, ["text Yes?", "end end_turn"]);
  assertEquals([harness.agent.sessions.length, prompt.text], [1, "Stop!"]);
});

Deno.test("queue: turns of a conversation run one after the other, in the order in which they came", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const first = await harness.prompt("a", ...talk(1));
  const begins = [2, 3, 4].map((questions) => harness.start("a", talk(questions)));
  await nextTask();
  assertEquals([harness.agent.prompts.length, first.cancelCount], [1, 0]);
  first.end();
  for (const [index, begin] of begins.entries()) {
    await waitFor(begin, `turn ${index + 2}`);
    const prompt = await harness.agent.nextPrompt();
    assertEquals(prompt.text, `question ${index + 2}`);
    await nextTask();
    assertEquals(harness.agent.prompts.length, index + 2);
    prompt.end();
  }
  assertEquals(harness.agent.sessions.length, 1);
});

Deno.test("queue: other conversations do not wait", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  await harness.prompt("a", user("one"));
  assertEquals((await harness.prompt("b", user("one"))).text, "one");
  assertEquals((await harness.prompt(undefined, user("one"))).text, "one");
});

Deno.test("queue: so many wait and no more; who is refused changes nothing", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const running = await harness.prompt("a", user("one"));
  const waiting = Array.from({ length: MAX_QUEUED }, (_, number) => harness.start("a", [user(`w${number}`)]));
  const failure = await appErrorOf(harness.start("a", [user("too much")]));
  assertEquals([failure.code, failure.prompted, failure.retryAfterSecs], ["session_busy", false, 3]);
  // Who waits takes no slot from others.
  assertEquals(harness.turnLimiter.running, 1);
  running.end();
  for (const [number, turn] of waiting.entries()) {
    await waitFor(turn, `turn ${number}`);
    const prompt = await harness.agent.nextPrompt();
    assertEquals(prompt.text, `w${number}`);
    prompt.end();
  }
  await nextTask();
  assertEquals([harness.turnLimiter.running, harness.registry.running.size], [0, 0]);
});

Deno.test("queue: those that wait take no slot, so that another conversation is served", async () => {
  using harness = new ConversationHarness({ onBusy: "queue", limit: 2 });
  const running = await harness.prompt("a", user("one"));
  const waiting = [2, 3, 4].map((number) => harness.start("a", [user(`question ${number}`)]));
  await nextTask();
  const other = await harness.prompt("b", user("one"));
  assertEquals([other.text, harness.turnLimiter.running], ["one", 2]);
  assertEquals((await appErrorOf(harness.start("c", [user("one")]))).code, "rate_limit_exceeded");
  running.end();
  for (const turn of waiting) {
    await waitFor(turn, "the next turn");
    assertEquals(harness.turnLimiter.running, 2);
    (await harness.agent.nextPrompt()).end();
  }
  other.end();
  await nextTask();
  assertEquals(harness.turnLimiter.running, 0);
});

Deno.test("queue: one that has waited is refused if all slots are taken by then, and holds up nobody", async () => {
  using harness = new ConversationHarness({ onBusy: "queue", limit: 1 });
  const turn = await harness.start("a", talk(1));
  const running = await harness.agent.nextPrompt();
  const late = appErrorOf(harness.start("a", talk(2)));
  // Another comes at the very moment at which the slot is free.
  const other = turn.ended.then(() => harness.start("b", [user("one")]));
  running.end();
  const failure = await late;
  assertEquals([failure.code, failure.prompted, failure.retryAfterSecs], ["rate_limit_exceeded", false, 3]);
  await waitFor(other, "the other turn");
  assertEquals([harness.turnLimiter.running, harness.registry.running.size], [1, 1]);
  (await harness.agent.nextPrompt()).end();
  await nextTask();
  assertEquals((await harness.run("a", [...talk(2), user("question 3")])).text, "question 2\n\nquestion 3");
  assertEquals(harness.turnLimiter.running, 0);
});

Deno.test("queue: one that has waited for what failed to begin takes a slot of its own", async () => {
  using harness = new ConversationHarness({ onBusy: "queue", limit: 1 });
  const opens = Promise.withResolvers<void>();
  harness.agent.openGate = opens.promise;
  harness.agent.openError = new AppError("agent_unavailable", "Not yet.");
  const first = appErrorOf(harness.start("a", talk(1)));
  const second = harness.start("a", talk(2));
  await nextTask();
  assertEquals(harness.turnLimiter.running, 1);
  opens.resolve();
  assertEquals((await first).code, "agent_unavailable");
  harness.agent.openError = undefined;
  await waitFor(second, "the turn after it");
  assertEquals(harness.turnLimiter.running, 1);
});

Deno.test("queue: who hangs up leaves the line, and what it asked is told with the next", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const running = await harness.prompt("a", ...talk(1));
  const hangUp = new AbortController();
  const left = harness.start("a", talk(2), hangUp.signal);
  const next = harness.start("a", [...talk(2), user("question 3")]);
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await left.catch((error) => error), reason);
  assertEquals([harness.turnLimiter.running, running.cancelCount], [1, 0]);
  running.end();
  await waitFor(next, "the turn after it");
  assertEquals((await harness.agent.nextPrompt()).text, "question 2\n\nquestion 3");
});

Deno.test("queue: a turn that fails, or whose agent dies, does not hold up the next", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const first = await harness.prompt("a", ...talk(1));
  const second = harness.start("a", talk(2));
  first.say("Well, ");
  first.fail(new AppError("agent_error", "No."));
  await waitFor(second, "the turn after a failure");
  const prompt = await harness.agent.nextPrompt();
  assertEquals(prompt.text, "question 2");
  const third = harness.start("a", talk(3));
  crash(prompt.session);
  await waitFor(third, "the turn after a crash");
  assertEquals((await harness.agent.nextPrompt()).session, harness.session(1));
});

Deno.test("queue: what is cancelled by its reader makes room only when the agent has ended it", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const leave = (await harness.start("a", talk(1))).read(() => {});
  const running = await harness.agent.nextPrompt();
  const next = harness.start("a", talk(2));
  leave();
  await nextTask();
  assertEquals([running.cancelCount, harness.agent.prompts.length], [1, 1]);
  running.end("cancelled");
  await waitFor(next, "the next turn");
});

Deno.test("reject: a turn of a busy conversation is refused, and changes nothing", async () => {
  using harness = new ConversationHarness({ onBusy: "reject" });
  const running = await harness.prompt("a", ...talk(1));
  const failure = await appErrorOf(harness.start("a", talk(2)));
  assertEquals([failure.code, failure.prompted, failure.retryAfterSecs], ["session_busy", false, 3]);
  assertEquals([harness.turnLimiter.running, running.cancelCount], [1, 0]);
  assertEquals(harness.registry.list("").map(({ turns }) => turns), [1]);
  running.end();
  await nextTask();
  assertEquals((await harness.run("a", talk(2))).text, "question 2");
});

Deno.test("reject: other conversations, and those without a name, are not refused", async () => {
  using harness = new ConversationHarness({ onBusy: "reject" });
  await harness.prompt("a", user("one"));
  await harness.prompt("b", user("one"));
  for (let count = 0; count < 2; count++) await harness.prompt(undefined, user("one"));
  assertEquals(harness.turnLimiter.running, 4);
});

Deno.test("reject: a conversation that is found by what it says is as busy as one with a name", async () => {
  using harness = new ConversationHarness({ mode: "auto", onBusy: "reject" });
  const running = await harness.prompt(undefined, system("Mao"), ...talk(1));
  assertEquals(
    (await appErrorOf(harness.start(undefined, [system("Mao"), user("question 1"), user("two")]))).code,
    "session_busy",
  );
  running.end();
  await nextTask();
  assertEquals((await harness.run(undefined, [system("Mao"), ...talk(2)])).text, "question 2");
});

Deno.test("reject: it is busy while its session is opened as well", async () => {
  using harness = new ConversationHarness({ onBusy: "reject" });
  const opens = Promise.withResolvers<void>();
  harness.agent.openGate = opens.promise;
  const first = harness.start("a", [user("one")]);
  assertEquals((await appErrorOf(harness.start("a", [user("two")]))).code, "session_busy");
  opens.resolve();
  await waitFor(first, "the first turn");
});
