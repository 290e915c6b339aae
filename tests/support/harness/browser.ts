/** A real Chromium, for tests of the stage. @module */

import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The path of Chromium, or undefined if it is not installed. */
export const CHROMIUM: string | undefined = findChromium();

/** Starts Chromium with further flags. */
export async function startBrowser(...flags: string[]): Promise<Browser> {
  return await chromium.launch({ executablePath: CHROMIUM, args: [...FLAGS, ...flags] });
}

/** Options of a page. */
export interface PageOptions extends BrowserContextOptions {
  /** Problems that the test expects, by a part of their message. */
  readonly expected?: readonly RegExp[];
  /** Prepares the page before it is loaded. */
  readonly prepare?: (page: Page) => Promise<void>;
}

/** A page with a storage of its own, and the problems that occurred in it. */
export interface OpenPage extends AsyncDisposable {
  readonly page: Page;
  /** Errors and warnings of the console, exceptions, and requests to other origins. */
  readonly problems: readonly string[];
  /** The frames that its WebSockets have received. */
  readonly frames: readonly (string | Uint8Array)[];
}

/** Opens a page. */
export async function openPage(
  browser: Browser,
  url: string,
  { expected = [], prepare, ...options }: PageOptions = {},
): Promise<OpenPage> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const problems: string[] = [];
  const add = (problem: string) => {
    if (!expected.some((pattern) => pattern.test(problem))) problems.push(problem);
  };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) add(`${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => add(String(error)));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(url).origin) add(`A request to ${request.url()}`);
  });
  const frames: (string | Uint8Array)[] = [];
  page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => void frames.push(payload)));
  await prepare?.(page);
  await page.goto(url);
  return { page, problems, frames, [Symbol.asyncDispose]: () => context.close() };
}

function findChromium(): string | undefined {
  const folders = ["/usr/bin", ...(Deno.env.get("PATH") ?? "").split(":")];
  return NAMES.flatMap((name) => folders.map((folder) => `${folder}/${name}`)).find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
}
