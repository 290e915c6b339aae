import { assertEquals } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { startApp } from "../support/harness/app_harness.ts";
import { contentOf } from "../support/harness/chat_fixture.ts";

Deno.test("images reach an agent that accepts them, and become a note for another", async () => {
  const text = { type: "text", text: "Look:" } as const;
  const content = [text, { type: "image_url", image_url: { url: "data:image/png;base64,QUJD" } }];
  const image = { type: "image", mimeType: "image/png", data: "QUJD" } as const;
  const note = { type: "text", text: "Look:\n[An image was left out: this agent takes no images.]" } as const;
  for (const accepts of [true, false]) {
    await using app = startApp({ script: saying("Nice.") });
    app.agent.promptCapabilities = { image: accepts, audio: false };
    await contentOf(app.chat({ messages: [{ role: "user", content }] }));
    const input = [
      { type: "input_text", text: "Look:" },
      { type: "input_image", image_url: "data:image/png;base64,QUJD" },
    ];
    await (await app.post("/v1/responses", { input: [{ role: "user", content: input }] })).text();
    const blocks = accepts ? [text, image] : [note];
    assertEquals(app.agent.prompts.map((prompt) => prompt.blocks), [blocks, blocks]);
  }
});
