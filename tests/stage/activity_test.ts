/** Tools, plans, notifications and conversations on the stage. */

import { assertEquals } from "@std/assert";
import { createGate } from "../support/harness/data_dir_fixture.ts";
import type { Frame } from "../support/harness/event_client.ts";
import { inConversation, script, until } from "../support/harness/server_process.ts";
import { reply, send, testStage, untilConnected } from "../support/harness/stage_fixture.ts";

testStage("stage: activity", {
  async "tools are shown with their status, and the body works"({ page, gate }) {
    const tool = { id: "t1", title: "Reading main.ts", kind: "read", status: "in_progress" };
    const done = { toolUpdate: { id: "t1", status: "completed" } };
    await send(page, script({ tool }, gate.step, done, { text: "Read." }));
    const row = page.getByRole("listitem").filter({ hasText: "Reading main.ts" });
    await row.filter({ hasText: "running" }).waitFor();
    await page.locator('#character[data-state="working"]').waitFor();
    await gate.open();
    await row.filter({ hasText: "done" }).waitFor();
    await page.locator('#character[data-state="idle"], #character[data-state="attention"]').waitFor();
  },

  async "of two turns the newer one is performed, and then the older one again"({ page, server, gate }) {
    const tool = (id: string, status = "in_progress") => ({
      tool: { id, title: `Tool ${id}`, kind: "read", status },
    });
    const done = { toolUpdate: { id: "a", status: "completed" } };
    const shown = page.getByRole("region", { name: "Tools" }).getByRole("listitem").locator(".name");
    const older = await server.chat(
      script(tool("a"), gate.step, done, tool("c"), { hang: true }),
      {},
      inConversation("a"),
    );
    await shown.filter({ hasText: "Tool a" }).waitFor();
    await using other = await createGate();
    const newer = await server.chat(
      script(tool("b"), other.step, { text: "Done." }),
      {},
      inConversation("b"),
    );
    await shown.filter({ hasText: "Tool b" }).waitFor();
    await gate.open();
    await until(
      () => server.get("/v1/vtuber/state"),
      ({ tools }) => tools.some((open: Frame) => open.tool_name === "Tool c"),
    );
    assertEquals(await shown.allInnerTexts(), ["Tool b"]);
    await other.open();
    await newer.text();
    await page.locator("#caption-text", { hasText: "Done." }).waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await older.text();
  },

  async "the activity shows the tools of this turn, the newest first"({ page, gate }) {
    const tools = (...ids: string[]) =>
      ids.map((id) => ({ tool: { id, title: `Tool ${id}`, kind: "read", status: "completed" } }));
    const shown = page.getByRole("region", { name: "Tools" }).getByRole("listitem").locator(".name");
    await send(page, script(...tools("a", "b"), { text: "One." }));
    await reply(page, "One.").waitFor();
    assertEquals(await shown.allInnerTexts(), ["Tool b", "Tool a"]);
    await send(page, script({ thought: "Hm." }, gate.step, ...tools("c", "d", "e"), { text: "Two." }));
    await shown.first().waitFor({ state: "detached" });
    await gate.open();
    await reply(page, "Two.").waitFor();
    assertEquals(await shown.allInnerTexts(), ["Tool e", "Tool d", "Tool c"]);
  },

  async "conversations are kept when the tab is closed, resumed, and deleted"({ page, server }) {
    await send(page, script({ text: "The first answer." }));
    await reply(page, "The first answer.").waitFor();
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
    await page.getByRole("button", { name: "New chat" }).click();
    assertEquals(await page.locator(".message").count(), 0);
    await send(page, script({ text: "The second answer." }));
    await reply(page, "The second answer.").waitFor();
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
    const sessions = async () => (await server.get("/v1/vtuber/sessions")).sessions.length;
    const before = await sessions();

    const later = await page.context().newPage();
    await later.goto(server.url);
    await untilConnected(later);
    assertEquals(await later.locator(".message").count(), 0);
    await later.getByRole("button", { name: "Conversations" }).click();
    const rows = later.getByRole("dialog").getByRole("listitem");
    assertEquals(await rows.count(), 2);
    await rows.nth(1).getByRole("button").first().click();
    await reply(later, "The first answer.").waitFor();
    await send(later, script({ text: "And on." }, { hang: true }));
    await reply(later, "And on.").waitFor();
    assertEquals(await sessions(), before);

    await later.getByRole("button", { name: "Conversations" }).click();
    await rows.first().getByRole("button", { name: /^Delete/ }).click();
    assertEquals(await rows.count(), 1);
    await until(sessions, (count) => count === before - 1);
    await later.keyboard.press("Escape");
    await later.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
    assertEquals(await later.locator(".message").count(), 0);
    await later.getByRole("button", { name: "Conversations" }).click();
    assertEquals(await rows.count(), 1);
  },

  async "the plan is shown"({ page }) {
    const plan = [
      { content: "Look around", priority: "high", status: "completed" },
      { content: "Repair it", priority: "medium", status: "in_progress" },
    ];
    await send(page, script({ plan }, { text: "A plan." }));
    const region = page.getByRole("region", { name: "Plan" });
    await region.getByText("1 of 2").waitFor();
    assertEquals(await region.getByRole("listitem").count(), 2);
    assertEquals(await region.getByText("Repair it").isVisible(), true);
  },

  async "the context and the cost of the agent are shown"({ page, gate }) {
    const update = {
      sessionUpdate: "usage_update",
      used: 50_000,
      size: 200_000,
      cost: { amount: 1.5, currency: "USD" },
    };
    await send(page, script({ thought: "Hm." }, { update }, gate.step));
    await page.getByText("Context: 50K of 200K tokens (25 %), cost: 1.50 USD").waitFor();
    await gate.open();
  },

  async "a notification is shown and can be closed"({ page, server }) {
    const text = "The build is <b>green</b>";
    await (await server.post("/v1/vtuber/notifications", { text, urgency: "high" })).body?.cancel();
    const notification = page.getByRole("alert").filter({ hasText: text });
    await notification.waitFor();
    await notification.getByRole("button", { name: "Close" }).click();
    await notification.waitFor({ state: "detached" });
  },
});
