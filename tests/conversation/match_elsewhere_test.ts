import { assertEquals } from "@std/assert";
import { match } from "../../lib/conversation/match.ts";
import type { ConversationRecord, Fingerprint, TurnRecord } from "../../lib/conversation/record.ts";
import { continues, type Row, starts, type Step, testMatches } from "../support/harness/match_table.ts";
import {
  CANCELLED,
  CRASHED,
  FINGERPRINTER,
  longReply,
  messagesOf,
  RUNNING,
  type TurnEnd,
} from "../support/harness/fingerprint_fixture.ts";

const HERS = "Hello Alice, I will remember that.";
const HELLO: readonly Step[] = [[HERS, "s: Mao / u: Hello"]];
const hello = (answer: string) => `s: Mao / u: Hello / a: ${answer} / u: Who am I?`;
const JOINS = continues(0, "Who am I?");
const FORKS = starts("fork", 1, "Hello", "Who am I?");

testMatches("one turn, and what was answered", [
  ["the same", HELLO, hello(HERS), JOINS],
  ["something else", HELLO, hello("Good evening Bob, nice to have you back."), FORKS],
  ["what a skin says when it failed", HELLO, hello("Sorry, my agent stopped unexpectedly."), FORKS],
  ["its beginning", HELLO, hello("Hello Alice, I will re"), JOINS],
  ["its beginning, and that it was cut", HELLO, hello("Hello Alice, I will re (interrupted)"), JOINS],
  ["its beginning, without its tags", [[`[happy] ${HERS}`, "s: Mao / u: Hello"]], hello(HERS), JOINS],
  ["in several messages", HELLO, hello("Hello Alice, I will / a: remember that, dear."), JOINS],
  ["too little to tell", HELLO, hello("Good evening."), JOINS],
  ["nothing", HELLO, "s: Mao / u: Hello / u: Who am I?", JOINS],
  [
    "at length, where this was short",
    [["Hi!", "s: Mao / u: Hello"]],
    hello("Good evening Bob, nice to have you back."),
    FORKS,
  ],
  [
    "something else, and a turn was cancelled since",
    [...HELLO, [CANCELLED, hello(HERS)]],
    "s: Mao / u: Hello / a: Good evening Bob, nice to have you back. / u: So?",
    starts("fork", 1, "Hello", "So?"),
  ],
  [
    "half of what was cancelled, which is not kept",
    [[CANCELLED, "s: Mao / u: Hello"]],
    hello("Half an answer, which was cut"),
    JOINS,
  ],
  [
    "JSON, without its fence",
    [['```json\n{"mood":"happy","text":"Hello"}\n```', "s: Mao / u: Hello"]],
    hello('{"mood":"happy","text":"Hello"}'),
    JOINS,
  ],
  [
    "something else in one, and the beginning of this in another",
    [...HELLO, ["Good evening Bob, nice to have you back.", "s: Mao / u: Hello"]],
    hello("Good evening Bob, nice to"),
    continues(1, "Who am I?"),
  ],
]);

testMatches("one turn, and a history that went on elsewhere", [
  [
    "from another answer",
    HELLO,
    "s: Mao / u: Hello / a: Good evening. / u: And? / a: Nothing. / u: Who am I?",
    starts("fork", 1, "Hello", "And?", "Who am I?"),
  ],
  [
    "from this answer",
    HELLO,
    `s: Mao / u: Hello / a: ${HERS} / u: And? / a: Nothing. / u: Who am I?`,
    continues(0, "And?", "Who am I?"),
  ],
  [
    "from what a skin left of this answer",
    HELLO,
    "s: Mao / u: Hello / a: Hello Alice, I will re / u: And? / a: Nothing. / u: Who am I?",
    continues(0, "And?", "Who am I?"),
  ],
  [
    "from an answer to what was cancelled here",
    [[CANCELLED, "s: Mao / u: Hello"]],
    "s: Mao / u: Hello / a: Good evening. / u: And? / a: Nothing. / u: Who am I?",
    starts("fork", 1, "Hello", "And?", "Who am I?"),
  ],
  [
    "where two turns agree, whatever was answered",
    [...HELLO, ["Yes, of course I am.", `s: Mao / u: Hello / a: ${HERS} / u: Sure?`]],
    "s: Mao / u: Hello / a: A translation of the first. / u: Sure? / a: A translation of the second. / u: So?",
    continues(0, "So?"),
  ],
]);

const ENDINGS: readonly TurnEnd[] = [RUNNING, CANCELLED, CRASHED, longReply(1)];
const GREETING = longReply("the weather, as I do with everybody");
/** One who says who she is, after the greeting; and one who says something else. */
const afterGreeting = (ending: TurnEnd): Row => [
  `the turn after it ended ${typeof ending === "symbol" ? ending.description : "with an answer"}`,
  [[ending, `s: Mao / a: ${GREETING} / u: I am Alice.`]],
  `s: Mao / a: ${GREETING} / u: I am Bob.`,
  starts("new", 1, "I am Bob."),
];
testMatches("a greeting that everybody gets is nobody's", [
  ...ENDINGS.map(afterGreeting),
  [
    "who got it goes on",
    [[longReply(1), `s: Mao / a: ${GREETING} / u: I am Alice.`]],
    `s: Mao / a: ${GREETING} / u: I am Alice. / a: ${longReply(1)} / u: So`,
    continues(0, "So"),
  ],
  [
    "who got it goes on, though the first answer was cancelled",
    [[CANCELLED, `s: Mao / a: ${GREETING} / u: I am Alice.`]],
    `s: Mao / a: ${GREETING} / u: I am Alice. / u: So`,
    continues(0, "So"),
  ],
]);

const OWNER = FINGERPRINTER.fingerprint("owner", "");

/** What is kept of a conversation of these turns, and its answer. */
function kept(
  reply: Fingerprint | undefined,
  ...turns: (readonly [words: string, state: TurnRecord["state"]])[]
): ConversationRecord {
  return {
    id: "kept",
    owner: OWNER,
    agent: "openab",
    program: FINGERPRINTER.fingerprint("program", ""),
    isNamed: false,
    persona: [],
    isPersonaOpen: false,
    turns: turns.map(([words, state]) => {
      return { words: FINGERPRINTER.transcript(messagesOf(`u: ${words}`)).turns[0]!.words, media: "", state };
    }),
    turnsBefore: 0,
    reply,
    sessionId: undefined,
    createdAt: 0,
    usedAt: 0,
  };
}

/** An answer as an older version kept it, which did the same with greetings. */
const older = (answer: string) => FINGERPRINTER.reply(answer)!.slice(0, 16) as Fingerprint;

const OTHERS = "Good evening Bob, nice to have you back.";
const KEPT: readonly (readonly [
  name: string,
  known: ConversationRecord,
  request: string,
  type: ReturnType<typeof match>["type"],
])[] = [
  [
    "of an older file, the same answer",
    kept(older(HERS), ["Hello", "answered"]),
    `u: Hello / a: ${HERS} / u: So`,
    "continue",
  ],
  [
    "of an older file, another answer",
    kept(older(HERS), ["Hello", "answered"]),
    `u: Hello / a: ${OTHERS} / u: So`,
    "continue",
  ],
  [
    "of an older file, the last answer alone",
    kept(older(HERS), ["Hello", "answered"]),
    `a: ${HERS} / u: So`,
    "continue",
  ],
  [
    "of an older file, the greeting",
    kept(older(GREETING), ["Hello", "delivered"]),
    `a: ${GREETING} / u: I am Bob.`,
    "new",
  ],
  [
    "the answer to the first turn, where a prepared one to the second is kept",
    kept(FINGERPRINTER.reply(OTHERS), ["Hello", "answered"], ["Anything new?", "pending"]),
    `u: Hello / a: ${HERS} / u: So`,
    "continue",
  ],
];
for (const [name, known, request, type] of KEPT) {
  Deno.test(`match, kept: ${name}`, () => {
    const transcript = FINGERPRINTER.transcript(messagesOf(request));
    assertEquals(match({ ...transcript, owner: OWNER, agent: "openab" }, [known]).type, type);
  });
}
