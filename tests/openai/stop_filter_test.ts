import { assertEquals } from "@std/assert";
import { type FilteredText, StopFilter } from "../../lib/openai/stop_filter.ts";
import { TokenCount } from "../../lib/openai/usage.ts";
import { Random, unitByUnit } from "../support/harness/random.ts";

/** Filters a reply that comes in these pieces. */
function filterReply(pieces: readonly string[], stop: readonly string[], maxTokens?: number): FilteredText {
  const filter = new StopFilter(stop, maxTokens);
  let text = "";
  for (const piece of pieces) {
    const part = filter.push(piece);
    text += part.text;
    if (part.finish) return { text, finish: part.finish };
  }
  const rest = filter.end();
  return { text: text + rest.text, finish: rest.finish };
}

type Row = [
  name: string,
  reply: string,
  stop: string[],
  maxTokens: number | undefined,
  text: string,
  finish?: "stop" | "length",
];
const TABLE: Row[] = [
  ["no limit", "Hello", [], undefined, "Hello"],
  ["an empty reply", "", ["x"], 1, ""],
  ["a stop", "one STOP two", ["STOP"], undefined, "one ", "stop"],
  ["a stop at the end", "one STOP", ["STOP"], undefined, "one ", "stop"],
  ["two stops, the second first", "a.b!c", ["!", "."], undefined, "a", "stop"],
  ["the start of a stop at the end", "one STO", ["STOP"], undefined, "one STO"],
  ["the start of a stop in the middle", "one STOX", ["STOP"], undefined, "one STOX"],
  ["a stop whose start is repeated", "aaab", ["aab"], undefined, "a", "stop"],
  ["a stop that repeats itself", "xabababc", ["ababc"], undefined, "xab", "stop"],
  ["two stops that end together: the longer", "xabc", ["b", "ab"], undefined, "x", "stop"],
  ["two stops that overlap: the one that ends first", "xabc", ["abc", "b"], undefined, "xa", "stop"],
  ["a stop of wide characters", "はい。😀いいえ", ["。😀"], undefined, "はい", "stop"],
  ["a sufficient length", "12345678", [], 2, "12345678"],
  ["a length", "123456789", [], 2, "12345678", "length"],
  ["a length in Japanese", "こんにちは", [], 3, "こんに", "length"],
  ["a length of 1, as AIRI asks for", "pong!", [], 1, "pong", "length"],
  ["the length before a stop", "abcdefghij STOP", ["STOP"], 2, "abcdefgh", "length"],
  ["the length in the start of a stop", "abcdSTO", ["STOP"], 1, "abcd", "length"],
  ["a length near the end of a sentence", "One. Two! And three", [], 4, "One. Two!", "length"],
  ["a length near the end of a line", "One\nTwo and three", [], 2, "One\n", "length"],
  [
    "a length near the end of a sentence in quotes",
    'He said "No." Then he went',
    [],
    5,
    'He said "No."',
    "length",
  ],
  ["a length near the end of a Japanese sentence", "はい。そうです", [], 5, "はい。", "length"],
  ["a length at the end of a sentence", "One two. Three", [], 2, "One two.", "length"],
  ["a length behind a number", "Pi is 3.14159265", [], 3, "Pi is 3.1415", "length"],
  [
    "a length far from the end of a sentence",
    "One. " + "x".repeat(999),
    [],
    200,
    "One. " + "x".repeat(795),
    "length",
  ],
  ["a length in a tag", "Hello [happy] you", [], 2, "Hello ", "length"],
  ["a length in a tag of AIRI", 'Hello <|ACT {"emotion":"happy"}|> you', [], 6, "Hello ", "length"],
  ["a length behind a tag", "[happy] Hello", [], 2, "[happy] ", "length"],
  ["a length that is not reached", "One. Two", [], 9, "One. Two"],
];

for (const [name, reply, stop, maxTokens, text, finish] of TABLE) {
  Deno.test(`StopFilter: ${name}`, () => {
    for (const pieces of [[reply], unitByUnit(reply)]) {
      assertEquals(filterReply(pieces, stop, maxTokens), { text, finish });
    }
  });
}

const LETTERS = ["a", "b", "ab", "aab", "ba", " ", "\n"];
const WIDE = ["語", "こ", "。", "a", "bc", "\n"];
const SENTENCES = ["One. ", "Two", "!", " ", "3.1", "[happy]", "<|ACT|>", "\n", "。", '"', "…"];
const EMOJI = ["😀", "🎉", "a", "語", "👩‍👧"];
/** Random replies and limits whose result must not depend on how the reply is cut. */
const RANDOM: [name: string, stops: number, isLimited: boolean, ...vocabularies: string[][]][] = [
  ["one stop", 1, false, LETTERS, WIDE, EMOJI],
  ["two stops", 2, false, LETTERS],
  ["four stops", 4, false, LETTERS],
  ["a length", 0, true, LETTERS, WIDE, EMOJI, SENTENCES],
  ["a stop and a length", 1, true, LETTERS, WIDE],
];

for (const [name, stops, isLimited, ...vocabularies] of RANDOM) {
  Deno.test(`StopFilter: ${name}, however the reply is cut`, () => {
    for (const words of vocabularies) {
      for (let seed = 0; seed < 150; seed++) checkRandomReply(words, stops, isLimited, new Random(seed));
    }
  });
}

function checkRandomReply(words: readonly string[], stops: number, isLimited: boolean, random: Random): void {
  const reply = random.text(words, 40);
  const stop = Array.from({ length: stops }, () => random.text(words, 3));
  const maxTokens = isLimited ? 1 + random.below(12) : undefined;
  const whole = filterReply([reply], stop, maxTokens);
  for (const pieces of [unitByUnit(reply), ...Array.from({ length: 10 }, () => random.cut(reply))]) {
    assertEquals(filterReply(pieces, stop, maxTokens), whole, JSON.stringify({ pieces, stop, maxTokens }));
  }
  if (stops === 1 && !isLimited) {
    const start = reply.indexOf(stop[0]!);
    const expected = start < 0
      ? { text: reply, finish: undefined }
      : { text: reply.slice(0, start), finish: "stop" };
    assertEquals(whole as unknown, expected);
  }
  if (maxTokens !== undefined && whole.text !== "") {
    const count = new TokenCount();
    count.add(whole.text);
    assertEquals(count.value <= maxTokens, true, JSON.stringify({ reply, stop, maxTokens }));
  }
}

Deno.test("StopFilter: holds back nothing but the start of a stop", () => {
  const filter = new StopFilter(["STOP"], undefined);
  assertEquals(["one S", "T", "x", "STO"].map((piece) => filter.push(piece).text), ["one ", "", "STx", ""]);
  assertEquals(filter.end(), { text: "STO", finish: undefined });
  assertEquals(filter.end(), { text: "", finish: undefined });
});
