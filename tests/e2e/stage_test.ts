/** The stage in a real browser, in front of a real server and the scripted agent. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Locator, Page, WebSocketRoute } from "playwright-core";
import { LOCAL_CALLER } from "../../lib/http/access.ts";
import { SCOPES } from "../../lib/turn/caller.ts";
import type { ToolCallId } from "../../lib/turn/event.ts";
import type { Step } from "../support/agents/agent_steps.ts";
import { CHROMIUM, openPage, type PageOptions, startBrowser } from "../support/harness/browser.ts";
import type { MemoryPrompt } from "../support/agents/memory_agent.ts";
import { EventClient, type Frame } from "../support/harness/event_client.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";
import { EVENTS_PATH, ServedApp } from "../support/harness/served_app.ts";
import { createGate, type Gate, reusableAddress } from "../support/harness/data_dir_fixture.ts";
import {
  inConversation,
  replyOf,
  runStep,
  script,
  type ServerProcess,
  startServer,
  until,
} from "../support/harness/server_process.ts";

const OPTIONS = [
  { optionId: "yes", name: "Allow once", kind: "allow_once" },
  { optionId: "always", name: "Always allow", kind: "allow_always" },
  { optionId: "no", name: "Reject", kind: "reject_once" },
];
const COMMAND = {
  toolCallId: "t1",
  title: "rm -rf build",
  kind: "execute",
  status: "pending",
  rawInput: { command: "rm -rf build" },
};
const ASK = script({ permission: { toolCall: COMMAND, options: OPTIONS } });

/** The agent asks for these fields, and repeats the answer. */
function question(
  message: string,
  properties: Record<string, unknown>,
  required: readonly string[] = [],
): Step {
  const requestedSchema = { type: "object", properties, required };
  return { request: { method: "elicitation/create", params: { mode: "form", message, requestedSchema } } };
}

async function untilConnected(page: Page): Promise<void> {
  await page.locator('#connection[data-state="open"]').waitFor();
}

async function send(page: Page, text: string): Promise<void> {
  await page.getByRole("textbox", { name: "Message" }).fill(text);
  await page.keyboard.press("Enter");
}

/** The newest reply that contains this text. */
function reply(page: Page, text: string): Locator {
  return page.locator(".message.assistant", { hasText: text });
}

/** Arguments of a step: a connected page, its server, and a gate at which the agent can wait. */
interface Stage {
  readonly page: Page;
  readonly server: ServerProcess;
  readonly gate: Gate;
  /** Opens another page of the same server. */
  open(path?: string, options?: PageOptions): ReturnType<typeof openPage>;
}

const STEPS: Record<string, (stage: Stage) => Promise<void>> = {
  // First, because a turn adds a control for its activity.
  async "every control can be reached with the keyboard"({ page }) {
    const reached: unknown[] = [];
    for (let i = 0; i < 7; i++) {
      await page.keyboard.press("Tab");
      reached.push(await page.evaluate("document.activeElement.id || document.activeElement.className"));
    }
    assertEquals(reached, ["skip", "chat-new", "chats-open", "theme", "log", "say", "send"]);
    for (const theme of ["light", "dark"]) {
      await page.locator("#theme").press("Enter");
      assertEquals(await page.locator("html").getAttribute("data-theme"), theme);
    }
  },

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

  async "a server that refuses a request for a while is asked again"({ open }) {
    await using opened = await open("/", { expected: [/status of 429/] });
    const { page, problems } = opened;
    let requests = 0;
    await page.route("**/vtuber/state", (route) => {
      const error = { code: "rate_limit_exceeded", message: "Too many requests." };
      return requests++ === 0 ? route.fulfill({ status: 429, json: { error } }) : route.continue();
    });
    await page.reload();
    await untilConnected(page);
    assertEquals([requests, problems], [2, []]);
  },

  async "a phone shows everything without scrolling sideways"({ open }) {
    await using phone = await open("/", {
      viewport: { width: 390, height: 844 },
      isMobile: true,
      hasTouch: true,
    });
    const { page, problems } = phone;
    await send(page, script({ text: "```\n" + "long ".repeat(80) + "\n```\n" + "w".repeat(300) }));
    await page.locator(".message.assistant pre").waitFor();
    assertEquals(await page.evaluate("document.documentElement.scrollWidth - innerWidth"), 0);
    for (const selector of ["#character svg", "#composer", "#log"]) {
      const box = await page.locator(selector).boundingBox();
      assert(box !== null && box.x >= 0 && box.x + box.width <= 390.5, JSON.stringify(box));
    }
    const button = await page.getByRole("button", { name: "Send" }).boundingBox();
    assert(button !== null && button.width >= 44 && button.height >= 44);
    assertEquals(problems, []);
  },

  async "the overlay is transparent, has no controls, and shows the replies and notifications of others"(
    { page: other, open, server },
  ) {
    await other.close();
    const watchers = async () => (await server.get("/v1/vtuber/state")).watchers;
    await until(async () => await watchers() === 0);
    await using overlay = await open("/?overlay=1");
    const { page, problems } = overlay;
    await page.locator("#character svg").waitFor();
    for (const id of ["composer", "log", "connection", "theme", "activity", "notices"]) {
      assertEquals(await page.locator(`#${id}`).isVisible(), false, id);
    }
    const colors = await page.evaluate(
      "[document.documentElement, document.body].map((element) => getComputedStyle(element).backgroundColor)",
    );
    assertEquals(colors, ["rgba(0, 0, 0, 0)", "rgba(0, 0, 0, 0)"]);
    await until(async () => await watchers() === 1);
    await replyOf(server.chat(script({ text: "[happy] Hello, stream. " }, { text: "How are you?" })));
    await page.locator("#caption-text", { hasText: "How are you?" }).waitFor();
    assertStringIncludes(await page.locator("#caption-text").innerText(), "Hello, stream.");
    await page.locator("#caption").waitFor({ state: "hidden" });
    const text = "[proud] The build is green.";
    await (await server.post("/v1/vtuber/notifications", { text })).body?.cancel();
    await page.locator("#caption-text", { hasText: "The build is green." }).waitFor();
    await page.locator('#character[data-expression="proud"]').waitFor();
    assertEquals(problems, []);
  },
};

Deno.test("stage", { ignore: CHROMIUM === undefined }, async (t) => {
  await using server = await startServer();
  await using browser = await startBrowser();
  const open: Stage["open"] = async (path = "/", options = {}) => {
    const opened = await openPage(browser, server.url + path, options);
    if (!path.includes("overlay")) await untilConnected(opened.page);
    return opened;
  };
  for (const [name, step] of Object.entries(STEPS)) {
    await runStep(t, name, async () => {
      await using gate = await createGate();
      await using opened = await open();
      await step({ page: opened.page, server, gate, open });
      assertEquals(opened.problems, []);
    });
  }

  await runStep(
    t,
    "the key is asked for, a wrong one is reported, and the tab remembers the right one",
    async () => {
      await using server = await startServer({ env: { VTUBER_AUTH_KEY: "schlüssel+1" } });
      await using opened = await openPage(browser, server.url, { expected: [/status of 401/] });
      const { page, problems } = opened;
      const field = page.getByLabel("Key", { exact: true });
      await field.fill("wrong");
      await page.keyboard.press("Enter");
      await page.getByText("does not take this key").waitFor();
      await field.fill("schlüssel+1");
      await page.getByRole("button", { name: "Open the stage" }).click();
      await untilConnected(page);
      await send(page, script({ text: "Let in." }));
      await reply(page, "Let in.").waitFor();
      await page.reload();
      await untilConnected(page);
      await reply(page, "Let in.").waitFor();
      assertEquals(problems, []);
    },
  );

  await runStep(t, "an overlay without the key, or with a wrong one, says so", async () => {
    await using server = await startServer({ env: { VTUBER_AUTH_KEY: "right" } });
    for (const [hash, problem] of [["", "The key is missing"], ["#key=wrong", "does not take the key"]]) {
      await using opened = await openPage(browser, `${server.url}/?overlay=1${hash}`, {
        expected: [/status of 401/],
      });
      await opened.page.getByRole("alert").getByText(problem!).waitFor();
      assertEquals(opened.problems, []);
    }
    await using opened = await openPage(browser, `${server.url}/?overlay=1#key=right`);
    await until(async () => {
      const headers = { authorization: "Bearer right" };
      return (await server.get("/v1/vtuber/state", { headers })).watchers === 1;
    });
    assertEquals([await opened.page.getByRole("alert").count(), opened.problems], [0, []]);
  });

  await runStep(
    t,
    "an agent that cannot be used is reported when the page opens, and why a turn failed",
    async () => {
      await using server = await startServer({ env: { OPENAB_AGENT_COMMAND: "no-such-program" } });
      await using opened = await openPage(browser, server.url);
      await opened.page.getByRole("alert").getByText(/cannot be used: .*no-such-program/).waitFor();
      assertEquals(opened.problems, []);
    },
  );

  await runStep(t, "the key may come with the link, and leaves the address", async () => {
    const key = "a key/ü";
    await using server = await startServer({ env: { VTUBER_AUTH_KEY: key } });
    await using opened = await openPage(browser, `${server.url}/#key=${encodeURIComponent(key)}`);
    const { page, problems } = opened;
    await untilConnected(page);
    assertEquals([page.url(), await page.locator("#key").isVisible()], [`${server.url}/`, false]);
    assertEquals(problems, []);
  });

  await runStep(t, "behind a proxy that lets no WebSocket pass, the events come as a stream", async () => {
    await using proxy = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
      const { pathname, search } = new URL(request.url);
      const headers = new Headers(request.headers);
      for (const name of ["upgrade", "connection", "host"]) headers.delete(name);
      const { method, body, signal } = request;
      return fetch(server.url + pathname + search, { method, headers, body, signal }).catch(() =>
        Response.error()
      );
    });
    const url = `http://127.0.0.1:${proxy.addr.port}`;
    await using opened = await openPage(browser, url, { expected: [/WebSocket connection to .* failed/] });
    const { page, problems } = opened;
    await untilConnected(page);
    await send(page, ASK);
    await page.getByRole("alertdialog").getByRole("button", { name: "Allow once" }).click();
    await page.getByText("rm -rf build: Allowed by stage").waitFor();
    await page.locator("#caption-text", { hasText: "yes" }).waitFor();
    const steps = script({ text: "Endless " }, { hang: true });
    const other = await server.chat(steps, {}, { headers: { "x-session-id": "other" } });
    await page.getByRole("button", { name: "Stop" }).click();
    assertStringIncludes(await other.text(), "Endless");
    assertEquals(problems, []);
    await page.close();
  });

  await runStep(t, "the page reconnects when the server starts again", async () => {
    const env = { GATEWAY_LISTEN: reusableAddress() };
    const first = await startServer({ env });
    const expected = [/ERR_CONNECTION_REFUSED|WebSocket|ERR_EMPTY/];
    await using opened = await openPage(browser, first.url, { expected });
    const { page, problems } = opened;
    await untilConnected(page);
    await first[Symbol.asyncDispose]();
    await page.getByText("Connection lost").waitFor();
    await using _second = await startServer({ env });
    await untilConnected(page);
    await send(page, script({ text: "Back again." }));
    await reply(page, "Back again.").waitFor();
    assertEquals(problems, []);
  });
});

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
