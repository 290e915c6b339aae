/** Chat replies with sound: `modalities: ["text", "audio"]`, whole and streamed. */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { type MemoryPrompt, saying, type Script } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { FakeVoice } from "../support/harness/fake_voice.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";
import { until } from "../support/harness/server_process.ts";

const ASKED = { modalities: ["text", "audio"], audio: { voice: "slt", format: "wav" } };
const decode = (base64: string) => new TextDecoder().decode(Uint8Array.fromBase64(base64));
/** Speaks a text as the text itself, between marks. */
const marking = () => new FakeVoice(({ text }) => [`<${text}>`]);

Deno.test("spoken reply: the sound comes with its text, without tags and Markdown", async () => {
  const textToSpeech = marking();
  await using app = startApp({ script: saying("[happy] Hello **there**. Bye."), textToSpeech });
  const response = await app.chat({ ...ASKED, stream: false });
  assertEquals(response.headers.get("x-vtuber-ignored"), null);
  const { choices: [{ message, finish_reason }], created } = await response.json();
  assertMatch(message.audio.id, /^audio_\S+$/);
  assertEquals(message.content, null);
  assertEquals(decode(message.audio.data), "<Hello there. Bye.>");
  assertEquals(message.audio.transcript, "[happy] Hello **there**. Bye.");
  assertEquals(message.audio.expires_at, created + 3_600);
  assertEquals(finish_reason, "stop");
  // A server whose model is not set wants one.
  assertEquals(textToSpeech.requests.map(({ voice, format, model }) => [voice, format, model]), [[
    ...["slt", "wav", "tts-1"],
  ]]);
});

/** Reads the deltas of a streamed reply. */
// deno-lint-ignore no-explicit-any
async function deltasOf(response: Response): Promise<any[]> {
  const lines = (await response.text()).split("\n\n").filter((line) => line.startsWith("data: {"));
  return lines.map((line) => JSON.parse(line.slice("data: ".length)).choices[0]);
}

Deno.test("spoken reply: a stream has the text as it comes, and the sound of each sentence in order", async () => {
  const textToSpeech = marking();
  const script = saying("[happy] One. ", "Two, ", "and three. Four");
  await using app = startApp({ script, textToSpeech });
  const choices = await deltasOf(
    await app.chat({ ...ASKED, stream: true, audio: { voice: { id: "kal" }, format: "pcm16" } }),
  );
  const sounds = choices.flatMap(({ delta }) => delta.audio?.data ?? []).map(decode);
  assertEquals(sounds.join("").replaceAll("><", " "), "<One. Two, and three. Four>");
  assertEquals(
    choices.map(({ delta }) => delta.audio?.transcript ?? "").join(""),
    "[happy] One. Two, and three. Four\n",
  );
  assertEquals(new Set(choices.flatMap(({ delta }) => delta.audio?.id ?? [])).size, 1);
  assertEquals(choices.filter(({ delta }) => delta.audio?.expires_at > 0).length, 1);
  assertEquals(choices.at(-1).finish_reason, "stop");
  assertEquals(choices.some(({ delta }) => delta.content), false);
  assertEquals(
    new Set(textToSpeech.requests.map(({ voice, format, model }) => `${voice} ${format} ${model}`)),
    new Set(["kal pcm tts-1"]),
  );
});

Deno.test("spoken reply: the first sound does not wait for the end of the reply", async () => {
  const spoken = Promise.withResolvers<void>();
  const textToSpeech = new FakeVoice(({ text }) => {
    spoken.resolve();
    return [text];
  });
  await using app = startApp({
    textToSpeech,
    async script(prompt) {
      prompt.say("One. Two");
      await spoken.promise;
      prompt.say(" three.");
      prompt.end();
    },
  });
  const choices = await deltasOf(await app.chat({ ...ASKED, stream: true, audio: { format: "pcm16" } }));
  const sounds = choices.flatMap(({ delta }) => delta.audio?.data ?? []).map(decode);
  assertEquals(sounds, ["One.", "Two three."]);
});

Deno.test("spoken reply: if the voice fails, the words are not lost", async () => {
  const silent = new FakeVoice(() => {
    throw new Error("no voice");
  });
  await using app = startApp({ script: saying("One. Two."), textToSpeech: silent });
  const { choices: [{ message }] } = await (await app.chat({ ...ASKED, stream: false })).json();
  assertEquals([message.content, message.audio], ["One. Two.\n", undefined]);
  const choices = await deltasOf(await app.chat({ ...ASKED, stream: true, audio: { format: "pcm16" } }));
  assertEquals(choices.map(({ delta }) => delta.audio?.transcript ?? "").join(""), "One. Two.\n");
  assertEquals(choices.at(-1).finish_reason, "stop");
});

Deno.test("spoken reply: sentences that the voice does not speak are passed over", async () => {
  const goOn = Promise.withResolvers<void>();
  const english = new FakeVoice(({ text }) => {
    if (text === "Two.") return [`<${text}>`];
    goOn.resolve();
    throw new AppError("unsupported_value", "This voice speaks English.", { param: "input" });
  });
  await using app = startApp({
    textToSpeech: english,
    async script(prompt) {
      prompt.say("你好。\n");
      await goOn.promise;
      prompt.say("Two.");
      prompt.end();
    },
  });
  const choices = await deltasOf(await app.chat({ ...ASKED, stream: true, audio: { format: "pcm16" } }));
  const sounds = choices.flatMap(({ delta }) => delta.audio?.data ?? []).map(decode).join("");
  assertEquals(sounds, "<Two.>");
});

Deno.test("spoken reply: the sentence before a tool is spoken while the tool runs", async () => {
  const spoken = Promise.withResolvers<void>();
  const textToSpeech = new FakeVoice(({ text }) => {
    spoken.resolve();
    return [`<${text}>`];
  });
  await using app = startApp({
    textToSpeech,
    async script(prompt) {
      prompt.say("Let me look.");
      prompt.tool();
      await spoken.promise;
      prompt.tool({ status: "completed" });
      prompt.say("Found it.");
      prompt.end();
    },
  });
  const choices = await deltasOf(await app.chat({ ...ASKED, stream: true, audio: { format: "pcm16" } }));
  const sounds = choices.flatMap(({ delta }) => delta.audio?.data ?? []).map(decode).join("");
  assertEquals(sounds, "<Let me look.><Found it.>");
});

const PIECE = "x".repeat(24 * 1024);

Deno.test("spoken reply: a slow reader slows down the voice, and gets all of it", async () => {
  const PIECES = 1_000;
  let made = 0;
  const textToSpeech = new FakeVoice(function* () {
    for (; made < PIECES; made++) yield PIECE;
  });
  await using app = startApp({ script: saying("One."), textToSpeech });
  const response = await app.chat({ ...ASKED, stream: true, audio: { format: "pcm16" } });
  await until(() => made, (count) => count > 0);
  let before = -1;
  // The voice has stopped, or has made everything.
  await until(() => made, (count) => {
    const isStill = count === before;
    before = count;
    return isStill;
  });
  assert(made < PIECES / 10, `${made} pieces were made for nobody`);
  const choices = await deltasOf(response);
  const bytes = choices.flatMap(({ delta }) => delta.audio?.data ?? []).map((data) => decode(data).length)
    .reduce((sum, length) => sum + length);
  assertEquals([bytes, choices.at(-1).finish_reason], [PIECES * PIECE.length, "stop"]);
});

Deno.test("spoken reply: a reply that another request interrupts is silent at once", async () => {
  const started = Promise.withResolvers<void>();
  const textToSpeech = new FakeVoice(async function* (_request, signal) {
    yield "a";
    started.resolve();
    await new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  });
  await using app = startApp({
    textToSpeech,
    sessions: "persistent",
    script: (prompt) => prompt.say("One. Two"),
  });
  const first = await app.chat({ ...ASKED, stream: true, audio: { format: "pcm16" }, conversation: "a" });
  await started.promise;
  app.agent.script = saying("Yes?");
  await (await app.chat({ conversation: "a", stream: false })).json();
  const choices = await deltasOf(first);
  assertEquals(choices.at(-1).finish_reason, "error");
});

Deno.test("spoken reply: the sentence about a failure is spoken too, also of a turn that cannot start", async () => {
  const failure = new AppError("agent_unavailable", "It broke.");
  for (const errors of ["speak", "event"] as const) {
    for (const hasStarted of [true, false]) {
      const { promise: goOn, resolve } = Promise.withResolvers<void>();
      const textToSpeech = marking();
      await using app = startApp({
        ...{ textToSpeech, errors, headMs: 1 },
        script(prompt) {
          prompt.say("One.");
          prompt.fail(failure);
        },
      });
      if (!hasStarted) Object.assign(app.agent, { openGate: goOn, openError: failure });
      const response = await app.chat({ ...ASKED, stream: true, audio: { format: "pcm16" } });
      resolve();
      await response.text();
      const spoken = textToSpeech.requests.map(({ text }) => text).join(" ");
      const apology = errors === "speak" ? "Sorry, my agent cannot be reached" : "";
      assert(spoken.includes(apology), `${spoken} of ${errors}`);
      assertEquals(spoken.startsWith("One."), hasStarted);
    }
  }
});

Deno.test("spoken reply: max_tokens cuts the speech too", async () => {
  for (const stream of [true, false]) {
    const textToSpeech = marking();
    await using app = startApp({ script: saying("One. Two. Three, four, five."), textToSpeech });
    const audio = { format: "pcm16" };
    await (await app.chat({ ...ASKED, audio, stream, max_completion_tokens: 5 })).text();
    assertEquals(textToSpeech.requests.map(({ text }) => text).join(" "), "One. Two.");
  }
});

Deno.test("spoken reply: the first 60,000 characters are spoken, and all of them written", async () => {
  const sentence = `${"word ".repeat(20)}end. `;
  const text = sentence.repeat(Math.ceil(70_000 / sentence.length));
  for (const stream of [true, false]) {
    const textToSpeech = marking();
    await using app = startApp({ script: saying(text), textToSpeech });
    const response = await app.chat({ ...ASKED, audio: { format: "pcm16" }, stream });
    const written = stream
      ? (await deltasOf(response)).map(({ delta }) => delta.audio?.transcript ?? "").join("")
      : (await response.json()).choices[0].message.audio.transcript;
    assertEquals(written.trim(), text.trim());
    const chars = textToSpeech.requests.reduce((sum, request) => sum + request.text.length, 0);
    // Spaces join sentences that are spoken together.
    assert(chars > 58_000 && chars < 61_000, `${chars} characters`);
  }
});

Deno.test("spoken reply: a whole reply with more than 32 MiB of sound is text only", async () => {
  for (const [mebibytes, hasSound] of [[32, true], [33, false]] as const) {
    const piece = "x".repeat(1024 * 1024);
    const textToSpeech = new FakeVoice(() => Array(mebibytes).fill(piece));
    await using app = startApp({ script: saying("One."), textToSpeech });
    const { choices: [{ message }] } = await (await app.chat({ ...ASKED, stream: false })).json();
    assertEquals([message.audio !== undefined, message.content], [hasSound, hasSound ? null : "One.\n"]);
  }
});

Deno.test("spoken reply: a key needs the scope audio", async () => {
  const access = { keys: [apiKey("chat", ["chat"])] };
  await using app = startApp({ script: saying("Hello."), textToSpeech: marking(), access });
  const error = await errorOf(await app.chat({ ...ASKED, stream: false }, withKey("chat")));
  assertEquals([error.status, error.code, app.agent.prompts], [403, "insufficient_scope", []]);
});

Deno.test("spoken reply: a client that leaves ends the voice", async () => {
  const started = Promise.withResolvers<AbortSignal>();
  const textToSpeech = new FakeVoice(async function* (_request, signal) {
    started.resolve(signal);
    yield "a";
    await new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  });
  await using app = startApp({ script: saying("One. Two."), textToSpeech });
  const response = await app.chat({ ...ASKED, stream: true, audio: { format: "pcm16" } });
  const signal = await started.promise;
  const aborted = Promise.withResolvers<void>();
  signal.addEventListener("abort", () => aborted.resolve());
  await response.body!.cancel();
  await aborted.promise;
});

Deno.test("spoken reply: the next message finds the reply by the id of its sound, for its owner only", async () => {
  using clock = new FakeClock();
  const access = { keys: [apiKey("a"), apiKey("b")] };
  await using app = startApp({ script: saying("The word is owl."), textToSpeech: marking(), access });
  const first = { role: "user", content: "Say a word." };
  const { choices: [{ message }] } =
    await (await app.chat({ ...ASKED, messages: [first], stream: false }, withKey("a"))).json();
  const history = (id: string) => [
    first,
    { role: "assistant", audio: { id } },
    { role: "user", content: "Which word was it?" },
  ];
  const cases: [key: string, id: string, isFound: boolean, laterSecs: number][] = [
    ["a", message.audio.id, true, 0],
    ["a", "audio_other", false, 0],
    ["b", message.audio.id, false, 0],
    ["a", message.audio.id, true, 3_500],
    ["a", message.audio.id, false, 200],
  ];
  for (const [key, id, isFound, laterSecs] of cases) {
    clock.advance(laterSecs * 1000);
    await (await app.chat({ messages: history(id), stream: false }, withKey(key))).json();
    assertEquals(JSON.stringify(app.agent.prompts.at(-1)!.blocks).includes("The word is owl."), isFound, id);
  }
});

const REFUSED: [name: string, body: object, status: number, code: string, param: string | null][] = [
  [
    "a format that the voice does not make",
    { audio: { format: "mp3" } },
    400,
    "unsupported_value",
    "audio.format",
  ],
  ["another format in a stream", { stream: true }, 400, "unsupported_value", "audio.format"],
  ["an unknown format", { audio: { format: "constructor" } }, 400, "unsupported_value", "audio.format"],
  ["JSON", { response_format: { type: "json_object" } }, 400, "unsupported_value", "modalities"],
  ["a voice that is no name", { audio: { voice: 7 } }, 400, "invalid_type", "audio.voice"],
];
for (const [name, body, status, code, param] of REFUSED) {
  Deno.test(`spoken reply: refused: ${name}`, async () => {
    await using app = startApp({ script: saying("Hello."), textToSpeech: marking() });
    const error = await errorOf(await app.chat({ stream: false, ...ASKED, ...body }));
    const isMade = name === "a format that the voice does not make";
    assertEquals(error.message.endsWith("ffmpeg, once it is installed, makes the others."), isMade);
    assertEquals([error.status, error.code, error.param], [status, code, param]);
    assertEquals(app.agent.prompts, []);
  });
}

Deno.test("spoken reply: without a voice the request is refused, and text alone is not", async () => {
  await using app = startApp({ script: saying("Hello."), textToSpeech: undefined });
  const response = await app.chat({ ...ASKED, stream: false });
  assertEquals(response.headers.get("x-should-retry"), "false");
  assertEquals((await errorOf(response)).code, "not_configured");
  const text = await app.chat({ ...ASKED, modalities: ["text"], stream: false });
  assertEquals((await text.json()).choices[0].message.content, "Hello.\n");
});

const STREAMED = { ...ASKED, stream: true, audio: { format: "pcm16" } };

Deno.test("spoken reply: a key has 16 texts and spoken replies at once, and others go on", async () => {
  const isOver = Promise.withResolvers<void>();
  const textToSpeech = new FakeVoice(async function* () {
    yield "first";
    await isOver.promise;
  });
  const script = saying("One. Two.");
  await using app = startApp({ script, textToSpeech, access: { keys: [apiKey("a"), apiKey("b")] } });
  const text = await app.post("/v1/audio/speech", { input: "Hi", voice: "x" }, withKey("a"));
  const whole = app.chat({ ...ASKED, stream: false }, withKey("a"));
  const running = [text];
  for (let count = 2; count < 16; count++) running.push(await app.chat(STREAMED, withKey("a")));
  const prompts = app.agent.prompts.length;
  for (const body of [STREAMED, { ...ASKED, stream: false }]) {
    const refused = await app.chat(body, withKey("a"));
    assertEquals([refused.status, refused.headers.get("retry-after")], [429, "5"]);
    assertEquals((await errorOf(refused)).code, "rate_limit_exceeded");
  }
  assertEquals(app.agent.prompts.length, prompts, "a refused request runs no turn");
  const [silent, other] = [await app.chat({}, withKey("a")), await app.chat(STREAMED, withKey("b"))];
  assertEquals([silent.status, other.status], [200, 200]);
  isOver.resolve();
  await Promise.all([...running, silent, other, await whole].map((response) => response.text()));
});

/** The ways in which a spoken reply ends: the agent's, the voice's, and the client's. */
const ENDINGS: Readonly<
  Record<string, [script: Script, voice: () => FakeVoice, leaves?: "before" | "while"]>
> = {
  "its last sound": [saying("One. Two."), marking],
  "nothing to say": [saying(), marking],
  "an agent that fails at once": [fail, marking],
  "an agent that fails later": [(prompt) => (prompt.say("One. Two"), fail(prompt)), marking],
  "a turn that is cancelled": [(prompt) => (prompt.say("One. Two"), prompt.end("cancelled")), marking],
  "a voice that fails": [saying("One. Two."), () => new FakeVoice(() => fail())],
  "a client that leaves before the reply": [() => {}, marking, "before"],
  "a client that leaves while it listens": [(prompt) => prompt.say("One. Two"), marking, "while"],
};

function fail(prompt?: MemoryPrompt): never[] {
  const failure = new AppError("agent_crashed", "The agent has crashed.");
  if (prompt === undefined) throw failure;
  prompt.fail(failure);
  return [];
}

for (const [name, [script, voice, leaves]] of Object.entries(ENDINGS)) {
  for (const body of [STREAMED, { ...ASKED, stream: false }]) {
    Deno.test(`spoken reply: ${name} frees its place, ${body.stream ? "streamed" : "whole"}`, async () => {
      await using app = startApp({ script, textToSpeech: voice() });
      for (let count = 0; count < 17; count++) assertNotEquals(await end(app, body, leaves), 429);
    });
  }
}

/** Lets a reply end, or leaves it. @returns The status. */
async function end(app: TestApp, body: typeof STREAMED, leaves: string | undefined): Promise<number> {
  const leaving = new AbortController();
  const answering = app.chat(body, { signal: leaving.signal });
  if (leaves !== undefined) {
    const prompt = await app.agent.nextPrompt();
    if (leaves === "before" || !body.stream) leaving.abort();
    const { status, body: stream } = await answering;
    await stream?.cancel();
    await prompt.cancelled;
    return status;
  }
  const response = await answering;
  await response.text();
  return response.status;
}

Deno.test("spoken reply: the sounds of whole replies count with the bodies, and a reply without room is text", async () => {
  const [big, isOver] = ["x".repeat(20 * 1024 ** 2), Promise.withResolvers<void>()];
  const [full, started] = [Promise.withResolvers<void>(), { count: 0 }];
  const textToSpeech = new FakeVoice(async function* () {
    const waits = ++started.count <= 6;
    yield big;
    if (started.count === 6) full.resolve();
    if (!waits) return;
    await isOver.promise;
    throw new Error("no voice");
  });
  await using app = startApp({ script: saying("One."), textToSpeech });
  const ask = async () => {
    const { choices: [{ message }] } = await (await app.chat({ ...ASKED, stream: false })).json();
    return [message.content, message.audio?.data.length > 0];
  };
  const running = Array.from({ length: 6 }, ask);
  await full.promise;
  assertEquals(await ask(), ["One.\n", false]);
  isOver.resolve();
  assertEquals(await Promise.all(running), Array(6).fill(["One.\n", false]));
  assertEquals(await ask(), [null, true]);
});
