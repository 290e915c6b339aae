import { assertEquals } from "@std/assert";
import { BUSY_MODES } from "../../lib/conversation/turn_queue.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, WriteReader } from "../support/harness/app_harness.ts";
import {
  assistant,
  contentOf,
  readStream,
  streamedText,
  system,
  user,
} from "../support/harness/chat_fixture.ts";

const FIRST = [system("You are Mao."), user("Tell me a story.")];
const SECOND = [...FIRST, user("Stop!")];
const MAO = { conversation_id: "mao" };

/** The error of a response, with its advice. */
async function refusalOf(response: Response): Promise<unknown[]> {
  const { status, type, code } = await errorOf(response);
  return [status, type, code, response.headers.get("retry-after"), response.headers.get("x-should-retry")];
}

for (const name of [{}, MAO]) {
  const which = "conversation_id" in name ? "named" : "matched";
  Deno.test(`supersede: a newer request of the ${which} conversation cancels the running turn`, async () => {
    await using app = startApp({ sessions: "auto", maxInFlight: 1 });
    app.agent.answersCancels = false;
    const first = await app.stream({ ...name, messages: FIRST });
    const old = await app.agent.nextPrompt();
    old.say("Once upon");
    const second = app.stream({ ...name, messages: SECOND });
    await old.cancelled;
    assertEquals(app.agent.prompts.length, 1, "one prompt at a time");
    old.say(" a time");
    old.end("cancelled");
    const next = await app.agent.nextPrompt();
    assertEquals([next.text, next.session], ["Stop!", old.session]);
    old.say(" later still");
    next.say("Yes?\n");
    next.end();
    const { text, finish } = await readStream(first);
    assertEquals([text, finish], ["Once upon\n", "error"]);
    assertEquals((await second).headers.get("x-session-id"), first.headers.get("x-session-id"));
    assertEquals(await streamedText(second), "Yes?\n");
  });
}

Deno.test("supersede: of three requests, the waiting one is refused", async () => {
  await using app = startApp();
  app.agent.answersCancels = false;
  const first = await app.stream(MAO);
  const old = await app.agent.nextPrompt();
  const second = app.stream({ ...MAO, messages: [user("Two")] });
  await old.cancelled;
  const third = app.stream({ ...MAO, messages: [user("Three")] });
  const refused = await second;
  assertEquals(await refusalOf(refused), [409, "invalid_request_error", "turn_cancelled", null, "false"]);
  assertEquals(refused.headers.get("x-session-id"), "mao");
  old.end("cancelled");
  const next = await app.agent.nextPrompt();
  assertEquals(next.text, "Two\n\nThree");
  next.say("Yes?\n");
  next.end();
  assertEquals([await streamedText(third), await streamedText(first)], ["Yes?\n", ""]);
  assertEquals(app.agent.prompts.length, 2);
});

Deno.test("supersede: requests are queued in the order in which they came, whatever their size and headers", async () => {
  for (const header of ["x-title", "x-stainless-retry-count", "idempotency-key"]) {
    for (let round = 0; round < 10; round++) {
      await using app = startApp();
      const long = { ...MAO, messages: [user("Tell me a story. ".repeat(50_000))] };
      const first = app.stream(long, { headers: { [header]: "0" } });
      const last = app.stream({ ...MAO, messages: [user("Stop!")] }, { headers: { [header]: "00" } });
      app.agent.script = saying("Yes?\n");
      assertEquals(await streamedText(last), "Yes?\n");
      assertEquals([(await first).status, app.agent.prompts.at(-1)!.text], [409, "Stop!"]);
      await (await first).text();
    }
  }
});

Deno.test("supersede: a request whose client has gone does not cancel the running turn", async () => {
  await using app = startApp();
  const running = await app.stream({ ...MAO, messages: FIRST });
  const prompt = await app.agent.nextPrompt();
  const gone = await app.stream({ ...MAO, messages: SECOND }, { signal: AbortSignal.abort() });
  assertEquals([gone.status, prompt.cancelCount], [499, 0]);
  prompt.say("Yes?\n");
  prompt.end();
  assertEquals(await streamedText(running), "Yes?\n");
});

for (const onBusy of BUSY_MODES) {
  Deno.test(`${onBusy}: ten chats with the same greeting are ten conversations`, async () => {
    await using app = startApp({ sessions: "auto", onBusy });
    const greeting = assistant("Hello traveller, welcome to my humble shop.");
    const answers = Array.from(
      { length: 10 },
      (_, index) => app.chat({ messages: [greeting, user(`I am user ${index}`)] }),
    );
    const prompts = [];
    for (const _ of answers) prompts.push(await app.agent.nextPrompt());
    for (const prompt of prompts) {
      prompt.say(`Hello, ${prompt.text.match(/user \d/)![0]}!\n`);
      prompt.end();
    }
    for (const [index, answer] of answers.entries()) {
      assertEquals(await contentOf(answer), `Hello, user ${index}!\n`);
    }
    assertEquals([app.agent.sessions.length, prompts.some(({ cancelCount }) => cancelCount > 0)], [
      10,
      false,
    ]);
  });
}

Deno.test("reject: a newer request is refused, whether its conversation is named or matched", async () => {
  await using app = startApp({ sessions: "auto", onBusy: "reject" });
  for (const conversation_id of ["mao", "マオ", undefined]) {
    const running = await app.stream({ conversation_id, messages: FIRST });
    for (const stream of [true, false]) {
      const refused = await app.chat({ conversation_id, stream, messages: SECOND });
      assertEquals(await refusalOf(refused), [409, "invalid_request_error", "session_busy", "3", null]);
      assertEquals(refused.headers.get("x-session-id"), running.headers.get("x-session-id"));
    }
    const prompt = app.agent.prompts.at(-1)!;
    prompt.say("The end.\n");
    prompt.end();
    assertEquals([await streamedText(running), prompt.cancelCount], ["The end.\n", 0]);
  }
});

Deno.test("turn limit: one turn too many is refused, and opens no session", async () => {
  await using app = startApp({ maxInFlight: 1 });
  const running = await app.stream();
  for (const stream of [true, false]) {
    const refused = await app.chat({ stream });
    assertEquals(await refusalOf(refused), [429, "rate_limit_error", "rate_limit_exceeded", "3", null]);
  }
  app.agent.finish();
  await running.text();
  assertEquals(app.agent.sessions.length, 1);
});

Deno.test("shutdown: a running turn goes on, a new request is refused", async () => {
  await using app = startApp();
  await using running = new WriteReader(await app.stream());
  const prompt = await app.agent.nextPrompt();
  const drained = app.conversations.drain();
  assertEquals(await refusalOf(await app.stream()), [503, "server_error", "shutting_down", "5", null]);
  prompt.say("Bye.\n");
  prompt.end();
  assertEquals((await running.rest()).includes("Bye."), true);
  await drained;
});
