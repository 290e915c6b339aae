/** The voice and the microphone of the stage in a real browser, with a fake voice and recognizer. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Browser, Page } from "playwright-core";
import { parseWav } from "../../lib/speech/wav.ts";
import { COUNT_AUDIO, FakeAudio, microphoneFlags, writeTalk } from "../support/harness/audio_fixture.ts";
import { CHROMIUM, openPage, type PageOptions, startBrowser } from "../support/harness/browser.ts";
import { createGate, type Gate } from "../support/harness/data_dir_fixture.ts";
import { FakeUpstream } from "../support/harness/fake_upstream.ts";
import { apiKey } from "../support/harness/key_fixture.ts";
import { ServedApp } from "../support/harness/served_app.ts";
import {
  countMethod,
  runStep,
  script,
  type ServerProcess,
  startServer,
  until,
} from "../support/harness/server_process.ts";
import { reply, send, untilConnected } from "../support/harness/stage_fixture.ts";

/** A reply that a slow voice needs a minute for. */
const LONG = "This is a sentence that takes a while to be spoken to its very end. ".repeat(8);
const SLOW_CHARS_PER_S = 10;
/** A recognizer for the settings; the page's requests never reach it. */
const ENV = { VTUBER_TRANSCRIPTION_BASE_URL: "http://127.0.0.1:9/v1" };

/** A recognition of the browser that hears what a test says. */
const FAKE_RECOGNITION = `
  globalThis.recognitions = 0;
  globalThis.SpeechRecognition = class {
    start() {
      recognitions++;
      globalThis.recognition = this;
    }
    stop() {
      globalThis.recognition = undefined;
      queueMicrotask(() => this.onend());
    }
    abort() {
      globalThis.recognition = undefined;
    }
  };
  globalThis.say = (transcript) => {
    recognition.onspeechstart();
    recognition.onresult({ resultIndex: 0, results: [Object.assign([{ transcript }], { isFinal: true })] });
  };
`;

interface Stage {
  readonly page: Page;
  readonly server: ServerProcess;
  readonly browser: Browser;
  readonly audio: FakeAudio;
  readonly gate: Gate;
  /** Opens another page of the same server. */
  open(path?: string, options?: PageOptions): ReturnType<typeof openPage>;
}

/** What made sound and listened so far. */
// deno-lint-ignore no-explicit-any
async function audioUse(page: Page): Promise<any> {
  return await page.evaluate("({ ...audioUse, contexts: audioUse.contexts.length })");
}

/** Waits until a condition on `audioUse` is true. The page's policy forbids that it polls for itself. */
async function untilAudio(page: Page, condition: string): Promise<void> {
  await until(() => page.evaluate(`(() => { with (audioUse) return Boolean(${condition}); })()`));
}

/** Waits until the clock of the sound has gone on for a second. */
async function untilHeard(page: Page): Promise<void> {
  const now = await page.evaluate("audioUse.contexts[0].currentTime");
  await untilAudio(page, `contexts[0].currentTime > ${now} + 1`);
}

async function turnOn(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Voice", exact: true }).click();
  await page.locator('#voice[aria-pressed="true"][data-state="on"]').waitFor();
}

async function choose(page: Page, label: string, value: string): Promise<void> {
  await page.getByRole("button", { name: "Voice and microphone" }).click();
  await page.getByLabel(label).selectOption(value);
  await page.getByRole("button", { name: "Close" }).click();
}

const STEPS: Record<string, (stage: Stage) => Promise<void>> = {
  async "nothing sounds, listens or is asked for before it was turned on"({ page, audio }) {
    await page.locator("#talk").waitFor();
    await page.locator("#talk").click();
    await page.getByRole("button", { name: "Close" }).click();
    await page.locator(".brand").click();
    await page.keyboard.press(" ");
    await send(page, script({ text: "Hello. Nobody hears this." }));
    await page.locator("#caption-text", { hasText: "Nobody hears this." }).waitFor();
    await page.locator('.drawn[data-mouth="0"]').waitFor();
    const { contexts, started, microphones } = await audioUse(page);
    assertEquals([contexts, started, microphones, audio.spoken, audio.recordings.length], [0, 0, 0, [], 0]);
  },

  async "a reply is spoken sentence by sentence, with lips, captions and emotions at their place"(
    { page, audio },
  ) {
    await turnOn(page);
    await page.evaluate(`
      globalThis.faces = [];
      const character = document.getElementById("character");
      new MutationObserver(() => faces.push([
        character.dataset.expression,
        document.getElementById("caption-text").textContent.includes("by a voice."),
      ])).observe(character, { attributeFilter: ["data-expression"] });
    `);
    const first = "[happy] First there is a sentence that takes a second or two to be spoken by a voice.";
    await send(
      page,
      script({ text: `${first} ` }, { text: "[sad] Second it is over. \n```js\ncode();\n```\n" }),
    );
    await page.locator('.drawn:not([data-mouth="0"])').waitFor();
    assertEquals(await audio.untilSpoken(2), [first.slice(8), "Second it is over."]);
    await page.locator("#caption-text", { hasText: "it is over." }).waitFor();
    await page.locator('#character[data-expression="sad"]').waitFor();
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
    await page.locator('.drawn[data-mouth="0"]').waitFor();
    assertEquals(await page.evaluate("faces.slice(0, 2)"), [["happy", false], ["sad", true]]);
    assertEquals([audio.spoken.length, audio.spoken[0]!.voice], [2, "one"]);
    assertEquals((await audioUse(page)).contexts, 1);
    // A voice and a screen reader at once cannot be understood.
    assertEquals(await page.locator("#spoken").textContent(), "");
  },

  async "mute silences the voice at once, and the captions go on"({ page, audio }) {
    audio.charsPerS = SLOW_CHARS_PER_S / 5;
    await turnOn(page);
    await send(page, script({ text: "One sentence. Another one. A third one. The end." }));
    await untilAudio(page, "playing > 0");
    await page.getByRole("button", { name: "Voice", exact: true }).click();
    await page.locator('#voice[aria-pressed="false"]').waitFor();
    await untilAudio(page, "playing === 0");
    const asked = audio.spoken.length;
    await page.locator("#caption-text", { hasText: "The end." }).waitFor();
    assertEquals(audio.spoken.length, asked);
    assert(asked <= 2, `${asked} sentences were asked for`);
  },

  async "the stop button silences the voice and cancels the turn"({ page, audio, gate, server }) {
    audio.charsPerS = SLOW_CHARS_PER_S;
    await turnOn(page);
    await send(page, script({ text: LONG }, gate.step, { text: "Too late." }));
    await untilAudio(page, "playing > 0");
    const cancelled = countMethod(await server.received(), "session/cancel");
    await page.getByRole("button", { name: "Stop" }).click();
    await untilAudio(page, "playing === 0");
    await server.receivedTimes("session/cancel", cancelled + 1);
    await page.getByText("Stopped.").waitFor();
    await gate.open();
    assert(audio.spoken.length <= 3);
  },

  async "the voice of a turn that is over is stopped too, by Escape and by the next message"(
    { page, audio },
  ) {
    audio.charsPerS = SLOW_CHARS_PER_S;
    await turnOn(page);
    await send(page, script({ text: LONG }));
    await reply(page, "This is a sentence").waitFor();
    await untilAudio(page, "playing > 0");
    await page.keyboard.press("Escape");
    await untilAudio(page, "playing === 0");
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
    await send(page, script({ text: LONG }));
    await untilAudio(page, "playing > 0");
    await send(page, script({ text: "Something else." }));
    await page.locator("#caption-text", { hasText: "Something else." }).waitFor();
    assertEquals(audio.spoken.at(-1)!.input, "Something else.");
    assert(audio.spoken.length <= 5, `${audio.spoken.length} sentences were asked for`);
  },

  async "the choice is remembered, and sound waits for a click"({ page, audio }) {
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

  async "a voice that fails is told, and the captions go on"({ open }) {
    await using opened = await open("/", { expected: [/status of 500/] });
    const { page } = opened;
    const audio = new FakeAudio();
    audio.status = 500;
    await page.unrouteAll();
    await audio.serve(page);
    await turnOn(page);
    await send(page, script({ text: "One. Two. Three." }));
    await page.locator(".notice", { hasText: "The voice is hoarse." }).waitFor();
    await page.locator("#caption-text", { hasText: "Three." }).waitFor();
  },

  async "a voice of the browser speaks what no voice of the server can, or what it is picked for"(
    { open, audio },
  ) {
    await using opened = await open("/", {
      prepare: async (page) => {
        await page.addInitScript(`
          const voices = [["en", "English", "en-US"], ["ja", "Japanese", "ja-JP"]].map(([voiceURI, name, lang]) =>
            ({ voiceURI, name, lang, default: false, localService: true }));
          globalThis.SpeechSynthesisUtterance = class { constructor(text) { this.text = text; } };
          Object.defineProperty(globalThis, "speechSynthesis", { value: {
            getVoices: () => voices,
            addEventListener() {},
            cancel() {},
            speak(utterance) {
              audioUse.utterances.push([utterance.voice.voiceURI, utterance.text]);
              queueMicrotask(() => {
                utterance.onstart();
                utterance.onend();
              });
            },
          } });
        `);
      },
    });
    const { page } = opened;
    await turnOn(page);
    await send(page, script({ text: "It is fine. 今日は。" }));
    await untilAudio(page, "utterances.length === 1");
    assertEquals((await audioUse(page)).utterances, [["ja", "今日は。"]]);
    assertEquals(audio.spoken.map(({ input }) => input), ["It is fine."]);
    await choose(page, "Voice of the character", "browser:en");
    await send(page, script({ text: "It is fine." }));
    await untilAudio(page, "utterances.length === 2");
    assertEquals((await audioUse(page)).utterances[1], ["en", "It is fine."]);
    assertEquals(audio.spoken.length, 1);
  },

  async "replies to other clients are spoken to their end, one after the other"({ page, audio, server }) {
    await turnOn(page);
    audio.charsPerS = SLOW_CHARS_PER_S;
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

  async "without a recognizer of the server, that of the browser hears"({ open }) {
    await using opened = await open("/", {
      prepare: async (page) => {
        await page.addInitScript(FAKE_RECOGNITION);
        await page.route((url) => url.pathname === "/", async (route) => {
          const isPage = !(await route.request().headerValue("accept"))?.startsWith("application/json");
          if (isPage) await route.continue();
          else await route.fulfill({ json: { speech: false, transcription: false } });
        });
      },
    });
    const { page } = opened;
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
    await page.evaluate(`say(${JSON.stringify(script({ text: "And hands-free." }))})`);
    await reply(page, "And hands-free.").waitFor();
    // It ends by itself in silence, and is started again; a refusal ends it for good.
    await page.evaluate("recognition.onend()");
    await until(() => page.evaluate("recognitions === 3"));
    await page.evaluate("recognition.onerror({ error: 'not-allowed' }), recognition.onend()");
    await page.locator(".notice", { hasText: "The browser does not allow" }).waitFor();
    await page.locator('#talk[aria-pressed="false"]').waitFor();
    assertEquals((await audioUse(page)).microphones, 0);
    assertEquals(opened.problems, []);
  },

  async "push to talk: the recording becomes a message, and the microphone closes"({ page, audio }) {
    audio.said.push(script({ text: "I have heard you." }));
    await choose(page, "Your microphone", "push");
    await untilAudio(
      page,
      "open === 0 && microphones === 1",
    );
    const talk = page.getByRole("button", { name: "Talk" });
    await talk.hover();
    await page.mouse.down();
    await page.locator('#talk[data-state="recording"][aria-pressed="true"]').waitFor();
    await page.getByText("Listening. Release to send").waitFor();
    await untilHeard(page);
    await page.mouse.up();
    await reply(page, "I have heard you.").waitFor();
    await untilAudio(page, "open === 0");
    const { rate, samples } = parseWav(audio.recordings[0]!);
    assertEquals(rate, 16_000);
    assert(samples.length > 8_000 && samples.length < 60 * 16_000);

    // The space bar does the same, but not while a message is written.
    await page.getByRole("textbox", { name: "Message" }).press(" ");
    await page.locator(".brand").click();
    audio.said.push(script({ text: "And again." }));
    await page.keyboard.down(" ");
    await page.locator('#talk[data-state="recording"]').waitFor();
    await untilHeard(page);
    await page.keyboard.up(" ");
    await reply(page, "And again.").waitFor();
    assertEquals(audio.recordings.length, 2);

    // Escape forgets what was said.
    await page.locator(".brand").click();
    await page.keyboard.down(" ");
    await page.locator('#talk[data-state="recording"]').waitFor();
    await page.keyboard.press("Escape");
    await untilAudio(page, "open === 0");
    await page.keyboard.up(" ");
    assertEquals(audio.recordings.length, 2);
  },

  async "hands-free: what is said becomes a message, and talking interrupts the character"({ page, audio }) {
    audio.charsPerS = SLOW_CHARS_PER_S;
    await turnOn(page);
    audio.said.push(script({ text: LONG }));
    await choose(page, "Your microphone", "hands-free");
    await page.getByText("Hands-free: just talk.").waitFor();
    const [recording] = await audio.untilRecorded(1);
    assert(parseWav(recording!).samples.some((sample) => Math.abs(sample) > 1_000));
    // The character answers, until the person talks again.
    await reply(page, "This is a sentence").waitFor();
    await untilAudio(page, "playing > 0");
    await audio.untilRecorded(2);
    await untilAudio(page, "playing === 0");
    const asked = audio.spoken.length;
    assert(asked <= 4, `${asked} sentences were asked for`);
    await page.getByRole("button", { name: "Talk" }).click();
    await untilAudio(page, "open === 0");
    await page.locator('#talk[aria-pressed="false"]').waitFor();
    // A tab that is opened later does not listen by itself.
    await page.reload();
    await untilConnected(page);
    await page.locator("#log").click();
    assertEquals((await audioUse(page)).microphones, 0);
    await page.getByRole("button", { name: "Talk" }).click();
    await page.getByText("Hands-free: just talk.").waitFor();
  },

  async "a recording that cannot be written down is told"({ open }) {
    await using opened = await open("/", { expected: [/status of 500/] });
    const { page } = opened;
    await page.route(
      "**/v1/audio/transcriptions",
      (route) => route.fulfill({ status: 500, json: { error: { message: "The recognizer is deaf." } } }),
    );
    await choose(page, "Your microphone", "hands-free");
    await page.locator(".notice", { hasText: "The recognizer is deaf." }).waitFor();
    assertStringIncludes(await page.locator("#hearing").innerText(), "Hands-free");
  },
};

Deno.test("stage: voice and microphone", { ignore: CHROMIUM === undefined }, async (t) => {
  const folder = await Deno.makeTempDir();
  try {
    await writeTalk(`${folder}/talk.wav`);
    await using server = await startServer({ env: ENV });
    await using browser = await startBrowser(...microphoneFlags(`${folder}/talk.wav`));
    for (const [name, step] of Object.entries(STEPS)) {
      await runStep(t, name, async () => {
        await using gate = await createGate();
        const audio = new FakeAudio();
        const open: Stage["open"] = async (path = "/", { prepare, ...options } = {}) => {
          const opened = await openPage(browser, server.url + path, {
            ...options,
            async prepare(page) {
              await page.addInitScript(COUNT_AUDIO);
              await audio.serve(page);
              await prepare?.(page);
            },
          });
          await untilConnected(opened.page);
          return opened;
        };
        await using opened = await open();
        await step({ page: opened.page, server, browser, audio, gate, open });
        assertEquals(opened.problems, []);
      });
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("stage: the overlay speaks without a click, if its address says so", {
  ignore: CHROMIUM === undefined,
}, async () => {
  await using server = await startServer();
  // The browser in OBS lets pages make sound.
  await using browser = await startBrowser("--autoplay-policy=no-user-gesture-required");
  for (const [voice, spoken] of [["", []], ["&voice=1", ["one"]], ["&voice=two", ["two"]]] as const) {
    const audio = new FakeAudio();
    await using opened = await openPage(browser, `${server.url}/?overlay=1${voice}`, {
      async prepare(page) {
        await page.addInitScript(COUNT_AUDIO);
        await audio.serve(page);
      },
    });
    const { page } = opened;
    if (voice !== "") {
      await untilAudio(page, 'contexts[0]?.state === "running"');
      await page.locator('#voice-pick option[value="server:one"]').waitFor({ state: "attached" });
    }
    // The page has subscribed once it shows what another client's turn does.
    for (let shown = false; !shown;) {
      await (await server.chat(script({ text: "Hello, everybody." }))).text();
      shown = await page.locator("#caption-text", { hasText: "Hello, everybody." }).waitFor({
        timeout: 10_000,
      })
        .then(() => true, () => false);
    }
    assertEquals([...new Set(audio.spoken.map((sentence) => sentence.voice))], [...spoken]);
    assertEquals((await audioUse(page)).contexts, spoken.length);
    assertEquals(opened.problems, []);
  }
});

Deno.test("stage: the server's own voice speaks, and its recognizer hears", {
  ignore: CHROMIUM === undefined,
}, async () => {
  const folder = await Deno.makeTempDir();
  try {
    await writeTalk(`${folder}/talk.wav`);
    const said = script({ text: "Hello there. This is the voice of the server." });
    await using upstream = new FakeUpstream(() => Response.json({ text: said }));
    await using server = await startServer({ env: { VTUBER_TRANSCRIPTION_BASE_URL: upstream.url } });
    await using browser = await startBrowser(...microphoneFlags(`${folder}/talk.wav`));
    await using opened = await openPage(browser, server.url, {
      prepare: (page) => page.addInitScript(COUNT_AUDIO).then(() => {}),
    });
    const { page, problems } = opened;
    await untilConnected(page);
    const requests: string[] = [];
    page.on("response", (response) => {
      const { pathname } = new URL(response.url());
      if (pathname.startsWith("/v1/audio/")) requests.push(`${response.status()} ${pathname}`);
    });
    await turnOn(page);
    await choose(page, "Your microphone", "push");
    await page.getByRole("button", { name: "Talk" }).hover();
    await page.mouse.down();
    await page.locator('#talk[data-state="recording"]').waitFor();
    await untilHeard(page);
    await page.mouse.up();
    await page.locator('.drawn:not([data-mouth="0"])').waitFor();
    await page.locator("#caption-text", { hasText: "voice of the server." }).waitFor();
    await page.getByRole("button", { name: "Stop" }).waitFor({ state: "hidden" });
    assert((await audioUse(page)).started > 0);
    const kinds = [...new Set(requests)].sort();
    assertEquals(kinds, ["200 /v1/audio/speech", "200 /v1/audio/transcriptions", "200 /v1/audio/voices"]);
    const file = upstream.calls[0]!.form!.get("file") as File;
    assertEquals(parseWav(await file.bytes()).rate, 16_000);
    assertEquals(problems, []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("stage: a key without the scope audio, in the page and in the overlay", {
  ignore: CHROMIUM === undefined,
}, async () => {
  await using served = ServedApp.start({ access: { keys: [apiKey("page", ["chat", "events"])] } });
  await using browser = await startBrowser("--autoplay-policy=no-user-gesture-required");
  {
    await using opened = await openPage(browser, `${served.url}/#key=page`);
    await untilConnected(opened.page);
    await opened.page.getByRole("button", { name: "Voice and microphone" }).click();
    await opened.page.getByText("lacks the scope “audio”: only the browser's voices can speak").waitFor();
    assertEquals(opened.problems, []);
  }
  await using opened = await openPage(browser, `${served.url}/?overlay=1&voice=1#key=page`);
  await opened.page.getByRole("alert").getByText("lacks the scope “audio”: it cannot speak").waitFor();
  assertEquals(opened.problems, []);
});

Deno.test("stage: without TLS another machine has no microphone, and the page says why", {
  ignore: CHROMIUM === undefined,
}, async () => {
  await using server = await startServer({ env: { ...ENV, VTUBER_AUTH_KEY: "owner" } });
  await using browser = await startBrowser("--host-resolver-rules=MAP vtuber.test 127.0.0.1");
  const url = server.url.replace("127.0.0.1", "vtuber.test");
  await using opened = await openPage(browser, `${url}/#key=owner`);
  const { page } = opened;
  await untilConnected(page);
  await page.getByRole("button", { name: "Voice and microphone" }).click();
  await page.getByText("start the server with --tls-cert and --tls-key").waitFor();
  assertEquals(await page.getByLabel("Your microphone").isDisabled(), true);
  assertEquals(await page.locator("#talk").isHidden(), true);
});
