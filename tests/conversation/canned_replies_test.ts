import { assertEquals } from "@std/assert";
import { MAX_CONVERSATIONS } from "../../lib/conversation/conversation.ts";
import type { Message } from "../../lib/conversation/message.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

const MAO = system("You are Mao.");
const NEWS = user("The build is done.");
const REPLY = "[happy] Hooray, the build is done!";
const NEXT_PROMPT = `<user>\nThe build is done.\n</user>\n\n<assistant>\n${REPLY}\n</assistant>\n\ntwo`;

/** Runs a turn with the canned reply. */
async function runCanned(
  harness: ConversationHarness,
  name: string | undefined,
  ...messages: Message[]
): Promise<void> {
  const request = { conversation: { owner: "", name }, messages, cannedReply: REPLY, record: false };
  await (await harness.registry.startTurn(request)).ended;
}

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "matched" : "named";

  Deno.test(`canned reply, ${which}: no agent is prompted, and the session gets it with the next turn`, async () => {
    using harness = new ConversationHarness({ mode: "auto" });
    const history = [MAO, user("one"), assistant("1"), NEWS];
    await harness.run(name, history.slice(0, 2), "1");
    await runCanned(harness, name, ...history);
    assertEquals([harness.agent.prompts.length, harness.running], [1, 0]);
    assertEquals((await harness.run(name, [...history, assistant(REPLY), user("two")])).text, NEXT_PROMPT);
    assertEquals(harness.agent.sessions.length, 1);
  });

  Deno.test(`canned reply, ${which}: a conversation that starts with one continues`, async () => {
    using harness = new ConversationHarness({ mode: "auto" });
    await runCanned(harness, name, MAO, NEWS);
    const prompt = await harness.run(name, [MAO, NEWS, assistant(REPLY), user("two")]);
    assertEquals(prompt.text, `<system>\nYou are Mao.\n</system>\n\n${NEXT_PROMPT}`);
    assertEquals(harness.turnCounts, [2]);
  });
}

Deno.test("canned reply: it is the last reply, by which a window is matched", async () => {
  using harness = new ConversationHarness({ mode: "auto" });
  await harness.run(undefined, [MAO, user("one")], "1");
  await runCanned(harness, undefined, MAO, user("one"), assistant("1"), NEWS);
  assertEquals((await harness.run(undefined, [MAO, assistant(REPLY), user("two")])).text, "two");
  assertEquals(harness.turnCounts, [3]);
});

Deno.test("canned reply: its conversation is the last used one, and no session is closed for it", async () => {
  using harness = new ConversationHarness();
  const ids = () => harness.registry.list("").map(({ id }) => id);
  for (const name of ["a", "b"]) await harness.run(name, [user("one")]);
  await runCanned(harness, "a", user("one"), assistant("1"), NEWS);
  assertEquals(ids(), ["a", "b"]);
  for (let number = 0; number <= MAX_CONVERSATIONS; number++) await runCanned(harness, `${number}`, NEWS);
  assertEquals([ids().length, ids().slice(-2)], [MAX_CONVERSATIONS, ["a", "b"]]);
  assertEquals(harness.closed, [false, false]);
});
