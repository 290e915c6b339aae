import { assertEquals } from "@std/assert";
import { SkinText } from "../../lib/openai/skin_text.ts";
import { Random, unitByUnit } from "../support/harness/random.ts";

/** What is said of a reply in these pieces. */
function said(pieces: readonly string[]): string {
  const speakable = new SkinText();
  return pieces.map((piece) => speakable.push(piece)).join("") + speakable.end();
}

const TABLE: [name: string, reply: string, said: string][] = [
  ["nothing", "", ""],
  ["one line", "Hello", "Hello\n"],
  ["a line with its end", "Hello\n", "Hello\n"],
  ["line ends to spare", "Hello\n\n", "Hello\n\n"],
  ["a Japanese end, after which ChatVRM still needs a line end", "はい。", "はい。\n"],
  ["leading newlines", "\n\nHello\n", "Hello\n"],
  ["leading newlines and returns", "\r\n\r\nHello\n", "Hello\n"],
  ["nothing but newlines", "\n\n\n", ""],
  ["a newline in the middle", "One\nTwo\n", "One\nTwo\n"],
  ["an empty line in the middle", "One\n\nTwo\n", "One\n\nTwo\n"],
  ["spaces stay", "  Hello  ", "  Hello  \n"],
  ["a tag", "[happy] Hello", "[happy] Hello\n"],
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
  ["two returns", "One\r\rTwo", "One\n\nTwo\n"],
  ["separators of lines and paragraphs", "One\u2028Two\u2029", "One\nTwo\n"],
  ["a separator after a tag", "[happy]\u2028Hello", "[happy]Hello\n"],
  ["a tag alone", "[happy]", "[happy]\n"],
  ["silence, to the letter", "[silent]", "[silent]"],
  ["silence with a newline, which goes", "[silent]\n", "[silent]"],
  ["silence with a newline before it, which goes", "\n[silent]", "[silent]"],
  ["no silence", "[silent] not", "[silent] not\n"],
  ["silence in other words", "[Silent]", "[Silent]\n"],
  ["a bracket that is never closed", "[happy\nHello", "[happy\nHello\n"],
  ["brackets that are no tag: code", "[1, 2]", "[1, 2]\n"],
  ["an emoji", "😀", "😀\n"],
  ["a family", "👩‍👩‍👧‍👦!", "👩‍👩‍👧‍👦!\n"],
  ["Chinese and Korean", "你好。안녕\n", "你好。안녕\n"],
  ["a half character at the end", "Hi\ud83d", "Hi\ufffd\n"],
  ["a half character in the middle", "a\ud83db", "a\ufffdb\n"],
  ["the other half alone", "a\ude00b", "a\ufffdb\n"],
  ["two first halves", "a\ud83d\ud83d\ude00", "a\ufffd😀\n"],
];

for (const [name, reply, expected] of TABLE) {
  Deno.test(`Speakable: ${name}`, () => {
    assertEquals(said([reply]), expected, "in one piece");
    assertEquals(said(unitByUnit(reply)), expected, "unit by unit");
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

Deno.test("Speakable: however a reply is cut, the same is said", () => {
  for (const seed of SEEDS) {
    const random = new Random(seed);
    const reply = random.text(WORDS, 40);
    const whole = said([reply]);
    assertEquals(said(unitByUnit(reply)), whole, `seed ${seed}: ${JSON.stringify(reply)}`);
    for (let i = 0; i < 20; i++) {
      const pieces = random.cut(reply);
      assertEquals(said(pieces), whole, `seed ${seed}: ${JSON.stringify(pieces)}`);
    }
  }
});

Deno.test("Speakable: however a long reply is cut, the same is said", () => {
  const random = new Random(1);
  const reply = random.text(WORDS, 20_000);
  const whole = said([reply]);
  for (const longest of [1, 2, 3, 7, 40, 200, 5_000]) {
    const pieces = random.cut(reply, longest);
    assertEquals(said(pieces) === whole, true, `pieces of up to ${longest}`);
  }
});

Deno.test("Speakable: nothing but line breaks is left out or added, and what is said is well-formed", () => {
  const withoutBreaks = (text: string) => text.replace(/[\r\n\u2028\u2029]/g, "");
  for (const seed of SEEDS) {
    const reply = new Random(1000 + seed).text(WORDS, 40);
    const text = said([reply]);
    assertEquals(withoutBreaks(text), withoutBreaks(reply.toWellFormed()), JSON.stringify(reply));
    assertEquals(text.isWellFormed(), true);
    assertEquals(/^[\r\n]/.test(text), false, "begins with a line break");
    assertEquals(text === "" || text === "[silent]" || text.endsWith("\n"), true, "ends with one");
  }
});

Deno.test("Speakable: what was pushed is said at once, but for half a character", () => {
  const speakable = new SkinText();
  assertEquals(speakable.push("[hap"), "[hap");
  assertEquals(speakable.push("py]"), "py]");
  assertEquals(speakable.push("\n"), "");
  assertEquals(speakable.push("Hi\ud83d"), "Hi");
  assertEquals(speakable.push("\ude00 "), "😀 ");
  assertEquals(speakable.end(), "\n");
});
