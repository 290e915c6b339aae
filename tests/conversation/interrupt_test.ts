import { assertEquals } from "@std/assert";
import { appErrorOf, nextTask, waitFor } from "../support/harness/turn_recorder.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { user } from "../support/harness/message_fixture.ts";

Deno.test("interrupt: an interrupt cancels what runs, of one conversation or of all, and tells how many", async () => {
  using harness = new ConversationHarness();
  const [one, two] = [await harness.prompt("a", user("one")), await harness.prompt("b", user("two"))];
  const alone = await harness.prompt(undefined, user("three"));
  assertEquals([harness.registry.interrupt("nobody"), harness.registry.interrupt("b")], [0, 1]);
  assertEquals([one.cancelCount, two.cancelCount, alone.cancelCount], [0, 1, 0]);
  assertEquals([harness.registry.interrupt(alone.session.id), alone.cancelCount], [1, 1]);
  for (const prompt of [two, alone]) prompt.end("cancelled");
  await nextTask();
  assertEquals([harness.registry.interrupt(undefined), one.cancelCount], [1, 1]);
  one.end("cancelled");
  await nextTask();
  assertEquals([harness.registry.interrupt(undefined), harness.turnLimiter.running], [0, 0]);
});

Deno.test("interrupt: an interrupt refuses a turn that waits for its agent, and the next one begins", async () => {
  using harness = new ConversationHarness();
  const opens = Promise.withResolvers<void>();
  harness.agent.openGate = opens.promise;
  for (const [name, meant] of [["a", "a"], ["a", undefined], [undefined, undefined]] as const) {
    const first = harness.start(name, [user("one")]);
    const refused = appErrorOf(first);
    await nextTask();
    assertEquals(harness.registry.interrupt(meant), 1);
    const failure = await refused;
    assertEquals([failure.code, failure.message], ["turn_cancelled", "The turn was interrupted."]);
    assertEquals([harness.turnLimiter.running, harness.registry.interrupt(undefined)], [0, 0]);
  }
  opens.resolve();
  assertEquals((await harness.prompt("a", user("two"))).text, "two");
});

Deno.test("interrupt: an interrupt while a prompt is put cancels it once it is taken", async () => {
  using harness = new ConversationHarness();
  const takes = Promise.withResolvers<void>();
  harness.agent.promptGate = takes.promise;
  const begins = harness.start("a", [user("one")]);
  await nextTask();
  assertEquals(harness.registry.interrupt("a"), 1);
  takes.resolve();
  await waitFor(begins, "the turn");
  assertEquals((await harness.agent.nextPrompt()).cancelCount, 1);
});

Deno.test("interrupt: an interrupt refuses one that took the place of a turn that has not ended yet", async () => {
  using harness = new ConversationHarness();
  const running = await harness.prompt("a", user("one"));
  const next = appErrorOf(harness.start("a", [user("one"), user("two")]));
  await nextTask();
  assertEquals(harness.registry.interrupt("a"), 2);
  assertEquals((await next).message, "The turn was interrupted.");
  running.end("cancelled");
  await nextTask();
  assertEquals([harness.agent.prompts.length, harness.turnLimiter.running], [1, 0]);
});

Deno.test("interrupt: an interrupt leaves alone what waits for another turn, which comes next", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const running = await harness.prompt("a", user("one"));
  const next = harness.start("a", [user("one"), user("two")]);
  await nextTask();
  assertEquals([harness.registry.interrupt("a"), running.cancelCount], [1, 1]);
  running.end("cancelled");
  await waitFor(next, "the next turn");
  assertEquals((await harness.agent.nextPrompt()).text, "two");
});
