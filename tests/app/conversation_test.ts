import { assertEquals } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
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
