import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import type { Fingerprint } from "../../lib/conversation/record.ts";
import {
  Fingerprinter,
  isSameReply,
  MAX_TURNS,
  REPLY_CHARS,
  replyPrefixDiffers,
  replyPrefixMatches,
} from "../../lib/conversation/fingerprint.ts";
import { FINGERPRINTER, messagesOf, type TranscriptLine } from "../support/harness/fingerprint_fixture.ts";
import { audio, image, named, tool, user } from "../support/harness/message_fixture.ts";

const OTHER = new Fingerprinter(new Uint8Array(32).fill(1));
const print = (...lines: TranscriptLine[]) => FINGERPRINTER.transcript(messagesOf(...lines));

Deno.test("fingerprint: 16 characters, the same for the same, another for what differs", () => {
  const prints = [
    FINGERPRINTER.fingerprint("turn", "a"),
    FINGERPRINTER.fingerprint("turn", "b"),
    FINGERPRINTER.fingerprint("turn", ""),
    FINGERPRINTER.fingerprint("reply", "a"),
    FINGERPRINTER.fingerprint("turna", ""),
    OTHER.fingerprint("turn", "a"),
  ];
  for (const each of prints) assert(/^[\w-]{16}$/.test(each), each);
  assertEquals(new Set(prints).size, prints.length);
  assertEquals(FINGERPRINTER.fingerprint("turn", "a"), prints[0]);
});

/** What says the same, and what does not. */
const WORDS: readonly (readonly [name: string, one: Message, other: Message, isSame: boolean])[] = [
  ["white space", user(" a  b\n"), user("a\tb"), true],
  ["a line break between parts", user("a", "b"), user("a\nb"), true],
  ["no white space", user("ab"), user("a b"), false],
  ["width", user("Ａｂｃ"), user("Abc"), true],
  ["composed letters", user("e\u0301"), user("\u00e9"), true],
  ["case", user("a"), user("A"), false],
  ["marks", user("a"), user("a!"), false],
  ["tags", user("[happy] a"), user("a"), false],
  ["nothing and white space", user(), user(" "), true],
  ["who of several speaks", user("a"), named("Ann", "a"), true],
  ["a user and a tool", user("a"), tool("x", "a"), false],
  ["a picture beside it", user("a"), user("a", image()), true],
];
for (const [name, one, other, isSame] of WORDS) {
  Deno.test(`print, words: ${name} ${isSame ? "is the same" : "is not the same"}`, () => {
    const [a, b] = [one, other].map((message) => print(message).turns[0]!.words);
    assertEquals(a === b, isSame);
  });
}

Deno.test("print, media: apart from the words, and each part counts", () => {
  const prints = [
    user("a", image("YQ==")),
    user("a", image("Yg==")),
    user("a", audio("YQ==")),
    user("a", image("YQ=="), image("Yg==")),
    user("a", image("Yg=="), image("YQ==")),
  ].map((message) => print(message).turns[0]!.media);
  assertEquals(new Set(prints).size, prints.length);
  assertEquals(print(user("b", image("YQ=="))).turns[0]!.media, prints[0]);
  assertEquals(print("u: a").turns[0]!.media, "");
});

const REPLIES: readonly (readonly [name: string, said: string, kept: string])[] = [
  [
    "ChatVRM adds spaces",
    "[happy]こんにちは。[sad]おわりです。\n",
    "[happy] こんにちは。[sad] おわりです。\n",
  ],
  ["tags are taken out", "[face:Joy] Hello! [pause:1.5] There.", "Hello! There."],
  ["AIRI's are as well", '<|ACT {"emotion":"happy"}|> Hello <|DELAY 1|>there', "Hello there"],
  ["markup is taken out", "**Hello** `there`, _you_", "Hello there, you"],
  ["a fence is taken out", '```json\n{"text":"Hello there"}\n```', '{"text":"Hello there"}'],
  ["case, width, marks", "Hello... THERE", "ｈｅｌｌｏ there!"],
  ["what comes late is cut", `${"a".repeat(300)} b`, `${"a".repeat(250)} c`],
];
for (const [name, said, kept] of REPLIES) {
  Deno.test(`print, reply: ${name}`, () => {
    assertEquals(print(`a: ${kept}`, "u: x").reply?.fingerprint, FINGERPRINTER.reply(said));
    assertNotEquals(print("a: something else", "u: x").reply?.fingerprint, FINGERPRINTER.reply(said));
  });
}

Deno.test("print, reply: what has no words is none", () => {
  for (const said of ["", " ", "[silent]", "...", "🙂", "[happy] ♪"]) {
    assertEquals(FINGERPRINTER.reply(said), undefined, said);
    assertEquals(print(`a: ${said}`, "u: x").reply, undefined, said);
  }
});

/** An answer that was kept, and one of a transcript: are they the same, alike, and surely not the same? */
const COMPARED: readonly (readonly [
  name: string,
  kept: string,
  given: string,
  is: readonly [same: boolean, like: boolean, other: boolean],
])[] = [
  ["the same", "Hello there, my dear friend.", "[happy] Hello there, my dear friend", [true, true, false]],
  ["the same, and short", "Hello.", "hello", [true, true, false]],
  ["cut after 16 letters", "Hello there, my dear friend.", "Hello there, my dear", [false, true, false]],
  ["cut before that", "Hello there, my dear friend.", "Hello there, my de", [false, false, false]],
  ["another end", "Hello there, my dear friend.", "Hello there, my dear enemy.", [false, true, false]],
  ["another beginning", "Hello there, my dear friend.", "Good evening, my friend.", [false, false, true]],
  ["another beginning, short", "Hello there, my dear friend.", "Good evening.", [false, false, false]],
  ["a long one for a short one", "Hello.", "Hello there, my dear friend.", [false, false, true]],
];
for (const [name, said, text, expected] of COMPARED) {
  Deno.test(`print, reply: ${name}`, () => {
    const [kept, given] = [FINGERPRINTER.reply(said), print(`a: ${text}`, "u: x").reply];
    assertEquals(
      [
        isSameReply(given?.fingerprint, kept),
        replyPrefixMatches(given, kept),
        replyPrefixDiffers(given, kept),
      ],
      expected,
    );
  });
}

Deno.test("print, reply: without one nothing is told, and little by one of an older file", () => {
  const given = print("a: Hello there, my dear friend.", "u: x").reply!;
  for (
    const [one, kept] of [[undefined, undefined], [given, undefined], [undefined, given.fingerprint]] as const
  ) {
    assertEquals(
      [isSameReply(one?.fingerprint, kept), replyPrefixMatches(one, kept), replyPrefixDiffers(one, kept)],
      [false, false, false],
    );
  }
  const older = given.fingerprint.slice(0, 16) as Fingerprint;
  assertEquals([isSameReply(given.fingerprint, older), isSameReply(older, given.fingerprint)], [true, true]);
  const other = print("a: Good evening, my dear friend.", "u: x").reply!;
  assertEquals([
    isSameReply(other.fingerprint, older),
    replyPrefixMatches(other, older),
    replyPrefixDiffers(other, older),
  ], [
    false,
    false,
    false,
  ]);
});

Deno.test("print, first reply: what follows the first turn, before the next", () => {
  const one = FINGERPRINTER.reply("one");
  assertEquals(
    print("a: zero / u: x / a: one / a: two / u: y / a: three / u: z").firstReply?.fingerprint,
    one,
  );
  assertEquals(print("u: x / s: late / a: one").firstReply?.fingerprint, one);
  for (const none of ["a: one", "u: x", "a: one / u: x / u: y / a: two", "u: x / a: ... / a: one / u: y"]) {
    assertEquals(print(none).firstReply, undefined, none);
  }
});

Deno.test("print, reply: it proves something from 16 letters on", () => {
  assertEquals(print("a: [happy] 1234567 90123456!", "u: x").reply?.isDistinctive, false);
  assertEquals(print("a: [happy] 12345678 90123456!", "u: x").reply?.isDistinctive, true);
});

Deno.test("print, reply: the last before the newest turn", () => {
  const one = FINGERPRINTER.reply("one");
  assertEquals(print("u: x / a: one / u: y").reply, {
    index: 1,
    fingerprint: one!,
    isDistinctive: false,
    run: 1,
  });
  assertEquals(print("u: x / a: one / u: y / u: z").reply?.fingerprint, one);
  assertEquals(print("u: x / a: one / u: y / a: two").reply?.fingerprint, one);
  assertEquals(print("u: x / a: two / a: one / s: z / u: y").reply?.index, 2);
  assertEquals(print("u: x / a: two / s: z / a: one / u: y").reply?.run, 2);
  assertEquals(print("u: x / a: two / a: [silent] / u: y").reply, undefined);
  assertEquals(print("u: x / a: one").reply, undefined);
  assertEquals(print("a: one").reply?.fingerprint, one);
});

Deno.test("print, reply: of a long answer the beginning is looked at, in any time at all", () => {
  const endless = "[".repeat(100_000) + "<".repeat(100_000);
  assertEquals(FINGERPRINTER.reply(endless), undefined);
  const long = "a".repeat(REPLY_CHARS);
  assertEquals(FINGERPRINTER.reply(long + "b"), FINGERPRINTER.reply(long));
});

Deno.test("fingerprint: persona and turns, where they stand", () => {
  const { persona, isPersonaOpen, turns } = print(
    "s: Mao / s: kind / u: one / a: 1 / s: late / t x: two / u: three",
  );
  assertEquals(persona, [
    FINGERPRINTER.fingerprint("system", "Mao"),
    FINGERPRINTER.fingerprint("system", "kind"),
  ]);
  assertEquals(isPersonaOpen, false);
  assertEquals(turns.map(({ index, isAnswered }) => [index, isAnswered]), [[2, true], [5, false], [
    6,
    false,
  ]]);
});

const OPEN: readonly (readonly [name: string, transcript: string, isOpen: boolean])[] = [
  ["before the newest turn", "s: Mao / u: one", true],
  ["two before the newest turn", "s: Mao / s: late / u: one", true],
  ["before an earlier turn", "s: Mao / u: one / a: 1 / u: two", false],
  ["before an answer", "s: Mao / a: hello / u: one", false],
  ["before a turn that has an answer begun", "s: Mao / u: one / a: Well,", true],
  ["there is none", "u: one", false],
];
for (const [name, transcript, isOpen] of OPEN) {
  Deno.test(`fingerprint: a persona is ${isOpen ? "open" : "closed"} if it stands ${name}`, () => {
    assertEquals(print(transcript).isPersonaOpen, isOpen);
  });
}

Deno.test("fingerprint: of many turns the newest", () => {
  const many = Array.from({ length: MAX_TURNS + 10 }, (_, turn) => user(`turn ${turn}`));
  const { turns } = print(...many);
  // Fewer than are remembered: some of those may be missing in the transcript.
  assert(turns.length > MAX_TURNS / 2 && turns.length < MAX_TURNS, `${turns.length} turns`);
  assertEquals(turns.at(-1)!.index, MAX_TURNS + 9);
  assertEquals(turns[0]!.index, MAX_TURNS + 10 - turns.length);
});

Deno.test("fingerprint: nothing that was said can be read in it", () => {
  const secrets = ["Persephone", "hunter2", "marmalade", "clockwork", "Zebedee", "c2VjcmV0"];
  const [persona, word, answer, time, name, data] = secrets as [
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  const prints = print(
    `s: ${persona} / u ${name}: ${word} / a: ${answer} / t ${name}: ${time}`,
    user(word, image(data)),
  );
  const written = JSON.stringify(prints).toLowerCase();
  for (const secret of secrets) assert(!written.includes(secret.toLowerCase()), secret);
});

Deno.test("fingerprint: another key makes other prints of everything", () => {
  const messages = messagesOf("s: Mao / u: one / a: a long enough answer", user("two", image()));
  const prints = [FINGERPRINTER, OTHER].map((printer) => {
    const { persona, turns, reply } = printer.transcript(messages);
    return [...persona, ...turns.flatMap(({ words, media }) => [words, media]), reply!.fingerprint]
      .filter((each) => each !== "");
  });
  const all = prints.flat();
  assertEquals(new Set(all).size, all.length);
});
