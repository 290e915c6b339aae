/** Sounds in messages: an agent that takes them gets them, and any other gets their words. */

import { assert, assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";
import { contentOf } from "../support/harness/chat_fixture.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";
import { FakeRecognizer, transcript } from "../support/harness/fake_voice.ts";

const sound = (data: string, format = "wav") => ({ type: "input_audio", input_audio: { data, format } });
const words = (text: string) => ({ type: "text", text });
const NOTE = "[A sound was left out: this agent takes no sounds.]";
const HELLO = btoa("hello");
const WORLD = btoa("world");
/** Hears the bytes of the recording as its words. */
const hearing = () =>
  new FakeRecognizer(({ audio }) => transcript({ text: new TextDecoder().decode(audio) }));

/** Starts the server with an agent that takes no sounds. */
function startDeaf(options: NonNullable<Parameters<typeof startApp>[0]>): TestApp {
  const app = startApp({ script: saying("Nice."), ...options });
  app.agent.promptCapabilities = { image: false, audio: false };
  return app;
}

Deno.test("sounds: an agent that takes sounds gets them as they are", async () => {
  const speechToText = hearing();
  await using app = startApp({ script: saying("Nice."), speechToText });
  app.agent.promptCapabilities = { image: false, audio: true };
  await contentOf(app.chat({ messages: [{ role: "user", content: [words("Listen:"), sound(HELLO)] }] }));
  assertEquals(app.agent.prompts[0]!.blocks, [
    { type: "text", text: "Listen:" },
    { type: "audio", mimeType: "audio/wav", data: HELLO },
  ]);
  assertEquals(speechToText.requests, []);
});

Deno.test("sounds: any other agent gets their words, of chat and of responses", async () => {
  const speechToText = hearing();
  await using app = startDeaf({ speechToText });
  const content = [words("Listen:"), sound(HELLO), sound(WORLD, "mp3")];
  await contentOf(app.chat({ messages: [{ role: "user", content }] }));
  const input = [{ type: "input_text", text: "Listen:" }, sound(HELLO), sound(WORLD, "mp3")];
  await (await app.post("/v1/responses", { input: [{ role: "user", content: input }] })).text();
  const blocks = [{ type: "text" as const, text: "Listen:\nhello\nworld" }];
  assertEquals(app.agent.prompts.map((prompt) => prompt.blocks), [blocks, blocks]);
  // A server whose model is not set wants one.
  assertEquals(new Set(speechToText.requests.map(({ model }) => model)), new Set(["whisper-1"]));
});

Deno.test("sounds: the next message of the conversation does not transcribe the earlier one again", async () => {
  const speechToText = hearing();
  await using app = startDeaf({ speechToText });
  const first = { role: "user", content: [sound(HELLO)] };
  const reply = await contentOf(app.chat({ conversation: "a", messages: [first] }));
  const second = { role: "user", content: [sound(WORLD)] };
  const messages = [first, { role: "assistant", content: reply }, second];
  await contentOf(app.chat({ conversation: "a", messages }));
  assertEquals(speechToText.requests.length, 2);
  assertEquals(app.agent.prompts.map(({ blocks }) => blocks), [
    [{ type: "text", text: "hello" }],
    [{ type: "text", text: "world" }],
  ]);
});

Deno.test("sounds: the newest 8 are transcribed, and the others are notes", async () => {
  const speechToText = hearing();
  await using app = startDeaf({ speechToText });
  const content = Array.from({ length: 10 }, (_, index) => sound(btoa(`sound ${index}`)));
  await contentOf(app.chat({ messages: [{ role: "user", content }] }));
  assertEquals(speechToText.requests.length, 8);
  assertEquals(app.agent.prompts[0]!.blocks, [{
    type: "text",
    text: [NOTE, NOTE, ...Array.from({ length: 8 }, (_, index) => `sound ${index + 2}`)].join("\n"),
  }]);
});

Deno.test("sounds: a failure in the newest message is the answer; in an earlier one, the prompt has a note", async () => {
  const failing = new FakeRecognizer(({ audio }) => {
    if (audio.length > 5) return transcript({ text: "well" });
    throw new AppError("unsupported_value", "The recording cannot be decoded.");
  });
  await using app = startDeaf({ speechToText: failing });
  const bad = { role: "user", content: [sound(HELLO)] };
  const error = await errorOf(await app.chat({ messages: [bad] }));
  assertEquals([error.status, error.code, error.param], [400, "unsupported_value", "input_audio"]);
  assertEquals(app.agent.prompts, []);
  const good = { role: "user", content: [sound(btoa("longer"))] };
  await contentOf(app.chat({ messages: [bad, { role: "assistant", content: "What?" }, good] }));
  const [block] = app.agent.prompts[0]!.blocks;
  assert(block?.type === "text" && block.text.includes(NOTE) && block.text.endsWith("well"));
});

Deno.test("sounds: a key without the scope audio gets no words, of an earlier message neither", async () => {
  const speechToText = hearing();
  await using app = startDeaf({ speechToText, access: { keys: [apiKey("chat", ["chat"])] } });
  const listen = { role: "user", content: [words("Listen:"), sound(HELLO)] };
  const error = await errorOf(await app.chat({ messages: [listen] }, withKey("chat")));
  assertEquals([error.status, error.code], [403, "insufficient_scope"]);
  const messages = [listen, { role: "assistant", content: "Yes?" }, { role: "user", content: "Repeat it." }];
  await contentOf(app.chat({ messages }, withKey("chat")));
  const [block] = app.agent.prompts[0]!.blocks;
  assert(block?.type === "text" && block.text.includes(NOTE), "the earlier sound is left out");
  assertEquals(speechToText.requests, []);
});

Deno.test("sounds: without a recognizer, a message of sounds alone is refused, and others have a note", async () => {
  await using app = startDeaf({});
  const response = await app.chat({ messages: [{ role: "user", content: [sound(HELLO)] }] });
  assertEquals(response.headers.get("x-should-retry"), "false");
  const error = await errorOf(response);
  assertEquals([error.status, error.code], [501, "not_configured"]);
  assert(error.message.includes("[transcription]"));
  const content = [words("Listen:"), sound(HELLO)];
  await contentOf(app.chat({ messages: [{ role: "user", content }] }));
  assertEquals(app.agent.prompts[0]!.blocks, [{ type: "text", text: `Listen:\n${NOTE}` }]);
});
