import { assertEquals } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import { CONTINUE } from "../../lib/conversation/prompt.ts";
import { MatchHarness, messagesOf, type TranscriptLine } from "../support/harness/fingerprint_fixture.ts";
import { assistant, image, user } from "../support/harness/message_fixture.ts";

/** Returns the messages that the open session of a named conversation gets, after a first request that it answered. */
function unseen(messages: readonly Message[], before: readonly Message[]): readonly Message[] {
  const harness = new MatchHarness();
  for (const request of [before, messages]) harness.send(request, "ok", { name: "mao" });
  return harness.sent;
}

/** The call of a client's tool. */
const CALL: Message = { ...assistant('<tool_call name="clock">{}</tool_call>'), isToolCall: true };

type Lines = string | readonly TranscriptLine[];
const parse = (lines: Lines) => messagesOf(...(typeof lines === "string" ? [lines] : lines));

const CASES: readonly (readonly [name: string, before: Lines, request: Lines, sent: Lines])[] = [
  ["the next turn", "u: one", "u: one / a: 1 / u: two", "u: two"],
  ["the next turn, with a persona", "s: Mao / u: one", "s: Mao / u: one / a: 1 / u: two", "u: two"],
  ["several turns at once", "u: one", "u: one / a: 1 / u: two / u: three", "u: two / u: three"],
  ["the result of a tool", "u: time?", "u: time? / a: looking / t clock: 12:00", "t clock: 12:00"],
  ["the same request again", "s: Mao / u: one / a: 1 / u: two", "s: Mao / u: one / a: 1 / u: two", "u: two"],
  ["a reply that is regenerated", "u: one / a: 1 / u: two", "u: one / a: 1 / u: two", "u: two"],
  ["an earlier reply that is regenerated", "u: 1 / a: a / u: 2 / a: b / u: 3", "u: 1 / a: a / u: 2", "u: 2"],
  ["an edited last turn", "u: one / a: 1 / u: two", "u: one / a: 1 / u: edited", "u: edited"],
  [
    "a cancelled turn that is kept",
    "u: one / a: 1 / u: two",
    "u: one / a: 1 / u: two / u: three",
    "u: three",
  ],
  ["a cancelled turn that is dropped", "u: one / a: 1 / u: two", "u: one / a: 1 / u: three", "u: three"],
  ["a cancelled first turn", "s: Mao / u: one", "s: Mao / u: one / u: two", "u: two"],
  ["the same words again", "u: go on", "u: go on / a: 1 / u: go on", "u: go on"],
  ["the same words a third time", "u: go / a: 1 / u: go", "u: go / a: 1 / u: go / a: 2 / u: go", "u: go"],
  ["two turns, the last in earlier words", "u: go", "u: go / a: 1 / u: two / u: go", "u: two / u: go"],
  ["only the last turn", "u: one", "u: two", "u: two"],
  ["a changed persona", "s: Mao / u: one", "s: Kai / u: one / a: 1 / u: two", "s: Kai / u: two"],
  ["a later persona", "u: one", "s: Mao / s: kind / u: one / a: 1 / u: two", "s: Mao / s: kind / u: two"],
  ["a persona that is gone", "s: Mao / u: one", "u: one / a: 1 / u: two", "u: two"],
  ["a first persona alone", "s: Mao", "s: Mao / u: one", "u: one"],
  [
    "a system message before the last turn",
    "s: Mao / s: 12:00 / u: one",
    "s: Mao / u: one / a: 1 / s: 12:05 / u: two",
    "s: 12:05 / u: two",
  ],
  [
    "a system message before an earlier turn",
    "s: Mao / u: one / a: 1 / s: 12:05 / u: two",
    "s: Mao / u: one / a: 1 / s: 12:05 / u: two / a: 2 / s: 12:10 / u: three",
    "s: 12:10 / u: three",
  ],
  ["a system message after the last turn", "u: 1", "u: 1 / a: a / u: 2 / s: French", "u: 2 / s: French"],
  [
    "a repeated turn with its system message",
    "u: one / a: 1 / s: late / u: two",
    "u: one / a: 1 / s: late / u: two",
    "s: late / u: two",
  ],
  ["the start of a reply", "u: one", "u: one / a: ok / u: two / a: Once", ["u: two / a: Once", CONTINUE]],
  ["a reply to continue", "u: one", "u: one / a: ok", [CONTINUE]],
  ["a changed reply to continue", "u: one", "u: one / a: ok, so", ["a: ok, so", CONTINUE]],
  ["a reply to continue, and a nudge", "u: one", "u: one / a: ok / s: Go on.", "s: Go on."],
  ["half of a cancelled reply", "s: Mao / u: one", "s: Mao / u: one / a: Half", ["a: Half", CONTINUE]],
  [
    "a nudge behind a note that was sent",
    "u: one / s: It is late.",
    "u: one / s: It is late. / a: ok / s: Go on.",
    "s: Go on.",
  ],
  [
    "lines of other characters",
    "u: one / a: Ann: hi / s: Reply as Cid.",
    "u: one / a: Ann: hi / a: Cid: ok / a: Bob: no / u: two / a: Ann: so / s: Reply as Cid.",
    "a: Bob: no / u: two / a: Ann: so / s: Reply as Cid.",
  ],
  [
    "lines of other characters behind a reply that was edited",
    "u: one / a: Ann: hi / s: Reply as Cid.",
    "u: one / a: Ann: hi / a: Cid: no, never / a: Bob: no / u: two / s: Reply as Cid.",
    "a: Bob: no / u: two / s: Reply as Cid.",
  ],
  [
    "lines of other characters that have a name",
    "u: one / a Ann: hi / s: Go on.",
    "u: one / a Ann: hi / a Cid: ok / a Bob: no / u: two / s: Go on.",
    "a Bob: no / u: two / s: Go on.",
  ],
  [
    "replies with a colon that were edited",
    "u: one",
    "u: one / a: Note: this was edited. / u: two / s: Be kind.",
    "u: two / s: Be kind.",
  ],
  ["system messages alone", "s: Mao / s: Greet me.", "s: Mao / s: Greet me.", "s: Greet me."],
  ["system messages alone, one of them new", "s: Mao", "s: Mao / s: Greet me.", "s: Greet me."],
  ["the call of a client's tool", "u: one", ["u: one / a: ok / u: two", CALL, "t x: 12:00"], [
    "u: two",
    CALL,
    "t x: 12:00",
  ]],
  ["the call of a client's tool for a turn that was sent", "u: one", ["u: one", CALL, "t x: 12:00"], [
    CALL,
    "t x: 12:00",
  ]],
  ["a call of a client's tool without a result", "u: one", ["u: one / a: ok / u: two", CALL], "u: two"],
  ["an earlier call of a client's tool", ["u: one", CALL, "t x: 12:00"], [
    "u: one",
    CALL,
    "t x: 12:00 / a: ok / u: two",
  ], "u: two"],
  ["another user", "u Ann: Hi", "u Ann: Hi / a: Hi Ann / u Bob: Hi", "u Bob: Hi"],
  ["the same words of another user", "u Ann: Hi", "u Bob: Hi", "u Bob: Hi"],
  [
    "another image with the same words",
    [user("this?", image("YQ=="))],
    [user("this?", image("YQ==")), assistant("A cat."), user("this?", image("Yg=="))],
    [user("this?", image("Yg=="))],
  ],
  [
    "an unknown turn with the start of a reply",
    "u: one",
    "u: two / a: Well,",
    ["u: two / a: Well,", CONTINUE],
  ],
  [
    "a turn after an interrupted reply",
    "u: one / a: 1 / u: two",
    "u: one / a: 1 / u: two / a: 2, half / u: three",
    "u: three",
  ],
];
for (const [name, before, request, sent] of CASES) {
  Deno.test(`promptMessages, named: ${name}`, () =>
    assertEquals(unseen(parse(request), parse(before)), parse(sent)));
}

/** A history of different messages, questions and replies in turn. */
const HISTORY: readonly Message[] = Array.from(
  { length: 60 },
  (_, index) => index % 2 === 0 ? user(`question ${index}`) : assistant(`reply ${index}`),
);
/** The newest messages of a history of so many, in a window. */
const windowOf = (count: number, size: number) => HISTORY.slice(Math.max(0, count - size), count);

Deno.test("promptMessages, named: a window that slid beyond everything that was sent sends the last turn", () => {
  assertEquals(unseen(windowOf(59, 40), [user("long ago")]), HISTORY.slice(58, 59));
});

Deno.test("promptMessages, named: every turn is sent once, whatever the window", () => {
  for (const size of [1, 2, 3, 39, 40, 41, 1_000]) {
    const sent = [...windowOf(1, size)];
    for (let count = 3; count <= HISTORY.length; count += 2) {
      sent.push(...unseen(windowOf(count, size), windowOf(count - 2, size)));
    }
    assertEquals(sent, HISTORY.filter((message) => message.role === "user"), `a window of ${size}`);
  }
});
