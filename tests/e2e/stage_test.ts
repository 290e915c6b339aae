/** The stage in a real browser, in front of a real server and the scripted agent. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Browser, Page } from "playwright-core";
import { CHROMIUM, startBrowser, type Visit, visit } from "../support/harness/browser.ts";
import { lastingAddress, makeGate } from "../support/harness/data_dir_fixture.ts";
import { script, type Server, startServer, until } from "../support/harness/server_process.ts";

const WITH_PERMISSIONS = { VTUBER_PERMISSIONS: "ask" };
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

/** Tests of the file that share one browser, which the last of them closes. */
let shared: Promise<Browser> | undefined;

function stageTest(name: string, run: (browser: Browser) => Promise<void>): void {
  Deno.test({
    name: CHROMIUM ? `stage: ${name}` : `stage (there is no Chromium here): ${name}`,
    ignore: CHROMIUM === undefined,
    // The browser's process and pipes outlive each test.
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => await run(await (shared ??= startBrowser())),
  });
}

Deno.test.afterAll(async () => {
  await (await shared)?.close();
});

async function open(browser: Browser, server: Server, path = "/", options = {}): Promise<Visit> {
  const opened = await visit(browser, server.url + path, options);
  if (!path.includes("overlay")) await connected(opened.page);
  return opened;
}

async function connected(page: Page): Promise<void> {
  await page.locator('#connection[data-state="open"]').waitFor();
}

async function say(page: Page, text: string): Promise<void> {
  await page.getByRole("textbox", { name: "Message" }).fill(text);
  await page.keyboard.press("Enter");
}

function character(page: Page) {
  return page.locator("#character");
}

stageTest("the chat shows the answer, and what looks like HTML stays text", async (browser) => {
  await using server = await startServer();
  await using opened = await open(browser, server);
  const { page, problems } = opened;
  const evil = '<img src=x onerror="document.title=1"><script>document.title=2</script> and `[happy]` [1]';
  await say(page, script({ text: "[happy] Hello " }, { text: evil }));
  const reply = page.locator(".message.assistant .text");
  await page.locator(".message.assistant", { hasText: "[1]" }).waitFor();
  await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
  const text = await reply.innerText();
  assertStringIncludes(text, "Hello <img src=x");
  assertStringIncludes(text, "<script>document.title=2</script>");
  assertEquals(await reply.locator("code").innerText(), "[happy]");
  assertEquals(text.startsWith("[happy]"), false);
  assertEquals(await page.locator("#log img, #log script, #caption img, #caption script").count(), 0);
  assertEquals(problems, []);
});

stageTest("captions follow the answer, and the mouth moves", async (browser) => {
  await using server = await startServer();
  await using opened = await open(browser, server);
  const { page, problems } = opened;
  await say(page, script({ text: "A good afternoon to everybody who has come here to see this today." }));
  await page.locator('.drawn:not([data-mouth="0"]):not([data-mouth="0.1"])').waitFor();
  await page.locator("#caption-text", { hasText: "to see this today." }).waitFor();
  await page.locator('.drawn[data-mouth="0"]').waitFor();
  assertStringIncludes(await page.locator("#spoken").innerText(), "A good afternoon");
  assertEquals(problems, []);
});

stageTest("the face follows emotions and relaxes after the reply", async (browser) => {
  await using server = await startServer();
  await using opened = await open(browser, server);
  const { page, problems } = opened;
  await say(page, script({ text: "[surprised] Oh! " }, { text: "[joy] Yes." }));
  await page.locator('#character[data-expression="happy"]').waitFor();
  await page.locator('#character[data-expression="neutral"]').waitFor();
  assertEquals(problems, []);
});

stageTest("tools are shown with their status, and the body works", async (browser) => {
  await using gate = await makeGate();
  await using server = await startServer();
  await using opened = await open(browser, server);
  const { page, problems } = opened;
  const tool = { id: "t1", title: "Reading main.ts", kind: "read", status: "in_progress" };
  await say(
    page,
    script({ tool }, gate.step, { toolUpdate: { id: "t1", status: "completed" } }, { text: "Read." }),
  );
  const row = page.getByRole("listitem").filter({ hasText: "Reading main.ts" });
  await row.filter({ hasText: "running" }).waitFor();
  await page.locator('#character[data-state="working"]').waitFor();
  await gate.open();
  await row.filter({ hasText: "done" }).waitFor();
  await page.locator('#character[data-state="idle"], #character[data-state="attention"]').waitFor();
  assertEquals(problems, []);
});

stageTest("the plan is shown", async (browser) => {
  await using server = await startServer();
  await using opened = await open(browser, server);
  const { page, problems } = opened;
  const plan = [
    { content: "Look around", priority: "high", status: "completed" },
    { content: "Mend it", priority: "medium", status: "in_progress" },
  ];
  await say(page, script({ plan }, { text: "A plan." }));
  const region = page.getByRole("region", { name: "Plan" });
  await region.getByText("1 of 2").waitFor();
  assertEquals(await region.getByRole("listitem").count(), 2);
  assertEquals(await region.getByText("Mend it").isVisible(), true);
  assertEquals(problems, []);
});

stageTest("a permission is given with a click", async (browser) => {
  await using server = await startServer({ env: WITH_PERMISSIONS });
  await using opened = await open(browser, server);
  const { page, problems } = opened;
  await say(page, script({ permission: { toolCall: COMMAND, options: OPTIONS } }));
  const card = page.getByRole("alertdialog", { name: "rm -rf build" });
  await card.getByText(/left$/).waitFor();
  assertEquals(await card.getByRole("button").allInnerTexts(), ["Allow once", "Always allow", "Reject"]);
  await card.getByRole("button", { name: "Allow once" }).click();
  await page.getByText("rm -rf build: Allowed by").waitFor();
  await page.locator(".message.assistant", { hasText: '"yes"' }).waitFor();
  assertEquals(problems, []);
});

stageTest(
  "a permission is given from the keyboard, but not by a key meant for the message",
  async (browser) => {
    await using server = await startServer({ env: WITH_PERMISSIONS });
    await using opened = await open(browser, server);
    const { page, problems } = opened;
    await say(page, script({ permission: { toolCall: COMMAND, options: OPTIONS } }));
    const card = page.getByRole("alertdialog", { name: "rm -rf build" });
    await card.and(page.locator(":focus")).waitFor();
    for (const key of ["Space", "Enter"]) await page.keyboard.press(key);
    assertEquals(await card.getByRole("button", { name: "Allow once" }).isEnabled(), true);
    const allow = card.getByRole("button", { name: "Allow once" }).and(page.locator(":focus"));
    for (let i = 0; i < 3 && await allow.count() === 0; i++) await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.getByText("rm -rf build: Allowed by").waitFor();
    await page.locator(".message.assistant", { hasText: '"yes"' }).waitFor();
    await page.getByRole("textbox", { name: "Message" }).and(page.locator(":focus")).waitFor();
    assertEquals(problems, []);
  },
);

stageTest("a permission that waited before the page came is shown too", async (browser) => {
  await using server = await startServer({ env: WITH_PERMISSIONS });
  await using first = await open(browser, server);
  await say(first.page, script({ permission: { toolCall: COMMAND, options: OPTIONS } }));
  await first.page.getByRole("alertdialog").waitFor();
  await using second = await open(browser, server);
  await second.page.getByRole("button", { name: "Reject" }).click();
  await first.page.getByText("rm -rf build: Rejected by").waitFor();
  assertEquals([...first.problems, ...second.problems], []);
});

stageTest("a notification is shown, and can be closed", async (browser) => {
  await using server = await startServer();
  await using opened = await open(browser, server);
  const { page, problems } = opened;
  const response = await server.post("/v1/vtuber/notifications", {
    text: "The build is <b>green</b>",
    urgency: "high",
  });
  await response.body?.cancel();
  const notice = page.getByRole("alert").filter({ hasText: "The build is <b>green</b>" });
  await notice.waitFor();
  await notice.getByRole("button", { name: "Close" }).click();
  await notice.waitFor({ state: "detached" });
  assertEquals(problems, []);
});

stageTest("who speaks is not seen thinking", async (browser) => {
  await using gate = await makeGate();
  await using server = await startServer();
  await using opened = await open(browser, server);
  const { page, problems } = opened;
  await say(page, script({ thought: "Hm." }, gate.step, { text: "I look. " }, { hang: true }));
  await page.locator('#character[data-state="thinking"]').waitFor();
  await page.locator("#activity-title", { hasText: "Thinking" }).waitFor();
  await gate.open();
  await page.locator("#activity-title", { hasText: "Speaking" }).waitFor();
  assertEquals(await character(page).getAttribute("data-state"), "idle");
  assertEquals(problems, []);
});

stageTest("who speaks is not seen thinking, though the words come before the state", async (browser) => {
  await using gate = await makeGate();
  await using server = await startServer();
  await using opened = await open(browser, server);
  const { page, problems } = opened;
  const { promise: isHeard, resolve: hear } = Promise.withResolvers<void>();
  await page.routeWebSocket(/vtuber/, (socket) => {
    const upstream = socket.connectToServer();
    upstream.onMessage(async (frame) => {
      if (String(frame).includes('"thinking"')) await isHeard;
      socket.send(frame);
    });
  });
  await page.reload();
  await connected(page);
  await say(
    page,
    script({ text: "I look. " }, gate.step, {
      tool: { id: "1", title: "Read", kind: "read", status: "in_progress" },
    }, { hang: true }),
  );
  await page.locator(".message.assistant", { hasText: "I look." }).waitFor();
  hear();
  await page.locator("#activity-title", { hasText: "Speaking" }).waitFor();
  assertEquals(await character(page).getAttribute("data-state"), "idle");
  await gate.open();
  await page.locator('#character[data-state="working"]').waitFor();
  assertEquals(problems, []);
});

stageTest("an answer is stopped with Escape, and by the next message", async (browser) => {
  await using server = await startServer();
  await using opened = await open(browser, server);
  const { page, problems } = opened;
  await say(page, script({ text: "One " }, { hang: true }));
  await page.locator(".message.assistant", { hasText: "One" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByText("Stopped.").waitFor();
  await say(page, script({ text: "Two " }, { hang: true }));
  await page.locator(".message.assistant", { hasText: "Two" }).waitFor();
  await say(page, script({ text: "Three." }));
  await page.locator(".message.assistant", { hasText: "Three." }).waitFor();
  assertEquals(await page.getByText("Stopped.").count(), 2);
  assertEquals(problems, []);
});

stageTest("the key is asked for, and a wrong one is told", async (browser) => {
  await using server = await startServer({ env: { VTUBER_AUTH_KEY: "schlüssel+1" } });
  await using opened = await visit(browser, server.url, { expected: [/status of 401/] });
  const { page, problems } = opened;
  const field = page.getByLabel("Key", { exact: true });
  await field.fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByText("does not take this key").waitFor();
  await field.fill("schlüssel+1");
  await page.getByRole("button", { name: "Open the stage" }).click();
  await connected(page);
  await say(page, script({ text: "Let in." }));
  await page.locator(".message.assistant", { hasText: "Let in." }).waitFor();
  // The tab remembers it.
  await page.reload();
  await connected(page);
  await page.locator(".message.assistant", { hasText: "Let in." }).waitFor();
  assertEquals(problems, []);
});

stageTest("the key comes with the link, and leaves the address", async (browser) => {
  await using server = await startServer({ env: { VTUBER_AUTH_KEY: "a key/ü" } });
  await using opened = await open(browser, server, `/#key=${encodeURIComponent("a key/ü")}`);
  const { page, problems } = opened;
  assertEquals(page.url(), `${server.url}/`);
  assertEquals(await page.locator("#key").isVisible(), false);
  assertEquals(problems, []);
});

stageTest("the connection comes back when the server does", async (browser) => {
  const env = { GATEWAY_LISTEN: lastingAddress() };
  const first = await startServer({ env });
  await using opened = await open(browser, first, "/", {
    expected: [/ERR_CONNECTION_REFUSED|WebSocket|ERR_EMPTY/],
  });
  const { page, problems } = opened;
  await first[Symbol.asyncDispose]();
  await page.getByText("Connection lost").waitFor();
  await using _second = await startServer({ env });
  await connected(page);
  await say(page, script({ text: "Back again." }));
  await page.locator(".message.assistant", { hasText: "Back again." }).waitFor();
  assertEquals(problems, []);
});

stageTest("the overlay is transparent, without controls, and captions what others ask", async (browser) => {
  await using server = await startServer();
  await using opened = await open(browser, server, "/?overlay=1");
  const { page, problems } = opened;
  await character(page).locator("svg").waitFor();
  for (const id of ["composer", "log", "connection", "theme", "activity", "notices"]) {
    assertEquals(await page.locator(`#${id}`).isVisible(), false, id);
  }
  const colors = await page.evaluate(
    "[document.documentElement, document.body].map((element) => getComputedStyle(element).backgroundColor)",
  );
  assertEquals(colors, ["rgba(0, 0, 0, 0)", "rgba(0, 0, 0, 0)"]);
  const state = () => fetch(`${server.url}/v1/vtuber/state`).then((response) => response.json());
  await until(async () => (await state()).watchers > 0);
  const response = await server.chat(script({ text: "[happy] Hello, stream. " }, { text: "How are you?" }));
  await response.text();
  await page.locator("#caption-text", { hasText: "How are you?" }).waitFor();
  assertStringIncludes(await page.locator("#caption-text").innerText(), "Hello, stream.");
  await page.locator("#caption").waitFor({ state: "hidden" });
  assertEquals(problems, []);
});

stageTest("a notification is said by the character, on the overlay too", async (browser) => {
  await using server = await startServer();
  await using opened = await open(browser, server, "/?overlay=1");
  const { page, problems } = opened;
  await character(page).locator("svg").waitFor();
  const state = () => fetch(`${server.url}/v1/vtuber/state`).then((response) => response.json());
  await until(async () => (await state()).watchers > 0);
  const response = await server.post("/v1/vtuber/notifications", { text: "[proud] The build is green." });
  await response.body?.cancel();
  await page.locator("#caption-text", { hasText: "The build is green." }).waitFor();
  await page.locator('#character[data-expression="proud"]').waitFor();
  assertEquals(problems, []);
});

stageTest("a phone sees everything without scrolling sideways", async (browser) => {
  await using server = await startServer();
  await using opened = await open(browser, server, "/", {
    viewport: { width: 390, height: 844 },
    isMobile: true,
    hasTouch: true,
  });
  const { page, problems } = opened;
  await say(page, script({ text: "```\n" + "long ".repeat(80) + "\n```\n" + "w".repeat(300) }));
  await page.locator(".message.assistant pre").waitFor();
  assertEquals(await page.evaluate("document.documentElement.scrollWidth - innerWidth"), 0);
  for (const locator of [character(page).locator("svg"), page.locator("#composer"), page.locator("#log")]) {
    const box = await locator.boundingBox();
    assert(box !== null && box.x >= 0 && box.x + box.width <= 390.5, JSON.stringify(box));
  }
  const send = await page.getByRole("button", { name: "Send" }).boundingBox();
  assert(send !== null && send.width >= 44 && send.height >= 44);
  assertEquals(problems, []);
});

stageTest("every control can be reached with the keyboard", async (browser) => {
  await using server = await startServer();
  await using opened = await open(browser, server);
  const { page, problems } = opened;
  const reached: unknown[] = [];
  for (let i = 0; i < 5; i++) {
    await page.keyboard.press("Tab");
    reached.push(await page.evaluate("document.activeElement.id || document.activeElement.className"));
  }
  assertEquals(reached, ["skip", "theme", "log", "say", "send"]);
  await page.locator("#theme").press("Enter");
  assertEquals(await page.locator("html").getAttribute("data-theme"), "light");
  await page.locator("#theme").press("Enter");
  assertEquals(await page.locator("html").getAttribute("data-theme"), "dark");
  assertEquals(problems, []);
});
