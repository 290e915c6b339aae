import { assertEquals } from "@std/assert";
import { failureOf, settled, soon } from "../support/harness/turn_recorder.ts";
import { gate, House } from "../support/harness/conversation_harness.ts";
import { user } from "../support/harness/message_fixture.ts";

Deno.test("interrupt: an interrupt cancels what runs, of one conversation or of all, and tells how many", async () => {
  using house = new House();
  const [one, two] = [await house.prompted("a", user("one")), await house.prompted("b", user("two"))];
  const alone = await house.prompted(undefined, user("three"));
  assertEquals([house.conversations.interrupt("nobody"), house.conversations.interrupt("b")], [0, 1]);
  assertEquals([one.cancels, two.cancels, alone.cancels], [0, 1, 0]);
  assertEquals([house.conversations.interrupt(alone.session.id), alone.cancels], [1, 1]);
  for (const prompt of [two, alone]) prompt.end("cancelled");
  await settled();
  assertEquals([house.conversations.interrupt(undefined), one.cancels], [1, 1]);
  one.end("cancelled");
  await settled();
  assertEquals([house.conversations.interrupt(undefined), house.slots.running], [0, 0]);
});

Deno.test("interrupt: an interrupt refuses a turn that waits for its agent, and the next one begins", async () => {
  using house = new House();
  const opens = gate();
  house.agent.opens = opens.promise;
  for (const [name, meant] of [["a", "a"], ["a", undefined], [undefined, undefined]] as const) {
    const first = house.begin(name, [user("one")]);
    const refused = failureOf(first);
    await settled();
    assertEquals(house.conversations.interrupt(meant), 1);
    const failure = await refused;
    assertEquals([failure.code, failure.message], ["turn_cancelled", "The turn was interrupted."]);
    assertEquals([house.slots.running, house.conversations.interrupt(undefined)], [0, 0]);
  }
  opens.open();
  assertEquals((await house.prompted("a", user("two"))).text, "two");
});

Deno.test("interrupt: an interrupt while a prompt is put cancels it once it is taken", async () => {
  using house = new House();
  const takes = gate();
  house.agent.takes = takes.promise;
  const begins = house.begin("a", [user("one")]);
  await settled();
  assertEquals(house.conversations.interrupt("a"), 1);
  takes.open();
  await soon(begins, "the turn");
  assertEquals((await house.agent.nextPrompt()).cancels, 1);
});

Deno.test("interrupt: an interrupt refuses one that took the place of a turn that has not ended yet", async () => {
  using house = new House();
  const running = await house.prompted("a", user("one"));
  const next = failureOf(house.begin("a", [user("one"), user("two")]));
  await settled();
  assertEquals(house.conversations.interrupt("a"), 2);
  assertEquals((await next).message, "The turn was interrupted.");
  running.end("cancelled");
  await settled();
  assertEquals([house.agent.prompts.length, house.slots.running], [1, 0]);
});

Deno.test("interrupt: an interrupt leaves alone what waits for another turn, which comes next", async () => {
  using house = new House({ onBusy: "queue" });
  const running = await house.prompted("a", user("one"));
  const next = house.begin("a", [user("one"), user("two")]);
  await settled();
  assertEquals([house.conversations.interrupt("a"), running.cancels], [1, 1]);
  running.end("cancelled");
  await soon(next, "the next turn");
  assertEquals((await house.agent.nextPrompt()).text, "two");
});
