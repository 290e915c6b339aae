/** Shows a character in a real browser, on a page of its own under the Content Security Policy of the stage. */

import type { Page } from "playwright-core";
import { LOCAL_CALLER } from "../../../lib/http/access.ts";
import { servePage } from "../../../lib/stage/assets.ts";
import type { Character } from "../../../lib/stage/character.ts";
import { stageRoutes } from "../../../lib/stage/routes.ts";
import { CHROMIUM, startBrowser } from "./browser.ts";

const HTML = '<!doctype html><title>viewer</title><link rel="stylesheet" href="/viewer.css"><main></main>' +
  '<script type="module" src="/viewer.js"></script>';
const CSS = "body { margin: 0; background: #ccd } main { width: 100vw; height: 100vh }";
const SCRIPT = `
  const manifest = await (await fetch("/stage/character.json")).json();
  globalThis.container = document.querySelector("main");
  try {
    const { createCharacter } = await import(\`/stage/characters/\${manifest.kind}/\${manifest.kind}.js\`);
    globalThis.character = await createCharacter(container, manifest);
  } catch (error) {
    globalThis.failure = error.message;
  }
`;
/** Longest wait for a condition. Browsers without a graphics card are slow. */
const MAX_WAIT_MS = 60_000;
const POLL_MS = 30;

/** A browser for characters. */
export interface Viewer extends AsyncDisposable {
  /** Opens a page with the character and waits until it is shown or has failed. */
  show(character: Character, prepare?: (page: Page) => Promise<void>, query?: string): Promise<View>;
}

/** A page with a character, as the globals `container`, and `character` or `failure`. */
export interface View {
  readonly page: Page;
  /** Errors of the console: policy violations, exceptions, files that could not be loaded. */
  readonly errors: readonly string[];
  /** Evaluates an expression in the page. */
  evaluate<T>(expression: string): Promise<T>;
  /** Waits until an expression in the page is true, and calls `before` each time before it is evaluated. */
  waitFor(expression: string, before?: () => Promise<void>): Promise<void>;
}

/** Registers a test with a viewer. The test is ignored if there is no Chromium. */
export function viewerTest(name: string, run: (viewer: Viewer) => Promise<void>): void {
  Deno.test(name, { ignore: CHROMIUM === undefined }, async () => {
    await using viewer = await openViewer();
    await run(viewer);
  });
}

async function openViewer(): Promise<Viewer> {
  let shown: Character | undefined;
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    return await respond(request, shown!).catch((error) => new Response(String(error), { status: 404 }));
  });
  const browser = await startBrowser("--use-angle=swiftshader", "--enable-unsafe-swiftshader");

  return {
    async show(character, prepare, query = "") {
      shown = character;
      const page = await browser.newPage({ viewport: { width: 420, height: 480 } });
      const errors: string[] = [];
      page.on("console", (message) => {
        if (message.type() === "error") errors.push(message.text());
      });
      page.on("pageerror", (error) => errors.push(error.message));
      await prepare?.(page);
      await page.goto(`http://127.0.0.1:${server.addr.port}/${query}`);
      // Playwright's own waiting needs `eval` in the page, which the policy forbids.
      const waitFor: View["waitFor"] = async (expression, before) => {
        for (const startMs = performance.now();;) {
          await before?.();
          if (await page.evaluate(`Boolean(${expression})`)) return;
          if (performance.now() - startMs > MAX_WAIT_MS) throw new Error(`Never became true: ${expression}`);
          await page.waitForTimeout(POLL_MS);
        }
      };
      await waitFor("globalThis.character || globalThis.failure");
      return { page, errors, waitFor, evaluate: (expression) => page.evaluate(expression) };
    },
    async [Symbol.asyncDispose]() {
      await browser.close();
      await server.shutdown();
    },
  };
}

async function respond(request: Request, character: Character): Promise<Response> {
  const path = decodeURIComponent(new URL(request.url).pathname);
  switch (path) {
    case "/": {
      const { headers } = await servePage(request, character.origins);
      headers.delete("etag");
      return new Response(HTML, { headers });
    }
    case "/viewer.js":
      return new Response(SCRIPT, { headers: { "content-type": "text/javascript" } });
    case "/viewer.css":
      return new Response(CSS, { headers: { "content-type": "text/css" } });
    case "/favicon.ico":
      return new Response(null, { status: 204 });
    default: {
      const route = stageRoutes({ character, describe: () => ({}) }).find(({ path }) => path === "/stage/*");
      const rest = path.slice("/stage/".length);
      return await route!.GET!(request, { requestId: "test", rest, caller: LOCAL_CALLER });
    }
  }
}
