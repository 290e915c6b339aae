import { assertEquals } from "@std/assert";
import { oneByOne, saying } from "../support/agents/memory_agent.ts";
import { startApp } from "../support/harness/app_harness.ts";
import { assistant, contentOf, system, user } from "../support/harness/chat_fixture.ts";

const MAO = { conversation_id: "mao" };
const FIRST = [system("You are Mao."), user("Hi")];

Deno.test("a named conversation keeps its session, which gets nothing but what is new", async () => {
  await using app = startApp({ script: saying("[happy] Hello.") });
  const reply = assistant(await contentOf(app.chat({ ...MAO, messages: FIRST })));
  await contentOf(app.chat({ ...MAO, messages: [...FIRST, reply, user("How are you?")] }));
  const texts = app.agent.prompts.map(({ text }) => text);
  assertEquals(texts, ["<system>\nYou are Mao.\n</system>\n\nHi", "How are you?"]);
  assertEquals([app.agent.sessions.length, app.agent.sessions[0]?.closed.aborted], [1, false]);
  await contentOf(app.chat({ conversation_id: "other", messages: FIRST }));
  assertEquals(app.agent.sessions.length, 2);
});

Deno.test("a request without a name gets a session of its own, closed at the end of the turn", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const responses = [await app.chat(), await app.chat()];
  for (const response of responses) await response.text();
  assertEquals(responses.map(({ headers }) => headers.get("x-session-id")), ["session-1", "session-2"]);
  assertEquals(app.agent.sessions.map(({ closed }) => closed.aborted), [true, true]);
});

Deno.test("a session that closed is replaced by one that gets the whole transcript", async () => {
  await using app = startApp({ script: saying("Hello.") });
  await contentOf(app.chat({ ...MAO, messages: FIRST }));
  app.agent.sessions[0]!.close();
  await contentOf(app.chat({ ...MAO, messages: [...FIRST, assistant("Hello."), user("Again")] }));
  assertEquals(app.agent.sessions.length, 2);
  const transcript = [
    "<system>\nYou are Mao.\n</system>",
    "<user>\nHi\n</user>",
    "<assistant>\nHello.\n</assistant>",
  ];
  assertEquals(app.agent.prompts[1]?.text, [...transcript, "Again"].join("\n\n"));
});

Deno.test("images reach an agent that accepts them, and become a note for another", async () => {
  const image_url = { url: "data:image/png;base64,QUJD" };
  const content = [{ type: "text", text: "Look:" }, { type: "image_url", image_url }];
  const image = { type: "image", mimeType: "image/png", data: "QUJD" } as const;
  const note = "Look:\n[An image was left out: this agent takes no images.]";
  for (const accepts of [true, false]) {
    await using app = startApp({ script: saying("Nice.") });
    app.agent.promptCapabilities = { image: accepts, audio: false };
    await contentOf(app.chat({ messages: [{ role: "user", content }] }));
    const expected = accepts
      ? [{ type: "text", text: "Look:" } as const, image]
      : [{ type: "text", text: note } as const];
    assertEquals(app.agent.prompts[0]?.blocks, expected);
  }
});

Deno.test("a chat with the greeting of another chat that got no reply is a conversation of its own", async () => {
  const greeting = assistant("Hello traveller, welcome to my humble shop.");
  const long = "Well met, stranger, I am glad that you came to my shop.\n";
  for (const reply of ["", "[happy]", "Hm."]) {
    await using app = startApp({ sessions: "auto" });
    app.agent.script = oneByOne(saying(reply), saying(long), saying("Yes?\n"));
    const [alice, bob] = [[greeting, user("I am Alice, and my PIN is 1234")], [greeting, user("I am Bob")]];
    await contentOf(app.chat({ messages: alice }));
    await contentOf(app.chat({ messages: bob }));
    await contentOf(app.chat({ messages: [...bob, assistant(long), user("Who am I?")] }));
    const sessions = app.agent.prompts.map(({ session }) => session.id);
    assertEquals(sessions, ["session-1", "session-2", "session-2"], reply);
    assertEquals(app.agent.prompts.at(-1)!.text, "Who am I?");
  }
});
