/** Replies on the stage: text, Markdown, captions, the face and the voice. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import type { WebSocketRoute } from "playwright-core";
import { script } from "../support/harness/server_process.ts";
import { reply, send, testStage, untilConnected } from "../support/harness/stage_fixture.ts";

testStage("stage: replies", {
  async "a reply is shown, and HTML in it stays text"({ page }) {
    const html = '<img src=x onerror="document.title=1"><script>document.title=2</script> and `[happy]` [1]';
    await send(page, script({ text: "[happy] Hello " }, { text: html }));
    await reply(page, "[1]").waitFor();
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
    const text = page.locator(".message.assistant .text");
    const shown = await text.innerText();
    assertStringIncludes(shown, "Hello <img src=x");
    assertStringIncludes(shown, "<script>document.title=2</script>");
    assertEquals(await text.locator("code").innerText(), "[happy]");
    assertEquals(shown.startsWith("[happy]"), false);
    assertEquals(await page.locator("#log img, #log script, #caption img, #caption script").count(), 0);
  },

  async "captions follow the reply, and the mouth moves"({ page }) {
    await send(page, script({ text: "A good afternoon to everybody who has come here to see this today." }));
    await page.locator('.drawn:not([data-mouth="0"]):not([data-mouth="0.1"])').waitFor();
    await page.locator("#caption-text", { hasText: "to see this today." }).waitFor();
    await page.locator('.drawn[data-mouth="0"]').waitFor();
    assertStringIncludes(await page.locator("#spoken").innerText(), "A good afternoon");
  },

  async "the face shows emotions, and relaxes after the reply"({ page }) {
    await send(page, script({ text: "[surprised] Oh! " }, { text: "[joy] Yes." }));
    await page.locator('#character[data-expression="happy"]').waitFor();
    await page.locator('#character[data-expression="neutral"]').waitFor();
  },

  async "Markdown is rendered, only its prose is spoken, and code is copied"({ page }) {
    const parts = [
      "## Lengths\n\nThe **first** file:\n\n| file | lines |\n|-|-|\n| server.ts | 12 |\n\n",
      "- one\n- [two](https://host.example/)\n- [three](javascript:alert(1))\n\n```js\nrun();\n```\n\nThat is it.",
    ];
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await send(page, script(...parts.map((text) => ({ text }))));
    const text = page.locator(".message.assistant .text");
    await text.getByText("That is it.").waitFor();
    assertEquals(await text.getByRole("cell").allInnerTexts(), ["server.ts", "12"]);
    assertEquals(await text.locator("strong").innerText(), "first");
    const links = await text.locator("a").evaluateAll((links) =>
      links.map((link) => link.getAttribute("href"))
    );
    assertEquals(links, ["https://host.example/"]);
    await text.getByRole("button", { name: "Copy the code" }).click();
    await text.getByText("Copied").waitFor();
    assertEquals(await page.evaluate("navigator.clipboard.readText()"), "run();");
    await page.locator("#caption-text", { hasText: "That is it." }).waitFor();
    const spoken = await page.locator("#spoken").innerText();
    assertEquals(/\||server\.ts|run\(\)|\*/.test(spoken), false, spoken);
  },

  async "the face moves with the voice, not with the network"({ page }) {
    const first = "This sentence is long enough that the voice needs a while to come to its very end.";
    await page.evaluate(`
      globalThis.faces = [];
      const character = document.getElementById("character");
      new MutationObserver(() => faces.push([
        character.dataset.expression,
        document.getElementById("caption-text").textContent.includes("very end."),
      ])).observe(character, { attributeFilter: ["data-expression"] });
    `);
    await send(page, script({ text: `[sad] ${first} [happy] Now I smile.` }));
    await page.locator('#character[data-expression="happy"]').waitFor();
    assertEquals(await page.evaluate("faces"), [["sad", false], ["happy", true]]);
  },

  async "the character does not think while it speaks"({ page, gate }) {
    await send(page, script({ thought: "Hm." }, gate.step, { text: "I look. " }, { hang: true }));
    await page.locator('#character[data-state="thinking"]').waitFor();
    await page.locator("#activity-title", { hasText: "Thinking" }).waitFor();
    await gate.open();
    await page.locator("#activity-title", { hasText: "Speaking" }).waitFor();
    assertEquals(await page.locator("#character").getAttribute("data-state"), "idle");
  },

  async "a silent agent is said to wait for its model"({ page }) {
    // The server's time is 10 s; a frame of its own shows the same.
    const { promise: opened, resolve } = Promise.withResolvers<WebSocketRoute>();
    await page.routeWebSocket(/vtuber/, (socket) => {
      socket.connectToServer();
      resolve(socket);
    });
    await page.reload();
    await untilConnected(page);
    await send(page, script({ text: "Hm. " }, { hang: true }));
    await reply(page, "Hm.").waitFor();
    (await opened).send(
      JSON.stringify({ type: "agent_state", state: "thinking", detail: { waiting: true } }),
    );
    await page.locator("#activity-title", { hasText: "Still waiting for the model" }).waitFor();
    assertEquals(await page.locator("#character").getAttribute("data-state"), "thinking");
  },

  async "a reply is stopped by Escape and by the next message"({ page }) {
    await send(page, script({ text: "One " }, { hang: true }));
    await reply(page, "One").waitFor();
    await page.keyboard.press("Escape");
    await page.getByText("Stopped.").waitFor();
    await send(page, script({ text: "Two " }, { hang: true }));
    await reply(page, "Two").waitFor();
    await send(page, script({ text: "Three." }));
    await reply(page, "Three.").waitFor();
    assertEquals(await page.getByText("Stopped.").count(), 2);
  },

  async "the agent's own words tell the owner why a turn failed"({ page }) {
    await send(page, script({ error: { code: -32603, message: "quota exceeded: try again tomorrow" } }));
    await page.getByRole("region", { name: "Notifications" }).getByText("quota exceeded: try again tomorrow")
      .waitFor();
    await reply(page, "quota of my model is used up").waitFor();
    await page.locator("#caption-text", { hasText: "quota of my model is used up" }).waitFor();
  },
});
