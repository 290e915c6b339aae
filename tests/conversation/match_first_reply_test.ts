import { continues, type Row, starts, type Step, testMatches } from "../support/harness/match_table.ts";
import {
  CANCELLED,
  CRASHED,
  longReply,
  RUNNING,
  type TurnEnd,
} from "../support/harness/fingerprint_fixture.ts";

const REPLY = "Hello Alice, I will remember that.";
const HELLO: readonly Step[] = [[REPLY, "s: Mao / u: Hello"]];
const hello = (reply: string) => `s: Mao / u: Hello / a: ${reply} / u: Who am I?`;
const CONTINUES = continues(0, "Who am I?");
const FORKS = starts("fork", 1, "Hello", "Who am I?");

testMatches("one turn, and the reply to it", [
  ["the same", HELLO, hello(REPLY), CONTINUES],
  ["another one", HELLO, hello("Good evening Bob, nice to have you back."), FORKS],
  ["a skin's error message", HELLO, hello("Sorry, my agent stopped unexpectedly."), FORKS],
  ["its start", HELLO, hello("Hello Alice, I will re"), CONTINUES],
  ["its start, with a note", HELLO, hello("Hello Alice, I will re (interrupted)"), CONTINUES],
  ["in several messages", HELLO, hello("Hello Alice, I will / a: remember that, dear."), CONTINUES],
  ["another one that is not distinctive", HELLO, hello("Good evening."), CONTINUES],
  ["none", HELLO, "s: Mao / u: Hello / u: Who am I?", CONTINUES],
  [
    "a long one for a short one",
    [["Hi!", "s: Mao / u: Hello"]],
    hello("Good evening Bob, nice to have you back."),
    FORKS,
  ],
  [
    "another one, after a cancelled turn",
    [...HELLO, [CANCELLED, hello(REPLY)]],
    "s: Mao / u: Hello / a: Good evening Bob, nice to have you back. / u: So?",
    starts("fork", 1, "Hello", "So?"),
  ],
  [
    "half of a cancelled one, which is not stored",
    [[CANCELLED, "s: Mao / u: Hello"]],
    hello("Half an answer, which was cut"),
    CONTINUES,
  ],
  [
    "another one in the first conversation, its start in the second",
    [...HELLO, ["Good evening Bob, nice to have you back.", "s: Mao / u: Hello"]],
    hello("Good evening Bob, nice to"),
    continues(1, "Who am I?"),
  ],
]);

testMatches("one turn, and a longer history", [
  [
    "after another reply",
    HELLO,
    "s: Mao / u: Hello / a: Good evening. / u: And? / a: Nothing. / u: Who am I?",
    starts("fork", 1, "Hello", "And?", "Who am I?"),
  ],
  [
    "after this reply",
    HELLO,
    `s: Mao / u: Hello / a: ${REPLY} / u: And? / a: Nothing. / u: Who am I?`,
    continues(0, "And?", "Who am I?"),
  ],
  [
    "after a reply to a turn that was cancelled here",
    [[CANCELLED, "s: Mao / u: Hello"]],
    "s: Mao / u: Hello / a: Good evening. / u: And? / a: Nothing. / u: Who am I?",
    starts("fork", 1, "Hello", "And?", "Who am I?"),
  ],
  [
    "with two matching turns, whatever the replies",
    [...HELLO, ["Yes, of course I am.", `s: Mao / u: Hello / a: ${REPLY} / u: Sure?`]],
    "s: Mao / u: Hello / a: A translation of the first. / u: Sure? / a: A translation of the second. / u: So?",
    continues(0, "So?"),
  ],
]);

const TURN_ENDS: readonly TurnEnd[] = [RUNNING, CANCELLED, CRASHED, longReply(1)];
const GREETING = longReply("the weather, as I do with everyone");
/** Two clients that say different things after the greeting. */
const afterGreeting = (end: TurnEnd): Row => [
  `the turn after it ended ${typeof end === "symbol" ? end.description : "with a reply"}`,
  [[end, `s: Mao / a: ${GREETING} / u: I am Alice.`]],
  `s: Mao / a: ${GREETING} / u: I am Bob.`,
  starts("new", 1, "I am Bob."),
];
testMatches("a greeting matches none", [
  ...TURN_ENDS.map(afterGreeting),
  [
    "it continues with its turn",
    [[longReply(1), `s: Mao / a: ${GREETING} / u: I am Alice.`]],
    `s: Mao / a: ${GREETING} / u: I am Alice. / a: ${longReply(1)} / u: So`,
    continues(0, "So"),
  ],
  [
    "it continues after a cancelled first turn",
    [[CANCELLED, `s: Mao / a: ${GREETING} / u: I am Alice.`]],
    `s: Mao / a: ${GREETING} / u: I am Alice. / u: So`,
    continues(0, "So"),
  ],
]);
