import { assertEquals } from "@std/assert";
import { chatFrames } from "../../lib/openai/chunk.ts";
import { splitDeltas } from "../../lib/openai/skin_text.ts";
import { ReplyReader } from "../../lib/openai/reply_reader.ts";
import { Random, unitByUnit } from "../support/harness/random.ts";
import { chatVrm, type SkinResult } from "../support/skins/skins.ts";

const MAX_ASCII = 1024;
const MAX_WIDE_BYTES = 1024;

function deltasOf(pieces: readonly string[]): string[] {
  return pieces.flatMap(splitDeltas);
}

/** The events of a reply that comes in these pieces, on the way that every streamed reply goes. */
function streamed(pieces: readonly string[]): string[] {
  const found: string[] = [];
  const reply = new ReplyReader({ stop: [], maxTokens: undefined, promptTokens: 1 }, {
    text: (text) => found.push(...splitDeltas(text)),
    aside() {},
    end({ tail }) {
      if (tail !== "") found.push(tail);
    },
  });
  for (const text of pieces) reply.read({ type: "text", text });
  reply.read({ type: "end", reason: "end_turn" });
  return found;
}

/** The spaces that lead in a line break may stand or not. */
function withoutLeads(text: string): string {
  return text.replace(/ +(?=[\r\n])/g, "");
}

/** What ChatVRM makes of a reply that comes in these pieces, each event a read of its own. */
function heardByChatVrm(pieces: readonly string[]): SkinResult {
  const frames = chatFrames({ id: "x", created: 1, model: "m", includeUsage: false });
  const data = [frames.opening!, ...streamed(pieces).map(frames.text), frames.finish("stop"), "[DONE]"];
  return chatVrm(data.map((data) => `data: ${data}\n\n`));
}

const TABLE: [name: string, pieces: string[], deltas: string[]][] = [
  ["a word", ["Hello"], ["Hello"]],
  ["a sentence an event", ["はい。どうぞ。"], ["はい。", "どうぞ。"]],
  ["what ends a sentence stays with it", ["はい！？\n\nどうぞ"], ["はい！？\n\n", "どうぞ"]],
  ["ASCII ends are none", ["One. Two! Three?"], ["One. Two! Three?"]],
  ["a line an event", ["One\nTwo\nThree"], ["One\n", "Two\n", "Three"]],
  ["a newline after the event that ended", ["はい。", "\nどうぞ"], ["はい。", "\n", "どうぞ"]],
  ["a newline after a newline", ["One\n", "\n", "Two"], ["One\n", "\n", "Two"]],
  ["a newline after a word", ["One", "\nTwo"], ["One", "\n", "Two"]],
  ["a space before the newline", ["はい。", " \nどうぞ"], ["はい。", "\n", "どうぞ"]],
];

for (const [name, pieces, expected] of TABLE) {
  Deno.test(`deltas: ${name}`, () => assertEquals(deltasOf(pieces).map(withoutLeads), expected));
}

Deno.test("deltas: no line break stands at the start of an event, where ChatVRM never gets over it", () => {
  for (
    const pieces of [["\n"], ["はい。", "\n"], ["One", "\nTwo"], ["x".repeat(1023) + "\n\n"], [
      "\n".repeat(3_000),
    ]]
  ) {
    for (const delta of deltasOf(pieces)) assertEquals(/^[\r\n]/.test(delta), false, JSON.stringify(delta));
  }
});

Deno.test("deltas: a long text goes in pieces of about a kilobyte", () => {
  for (const [unit, most] of [["x", MAX_ASCII], ["語", 341], ["😀", 341], ["x語", 341]] as const) {
    const text = unit.repeat(5_000);
    const found = deltasOf([text]);
    assertEquals(found.join(""), text);
    assertEquals(Math.max(...found.map((piece) => piece.length)) <= most, true, unit);
    assertEquals(found.length <= text.length / (most - 1) + 1, true, unit);
    const bytes = found.map((piece) => new TextEncoder().encode(piece).length);
    assertEquals(Math.max(...bytes) <= MAX_WIDE_BYTES, true, unit);
    assertEquals(found.every((piece) => piece.isWellFormed()), true, unit);
  }
});

const WORDS = [
  ...["[happy]", "[face:Joy]", "[silent]", "\n", "\n", "\r\n", " ", "。", "！", "？", ".", ",", "、"],
  ...["Hello", "I am Mao", "data:", "::", "こんにちは", "語".repeat(50), "x".repeat(200), "😀", "👩‍👧"],
];

Deno.test("deltas: however a reply is cut, it says the same, up to a space before a line break", () => {
  for (let seed = 0; seed < 60; seed++) {
    const random = new Random(seed);
    const reply = random.text(WORDS, 60);
    const whole = withoutLeads(streamed([reply]).join(""));
    const cuts = [unitByUnit(reply), ...Array.from({ length: 10 }, () => random.cut(reply))];
    for (const pieces of cuts) {
      const found = streamed(pieces);
      assertEquals(withoutLeads(found.join("")), whole, `seed ${seed}: ${JSON.stringify(pieces)}`);
      for (const piece of found) {
        assertEquals(
          piece !== "" && piece.length <= MAX_ASCII + 1 && piece.isWellFormed(),
          true,
          JSON.stringify(piece),
        );
      }
    }
  }
});

Deno.test("deltas: a space is only ever added where a line break follows", () => {
  for (let seed = 0; seed < 60; seed++) {
    const random = new Random(seed);
    const reply = random.text(WORDS, 60).toWellFormed();
    const pieces = Array.from(reply);
    let at = 0;
    for (const char of deltasOf(pieces).join("")) {
      if (char === pieces[at]) at++;
      else assertEquals([char, /[\r\n]/.test(pieces[at] ?? "")], [" ", true], `seed ${seed}, at ${at}`);
    }
    assertEquals(at, pieces.length);
  }
});

/** What counts as heard: letters, without tags and space. */
function letters(text: string): string {
  return text.replace(/\[(.*?)\]/g, "").replace(/\s/g, "");
}

function assertHeard(pieces: readonly string[]): void {
  const { spoken, unspoken, died } = heardByChatVrm(pieces);
  const at = JSON.stringify(pieces).slice(0, 300);
  assertEquals(died, undefined, at);
  assertEquals(unspoken.trim(), "", at);
  assertEquals(letters(spoken.join("")), letters(pieces.join("")), at);
}

const HEARD: [name: string, pieces: string[]][] = [
  ["Japanese", ["こんにちは。", "元気？", "うん！"]],
  ["English, which has no ends that it knows", ["Hi. How are", " you? Fine!"]],
  ["a tag and a newline", ["[happy]\n", "はい。\n", "どうぞ。"]],
  ["a tag, then a newline", ["[happy]", "\n", "はい。"]],
  ["a newline after a sentence", ["はい。", "\n", "どうぞ。"]],
  ["an empty line after a line", ["One\n", "\n", "Two\n"]],
  ["many lines in one piece", ["One\nTwo\n\nThree\n\n\nFour"]],
  ["a tag in each line", ["[happy]One\n[sad]\nTwo\n[happy] Three"]],
  ["a tag that ChatVRM has taken for one, and a newline", ["[1]", "\nはい。\n"]],
  ["a tag in Japanese, and a newline", ["[笑顔]\nはい。\n"]],
  ["a comma at the end of a piece, then a newline", ["Well, in the end,", "\nyes.\n"]],
  ["a Japanese comma at the end of a piece, then a newline", ["ええと、そうですね、でも、", "\nはい。\n"]],
  ["a comma and a space at the end of a piece, then a newline", ["Well, in the end, ", "\nyes.\n"]],
  ["a paragraph of just the size of an event, then an empty line", ["x".repeat(1023) + "\n\n", "More.\n"]],
  ["a sentence of just the size of an event, then a newline", ["語".repeat(340) + "。\nはい。\n"]],
  ["line ends of Windows", ["One\r\nTwo\r\n\r\nThree\r\n"]],
  ["a return alone", ["One\rTwo\n"]],
  ["more tags in a line than anybody writes", [...Array(30).fill("[happy]"), "\n", "はい。\n"]],
  ["a line separator", ["One\u2028Two\n"]],
];

for (const [name, pieces] of HEARD) {
  Deno.test(`ChatVRM says all of a reply: ${name}`, () => assertHeard(pieces));
}

/** That ChatVRM says all of random replies of these words, however they come. */
function allHeard(words: readonly string[]): void {
  for (let seed = 0; seed < 200; seed++) {
    const random = new Random(seed);
    const reply = random.text(words, 30);
    assertHeard([reply]);
    assertHeard(unitByUnit(reply));
    for (let i = 0; i < 5; i++) assertHeard(random.cut(reply));
  }
}

Deno.test("ChatVRM says all of any reply: tags, newlines, Japanese ends and ASCII without commas", () => {
  allHeard([
    "[happy]",
    "[sad]",
    "[face:Joy]",
    "\n",
    "\n\n",
    "。",
    "！",
    " ",
    "Hi.",
    "I am Mao!",
    "a",
    "(x)",
    "語り",
  ]);
});

Deno.test("ChatVRM says all of any reply: with commas too", () => {
  allHeard(["[happy]", "[sad]", "\n", "。", " ", "Well, in the end, ", "そうですね、", "yes", "a, "]);
});
