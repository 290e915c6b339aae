/** The voice and the microphone of the stage in a real browser, with a fake voice and recognizer. @module */

import { assertEquals } from "@std/assert";
import type { Browser, Page } from "playwright-core";
import { COUNT_AUDIO, FAKE_SYNTHESIS, FakeAudio, microphoneFlags, writeTalk } from "./audio_fixture.ts";
import { CHROMIUM, openPage, type PageOptions, startBrowser } from "./browser.ts";
import { createGate, type Gate } from "./data_dir_fixture.ts";
import { runStep, type ServerProcess, startServer, until } from "./server_process.ts";
import { untilConnected } from "./stage_fixture.ts";

/** A reply that a slow voice needs a minute for. */
export const LONG = "This is a sentence that takes a while to be spoken to its very end. ".repeat(8);
/** A voice so slow that a test can act before a sentence is over. */
export const SLOW_CHARS_PER_S = 10;
/** The name of this machine on the network, for the browser alone. */
export const NETWORK_NAME = "vtuber.test";

/** Arguments of a step. Its pages are closed after it, and may not have had problems. */
export interface VoiceStage {
  readonly server: ServerProcess;
  readonly audio: FakeAudio;
  readonly gate: Gate;
  /** Opens a page, of the server unless the address is a whole one, with the audio of the test or that of its server. */
  open(url?: string, options?: PageOptions & { readonly isReal?: boolean }): Promise<Page>;
}

/** Registers a test whose steps share a server and a browser with a microphone. */
export function testVoiceStage(
  name: string,
  env: Readonly<Record<string, string>>,
  steps: Readonly<Record<string, (stage: VoiceStage) => Promise<void>>>,
): void {
  Deno.test(name, { ignore: CHROMIUM === undefined }, async (t) => {
    const folder = await Deno.makeTempDir();
    try {
      await writeTalk(`${folder}/talk.wav`);
      await using server = await startServer({ env });
      await using browser = await startBrowser(
        ...microphoneFlags(`${folder}/talk.wav`),
        `--host-resolver-rules=MAP ${NETWORK_NAME} 127.0.0.1`,
      );
      for (const [stepName, step] of Object.entries(steps)) {
        await runStep(t, stepName, async () => {
          await using pages = new AudioPages(browser, server.url);
          await using gate = await createGate();
          await step({ server, gate, audio: pages.audio, open: (url, options) => pages.open(url, options) });
          pages.assertNoProblems();
        });
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

/** Pages that share a fake voice and recognizer. */
export class AudioPages implements AsyncDisposable {
  readonly audio = new FakeAudio();
  readonly #browser: Browser;
  readonly #origin: string;
  readonly #stack = new AsyncDisposableStack();
  readonly #problems: (readonly string[])[] = [];

  constructor(browser: Browser, origin: string) {
    this.#browser = browser;
    this.#origin = origin;
  }

  /** Opens a page, and waits until it gets events. */
  open: VoiceStage["open"] = async (url = "/", { prepare, isReal = false, ...options } = {}) => {
    const opened = await openPage(this.#browser, new URL(url, this.#origin).href, {
      // The fake voice and recognizer fail if a test wants it.
      expected: [/status of 500 .*\/v1\/audio\//],
      // Drawn in half the time of the usual window.
      viewport: { width: 900, height: 600 },
      ...options,
      prepare: async (page) => {
        await page.addInitScript(COUNT_AUDIO + FAKE_SYNTHESIS);
        if (!isReal) await this.audio.serve(page);
        await prepare?.(page);
      },
    });
    this.#stack.use(opened);
    this.#problems.push(opened.problems);
    await untilConnected(opened.page);
    return opened.page;
  };

  assertNoProblems(): void {
    assertEquals(this.#problems.flat(), []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** What made sound and listened so far. */
// deno-lint-ignore no-explicit-any
export async function audioUse(page: Page): Promise<any> {
  return await page.evaluate("({ ...audioUse, contexts: audioUse.contexts.length })");
}

/** Waits until a condition on `audioUse` is true. The page's policy forbids that it polls for itself. */
export async function untilAudio(page: Page, condition: string): Promise<void> {
  await until(() => page.evaluate(`(() => { with (audioUse) return Boolean(${condition}); })()`));
}

/** Waits until the voice speaks, does something, and waits until that has stopped the voice in the middle of a sentence. */
export async function silence(page: Page, act: () => Promise<void>): Promise<void> {
  await untilAudio(page, "playing > 0");
  const { stopped } = await audioUse(page);
  await act();
  await untilAudio(page, `playing === 0 && stopped > ${stopped}`);
}

/** Turns the voice on. */
export async function turnOn(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Voice", exact: true }).click();
  await page.locator('#voice[aria-pressed="true"][data-state="on"]').waitFor();
}

/** Chooses a voice or a microphone in the dialog. */
export async function choose(page: Page, label: string, value: string): Promise<void> {
  await page.getByRole("button", { name: "Voice and microphone" }).click();
  await page.getByLabel(label).selectOption(value);
  await page.getByRole("button", { name: "Close" }).click();
}
