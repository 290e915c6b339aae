import { assertEquals } from "@std/assert";
import { PreparedAnswers, preparedTurn } from "../../lib/turn/prepared.ts";
import { heardOf } from "./turns.ts";

const TEN_MINUTES_MS = 600_000;

/** Answers, and a clock that a test turns. */
function prepared(): { answers: PreparedAnswers; clock: { ms: number } } {
  const clock = { ms: 1_000 };
  return { answers: new PreparedAnswers(() => clock.ms), clock };
}

Deno.test("PreparedAnswers: what was sent is answered, what was not is not", () => {
  const { answers } = prepared();
  assertEquals(answers.answerTo("Build done"), undefined);
  answers.remember("Build done", "[happy] The build is done!", 1);
  assertEquals(answers.answerTo("Build"), undefined);
  assertEquals(answers.answerTo("build done"), undefined);
  assertEquals(answers.answerTo("Build done"), "[happy] The build is done!");
});

Deno.test("PreparedAnswers: it is answered once for each client that was told", () => {
  const { answers } = prepared();
  answers.remember("Build done", "Yes", 2);
  assertEquals([1, 2, 3].map(() => answers.answerTo("Build done")), ["Yes", "Yes", undefined]);
});

Deno.test("PreparedAnswers: spaces around it do not matter", () => {
  const { answers } = prepared();
  answers.remember(" Build done\n", "Yes", 1);
  assertEquals(answers.answerTo("\nBuild done  "), "Yes");
});

Deno.test("PreparedAnswers: what nobody was told, and what is empty, is not remembered", () => {
  const { answers } = prepared();
  answers.remember("Build done", "Yes", 0);
  answers.remember("  ", "Yes", 1);
  assertEquals([answers.answerTo("Build done"), answers.answerTo(""), answers.answerTo("  ")], [
    undefined,
    undefined,
    undefined,
  ]);
});

Deno.test("PreparedAnswers: the same text again has the newer answer, for the newer clients", () => {
  const { answers } = prepared();
  answers.remember("Anything new?", "Rain", 3);
  answers.remember("Anything new?", "Snow", 1);
  assertEquals([answers.answerTo("Anything new?"), answers.answerTo("Anything new?")], ["Snow", undefined]);
});

Deno.test("PreparedAnswers: an empty answer is one", () => {
  const { answers } = prepared();
  answers.remember("Psst", "", 1);
  assertEquals(answers.answerTo("Psst"), "");
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
    assertEquals(answers.answerTo("Build done"), expected);
  });
}

Deno.test("PreparedAnswers: sent again, its time begins anew", () => {
  const { answers, clock } = prepared();
  answers.remember("Build done", "Yes", 1);
  clock.ms += TEN_MINUTES_MS;
  answers.remember("Build done", "Again", 1);
  clock.ms += TEN_MINUTES_MS;
  assertEquals(answers.answerTo("Build done"), "Again");
});

Deno.test("PreparedAnswers: of more than 50 texts the oldest are forgotten", () => {
  const { answers } = prepared();
  for (let i = 0; i < 50; i++) answers.remember(`text ${i}`, `${i}`, 1);
  answers.remember("text 0", "0 again", 1);
  answers.remember("text 50", "50", 1);
  assertEquals([0, 1, 2, 49, 50].map((i) => answers.answerTo(`text ${i}`)), [
    "0 again",
    undefined,
    "2",
    "49",
    "50",
  ]);
});

Deno.test("preparedTurn: says the text as it is, and is over", async () => {
  const turn = await preparedTurn("[happy] Done!", { conversation: "mao", servedBy: "openab" });
  assertEquals([turn.over, turn.conversation], [true, "mao"]);
  assertEquals(heardOf(turn).briefs, ["text [happy] Done!", "end end_turn"]);
  await turn.ended;
});

Deno.test("preparedTurn: without a conversation it has one of its own", async () => {
  const [one, two] = [
    await preparedTurn("a", { servedBy: "openab" }),
    await preparedTurn("b", { servedBy: "openab" }),
  ];
  assertEquals(one.conversation === two.conversation, false);
  assertEquals(heardOf(one).text + heardOf(two).text, "ab");
});
