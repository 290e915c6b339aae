import { assertEquals } from "@std/assert";
import { continues, starts, type Step, testMatches } from "../support/harness/match_table.ts";
import { CANCELLED, longReply, MatchHarness, messagesOf } from "../support/harness/fingerprint_fixture.ts";

const ALIKE: readonly Step[] = [[longReply(1), "u: hi"], [longReply(2), "u: hi"]];

testMatches("several candidates", [
  [
    "two that differ in a long reply, the first",
    ALIKE,
    `u: hi / a: ${longReply(1)} / u: so`,
    continues(0, "so"),
  ],
  [
    "two that differ in a short reply",
    [["yes", "u: hi"], ["no", "u: hi"]],
    "u: hi / a: yes / u: so",
    continues(0, "so"),
  ],
  [
    "two that are equal: the last used one",
    [["yes", "u: hi"], ["yes", "u: hi"]],
    "u: hi / a: yes / u: so",
    continues(1, "so"),
  ],
  [
    "two that cannot be told apart by a rewritten reply",
    [["yes", "u: hi"], ["no", "u: hi"]],
    "u: hi / a: Hmm / u: so",
    starts("fork", 2, "hi", "so"),
  ],
  [
    "two with the same turns, of which one was answered",
    [["yes", "u: hi"], [CANCELLED, "u: hi"]],
    "u: hi / a: Oh. / u: so",
    starts("fork", 2, "hi", "so"),
  ],
  [
    "the one that has more turns",
    [["yes", "u: hi"], ["yes", "u: hi"], ["yes", "u: hi / a: yes / u: so"]],
    "u: hi / a: yes / u: so / a: yes / u: and",
    continues(1, "and"),
  ],
  [
    "the same reply in two with other turns",
    [[longReply(1), "u: one"], [longReply(1), "u: two"]],
    `u: two / a: ${longReply(1)} / u: so`,
    continues(1, "so"),
  ],
  [
    "the last reply of two",
    [[longReply(1), "u: one"], [longReply(1), "u: two"]],
    `a: ${longReply(1)} / u: so`,
    starts("fork", 2, "so"),
  ],
  [
    "the last reply of another one, whose newest turn is the first here",
    [[longReply(1), "u: one"], [CANCELLED, `u: one / a: ${longReply(1)} / u: hi`]],
    `u: hi / a: ${longReply(1)} / u: so`,
    starts("new", 1, "hi", "so"),
  ],
]);

Deno.test("match: a candidate that was left long ago makes no tie", () => {
  const harness = new MatchHarness();
  harness.send(messagesOf("u: hi"), "yes");
  harness.now += 3_600_000;
  harness.send(messagesOf("u: hi"), "no");
  assertEquals(harness.send(messagesOf("u: hi / a: Hmm / u: so"), "ok"), continues(1, "so"));
});
