import { assertEquals } from "@std/assert";
import { MAX_TURNS } from "../../lib/conversation/fingerprint.ts";
import { continues, SHORT_REPLY, starts, steps } from "../support/harness/match_table.ts";
import {
  CANCELLED,
  longReply,
  MatchHarness,
  messagesOf,
  type TranscriptLine,
} from "../support/harness/fingerprint_fixture.ts";

/** A long talk in one conversation, of which the caller keeps so many messages. */
function slide(turns: number, window: number, answer: (turn: number) => string): void {
  const room = new MatchHarness();
  const said: TranscriptLine[] = [];
  for (let turn = 0; turn < turns; turn++) {
    said.push(`u: turn ${turn}`);
    const asked = room.send(messagesOf("s: Mao", ...said.slice(-window)), answer(turn));
    assertEquals(
      asked,
      turn === 0 ? starts("new", 0, "turn 0") : continues(0, `turn ${turn}`),
      `${window} messages`,
    );
    said.push(`a: ${answer(turn)}`);
  }
}

Deno.test("match: a window of any size slides along, as long as it has a long answer", () => {
  for (let window = 2; window <= 60; window++) slide(45, window, longReply);
});

Deno.test("match: a window of any size slides along, as long as it has two turns that are known", () => {
  for (let window = 5; window <= 60; window++) slide(45, window, SHORT_REPLY);
});

Deno.test("match: a talk goes on beyond the turns that are remembered, in a window or whole", () => {
  slide(MAX_TURNS + 20, 40, SHORT_REPLY);
  slide(MAX_TURNS + 20, Infinity, SHORT_REPLY);
});

Deno.test("match: a window that slides over the same words said again and again", () => {
  const room = new MatchHarness();
  for (const [turn, [ending, ...lines]] of steps(30, (turn) => `no ${turn}`, () => "go on").entries()) {
    const asked = room.send(messagesOf(...lines.slice(-11)), ending);
    assertEquals(asked, turn === 0 ? starts("new", 0, "go on") : continues(0, "go on"), `turn ${turn}`);
  }
});

Deno.test("match: a talk goes on beyond the turns that are remembered, though some were cancelled and dropped", () => {
  const room = new MatchHarness();
  const said: TranscriptLine[] = ["u: hi", "a: ok"];
  room.send(messagesOf("u: hi"), "ok");
  for (let turn = 1; turn < MAX_TURNS + 20; turn++) {
    if (turn % 50 === 0) room.send(messagesOf(...said, `u: cancelled ${turn}`), CANCELLED);
    said.push(`u: turn ${turn}`);
    assertEquals(room.send(messagesOf(...said), "ok"), continues(0, `turn ${turn}`), `turn ${turn}`);
    said.push("a: ok");
  }
});

Deno.test("match: a small window that slid tells nobody else how the conversation goes on", () => {
  const room = new MatchHarness();
  const said: TranscriptLine[] = [];
  for (const [turn, words] of ["one", "two", "three", "hello"].entries()) {
    said.push(`u: ${words}`);
    room.send(messagesOf(...said.slice(-2)), longReply(turn));
    said.push(`a: ${longReply(turn)}`);
  }
  assertEquals(
    room.send(messagesOf("u: hello / a: Another answer than ours. / u: so"), "ok"),
    starts("new", 1, "hello", "so"),
  );
});
