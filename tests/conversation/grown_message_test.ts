import { assertEquals } from "@std/assert";
import { GrownMessages } from "../../lib/conversation/grown_message.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { messagesOf } from "../support/harness/fingerprint_fixture.ts";
import { assistant, image, system, user } from "../support/harness/message_fixture.ts";

const FIRST = "Alex: Hello\nMao:";
const SECOND = `${FIRST} Hi Alex!\nAlex: How are you?\nMao:`;
const REST = "Alex: How are you?\nMao:";
const SPLIT = [user(FIRST), assistant("Hi Alex!"), user(REST)];

function remembered(reply = " Hi Alex!\n", caller = "a"): GrownMessages {
  const grown = new GrownMessages();
  grown.remember(caller, [user(FIRST)], reply);
  return grown;
}

Deno.test("GrownMessages: a message that begins with the old one and its reply is split, again and again", () => {
  const grown = remembered();
  assertEquals(grown.split("a", [system("Mao"), user(SECOND)]), [system("Mao"), ...SPLIT]);
  grown.remember("a", SPLIT, "Fine.");
  const third = grown.split("a", [user(`${SECOND} Fine.\nAlex: Good.\nMao:`)]);
  assertEquals(third, [...SPLIT, assistant("Fine."), user("Alex: Good.\nMao:")]);
  // An earlier state of the chat stays known: the client may have deleted a turn.
  assertEquals(grown.split("a", [user(`${FIRST} Hi Alex!\nAlex: Bye.\nMao:`)]).length, 3);
});

const OTHERS = [
  ["the same message", [user(FIRST)]],
  ["the message with its reply alone", [user(`${FIRST} Hi Alex!\n`)]],
  ["another reply", [user(`${FIRST} Go away!\n${REST}`)]],
  ["another beginning", [user(`Hey! ${SECOND}`)]],
  ["several messages", messagesOf("u: hi / a: ok", user(SECOND))],
  ["an image", [user(SECOND, image())]],
  ["no message", [system(SECOND)]],
] as const;
for (const [name, messages] of OTHERS) {
  Deno.test(`GrownMessages: not split: ${name}`, () => {
    assertEquals(remembered().split("a", messages), messages);
  });
}

Deno.test("GrownMessages: another caller, an empty reply and a reply that is too long are not remembered", () => {
  assertEquals(remembered().split("b", [user(SECOND)]), [user(SECOND)]);
  for (const reply of ["", " \n", "x".repeat(2_000)]) {
    const grown = `${FIRST} ${reply}\n${REST}`;
    assertEquals(remembered(reply).split("a", [user(grown)]), [user(grown)]);
  }
});

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "unnamed" : "named";
  Deno.test(`GrownMessages: an ${which} conversation gets only what is new in a message that has grown`, async () => {
    using harness = new ConversationHarness({ mode: "auto" });
    await harness.run(name, [system("Mao"), user(FIRST)], "Hi Alex!\n");
    const second = await harness.run(name, [system("Mao"), user(SECOND)], "Fine.");
    const third = await harness.run(name, [system("Mao"), user(`${SECOND} Fine.\nAlex: Good.\nMao:`)]);
    assertEquals([second.text, third.text], [REST, "Alex: Good.\nMao:"]);
    assertEquals(harness.agent.sessions.length, 1);
  });
}

Deno.test("GrownMessages: a message without the reply of the conversation starts another one", async () => {
  using harness = new ConversationHarness({ mode: "auto" });
  await harness.run(undefined, [user(FIRST)], "Hi Alex!");
  const other = `${FIRST} Who are you?\n${REST}`;
  assertEquals((await harness.run(undefined, [user(other)])).text, other);
  assertEquals(harness.agent.sessions.length, 2);
});
