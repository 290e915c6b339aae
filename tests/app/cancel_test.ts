import { assertEquals } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { checkWireProfile, parseFrames } from "../support/harness/wire_profile.ts";
import { errorOf, readWrites, startApp, Writes } from "../support/harness/app_harness.ts";

Deno.test("hang-up: a stream that nobody reads any more cancels its turn", async () => {
  await using app = startApp();
  const response = await app.stream();
  const prompt = await app.agent.nextPrompt();
  prompt.say("Hel");
  await response.body!.cancel();
  await prompt.cancelled;
  assertEquals(prompt.cancels, 1);
});

Deno.test("hang-up: in the middle of reading", async () => {
  await using app = startApp();
  const writes = new Writes(await app.stream());
  const prompt = await app.agent.nextPrompt();
  await writes.next();
  prompt.say("Hel");
  await writes.next();
  await writes.cancel();
  await prompt.cancelled;
  assertEquals(prompt.cancels, 1);
});

Deno.test("hang-up: what the agent says after it goes nowhere, and the slot is free when it ends", async () => {
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
  assertEquals(parseFrames(await (await answer).text()).text, "Hi\n");
});

Deno.test("hang-up: after the end there is nothing to cancel", async () => {
  await using app = startApp({ script: saying("Hi") });
  const response = await app.stream();
  const prompt = await app.agent.nextPrompt();
  while (!prompt.over) await Promise.resolve();
  await response.body!.cancel();
  assertEquals(prompt.cancels, 0);
});

Deno.test("hang-up: whoever waits for a whole answer and leaves cancels the turn", async () => {
  await using app = startApp();
  const gone = new AbortController();
  const answer = app.chat({}, { signal: gone.signal });
  const prompt = await app.agent.nextPrompt();
  prompt.say("Hel");
  gone.abort();
  const response = await answer;
  assertEquals([response.status, await response.text()], [499, ""]);
  await prompt.cancelled;
  assertEquals(prompt.cancels, 1);
});

for (const stream of [true, false]) {
  Deno.test(`hang-up: before the agent has a session, ${stream ? "streamed" : "whole"}`, async () => {
    await using app = startApp({ maxInFlight: 1 });
    const { promise, resolve } = Promise.withResolvers<void>();
    app.agent.opens = promise;
    const gone = new AbortController();
    const answer = app.chat({ stream }, { signal: gone.signal });
    gone.abort();
    assertEquals((await answer).status, 499);
    resolve();
    assertEquals(app.agent.prompts.length, 0, "the agent was not bothered");
    app.agent.script = saying("Hi");
    assertEquals((await (await app.chat()).json()).choices[0].message.content, "Hi\n", "the slot is free");
  });
}

Deno.test("stop: the reply ends there, the agent is stopped, and the answer does not wait for it", async () => {
  await using app = startApp();
  app.agent.answersCancels = false;
  const response = await app.stream({ stop: ["\n\n"] });
  const prompt = await app.agent.nextPrompt();
  prompt.say("One.\n");
  prompt.say("\nTwo.");
  const writes = await readWrites(response);
  await prompt.cancelled;
  assertEquals(prompt.over, false);
  assertEquals(checkWireProfile(writes), []);
  const { text, chunks } = parseFrames(writes.map((write) => new TextDecoder().decode(write)).join(""));
  assertEquals(text, "One.\n");
  assertEquals(chunks.at(-1)?.choices?.[0]?.finish_reason, "stop");
  prompt.say(" late");
  prompt.end("cancelled");
});

Deno.test("stop: of a whole answer", async () => {
  await using app = startApp();
  const answer = app.chat({ stop: "STOP" });
  const prompt = await app.agent.nextPrompt();
  prompt.say("one ST");
  prompt.say("OP two");
  const { choices: [choice] } = await (await answer).json();
  assertEquals([choice.message.content, choice.finish_reason], ["one \n", "stop"]);
  await prompt.cancelled;
});

Deno.test("stop: one that is never said changes nothing", async () => {
  await using app = startApp({ script: saying("one ST", "O two ST") });
  const { choices: [choice] } = await (await app.chat({ stop: "STOP" })).json();
  assertEquals([choice.message.content, choice.finish_reason], ["one STO two ST\n", "stop"]);
  assertEquals(app.agent.prompts[0]?.cancels, 0);
});

Deno.test("max_tokens: the reply ends there, and the agent is stopped", async () => {
  for (const field of ["max_tokens", "max_completion_tokens"]) {
    await using app = startApp();
    const response = await app.stream({ [field]: 2 });
    const prompt = await app.agent.nextPrompt();
    prompt.say("1234");
    prompt.say("56789");
    await prompt.cancelled;
    const { text, chunks } = parseFrames(await response.text());
    assertEquals(text, "12345678\n");
    assertEquals(chunks.at(-1)?.choices?.[0]?.finish_reason, "length");
  }
});

Deno.test("a reader that never reads loses its turn, not the server's memory", async () => {
  await using app = startApp();
  const response = await app.stream();
  const prompt = await app.agent.nextPrompt();
  let said = 0;
  while (prompt.cancels === 0 && said < 64 * 1024 * 1024) {
    for (let i = 0; i < 100; i++) prompt.say("x".repeat(1_000) + "\n");
    said += 100_000;
    await Promise.resolve();
  }
  assertEquals(prompt.cancels, 1);
  assertEquals(said < 16 * 1024 * 1024, true, `${said} bytes`);
  await response.body!.cancel().catch(() => {});
});
