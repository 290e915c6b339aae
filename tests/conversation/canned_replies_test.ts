import { assertEquals } from "@std/assert";
import { MAX_CONVERSATIONS } from "../../lib/conversation/conversation.ts";
import type { Message } from "../../lib/conversation/message.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

const MAO = system("You are Mao.");
const NEWS = user("The build is done.");
const ANSWER = "[happy] Hooray, the build is done!";
const TOLD = `<user>\nThe build is done.\n</user>\n\n<assistant>\n${ANSWER}\n</assistant>\n\ntwo`;

/** Runs a turn that the agent answers. */
async function answered(
  harness: ConversationHarness,
  name: string | undefined,
  ...messages: Message[]
): Promise<void> {
  const prompt = await harness.prompt(name, ...messages);
  prompt.say("1");
  prompt.end();
  await nextTask();
}

/** Asks for what was prepared, to the end of its turn. */
async function prepared(
  harness: ConversationHarness,
  name: string | undefined,
  ...messages: Message[]
): Promise<void> {
  const conversation = { owner: "", name };
  const turn = await harness.registry.startTurn({
    conversation,
    messages,
    cannedReply: ANSWER,
    record: false,
  });
  await turn.ended;
}

Deno.test("prepared: the agent is asked nothing, and hears of it with the next turn", async () => {
  for (const name of [undefined, "mao"]) {
    using harness = new ConversationHarness({ mode: "auto" });
    const first = [MAO, user("one")];
    await answered(harness, name, ...first);
    const then = [...first, assistant("1"), NEWS];
    await prepared(harness, name, ...then);
    assertEquals([harness.agent.prompts.length, harness.turnLimiter.running], [1, 0]);
    assertEquals((await harness.run(name, [...then, assistant(ANSWER), user("two")])).text, TOLD);
    assertEquals(harness.agent.sessions.length, 1);
  }
});

Deno.test("prepared: a conversation that begins with it goes on", async () => {
  for (const name of [undefined, "mao"]) {
    using harness = new ConversationHarness({ mode: "auto" });
    await prepared(harness, name, MAO, NEWS);
    const prompt = await harness.run(name, [MAO, NEWS, assistant(ANSWER), user("two")]);
    assertEquals(prompt.text, `<system>\nYou are Mao.\n</system>\n\n${TOLD}`);
    assertEquals(harness.registry.list("").map(({ turns }) => turns), [2]);
  }
});

Deno.test("prepared: a conversation goes on from the answer, also where nothing before it is sent", async () => {
  using harness = new ConversationHarness({ mode: "auto" });
  await answered(harness, undefined, MAO, user("one"));
  await prepared(harness, undefined, MAO, user("one"), assistant("1"), NEWS);
  assertEquals((await harness.run(undefined, [MAO, assistant(ANSWER), user("two")])).text, "two");
  assertEquals(harness.registry.list("").map(({ turns }) => turns), [3]);
});

Deno.test("prepared: the conversation in which it is given is the one that was used last", async () => {
  using harness = new ConversationHarness();
  for (const name of ["a", "b"]) await harness.run(name, [user("one")]);
  await prepared(harness, "a", user("one"), assistant("1"), NEWS);
  assertEquals(harness.registry.list("").map(({ id }) => id), ["a", "b"]);
});

Deno.test("prepared: any number of them takes no session from a conversation", async () => {
  using harness = new ConversationHarness();
  await harness.run("a", [user("one")]);
  for (let number = 0; number <= MAX_CONVERSATIONS; number++) await prepared(harness, `${number}`, NEWS);
  const ids = harness.registry.list("").map(({ id }) => id);
  assertEquals([ids.length, ids.at(-1)], [MAX_CONVERSATIONS, "a"]);
});
