import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import {
  Fingerprinter,
  isSameReply,
  MAX_TURNS,
  REPLY_CHARS,
  replyPrefixDiffers,
  withInterrupted,
} from "../../lib/conversation/fingerprint.ts";
import { FINGERPRINTER, messagesOf, type TranscriptLine } from "../support/harness/fingerprint_fixture.ts";
import { audio, image, named, tool, user } from "../support/harness/message_fixture.ts";

const OTHER = new Fingerprinter(new Uint8Array(32).fill(1));
const fingerprints = (...lines: TranscriptLine[]) => FINGERPRINTER.transcript(messagesOf(...lines));

Deno.test("fingerprint: 16 characters, the same for the same, another for a difference", () => {
  const hashes = [
    FINGERPRINTER.fingerprint("turn", "a"),
    FINGERPRINTER.fingerprint("turn", "b"),
    FINGERPRINTER.fingerprint("turn", ""),
    FINGERPRINTER.fingerprint("reply", "a"),
    FINGERPRINTER.fingerprint("turna", ""),
    OTHER.fingerprint("turn", "a"),
  ];
  for (const each of hashes) assert(/^[\w-]{16}$/.test(each), each);
  assertEquals(new Set(hashes).size, hashes.length);
  assertEquals(FINGERPRINTER.fingerprint("turn", "a"), hashes[0]);
});

/** Pairs of messages, and whether their words are the same. */
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
  ["the name of the user", user("a"), named("Ann", "a"), true],
  ["a user and a tool", user("a"), tool("x", "a"), false],
  ["an image beside the text", user("a"), user("a", image()), true],
];
Deno.test("fingerprint, words: white space, width, the name and images do not count; case, marks and the role do", () => {
  for (const [name, one, other, isSame] of WORDS) {
    const [a, b] = [one, other].map((message) => fingerprints(message).turns[0]!.words);
    assertEquals(a === b, isSame, name);
  }
});

Deno.test("fingerprint, media: separate from the words; the kind, order and content of each part count", () => {
  const hashes = [
    user("a", image("YQ==")),
    user("a", image("Yg==")),
    user("a", audio("YQ==")),
    user("a", image("YQ=="), image("Yg==")),
    user("a", image("Yg=="), image("YQ==")),
  ].map((message) => fingerprints(message).turns[0]!.media);
  assertEquals(new Set(hashes).size, hashes.length);
  assertEquals(fingerprints(user("b", image("YQ=="))).turns[0]!.media, hashes[0]);
  assertEquals(fingerprints("u: a").turns[0]!.media, "");
});

/** Replies, and their form in a skin's history. */
const REPLIES: readonly (readonly [reply: string, kept: string])[] = [
  // ChatVRM adds spaces.
  ["[happy]こんにちは。[sad]おわりです。\n", "[happy] こんにちは。[sad] おわりです。\n"],
  ["[face:Joy] Hello! [pause:1.5] There.", "Hello! There."],
  ['<|ACT {"emotion":"happy"}|> Hello <|DELAY 1|>there', "Hello there"],
  ["**Hello** `there`, _you_", "Hello there, you"],
  ['```json\n{"text":"Hello there"}\n```', '{"text":"Hello there"}'],
  ["Hello... THERE", "ｈｅｌｌｏ there!"],
  [`${"a".repeat(300)} b`, `${"a".repeat(250)} c`],
];
Deno.test("fingerprint, reply: tags, markup, fences, case, width and what follows 200 letters do not count", () => {
  for (const [reply, kept] of REPLIES) {
    assertEquals(
      fingerprints(`a: ${kept}`, "u: x").replies[0]?.fingerprint,
      FINGERPRINTER.reply(reply),
      reply,
    );
    assertNotEquals(FINGERPRINTER.reply("something else"), FINGERPRINTER.reply(reply), reply);
  }
});

Deno.test("fingerprint, reply: a reply without letters has none", () => {
  for (const reply of ["", " ", "[silent]", "...", "🙂", "[happy] ♪"]) {
    assertEquals(FINGERPRINTER.reply(reply), undefined, reply);
    assertEquals(fingerprints(`a: ${reply}`, "u: x").replies[0], undefined, reply);
  }
});

/** A stored reply, one of a transcript, and whether they are the same, or surely differ. */
const COMPARED: readonly (readonly [
  name: string,
  stored: string,
  sent: string,
  is: readonly [same: boolean, other: boolean],
])[] = [
  ["the same", "Hello there, my dear friend.", "[happy] Hello there, my dear friend", [true, false]],
  ["the same, and short", "Hello.", "hello", [true, false]],
  ["cut after 16 letters", "Hello there, my dear friend.", "Hello there, my dear", [false, false]],
  ["cut before that", "Hello there, my dear friend.", "Hello there, my de", [false, false]],
  ["another beginning", "Hello there, my dear friend.", "Good evening, my friend.", [false, true]],
  ["another beginning, short", "Hello there, my dear friend.", "Good evening.", [false, false]],
  ["a long one for a short one", "Hello.", "Hello there, my dear friend.", [false, true]],
  ["none in the transcript", "Hello there, my dear friend.", "...", [false, false]],
  ["none stored", "...", "Hello there, my dear friend.", [false, false]],
  ["none", "...", "...", [false, false]],
];
Deno.test("fingerprint, reply: same as a stored one, or surely another", () => {
  for (const [name, reply, text, expected] of COMPARED) {
    const [stored, sent] = [FINGERPRINTER.reply(reply), fingerprints(`a: ${text}`, "u: x").replies[0]];
    assertEquals([isSameReply(sent?.fingerprint, stored), replyPrefixDiffers(sent, stored)], expected, name);
  }
});

Deno.test("fingerprint, reply: of a reply that continues a text, either that or both joined are the same", () => {
  const stored = FINGERPRINTER.reply("there was a cat.", "[happy] Once upon a time ");
  for (
    const [kept, isSame] of [["There was a cat", true], ["Once upon a time there was a cat.", true], [
      "Once upon a time",
      false,
    ]] as const
  ) {
    assertEquals(isSameReply(FINGERPRINTER.reply(kept), stored), isSame, kept);
  }
});

Deno.test("fingerprint, reply: interrupted replies and the one before them are the same, up to four", () => {
  const replies = ["one", "two", "three", "four", "five"].map((text) => FINGERPRINTER.reply(text)!);
  const stored = replies.reduce((earlier, reply) => withInterrupted(earlier, reply));
  assertEquals(replies.map((reply) => isSameReply(reply, stored)), [false, true, true, true, true]);
  assertEquals(withInterrupted(undefined, replies[0]!), replies[0]);
});

Deno.test("fingerprint, reply: the name of a group's speaker does not count", () => {
  for (const kept of ["Cid: Rain, [sad] I fear.", "[sad] Dr. O'Neil-Smith 2: Rain, I fear."]) {
    assertEquals(FINGERPRINTER.reply(kept), FINGERPRINTER.reply("Rain, I fear."), kept);
  }
  for (const kept of ["3: Rain, I fear.", '{"Cid": Rain, I fear.', `${"x".repeat(41)}: Rain, I fear.`]) {
    assertNotEquals(FINGERPRINTER.reply(kept), FINGERPRINTER.reply("Rain, I fear."), kept);
  }
});

Deno.test("fingerprint, first reply: the reply between the first turn and the next", () => {
  const one = FINGERPRINTER.reply("one");
  assertEquals(
    fingerprints("a: zero / u: x / a: one / a: two / u: y / a: three / u: z").firstReply?.fingerprint,
    one,
  );
  assertEquals(fingerprints("u: x / s: late / a: one").firstReply?.fingerprint, one);
  for (const none of ["a: one", "u: x", "a: one / u: x / u: y / a: two", "u: x / a: ... / a: one / u: y"]) {
    assertEquals(fingerprints(none).firstReply, undefined, none);
  }
});

Deno.test("fingerprint, reply: it is distinctive from 16 letters on", () => {
  assertEquals(fingerprints("a: [happy] 1234567 90123456!", "u: x").replies[0]?.isDistinctive, false);
  assertEquals(fingerprints("a: [happy] 12345678 90123456!", "u: x").replies[0]?.isDistinctive, true);
});

const REPLY_INDEXES:
  readonly (readonly [transcript: string, indexes: readonly number[], endsWithReply: boolean])[] = [
    ["u: x", [], false],
    ["u: x / a: one / u: y", [1], false],
    ["u: x / a: one / u: y / u: z", [1], false],
    ["u: x / a: one / u: y / a: two / u: z", [3], false],
    ["u: x / a: one / s: z / a: two / u: y", [1, 3], false],
    ["u: x / a: one / a: [silent] / u: y", [1], false],
    ["u: x / a: one / u: y / a: two / a: three / s: z", [1, 3, 4], true],
    ["u: x / a: one", [1], true],
    ["s: x / a: one", [1], true],
  ];
Deno.test("fingerprint, replies: the last ones before the newest turn, and those behind it", () => {
  for (const [transcript, indexes, ends] of REPLY_INDEXES) {
    const { replies, endsWithReply } = fingerprints(transcript);
    assertEquals([replies.map(({ index }) => index), endsWithReply], [indexes, ends], transcript);
  }
});

Deno.test("fingerprint, reply: only the start of a long reply counts, in linear time", () => {
  const endless = "[".repeat(100_000) + "<".repeat(100_000);
  assertEquals(FINGERPRINTER.reply(endless), undefined);
  const long = "a".repeat(REPLY_CHARS);
  assertEquals(FINGERPRINTER.reply(long + "b"), FINGERPRINTER.reply(long));
});

Deno.test("fingerprint: the persona, and the turns with their indexes", () => {
  const { persona, isPersonaOpen, turns } = fingerprints(
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
  ["with another one before the newest turn", "s: Mao / s: late / u: one", true],
  ["before an earlier turn", "s: Mao / u: one / a: 1 / u: two", false],
  ["before a reply", "s: Mao / a: hello / u: one", false],
  ["before a turn with the start of a reply", "s: Mao / u: one / a: Well,", true],
  ["there is none", "u: one", false],
];
Deno.test("fingerprint: a persona is open if it stands right before the newest turn", () => {
  for (const [name, transcript, isOpen] of OPEN) {
    assertEquals(fingerprints(transcript).isPersonaOpen, isOpen, name);
  }
});

Deno.test("fingerprint: only the newest of many turns", () => {
  const many = Array.from({ length: MAX_TURNS + 10 }, (_, turn) => user(`turn ${turn}`));
  const { turns } = fingerprints(...many);
  // Fewer than a conversation has, since the skin may have dropped some of those.
  assert(turns.length > MAX_TURNS / 2 && turns.length < MAX_TURNS, `${turns.length} turns`);
  assertEquals(turns.at(-1)!.index, MAX_TURNS + 9);
  assertEquals(turns[0]!.index, MAX_TURNS + 10 - turns.length);
});

Deno.test("fingerprint: another key changes every fingerprint", () => {
  const messages = messagesOf("s: Mao / u: one / a: a long enough reply", user("two", image()));
  const hashes = [FINGERPRINTER, OTHER].map((fingerprinter) => {
    const { persona, turns, replies: [reply] } = fingerprinter.transcript(messages);
    return [...persona, ...turns.flatMap(({ words, media }) => [words, media]), reply!.fingerprint]
      .filter((each) => each !== "");
  });
  const all = hashes.flat();
  assertEquals(new Set(all).size, all.length);
});

Deno.test("fingerprint: megabytes of words take no time, and every difference in them counts", () => {
  const words = "a ".repeat(4_000_000);
  const startedAt = performance.now();
  const [{ turns: [one] }, { turns: [other] }] = [words, `${words}b`].map((text) =>
    FINGERPRINTER.transcript([user(text)])
  ) as [ReturnType<typeof fingerprints>, ReturnType<typeof fingerprints>];
  const ms = performance.now() - startedAt;
  assert(ms < 1_500, `${Math.round(ms)} ms`);
  assertNotEquals(one!.words, other!.words);
});
