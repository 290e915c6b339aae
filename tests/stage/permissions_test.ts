/** Permissions and questions on the stage. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { script } from "../support/harness/server_process.ts";
import { ASK, COMMAND, OPTIONS, question, reply, send, testStage } from "../support/harness/stage_fixture.ts";

testStage("stage: permissions and questions", {
  async "a permission is answered with a click"({ page }) {
    await send(page, ASK);
    const card = page.getByRole("alertdialog", { name: "rm -rf build" });
    await card.getByText(/left$/).waitFor();
    assertEquals(await card.getByRole("button").allInnerTexts(), ["Allow once", "Always allow", "Reject"]);
    await card.getByRole("button", { name: "Allow once" }).click();
    await page.getByText("rm -rf build: Allowed by").waitFor();
    await reply(page, '"yes"').waitFor();
  },

  async "a permission is answered from the keyboard, but not by a key that was meant for the message"(
    { page },
  ) {
    await send(page, ASK);
    const card = page.getByRole("alertdialog", { name: "rm -rf build" });
    await card.and(page.locator(":focus")).waitFor();
    for (const key of ["Space", "Enter"]) await page.keyboard.press(key);
    const allow = card.getByRole("button", { name: "Allow once" });
    assertEquals(await allow.isEnabled(), true);
    const focused = allow.and(page.locator(":focus"));
    for (let i = 0; i < 3 && await focused.count() === 0; i++) await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.getByText("rm -rf build: Allowed by").waitFor();
    await reply(page, '"yes"').waitFor();
    await page.getByRole("textbox", { name: "Message" }).and(page.locator(":focus")).waitFor();
  },

  async "a long command is allowed only after its end was seen"({ page }) {
    const command = `echo ${"x".repeat(6_000)}; rm -rf ~`;
    const toolCall = { ...COMMAND, title: "echo", rawInput: { command } };
    await send(page, script({ permission: { toolCall, options: OPTIONS } }));
    const card = page.getByRole("alertdialog");
    await card.getByText(/\d+ characters left out/).waitFor();
    assertStringIncludes(await card.locator("pre").innerText(), "rm -rf ~");
    assertEquals(await card.getByRole("button").allInnerTexts(), [
      `Show all ${command.length} characters`,
      "Reject",
    ]);
    await card.getByRole("button", { name: /^Show all/ }).click();
    const allow = card.getByRole("button", { name: "Allow once" });
    await allow.waitFor();
    assertEquals([await allow.isEnabled(), await card.getByRole("button", { name: "Reject" }).isEnabled()], [
      false,
      true,
    ]);
    assertEquals(await card.locator("pre").innerText(), command);
    await card.locator("pre").press("End");
    await allow.and(page.locator(":enabled")).click();
    await page.getByText("echo: Allowed by").waitFor();
    await reply(page, '"yes"').waitFor();
  },

  async "an open permission is shown on a page that opens later"({ page, open }) {
    await send(page, ASK);
    await page.getByRole("alertdialog").waitFor();
    await using later = await open();
    await later.page.getByRole("button", { name: "Reject" }).click();
    await page.getByText("rm -rf build: Rejected by").waitFor();
    assertEquals(later.problems, []);
  },

  async "a question with one choice is answered by a button"({ page }) {
    const colour = {
      type: "string",
      title: "Colour",
      oneOf: [{ const: "r", title: "Red" }, { const: "b", title: "Blue" }],
    };
    await send(page, script(question("Which colour?", { colour })));
    const card = page.getByRole("alertdialog", { name: "Which colour?" });
    await card.getByRole("button", { name: "Blue" }).click();
    await reply(page, '{"action":"accept","content":{"colour":"b"}}').waitFor();
    await page.getByText("Which colour?: Answered by stage.").waitFor();
  },

  async "a question with several fields is a form, whose wrong answer can be mended"({ page }) {
    const fields = {
      name: { type: "string", title: "Name", minLength: 3 },
      count: { type: "integer", title: "How many" },
      round: { type: "boolean", title: "Rounded", default: true },
      days: { type: "array", title: "Days", items: { type: "string", enum: ["Mon", "Tue", "Wed"] } },
      note: { type: "string", title: "Note" },
    };
    await send(page, script(question("What shall I make?", fields, ["name", "count"])));
    const card = page.getByRole("alertdialog", { name: "What shall I make?" });
    await card.getByLabel("Name").fill("ab");
    await card.getByLabel("How many").fill("4");
    await card.getByLabel("Days").selectOption(["Mon", "Wed"]);
    await card.getByRole("button", { name: "Answer" }).click();
    await page.getByRole("region", { name: "Notifications" }).getByText(/name/).waitFor();
    await card.getByLabel("Name").fill("table");
    await card.getByLabel("Name").press("Enter");
    const content = { name: "table", count: 4, round: true, days: ["Mon", "Wed"] };
    await reply(page, JSON.stringify({ action: "accept", content })).waitFor();
  },

  async "a question is declined, and one that asks for a password hides it"({ page }) {
    await send(page, script(question("The password?", { password: { type: "string", title: "Password" } })));
    const card = page.getByRole("alertdialog", { name: "The password?" });
    assertEquals(await card.getByLabel("Password").getAttribute("type"), "password");
    await card.getByRole("button", { name: "Decline" }).click();
    await reply(page, '{"action":"decline"}').waitFor();
  },
});
