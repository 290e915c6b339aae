import { assertEquals } from "@std/assert";
import { CannedReplies, cannedTurn } from "../../lib/turn/canned_replies.ts";
import { recordTurn } from "../support/harness/turn_fixture.ts";

const TEN_MINUTES_MS = 600_000;

/** Canned replies, and a clock that a test sets. */
function create(): { replies: CannedReplies; clock: { ms: number } } {
  const clock = { ms: 1_000 };
  return { replies: new CannedReplies(() => clock.ms), clock };
}

Deno.test("replyTo: replies to a sent text only, apart from spaces around it", () => {
  const { replies } = create();
  assertEquals(replies.replyTo("Build done", "me"), undefined);
  replies.remember(" Build done\n", "[happy] The build is done!", ["me"]);
  assertEquals(replies.replyTo("Build", "me"), undefined);
  assertEquals(replies.replyTo("build done", "me"), undefined);
  assertEquals(replies.replyTo("\nBuild done  ", "me"), "[happy] The build is done!");
});

Deno.test("replyTo: replies once for each client, also with an empty reply", () => {
  const { replies } = create();
  replies.remember("Build done", "", ["me", "me"]);
  assertEquals([1, 2, 3].map(() => replies.replyTo("Build done", "me")), ["", "", undefined]);
});

Deno.test("replyTo: replies to the callers that got the text only", () => {
  const { replies } = create();
  replies.remember("Build done", "Yes", ["me", "you", "me"]);
  const callers = ["other", "", "you", "you", "me", "me", "me"];
  assertEquals(callers.map((caller) => replies.replyTo("Build done", caller)), [
    ...[undefined, undefined],
    ...["Yes", undefined],
    ...["Yes", "Yes", undefined],
  ]);
});

Deno.test("remember: ignores an empty text, and one that no client got", () => {
  const { replies } = create();
  replies.remember("Build done", "Yes", []);
  replies.remember("  ", "Yes", ["me"]);
  for (const text of ["Build done", "", "  "]) assertEquals(replies.replyTo(text, "me"), undefined);
});

Deno.test("remember: the same text again replaces reply, clients and expiry", () => {
  const { replies, clock } = create();
  replies.remember("Anything new?", "Rain", ["me", "me", "me"]);
  clock.ms += TEN_MINUTES_MS;
  replies.remember("Anything new?", "Snow", ["me"]);
  clock.ms += TEN_MINUTES_MS;
  assertEquals([replies.replyTo("Anything new?", "me"), replies.replyTo("Anything new?", "me")], [
    "Snow",
    undefined,
  ]);
});

Deno.test("replyTo: forgets a text after ten minutes", () => {
  for (
    const [ms, expected] of [[0, "Yes"], [TEN_MINUTES_MS, "Yes"], [TEN_MINUTES_MS + 1, undefined]] as const
  ) {
    const { replies, clock } = create();
    replies.remember("Build done", "Yes", ["me"]);
    clock.ms += ms;
    assertEquals(replies.replyTo("Build done", "me"), expected);
  }
});

Deno.test("cannedTurn: has the text unchanged, and is over", async () => {
  const turn = await cannedTurn("[happy] Done!", { conversation: "mao", resolvedModel: "openab" });
  assertEquals([turn.isOver, turn.conversation], [true, "mao"]);
  assertEquals(recordTurn(turn).summaries, ["text [happy] Done!", "end end_turn"]);
  await turn.ended;
});
