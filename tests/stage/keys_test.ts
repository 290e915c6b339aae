/** The stage with keys of every scope, in front of an agent in memory. */

import { assertEquals } from "@std/assert";
import type { Page } from "playwright-core";
import { LOCAL_CALLER } from "../../lib/http/access.ts";
import { SCOPES } from "../../lib/turn/caller.ts";
import type { ToolCallId } from "../../lib/turn/event.ts";
import type { MemoryPrompt } from "../support/agents/memory_agent.ts";
import { CHROMIUM, openPage, startBrowser } from "../support/harness/browser.ts";
import { EventClient } from "../support/harness/event_client.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";
import { EVENTS_PATH, ServedApp } from "../support/harness/served_app.ts";
import { runStep, until } from "../support/harness/server_process.ts";
import { send, untilConnected } from "../support/harness/stage_fixture.ts";

/** A page that was opened with a key, and the server with an agent in memory. */
interface KeyStage {
  readonly page: Page;
  readonly served: ServedApp;
  /** Starts a turn of another key, whose agent asks for a permission that the owner can answer. */
  ask(): Promise<{ readonly outcome: Promise<string | undefined>; readonly prompt: MemoryPrompt }>;
  /** All that the page has got over its socket. */
  readonly frames: () => string;
}

const [TITLE, SECRET] = ["Cleaning the build", "rm -rf SECRET"];
/** The abilities of the page, by the scopes of its key. */
const KEY_STEPS: Readonly<Record<string, (stage: KeyStage) => Promise<void>>> = {
  async "events"({ page, ask, frames }) {
    await page.getByText("You can watch, but not write").waitFor();
    await ask();
    await page.locator('#character[data-state="notification"]').waitFor();
    await page.getByRole("region", { name: "Tools" }).getByText(TITLE).waitFor();
    assertEquals(await page.getByRole("textbox").count(), 0);
    for (const name of ["Send", "Stop", "New chat", "Conversations", "Yes", "No"]) {
      assertEquals(await page.getByRole("button", { name }).count(), 0, name);
    }
    assertEquals([await page.getByRole("alertdialog").count(), frames().includes("SECRET")], [0, false]);
  },

  async "events chat"({ page, ask, served }) {
    await page.getByRole("textbox", { name: "Message" }).waitFor();
    await ask();
    await page.locator('#character[data-state="notification"]').waitFor();
    assertEquals(await page.getByRole("button", { name: "Stop" }).isVisible(), false);
    await send(page, "Hello");
    const prompt = await served.app.agent.nextPrompt();
    // The own reply can be stopped without a further scope.
    await page.getByRole("button", { name: "Stop" }).click();
    await prompt.cancelled;
    assertEquals(await page.getByRole("alertdialog").count(), 0);
  },

  async "events operator"({ page, ask }) {
    const { prompt } = await ask();
    assertEquals(await page.getByRole("textbox", { name: "Message" }).isVisible(), false);
    await page.getByRole("button", { name: "Stop" }).click();
    await prompt.cancelled;
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
  },

  async "events permissions"({ page, ask }) {
    const { outcome } = await ask();
    const card = page.getByRole("alertdialog", { name: TITLE });
    await card.getByText(SECRET).waitFor();
    await card.getByRole("button", { name: "Yes" }).click();
    assertEquals(await outcome, "allowed");
  },

  async "chat permissions"({ page }) {
    const dialog = page.getByRole("dialog", { name: "This server asks for a key" });
    await dialog.getByText('needs the scope "events"').waitFor();
    await dialog.getByLabel("Key").fill("owner");
    await page.keyboard.press("Enter");
    await untilConnected(page);
    await page.getByRole("textbox", { name: "Message" }).waitFor();
  },
};
const OVERLAY_STEPS: typeof KEY_STEPS = {
  async "events"({ page, ask, frames, served }) {
    await page.locator("#character svg").waitFor();
    await until(() => served.app.hub.snapshot(LOCAL_CALLER).watchers === 2);
    const { prompt } = await ask();
    await page.locator('#character[data-state="notification"]').waitFor();
    // The sign of the character may have shown the tool for a moment, as for any tool.
    await page.getByText(/Cleaning|Yes|SECRET/).filter({ visible: true }).first().waitFor({
      state: "hidden",
    });
    prompt.end("cancelled");
    const { prompt: next } = await served.startChat("talk", "owner");
    next.say("[happy] Hello, stream.");
    next.end();
    await page.locator("#caption-text", { hasText: "Hello, stream." }).waitFor();
    assertEquals(/SECRET|permission_|question/.test(frames()), false);
  },

  async "chat"({ page }) {
    await page.getByRole("alert").getByText('needs the scope "events"').waitFor();
  },
};

Deno.test("stage: keys with scopes", { ignore: CHROMIUM === undefined }, async (t) => {
  await using browser = await startBrowser();
  for (const [path, steps] of [["/", KEY_STEPS], ["/?overlay=1", OVERLAY_STEPS]] as const) {
    for (const [name, step] of Object.entries(steps)) {
      await runStep(t, `${path} with the scopes ${name}`, async () => {
        const scopes = SCOPES.filter((scope) => name.split(" ").includes(scope));
        await using served = ServedApp.start({
          access: { keys: [apiKey("owner", SCOPES), apiKey("page", scopes)] },
        });
        await using owner = await EventClient.open(served.url + EVENTS_PATH, withKey("owner"));
        await owner.subscribe(["permission_request"]);
        const url = `${served.url}${path}#key=page`;
        await using opened = await openPage(browser, url, { expected: [/status of 403/] });
        const { page, problems, frames } = opened;
        if (!path.includes("overlay") && scopes.includes("events")) await untilConnected(page);
        const ended = new AbortController();
        const ask = async () => {
          const { prompt } = await served.startChat("talk", "owner");
          const tool = { id: "t1" as ToolCallId, title: TITLE, kind: "execute", status: "pending" } as const;
          prompt.tool(tool);
          const asked = served.askPermission(prompt, { tool, detail: SECRET }, ended.signal);
          await owner.first("permission_request");
          return { prompt, outcome: asked.then((resolution) => resolution?.outcome) };
        };
        await step({ page, served, ask, frames: () => frames.join("\n") });
        ended.abort();
        await page.close();
        assertEquals(problems, []);
      });
    }
  }
});
