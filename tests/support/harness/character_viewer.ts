/** A page of the tests' own that shows a character in a real browser, under the policy of the stage. */

import { type Browser, chromium, type Page } from "playwright-core";
import type { Character } from "../../../lib/stage/character.ts";
import { vrmModule } from "../../../lib/stage/vrm_module.ts";
import { AppError } from "../../../lib/core/errors.ts";

const SCRIPT = `
  const manifest = await (await fetch("/stage/character.json")).json();
  const place = manifest.kind === "vrm" ? "/stage/characters/vrm/vrm.js" : "/stage/characters/pictures/pictures.js";
  globalThis.container = document.querySelector("main");
  try {
    const { createCharacter } = await import(place);
    globalThis.character = await createCharacter(container, manifest);
  } catch (error) {
    globalThis.failed = error.message;
  }
`;
const PAGE = '<!doctype html><title>viewer</title><link rel="stylesheet" href="/viewer.css"><main></main>' +
  '<script type="module" src="/viewer.js"></script>';
const STYLE = "body { margin: 0; background: #ccd } main { width: 100vw; height: 100vh }";

/** How long something may take to come true: browsers without a graphics card are slow. */
const PATIENCE_MS = 60_000;

/** The browser's program, if there is one. */
export const CHROMIUM: string | undefined = await findChromium();

/** What a test begins its name with that needs a browser. */
export const IN_CHROMIUM = CHROMIUM === undefined ? "no Chromium here: " : "in Chromium: ";

async function findChromium(): Promise<string | undefined> {
  const folders = ["/usr/bin", ...(Deno.env.get("PATH") ?? "").split(":")];
  for (const name of ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]) {
    for (const folder of folders) {
      const path = `${folder}/${name}`;
      if (await Deno.stat(path).then(({ isFile }) => isFile, () => false)) return path;
    }
  }
  return undefined;
}

/** A browser that shows one character at a time. */
export interface Viewer extends AsyncDisposable {
  /** Opens a page with the character; resolves when it is there, or has failed. */
  show(character: Character, prepare?: (page: Page) => Promise<void>, query?: string): Promise<View>;
}

/** A page with a character. */
export interface View {
  readonly page: Page;
  /** What the browser complained of: policy violations, errors, what could not be loaded. */
  readonly complaints: readonly string[];
  /** The value of an expression in the page. */
  look<T>(expression: string): Promise<T>;
  /** Resolves once an expression in the page is true; `meanwhile` is done before each look. */
  until(expression: string, meanwhile?: () => Promise<void>): Promise<void>;
}

/** Starts a browser and a server for its pages. */
export async function openViewer(): Promise<Viewer> {
  let current: Character | undefined;
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async (request) => {
    try {
      return await answer(request, current!);
    } catch (error) {
      return new Response(String(error), { status: error instanceof AppError ? 404 : 500 });
    }
  });
  const browser: Browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--use-angle=swiftshader",
      "--enable-unsafe-swiftshader",
    ],
  });

  return {
    async show(character, prepare, query = "") {
      current = character;
      const page = await browser.newPage({ viewport: { width: 420, height: 480 } });
      const complaints: string[] = [];
      page.on("console", (message) => {
        if (message.type() === "error") complaints.push(message.text());
      });
      page.on("pageerror", (error) => complaints.push(error.message));
      await prepare?.(page);
      await page.goto(`http://127.0.0.1:${server.addr.port}/${query}`);
      const until = async (expression: string, meanwhile = () => Promise.resolve()) => {
        // The browser library's own way to wait needs `eval` in the page, which its policy forbids.
        for (const started = performance.now();;) {
          await meanwhile();
          if (await page.evaluate(`Boolean(${expression})`)) return;
          if (performance.now() - started > PATIENCE_MS) throw new Error(`It never came true: ${expression}`);
          await page.waitForTimeout(30);
        }
      };
      await until("globalThis.character || globalThis.failed");
      return { page, complaints, until, look: (expression) => page.evaluate(expression) };
    },
    async [Symbol.asyncDispose]() {
      await browser.close();
      await server.shutdown();
    },
  };
}

async function answer(request: Request, character: Character): Promise<Response> {
  const path = new URL(request.url).pathname;
  const typed = (body: string, type: string, headers: HeadersInit = {}) =>
    new Response(body, { headers: { "content-type": type, ...headers } });
  switch (path) {
    case "/": {
      const { img, connect } = character.origins;
      const policy = "default-src 'none'; script-src 'self'; style-src 'self'; " +
        `img-src ${["'self' data: blob:", ...img].join(" ")}; connect-src ${
          ["'self'", ...connect].join(" ")
        }`;
      return typed(PAGE, "text/html", { "content-security-policy": policy });
    }
    case "/viewer.js":
      return typed(SCRIPT, "text/javascript");
    case "/viewer.css":
      return typed(STYLE, "text/css");
    case "/favicon.ico":
      return new Response(null, { status: 204 });
    case "/stage/characters/vrm/vrm.js":
      return typed(await vrmModule() ?? "", "text/javascript");
    case "/stage/characters/pictures/pictures.js": {
      const source = new URL("../../../lib/stage/page/characters/pictures/pictures.js", import.meta.url);
      return typed(await Deno.readTextFile(source), "text/javascript");
    }
    case "/stage/character.json":
      return await character.manifest();
    default:
      return await character.file(decodeURIComponent(path.slice("/stage/character/".length)), request);
  }
}
