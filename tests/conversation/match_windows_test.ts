import { assertEquals } from "@std/assert";
import { MAX_TURNS } from "../../lib/conversation/fingerprint.ts";
import {
  CANCELLED,
  longReply,
  MatchHarness,
  messagesOf,
  type TranscriptLine,
} from "../support/harness/fingerprint_fixture.ts";
import {
  continues,
  SHORT_REPLY,
  starts,
  type Step,
  steps,
  testMatches,
} from "../support/harness/match_table.ts";

/** Runs a long conversation whose client keeps so many messages. */
function slide(turns: number, window: number, answer: (turn: number) => string): void {
  const harness = new MatchHarness();
  const history: TranscriptLine[] = [];
  for (let turn = 0; turn < turns; turn++) {
    history.push(`u: turn ${turn}`);
    const asked = harness.send(messagesOf("s: Mao", ...history.slice(-window)), answer(turn));
    assertEquals(
      asked,
      turn === 0 ? starts("new", 0, "turn 0") : continues(0, `turn ${turn}`),
      `${window} messages`,
    );
    history.push(`a: ${answer(turn)}`);
  }
}

Deno.test("match: a window of any size slides if it has a long reply", () => {
  for (let window = 2; window <= 60; window++) slide(45, window, longReply);
});

Deno.test("match: a window of any size slides if it has two conversation turns", () => {
  for (let window = 5; window <= 60; window++) slide(45, window, SHORT_REPLY);
});

Deno.test("match: a conversation continues beyond the remembered turns, in a window or whole", () => {
  slide(MAX_TURNS + 20, 40, SHORT_REPLY);
  slide(MAX_TURNS + 20, Infinity, SHORT_REPLY);
});

Deno.test("match: a conversation continues beyond the remembered turns, though some were cancelled and dropped", () => {
  const harness = new MatchHarness();
  const history: TranscriptLine[] = ["u: hi", "a: ok"];
  harness.send(messagesOf("u: hi"), "ok");
  for (let turn = 1; turn < MAX_TURNS + 20; turn++) {
    if (turn % 50 === 0) harness.send(messagesOf(...history, `u: cancelled ${turn}`), CANCELLED);
    history.push(`u: turn ${turn}`);
    assertEquals(harness.send(messagesOf(...history), "ok"), continues(0, `turn ${turn}`), `turn ${turn}`);
    history.push("a: ok");
  }
});

Deno.test("match: a small window matches no other client's opening", () => {
  const harness = new MatchHarness();
  const history: TranscriptLine[] = [];
  for (const [turn, words] of ["one", "two", "three", "hello"].entries()) {
    history.push(`u: ${words}`);
    harness.send(messagesOf(...history.slice(-2)), longReply(turn));
    history.push(`a: ${longReply(turn)}`);
  }
  assertEquals(
    harness.send(messagesOf("u: hello / a: Another answer than ours. / u: so"), "ok"),
    starts("new", 1, "hello", "so"),
  );
});

/** Makes a conversation of these turns with distinctive replies. */
const conversationOf = (...words: string[]): Step[] => steps(words.length, longReply, (turn) => words[turn]!);
/** A reply that is cut to too few letters. */
const CUT = " / a: Well / ";
/** Makes the window of a conversation. */
const left = (...words: string[]) => words.map((each) => `u: ${each}`).join(CUT);

testMatches("windows that begin with an opening", [
  [
    "the first words are the conversation's own opening as well",
    conversationOf("ok", "one", "ok", "two", "three"),
    left("ok", "two", "three", "four"),
    continues(0, "four"),
  ],
  [
    "the first words are another one's opening",
    [...conversationOf("one", "ok", "two", "three"), [longReply(9), "u: ok"], [
      "1",
      `u: ok / a: ${longReply(9)} / u: other`,
    ]],
    left("ok", "two", "three", "four"),
    continues(0, "four"),
  ],
  [
    "without any replies",
    [...conversationOf("one", "ok", "two", "three"), ...conversationOf("ok", "other")],
    "u: ok / u: two / u: three / u: four",
    continues(0, "four"),
  ],
  [
    "as long as an edit of another one",
    [...conversationOf("one", "ok", "two"), ...conversationOf("ok", "two", "other")],
    left("ok", "two", "three"),
    starts("fork", 2, "ok", "two", "three"),
  ],
]);

testMatches("windows of several conversations", [
  [
    "a turn that is repeated or regenerated, which a shorter conversation has too",
    [...conversationOf("one", "ok", "ok", "ok", "ok"), ...conversationOf("two", "ok", "ok", "ok")],
    left("ok", "ok", "ok", "ok"),
    starts("fork", 2, "ok", "ok", "ok", "ok"),
  ],
  [
    "two turns agree, and one is unknown",
    conversationOf("one", "yes", "no"),
    left("yes", "no", "elsewhere", "next"),
    starts("new", 1, "yes", "no", "elsewhere", "next"),
  ],
  [
    "three turns agree, and one is unknown",
    conversationOf("one", "yes", "no", "why"),
    left("yes", "no", "why", "elsewhere", "next"),
    continues(0, "elsewhere", "next"),
  ],
]);
