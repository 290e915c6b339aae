/** The program behind https, over HTTP/1.1 and HTTP/2. */

import { assertEquals, assertMatch } from "@std/assert";
import { makeCertificate } from "../support/harness/certificate.ts";
import { CHROMIUM, openPage, startBrowser } from "../support/harness/browser.ts";
import { replyOf, startServer } from "../support/harness/server_process.ts";

Deno.test("https: skins, pages and sockets are served, and other origins are not", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const { cert, key } = await makeCertificate(folder);
    await using server = await startServer({ agent: "demo", args: ["--tls-cert", cert, "--tls-key", key] });
    assertMatch(server.url, /^https:\/\/127\.0\.0\.1:\d+$/);
    const caCerts = [await Deno.readTextFile(cert)];
    for (const isHttp2 of [false, true]) {
      using client = Deno.createHttpClient({ caCerts, http1: !isHttp2, http2: isHttp2 });
      const init = { client } as RequestInit;
      const reply = await replyOf(server.chat("Hello", {}, init));
      assertEquals(reply.done, true);
      const own = { ...init, headers: { origin: server.url } };
      assertEquals((await server.get("/v1/vtuber/state", own)).scopes.includes("chat"), true);
      const foreign = { ...init, headers: { origin: "https://evil.example" } };
      assertEquals((await server.get("/v1/vtuber/state", foreign)).error.code, "origin_not_allowed");
    }
    if (CHROMIUM === undefined) return;
    await using browser = await startBrowser();
    await using opened = await openPage(browser, server.url, { ignoreHTTPSErrors: true });
    const { page, problems, frames } = opened;
    await page.locator('#connection[data-state="open"]').waitFor();
    assertEquals(await page.evaluate("isSecureContext"), true);
    // The snapshot of a WebSocket: over wss, and not the stream that takes its place.
    await page.getByRole("textbox", { name: "Message" }).fill("Hello");
    await page.keyboard.press("Enter");
    await page.locator("#caption-text:not(:empty)").waitFor();
    assertEquals(frames.length > 0, true);
    assertEquals(problems, []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
