import { assertEquals } from "@std/assert";
import { MAX_CONVERSATIONS } from "../../lib/conversation/conversation.ts";
import type { Message } from "../../lib/conversation/message.ts";
import { settled } from "../support/harness/turn_recorder.ts";
import { House } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

const MAO = system("You are Mao.");
const NEWS = user("The build is done.");
const ANSWER = "[happy] Hooray, the build is done!";
const TOLD = `<user>\nThe build is done.\n</user>\n\n<assistant>\n${ANSWER}\n</assistant>\n\ntwo`;

/** Runs a turn that the agent answers. */
async function answered(house: House, name: string | undefined, ...messages: Message[]): Promise<void> {
  const prompt = await house.prompted(name, ...messages);
  prompt.say("1");
  prompt.end();
  await settled();
}

/** Asks for what was prepared, to the end of its turn. */
async function prepared(house: House, name: string | undefined, ...messages: Message[]): Promise<void> {
  const conversation = { owner: "", name };
  const turn = await house.conversations.startTurn({
    conversation,
    messages,
    cannedReply: ANSWER,
    record: false,
  });
  await turn.ended;
}

Deno.test("prepared: the agent is asked nothing, and hears of it with the next turn", async () => {
  for (const name of [undefined, "mao"]) {
    using house = new House({ mode: "auto" });
    const first = [MAO, user("one")];
    await answered(house, name, ...first);
    const then = [...first, assistant("1"), NEWS];
    await prepared(house, name, ...then);
    assertEquals([house.agent.prompts.length, house.slots.running], [1, 0]);
    assertEquals((await house.told(name, ...then, assistant(ANSWER), user("two"))).text, TOLD);
    assertEquals(house.agent.sessions.length, 1);
  }
});

Deno.test("prepared: a conversation that begins with it goes on", async () => {
  for (const name of [undefined, "mao"]) {
    using house = new House({ mode: "auto" });
    await prepared(house, name, MAO, NEWS);
    const prompt = await house.told(name, MAO, NEWS, assistant(ANSWER), user("two"));
    assertEquals(prompt.text, `<system>\nYou are Mao.\n</system>\n\n${TOLD}`);
    assertEquals(house.conversations.list("").map(({ turns }) => turns), [2]);
  }
});

Deno.test("prepared: a conversation goes on from the answer, also where nothing before it is sent", async () => {
  using house = new House({ mode: "auto" });
  await answered(house, undefined, MAO, user("one"));
  await prepared(house, undefined, MAO, user("one"), assistant("1"), NEWS);
  assertEquals((await house.told(undefined, MAO, assistant(ANSWER), user("two"))).text, "two");
  assertEquals(house.conversations.list("").map(({ turns }) => turns), [3]);
});

Deno.test("prepared: the conversation in which it is given is the one that was used last", async () => {
  using house = new House();
  for (const name of ["a", "b"]) await house.told(name, user("one"));
  await prepared(house, "a", user("one"), assistant("1"), NEWS);
  assertEquals(house.conversations.list("").map(({ id }) => id), ["a", "b"]);
});

Deno.test("prepared: any number of them takes no session from a conversation", async () => {
  using house = new House();
  await house.told("a", user("one"));
  for (let number = 0; number <= MAX_CONVERSATIONS; number++) await prepared(house, `${number}`, NEWS);
  const ids = house.conversations.list("").map(({ id }) => id);
  assertEquals([ids.length, ids.at(-1)], [MAX_CONVERSATIONS, "a"]);
});
