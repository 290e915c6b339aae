/** The page of the stage: its controls, its overlay, and its connection to the server. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { CHROMIUM, openPage, startBrowser } from "../support/harness/browser.ts";
import { reusableAddress } from "../support/harness/data_dir_fixture.ts";
import { replyOf, runStep, script, startServer, until } from "../support/harness/server_process.ts";
import { ASK, reply, send, testStage, untilConnected } from "../support/harness/stage_fixture.ts";

/** Windows of phones, upright and on their side. */
const SMALL_WINDOWS = [[390, 844], [320, 568], [568, 320], [667, 375], [800, 500], [844, 390]] as const;
/** The ids of the visible buttons of the bar and the message field whose middle something else covers. */
const COVERED_BUTTONS = `[...document.querySelectorAll(".bar button, .composer button")].filter((button) => {
  const { x, y, width, height } = button.getBoundingClientRect();
  return width > 0 && !button.contains(document.elementFromPoint(x + width / 2, y + height / 2));
}).map(({ id }) => id)`;

testStage("stage: the page", {
  // First, because a turn adds a control for its activity.
  async "every control can be reached with the keyboard"({ page }) {
    const reached: unknown[] = [];
    const controls = ["skip", "chat-new", "chats-open", "voice", "voice-settings", "theme", "log", "say"];
    // The browser of the test has a recognition of its own, so that the microphone is offered.
    await page.locator("#talk").waitFor();
    for (let i = 0; i < 10; i++) {
      await page.keyboard.press("Tab");
      reached.push(await page.evaluate("document.activeElement.id || document.activeElement.className"));
    }
    assertEquals(reached, [...controls, "talk", "send"]);
    for (const theme of ["light", "dark"]) {
      await page.locator("#theme").press("Enter");
      assertEquals(await page.locator("html").getAttribute("data-theme"), theme);
    }
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
    for (const [width, height] of SMALL_WINDOWS) {
      await page.setViewportSize({ width, height });
      assertEquals(await page.evaluate(COVERED_BUTTONS), [], `${width} x ${height}`);
    }
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
});

Deno.test("stage: keys and connections", { ignore: CHROMIUM === undefined }, async (t) => {
  await using browser = await startBrowser();
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
    await using server = await startServer();
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
