import { assertEquals } from "@std/assert";
import { untilAborted } from "../../lib/core/abortable.ts";
import { BUSY_MODES } from "../../lib/conversation/turn_queue.ts";
import { failureOf, settled, soon } from "../support/harness/turn_recorder.ts";
import { crash, House } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

for (const onBusy of BUSY_MODES) {
  Deno.test(`hold: ${onBusy}: nobody's turn comes between those of a holder`, async () => {
    using house = new House({ onBusy, limit: 2 });
    using hold = house.conversations.hold();
    await house.beginHeld(hold, "a", user("one"));
    const first = await house.agent.nextPrompt();
    const other = house.begin("a", [user("one"), assistant("1"), user("two")]);
    other.catch(() => {});
    await settled();
    first.end(first.cancels > 0 ? "cancelled" : "end_turn");
    await settled();
    const again = house.beginHeld(hold, hold, user("again"));
    if (onBusy === "supersede") {
      const failure = await failureOf(again);
      assertEquals([failure.code, failure.conversation], ["turn_cancelled", "a"]);
    } else {
      await soon(again, "the holder's second turn");
      const second = await house.agent.nextPrompt();
      assertEquals([second.text, second.session], ["again", first.session]);
      second.end();
      await settled();
      assertEquals(house.slots.running, 1);
    }
    hold[Symbol.dispose]();
    if (onBusy === "reject") {
      assertEquals((await failureOf(other)).code, "session_busy");
      assertEquals(house.slots.running, 0);
    } else {
      await soon(other, "the other turn");
      assertEquals((await house.agent.nextPrompt()).text, "two");
      assertEquals(house.slots.running, 1);
    }
  });
}

Deno.test("hold: a holder that was interrupted or forgotten between its turns has no second one", async () => {
  for (const end of ["interrupt", "forget"] as const) {
    using house = new House();
    using hold = house.conversations.hold();
    await house.beginHeld(hold, "a", user("one"));
    const first = await house.agent.nextPrompt();
    if (end === "interrupt") house.conversations.interrupt("a");
    else house.conversations.forget("", "a");
    first.end("cancelled");
    await settled();
    const again = house.beginHeld(hold, hold, user("again"));
    assertEquals((await failureOf(again)).code, "turn_cancelled");
    assertEquals([house.agent.prompts.length, house.slots.running], [1, 0]);
  }
});

Deno.test("hold: an aside keeps its session for its owner until it is disposed of", async () => {
  using house = new House({ maxSessions: 0 });
  const aside = house.conversations.hold();
  await house.beginAs(aside, [user("one")]);
  (await house.agent.nextPrompt()).end();
  await settled();
  await house.told("another", user("one"));
  await house.beginAs(aside, [user("one"), assistant("1"), user("two")]);
  const second = house.agent.prompts.at(-1);
  assertEquals([second?.text, second?.session], ["two", house.session(0)]);
  aside[Symbol.dispose]();
  assertEquals(house.session(0).closed.aborted, false);
  second?.end();
  await settled();
  assertEquals([house.session(0).closed.aborted, house.slots.running], [true, 0]);
});

Deno.test("hold: an aside without a turn is disposed of without a session", () => {
  using house = new House();
  house.conversations.hold()[Symbol.dispose]();
  assertEquals(house.agent.sessions.length, 0);
});

Deno.test("hold: a fresh session that was told less than all of it is told all by the next turn", async () => {
  using house = new House();
  using hold = house.conversations.hold();
  const first = [system("Mao"), user("one")];
  await house.beginHeld(hold, "a", ...first);
  (await house.agent.nextPrompt()).end();
  await settled();
  crash(house.session(0));
  await house.beginHeld(hold, hold, user("once more"));
  const held = await house.agent.nextPrompt();
  assertEquals([held.session, held.text], [house.session(1), "once more"]);
  held.end();
  await settled();
  hold[Symbol.dispose]();
  const next = await house.told("a", ...first, assistant("1"), user("two"));
  assertEquals(next.session, house.session(1));
  assertEquals(["Mao", "one", "two"].filter((word) => !next.text.includes(word)), []);
});

Deno.test("hold: one that is held is not closed, however long it is idle or how many there are", async () => {
  using house = new House({ maxSessions: 0, idleMs: 0 });
  const hold = house.conversations.hold();
  await house.beginHeld(hold, "a", user("one"));
  (await house.agent.nextPrompt()).end();
  await settled();
  await house.told("b", user("one"));
  for (let rounds = 0; rounds < 3; rounds++) await settled();
  assertEquals(house.closed, [false, true]);
  await house.beginAs(hold, [user("one"), assistant("1"), user("two")]);
  const held = await house.agent.nextPrompt();
  assertEquals([held.text, held.session], ["two", house.session(0)]);
  held.end();
  await settled();
  hold[Symbol.dispose]();
  hold[Symbol.dispose]();
  await soon(untilAborted(house.session(0).closed), "the close of the one that is held no more");
});
