import { continues, retries, starts, steps, testMatches } from "../support/harness/match_table.ts";
import { CANCELLED, longReply } from "../support/harness/fingerprint_fixture.ts";
import { image, user } from "../support/harness/message_fixture.ts";

const LOOK = user("look", image("YQ=="));
testMatches("images", [
  [
    "an image that is missing in the history",
    [["A cat.", LOOK]],
    "u: look / a: A cat. / u: sure?",
    continues(0, "sure?"),
  ],
  ["an image that is kept", [["A cat.", LOOK]], [LOOK, "a: A cat. / u: sure?"], continues(0, "sure?")],
  ["another image with the same words", [["A cat.", LOOK]], [
    "u: look / a: A cat.",
    user("look", image("Yg==")),
  ], continues(0, "look")],
  ["another image instead", [["A cat.", LOOK]], [
    user("look", image("Yg==")),
    "a: A dog. / u: sure?",
  ], starts("new", 1, "look", "sure?")],
  [
    "an image that the agent asked for, with the same words",
    [["ok", "u: hi"], ["[vision:camera]", "u: hi / a: ok / u: look"]],
    ["u: hi / a: ok", LOOK],
    retries(0, "look"),
  ],
]);

testMatches("personas", [
  ["the same persona", [["1", "s: Mao / u: one"]], "s: Mao / u: one / a: 1 / u: two", continues(0, "two")],
  [
    "another persona",
    [["1", "s: Mao / u: one"]],
    "s: Kai / u: one / a: 1 / u: two",
    starts("new", 1, "one", "two"),
  ],
  [
    "a persona that is gone",
    [["1", "s: Mao / u: one"]],
    "u: one / a: 1 / u: two",
    starts("new", 1, "one", "two"),
  ],
  [
    "text for the first turn only",
    [["1", "s: Mao / s: 12:00 / u: one"]],
    "s: Mao / u: one / a: 1 / u: two",
    continues(0, "two"),
  ],
  [
    "text for the first turn that stays",
    [["1", "s: Mao / s: 12:00 / u: one"]],
    "s: Mao / s: 12:00 / u: one / a: 1 / u: two",
    continues(0, "two"),
  ],
  [
    "another second message, and the same reply",
    [["1", "s: Mao / s: 12:00 / u: one"]],
    "s: Mao / s: 12:05 / u: one / a: 1 / u: two",
    continues(0, "two"),
  ],
  [
    "another second message, and another reply",
    [["1", "s: Mao / s: 12:00 / u: one"]],
    "s: Mao / s: 12:05 / u: one / a: 2 / u: two",
    starts("new", 1, "one", "two"),
  ],
  [
    "another second message, and a turn is edited",
    [["1", "s: Mao / s: 12:00 / u: one"], ["2", "s: Mao / s: 12:00 / u: one / a: 1 / u: two"]],
    "s: Mao / s: 12:05 / u: edited / a: 1 / u: two / a: 2 / u: three",
    starts("new", 1, "edited", "two", "three"),
  ],
  [
    "another second message, and no reply yet",
    [[CANCELLED, "s: Mao / s: 12:00 / u: one"]],
    "s: Mao / s: 12:05 / u: one / u: two",
    starts("new", 1, "one", "two"),
  ],
]);

testMatches("hidden turns", [
  [
    "a hidden opening, by its reply",
    [[longReply(1), "u: Greet me."]],
    `a: ${longReply(1)} / u: hi`,
    continues(0, "hi"),
  ],
  [
    "a hidden turn, by its reply",
    [["1", "u: one"], [longReply(2), "u: one / a: 1 / u: Say something."]],
    `u: one / a: 1 / a: ${longReply(2)} / u: two`,
    continues(0, "two"),
  ],
  [
    "a hidden turn, whose reply is not distinctive",
    [["1", "u: one"], ["Hm?", "u: one / a: 1 / u: Say something."]],
    "u: one / a: 1 / a: Hm? / u: two",
    starts("fork", 1, "one", "two"),
  ],
  [
    "only the last reply and a new turn",
    steps(3, longReply),
    `a: ${longReply(2)} / u: three`,
    continues(0, "three"),
  ],
  [
    "only an earlier reply",
    steps(3, longReply),
    `a: ${longReply(1)} / u: turn 2`,
    starts("new", 1, "turn 2"),
  ],
  [
    "a last reply that is distinctive in other letters",
    [["こんにちは、今日はとてもいい天気ですね。", "u: one"]],
    "a: こんにちは今日はとてもいい天気ですね / u: two",
    continues(0, "two"),
  ],
  [
    "a turn after a hidden one, and the next reply is not distinctive",
    [
      ["1", "u: one"],
      [longReply(2), "u: one / a: 1 / u: Say something."],
      ["3", `u: one / a: 1 / a: ${longReply(2)} / u: three`],
    ],
    `u: one / a: 1 / a: ${longReply(2)} / u: three / a: 3 / u: four`,
    continues(0, "four"),
  ],
  [
    "a turn after a hidden opening, and the next reply is not distinctive",
    [[longReply(1), "u: Greet me."], ["2", `a: ${longReply(1)} / u: two`]],
    `a: ${longReply(1)} / u: two / a: 2 / u: three`,
    continues(0, "three"),
  ],
  [
    "a cancelled turn after a hidden one is not sent twice",
    [
      ["1", "u: one"],
      [longReply(2), "u: one / a: 1 / u: Say something."],
      [CANCELLED, `u: one / a: 1 / a: ${longReply(2)} / u: three`],
    ],
    `u: one / a: 1 / a: ${longReply(2)} / u: three / u: four`,
    continues(0, "four"),
  ],
  [
    "a hidden turn with a silent reply, which is dropped",
    [["1", "u: one"], ["[silent]", "u: one / a: 1 / u: Look."]],
    "u: one / a: 1 / u: two",
    continues(0, "two"),
  ],
  [
    "a hidden turn with a silent reply, in a window",
    [...steps(3, longReply), [
      "[silent]",
      `u: turn 1 / a: ${longReply(1)} / u: turn 2 / a: ${longReply(2)} / u: Look.`,
    ]],
    `a: ${longReply(2)} / u: three`,
    continues(0, "three"),
  ],
]);
