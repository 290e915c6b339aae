import { assertEquals } from "@std/assert";
import { settled, soon } from "../turn/heard.ts";
import { gate, House } from "./house.ts";
import { assistant, system, user } from "./said.ts";

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
  const endless = "x".repeat(256 * 1024 + 1);
  const texts = [...Array.from({ length: 10 }, (_, index) => `turn ${index}`), endless];
  for (const text of texts) house.begin("a", [user(text)]).catch(() => {});
  const last = house.begin("a", [user("last")]);
  opens.open();
  await soon(last, "the newest turn");
  const { text } = await house.agent.nextPrompt();
  // That of the one that was too long is gone; so are those of the oldest.
  assertEquals(text, [2, 3, 4, 5, 6, 7, 8, 9].map((index) => `turn ${index}\n\n`).join("") + "last");
});
