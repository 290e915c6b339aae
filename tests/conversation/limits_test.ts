import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import { untilAborted } from "../../lib/core/abortable.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { MemoryPrompt } from "../support/agents/memory_agent.ts";
import { ConversationHarness, crash } from "../support/harness/conversation_harness.ts";
import { assistant, user } from "../support/harness/message_fixture.ts";
import { appErrorOf, nextTask, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";

const FIRST = [user("one")];
const NEXT = [user("one"), user("two")];
const SECOND = [user("one"), assistant("1"), user("two")];

Deno.test("slots: a slot is free when the agent has ended the turn, not when its readers got the end", async () => {
  using harness = new ConversationHarness({ maxTurns: 1, limits: { replyTimeoutMs: 2, turnTimeoutMs: 0 } });
  const turn = await harness.start(undefined, FIRST);
  const recorder = new TurnRecorder();
  turn.read(recorder.reader);
  assertEquals(await recorder.lastSummary(), "failure agent_timeout");
  await nextTask();
  assertEquals([harness.running, harness.closed], [1, [false]]);
  assertEquals((await appErrorOf(harness.start(undefined, FIRST))).code, "rate_limit_exceeded");
  (await harness.agent.nextPrompt()).end("cancelled");
  await nextTask();
  assertEquals([harness.running, harness.closed], [0, [true]]);
});

Deno.test("slots: the 33rd turn is refused, and starts when another one has ended", async () => {
  using harness = new ConversationHarness();
  const prompts: MemoryPrompt[] = [];
  for (let number = 0; number < 32; number++) {
    prompts.push(await harness.prompt(number % 2 === 0 ? undefined : `name ${number}`, user("hi")));
  }
  const failure = await appErrorOf(harness.start("one more", FIRST));
  assertEquals([failure.code, failure.prompted], ["rate_limit_exceeded", false]);
  assert(failure.retryAfterSecs);
  assertEquals(harness.agent.sessions.length, 32);
  prompts[7]?.end();
  await nextTask();
  assertEquals((await harness.prompt("one more", ...FIRST)).text, "one");
  assertEquals(harness.running, 32);
});

Deno.test("slots: a request that supersedes a turn is never refused", async () => {
  using harness = new ConversationHarness({ maxTurns: 1 });
  const running = await harness.prompt("a", ...FIRST);
  const next = harness.start("a", NEXT);
  running.end("cancelled");
  await waitFor(next, "the next turn");
  assertEquals(harness.running, 1);
  assertEquals((await appErrorOf(harness.start("b", FIRST))).code, "rate_limit_exceeded");
});

Deno.test("sessions: beyond the limit the one that was not used for the longest time is closed", async () => {
  using harness = new ConversationHarness({ maxSessions: 2 });
  for (const name of ["a", "b", "a", "c"]) await harness.run(name, FIRST);
  assertEquals(harness.closed, [false, true, false]);
  await harness.run("b", FIRST);
  assertEquals(harness.closed, [true, true, false, false]);
});

Deno.test("sessions: ten single questions do not close the session of a chat", async () => {
  using harness = new ConversationHarness({ mode: "auto", maxSessions: 3 });
  await harness.run(undefined, FIRST, "1");
  await harness.run(undefined, SECOND, "2");
  await harness.run("named", FIRST);
  for (let number = 0; number < 10; number++) {
    await harness.run(undefined, [user(`Translate ${number}.`)]);
    const open = harness.agent.sessions.filter(({ closed }) => !closed.aborted);
    assertEquals(open, [harness.session(0), harness.session(1), harness.session(2 + number)]);
  }
  assertEquals((await harness.run(undefined, [...SECOND, assistant("2"), user("three")])).text, "three");
});

Deno.test("sessions: refused requests and failed sessions displace none", async () => {
  using harness = new ConversationHarness({ maxTurns: 1, maxSessions: 2 });
  await harness.run("a", FIRST);
  const running = await harness.prompt("b", ...FIRST);
  for (const name of ["c", "d", "e"]) await appErrorOf(harness.start(name, FIRST));
  running.end();
  await nextTask();
  harness.agent.openError = new AppError("agent_unavailable", "Not yet.");
  await appErrorOf(harness.start("f", FIRST));
  await nextTask();
  assertEquals(harness.closed, [false, false]);
});

Deno.test("sessions: a busy one stays open and keeps its name, whatever the limit", async () => {
  using harness = new ConversationHarness({ maxSessions: 1 });
  const busy = await harness.prompt("a", ...FIRST);
  for (const name of ["b", "c"]) await harness.prompt(name, ...FIRST);
  assertEquals(harness.closed, [false, false, false]);
  const next = harness.start("a", NEXT);
  busy.end("cancelled");
  await waitFor(next, "the next turn");
  const prompt = harness.agent.prompts.at(-1)!;
  assertEquals([prompt.text, prompt.session], ["two", busy.session]);
  prompt.end();
  await nextTask();
  assertEquals([harness.closed, harness.registry.running.size], [[true, false, false], 2]);
});

Deno.test("sessions: an idle one is closed after a while, counted from the end of its last turn", async () => {
  using harness = new ConversationHarness({ idleMs: 5 });
  const first = await harness.start("a", FIRST);
  (await harness.agent.nextPrompt()).end();
  await first.ended;
  const second = await harness.start("a", SECOND);
  const prompt = await harness.agent.nextPrompt();
  // A session that is idle since later closes first.
  await harness.run("another", FIRST);
  await waitFor(untilAborted(harness.session(1).closed), "the other session's close");
  prompt.end();
  await second.ended;
  assertEquals([harness.closed, prompt.session], [[false, true], harness.session(0)]);
  await waitFor(untilAborted(prompt.session.closed), "its own close");
  const { text, session } = await harness.run("a", [...SECOND, assistant("2"), user("three")]);
  assertEquals([text.startsWith("<user>\none"), session], [true, harness.session(2)]);
});

Deno.test("drain: refuses new requests, and resolves when the last turn has ended", async () => {
  using harness = new ConversationHarness();
  const one = await harness.prompt("a", ...FIRST);
  const two = await harness.prompt(undefined, ...FIRST);
  const waiting = harness.start("a", NEXT);
  let isDrained = false;
  const draining = harness.registry.drain().then(() => isDrained = true);
  const failure = await appErrorOf(harness.start(undefined, FIRST));
  assertEquals([failure.code, failure.prompted], ["shutting_down", false]);
  one.end("cancelled");
  await waitFor(waiting, "the waiting turn");
  two.end();
  await nextTask();
  assertEquals(isDrained, false);
  for (const prompt of harness.agent.prompts) prompt.end();
  await waitFor(draining, "the drain");
  await waitFor(harness.registry.drain(), "a drain of nothing");
  assertEquals(harness.running, 0);
});

const SHUTDOWN = new AppError("shutting_down", "The server is shutting down.");

for (const onBusy of ["queue", "supersede"] as const) {
  Deno.test(`fail, ${onBusy}: the running turn and the waiting requests fail with the reason`, async () => {
    using harness = new ConversationHarness({ onBusy });
    const recorder = new TurnRecorder();
    (await harness.start("a", FIRST)).read(recorder.reader);
    const running = await harness.agent.nextPrompt();
    const waiting = [NEXT, [...NEXT, user("three")]].map((messages) =>
      appErrorOf(harness.start("a", messages))
    );
    const drained = harness.registry.drain();
    harness.registry.fail(SHUTDOWN);
    // In mode `supersede` the turn was cancelled before.
    const end = onBusy === "queue" ? "failure shutting_down" : "end cancelled";
    assertEquals([recorder.summaries, running.cancelCount > 0], [[end], true]);
    running.end("cancelled");
    const codes = (await Promise.all(waiting)).map(({ code }) => code);
    // The first waiting request was superseded before.
    assertEquals(codes, [onBusy === "queue" ? "shutting_down" : "turn_cancelled", "shutting_down"]);
    await waitFor(drained, "the drain");
    assertEquals([harness.agent.prompts.length, harness.agent.sessions.length, harness.running], [1, 1, 0]);
  });
}

Deno.test("fail: a waiting request opens no session in place of a lost one", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const running = await harness.prompt("a", ...FIRST);
  const waiting = appErrorOf(harness.start("a", NEXT));
  harness.registry.fail(SHUTDOWN);
  crash(running.session);
  assertEquals((await waiting).code, "shutting_down");
  assertEquals([harness.agent.sessions.length, harness.running], [1, 0]);
});

Deno.test("close: idle sessions are closed at once, a busy one after its turn", async () => {
  using harness = new ConversationHarness();
  await harness.run("idle", FIRST);
  const busy = await harness.prompt("busy", ...FIRST);
  harness.registry.close();
  assertEquals([harness.closed, busy.cancelCount], [[true, false], 0]);
  busy.end();
  await nextTask();
  assertEquals(harness.closed, [true, true]);
});

Deno.test("hang-up: a caller that waits for the running turn is released at once", async () => {
  using harness = new ConversationHarness();
  const running = await harness.prompt("a", ...FIRST);
  const hangUp = new AbortController();
  const waiting = harness.start("a", NEXT, hangUp.signal).catch((error) => error);
  await nextTask();
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await waiting, reason);
  assertEquals([harness.running, harness.agent.prompts.length, running.cancelCount], [1, 1, 1]);
  const next = harness.start("a", [user("one"), user("three")]);
  await nextTask();
  assertEquals(harness.agent.prompts.length, 1);
  running.end("cancelled");
  await waitFor(next, "the turn after it");
  assertEquals((await harness.agent.nextPrompt()).text, "three");
});
