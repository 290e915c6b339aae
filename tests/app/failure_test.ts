import { assertEquals, assertMatch } from "@std/assert";
import { AppError, type ErrorCode } from "../../lib/core/errors.ts";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";
import { readStream, streamedText } from "../support/harness/chat_fixture.ts";
import { parseFrames } from "../support/harness/wire_profile.ts";

const failure = (code: ErrorCode, prompted = true) => new AppError(code, "It broke.", { prompted });
/** Makes an agent that fails right after the prompt. */
const failing = (code: ErrorCode, prompted?: boolean) => ({ agent }: TestApp) => {
  agent.script = (prompt) => prompt.fail(failure(code, prompted));
};

const EARLY: [
  name: string,
  setUp: (app: TestApp) => void,
  status: number,
  code: ErrorCode,
  shouldRetry: string | null,
  retryAfter: string | null,
][] = [
  ["no session", ({ agent }) => {
    agent.openError = new AppError("agent_unavailable", "It broke.", { retryAfterSecs: 2 });
  }, ...[503, "agent_unavailable", null, "2"] as const],
  ["a missing log-in", ({ agent }) => {
    agent.openError = new AppError("agent_auth_required", "It broke.");
  }, ...[503, "agent_auth_required", "false", null] as const],
  ["a prompt that is refused", ({ agent }) => {
    agent.promptError = new AppError("agent_unavailable", "It broke.", { retryAfterSecs: 1 });
  }, ...[503, "agent_unavailable", null, "1"] as const],
  ["a crash after the prompt", failing("agent_crashed"), 502, "agent_crashed", "false", null],
  [
    "an error after the prompt, not marked so",
    failing("agent_error", false),
    502,
    "agent_error",
    "false",
    null,
  ],
];

for (const [name, setUp, status, code, shouldRetry, retryAfter] of EARLY) {
  Deno.test(`failure before the first byte: ${name} has a status, streamed and whole`, async () => {
    for (const stream of [true, false]) {
      await using app = startApp();
      setUp(app);
      const response = await app.chat({ stream });
      const { headers } = response;
      const error = await errorOf(response);
      assertEquals(Object.keys(error), ["status", "message", "type", "param", "code"]);
      assertEquals([error.status, error.code, error.type, error.param], [status, code, "server_error", null]);
      assertEquals(headers.get("content-type"), "application/json; charset=utf-8");
      assertEquals([headers.get("x-should-retry"), headers.get("retry-after")], [shouldRetry, retryAfter]);
      assertMatch(headers.get("x-request-id")!, /^[0-9a-f]{32}$/);
    }
  });
}

const KEPT: [code: ErrorCode, finish: string][] = [["agent_crashed", "error"], ["agent_timeout", "length"]];
for (const [code, finish] of KEPT) {
  Deno.test(`failure after some words of a whole reply: the words are kept, with ${code} as ${finish}`, async () => {
    await using app = startApp();
    const answer = app.chat({ conversation_id: "mao" });
    const prompt = await app.agent.nextPrompt();
    prompt.say("On my");
    prompt.fail(failure(code));
    const response = await answer;
    const { choices: [choice] } = await response.json();
    assertEquals([response.status, choice.message.content, choice.finish_reason], [200, "On my\n", finish]);
    assertEquals(response.headers.get("x-session-id"), "mao");
  });
}

const SENTENCES: [code: ErrorCode, sentence: RegExp][] = [
  ["agent_crashed", /stopped unexpectedly/],
  ["agent_timeout", /took too long/],
  ["agent_cancelled", /not permitted/],
  ["shutting_down", /shutting down/],
  ["agent_error", /something went wrong/],
];
const SPOKEN: string[][] = [[], ["On my wa"], ["はい。"], ["Hello.\n"], ["[happy]"]];

for (const [code, sentence] of SENTENCES) {
  Deno.test(`failure in a stream: ${code} is a sentence, and every skin survives it`, async () => {
    for (const pieces of SPOKEN) {
      await using app = startApp();
      const answer = app.stream({ stream_options: { include_usage: true } });
      const prompt = await app.agent.nextPrompt();
      const response = await answer;
      for (const piece of pieces) prompt.say(piece);
      prompt.fail(failure(code));
      const { text, finish } = await readStream(response, { usage: true });
      assertEquals([text.startsWith(pieces.join("")), finish], [true, "error"]);
      assertMatch(text.slice(pieces.join("").length), sentence);
    }
  });
}

Deno.test("failure in a stream: as an event, the envelope and the end", async () => {
  await using app = startApp({ errors: "event" });
  const answer = app.stream();
  const prompt = await app.agent.nextPrompt();
  const response = await answer;
  prompt.say("Hello");
  prompt.fail(failure("agent_crashed"));
  const { chunks, done, text } = parseFrames(await response.text());
  assertEquals([text, done], ["Hello\n", true]);
  assertEquals(chunks.at(-1), {
    error: { message: "It broke.", type: "server_error", param: null, code: "agent_crashed" },
  });
  assertEquals(chunks.some(({ choices }) => choices?.[0]?.finish_reason), false);
});

Deno.test("failure: an agent that cancels by itself", async () => {
  await using app = startApp();
  const answer = app.chat();
  (await app.agent.nextPrompt()).end("cancelled");
  const error = await errorOf(await answer);
  assertEquals([error.status, error.code], [502, "agent_cancelled"]);
});

Deno.test("failure: a silent agent, and a turn that takes too long, are cancelled", async () => {
  await using silent = startApp({ replyTimeoutMs: 1 });
  assertMatch(await streamedText(silent.stream()), /took too long/);
  await using slow = startApp({ turnTimeoutMs: 1 });
  const response = await slow.chat();
  const error = await errorOf(response);
  assertEquals([error.status, error.code], [504, "agent_timeout"]);
  assertEquals(response.headers.get("x-should-retry"), "false");
  assertEquals([silent, slow].map(({ agent }) => agent.prompts[0]?.cancelCount), [1, 1]);
});

Deno.test("failure: an unexpected exception is a 500 that reveals the request id alone", async () => {
  const errors: unknown[] = [];
  const log = { debug() {}, info() {}, warn() {}, error: (message: string) => void errors.push(message) };
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
  assertEquals(errors.length, 2);
});
