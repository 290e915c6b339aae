import { assertEquals } from "@std/assert";
import { CannedReplies, cannedTurn } from "../../lib/turn/canned_replies.ts";
import { recordTurn } from "../support/harness/turn_fixture.ts";

const TEN_MINUTES_MS = 600_000;

/** Canned replies, and a clock that a test sets. */
function create(): { replies: CannedReplies; clock: { ms: number } } {
  const clock = { ms: 1_000 };
  return { replies: new CannedReplies(() => clock.ms), clock };
}

Deno.test("replyTo: replies to a sent text only", () => {
  const { replies } = create();
  assertEquals(replies.replyTo("Build done"), undefined);
  replies.remember("Build done", "[happy] The build is done!", 1);
  assertEquals(replies.replyTo("Build"), undefined);
  assertEquals(replies.replyTo("build done"), undefined);
  assertEquals(replies.replyTo("Build done"), "[happy] The build is done!");
});

Deno.test("replyTo: replies once for each client", () => {
  const { replies } = create();
  replies.remember("Build done", "Yes", 2);
  assertEquals([1, 2, 3].map(() => replies.replyTo("Build done")), ["Yes", "Yes", undefined]);
});

Deno.test("replyTo: ignores spaces around the text", () => {
  const { replies } = create();
  replies.remember(" Build done\n", "Yes", 1);
  assertEquals(replies.replyTo("\nBuild done  "), "Yes");
});

Deno.test("remember: ignores an empty text, and one that no client got", () => {
  const { replies } = create();
  replies.remember("Build done", "Yes", 0);
  replies.remember("  ", "Yes", 1);
  assertEquals([replies.replyTo("Build done"), replies.replyTo(""), replies.replyTo("  ")], [
    undefined,
    undefined,
    undefined,
  ]);
});

Deno.test("remember: the same text again gets the newer reply and clients", () => {
  const { replies } = create();
  replies.remember("Anything new?", "Rain", 3);
  replies.remember("Anything new?", "Snow", 1);
  assertEquals([replies.replyTo("Anything new?"), replies.replyTo("Anything new?")], ["Snow", undefined]);
});

Deno.test("replyTo: returns an empty reply", () => {
  const { replies } = create();
  replies.remember("Psst", "", 1);
  assertEquals(replies.replyTo("Psst"), "");
});

const AGES: readonly [ms: number, reply: string | undefined][] = [
  [0, "Yes"],
  [TEN_MINUTES_MS, "Yes"],
  [TEN_MINUTES_MS + 1, undefined],
];
for (const [ms, expected] of AGES) {
  Deno.test(`replyTo: after ${ms} ms: ${expected}`, () => {
    const { replies, clock } = create();
    replies.remember("Build done", "Yes", 5);
    clock.ms += ms;
    assertEquals(replies.replyTo("Build done"), expected);
  });
}

Deno.test("remember: the same text again gets a new expiry", () => {
  const { replies, clock } = create();
  replies.remember("Build done", "Yes", 1);
  clock.ms += TEN_MINUTES_MS;
  replies.remember("Build done", "Again", 1);
  clock.ms += TEN_MINUTES_MS;
  assertEquals(replies.replyTo("Build done"), "Again");
});

Deno.test("remember: keeps the newest 50 texts", () => {
  const { replies } = create();
  for (let i = 0; i < 50; i++) replies.remember(`text ${i}`, `${i}`, 1);
  replies.remember("text 0", "0 again", 1);
  replies.remember("text 50", "50", 1);
  assertEquals([0, 1, 2, 49, 50].map((i) => replies.replyTo(`text ${i}`)), [
    "0 again",
    undefined,
    "2",
    "49",
    "50",
  ]);
});

Deno.test("cannedTurn: has the text unchanged, and is over", async () => {
  const turn = await cannedTurn("[happy] Done!", { conversation: "mao", resolvedModel: "openab" });
  assertEquals([turn.isOver, turn.conversation], [true, "mao"]);
  assertEquals(recordTurn(turn).summaries, ["text [happy] Done!", "end end_turn"]);
  await turn.ended;
});

Deno.test("cannedTurn: without a conversation it has one of its own", async () => {
  const [one, two] = [
    await cannedTurn("a", { resolvedModel: "openab" }),
    await cannedTurn("b", { resolvedModel: "openab" }),
  ];
  assertEquals(one.conversation === two.conversation, false);
  assertEquals(recordTurn(one).text + recordTurn(two).text, "ab");
});
