import { assertEquals } from "@std/assert";
import { type FilteredText, StopFilter } from "../../lib/openai/stop_filter.ts";
import { TokenCount } from "../../lib/openai/usage.ts";
import { Random, unitByUnit } from "../support/harness/random.ts";

/** What stands of a reply in these pieces, and why it ends there. */
function cut(pieces: readonly string[], stop: readonly string[], maxTokens?: number): FilteredText {
  const cutter = new StopFilter(stop, maxTokens);
  let text = "";
  for (const piece of pieces) {
    const part = cutter.push(piece);
    text += part.text;
    if (part.finish) return { text, finish: part.finish };
  }
  const rest = cutter.end();
  return { text: text + rest.text, finish: rest.finish };
}

const TABLE: [
  name: string,
  reply: string,
  stop: string[],
  maxTokens: number | undefined,
  expected: FilteredText,
][] = [
  ["nothing to cut", "Hello", [], undefined, { text: "Hello", finish: undefined }],
  ["an empty reply", "", ["x"], 1, { text: "", finish: undefined }],
  ["a stop", "one STOP two", ["STOP"], undefined, { text: "one ", finish: "stop" }],
  ["a stop at the start", "STOP two", ["STOP"], undefined, { text: "", finish: "stop" }],
  ["a stop at the end", "one STOP", ["STOP"], undefined, { text: "one ", finish: "stop" }],
  ["the first of two", "a STOP b STOP", ["STOP"], undefined, { text: "a ", finish: "stop" }],
  ["whichever comes first", "a.b!c", ["!", "."], undefined, { text: "a", finish: "stop" }],
  ["the start of a stop, which is none", "one STO", ["STOP"], undefined, {
    text: "one STO",
    finish: undefined,
  }],
  ["the start of a stop, and more", "one STOX", ["STOP"], undefined, { text: "one STOX", finish: undefined }],
  ["a stop whose start is repeated", "aaab", ["aab"], undefined, { text: "a", finish: "stop" }],
  ["a stop that repeats itself", "xabababc", ["ababc"], undefined, { text: "xab", finish: "stop" }],
  ["of two that end together the longer", "xabc", ["b", "ab"], undefined, { text: "x", finish: "stop" }],
  ["of two that end together the longer, named first", "xabc", ["ab", "b"], undefined, {
    text: "x",
    finish: "stop",
  }],
  ["of two that overlap the one that ends first", "xabc", ["abc", "b"], undefined, {
    text: "xa",
    finish: "stop",
  }],
  ["a stop of newlines", "a\n\nb", ["\n\n"], undefined, { text: "a", finish: "stop" }],
  ["a stop of wide characters", "はい。😀いいえ", ["。😀"], undefined, { text: "はい", finish: "stop" }],
  ["a stop in other letters", "stop", ["STOP"], undefined, { text: "stop", finish: undefined }],
  ["a length that suffices", "12345678", [], 2, { text: "12345678", finish: undefined }],
  ["a length", "123456789", [], 2, { text: "12345678", finish: "length" }],
  ["a length of Japanese", "こんにちは", [], 3, { text: "こんに", finish: "length" }],
  ["a length of 1, as AIRI asks for", "pong!", [], 1, { text: "pong", finish: "length" }],
  ["a stop before the length", "ab STOP cd", ["STOP"], 2, { text: "ab ", finish: "stop" }],
  ["the length before a stop", "abcdefghij STOP", ["STOP"], 2, { text: "abcdefgh", finish: "length" }],
  ["the length within what may be a stop", "abcdSTO", ["STOP"], 1, { text: "abcd", finish: "length" }],
];

for (const [name, reply, stop, maxTokens, expected] of TABLE) {
  Deno.test(`Cutter: ${name}`, () => {
    assertEquals(cut([reply], stop, maxTokens), expected, "in one piece");
    assertEquals(cut(unitByUnit(reply), stop, maxTokens), expected, "unit by unit");
  });
}

const LETTERS = ["a", "b", "ab", "aab", "ba", " ", "\n"];
const WIDE = ["語", "こ", "。", "a", "bc", "\n"];
const EMOJI = ["😀", "🎉", "a", "語", "👩‍👧"];

/** That random replies are cut at the same place however they come. */
function sameHoweverItComes(words: readonly string[], stops: number, limited: boolean): void {
  for (let seed = 0; seed < 150; seed++) {
    const random = new Random(seed);
    const reply = random.text(words, 40);
    const stop = Array.from({ length: stops }, () => random.text(words, 3));
    const maxTokens = limited ? 1 + random.below(12) : undefined;
    const whole = cut([reply], stop, maxTokens);
    const at = `seed ${seed}: ${JSON.stringify({ reply, stop, maxTokens })}`;
    assertEquals(cut(unitByUnit(reply), stop, maxTokens), whole, `${at}, unit by unit`);
    for (let i = 0; i < 10; i++) {
      const pieces = random.cut(reply);
      assertEquals(cut(pieces, stop, maxTokens), whole, `${at}, as ${JSON.stringify(pieces)}`);
    }
    if (stops === 1 && !limited) {
      const found = reply.indexOf(stop[0]!);
      assertEquals(whole.text, found < 0 ? reply : reply.slice(0, found), at);
      assertEquals(whole.finish, found < 0 ? undefined : "stop", at);
    }
    if (maxTokens !== undefined && whole.text !== "") {
      const count = new TokenCount();
      count.add(whole.text);
      assertEquals(count.tokens <= maxTokens, true, at);
    }
  }
}

Deno.test("Cutter: however a reply is cut, one stop is found at the same place", () => {
  sameHoweverItComes(LETTERS, 1, false);
  sameHoweverItComes(WIDE, 1, false);
  sameHoweverItComes(EMOJI, 1, false);
});

Deno.test("Cutter: however a reply is cut, several stops, which may overlap, are found at the same place", () => {
  sameHoweverItComes(LETTERS, 2, false);
  sameHoweverItComes(LETTERS, 4, false);
});

Deno.test("Cutter: however a reply is cut, it is as long", () => {
  sameHoweverItComes(LETTERS, 0, true);
  sameHoweverItComes(WIDE, 0, true);
});

Deno.test("Cutter: however a reply is cut, it is as long, and a pair stays together", () => {
  sameHoweverItComes(EMOJI, 0, true);
});

Deno.test("Cutter: however a reply is cut, stop and length agree", () => {
  sameHoweverItComes(LETTERS, 1, true);
  sameHoweverItComes(WIDE, 1, true);
});

Deno.test("Cutter: what cannot be the start of a stop is not held back", () => {
  const cutter = new StopFilter(["STOP"], undefined);
  assertEquals(cutter.push("one S").text, "one ");
  assertEquals(cutter.push("T").text, "");
  assertEquals(cutter.push("x").text, "STx");
  assertEquals(cutter.push("STO").text, "");
  assertEquals(cutter.end(), { text: "STO", finish: undefined });
  assertEquals(cutter.end(), { text: "", finish: undefined });
});
