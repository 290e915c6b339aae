import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { untilAborted } from "../../lib/core/abortable.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { MemoryPrompt } from "../support/agents/memory_agent.ts";
import { failureOf, Heard, settled, soon } from "../support/harness/turn_recorder.ts";
import { crash, gate, House } from "../support/harness/conversation_harness.ts";
import { assistant, user } from "../support/harness/message_fixture.ts";

Deno.test("Conversations: a slot is given back when the agent has ended, not when the readers were told", async () => {
  using house = new House({ limit: 1, limits: { replyTimeoutMs: 2, turnTimeoutMs: 0 } });
  const turn = await house.begin(undefined, [user("one")]);
  const heard = new Heard();
  turn.read(heard.reader);
  assertEquals(await heard.last(), "failure agent_timeout");
  await settled();
  assertEquals([house.slots.running, house.closed], [1, [false]]);
  assertEquals((await failureOf(house.begin(undefined, [user("two")]))).code, "rate_limit_exceeded");
  (await house.agent.nextPrompt()).end("cancelled");
  await settled();
  assertEquals([house.slots.running, house.closed], [0, [true]]);
});

Deno.test("Conversations: the 33rd turn is refused, and fits when one has ended", async () => {
  using house = new House();
  const prompts: MemoryPrompt[] = [];
  for (let number = 0; number < 32; number++) {
    prompts.push(await house.prompted(number % 2 === 0 ? undefined : `talk ${number}`, user("hi")));
  }
  const failure = await failureOf(house.begin("one more", [user("hi")]));
  assertEquals([failure.code, failure.prompted], ["rate_limit_exceeded", false]);
  assert(failure.retryAfterSecs);
  assertEquals(house.agent.sessions.length, 32);
  prompts[7]?.end();
  await settled();
  assertEquals((await house.prompted("one more", user("hi"))).text, "hi");
  assertEquals(house.slots.running, 32);
});

Deno.test("Conversations: one that takes the place of a running turn is never refused", async () => {
  using house = new House({ limit: 1 });
  const running = await house.prompted("a", user("one"));
  const next = house.begin("a", [user("one"), user("two")]);
  running.end("cancelled");
  await soon(next, "the next turn");
  assertEquals(house.slots.running, 1);
  assertEquals((await failureOf(house.begin("b", [user("one")]))).code, "rate_limit_exceeded");
});

Deno.test("Conversations: those that are refused for want of a slot displace no conversation", async () => {
  using house = new House({ limit: 1, maxSessions: 2 });
  await house.told("a", user("one"));
  const running = await house.prompted("b", user("one"));
  for (const name of ["c", "d", "e"]) await failureOf(house.begin(name, [user("one")]));
  running.end();
  await settled();
  await house.told("a", user("one"), assistant("1"), user("two"));
  assertEquals(house.closed, [false, false]);
});

Deno.test("Conversations: beyond the limit the one that was idle longest is closed", async () => {
  using house = new House({ maxSessions: 2 });
  for (const name of ["a", "b", "a", "c"]) await house.told(name, user("one"));
  assertEquals(house.closed, [false, true, false]);
  await house.told("b", user("one"));
  assertEquals(house.closed, [true, true, false, false]);
});

Deno.test("Conversations: one whose session could not be opened displaces none", async () => {
  using house = new House({ maxSessions: 1 });
  await house.told("a", user("one"));
  house.agent.openFailure = new AppError("agent_unavailable", "Not yet.");
  await failureOf(house.begin("b", [user("one")]));
  await settled();
  assertEquals(house.closed, [false]);
});

Deno.test("Conversations: a busy one is never closed, whatever the limit", async () => {
  using house = new House({ maxSessions: 1 });
  const busy = await house.prompted("a", user("one"));
  await house.prompted("b", user("one"));
  await house.prompted("c", user("one"));
  assertEquals(house.closed, [false, false, false]);
  busy.end();
  await settled();
  assertEquals(house.closed, [true, false, false]);
  assertEquals([...house.conversations.running].length, 2);
});

Deno.test("Conversations: a busy one beyond the limit is still the one of its name", async () => {
  using house = new House({ maxSessions: 1 });
  const running = await house.prompted("a", user("one"));
  await house.prompted("b", user("one"));
  await house.prompted("c", user("one"));
  const next = house.begin("a", [user("one"), user("two")]);
  assertEquals(running.cancels, 1);
  running.end("cancelled");
  await soon(next, "the next turn");
  const prompt = await house.agent.nextPrompt();
  assertEquals([prompt.text, prompt.session], ["two", running.session]);
});

Deno.test("Conversations: one that is idle is closed after a while", async () => {
  using house = new House({ idleMs: 2 });
  await house.told("a", user("one"));
  await soon(untilAborted(house.session(0).closed), "the idle session's close");
  const prompt = await house.told("a", user("one"), assistant("1"), user("two"));
  assertEquals(prompt.session, house.session(1));
  assert(prompt.text.startsWith("<user>\none"));
});

Deno.test("Conversations: one is idle from the end of its last turn, however long that took", async () => {
  using house = new House({ idleMs: 5 });
  const first = await house.begin("a", [user("one")]);
  (await house.agent.nextPrompt()).end();
  await first.ended;
  const second = await house.begin("a", [user("one"), assistant("1"), user("two")]);
  const prompt = await house.agent.nextPrompt();
  // What is idle since later is closed: by then the one that is busy would be, if it counted as idle.
  await house.told("another", user("one"));
  await soon(untilAborted(house.session(1).closed), "the other session's close");
  prompt.end();
  await second.ended;
  assertEquals([house.closed, prompt.session], [[false, true], house.session(0)]);
  await soon(untilAborted(prompt.session.closed), "its own close");
});

Deno.test("Conversations: drain takes no more turns, and resolves when the last has ended", async () => {
  using house = new House();
  const one = await house.prompted("a", user("one"));
  const two = await house.prompted(undefined, user("one"));
  const waiting = house.begin("a", [user("one"), user("two")]);
  let drained = false;
  const draining = house.conversations.drain().then(() => drained = true);
  const failure = await failureOf(house.begin(undefined, [user("late")]));
  assertEquals([failure.code, failure.prompted], ["shutting_down", false]);
  one.end("cancelled");
  await soon(waiting, "the turn that had been asked for");
  two.end();
  await settled();
  assertEquals(drained, false);
  for (const prompt of house.agent.prompts) prompt.end();
  await soon(draining, "the drain");
  assertEquals(house.slots.running, 0);
});

Deno.test("Conversations: drain of nothing resolves", async () => {
  using house = new House();
  await house.told("a", user("one"));
  await soon(house.conversations.drain(), "the drain");
});

const GOING = new AppError("shutting_down", "The server is shutting down.");

for (const onBusy of ["queue", "supersede"] as const) {
  Deno.test(`Conversations: when all are failed, ${onBusy}: none of those that wait begins, and all are told why`, async () => {
    using house = new House({ onBusy });
    const turn = await house.begin("a", [user("one")]);
    const heard = new Heard();
    turn.read(heard.reader);
    const running = await house.agent.nextPrompt();
    const waiting = [[user("one"), user("two")], [user("one"), user("two"), user("three")]]
      .map((messages) => failureOf(house.begin("a", messages)));
    const drained = house.conversations.drain();
    house.conversations.fail(GOING);
    assertEquals([heard.failure, running.cancels > 0], [GOING, true]);
    running.end("cancelled");
    const codes = (await Promise.all(waiting)).map(({ code }) => code);
    // The one in the middle was passed by before that.
    assertEquals(codes, [onBusy === "queue" ? "shutting_down" : "turn_cancelled", "shutting_down"]);
    await soon(drained, "the drain");
    assertEquals([house.agent.prompts.length, house.agent.sessions.length, house.slots.running], [1, 1, 0]);
  });
}

Deno.test("Conversations: when all are failed, one that waits opens no session in place of a lost one", async () => {
  using house = new House({ onBusy: "queue" });
  const running = await house.prompted("a", user("one"));
  const waiting = failureOf(house.begin("a", [user("one"), user("two")]));
  house.conversations.fail(GOING);
  crash(running.session);
  assertEquals((await waiting).code, "shutting_down");
  assertEquals([house.agent.sessions.length, house.slots.running], [1, 0]);
});

Deno.test("Conversations: when all are failed, one whose session is being opened does not begin", async () => {
  using house = new House();
  const opens = gate();
  house.agent.opens = opens.promise;
  const begins = failureOf(house.begin("a", [user("one")]));
  await settled();
  house.conversations.fail(GOING);
  opens.open();
  assertStrictEquals(await begins, GOING);
  assertEquals([house.agent.prompts.length, house.slots.running], [0, 0]);
});

Deno.test("Conversations: when all are failed, one whose prompt is being put fails once it is taken", async () => {
  using house = new House();
  const takes = gate();
  house.agent.takes = takes.promise;
  const begins = house.begin("a", [user("one")]);
  await settled();
  house.conversations.fail(GOING);
  takes.open();
  const heard = new Heard();
  (await soon(begins, "the turn")).read(heard.reader);
  const prompt = await house.agent.nextPrompt();
  assertEquals([heard.briefs, prompt.cancels], [["failure shutting_down"], 1]);
  prompt.end("cancelled");
  await settled();
  assertEquals(house.slots.running, 0);
});

Deno.test("Conversations: close ends idle sessions at once and busy ones after their turn", async () => {
  using house = new House();
  await house.told("idle", user("one"));
  const busy = await house.prompted("busy", user("one"));
  house.conversations.close();
  assertEquals(house.closed, [true, false]);
  assertEquals(busy.cancels, 0);
  busy.say("still here");
  busy.end();
  await settled();
  assertEquals(house.closed, [true, true]);
});

Deno.test("Conversations: a turn that comes while one is closed still takes its turn in it", async () => {
  using house = new House();
  const busy = await house.prompted("a", user("one"));
  house.conversations.close();
  const begins = house.begin("a", [user("one"), user("two")]);
  assertEquals(busy.cancels, 1);
  busy.end("cancelled");
  await soon(begins, "the next turn");
  const next = await house.agent.nextPrompt();
  assertEquals([next.text, next.session === busy.session, house.closed], ["two", true, [false]]);
  next.end();
  await settled();
  assertEquals(house.closed, [true]);
});

Deno.test("Conversations: who gives up while waiting for the running turn is let go at once", async () => {
  using house = new House();
  const running = await house.prompted("a", user("one"));
  const hangUp = new AbortController();
  const waiting = house.begin("a", [user("one"), user("two")], hangUp.signal);
  await settled();
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await waiting.catch((error) => error), reason);
  assertEquals([house.slots.running, house.agent.prompts.length, running.cancels], [1, 1, 1]);
  const next = house.begin("a", [user("one"), user("three")]);
  await settled();
  assertEquals(house.agent.prompts.length, 1);
  running.end("cancelled");
  await soon(next, "the turn after it");
  assertEquals((await house.agent.nextPrompt()).text, "three");
});

Deno.test("Conversations: who gives up while the session is opened is let go at once", async () => {
  using house = new House();
  const opens = gate();
  house.agent.opens = opens.promise;
  const hangUp = new AbortController();
  const waiting = house.begin("a", [user("one")], hangUp.signal);
  await settled();
  hangUp.abort(new Error("hung up"));
  await assertRejects(() => waiting, Error, "hung up");
  assertEquals(house.slots.running, 0);
  opens.open();
  assertEquals((await house.told("a", user("one"))).text, "one");
});

Deno.test("Conversations: who has given up already prompts nobody", async () => {
  using house = new House();
  await house.told("a", user("one"));
  const signal = AbortSignal.abort(new Error("hung up"));
  await assertRejects(
    () => house.begin("a", [user("one"), assistant("1"), user("two")], signal),
    Error,
    "hung up",
  );
  assertEquals([house.agent.prompts.length, house.slots.running], [1, 0]);
});
