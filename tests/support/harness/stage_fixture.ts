/** The stage in a real browser, in front of a real server and the scripted agent. @module */

import { assertEquals } from "@std/assert";
import type { Locator, Page } from "playwright-core";
import type { Step } from "../agents/agent_steps.ts";
import { CHROMIUM, openPage, type PageOptions, startBrowser } from "./browser.ts";
import { createGate, type Gate } from "./data_dir_fixture.ts";
import { runStep, script, type ServerProcess, startServer } from "./server_process.ts";

/** The options of a permission request. */
export const OPTIONS = [
  { optionId: "yes", name: "Allow once", kind: "allow_once" },
  { optionId: "always", name: "Always allow", kind: "allow_always" },
  { optionId: "no", name: "Reject", kind: "reject_once" },
];
/** A tool that a person has to allow. */
export const COMMAND = {
  toolCallId: "t1",
  title: "rm -rf build",
  kind: "execute",
  status: "pending",
  rawInput: { command: "rm -rf build" },
};
/** A message for which the agent asks for a permission. */
export const ASK = script({ permission: { toolCall: COMMAND, options: OPTIONS } });

/** The agent asks for these fields, and repeats the answer. */
export function question(
  message: string,
  properties: Record<string, unknown>,
  required: readonly string[] = [],
): Step {
  const requestedSchema = { type: "object", properties, required };
  return { request: { method: "elicitation/create", params: { mode: "form", message, requestedSchema } } };
}

/** Waits until a page gets events. The overlay does not show that. */
export async function untilConnected(page: Page): Promise<void> {
  await page.locator('#connection[data-state="open"]').waitFor({ state: "attached" });
}

/** Sends a message on a page. */
export async function send(page: Page, text: string): Promise<void> {
  await page.getByRole("textbox", { name: "Message" }).fill(text);
  await page.keyboard.press("Enter");
}

/** The newest reply that contains this text. */
export function reply(page: Page, text: string): Locator {
  return page.locator(".message.assistant", { hasText: text });
}

/** Arguments of a step: a connected page, its server, and a gate at which the agent can wait. */
export interface Stage {
  readonly page: Page;
  readonly server: ServerProcess;
  readonly gate: Gate;
  /** Opens another page of the same server. */
  open(path?: string, options?: PageOptions): ReturnType<typeof openPage>;
}

/** Registers a test whose steps share a server and a browser. Each step has a page and a storage of its own. */
export function testStage(
  name: string,
  steps: Readonly<Record<string, (stage: Stage) => Promise<void>>>,
): void {
  Deno.test(name, { ignore: CHROMIUM === undefined }, async (t) => {
    await using server = await startServer();
    await using browser = await startBrowser();
    const open: Stage["open"] = async (path = "/", options = {}) => {
      const opened = await openPage(browser, server.url + path, options);
      if (!path.includes("overlay")) await untilConnected(opened.page);
      return opened;
    };
    for (const [stepName, step] of Object.entries(steps)) {
      await runStep(t, stepName, async () => {
        await using gate = await createGate();
        await using opened = await open();
        await step({ page: opened.page, server, gate, open });
        assertEquals(opened.problems, []);
      });
    }
  });
}
