import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { appErrorOf, nextTask, waitFor } from "../support/harness/turn_recorder.ts";
import { ConversationHarness, crash } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

const MAO = system("You are Mao.");

for (const isCold of [true, false]) {
  Deno.test(`unsaid: what was superseded before the agent got it is told for who sends only the newest message, ${isCold ? "cold" : "warm"}`, async () => {
    using harness = new ConversationHarness();
    const running = isCold ? undefined : await harness.prompt("a", user("one"));
    const opens = Promise.withResolvers<void>();
    harness.agent.openGate = opens.promise;
    for (const text of ["two", "three"]) {
      const passed = harness.start("a", [MAO, user(text)]);
      passed.catch(() => {});
      await nextTask();
    }
    const last = harness.start("a", [MAO, user("four")]);
    await nextTask();
    opens.resolve();
    running?.end("cancelled");
    await waitFor(last, "the newest turn");
    const { text } = await harness.agent.nextPrompt();
    const told = [...text.matchAll(/Mao|two|three|four/g)].map(([word]) => word);
    assertEquals(told, ["Mao", "two", "three", "four"]);
    harness.agent.prompts.at(-1)!.end();
    await nextTask();
    assertEquals((await harness.prompt("a", user("five"))).text, "five");
  });
}

Deno.test("unsaid: what was superseded is not told twice, to who sends it again or goes on without it", async () => {
  for (
    const [messages, told] of [
      [[user("two"), user("three")], "two\n\nthree"],
      [[user("two")], "two"],
      [[user("one"), assistant("1"), user("three")], "three"],
    ] as const
  ) {
    using harness = new ConversationHarness();
    const running = await harness.prompt("a", user("one"));
    running.end();
    await nextTask();
    const takes = Promise.withResolvers<void>();
    harness.agent.openGate = takes.promise;
    harness.session(0).close();
    harness.agent.resumes = true;
    const passed = harness.start("a", [user("two")]);
    passed.catch(() => {});
    await nextTask();
    const last = harness.start("a", messages);
    takes.resolve();
    await waitFor(last, "the newest turn");
    assertEquals((await harness.agent.nextPrompt()).text, told);
  }
});

Deno.test("unsaid: what was superseded is kept in nobody's way: eight turns, none of them endless", async () => {
  using harness = new ConversationHarness();
  const opens = Promise.withResolvers<void>();
  harness.agent.openGate = opens.promise;
  const endless = "x".repeat(64 * 1024 + 1);
  const texts = [...Array.from({ length: 10 }, (_, index) => `turn ${index}`), endless];
  for (const text of texts) harness.start("a", [user(text)]).catch(() => {});
  const last = harness.start("a", [user("last")]);
  opens.resolve();
  await waitFor(last, "the newest turn");
  const { text } = await harness.agent.nextPrompt();
  // That of the one that was too long is gone; so are those of the oldest.
  assertEquals(text, [2, 3, 4, 5, 6, 7, 8, 9].map((index) => `turn ${index}\n\n`).join("") + "last");
});

Deno.test("unsaid: what was refused is its caller's to say again, and what was interrupted is not told", async () => {
  using harness = new ConversationHarness();
  await harness.run("a", [user("one")]);
  harness.agent.resumes = true;
  harness.session(0).close();
  harness.agent.openError = new AppError("agent_unavailable", "Not now.", { retryAfterSecs: 1 });
  await appErrorOf(harness.start("a", [user("two")]));
  harness.agent.openError = undefined;
  const opens = Promise.withResolvers<void>();
  harness.agent.openGate = opens.promise;
  const stopped = appErrorOf(harness.start("a", [user("three")]));
  await nextTask();
  assertEquals(harness.registry.interrupt("a"), 1);
  assertEquals((await stopped).code, "turn_cancelled");
  opens.resolve();
  const prompt = await harness.prompt("a", user("four"));
  assertEquals([prompt.text, prompt.session.id], ["four", "session-1"]);
});

Deno.test("unsaid: what an agent died of is told to the one that comes back, whoever waited meanwhile", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  harness.agent.resumes = true;
  await harness.run("a", [user("one")]);
  await harness.prompt("a", user("two"));
  const waiting = harness.start("a", [user("three")]);
  await nextTask();
  crash(harness.session(0));
  await waitFor(waiting, "the turn that waited");
  const prompt = await harness.agent.nextPrompt();
  const next = harness.start("a", [user("four")]);
  prompt.end();
  await waitFor(next, "the next turn");
  assertEquals([prompt.text, (await harness.agent.nextPrompt()).text], ["three", "two\n\nfour"]);
});

Deno.test("unsaid: it is told also before what was said and answered already", async () => {
  using harness = new ConversationHarness();
  await harness.run("a", [user("hi")]);
  const running = await harness.prompt("a", user("two"));
  harness.start("a", [user("three")]).catch(() => {});
  const last = harness.start("a", [user("hi")]);
  running.end("cancelled");
  await waitFor(last, "the newest turn");
  assertEquals((await harness.agent.nextPrompt()).text, "three\n\nhi");
});

Deno.test("unsaid: of what is too long with its pictures the words are kept", async () => {
  using harness = new ConversationHarness();
  const running = await harness.prompt("a", user("one"));
  const picture = { type: "image", mimeType: "image/png", data: "A".repeat(100_000) } as const;
  harness.start("a", [{ role: "user", parts: [{ type: "text", text: "Look!" }, picture] }]).catch(() => {});
  const last = harness.start("a", [user("two")]);
  running.end("cancelled");
  await waitFor(last, "the newest turn");
  assertEquals((await harness.agent.nextPrompt()).blocks, [{ type: "text", text: "Look!\n\ntwo" }]);
});
