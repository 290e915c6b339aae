import { assertEquals, assertStrictEquals } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import { MAX_QUEUED } from "../../lib/conversation/turn_queue.ts";
import { AppError } from "../../lib/core/errors.ts";
import { ConversationHarness, crash } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";
import { appErrorOf, nextTask, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";

/** Makes a history of so many questions, the last of them without a reply. */
function history(questions: number): Message[] {
  return Array.from({ length: questions }, (_, index) => [user(`question ${index + 1}`), assistant("Yes.")])
    .flat().slice(0, -1);
}

Deno.test("supersede: a newer turn cancels the running one, and starts when that has ended", async () => {
  using harness = new ConversationHarness({ mode: "auto" });
  const [older, newer] = [new TurnRecorder(), new TurnRecorder()];
  (await harness.start(undefined, history(1))).read(older.reader);
  const running = await harness.agent.nextPrompt();
  const next = harness.start(undefined, [...history(1), user("Stop!")]);
  assertEquals(running.cancelCount, 1);
  running.say("too late");
  await nextTask();
  assertEquals(harness.agent.prompts.length, 1);
  running.end("cancelled");
  (await waitFor(next, "the newer turn")).read(newer.reader);
  const prompt = await harness.agent.nextPrompt();
  prompt.say("Yes?");
  running.say("later");
  prompt.end();
  assertEquals(older.summaries, ["end cancelled"]);
  assertEquals(newer.summaries, ["text Yes?", "end end_turn"]);
  assertEquals([harness.agent.sessions.length, prompt.text], [1, "Stop!"]);
});

Deno.test("supersede: an agent that answers the cancel as if nothing had happened forks no conversation", async () => {
  const first = [user("one"), assistant("Answer one, which is a long one."), user("two")];
  for (const how of ["superseded", "interrupted", "left"] as const) {
    for (const partial of [[], [assistant("Well, let me")]]) {
      using harness = new ConversationHarness({ mode: "auto" });
      await harness.run(undefined, first.slice(0, 1), "Answer one, which is a long one.");
      const leave = (await harness.start(undefined, first)).read(() => {});
      await harness.agent.nextPrompt();
      const running = harness.agent.prompts.at(-1)!;
      running.say("Well, let me think about it.");
      const history = [...first, ...partial, user("three")];
      if (how === "interrupted") harness.registry.interrupt(undefined);
      if (how === "left") leave();
      const next = how === "superseded" ? harness.start(undefined, history) : undefined;
      running.end("end_turn");
      await nextTask();
      await (next ?? harness.start(undefined, history));
      assertEquals((await harness.agent.nextPrompt()).text, "three", how);
      assertEquals([harness.agent.sessions.length, harness.turnCounts], [1, [3]]);
    }
  }
});

Deno.test("supersede: of several waiting requests only the newest runs, the others fail at once", async () => {
  using harness = new ConversationHarness();
  const running = await harness.prompt("a", user("one"));
  const waiting = ["two", "three", "four"].map((text) => harness.start("a", [user("one"), user(text)]));
  const last = harness.start("a", [user("one"), user("five")]);
  for (const superseded of waiting) assertEquals((await appErrorOf(superseded)).code, "turn_cancelled");
  assertEquals([harness.agent.prompts.length, harness.running], [1, 2]);
  running.end("cancelled");
  await waitFor(last, "the newest turn");
  assertEquals((await harness.agent.nextPrompt()).text, "five");
  assertEquals(harness.running, 1);
});

Deno.test("supersede: the next request waits for the open tool of a turn whose reply is complete, and can be hurried", async () => {
  for (const isHurried of [false, true]) {
    using harness = new ConversationHarness();
    const turn = await harness.start("a", [user("one")]);
    const running = await harness.agent.nextPrompt();
    running.tool();
    turn.endReply("length");
    const next = harness.start("a", [user("two")]);
    await nextTask();
    assertEquals([running.cancelCount, harness.agent.prompts.length], [0, 1]);
    if (isHurried) assertEquals(harness.registry.interrupt("a"), 2);
    else running.tool({ status: "completed" });
    assertEquals(running.cancelCount, 1);
    running.end();
    if (isHurried) await appErrorOf(next);
    else await waitFor(next, "the next turn");
  }
});

for (const onBusy of ["supersede", "queue", "reject"] as const) {
  Deno.test(`${onBusy}: other conversations are left alone`, async () => {
    using harness = new ConversationHarness({ onBusy });
    const prompts = [];
    for (const name of ["a", "b", undefined, undefined]) {
      prompts.push(await harness.prompt(name, user("one")));
    }
    assertEquals(prompts.map(({ cancelCount }) => cancelCount), [0, 0, 0, 0]);
    assertEquals(harness.running, 4);
  });
}

Deno.test("queue: 8 requests wait, run in order and take no slot; a ninth is refused and changes nothing", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  let running = await harness.prompt("a", user("one"));
  const waiting = Array.from({ length: MAX_QUEUED }, (_, number) => harness.start("a", [user(`w${number}`)]));
  const failure = await appErrorOf(harness.start("a", [user("too much")]));
  assertEquals([failure.code, failure.prompted, failure.retryAfterSecs], ["session_busy", false, 3]);
  assertEquals([harness.running, running.cancelCount], [1, 0]);
  for (const [number, turn] of waiting.entries()) {
    running.end();
    await waitFor(turn, `turn ${number}`);
    running = await harness.agent.nextPrompt();
    await nextTask();
    assertEquals([running.text, harness.agent.prompts.length], [`w${number}`, number + 2]);
  }
  running.end();
  await nextTask();
  assertEquals([harness.running, harness.registry.running.size, harness.agent.sessions.length], [0, 0, 1]);
});

Deno.test("queue: waiting requests leave the slots to other conversations", async () => {
  using harness = new ConversationHarness({ onBusy: "queue", maxTurns: 2 });
  const running = await harness.prompt("a", user("one"));
  const waiting = [2, 3, 4].map((number) => harness.start("a", [user(`question ${number}`)]));
  await nextTask();
  const other = await harness.prompt("b", user("one"));
  assertEquals([other.text, harness.running], ["one", 2]);
  assertEquals((await appErrorOf(harness.start("c", [user("one")]))).code, "rate_limit_exceeded");
  running.end();
  for (const turn of waiting) {
    await waitFor(turn, "the next turn");
    assertEquals(harness.running, 2);
    (await harness.agent.nextPrompt()).end();
  }
  other.end();
  await nextTask();
  assertEquals(harness.running, 0);
});

Deno.test("queue: a request that has waited is refused if all slots are taken by then", async () => {
  using harness = new ConversationHarness({ onBusy: "queue", maxTurns: 1 });
  const turn = await harness.start("a", history(1));
  const running = await harness.agent.nextPrompt();
  const late = appErrorOf(harness.start("a", history(2)));
  // Another request comes at the very moment at which the slot is free.
  const other = turn.ended.then(() => harness.start("b", [user("one")]));
  running.end();
  const failure = await late;
  assertEquals([failure.code, failure.prompted, failure.retryAfterSecs], ["rate_limit_exceeded", false, 3]);
  await waitFor(other, "the other turn");
  assertEquals([harness.running, harness.registry.running.size], [1, 1]);
  (await harness.agent.nextPrompt()).end();
  await nextTask();
  const next = await harness.run("a", [...history(2), user("question 3")]);
  assertEquals([next.text, harness.running], ["question 2\n\nquestion 3", 0]);
});

Deno.test("queue: a request takes a slot of its own after one that could not start", async () => {
  using harness = new ConversationHarness({ onBusy: "queue", maxTurns: 1 });
  const open = harness.blockOpening();
  harness.agent.openError = new AppError("agent_unavailable", "Not yet.");
  const first = appErrorOf(harness.start("a", history(1)));
  const second = harness.start("a", history(2));
  await nextTask();
  assertEquals(harness.running, 1);
  open();
  assertEquals((await first).code, "agent_unavailable");
  harness.agent.openError = undefined;
  await waitFor(second, "the turn after it");
  assertEquals(harness.running, 1);
});

Deno.test("queue: a caller that hangs up leaves the queue, and its message is sent with the next", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const running = await harness.prompt("a", ...history(1));
  const hangUp = new AbortController();
  const left = harness.start("a", history(2), hangUp.signal);
  const next = harness.start("a", [...history(2), user("question 3")]);
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await left.catch((error) => error), reason);
  assertEquals([harness.running, running.cancelCount], [1, 0]);
  running.end();
  await waitFor(next, "the turn after it");
  assertEquals((await harness.agent.nextPrompt()).text, "question 2\n\nquestion 3");
});

Deno.test("queue: the next turn starts after a failure and after the agent's exit", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const first = await harness.prompt("a", ...history(1));
  const second = harness.start("a", history(2));
  first.say("Well, ");
  first.fail(new AppError("agent_error", "No."));
  await waitFor(second, "the turn after a failure");
  const prompt = await harness.agent.nextPrompt();
  assertEquals(prompt.text, "question 2");
  const third = harness.start("a", history(3));
  crash(prompt.session);
  await waitFor(third, "the turn after an exit");
  assertEquals((await harness.agent.nextPrompt()).session, harness.session(1));
});

Deno.test("queue: a turn that its reader left makes room only when the agent has ended it", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const leave = (await harness.start("a", history(1))).read(() => {});
  const running = await harness.agent.nextPrompt();
  const next = harness.start("a", history(2));
  leave();
  await nextTask();
  assertEquals([running.cancelCount, harness.agent.prompts.length], [1, 1]);
  running.end("cancelled");
  await waitFor(next, "the next turn");
});

for (const name of ["a", undefined]) {
  Deno.test(`reject: a busy conversation refuses a request, ${name ? "named" : "matched"}, which changes nothing`, async () => {
    using harness = new ConversationHarness({ mode: "auto", onBusy: "reject" });
    const request = [system("Mao"), user("question 1"), user("two")];
    const running = await harness.prompt(name, system("Mao"), ...history(1));
    const failure = await appErrorOf(harness.start(name, request));
    assertEquals([failure.code, failure.prompted, failure.retryAfterSecs], ["session_busy", false, 3]);
    assertEquals([harness.running, running.cancelCount, harness.turnCounts], [1, 0, [1]]);
    running.end();
    await nextTask();
    assertEquals((await harness.run(name, [system("Mao"), ...history(2)])).text, "question 2");
  });
}

Deno.test("reject: a conversation is busy while its session is being opened", async () => {
  using harness = new ConversationHarness({ onBusy: "reject" });
  const open = harness.blockOpening();
  const first = harness.start("a", [user("one")]);
  assertEquals((await appErrorOf(harness.start("a", [user("two")]))).code, "session_busy");
  open();
  await waitFor(first, "the first turn");
});
