import { CANCELLED, CRASHED, longReply, RUNNING } from "../support/harness/fingerprint_fixture.ts";
import {
  continues,
  retries,
  SHORT_REPLY,
  starts,
  steps,
  testMatches,
} from "../support/harness/match_table.ts";

testMatches("openings", [
  ["nothing is known", [], "u: hi", starts("new", 0, "hi")],
  ["an opening is nobody's", [[longReply(1), "u: hi"]], "u: hi", starts("new", 1, "hi")],
  ["nor with a persona", [[longReply(1), "s: Mao / u: hi"]], "s: Mao / u: hi", starts("new", 1, "hi")],
  ["nor while the other runs", [[RUNNING, "u: hi"]], "u: hi", starts("new", 1, "hi")],
  ["nor after the other was cancelled", [[CANCELLED, "u: hi"]], "u: hi", starts("new", 1, "hi")],
  [
    "nor after an answer that everybody gets",
    [["Hello!", "u: hi"]],
    "a: Hello! / u: So",
    starts("new", 1, "So"),
  ],
  [
    "nor after the answer to another",
    [[longReply(1), "u: hi"]],
    `a: ${longReply(2)} / u: So`,
    starts("new", 1, "So"),
  ],
  [
    "a history that is not known",
    [[longReply(1), "u: hi"]],
    "u: one / a: 1 / u: two",
    starts("new", 1, "one", "two"),
  ],
  [
    "an opening of two messages is nobody's, whatever the other's that runs goes on with",
    [[RUNNING, "u: You are Mao. / u: hello"]],
    "u: You are Mao. / u: hi",
    starts("new", 1, "You are Mao.", "hi"),
  ],
  ["nothing but an answer before it", [], `a: ${longReply(1)} / u: hi`, starts("new", 0, "hi")],
]);

testMatches("next", [
  ["the next turn", [["1", "u: one"]], "u: one / a: 1 / u: two", continues(0, "two")],
  [
    "several turns at once",
    [["1", "u: one"]],
    "u: one / a: 1 / u: two / u: three",
    continues(0, "two", "three"),
  ],
  [
    "white space and width do not count",
    [["1", "u: one  Ｂ"]],
    "u: one\nB  / a: 1 / u: two",
    continues(0, "two"),
  ],
  ["upper case counts", [["1", "u: one"]], "u: One / a: 1 / u: two", starts("new", 1, "One", "two")],
  ["the answer is not there", [["1", "u: one"]], "u: one / u: two", continues(0, "two")],
  [
    "the answer was rewritten",
    [["[sad]No.[happy]Yes.", "u: one"]],
    "u: one / a: [sad] No. Yes / u: two",
    continues(0, "two"),
  ],
  ["the answer is another", [[longReply(1), "u: one"]], "u: one / a: He / u: two", continues(0, "two")],
  [
    "the result of a tool",
    [["looking", "u: time?"]],
    "u: time? / a: looking / t clock: 12:00",
    continues(0, "12:00"),
  ],
  [
    "a tool that said the same as a user",
    [["so", "t x: 1"]],
    "u: 1 / a: so / u: two",
    starts("new", 1, "1", "two"),
  ],
  [
    "a speaker who is named only in what was said",
    [["Hi", "u: Hi"]],
    "u Ann: Hi / a Mao: Hi / u: So",
    continues(0, "So"),
  ],
  ["another speaker", [["Hi", "u Ann: Hi"]], "u Ann: Hi / a: Hi / u Bob: Hi", continues(0, "Hi")],
  ["the same words a second time", [["1", "u: go on"]], "u: go on / a: 1 / u: go on", continues(0, "go on")],
  [
    "the same words many times",
    steps(5, SHORT_REPLY, () => "go on"),
    "u: go on / a: ok / u: go on / a: ok / u: go on / a: ok / u: go on / a: ok / u: go on / a: ok / u: go on",
    continues(0, "go on"),
  ],
  [
    "what was interrupted is marked, and the answer half",
    [["1", "u: one"], [CANCELLED, "u: one / a: 1 / u: two"]],
    "u: one / a: 1 / u: two / a: Half... / u: [Interrupted by user] / u: three",
    continues(0, "[Interrupted by user]", "three"),
  ],
]);

testMatches("unanswered", [
  ["a cancelled opening that is kept", [[CANCELLED, "u: one"]], "u: one / u: two", continues(0, "two")],
  ["an opening that still runs", [[RUNNING, "u: one"]], "u: one / u: two", continues(0, "two")],
  [
    "a cancelled turn that is kept",
    [["1", "u: one"], [CANCELLED, "u: one / a: 1 / u: two"]],
    "u: one / a: 1 / u: two / u: three",
    continues(0, "three"),
  ],
  [
    "a cancelled turn that is dropped",
    [["1", "u: one"], [CANCELLED, "u: one / a: 1 / u: two"]],
    "u: one / a: 1 / u: three",
    continues(0, "three"),
  ],
  [
    "two cancelled turns that are dropped",
    [["1", "u: one"], [CANCELLED, "u: one / a: 1 / u: two"], [CANCELLED, "u: one / a: 1 / u: three"]],
    "u: one / a: 1 / u: four",
    continues(0, "four"),
  ],
  [
    "of two cancelled turns the first is dropped",
    [["1", "u: one"], [CANCELLED, "u: one / a: 1 / u: two"], [CANCELLED, "u: one / a: 1 / u: three"]],
    "u: one / a: 1 / u: three / u: four",
    continues(0, "four"),
  ],
  [
    "a cancelled turn that is dropped later",
    [["1", "u: one"], [CANCELLED, "u: one / a: 1 / u: two"], ["3", "u: one / a: 1 / u: two / u: three"]],
    "u: one / a: 1 / u: three / a: 3 / u: four",
    continues(0, "four"),
  ],
  [
    "a cancelled turn is asked again",
    [["1", "u: one"], [CANCELLED, "u: one / a: 1 / u: two"]],
    "u: one / a: 1 / u: two",
    retries(0, "two"),
  ],
  [
    "a turn that runs is asked again",
    [["1", "u: one"], [RUNNING, "u: one / a: 1 / u: two"]],
    "u: one / a: 1 / u: two",
    retries(0, "two"),
  ],
  [
    "a turn that the agent died in is asked again",
    [["1", "u: one"], [CRASHED, "u: one / a: 1 / u: two"]],
    "u: one / a: 1 / u: two",
    retries(0, "two"),
  ],
  [
    "a turn that the agent died in comes with the next",
    [["1", "u: one"], [CRASHED, "u: one / a: 1 / u: two"]],
    "u: one / a: 1 / u: two / u: three",
    continues(0, "two", "three"),
  ],
  [
    "the same words after they were cancelled, both kept",
    [["1", "u: one"], [CANCELLED, "u: one / a: 1 / u: go on"]],
    "u: one / a: 1 / u: go on / u: go on",
    continues(0, "go on"),
  ],
]);

testMatches("changed", [
  [
    "the last turn is edited",
    steps(2, SHORT_REPLY),
    "u: turn 0 / a: ok / u: edited",
    starts("fork", 1, "turn 0", "edited"),
  ],
  [
    "an earlier turn is edited",
    steps(3, SHORT_REPLY),
    "u: turn 0 / a: ok / u: edited / a: ok / u: turn 2",
    starts("fork", 1, "turn 0", "edited", "turn 2"),
  ],
  [
    "the first turn is edited",
    steps(2, SHORT_REPLY),
    "u: edited / a: ok / u: turn 1",
    starts("new", 1, "edited", "turn 1"),
  ],
  [
    "the last turn is asked again",
    steps(2, longReply),
    `u: turn 0 / a: ${longReply(0)} / u: turn 1`,
    starts("fork", 1, "turn 0", "turn 1"),
  ],
  [
    "an earlier turn is asked again",
    steps(3, longReply),
    `u: turn 0 / a: ${longReply(0)} / u: turn 1`,
    starts("fork", 1, "turn 0", "turn 1"),
  ],
  [
    "the last turn is asked again, whose answer was the same",
    steps(2, () => longReply(0)),
    `u: turn 0 / a: ${longReply(0)} / u: turn 1`,
    starts("fork", 1, "turn 0", "turn 1"),
  ],
  [
    "turns in another order",
    steps(2, SHORT_REPLY),
    "u: turn 1 / a: ok / u: turn 0 / a: ok / u: three",
    starts("new", 1, "turn 1", "turn 0", "three"),
  ],
  [
    "a turn that was answered is dropped",
    steps(3, SHORT_REPLY),
    "u: turn 0 / a: ok / u: turn 2 / a: ok / u: three",
    starts("fork", 1, "turn 0", "turn 2", "three"),
  ],
  [
    "it goes on with what was edited",
    [...steps(2, SHORT_REPLY), ["ok", "u: turn 0 / a: ok / u: edited"]],
    "u: turn 0 / a: ok / u: edited / a: ok / u: three",
    continues(1, "three"),
  ],
  [
    "it goes back to what was there before the edit",
    [...steps(2, SHORT_REPLY), ["ok", "u: turn 0 / a: ok / u: edited"]],
    "u: turn 0 / a: ok / u: turn 1 / a: ok / u: three",
    continues(0, "three"),
  ],
  [
    "a turn is edited, and the answers before and after it were the same",
    steps(2, () => longReply(0)),
    `u: turn 0 / a: ${longReply(0)} / u: edited`,
    starts("fork", 1, "turn 0", "edited"),
  ],
  [
    "a turn is edited, and another conversation ended with the answer before it",
    [[longReply(0), "u: hello"], [longReply(0), "u: hi"], ["ok", `u: hi / a: ${longReply(0)} / u: two`]],
    `u: hi / a: ${longReply(0)} / u: edited`,
    starts("fork", 2, "hi", "edited"),
  ],
  [
    "a turn is edited, and another conversation begins alike",
    [[longReply(1), "u: hi"], [longReply(2), "u: hi"], ["ok", `u: hi / a: ${longReply(2)} / u: two`]],
    `u: hi / a: ${longReply(2)} / u: edited`,
    starts("fork", 2, "hi", "edited"),
  ],
  [
    "a turn is asked again, and another conversation begins alike",
    [[longReply(1), "u: hi"], [longReply(2), "u: hi"], ["ok", `u: hi / a: ${longReply(2)} / u: two`]],
    `u: hi / a: ${longReply(2)} / u: two`,
    starts("fork", 2, "hi", "two"),
  ],
  [
    "a turn is edited, and another conversation begins alike that has no answer",
    [
      [CANCELLED, "u: hi"],
      [longReply(1), "u: hi"],
      ["ok", `u: hi / a: ${longReply(1)} / u: two`],
      ["ok", `u: hi / a: ${longReply(1)} / u: two / a: ok / u: three`],
    ],
    `u: hi / a: ${longReply(1)} / u: two / a: ok / u: edited`,
    starts("fork", 2, "hi", "two", "edited"),
  ],
  [
    "a turn is asked again, its answer was the same, and the words of the first were cancelled between them",
    [
      [longReply(0), "u: hi"],
      [CANCELLED, `u: hi / a: ${longReply(0)} / u: hi`],
      [longReply(0), `u: hi / a: ${longReply(0)} / u: two`],
    ],
    `u: hi / a: ${longReply(0)} / u: two`,
    starts("fork", 1, "hi", "two"),
  ],
]);
