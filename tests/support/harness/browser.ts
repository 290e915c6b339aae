/** A real Chromium for end-to-end tests of the stage. */

import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Where Chromium is, or undefined where there is none. */
export const CHROMIUM: string | undefined = find();

/** A page and what went wrong in it. */
export interface Visit extends AsyncDisposable {
  readonly page: Page;
  /** Errors of the console and of scripts, and what the content security policy refused. */
  readonly problems: string[];
}

/** Starts a browser. */
export async function startBrowser(): Promise<Browser> {
  if (CHROMIUM === undefined) throw new Error("There is no Chromium on this machine.");
  return await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
}

/**
 * Opens a page of its own, with its own storage.
 *
 * @param expected What may go wrong, as part of its message.
 */
export async function visit(
  browser: Browser,
  url: string,
  { expected = [], ...options }: BrowserContextOptions & { readonly expected?: readonly RegExp[] } = {},
): Promise<Visit> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const problems: string[] = [];
  const note = (text: string) => {
    if (!expected.some((pattern) => pattern.test(text))) problems.push(text);
  };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) note(`${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => note(String(error)));
  page.on("request", (request) => {
    const { origin } = new URL(request.url());
    if (origin !== new URL(url).origin) note(`A request to ${request.url()}`);
  });
  await page.goto(url);
  return {
    page,
    problems,
    async [Symbol.asyncDispose]() {
      await context.close();
    },
  };
}

function find(): string | undefined {
  const folders = (Deno.env.get("PATH") ?? "").split(":");
  const places = [
    "/usr/bin/chromium",
    ...folders.flatMap((folder) => NAMES.map((name) => `${folder}/${name}`)),
  ];
  return places.find((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
}
