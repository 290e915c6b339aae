import { assertEquals, assertMatch } from "@std/assert";
import { AppError, type ErrorCode } from "../../lib/core/errors.ts";
import { checkWireProfile, parseFrames } from "../support/harness/wire_profile.ts";
import { errorOf, readWrites, startApp, type TestApp, Writes } from "../support/harness/app_harness.ts";

const decoder = new TextDecoder();

type Setup = (app: TestApp) => void;
const failing = (code: ErrorCode, prompted = true) => new AppError(code, "It broke.", { prompted });

const BEFORE: [name: string, set: Setup, status: number, code: ErrorCode, retry: string, after: string][] = [
  [
    "no session",
    ({ agent }) => {
      agent.openFailure = new AppError("agent_unavailable", "It broke.", { retryAfterSecs: 2 });
    },
    503,
    "agent_unavailable",
    "-",
    "2",
  ],
  [
    "a login that is missing",
    ({ agent }) => {
      agent.openFailure = new AppError("agent_auth_required", "It broke.");
    },
    503,
    "agent_auth_required",
    "false",
    "-",
  ],
  [
    "a prompt that is not taken",
    ({ agent }) => {
      agent.promptFailure = new AppError("agent_unavailable", "It broke.", { retryAfterSecs: 1 });
    },
    503,
    "agent_unavailable",
    "-",
    "1",
  ],
  [
    "a server that is going",
    ({ conversations }) => {
      conversations.drain();
    },
    503,
    "shutting_down",
    "-",
    "5",
  ],
  [
    "a crash right after the prompt",
    ({ agent }) => {
      agent.script = (prompt) => prompt.fail(failing("agent_crashed"));
    },
    502,
    "agent_crashed",
    "false",
    "-",
  ],
  [
    "an error right after the prompt",
    ({ agent }) => {
      agent.script = (prompt) => prompt.fail(failing("agent_error"));
    },
    502,
    "agent_error",
    "false",
    "-",
  ],
  [
    "an error right after the prompt, from an agent that does not say that it was prompted",
    ({ agent }) => {
      agent.script = (prompt) => prompt.fail(failing("agent_error", false));
    },
    502,
    "agent_error",
    "false",
    "-",
  ],
  [
    "an agent that is gone right after the prompt and does not say so",
    ({ agent }) => {
      agent.script = (prompt) => prompt.fail(failing("agent_unavailable", false));
    },
    503,
    "agent_unavailable",
    "false",
    "-",
  ],
];

for (const [name, set, status, code, shouldRetry, after] of BEFORE) {
  for (const stream of [true, false]) {
    Deno.test(`failure before the first byte: ${name}, ${stream ? "streamed" : "whole"}`, async () => {
      await using app = startApp();
      set(app);
      const response = await app.chat({ stream });
      const error = await errorOf(response);
      assertEquals([error.status, error.code, error.type, error.param], [status, code, "server_error", null]);
      assertEquals(Object.keys(error), ["status", "message", "type", "param", "code"]);
      assertEquals(response.headers.get("content-type"), "application/json; charset=utf-8");
      assertEquals(response.headers.get("x-should-retry") ?? "-", shouldRetry);
      assertEquals(response.headers.get("retry-after") ?? "-", after);
      assertMatch(response.headers.get("x-request-id")!, /^[0-9a-f]{32}$/);
    });
  }
}

Deno.test("failure of a whole answer after some words: a status, and no retry", async () => {
  await using app = startApp();
  const answer = app.chat();
  const prompt = await app.agent.nextPrompt();
  prompt.say("On my");
  prompt.fail(failing("agent_crashed"));
  const response = await answer;
  assertEquals((await errorOf(response)).code, "agent_crashed");
  assertEquals([response.status, response.headers.get("x-should-retry")], [502, "false"]);
});

const SENTENCES: [code: ErrorCode, sentence: RegExp][] = [
  ["agent_crashed", /stopped unexpectedly/],
  ["agent_timeout", /took too long/],
  ["agent_cancelled", /not permitted/],
  ["shutting_down", /shutting down/],
  ["agent_error", /something went wrong/],
];
const SAID: string[][] = [[], ["Hello."], ["On my wa"], ["はい。"], ["Hello.\n"], ["[happy] Hel", "lo"]];

for (const [code, sentence] of SENTENCES) {
  Deno.test(`spoken failure: ${code} is a sentence, and every skin survives it`, async () => {
    for (const pieces of SAID) {
      await using app = startApp();
      const answer = app.stream();
      const prompt = await app.agent.nextPrompt();
      const response = await answer;
      for (const piece of pieces) prompt.say(piece);
      prompt.fail(failing(code));
      const writes = await readWrites(response);
      assertEquals(checkWireProfile(writes), [], JSON.stringify(pieces));
      const { text, chunks, done } = parseFrames(writes.map((write) => decoder.decode(write)).join(""));
      assertEquals(text.startsWith(pieces.join("")), true);
      assertMatch(text.slice(pieces.join("").length), sentence);
      assertEquals(chunks.at(-1)?.choices?.[0]?.finish_reason, "error");
      assertEquals(done, true);
    }
  });
}

Deno.test("spoken failure: right after an emotion tag it stays on the tag's line", async () => {
  await using app = startApp();
  const answer = app.stream();
  const prompt = await app.agent.nextPrompt();
  const response = await answer;
  prompt.say("[happy]");
  prompt.fail(failing("agent_crashed"));
  assertEquals(checkWireProfile(await readWrites(response)), []);
});

Deno.test("spoken failure: with usage, if that is asked for", async () => {
  await using app = startApp();
  const answer = app.stream({ stream_options: { include_usage: true } });
  const prompt = await app.agent.nextPrompt();
  const response = await answer;
  prompt.fail(failing("agent_crashed"));
  assertEquals(checkWireProfile(await readWrites(response), { usage: true }), []);
});

Deno.test("failure as an event: the envelope, then the end", async () => {
  await using app = startApp({ stream: { errors: "event" } });
  const answer = app.stream();
  const prompt = await app.agent.nextPrompt();
  const response = await answer;
  prompt.say("Hello");
  prompt.fail(failing("agent_crashed"));
  const text = await response.text();
  const { chunks, done, text: said } = parseFrames(text);
  assertEquals(said, "Hello\n");
  assertEquals(chunks.at(-1), {
    error: { message: "It broke.", type: "server_error", param: null, code: "agent_crashed" },
  });
  assertEquals(done, true);
  assertEquals(chunks.some(({ choices }) => choices?.[0]?.finish_reason), false);
});

Deno.test("an agent that stops by itself is a failure, not an end", async () => {
  await using app = startApp();
  const answer = app.chat();
  (await app.agent.nextPrompt()).end("cancelled");
  const error = await errorOf(await answer);
  assertEquals([error.status, error.code], [502, "agent_cancelled"]);
});

Deno.test("an agent that stays silent is given up, streamed", async () => {
  await using app = startApp({ limits: { replyTimeoutMs: 1 } });
  const { text } = parseFrames(await (await app.stream()).text());
  assertMatch(text, /took too long/);
  assertEquals(app.agent.prompts[0]?.cancels, 1);
});

Deno.test("a turn that takes too long is given up, whole", async () => {
  await using app = startApp({ limits: { turnTimeoutMs: 1 } });
  const response = await app.chat();
  const error = await errorOf(response);
  assertEquals([error.status, error.code], [504, "agent_timeout"]);
  assertEquals(response.headers.get("x-should-retry"), "false");
  assertEquals(app.agent.prompts[0]?.cancels, 1);
});

Deno.test("what is thrown inside is a 500 that tells nothing but where to look", async () => {
  const logged: unknown[] = [];
  const log = { debug() {}, info() {}, warn() {}, error: (message: string) => void logged.push(message) };
  await using app = startApp({ log });
  app.agent.newSession = () => Promise.reject(new TypeError("x is undefined at /home/mao/secret.ts"));
  for (const stream of [true, false]) {
    const response = await app.chat({ stream });
    const error = await errorOf(response);
    assertEquals([error.status, error.type, error.code], [500, "server_error", "internal_error"]);
    assertEquals(/secret|undefined/.test(error.message), false);
    assertEquals(error.message.includes(response.headers.get("x-request-id")!), true);
    assertEquals(response.headers.get("x-should-retry"), "false");
  }
  assertEquals(logged.length, 2);
});

Deno.test("after a failure the next request is served", async () => {
  await using app = startApp();
  const answer = app.stream();
  (await app.agent.nextPrompt()).fail(failing("agent_crashed"));
  await (await answer).body?.cancel();
  await using writes = new Writes(await app.stream());
  const prompt = await app.agent.nextPrompt();
  prompt.say("Back.\n");
  prompt.end();
  assertEquals(parseFrames(await writes.rest()).text, "Back.\n");
});
