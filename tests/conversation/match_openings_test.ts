import { assertEquals } from "@std/assert";
import { align, UNMATCHED } from "../../lib/conversation/align.ts";
import type { TurnRecord } from "../../lib/conversation/record.ts";
import { continues, starts, type Step, steps, testMatches } from "../support/harness/match_table.ts";
import { FINGERPRINTER, longReply, messagesOf } from "../support/harness/fingerprint_fixture.ts";

/** A talk of these turns, answered at length. */
const talked = (...words: string[]): Step[] => steps(words.length, longReply, (turn) => words[turn]!);
/** What a skin keeps of a long answer: too little to know it by. */
const CUT = " / a: Well / ";
/** What is left of a talk. */
const left = (...words: string[]) => words.map((each) => `u: ${each}`).join(CUT);

testMatches("windows that begin with an opening", [
  [
    "the first words of a window are the conversation's own opening as well",
    talked("ok", "one", "ok", "two", "three"),
    left("ok", "two", "three", "four"),
    continues(0, "four"),
  ],
  [
    "they are the opening of another",
    [...talked("one", "ok", "two", "three"), [longReply(9), "u: ok"], [
      "1",
      `u: ok / a: ${longReply(9)} / u: other`,
    ]],
    left("ok", "two", "three", "four"),
    continues(0, "four"),
  ],
  [
    "they are the openings of many others, each of which went on",
    [
      ...talked("one", "ok", "two", "three"),
      ...[1, 2, 3].flatMap((other): Step[] => talked("ok", `other ${other}`)),
    ],
    left("ok", "two", "three", "four"),
    continues(0, "four"),
  ],
  [
    "a window of two, of which one is another's opening",
    [...talked("one", "ok", "two"), ...talked("ok", "other")],
    left("ok", "two", "three"),
    continues(0, "three"),
  ],
  [
    "without any answers",
    [...talked("one", "ok", "two", "three"), ...talked("ok", "other")],
    "u: ok / u: two / u: three / u: four",
    continues(0, "four"),
  ],
  [
    "an edit of another that is as much of it: nothing tells which is meant",
    [...talked("one", "ok", "two"), ...talked("ok", "two", "other")],
    left("ok", "two", "three"),
    starts("fork", 2, "ok", "two", "three"),
  ],
  [
    "an edit of another that is more than half of it",
    [...talked("one", "ok", "two", "three"), ...talked("ok", "two", "other")],
    left("ok", "two", "three", "four"),
    starts("fork", 2, "ok", "two", "three", "four"),
  ],
  [
    "an edit of the same conversation that is as much of it",
    talked("ok", "one", "ok", "one"),
    left("ok", "one", "edited"),
    starts("fork", 1, "ok", "one", "edited"),
  ],
  [
    "the same with its last answer, which no edit has",
    talked("ok", "one", "ok", "one"),
    `${left("ok", "one")} / a: ${longReply(3)} / u: two`,
    continues(0, "two"),
  ],
]);

testMatches("windows of others", [
  [
    "two have what is left, but one had a turn between",
    [...talked("one", "yes", "no"), ["ok", "u: yes / u: why / u: no"]],
    "u: yes / u: no / u: next",
    continues(0, "next"),
  ],
  [
    "the last turn of one is said again or asked again: that is no other's who has less of it",
    [...talked("one", "ok", "ok", "ok", "ok"), ...talked("two", "ok", "ok", "ok")],
    left("ok", "ok", "ok", "ok"),
    starts("fork", 2, "ok", "ok", "ok", "ok"),
  ],
  [
    "two turns agree, and one was answered elsewhere",
    talked("one", "yes", "no"),
    left("yes", "no", "elsewhere", "next"),
    starts("new", 1, "yes", "no", "elsewhere", "next"),
  ],
  [
    "three turns agree, and one was answered elsewhere",
    talked("one", "yes", "no", "why"),
    left("yes", "no", "why", "elsewhere", "next"),
    continues(0, "elsewhere", "next"),
  ],
]);

Deno.test("align: where fewer turns that were never answered are passed over", () => {
  const turnsOf = (...lines: string[]) => FINGERPRINTER.transcript(messagesOf(...lines)).turns;
  const states: readonly TurnRecord["state"][] = ["delivered", "delivered", "answered"];
  const turns = turnsOf("u: yes / u: yes / u: no").map((turn, place) => ({ ...turn, state: states[place]! }));
  const request = FINGERPRINTER.transcript(messagesOf("u: yes / u: no / u: next"));
  assertEquals(align(request, { turns, turnsBefore: 0, reply: undefined })?.positions, [1, 2, UNMATCHED]);
});
