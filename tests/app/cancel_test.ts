import { assertEquals } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, WriteReader } from "../support/harness/app_harness.ts";
import { ServedApp } from "../support/harness/served_app.ts";
import { contentOf, readStream, streamedText } from "../support/harness/chat_fixture.ts";

Deno.test("hang-up: a stream that is closed cancels its turn, before and while it is read", async () => {
  for (const isRead of [false, true]) {
    await using app = startApp();
    const writes = new WriteReader(await app.stream());
    const prompt = await app.agent.nextPrompt();
    if (isRead) await writes.next();
    prompt.say("Hel");
    if (isRead) await writes.next();
    await writes.cancel();
    await prompt.cancelled;
    assertEquals(prompt.cancelCount, 1);
  }
});

Deno.test("hang-up: later text is dropped, and the slot is free at the real end of the turn", async () => {
  await using app = startApp({ maxInFlight: 1 });
  app.agent.answersCancels = false;
  const response = await app.stream();
  const first = await app.agent.nextPrompt();
  await response.body!.cancel();
  await first.cancelled;
  first.say("late");
  assertEquals((await errorOf(await app.stream())).code, "rate_limit_exceeded");
  first.end("cancelled");

  const answer = app.stream();
  const second = await app.agent.nextPrompt();
  first.say("later still");
  second.say("Hi\n");
  second.end();
  assertEquals(await streamedText(answer), "Hi\n");
});

Deno.test("hang-up: a client that waits for a whole reply cancels the turn", async () => {
  await using app = startApp();
  const hangUp = new AbortController();
  const answer = app.chat({}, { signal: hangUp.signal });
  const prompt = await app.agent.nextPrompt();
  prompt.say("Hel");
  hangUp.abort();
  const response = await answer;
  assertEquals([response.status, await response.text()], [499, ""]);
  await prompt.cancelled;
});

Deno.test("hang-up: before the agent has a session, the agent gets no prompt, and the slot is free", async () => {
  for (const stream of [true, false]) {
    await using app = startApp({ maxInFlight: 1 });
    const { promise, resolve } = Promise.withResolvers<void>();
    app.agent.openGate = promise;
    const hangUp = new AbortController();
    const answer = app.chat({ stream }, { signal: hangUp.signal });
    hangUp.abort();
    assertEquals((await answer).status, 499);
    resolve();
    assertEquals(app.agent.prompts.length, 0);
    app.agent.script = saying("Hi");
    assertEquals(await contentOf(app.chat()), "Hi\n");
  }
});

const LIMITS: [body: Record<string, unknown>, pieces: string[], text: string, finish: string][] = [
  [{ stop: ["\n\n"] }, ["One.\n", "\nTwo."], "One.\n", "stop"],
  [{ max_tokens: 2 }, ["1234", "56789"], "12345678\n", "length"],
  [{ max_completion_tokens: 5 }, ["One. ", "Two. Three, four, five"], "One. Two.\n", "length"],
];
for (const [body, pieces, expected, finishReason] of LIMITS) {
  Deno.test(`${Object.keys(body)}: ends the reply without waiting for the agent`, async () => {
    for (const stream of [true, false]) {
      await using app = startApp();
      app.agent.answersCancels = false;
      const answer = app.chat({ ...body, stream });
      const prompt = await app.agent.nextPrompt();
      const response = stream ? await answer : undefined;
      for (const piece of pieces) prompt.say(piece);
      if (response) {
        const { text, finish } = await readStream(response);
        assertEquals([text, finish, prompt.isOver], [expected, finishReason, false]);
      } else {
        const { choices: [choice] } = await (await answer).json();
        assertEquals([choice.message.content, choice.finish_reason], [expected, finishReason]);
      }
      assertEquals(
        prompt.cancelCount,
        finishReason === "stop" ? 1 : 0,
        "a limit cuts the reply, not the work",
      );
      prompt.say(" late");
      prompt.end("cancelled");
    }
  });
}

Deno.test("max_tokens: the work goes on for watchers, without words, when the response is closed", async () => {
  await using served = ServedApp.start();
  const client = await served.connect("*", "say");
  const response = await served.app.stream({ max_tokens: 2, conversation_id: "mao" });
  const prompt = await served.app.agent.nextPrompt();
  prompt.tool({ id: "t1", title: "npm test", kind: "execute" });
  prompt.say("123456789 and more");
  const { text, finish } = await readStream(response);
  assertEquals([text, finish], ["12345678\n", "length"]);
  prompt.say("Not this.");
  prompt.tool({ id: "t1", title: "npm test", kind: "execute", status: "completed" });
  prompt.end();
  await client.until("state idle");
  assertEquals(prompt.cancelCount, 0);
  assertEquals(client.summaries.filter((summary) => summary.startsWith("tool")), [
    "tool t1 running",
    "tool t1 done",
  ]);
  assertEquals(client.summaries.some((summary) => summary.includes("Not this")), false);
});

Deno.test("stop: after a tool the work goes on", async () => {
  await using app = startApp();
  const response = await app.stream({ stop: "STOP" });
  const prompt = await app.agent.nextPrompt();
  prompt.tool({ status: "completed" });
  prompt.say("One STOP two");
  assertEquals((await readStream(response)).finish, "stop");
  assertEquals(prompt.cancelCount, 0);
  prompt.end();
});

Deno.test("a client that never reads loses its turn, and the server's memory is bounded", async () => {
  await using app = startApp();
  const response = await app.stream();
  const prompt = await app.agent.nextPrompt();
  let chars = 0;
  while (prompt.cancelCount === 0 && chars < 64 * 1024 * 1024) {
    for (let i = 0; i < 100; i++) prompt.say("x".repeat(1_000) + "\n");
    chars += 100_000;
    await Promise.resolve();
  }
  assertEquals([prompt.cancelCount, chars < 16 * 1024 * 1024], [1, true], `${chars} characters`);
  await response.body!.cancel().catch(() => {});
});
