import { assertEquals } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import { ConversationIndex } from "../../lib/conversation/conversation.ts";
import { UNMATCHED } from "../../lib/conversation/align.ts";
import { alignNamed } from "../../lib/conversation/match.ts";
import { Fingerprinter } from "../../lib/conversation/fingerprint.ts";
import { unseenMessages } from "../../lib/conversation/prompt.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { assistant, image, named, system, tool, user } from "../support/harness/message_fixture.ts";

const PRINTER = new Fingerprinter(new Uint8Array(32));
const ORIGIN = {
  id: "a",
  owner: PRINTER.fingerprint("owner", ""),
  agent: "openab",
  program: PRINTER.fingerprint("program", ""),
  isNamed: true,
};

/** What is put to a live session that was told these transcripts one after the other, and answered each. */
function untold(messages: readonly Message[], ...told: readonly (readonly Message[])[]): Message[] {
  const memory = new ConversationIndex(undefined);
  const known = memory.create(ORIGIN, PRINTER.transcript(told[0] ?? []), 0);
  for (const [index, before] of told.entries()) {
    const transcript = PRINTER.transcript(before);
    const allNew = { positions: transcript.turns.map(() => UNMATCHED), isRetry: false };
    const brought = known.merge(transcript, index === 0 ? allNew : alignNamed(transcript, known));
    known.markDelivered(brought, "s" as SessionId, ORIGIN.program);
    known.setLastState(brought, "answered");
  }
  const transcript = PRINTER.transcript(messages);
  const brought = known.merge(transcript, alignNamed(transcript, known));
  return unseenMessages(messages, known.pendingTurns(brought), known.personaChanged(brought));
}

interface UntoldCase {
  readonly name: string;
  /** What the session was told. */
  readonly before: readonly Message[];
  readonly messages: readonly Message[];
  readonly news: readonly Message[];
}

/** A long talk; every message is another. */
const LONG: readonly Message[] = Array.from(
  { length: 60 },
  (_, index) => index % 2 === 0 ? user(`question ${index}`) : assistant(`answer ${index}`),
);
/** What a caller that keeps only the last 40 messages sends, once this many were said. */
const slid = (
  said: number,
  ...persona: Message[]
) => [...persona, ...LONG.slice(Math.max(0, said - 40), said)];

const MAO = system("You are Mao.");
const UNTOLD: readonly UntoldCase[] = [
  {
    name: "the next turn",
    before: [user("one")],
    messages: [user("one"), assistant("1"), user("two")],
    news: [user("two")],
  },
  {
    name: "the next turn, with a persona",
    before: [MAO, user("one")],
    messages: [MAO, user("one"), assistant("1"), user("two")],
    news: [user("two")],
  },
  {
    name: "several turns at once",
    before: [user("one")],
    messages: [user("one"), assistant("1"), user("two"), user("three")],
    news: [user("two"), user("three")],
  },
  {
    name: "results of tools are turns",
    before: [user("time?")],
    messages: [user("time?"), assistant("looking"), tool("clock", "12:00")],
    news: [tool("clock", "12:00")],
  },
  {
    name: "the same request again puts the last turn once more",
    before: [MAO, user("one"), assistant("1"), user("two")],
    messages: [MAO, user("one"), assistant("1"), user("two")],
    news: [user("two")],
  },
  {
    name: "an answer that is to be made again",
    before: [user("one"), assistant("1"), user("two")],
    messages: [user("one"), assistant("1"), user("two")],
    news: [user("two")],
  },
  {
    name: "an earlier turn that is to be answered again",
    before: [user("one"), assistant("1"), user("two"), assistant("2"), user("three")],
    messages: [user("one"), assistant("1"), user("two")],
    news: [user("two")],
  },
  {
    name: "the last turn was changed",
    before: [user("one"), assistant("1"), user("two")],
    messages: [user("one"), assistant("1"), user("another two")],
    news: [user("another two")],
  },
  {
    name: "the turn before was cancelled, and has no answer",
    before: [user("one"), assistant("1"), user("two")],
    messages: [user("one"), assistant("1"), user("two"), user("three")],
    news: [user("three")],
  },
  {
    name: "the turn before was cancelled, and is gone",
    before: [user("one"), assistant("1"), user("two")],
    messages: [user("one"), assistant("1"), user("three")],
    news: [user("three")],
  },
  {
    name: "the first turn was cancelled",
    before: [MAO, user("one")],
    messages: [MAO, user("one"), user("two")],
    news: [user("two")],
  },
  {
    name: "the same words again are a turn of their own",
    before: [user("go on")],
    messages: [user("go on"), assistant("1"), user("go on")],
    news: [user("go on")],
  },
  {
    name: "the same words a third time",
    before: [user("go on"), assistant("1"), user("go on")],
    messages: [user("go on"), assistant("1"), user("go on"), assistant("2"), user("go on")],
    news: [user("go on")],
  },
  {
    name: "several turns at once, the last in the words of the one that was told",
    before: [user("go on")],
    messages: [user("go on"), assistant("1"), user("two"), user("go on")],
    news: [user("two"), user("go on")],
  },
  {
    name: "a window of 40 messages that begins to slide",
    before: slid(39),
    messages: slid(41),
    news: LONG.slice(40, 41),
  },
  {
    name: "a window of 40 messages that slides",
    before: slid(45, MAO),
    messages: slid(47, MAO),
    news: LONG.slice(46, 47),
  },
  {
    name: "a window that slid over several turns",
    before: slid(45),
    messages: slid(51),
    news: LONG.slice(46, 51),
  },
  {
    name: "a window that slid beyond all that was told",
    before: [user("long ago")],
    messages: slid(59),
    news: LONG.slice(58, 59),
  },
  {
    name: "only the last turn is sent",
    before: [user("one")],
    messages: [user("two")],
    news: [user("two")],
  },
  {
    name: "a persona that changed is told with what is new",
    before: [MAO, user("one")],
    messages: [system("You are Kai."), user("one"), assistant("1"), user("two")],
    news: [system("You are Kai."), user("two")],
  },
  {
    name: "a persona that came later",
    before: [user("one")],
    messages: [MAO, system("Be kind."), user("one"), assistant("1"), user("two")],
    news: [MAO, system("Be kind."), user("two")],
  },
  {
    name: "a persona that is gone takes nothing with it",
    before: [MAO, user("one")],
    messages: [user("one"), assistant("1"), user("two")],
    news: [user("two")],
  },
  {
    name: "a system message before the last user is told each time",
    before: [MAO, system("It is 12:00."), user("one")],
    messages: [MAO, user("one"), assistant("1"), system("It is 12:05."), user("two")],
    news: [system("It is 12:05."), user("two")],
  },
  {
    name: "a system message before an earlier user is not told again",
    before: [MAO, user("one"), assistant("1"), system("It is 12:05."), user("two")],
    messages: [
      MAO,
      user("one"),
      assistant("1"),
      system("It is 12:05."),
      user("two"),
      assistant("2"),
      system("It is 12:10."),
      user("three"),
    ],
    news: [system("It is 12:10."), user("three")],
  },
  {
    name: "a system message after the last user",
    before: [user("one")],
    messages: [user("one"), assistant("1"), user("two"), system("Answer in French.")],
    news: [user("two"), system("Answer in French.")],
  },
  {
    name: "a turn that is told again comes with its system message",
    before: [user("one"), assistant("1"), system("It is late."), user("two")],
    messages: [user("one"), assistant("1"), system("It is late."), user("two")],
    news: [system("It is late."), user("two")],
  },
  {
    name: "one of several users",
    before: [named("Ann", "Hi")],
    messages: [named("Ann", "Hi"), assistant("Hi Ann"), named("Bob", "Hi")],
    news: [named("Bob", "Hi")],
  },
  {
    name: "the same words of another are another turn",
    before: [named("Ann", "Hi")],
    messages: [named("Bob", "Hi")],
    news: [named("Bob", "Hi")],
  },
  {
    name: "an image with the same words is another turn",
    before: [user("this?", image("YQ=="))],
    messages: [user("this?", image("YQ==")), assistant("A cat."), user("this?", image("Yg=="))],
    news: [user("this?", image("Yg=="))],
  },
  {
    name: "nothing of what was told is left, and the answer is begun",
    before: [user("one")],
    messages: [user("two"), assistant("Well, ")],
    news: [user("two")],
  },
  {
    name: "what the user said after the answer that they never heard",
    before: [user("one"), assistant("1"), user("two")],
    messages: [user("one"), assistant("1"), user("two"), assistant("2, half"), user("three")],
    news: [user("three")],
  },
];
for (const { name, before, messages, news } of UNTOLD) {
  Deno.test(`untold: ${name}`, () => assertEquals(untold(messages, before), news));
}

Deno.test("untold: a talk that goes on tells every turn once, whatever the caller's window", () => {
  for (const window of [1, 2, 3, 39, 40, 41, 1_000]) {
    const sent = (said: number) => [MAO, ...LONG.slice(Math.max(0, said - window), said)];
    const heard: Message[] = [...sent(1).slice(1)];
    for (let said = 3; said <= LONG.length; said += 2) {
      heard.push(...untold(sent(said), sent(said - 2)));
    }
    assertEquals(heard, LONG.filter((message) => message.role === "user"), `a window of ${window}`);
  }
});

Deno.test("untold: nothing was told but a persona", () => {
  assertEquals(untold([MAO, user("one")], [MAO]), [user("one")]);
});
