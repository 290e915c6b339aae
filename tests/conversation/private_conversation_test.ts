import { assertEquals } from "@std/assert";
import { nextTask } from "../support/harness/turn_recorder.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { assistant, user } from "../support/harness/message_fixture.ts";

Deno.test("openPrivate: the session stays open until the conversation is disposed, and gets only what is new", async () => {
  using harness = new ConversationHarness({ maxSessions: 0, idleMs: 0 });
  const conversation = harness.registry.openPrivate();
  await harness.startAs(conversation, [user("one")]);
  (await harness.agent.nextPrompt()).end();
  await nextTask();
  await harness.run("another", [user("one")]);
  assertEquals(harness.closed, [false, true]);
  await harness.startAs(conversation, [user("one"), assistant("1"), user("two")]);
  const second = harness.agent.prompts.at(-1)!;
  assertEquals([second.text, second.session], ["two", harness.session(0)]);
  conversation[Symbol.dispose]();
  conversation[Symbol.dispose]();
  assertEquals(harness.session(0).closed.aborted, false);
  second.end();
  await nextTask();
  assertEquals([harness.session(0).closed.aborted, harness.turnLimiter.running], [true, 0]);
});

Deno.test("openPrivate: nothing is remembered or listed, and another request does not find it", async () => {
  using harness = new ConversationHarness({ mode: "auto" });
  using conversation = harness.registry.openPrivate();
  await harness.startAs(conversation, [user("one")]);
  const prompt = await harness.agent.nextPrompt();
  prompt.say("A reply that is long enough.");
  prompt.end();
  await nextTask();
  assertEquals(harness.turnCounts, []);
  const next = [user("one"), assistant("A reply that is long enough."), user("two")];
  assertEquals((await harness.run(undefined, next)).session, harness.session(1));
});

Deno.test("openPrivate: without a turn no session is opened", () => {
  using harness = new ConversationHarness();
  harness.registry.openPrivate()[Symbol.dispose]();
  assertEquals(harness.agent.sessions.length, 0);
});
