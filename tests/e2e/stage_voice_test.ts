/** The voice of the stage in a real browser, with a fake voice in place of the server's. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { CHROMIUM, startBrowser } from "../support/harness/browser.ts";
import { apiKey } from "../support/harness/key_fixture.ts";
import { ServedApp } from "../support/harness/served_app.ts";
import { countMethod, script, startServer } from "../support/harness/server_process.ts";
import { reply, send, untilConnected } from "../support/harness/stage_fixture.ts";
import {
  AudioPages,
  audioUse,
  choose,
  LONG,
  silence,
  SLOW_CHARS_PER_S,
  testVoiceStage,
  turnOn,
  untilAudio,
} from "../support/harness/voice_stage.ts";

/** A recognizer for the settings; the page's requests never reach it. */
const ENV = { VTUBER_TRANSCRIPTION_BASE_URL: "http://127.0.0.1:9/v1" };

/** A window that is quickly drawn. */
const SMALL = { width: 320, height: 240 };

testVoiceStage("stage: the voice", ENV, {
  async "nothing sounds, listens or is asked for before it was turned on"({ open, audio }) {
    const page = await open();
    await page.locator("#talk").click();
    await page.getByRole("button", { name: "Close" }).click();
    await page.locator(".brand").click();
    await page.keyboard.press(" ");
    await send(page, script({ text: "Hello. Nobody hears this." }));
    await page.locator("#caption-text", { hasText: "Nobody hears this." }).waitFor();
    await page.locator('.drawn[data-mouth="0"]').waitFor();
    const { contexts, started, microphones, utterances } = await audioUse(page);
    assertEquals([contexts, started, microphones, utterances, audio.spoken, audio.recordings.length], [
      ...[0, 0, 0],
      ...[[], [], 0],
    ]);
  },

  async "a reply is spoken sentence by sentence, with lips, captions and emotions at their place"(
    { open, audio },
  ) {
    const page = await open();
    await turnOn(page);
    await page.evaluate(`
      globalThis.faces = [];
      globalThis.mouths = { silent: 0, loud: 0 };
      const caption = () => document.getElementById("caption-text").textContent;
      const character = document.getElementById("character");
      new MutationObserver(() => faces.push([character.dataset.expression, caption()]))
        .observe(character, { attributeFilter: ["data-expression"] });
      const drawn = document.querySelector(".drawn");
      new MutationObserver(() => {
        const sentence = /First(?!.*Loud)/.test(caption()) ? "silent" : "loud";
        mouths[sentence] = Math.max(mouths[sentence], Number(drawn.dataset.mouth));
      }).observe(drawn, { attributeFilter: ["data-mouth"] });
    `);
    const silent = "First there is a sentence of which nobody hears a sound.";
    const loud = "Loud is this sentence, and it is the second.";
    const last = "Yes, and that is about as much as there is to say at all.";
    audio.silent.add(silent);
    await send(
      page,
      script({ text: `[happy] ${silent} ` }, {
        text: `[sad] ${loud} [joy] ${last}\n\`\`\`js\ncode();\n\`\`\`\n`,
      }),
    );
    assertEquals(await audio.untilSpoken(3), [silent, loud, last]);
    await page.locator("#caption-text", { hasText: "to say at all." }).waitFor();
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
    await page.locator('.drawn[data-mouth="0"]').waitFor();
    // deno-lint-ignore no-explicit-any
    const { faces, mouths } = await page.evaluate("({ faces, mouths })") as any;
    assert(mouths.silent === 0 && mouths.loud > 0.2, JSON.stringify(mouths));
    // Each emotion is shown when the voice comes to it, which is after the words before it and before those after it.
    assertEquals(faces.slice(0, 3).map(([face]: [string]) => face), ["happy", "sad", "happy"]);
    const [happy, sad, joy] = faces;
    for (
      const [caption, before, after] of [
        [happy[1], "", "hears"],
        [sad[1], "a sound.", "the second"],
        [joy[1], "the second.", "at all"],
      ]
    ) assert(caption.includes(before) && !caption.includes(after), JSON.stringify(faces));
    assertEquals([audio.spoken.length, audio.spoken[0]!.voice], [3, "one"]);
    assertEquals((await audioUse(page)).contexts, 1);
    // A voice and a screen reader at once cannot be understood.
    assertEquals(await page.locator("#spoken").textContent(), "");
  },

  async "mute silences the voice at once, and the captions go on"({ open, audio }) {
    const page = await open();
    audio.charsPerS = SLOW_CHARS_PER_S / 5;
    await turnOn(page);
    await send(page, script({ text: "One sentence. Another one. A third one. The end." }));
    await silence(page, () => page.getByRole("button", { name: "Voice", exact: true }).click());
    assertEquals(await page.locator("#voice").getAttribute("aria-pressed"), "false");
    const asked = audio.spoken.length;
    await page.locator("#caption-text", { hasText: "The end." }).waitFor();
    assertEquals(audio.spoken.length, asked);
    assert(asked <= 2, `${asked} sentences were asked for`);
  },

  async "the stop button, Escape and the next message silence the voice, and cancel a turn that runs"(
    { open, audio, gate, server },
  ) {
    const page = await open();
    audio.charsPerS = SLOW_CHARS_PER_S;
    await turnOn(page);
    await send(page, script({ text: `${LONG}Nobody waits for this.` }, gate.step, { text: "Too late." }));
    const cancelled = countMethod(await server.received(), "session/cancel");
    await silence(page, async () => {
      await page.locator("#caption-text", { hasText: "This" }).waitFor();
      await page.getByRole("button", { name: "Stop" }).click();
    });
    await server.receivedTimes("session/cancel", cancelled + 1);
    await page.getByText("Stopped.").waitFor();
    await gate.open();
    // The caption stays with what was spoken.
    const caption = await page.locator("#caption-text").innerText();
    assert(caption.startsWith("This") && !caption.includes("Nobody"), caption);

    // The turn is over, but not the voice.
    await send(page, script({ text: LONG }));
    await reply(page, "to its very end").nth(1).waitFor();
    await silence(page, () => page.keyboard.press("Escape"));
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
    await send(page, script({ text: LONG }));
    await silence(page, () => send(page, script({ text: "" })));
    await send(page, script({ text: "Something else." }));
    await page.locator("#caption-text", { hasText: "Something else." }).waitFor();
    assertEquals(audio.spoken.at(-1)!.input, "Something else.");
    assert(audio.spoken.length <= 7, `${audio.spoken.length} sentences were asked for`);
  },

  async "the choice is remembered, and sound waits for a click"({ open, audio }) {
    const page = await open();
    await turnOn(page);
    await choose(page, "Voice of the character", "server:two");
    await page.reload();
    await untilConnected(page);
    await page.locator('#voice[aria-pressed="true"][data-state="waiting"]').waitFor();
    assertEquals((await audioUse(page)).contexts, 0);
    await page.locator("#log").click();
    await page.locator('#voice[data-state="on"]').waitFor();
    await send(page, script({ text: "I am the other voice." }));
    await audio.untilSpoken(1);
    assertEquals(audio.spoken, [{ input: "I am the other voice.", voice: "two" }]);
    await page.getByRole("button", { name: "Voice", exact: true }).click();
    await page.reload();
    await untilConnected(page);
    assertEquals(await page.locator("#voice").getAttribute("aria-pressed"), "false");
  },

  async "each sentence gets a voice that speaks its language, and the voice that was picked its own"(
    { open, audio },
  ) {
    const page = await open();
    await turnOn(page);
    await page.evaluate('addVoices(["en", "English", "en-US"], ["ja", "Japanese", "ja-JP"])');
    await send(page, script({ text: "It is fine. 今日は。" }));
    await untilAudio(page, "utterances.length === 1");
    assertEquals((await audioUse(page)).utterances, [["ja", "今日は。"]]);
    assertEquals(audio.spoken.map(({ input }) => input), ["It is fine."]);
    await choose(page, "Voice of the character", "browser:en");
    await send(page, script({ text: "It is fine. 今日は。" }));
    await untilAudio(page, "utterances.length === 3");
    assertEquals((await audioUse(page)).utterances.slice(1), [["en", "It is fine."], ["ja", "今日は。"]]);
    assertEquals(audio.spoken.length, 1);
  },

  async "a voice that fails is told; the captions go on, or another voice speaks"({ open, audio }) {
    const page = await open();
    audio.status = 500;
    await turnOn(page);
    await send(page, script({ text: "One. Two. Three." }));
    await page.locator(".notice", { hasText: "The voice is hoarse." }).waitFor();
    await page.locator("#caption-text", { hasText: "Three." }).waitFor();
    await page.evaluate('addVoices(["en", "English", "en-US"])');
    await send(page, script({ text: "One. Two." }));
    await untilAudio(page, "utterances.length === 2");
    assertEquals((await audioUse(page)).utterances, [["en", "One."], ["en", "Two."]]);
  },

  async "replies to other clients are spoken to their end, one after the other"({ open, audio, server }) {
    const page = await open();
    await turnOn(page);
    audio.charsPerS = 2 * SLOW_CHARS_PER_S;
    await (await server.chat(script({ text: "I am the first. I have a second sentence." }))).text();
    await untilAudio(page, "playing > 0");
    await (await server.chat(script({ text: "[sad] I am the other one. [joy] Yes." }))).text();
    const spoken = await audio.untilSpoken(4);
    assertEquals(spoken, ["I am the first.", "I have a second sentence.", "I am the other one.", "Yes."]);
    await page.locator('#character[data-expression="sad"]').waitFor();
    assertStringIncludes(await page.locator("#caption-text").innerText(), "second sentence.");
    await page.locator('#character[data-expression="happy"]').waitFor();
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
  },

  async "a key without the scope audio leaves the browser's voices"({ open }) {
    await using served = ServedApp.start({ access: { keys: [apiKey("page", ["chat", "events"])] } });
    const page = await open(`${served.url}/#key=page`, { isReal: true });
    await page.getByRole("button", { name: "Voice and microphone" }).click();
    await page.getByText("lacks the scope “audio”: only the browser's voices can speak").waitFor();
    await page.close();
  },
});

Deno.test("stage: the overlay speaks without a click, if its address and its key say so", {
  ignore: CHROMIUM === undefined,
}, async () => {
  await using server = await startServer();
  await using served = ServedApp.start({ access: { keys: [apiKey("page", ["chat", "events"])] } });
  // The browser in OBS lets pages make sound.
  await using browser = await startBrowser("--autoplay-policy=no-user-gesture-required");
  const addresses = [["", []], ["&voice=1", ["one"]], ["&voice=two", ["two"]]] as const;
  await using stack = new AsyncDisposableStack();
  const overlays = await Promise.all(addresses.map(async ([voice, expected]) => {
    const pages = stack.use(new AudioPages(browser, server.url));
    const page = await pages.open(`/?overlay=1${voice}`, { viewport: SMALL });
    if (voice !== "") {
      await untilAudio(page, 'contexts[0]?.state === "running"');
      await page.locator('#voice-pick option[value="server:one"]').waitFor({ state: "attached" });
    }
    return { pages, page, expected };
  }));
  await (await server.chat(script({ text: "Hello, everybody." }))).text();
  for (const { pages, page, expected } of overlays) {
    await page.locator("#caption-text", { hasText: "Hello, everybody." }).waitFor();
    assertEquals(pages.audio.spoken.map(({ voice }) => voice), [...expected]);
    assertEquals((await audioUse(page)).contexts, expected.length);
    pages.assertNoProblems();
  }
  const pages = stack.use(new AudioPages(browser, served.url));
  const page = await pages.open("/?overlay=1&voice=1#key=page", { isReal: true, viewport: SMALL });
  await page.getByRole("alert").getByText("lacks the scope “audio”: it cannot speak").waitFor();
  pages.assertNoProblems();
  await stack.disposeAsync();
});
