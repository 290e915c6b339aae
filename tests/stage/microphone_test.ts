/** The microphone of the stage in a real browser, which hears a file. */

import { assert, assertEquals } from "@std/assert";
import type { Page } from "playwright-core";
import { parseWav } from "../../lib/speech/wav.ts";
import { FAKE_RECOGNITION } from "../support/harness/audio_fixture.ts";
import { makeCertificate } from "../support/harness/certificate.ts";
import { FakeUpstream } from "../support/harness/fake_upstream.ts";
import { countMethod, script, startServer, until } from "../support/harness/server_process.ts";
import { reply, send, untilConnected } from "../support/harness/stage_fixture.ts";
import {
  audioUse,
  choose,
  LONG,
  NETWORK_NAME,
  silence,
  SLOW_CHARS_PER_S,
  testVoiceStage,
  turnOn,
  untilAudio,
} from "../support/harness/voice_stage.ts";

/** A recognizer for the settings; the page's requests never reach it. */
const ENV = { VTUBER_TRANSCRIPTION_BASE_URL: "http://127.0.0.1:9/v1" };

/** Holds the button until something was recorded. */
async function hold(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Talk" }).hover();
  await page.mouse.down();
  await untilRecorded(page);
}

/** Waits until half a second was recorded. */
async function untilRecorded(page: Page): Promise<void> {
  await page.locator('#talk[data-state="recording"][aria-pressed="true"]').waitFor();
  const now = await page.evaluate("audioUse.contexts[0].currentTime");
  await untilAudio(page, `contexts[0].currentTime > ${now} + 0.5`);
}

testVoiceStage("stage: the microphone", ENV, {
  async "push to talk: the recording becomes a message, and the microphone closes"({ open, audio }) {
    const page = await open();
    await choose(page, "Your microphone", "push");
    // The browser has asked for the permission, and the microphone is closed again.
    await untilAudio(page, "open === 0 && microphones === 1");
    audio.said.push(script({ text: "I have heard you." }));
    await hold(page);
    await page.getByText("Listening. Release to send, Escape to forget.").waitFor();
    await page.mouse.up();
    await reply(page, "I have heard you.").waitFor();
    await untilAudio(page, "open === 0");
    const { rate, samples } = parseWav(audio.recordings[0]!);
    assertEquals(rate, 16_000);
    assert(samples.length > 4_000 && samples.length < 60 * 16_000);

    // The space bar does the same, but not while a message is written.
    await page.getByRole("textbox", { name: "Message" }).press(" ");
    await page.locator(".brand").click();
    audio.said.push(script({ text: "And again." }));
    await page.keyboard.down(" ");
    await untilRecorded(page);
    await page.keyboard.up(" ");
    await reply(page, "And again.").waitFor();
    assertEquals(audio.recordings.length, 2);

    // Escape forgets what was said.
    await page.locator(".brand").click();
    await page.keyboard.down(" ");
    await untilRecorded(page);
    await page.keyboard.press("Escape");
    await untilAudio(page, "open === 0");
    await page.keyboard.up(" ");
    await page.locator('#talk[data-state="off"]').waitFor();
    assertEquals(audio.recordings.length, 2);
  },

  async "push to talk: a phone's texts name no keys"({ open }) {
    const page = await open("/", { hasTouch: true, isMobile: true });
    await choose(page, "Your microphone", "push");
    assertEquals(
      await page.locator("#microphone-hint").textContent(),
      "Hold the button with the microphone. The server transcribes what you say.",
    );
  },

  async "push to talk: pressing the button interrupts the character, and cancels its turn"(
    { open, audio, gate, server },
  ) {
    const page = await open();
    audio.charsPerS = SLOW_CHARS_PER_S;
    await turnOn(page);
    await choose(page, "Your microphone", "push");
    await send(page, script({ text: LONG }, gate.step));
    const cancelled = countMethod(await server.received(), "session/cancel");
    await silence(page, () => hold(page));
    await server.receivedTimes("session/cancel", cancelled + 1);
    await gate.open();
    await page.mouse.up();
    await page.locator(".notice", { hasText: "Nothing was understood." }).waitFor();
  },

  async "hands-free: what is said becomes a message, and talking interrupts the character"(
    { open, audio, gate, server },
  ) {
    const page = await open();
    audio.charsPerS = SLOW_CHARS_PER_S;
    await turnOn(page);
    // A slow machine may hear the next talk before it speaks.
    audio.saidLater = script({ text: LONG }, gate.step);
    const cancelled = countMethod(await server.received(), "session/cancel");
    await choose(page, "Your microphone", "hands-free");
    await page.getByText("Hands-free: just talk.").waitFor();
    const [recording] = await audio.untilRecorded(1);
    assert(parseWav(recording!).samples.some((sample) => Math.abs(sample) > 1_000));
    // The character answers, until the person talks again.
    await reply(page, "This is a sentence").first().waitFor();
    let asked = 0;
    await silence(page, async () => {
      asked = audio.spoken.length;
      audio.said.push(new Error("The recognizer is deaf."));
      await page.getByText("Listening…").waitFor();
    });
    await server.receivedTimes("session/cancel", cancelled + 1);
    await gate.open();
    assert(audio.spoken.length <= asked + 3, `${audio.spoken.length - asked} sentences were asked for`);
    // It listens on, if a recording cannot be transcribed.
    await page.locator(".notice", { hasText: "The recognizer is deaf." }).waitFor();
    await page.getByText("Hands-free: just talk.").waitFor();
    await page.getByRole("button", { name: "Talk" }).click();
    await untilAudio(page, "open === 0");
    await page.locator('#talk[aria-pressed="false"]').waitFor();

    // The choice is remembered, but a tab that is opened later does not listen by itself.
    await page.reload();
    await untilConnected(page);
    await page.locator("#log").click();
    await page.locator('#talk[aria-pressed="false"]').waitFor();
    assertEquals((await audioUse(page)).microphones, 0);
    await page.getByRole("button", { name: "Talk" }).click();
    await page.getByText("Hands-free: just talk.").waitFor();
  },

  async "without a recognizer of the server, that of the browser hears"({ open }) {
    const page = await open("/", {
      prepare: async (page) => {
        await page.addInitScript(FAKE_RECOGNITION);
        await page.route((url) => url.pathname === "/", async (route) => {
          const isPage = !(await route.request().headerValue("accept"))?.startsWith("application/json");
          if (isPage) await route.continue();
          else await route.fulfill({ json: { speech: false, transcription: false } });
        });
      },
    });
    await page.getByRole("button", { name: "Voice and microphone" }).click();
    await page.getByText("Most browsers send the sound to their maker").waitFor();
    await page.getByLabel("Your microphone").selectOption("push");
    await page.getByRole("button", { name: "Close" }).click();
    await page.getByRole("button", { name: "Talk" }).hover();
    await page.mouse.down();
    await page.locator('#talk[data-state="recording"]').waitFor();
    await page.evaluate(`say(${JSON.stringify(script({ text: "The browser has heard you." }))})`);
    assertEquals(await page.locator(".message.user").count(), 0);
    await page.mouse.up();
    await reply(page, "The browser has heard you.").waitFor();
    await page.locator('#talk[data-state="off"]').waitFor();

    await choose(page, "Your microphone", "hands-free");
    await page.getByText("Hands-free: just talk.").waitFor();
    await until(() => page.evaluate("Boolean(globalThis.recognition)"));
    // It does not listen while a voice of the browser speaks, whose echo it would write down.
    await page.evaluate('isHeld = true, addVoices(["en", "English", "en-US"])');
    await turnOn(page);
    await page.evaluate(`say(${JSON.stringify(script({ text: "And hands-free." }))})`);
    await untilAudio(page, "utterances.length === 1");
    await until(() => page.evaluate("globalThis.recognition === undefined"));
    await page.evaluate("endSpeech()");
    await until(() => page.evaluate("recognitions === 3"));
    // It ends by itself in silence, and is started again; a refusal ends it for good.
    await page.evaluate("recognition.onend()");
    await until(() => page.evaluate("recognitions === 4"));
    await page.evaluate("recognition.onerror({ error: 'not-allowed' }), recognition.onend()");
    await page.locator(".notice", { hasText: "The browser does not allow" }).waitFor();
    await page.locator('#talk[aria-pressed="false"]').waitFor();
    assertEquals((await audioUse(page)).microphones, 0);
  },

  async "the server's own voice speaks, and its recognizer hears"({ open }) {
    const said = script({ text: "Hello there. This is the voice of the server." });
    await using upstream = new FakeUpstream(() => Response.json({ text: said }));
    await using server = await startServer({ env: { VTUBER_TRANSCRIPTION_BASE_URL: upstream.url } });
    const page = await open(server.url, { isReal: true });
    const requests = new Set<string>();
    page.on("response", (response) => {
      const { pathname } = new URL(response.url());
      if (pathname.startsWith("/v1/audio/")) requests.add(`${response.status()} ${pathname}`);
    });
    await turnOn(page);
    await choose(page, "Your microphone", "push");
    await hold(page);
    await page.mouse.up();
    await page.locator('.drawn:not([data-mouth="0"])').waitFor();
    await page.locator("#caption-text", { hasText: "voice of the server." }).waitFor();
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
    assert((await audioUse(page)).started > 0);
    assertEquals([...requests].sort(), [
      "200 /v1/audio/speech",
      "200 /v1/audio/transcriptions",
      "200 /v1/audio/voices",
    ]);
    const file = upstream.calls[0]!.form!.get("file") as File;
    assertEquals(parseWav(await file.bytes()).rate, 16_000);
    await page.close();
  },

  async "another machine has a microphone with TLS only, and the page says so"({ open, audio }) {
    const folder = await Deno.makeTempDir();
    try {
      const { cert, key } = await makeCertificate(folder);
      for (const args of [[], ["--tls-cert", cert, "--tls-key", key]]) {
        await using server = await startServer({ args, env: { ...ENV, VTUBER_AUTH_KEY: "owner" } });
        const url = `${server.url.replace("127.0.0.1", NETWORK_NAME)}/#key=owner`;
        const page = await open(url, { ignoreHTTPSErrors: true });
        if (args.length === 0) {
          await page.getByRole("button", { name: "Voice and microphone" }).click();
          await page.getByText("start the server with --tls-cert and --tls-key").waitFor();
          assertEquals(await page.getByLabel("Your microphone").isDisabled(), true);
          assertEquals(await page.locator("#talk").isHidden(), true);
        } else {
          audio.said.push(script({ text: "I have heard you from afar." }));
          await choose(page, "Your microphone", "push");
          await hold(page);
          await page.mouse.up();
          await reply(page, "I have heard you from afar.").waitFor();
        }
        await page.close();
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
