import { assertEquals } from "@std/assert";
import { continues, starts, type Step, testMatches } from "../support/harness/match_table.ts";
import {
  CANCELLED,
  longReply,
  MatchHarness,
  messagesOf,
  RUNNING,
} from "../support/harness/fingerprint_fixture.ts";

const ALIKE: readonly Step[] = [[longReply(1), "u: hi"], [longReply(2), "u: hi"]];

testMatches("several", [
  [
    "two that only the answer tells apart, the first",
    ALIKE,
    `u: hi / a: ${longReply(1)} / u: so`,
    continues(0, "so"),
  ],
  [
    "two that only the answer tells apart, the second",
    ALIKE,
    `u: hi / a: ${longReply(2)} / u: so`,
    continues(1, "so"),
  ],
  [
    "two that only a short answer tells apart",
    [["yes", "u: hi"], ["no", "u: hi"]],
    "u: hi / a: yes / u: so",
    continues(0, "so"),
  ],
  [
    "two that are the same so far: either may be meant",
    [["yes", "u: hi"], ["yes", "u: hi"]],
    "u: hi / a: yes / u: so",
    continues(1, "so"),
  ],
  [
    "two that are the same so far, of which one goes on just now: that is another's",
    [["yes", "u: hi"], ["yes", "u: hi"], [RUNNING, "u: hi / a: yes / u: And you?"]],
    "u: hi / a: yes / u: so",
    continues(0, "so"),
  ],
  [
    "two that gave the same long answer, of which one goes on just now",
    [[longReply(1), "u: hi"], [longReply(1), "u: hi"], [RUNNING, `u: hi / a: ${longReply(1)} / u: And you?`]],
    `u: hi / a: ${longReply(1)} / u: so`,
    continues(0, "so"),
  ],
  [
    "two that nothing tells apart, and whose answers were rewritten",
    [["yes", "u: hi"], ["no", "u: hi"]],
    "u: hi / a: Hmm / u: so",
    starts("fork", 2, "hi", "so"),
  ],
  [
    "two of which one was answered",
    [["yes", "u: hi"], [CANCELLED, "u: hi"]],
    "u: hi / a: Oh. / u: so",
    continues(0, "so"),
  ],
  [
    "two of which one was not answered",
    [["yes", "u: hi"], [CANCELLED, "u: hi"]],
    "u: hi / u: so",
    continues(1, "so"),
  ],
  [
    "the one that more is known of",
    [["yes", "u: hi"], ["yes", "u: hi"], ["yes", "u: hi / a: yes / u: so"]],
    "u: hi / a: yes / u: so / a: yes / u: and",
    continues(1, "and"),
  ],
  [
    "the same answer in two that have nothing else in common",
    [[longReply(1), "u: one"], [longReply(1), "u: two"]],
    `u: two / a: ${longReply(1)} / u: so`,
    continues(1, "so"),
  ],
  [
    "an answer that two gave last tells nothing",
    [[longReply(1), "u: one"], [longReply(1), "u: two"]],
    `a: ${longReply(1)} / u: so`,
    starts("fork", 2, "so"),
  ],
  [
    "an answer that another gave last, to something else, and was then asked the same in vain",
    [[longReply(1), "u: one"], [CANCELLED, `u: one / a: ${longReply(1)} / u: hi`]],
    `u: hi / a: ${longReply(1)} / u: so`,
    starts("new", 1, "hi", "so"),
  ],
  [
    "an answer that another gave last, to something else",
    [[longReply(1), "u: one"]],
    `u: two / a: ${longReply(1)} / u: so`,
    starts("new", 1, "two", "so"),
  ],
]);

/** Two who began alike, each with a turn more that the other does not know. */
const BOTH_WENT_ON = (answer: string, rewritten = answer): readonly Step[] => [
  [answer, "u: hi"],
  [rewritten, "u: hi"],
  [CANCELLED, `u: hi / a: ${rewritten} / u: the second's`],
  [CANCELLED, `u: hi / a: ${answer} / u: the first's`],
];

testMatches("strangers", [
  [
    "two that are the same so far, and each has a cancelled turn more: neither is this one's",
    BOTH_WENT_ON("yes"),
    "u: hi / a: yes / u: so",
    starts("fork", 2, "hi", "so"),
  ],
  [
    "the same after an answer that is long enough to tell others apart",
    BOTH_WENT_ON(longReply(1)),
    `u: hi / a: ${longReply(1)} / u: so`,
    starts("fork", 2, "hi", "so"),
  ],
  [
    "the same where no answers are kept",
    BOTH_WENT_ON("yes"),
    "u: hi / u: so",
    starts("fork", 2, "hi", "so"),
  ],
  [
    "one that has a cancelled turn more, while the other went on and was answered the same again",
    [
      ["yes", "u: hi"],
      ["yes", "u: hi"],
      [CANCELLED, "u: hi / a: yes / u: the second's"],
      ["yes", "u: hi / a: yes / u: the first's"],
    ],
    "u: hi / a: yes / u: so",
    starts("fork", 2, "hi", "so"),
  ],
  [
    "a cancelled turn more is the caller's own, if its turns are there",
    BOTH_WENT_ON("yes"),
    "u: hi / a: yes / u: the first's / u: so",
    continues(0, "so"),
  ],
  [
    "nor is it a stranger who has the answer that only this one gave",
    BOTH_WENT_ON("yes", "no"),
    "u: hi / a: yes / u: so",
    continues(0, "so"),
  ],
  [
    "two that were the same for several turns, and each has a cancelled turn more: either may be meant",
    [
      ["yes", "u: hi"],
      ["yes", "u: hi"],
      ["ok", "u: hi / a: yes / u: two"],
      ["ok", "u: hi / a: yes / u: two"],
      [CANCELLED, "u: hi / a: yes / u: two / a: ok / u: the one's"],
      [CANCELLED, "u: hi / a: yes / u: two / a: ok / u: the other's"],
    ],
    "u: hi / a: yes / u: two / a: ok / u: so",
    continues(1, "so"),
  ],
  [
    "nor one who began as nobody else did",
    [["yes", "u: hi"], [CANCELLED, "u: hi / a: yes / u: mine"], ["yes", "u: hello"]],
    "u: hi / a: yes / u: so",
    continues(0, "so"),
  ],
]);

Deno.test("match: of two alike, one that was left long ago is no rival", () => {
  const room = new MatchHarness();
  room.send(messagesOf("u: hi"), "yes");
  room.now += 3_600_000;
  room.send(messagesOf("u: hi"), "no");
  assertEquals(room.send(messagesOf("u: hi / a: Hmm / u: so"), "ok"), continues(1, "so"));
});
