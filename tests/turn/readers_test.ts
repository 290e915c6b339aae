import { assertEquals, assertThrows } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { RECORD_LIMIT } from "../../lib/turn/turn.ts";
import type { MemoryPrompt } from "../support/agents/memory_agent.ts";
import { Heard, settled } from "../support/harness/turn_recorder.ts";
import { begin, heardOf } from "../support/harness/turn_fixture.ts";

Deno.test("Turn: the first reader of an unrecorded turn hears what was before it, the second is refused", async () => {
  const { turn, prompt } = await begin();
  prompt.say("early ");
  const heard = heardOf(turn);
  prompt.say("late");
  const failure: AppError = assertThrows(() => turn.read(() => {}), AppError);
  assertEquals([failure.code, failure.prompted], ["turn_cancelled", true]);
  prompt.end();
  assertEquals(heard.briefs, ["text early ", "text late", "end end_turn"]);
});

Deno.test("Turn: a recorded turn is told from its start to whoever comes, also after its end", async () => {
  const { turn, prompt } = await begin({ record: true });
  const [first, all] = [heardOf(turn), ["text a", "text b", "thought c", "end refusal"]];
  prompt.say("a");
  prompt.say("b");
  const second = heardOf(turn);
  prompt.think("c");
  prompt.end("refusal");
  const third = heardOf(turn);
  for (const heard of [first, second, third]) assertEquals(heard.briefs, all);
  third.leave();
  assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 0]);
});

Deno.test("Turn: a reader that joins while an event is told hears each event once", async () => {
  const { turn, prompt } = await begin({ record: true });
  const late = new Heard();
  let joined = false;
  turn.read(() => {
    if (!joined) turn.read(late.reader);
    joined = true;
  });
  prompt.say("a");
  prompt.say("b");
  prompt.end();
  assertEquals(late.briefs, ["text a", "text b", "end end_turn"]);
});

Deno.test("Turn: a reader that leaves while an event is told hears nothing more, not even that", async () => {
  const { turn, prompt } = await begin({ record: true });
  let leaveSecond = () => {};
  turn.read(() => leaveSecond());
  const second = heardOf(turn);
  leaveSecond = second.leave;
  prompt.say("a");
  prompt.end();
  assertEquals(second.briefs, []);
});

Deno.test("Turn: the last reader that leaves cancels it, and is told nothing more", async () => {
  const { turn, prompt } = await begin({ record: true });
  const [first, second] = [heardOf(turn), heardOf(turn)];
  first.leave();
  first.leave();
  prompt.say("still read");
  assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 0]);
  second.leave();
  assertEquals([turn.isAbandoned, prompt.cancelCount], [true, 1]);
  prompt.say("to nobody");
  prompt.end("cancelled");
  await turn.ended;
  assertEquals(first.briefs, []);
  assertEquals(second.briefs, ["text still read"]);
  assertEquals(turn.isOver, true);
});

Deno.test("Turn: a turn that nobody read yet is not abandoned, and leaving after the end cancels nothing", async () => {
  const { turn, prompt } = await begin();
  prompt.say("a");
  await settled();
  assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 0]);
  const heard = heardOf(turn);
  prompt.end();
  heard.leave();
  assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 0]);
});

const OVER_THE_RECORD: readonly { name: string; say: (prompt: MemoryPrompt) => number }[] = [
  {
    name: "too much text",
    say: (prompt) => {
      const half = "x".repeat(RECORD_LIMIT / 2);
      prompt.say(half);
      prompt.think(half);
      prompt.say("!");
      return 3;
    },
  },
  {
    name: "too many events",
    say: (prompt) => {
      for (let count = 0; count < 10_100; count++) prompt.say("x");
      return 10_100;
    },
  },
];
for (const { name, say } of OVER_THE_RECORD) {
  Deno.test(`Turn: ${name}: who reads goes on, who comes late is refused`, async () => {
    const { turn, prompt } = await begin({ record: true });
    const heard = heardOf(turn);
    const said = say(prompt);
    const failure: AppError = assertThrows(() => turn.read(() => {}), AppError);
    assertEquals([failure.code, failure.prompted], ["turn_cancelled", true]);
    prompt.end();
    assertEquals(heard.events.length, said + 1);
    assertThrows(() => turn.read(() => {}), AppError);
  });
}

Deno.test("Turn: just within the record it can still be told", async () => {
  const { turn, prompt } = await begin({ record: true });
  heardOf(turn);
  prompt.say("x".repeat(RECORD_LIMIT - 1));
  prompt.end();
  assertEquals(heardOf(turn).events.length, 2);
});
