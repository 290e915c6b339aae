import { assertEquals } from "@std/assert";
import { BUSY_MODES } from "../../lib/conversation/turn_queue.ts";
import { oneByOne, saying } from "../support/agents/memory_agent.ts";
import { startApp } from "../support/harness/app_harness.ts";

const said = (role: string, content: string) => ({ role, content });
const GREETING = said("assistant", "Hello traveller, welcome to my humble shop.");
const LONG = "Well met, stranger, I am glad that you came to my shop.\n";

for (const onBusy of BUSY_MODES) {
  Deno.test(`${onBusy}: ten who are greeted with the same words at once are ten`, async () => {
    await using app = startApp({ sessions: "auto", onBusy });
    const answers = Array.from(
      { length: 10 },
      (_, index) => app.chat({ messages: [GREETING, said("user", `I am user ${index}`)] }),
    );
    const prompts = [];
    for (const _ of answers) prompts.push(await app.agent.nextPrompt());
    for (const prompt of prompts) {
      prompt.say(`Hello, ${prompt.text.match(/user \d/)![0]}!\n`);
      prompt.end();
    }
    for (const [index, answer] of answers.entries()) {
      const { choices: [choice] } = await (await answer).json();
      assertEquals(choice.message.content, `Hello, user ${index}!\n`);
    }
    assertEquals([app.agent.sessions.length, prompts.some(({ cancelCount: cancels }) => cancels > 0)], [10, false]);
  });
}

Deno.test("who is greeted as somebody was who got no answer is somebody else, and goes on alone", async () => {
  for (const reply of ["", "[happy]", "Hm."]) {
    await using app = startApp({ sessions: "auto" });
    app.agent.script = oneByOne(saying(reply), saying(LONG), saying("Yes?\n"));
    const alice = [GREETING, said("user", "I am Alice, and my PIN is 1234")];
    const bob = [GREETING, said("user", "I am Bob")];
    await (await app.chat({ messages: alice })).text();
    await (await app.chat({ messages: bob })).text();
    await (await app.chat({ messages: [...bob, said("assistant", LONG), said("user", "Who am I?")] })).text();
    const sessions = app.agent.prompts.map(({ session }) => session.id);
    assertEquals(sessions, ["session-1", "session-2", "session-2"], reply);
    assertEquals(app.agent.prompts.at(-1)!.text, "Who am I?");
  }
});
