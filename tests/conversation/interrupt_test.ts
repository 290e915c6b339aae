import { assertEquals } from "@std/assert";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { user } from "../support/harness/message_fixture.ts";
import { appErrorOf, nextTask, waitFor } from "../support/harness/turn_recorder.ts";

const FIRST = [user("one")];
const NEXT = [user("one"), user("two")];

Deno.test("interrupt: cancels the turns of one conversation or of all, and returns their number", async () => {
  using harness = new ConversationHarness();
  const [one, two] = [await harness.prompt("a", user("one")), await harness.prompt("b", user("two"))];
  const alone = await harness.prompt(undefined, user("three"));
  assertEquals([harness.registry.interrupt("unknown"), harness.registry.interrupt("b")], [0, 1]);
  assertEquals([one.cancelCount, two.cancelCount, alone.cancelCount], [0, 1, 0]);
  assertEquals([harness.registry.interrupt(alone.session.id), alone.cancelCount], [1, 1]);
  for (const prompt of [two, alone]) prompt.end("cancelled");
  await nextTask();
  assertEquals([harness.registry.interrupt(undefined), one.cancelCount], [1, 1]);
  one.end("cancelled");
  await nextTask();
  assertEquals([harness.registry.interrupt(undefined), harness.running], [0, 0]);
});

Deno.test("interrupt: rejects a request that superseded a turn that has not ended yet", async () => {
  using harness = new ConversationHarness();
  const running = await harness.prompt("a", ...FIRST);
  const next = appErrorOf(harness.start("a", NEXT));
  await nextTask();
  assertEquals(harness.registry.interrupt("a"), 1);
  assertEquals((await next).message, "The turn was interrupted.");
  running.end("cancelled");
  await nextTask();
  assertEquals([harness.agent.prompts.length, harness.running], [1, 0]);
});

Deno.test("interrupt: leaves queued requests alone, and the next one starts", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const running = await harness.prompt("a", ...FIRST);
  const next = harness.start("a", NEXT);
  await nextTask();
  assertEquals([harness.registry.interrupt("a"), running.cancelCount], [1, 1]);
  running.end("cancelled");
  await waitFor(next, "the next turn");
  assertEquals((await harness.agent.nextPrompt()).text, "two");
});
