import { continues, retries, starts, steps, testMatches } from "../support/harness/match_table.ts";
import { CANCELLED, longReply } from "../support/harness/fingerprint_fixture.ts";
import { image, user } from "../support/harness/message_fixture.ts";

const LOOK = user("look", image("YQ=="));
testMatches("pictures", [
  [
    "a picture that is gone from what was said",
    [["A cat.", LOOK]],
    "u: look / a: A cat. / u: sure?",
    continues(0, "sure?"),
  ],
  ["a picture that is kept", [["A cat.", LOOK]], [LOOK, "a: A cat. / u: sure?"], continues(0, "sure?")],
  ["another picture with the same words", [["A cat.", LOOK]], [
    "u: look / a: A cat.",
    user("look", image("Yg==")),
  ], continues(0, "look")],
  ["the same picture once more", [["A cat.", LOOK]], [LOOK, "a: A cat.", LOOK], continues(0, "look")],
  ["another picture in the place of one", [["A cat.", LOOK]], [
    user("look", image("Yg==")),
    "a: A dog. / u: sure?",
  ], starts("new", 1, "look", "sure?")],
  [
    "a picture that the agent asked for, with the words that it answered",
    [["ok", "u: hi"], ["[vision:camera]", "u: hi / a: ok / u: look"]],
    ["u: hi / a: ok", LOOK],
    retries(0, "look"),
  ],
  ["another picture after a cancelled one", [["ok", "u: hi"], [CANCELLED, "u: hi / a: ok", LOOK]], [
    "u: hi / a: ok",
    user("look", image("Yg==")),
  ], continues(0, "look")],
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
    "a persona that was not there",
    [["1", "u: one"]],
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
    "text for the first turn, and for this",
    [["1", "s: Mao / s: 12:00 / u: one"]],
    "s: Mao / u: one / a: 1 / s: 12:05 / u: two",
    continues(0, "two"),
  ],
  [
    "text for the first turn that stays",
    [["1", "s: Mao / s: 12:00 / u: one"]],
    "s: Mao / s: 12:00 / u: one / a: 1 / u: two",
    continues(0, "two"),
  ],
  [
    "another text for the first turn",
    [["1", "s: Mao / s: 12:00 / u: one"]],
    "s: Mao / s: 12:05 / u: one / a: 1 / u: two",
    starts("new", 1, "one", "two"),
  ],
  [
    "a persona of two that became one is that one",
    [["1", "s: Mao / s: kind / u: one"], ["2", "s: Mao / u: one / a: 1 / u: two"]],
    "s: Mao / s: kind / u: one / a: 1 / u: two / a: 2 / u: three",
    starts("new", 1, "one", "two", "three"),
  ],
  [
    "a persona of two that stood is two",
    [["1", "s: Mao / s: kind / u: one"], ["2", "s: Mao / s: kind / u: one / a: 1 / u: two"]],
    "s: Mao / u: one / a: 1 / u: two / a: 2 / u: three",
    starts("new", 1, "one", "two", "three"),
  ],
  [
    "a persona whose beginning only is the same",
    [["1", "s: Mao / u: one"]],
    "s: Mao / s: kind / u: one / a: 1 / u: two",
    starts("new", 1, "one", "two"),
  ],
]);

testMatches("hidden", [
  [
    "a hidden opening, by its answer",
    [[longReply(1), "u: Greet me."]],
    `a: ${longReply(1)} / u: hi`,
    continues(0, "hi"),
  ],
  [
    "a hidden opening, by its answer without tags and marks",
    [[longReply(1), "u: Greet me."]],
    "a: well LET me\ntell you: all about 1 / u: hi",
    continues(0, "hi"),
  ],
  [
    "a hidden turn, by its answer",
    [["1", "u: one"], [longReply(2), "u: one / a: 1 / u: Say something."]],
    `u: one / a: 1 / a: ${longReply(2)} / u: two`,
    continues(0, "two"),
  ],
  [
    "a hidden turn and two turns at once",
    [["1", "u: one"], [longReply(2), "u: one / a: 1 / u: Say something."]],
    `u: one / a: 1 / a: ${longReply(2)} / u: two / u: three`,
    continues(0, "two", "three"),
  ],
  [
    "a hidden turn, whose answer proves nothing",
    [["1", "u: one"], ["Hm?", "u: one / a: 1 / u: Say something."]],
    "u: one / a: 1 / a: Hm? / u: two",
    starts("fork", 1, "one", "two"),
  ],
  [
    "only the last answer and a new turn",
    steps(3, longReply),
    `a: ${longReply(2)} / u: three`,
    continues(0, "three"),
  ],
  [
    "only the last answer and the words of the last turn",
    steps(3, longReply),
    `a: ${longReply(2)} / u: turn 2`,
    continues(0, "turn 2"),
  ],
  [
    "only an answer before the last",
    steps(3, longReply),
    `a: ${longReply(1)} / u: turn 2`,
    starts("new", 1, "turn 2"),
  ],
  [
    "the last answer is long enough in other letters",
    [["こんにちは、今日はとてもいい天気ですね。", "u: one"]],
    "a: こんにちは今日はとてもいい天気ですね / u: two",
    continues(0, "two"),
  ],
  [
    "a turn after a hidden one, and the next has an answer that proves nothing",
    [
      ["1", "u: one"],
      [longReply(2), "u: one / a: 1 / u: Say something."],
      ["3", `u: one / a: 1 / a: ${longReply(2)} / u: three`],
    ],
    `u: one / a: 1 / a: ${longReply(2)} / u: three / a: 3 / u: four`,
    continues(0, "four"),
  ],
  [
    "a turn after a hidden opening, and the next has an answer that proves nothing",
    [[longReply(1), "u: Greet me."], ["2", `a: ${longReply(1)} / u: two`]],
    `a: ${longReply(1)} / u: two / a: 2 / u: three`,
    continues(0, "three"),
  ],
  [
    "a cancelled turn after a hidden one is not told twice",
    [
      ["1", "u: one"],
      [longReply(2), "u: one / a: 1 / u: Say something."],
      [CANCELLED, `u: one / a: 1 / a: ${longReply(2)} / u: three`],
    ],
    `u: one / a: 1 / a: ${longReply(2)} / u: three / u: four`,
    continues(0, "four"),
  ],
  [
    "a hidden turn that was answered with silence, and is dropped",
    [["1", "u: one"], ["[silent]", "u: one / a: 1 / u: Look."]],
    "u: one / a: 1 / u: two",
    continues(0, "two"),
  ],
  [
    "a hidden turn that was answered with a remark in brackets, which is silence, and is dropped",
    [["1", "u: one"], ["(says nothing)", "u: one / a: 1 / u: Look."]],
    "u: one / a: 1 / u: two",
    continues(0, "two"),
  ],
  [
    "a hidden turn that was answered with silence, in a window",
    [...steps(3, longReply), [
      "[silent]",
      `u: turn 1 / a: ${longReply(1)} / u: turn 2 / a: ${longReply(2)} / u: Look.`,
    ]],
    `a: ${longReply(2)} / u: three`,
    continues(0, "three"),
  ],
]);
