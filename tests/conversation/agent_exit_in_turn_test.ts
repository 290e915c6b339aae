import { assertEquals, assertStrictEquals } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { nextTask, waitFor } from "../support/harness/turn_recorder.ts";
import { ConversationHarness, type HarnessOptions } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

const MAO = system("You are Mao.");
const FIRST = [MAO, user("one")];
const FIRST_ANSWER = "Answer one, which is a long one.";
const SECOND = [...FIRST, assistant(FIRST_ANSWER), user("two")];

/** A registry that finds conversations by what is said, over an agent that brings sessions back. */
function houseOf(options: HarnessOptions = {}): ConversationHarness {
  const harness = new ConversationHarness({ mode: "auto", ...options });
  harness.agent.resumes = true;
  return harness;
}

/** Runs a whole turn, and gives what the agent was told. */
async function answered(
  harness: ConversationHarness,
  messages: readonly Message[],
  answer = "Yes.",
): Promise<string> {
  const prompt = await harness.prompt(undefined, ...messages);
  prompt.say(answer);
  prompt.end();
  await nextTask();
  return prompt.text;
}

Deno.test("survive: a restart in the middle of the first turn: the conversation goes on in its session", async () => {
  const store = new MemoryStore();
  using before = houseOf({ store });
  await before.prompt(undefined, ...FIRST);
  using harness = houseOf({ store });
  assertEquals(await answered(harness, [...FIRST, user("two")]), "two");
  assertEquals(harness.agent.resumed, [before.session(0).id]);
});

Deno.test("survive: one that waits for what never reached its agent is not forgotten with it", async () => {
  using harness = houseOf({ onBusy: "queue" });
  const opens = Promise.withResolvers<void>();
  harness.agent.openGate = opens.promise;
  const hangUp = new AbortController();
  const first = harness.start(undefined, FIRST, hangUp.signal);
  const second = harness.start(undefined, [...FIRST, user("two")]);
  await nextTask();
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await first.catch((error) => error), reason);
  opens.resolve();
  await waitFor(second, "the turn after it");
  const prompt = await harness.agent.nextPrompt();
  assertEquals(prompt.text, "<system>\nYou are Mao.\n</system>\n\none\n\ntwo");
  assertEquals(harness.registry.list("").map(({ turns }) => turns), [2]);
});
