import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { failureOf, settled, soon } from "../support/harness/turn_recorder.ts";
import { crash, gate, House } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

const MAO = system("You are Mao.");

for (const isCold of [true, false]) {
  Deno.test(`unsaid: what was superseded before the agent got it is told for who sends only the newest message, ${isCold ? "cold" : "warm"}`, async () => {
    using house = new House();
    const running = isCold ? undefined : await house.prompted("a", user("one"));
    const opens = gate();
    house.agent.opens = opens.promise;
    for (const text of ["two", "three"]) {
      const passed = house.begin("a", [MAO, user(text)]);
      passed.catch(() => {});
      await settled();
    }
    const last = house.begin("a", [MAO, user("four")]);
    await settled();
    opens.open();
    running?.end("cancelled");
    await soon(last, "the newest turn");
    const { text } = await house.agent.nextPrompt();
    const told = [...text.matchAll(/Mao|two|three|four/g)].map(([word]) => word);
    assertEquals(told, ["Mao", "two", "three", "four"]);
    house.agent.prompts.at(-1)!.end();
    await settled();
    assertEquals((await house.prompted("a", user("five"))).text, "five");
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
    using house = new House();
    const running = await house.prompted("a", user("one"));
    running.end();
    await settled();
    const takes = gate();
    house.agent.opens = takes.promise;
    house.session(0).close();
    house.agent.resumes = true;
    const passed = house.begin("a", [user("two")]);
    passed.catch(() => {});
    await settled();
    const last = house.begin("a", messages);
    takes.open();
    await soon(last, "the newest turn");
    assertEquals((await house.agent.nextPrompt()).text, told);
  }
});

Deno.test("unsaid: what was superseded is kept in nobody's way: eight turns, none of them endless", async () => {
  using house = new House();
  const opens = gate();
  house.agent.opens = opens.promise;
  const endless = "x".repeat(64 * 1024 + 1);
  const texts = [...Array.from({ length: 10 }, (_, index) => `turn ${index}`), endless];
  for (const text of texts) house.begin("a", [user(text)]).catch(() => {});
  const last = house.begin("a", [user("last")]);
  opens.open();
  await soon(last, "the newest turn");
  const { text } = await house.agent.nextPrompt();
  // That of the one that was too long is gone; so are those of the oldest.
  assertEquals(text, [2, 3, 4, 5, 6, 7, 8, 9].map((index) => `turn ${index}\n\n`).join("") + "last");
});

Deno.test("unsaid: what was refused is its caller's to say again, and what was interrupted is not told", async () => {
  using house = new House();
  await house.told("a", user("one"));
  house.agent.resumes = true;
  house.session(0).close();
  house.agent.openFailure = new AppError("agent_unavailable", "Not now.", { retryAfterSecs: 1 });
  await failureOf(house.begin("a", [user("two")]));
  house.agent.openFailure = undefined;
  const opens = gate();
  house.agent.opens = opens.promise;
  const stopped = failureOf(house.begin("a", [user("three")]));
  await settled();
  assertEquals(house.conversations.interrupt("a"), 1);
  assertEquals((await stopped).code, "turn_cancelled");
  opens.open();
  const prompt = await house.prompted("a", user("four"));
  assertEquals([prompt.text, prompt.session.id], ["four", "session-1"]);
});

Deno.test("unsaid: what an agent died of is told to the one that comes back, whoever waited meanwhile", async () => {
  using house = new House({ onBusy: "queue" });
  house.agent.resumes = true;
  await house.told("a", user("one"));
  await house.prompted("a", user("two"));
  const waiting = house.begin("a", [user("three")]);
  await settled();
  crash(house.session(0));
  await soon(waiting, "the turn that waited");
  const prompt = await house.agent.nextPrompt();
  const next = house.begin("a", [user("four")]);
  prompt.end();
  await soon(next, "the next turn");
  assertEquals([prompt.text, (await house.agent.nextPrompt()).text], ["three", "two\n\nfour"]);
});

Deno.test("unsaid: it is told also before what was said and answered already", async () => {
  using house = new House();
  await house.told("a", user("hi"));
  const running = await house.prompted("a", user("two"));
  house.begin("a", [user("three")]).catch(() => {});
  const last = house.begin("a", [user("hi")]);
  running.end("cancelled");
  await soon(last, "the newest turn");
  assertEquals((await house.agent.nextPrompt()).text, "three\n\nhi");
});

Deno.test("unsaid: of what is too long with its pictures the words are kept", async () => {
  using house = new House();
  const running = await house.prompted("a", user("one"));
  const picture = { type: "image", mimeType: "image/png", data: "A".repeat(100_000) } as const;
  house.begin("a", [{ role: "user", parts: [{ type: "text", text: "Look!" }, picture] }]).catch(() => {});
  const last = house.begin("a", [user("two")]);
  running.end("cancelled");
  await soon(last, "the newest turn");
  assertEquals((await house.agent.nextPrompt()).blocks, [{ type: "text", text: "Look!\n\ntwo" }]);
});
