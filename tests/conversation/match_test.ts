import type { Message } from "../../lib/conversation/message.ts";
import { CANCELLED, CRASHED, longReply, RUNNING } from "../support/harness/fingerprint_fixture.ts";
import {
  continues,
  retries,
  SHORT_REPLY,
  starts,
  steps,
  testMatches,
} from "../support/harness/match_table.ts";
import { assistant, user } from "../support/harness/message_fixture.ts";

testMatches("openings", [
  ["no conversation", [], "u: hi", starts("new", 0, "hi")],
  ["an opening matches none", [[longReply(1), "u: hi"]], "u: hi", starts("new", 1, "hi")],
  ["nor one with a persona", [[longReply(1), "s: Mao / u: hi"]], "s: Mao / u: hi", starts("new", 1, "hi")],
  [
    "nor a greeting that everyone gets",
    [["Hello!", "u: hi"]],
    "a: Hello! / u: So",
    starts("new", 1, "So"),
  ],
  [
    "nor the reply to another opening",
    [[longReply(1), "u: hi"]],
    `a: ${longReply(2)} / u: So`,
    starts("new", 1, "So"),
  ],
  [
    "an unknown history",
    [[longReply(1), "u: hi"]],
    "u: one / a: 1 / u: two",
    starts("new", 1, "one", "two"),
  ],
  ["a reply before it", [], `a: ${longReply(1)} / u: hi`, starts("new", 0, "hi")],
]);

testMatches("next", [
  ["the next turn", [["1", "u: one"]], "u: one / a: 1 / u: two", continues(0, "two")],
  [
    "several turns at once",
    [["1", "u: one"]],
    "u: one / a: 1 / u: two / u: three",
    continues(0, "two", "three"),
  ],
  ["the reply is missing", [["1", "u: one"]], "u: one / u: two", continues(0, "two")],
  [
    "the reply was rewritten",
    [["[sad]No.[happy]Yes.", "u: one"]],
    "u: one / a: [sad] No. Yes / u: two",
    continues(0, "two"),
  ],
  [
    "the reply is short and another",
    [[longReply(1), "u: one"]],
    "u: one / a: He / u: two",
    continues(0, "two"),
  ],
  [
    "the result of a tool",
    [["looking", "u: time?"]],
    "u: time? / a: looking / t clock: 12:00",
    continues(0, "12:00"),
  ],
  ["the same words a second time", [["1", "u: go on"]], "u: go on / a: 1 / u: go on", continues(0, "go on")],
  [
    "a marked interruption after half a reply",
    [["1", "u: one"], [CANCELLED, "u: one / a: 1 / u: two"]],
    "u: one / a: 1 / u: two / a: Half... / u: [Interrupted by user] / u: three",
    continues(0, "[Interrupted by user]", "three"),
  ],
]);

testMatches("unanswered", [
  ["a cancelled opening that is kept", [[CANCELLED, "u: one"]], "u: one / u: two", continues(0, "two")],
  ["an opening that is running", [[RUNNING, "u: one"]], "u: one / u: two", continues(0, "two")],
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
    "a cancelled turn that is dropped later",
    [["1", "u: one"], [CANCELLED, "u: one / a: 1 / u: two"], ["3", "u: one / a: 1 / u: two / u: three"]],
    "u: one / a: 1 / u: three / a: 3 / u: four",
    continues(0, "four"),
  ],
  [
    "a cancelled turn is sent again",
    [["1", "u: one"], [CANCELLED, "u: one / a: 1 / u: two"]],
    "u: one / a: 1 / u: two",
    retries(0, "two"),
  ],
  [
    "a turn in which the agent exited is sent again",
    [["1", "u: one"], [CRASHED, "u: one / a: 1 / u: two"]],
    "u: one / a: 1 / u: two",
    retries(0, "two"),
  ],
  [
    "a turn in which the agent exited is sent with the next",
    [["1", "u: one"], [CRASHED, "u: one / a: 1 / u: two"]],
    "u: one / a: 1 / u: two / u: three",
    continues(0, "two", "three"),
  ],
]);

testMatches("replies to continue", [
  ["the last reply", [["1", "u: one"]], "u: one / a: 1", continues(0)],
  [
    "the last reply, with a nudge",
    steps(2, longReply),
    `u: turn 0 / a: ok / u: turn 1 / a: ${longReply(1)} / s: Go on.`,
    continues(0),
  ],
  [
    "a reply that was extended",
    steps(2, longReply),
    `u: turn 0 / a: ok / u: turn 1 / a: ${longReply(1)} And so`,
    continues(0),
  ],
  [
    "half of a cancelled reply",
    [["1", "u: one"], [CANCELLED, "u: one / a: 1 / u: two"]],
    "u: one / a: 1 / u: two / a: Half",
    continues(0),
  ],
  [
    "the start of the next reply",
    [["1", "u: one"]],
    "u: one / a: 1 / u: two / a: Once upon a time",
    continues(0, "two"),
  ],
  [
    "the start of the next reply, and another conversation has all turns",
    [[longReply(1), "u: one"], [longReply(2), "u: one"], ["3", `u: one / a: ${longReply(2)} / u: two`]],
    `u: one / a: ${longReply(1)} / u: two / a: Once upon a time`,
    continues(0, "two"),
  ],
  [
    "the start of another reply",
    steps(2, longReply),
    `u: turn 0 / a: ${longReply(0)} / u: turn 1 / a: Once upon a time`,
    starts("fork", 1, "turn 0", "turn 1"),
  ],
  [
    "the start of the first reply",
    [[longReply(1), "u: one"]],
    "u: one / a: Once upon a time",
    starts("fork", 1, "one"),
  ],
  [
    "the next turn after a reply that was continued",
    [["Once upon a time", "u: one"], ["there was a cat.", "u: one / a: Once upon a time"]],
    "u: one / a: Once upon a time there was a cat. / u: two",
    continues(0, "two"),
  ],
  [
    "the next turn after a short reply that was continued",
    [["Yes.", "u: one"], ["There was a cat in the house.", "u: one / a: Yes. / s: Go on."]],
    "u: one / a: Yes. There was a cat in the house. / u: two",
    continues(0, "two"),
  ],
]);

testMatches("system messages alone", [
  ["the character speaks first", [], "s: Mao", starts("new", 0)],
  [
    "and continues",
    [[longReply(1), "s: Mao / s: Greet me."]],
    `s: Mao / a: ${longReply(1)} / u: hi`,
    continues(0, "hi"),
  ],
  ["twice", [[longReply(1), "s: Mao"]], "s: Mao", starts("new", 1)],
]);

const CALL: Message = { ...assistant('<tool_call name="clock">{}</tool_call>'), isToolCall: true };
testMatches("tools of the client", [
  [
    "a turn that was answered here",
    [[longReply(1), "u: time?"]],
    ["u: time?", CALL, "t x: 12:00"],
    starts("new", 1, "time?", "12:00"),
  ],
  [
    "a turn after others",
    [["1", "u: one"]],
    ["u: one / a: 1 / u: time?", CALL, "t x: 12:00"],
    continues(0, "time?", "12:00"),
  ],
  ["a later turn", [["Noon.", "u: time?"], ["Noon.", user("time?"), CALL, "t x: 12:00"]], [
    "u: time?",
    CALL,
    "t x: 12:00 / a: Noon. / u: two",
  ], continues(1, "two")],
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
    "the last turn is sent again",
    steps(2, longReply),
    `u: turn 0 / a: ${longReply(0)} / u: turn 1`,
    starts("fork", 1, "turn 0", "turn 1"),
  ],
  [
    "an answered turn is dropped",
    steps(3, SHORT_REPLY),
    "u: turn 0 / a: ok / u: turn 2 / a: ok / u: three",
    starts("fork", 1, "turn 0", "turn 2", "three"),
  ],
  [
    "the edited conversation continues",
    [...steps(2, SHORT_REPLY), ["ok", "u: turn 0 / a: ok / u: edited"]],
    "u: turn 0 / a: ok / u: edited / a: ok / u: three",
    continues(1, "three"),
  ],
  [
    "the conversation before the edit continues",
    [...steps(2, SHORT_REPLY), ["ok", "u: turn 0 / a: ok / u: edited"]],
    "u: turn 0 / a: ok / u: turn 1 / a: ok / u: three",
    continues(0, "three"),
  ],
  [
    "a turn is edited, and another conversation ended with the reply before it",
    [[longReply(0), "u: hello"], [longReply(0), "u: hi"], ["ok", `u: hi / a: ${longReply(0)} / u: two`]],
    `u: hi / a: ${longReply(0)} / u: edited`,
    starts("fork", 2, "hi", "edited"),
  ],
  [
    "a turn is edited, and another one has the same opening",
    [[longReply(1), "u: hi"], [longReply(2), "u: hi"], ["ok", `u: hi / a: ${longReply(2)} / u: two`]],
    `u: hi / a: ${longReply(2)} / u: edited`,
    starts("fork", 2, "hi", "edited"),
  ],
]);
