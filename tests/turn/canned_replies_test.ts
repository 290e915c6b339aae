import { assertEquals } from "@std/assert";
import { CannedReplies, cannedTurn } from "../../lib/turn/canned_replies.ts";
import { recordTurn } from "../support/harness/turn_fixture.ts";

const TEN_MINUTES_MS = 600_000;

/** Answers, and a clock that a test turns. */
function prepared(): { answers: CannedReplies; clock: { ms: number } } {
  const clock = { ms: 1_000 };
  return { answers: new CannedReplies(() => clock.ms), clock };
}

Deno.test("PreparedAnswers: what was sent is answered, what was not is not", () => {
  const { answers } = prepared();
  assertEquals(answers.replyTo("Build done"), undefined);
  answers.remember("Build done", "[happy] The build is done!", 1);
  assertEquals(answers.replyTo("Build"), undefined);
  assertEquals(answers.replyTo("build done"), undefined);
  assertEquals(answers.replyTo("Build done"), "[happy] The build is done!");
});

Deno.test("PreparedAnswers: it is answered once for each client that was told", () => {
  const { answers } = prepared();
  answers.remember("Build done", "Yes", 2);
  assertEquals([1, 2, 3].map(() => answers.replyTo("Build done")), ["Yes", "Yes", undefined]);
});

Deno.test("PreparedAnswers: spaces around it do not matter", () => {
  const { answers } = prepared();
  answers.remember(" Build done\n", "Yes", 1);
  assertEquals(answers.replyTo("\nBuild done  "), "Yes");
});

Deno.test("PreparedAnswers: what nobody was told, and what is empty, is not remembered", () => {
  const { answers } = prepared();
  answers.remember("Build done", "Yes", 0);
  answers.remember("  ", "Yes", 1);
  assertEquals([answers.replyTo("Build done"), answers.replyTo(""), answers.replyTo("  ")], [
    undefined,
    undefined,
    undefined,
  ]);
});

Deno.test("PreparedAnswers: the same text again has the newer answer, for the newer clients", () => {
  const { answers } = prepared();
  answers.remember("Anything new?", "Rain", 3);
  answers.remember("Anything new?", "Snow", 1);
  assertEquals([answers.replyTo("Anything new?"), answers.replyTo("Anything new?")], ["Snow", undefined]);
});

Deno.test("PreparedAnswers: an empty answer is one", () => {
  const { answers } = prepared();
  answers.remember("Psst", "", 1);
  assertEquals(answers.replyTo("Psst"), "");
});

const AGES: readonly [ms: number, answer: string | undefined][] = [
  [0, "Yes"],
  [TEN_MINUTES_MS, "Yes"],
  [TEN_MINUTES_MS + 1, undefined],
];
for (const [ms, expected] of AGES) {
  Deno.test(`PreparedAnswers: after ${ms} ms: ${expected}`, () => {
    const { answers, clock } = prepared();
    answers.remember("Build done", "Yes", 5);
    clock.ms += ms;
    assertEquals(answers.replyTo("Build done"), expected);
  });
}

Deno.test("PreparedAnswers: sent again, its time begins anew", () => {
  const { answers, clock } = prepared();
  answers.remember("Build done", "Yes", 1);
  clock.ms += TEN_MINUTES_MS;
  answers.remember("Build done", "Again", 1);
  clock.ms += TEN_MINUTES_MS;
  assertEquals(answers.replyTo("Build done"), "Again");
});

Deno.test("PreparedAnswers: of more than 50 texts the oldest are forgotten", () => {
  const { answers } = prepared();
  for (let i = 0; i < 50; i++) answers.remember(`text ${i}`, `${i}`, 1);
  answers.remember("text 0", "0 again", 1);
  answers.remember("text 50", "50", 1);
  assertEquals([0, 1, 2, 49, 50].map((i) => answers.replyTo(`text ${i}`)), [
    "0 again",
    undefined,
    "2",
    "49",
    "50",
  ]);
});

Deno.test("preparedTurn: says the text as it is, and is over", async () => {
  const turn = await cannedTurn("[happy] Done!", { conversation: "mao", resolvedModel: "openab" });
  assertEquals([turn.isOver, turn.conversation], [true, "mao"]);
  assertEquals(recordTurn(turn).summaries, ["text [happy] Done!", "end end_turn"]);
  await turn.ended;
});

Deno.test("preparedTurn: without a conversation it has one of its own", async () => {
  const [one, two] = [
    await cannedTurn("a", { resolvedModel: "openab" }),
    await cannedTurn("b", { resolvedModel: "openab" }),
  ];
  assertEquals(one.conversation === two.conversation, false);
  assertEquals(recordTurn(one).text + recordTurn(two).text, "ab");
});
