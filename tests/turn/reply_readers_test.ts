import { assertEquals, assertThrows } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { RECORD_LIMIT } from "../../lib/turn/reply_readers.ts";
import { Turn } from "../../lib/turn/turn.ts";
import type { MemoryPrompt } from "../support/agents/memory_agent.ts";
import { beginTurn, recordTurn } from "../support/harness/turn_fixture.ts";
import { TurnRecorder } from "../support/harness/turn_recorder.ts";

/** Asserts that a turn cannot be read from its start. */
function assertUnreadable(turn: Turn): void {
  const failure: AppError = assertThrows(() => turn.read(() => {}), AppError);
  assertEquals([failure.code, failure.prompted], ["turn_cancelled", true]);
}

Deno.test("read: the first reader of an unrecorded turn gets the earlier events, a second is refused", async () => {
  const { turn, prompt } = await beginTurn();
  prompt.say("early ");
  const recorder = recordTurn(turn);
  prompt.say("late");
  assertUnreadable(turn);
  prompt.end();
  assertEquals(recorder.summaries, ["text early ", "text late", "end end_turn"]);
});

Deno.test("read: every reader of a recorded turn gets it from the start, also after the end", async () => {
  const { turn, prompt } = await beginTurn({ record: true });
  const first = recordTurn(turn);
  prompt.say("a");
  prompt.say("b");
  const second = recordTurn(turn);
  prompt.think("c");
  prompt.end("refusal");
  const third = recordTurn(turn);
  for (const recorder of [first, second, third]) {
    assertEquals(recorder.summaries, ["text a", "text b", "thought c", "end refusal"]);
  }
  third.leave();
  assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 0]);
});

Deno.test("read: a reader that joins during an event gets each event once", async () => {
  const { turn, prompt } = await beginTurn({ record: true });
  const late = new TurnRecorder();
  let hasJoined = false;
  turn.read(() => {
    if (!hasJoined) turn.read(late.reader);
    hasJoined = true;
  });
  prompt.say("a");
  prompt.say("b");
  prompt.end();
  assertEquals(late.summaries, ["text a", "text b", "end end_turn"]);
});

Deno.test("read: the last reader that leaves cancels the turn", async () => {
  const { turn, prompt } = await beginTurn({ record: true });
  const [first, second] = [recordTurn(turn), recordTurn(turn)];
  first.leave();
  first.leave();
  prompt.say("still read");
  assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 0]);
  second.leave();
  assertEquals([turn.isAbandoned, prompt.cancelCount], [true, 1]);
  prompt.say("unread");
  prompt.end("cancelled");
  await turn.ended;
  assertEquals([first.summaries, second.summaries], [[], ["text still read"]]);
  assertEquals(turn.isOver, true);
});

const LONG_REPLIES: Readonly<Record<string, (prompt: MemoryPrompt) => void>> = {
  "too much text": (prompt) => {
    prompt.say("x".repeat(RECORD_LIMIT / 2));
    prompt.think("x".repeat(RECORD_LIMIT / 2));
  },
  "too many long plans": (prompt) => {
    const entries = [{ content: "x".repeat(RECORD_LIMIT / 4), priority: "low", status: "pending" }] as const;
    for (let count = 0; count < 5; count++) prompt.emit({ type: "plan", entries });
  },
  "too many events": (prompt) => {
    for (let count = 0; count < RECORD_LIMIT / 100; count++) prompt.say("x");
  },
};
for (const [name, reply] of Object.entries(LONG_REPLIES)) {
  Deno.test(`read: after ${name}, a reader goes on, and a late one is refused`, async () => {
    const { turn, prompt } = await beginTurn({ record: true });
    const recorder = recordTurn(turn);
    reply(prompt);
    const sent = recorder.events.length;
    prompt.end();
    assertEquals(recorder.events.length, sent + 1);
    assertUnreadable(turn);
  });
}
