import { assertEquals } from "@std/assert";
import { chatFrames } from "../../lib/openai/chunk.ts";
import { createReplyReader } from "../../lib/openai/reply_reader.ts";
import { MAX_DELTA_CHARS, SkinText, splitDeltas } from "../../lib/openai/skin_text.ts";
import { Random, unitByUnit } from "../support/harness/random.ts";
import { chatVrm } from "../support/skins/skins.ts";

/** The text of a reply that comes in these pieces. */
function prepare(pieces: readonly string[]): string {
  const skinText = new SkinText();
  return pieces.map((piece) => skinText.push(piece)).join("") + skinText.end();
}

const TABLE: [name: string, reply: string, prepared: string][] = [
  ["nothing", "", ""],
  ["a line with its end", "Hello\n", "Hello\n"],
  ["line ends to spare", "Hello\n\n", "Hello\n\n"],
  ["a Japanese end, after which ChatVRM still needs a line end", "はい。", "はい。\n"],
  ["leading newlines and returns", "\r\n\r\nHello\n", "Hello\n"],
  ["nothing but newlines", "\n\n\n", ""],
  ["an empty line in the middle", "One\n\nTwo\n", "One\n\nTwo\n"],
  ["spaces stay", "  Hello  ", "  Hello  \n"],
  ["a tag and a newline", "[happy]\nHello\n", "[happy]Hello\n"],
  ["a tag, a space and newlines", "[happy] \n\nHello\n", "[happy] Hello\n"],
  ["a newline, a tag, a newline", "\n[happy]\nHello\n", "[happy]Hello\n"],
  ["two tags and a newline", "[face:Joy][anim:wave]\nHello\n", "[face:Joy][anim:wave]Hello\n"],
  ["tags apart and a newline", "[face:Joy] [pause:1.5]\nHello\n", "[face:Joy] [pause:1.5]Hello\n"],
  ["a tag that opens a later line", "Hi.\n[sad]\nBye.\n", "Hi.\n[sad]Bye.\n"],
  ["a tag that opens a line after a Japanese end", "はい。[sad]\nいいえ。", "はい。[sad]いいえ。\n"],
  ["a tag that does not open its line", "Hi [sad]\nBye\n", "Hi [sad]\nBye\n"],
  ["a tag and a return", "[happy]\r\nHello\n", "[happy]Hello\n"],
  ["line ends of Windows", "One\r\nTwo\r\n\r\nThree", "One\nTwo\n\nThree\n"],
  ["a return alone", "One\rTwo\r", "One\nTwo\n"],
  ["separators of lines and paragraphs", "One\u2028Two\u2029", "One\nTwo\n"],
  ["a separator after a tag", "[happy]\u2028Hello", "[happy]Hello\n"],
  ["a tag alone", "[happy]", "[happy]\n"],
  ["silence, to the letter", "[silent]", "[silent]"],
  ["silence with a newline, which goes", "[silent]\n", "[silent]"],
  ["silence with a newline before it, which goes", "\n[silent]", "[silent]"],
  ["no silence", "[silent] not", "[silent] not\n"],
  ["silence in other words", "[Silent]", "[Silent]\n"],
  ["a bracket that is never closed", "[happy\nHello", "[happy\nHello\n"],
  ["a half character at the end", "Hi\ud83d", "Hi\ufffd\n"],
  ["a half character in the middle", "a\ud83db", "a\ufffdb\n"],
  ["two first halves", "a\ud83d\ud83d\ude00", "a\ufffd😀\n"],
];

for (const [name, reply, expected] of TABLE) {
  Deno.test(`SkinText: ${name}`, () => {
    assertEquals(prepare([reply]), expected, "in one piece");
    assertEquals(prepare(unitByUnit(reply)), expected, "unit by unit");
  });
}

const WORDS = [
  ...["[happy]", "[face:Joy]", "[pause:1.5]", "[silent]", "[1]", "[ ]", "[", "]", "(", ")"],
  ...["\n", "\n", "\r\n", "\r", " ", "  ", "\t", "\u2028"],
  ...["。", "！", "？", "．", "、", ".", ",", "!", "?"],
  ...["Hello", "I am Mao", "data:", "::", "**bold**", "`code`", "https://example.com"],
  ...["こんにちは", "語", "안녕", "😀", "👩‍👧", "🇯🇵", "é", "\ud83d", "\ude00"],
];
const SEEDS = Array.from({ length: 60 }, (_, seed) => seed);

Deno.test("SkinText: the text does not depend on how the reply is cut", () => {
  for (const seed of SEEDS) {
    const random = new Random(seed);
    const reply = random.text(WORDS, 40);
    const whole = prepare([reply]);
    for (const pieces of [unitByUnit(reply), ...Array.from({ length: 20 }, () => random.cut(reply))]) {
      assertEquals(prepare(pieces), whole, `seed ${seed}: ${JSON.stringify(pieces)}`);
    }
  }
  const random = new Random(1);
  const reply = random.text(WORDS, 20_000);
  const whole = prepare([reply]);
  for (const longest of [1, 2, 3, 7, 40, 200, 5_000]) {
    assertEquals(prepare(random.cut(reply, longest)) === whole, true, `pieces of up to ${longest}`);
  }
});

Deno.test("SkinText: removes and adds line breaks alone, and is well-formed", () => {
  const withoutBreaks = (text: string) => text.replace(/[\r\n\u2028\u2029]/g, "");
  for (const seed of SEEDS) {
    const reply = new Random(1000 + seed).text(WORDS, 40);
    const text = prepare([reply]);
    assertEquals(withoutBreaks(text), withoutBreaks(reply.toWellFormed()), JSON.stringify(reply));
    assertEquals([text.isWellFormed(), /^[\r\n]/.test(text)], [true, false]);
    assertEquals(text === "" || /\n$|^\[silent\]$/m.test(text), true, "ends with a line break");
  }
});

Deno.test("SkinText: holds back nothing but half a character", () => {
  const skinText = new SkinText();
  assertEquals(["[hap", "py]", "\n", "Hi\ud83d"].map((piece) => skinText.push(piece)), [
    "[hap",
    "py]",
    "",
    "Hi",
  ]);
  assertEquals(skinText.pushPlain("a"), false);
  assertEquals([skinText.push("\ude00 "), skinText.pushPlain("a"), skinText.end()], ["😀 ", true, "\n"]);
});

Deno.test("SkinText: a reply of many short lines takes linear time", () => {
  for (const unit of ["[happy] \n[", "\n", "[", "[a", "。"]) {
    const count = 400_000;
    const startedAt = performance.now();
    const text = prepare([unit.repeat(count)]);
    // A tenth of a second on an idle machine.
    assertEquals(
      [text.length >= unit.trim().length, performance.now() - startedAt < 5_000],
      [true, true],
      unit,
    );
  }
});

const split = (pieces: readonly string[]) => pieces.flatMap(splitDeltas);

/** Splits a reply that comes in these pieces into events, as every streamed reply is split. */
function streamed(pieces: readonly string[]): string[] {
  const deltas: string[] = [];
  const read = createReplyReader({ stop: [], maxTokens: undefined, promptTokens: 1 }, {
    text: (text, isPlain) =>
      deltas.push(...isPlain && text.length <= MAX_DELTA_CHARS ? [text] : splitDeltas(text)),
    agentEvent() {},
    end: ({ tail }) => void (tail !== "" && deltas.push(tail)),
  });
  for (const text of pieces) read({ type: "text", text });
  read({ type: "end", reason: "end_turn" });
  return deltas;
}

/** Removes the spaces that may stand before a line break. */
function withoutLeads(text: string): string {
  return text.replace(/ +(?=[\r\n])/g, "");
}

const DELTAS: [name: string, pieces: string[], deltas: string[]][] = [
  ["a sentence per event", ["はい。どうぞ。"], ["はい。", "どうぞ。"]],
  ["a sentence with all its ends", ["はい！？\n\nどうぞ"], ["はい！？\n\n", "どうぞ"]],
  ["ASCII ends, which ChatVRM does not know", ["One. Two! Three?"], ["One. Two! Three?"]],
  ["a line per event", ["One\nTwo\nThree"], ["One\n", "Two\n", "Three"]],
  ["a newline after an event that ended", ["はい。", "\nどうぞ"], ["はい。", "\n", "どうぞ"]],
  ["a newline after a newline", ["One\n", "\n", "Two"], ["One\n", "\n", "Two"]],
];
for (const [name, pieces, expected] of DELTAS) {
  Deno.test(`splitDeltas: ${name}`, () => assertEquals(split(pieces).map(withoutLeads), expected));
}

Deno.test("splitDeltas: no event starts with a line break, at which ChatVRM stops", () => {
  const replies = [["\n"], ["はい。", "\n"], ["One", "\nTwo"], ["x".repeat(1023) + "\n\n"], [
    "\n".repeat(3_000),
  ]];
  for (const delta of replies.flatMap(split)) {
    assertEquals(/^[\r\n]/.test(delta), false, JSON.stringify(delta));
  }
});

Deno.test("splitDeltas: an event has at most about a kilobyte", () => {
  for (const unit of ["x", "語", "😀", "x語"]) {
    const text = unit.repeat(5_000);
    const deltas = split([text]);
    assertEquals([deltas.join(""), deltas.every((delta) => delta.isWellFormed())], [text, true]);
    assertEquals(deltas.length <= text.length / (MAX_DELTA_CHARS - 1) + 1, true, unit);
    const bytes = deltas.map((delta) => new TextEncoder().encode(delta).length);
    assertEquals(Math.max(...bytes) <= 1_024, true, unit);
  }
});

const LONG_WORDS = [
  ...["[happy]", "[face:Joy]", "[silent]", "\n", "\n", "\r\n", " ", "。", "！", "？", ".", ",", "、"],
  ...["Hello", "I am Mao", "data:", "::", "こんにちは", "語".repeat(50), "x".repeat(200), "😀", "👩‍👧"],
];

Deno.test("splitDeltas: the text does not depend on how the reply is cut, up to spaces before line breaks", () => {
  for (const seed of SEEDS) {
    const random = new Random(seed);
    const reply = random.text(LONG_WORDS, 60);
    const whole = withoutLeads(streamed([reply]).join(""));
    for (const pieces of [unitByUnit(reply), ...Array.from({ length: 10 }, () => random.cut(reply))]) {
      const deltas = streamed(pieces);
      assertEquals(withoutLeads(deltas.join("")), whole, `seed ${seed}: ${JSON.stringify(pieces)}`);
      for (const delta of deltas) {
        const isFine = delta !== "" && delta.length <= MAX_DELTA_CHARS + 1 && delta.isWellFormed();
        assertEquals(isFine, true, JSON.stringify(delta));
      }
    }
  }
});

Deno.test("splitDeltas: adds spaces before line breaks alone", () => {
  for (const seed of SEEDS) {
    const chars = Array.from(new Random(seed).text(LONG_WORDS, 60).toWellFormed());
    let at = 0;
    for (const char of split(chars).join("")) {
      if (char === chars[at]) at++;
      else assertEquals([char, /[\r\n]/.test(chars[at] ?? "")], [" ", true], `seed ${seed}, at ${at}`);
    }
    assertEquals(at, chars.length);
  }
});

/** Checks that ChatVRM speaks every letter of a reply, if it reads each event by itself. */
function assertSpoken(pieces: readonly string[]): void {
  const frames = chatFrames({ id: "x", created: 1, model: "m", includeUsage: false });
  const deltas = streamed(pieces).map((delta) => frames.text(delta));
  const events = [frames.opening!, ...deltas, frames.finish("stop"), "[DONE]"].map((data) =>
    `data: ${data}\n\n`
  );
  const { spoken, unspoken, died } = chatVrm(events);
  const letters = (texts: readonly string[]) => texts.join("").replace(/\[(.*?)\]/g, "").replace(/\s/g, "");
  const title = JSON.stringify(pieces).slice(0, 300);
  assertEquals([died, unspoken.trim(), letters(spoken)], [undefined, "", letters(pieces)], title);
}

const SPOKEN: [name: string, pieces: string[]][] = [
  ["Japanese", ["こんにちは。", "元気？", "うん！"]],
  ["English, whose ends ChatVRM does not know", ["Hi. How are", " you? Fine!"]],
  ["a tag, then a newline", ["[happy]", "\n", "はい。"]],
  ["a newline after a sentence", ["はい。", "\n", "どうぞ。"]],
  ["an empty line after a line", ["One\n", "\n", "Two\n"]],
  ["many lines in one piece", ["One\nTwo\n\nThree\n\n\nFour"]],
  ["a tag in each line", ["[happy]One\n[sad]\nTwo\n[happy] Three"]],
  ["brackets that ChatVRM takes for a tag", ["[1]", "\nはい。\n"]],
  ["a tag in Japanese", ["[笑顔]\nはい。\n"]],
  ["a Japanese comma before a newline", ["ええと、そうですね、でも、", "\nはい。\n"]],
  ["a paragraph as long as an event, then an empty line", ["x".repeat(1023) + "\n\n", "More.\n"]],
  ["a sentence as long as an event, then a newline", ["語".repeat(340) + "。\nはい。\n"]],
  ["30 tags in a line", [...Array(30).fill("[happy]"), "\n", "はい。\n"]],
];
for (const [name, pieces] of SPOKEN) {
  Deno.test(`ChatVRM speaks the whole reply: ${name}`, () => assertSpoken(pieces));
}

Deno.test("ChatVRM speaks the whole reply: random replies, however they are cut", () => {
  const vocabularies = [
    ["[happy]", "[sad]", "[face:Joy]", "\n", "\n\n", "。", "！", " ", "Hi.", "I am Mao!", "a", "(x)", "語り"],
    ["[happy]", "[sad]", "\n", "。", " ", "Well, in the end, ", "そうですね、", "yes", "a, "],
  ];
  for (const words of vocabularies) {
    for (let seed = 0; seed < 200; seed++) {
      const random = new Random(seed);
      const reply = random.text(words, 30);
      assertSpoken([reply]);
      assertSpoken(unitByUnit(reply));
      for (let i = 0; i < 5; i++) assertSpoken(random.cut(reply));
    }
  }
});
