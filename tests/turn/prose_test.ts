import { assert, assertEquals } from "@std/assert";
import { ProseReader } from "../../lib/turn/prose.ts";
import { Random, unitByUnit } from "../support/harness/random.ts";

function prose(pieces: readonly string[]): string {
  let prose = "";
  const reader = new ProseReader((text) => prose += text);
  for (const piece of pieces) reader.push(piece);
  reader.end();
  return prose;
}

/** Texts and their prose. A text alone is its prose. */
type Cases = readonly (readonly [text: string, prose?: string])[];

const TEXTS: Readonly<Record<string, Cases>> = {
  "plain text": [
    [""],
    ["Hello, world! How are you?"],
    ["你好，世界！"],
    ["こんにちは。\n元気ですか？"],
    ["with which www wwww. htt http"],
    ["It costs $5 & more; 50% off + tax = 7.\n"],
    ["Hello!"],
    ["a < b > c, x<y, <3"],
    ["© ® ™ ↔ → ✓ #1 1️⃣", "© ® ™ ↔ → ✓ #1 1"],
    ["क्‍ष می‌خواهم"],
  ],
  emphasis: [
    ["**bold** and *thin* and ***both***", "bold and thin and both"],
    ["__bold__ and _thin_ and ~~gone~~", "bold and thin and gone"],
    ["**_both_**", "both"],
    ["这是**重点**内容", "这是重点内容"],
    ["un*frigging*believable", "unfriggingbelievable"],
    ["5 * 3, 5*3, 2**8, a * b"],
    ["foo_bar and __init__", "foo_bar and init"],
    ["~5 minutes, 5~6"],
    ["*waves* Hello", "waves Hello"],
    ["**never closed", "never closed"],
    ["**1. Title**", "1. Title"],
    ["*".repeat(100) + "x", "x"],
    ["Fill in ____ here", "Fill in  here"],
    ["\\*not thin\\*, C:\\Users\\x", "*not thin*, C:\\Users\\x"],
    ["2\\.5 \\", "2.5 \\"],
  ],
  "lines": [
    ["# Title\ntext", "Title\ntext"],
    ["###### Title", "Title"],
    ["####### seven"],
    ["#hashtag"],
    ["#\ntext", "\ntext"],
    ["- one\n- two", "one\ntwo"],
    ["* one\n  * two\n+ three\n• four", "one\n  two\nthree\nfour"],
    ["- [ ] open\n- [x] done", "open\ndone"],
    ["- [link](u)", "link"],
    ["1. one\n2) two"],
    ["> quote\n>> deep", " quote\n deep"],
    ["> - item", " item"],
    ["a\n---\nb", "a\nb"],
    ["Title\n=====\ntext", "Title\ntext"],
    ["***\ntext\n* * *\n", "text\n\n"],
    ["-5 degrees, - no, --flag"],
    ["--flag and ---x"],
    ["- **bold**: text", "bold: text"],
    ["- \n-\n", "\n\n"],
    ["text\n-", "text\n-"],
  ],
  tables: [
    ["a\n| x | y |\n|---|:-:|\n| 1 | 2 |\nb", "a\nb"],
    ["| x |", ""],
    ["  | x | y |\nb", "  b"],
    ["> | x | y |\n> b", "  b"],
    ["x | y\n--- | ---\n1 | 2\n3 | 4\n\nb | c", "x | y\n\nb | c"],
    ["x | y\n:--|--:\n1 | 2\nb", "x | y\nb"],
    ["a | b, a || b"],
  ],
  links: [
    ["See [the docs](https://example.com/a_b(c)?d=1#e).", "See the docs."],
    ["[**bold** text](u) x", "bold text x"],
    ["[a](b)[c](d)", "ac"],
    ['[a]( <u> "title" )', "a"],
    ["An ![image](https://x.y/z.png) here", "An  here"],
    ["[![badge](https://x.y)](https://z) x", " x"],
    ["[https://x.y](https://x.y) z", " z"],
    ["[1] and [hat] and [a][b] and f[0]"],
    ["A note[^1] here", "A note here"],
    ["[anim:wave] Hi [pause: 1.5]", " Hi "],
    ["[never closed"],
    ["[never](closed"],
    ["[no\nlink](u)"],
    ["[" + "x".repeat(600) + "](u)"],
    ["[[a]](u)", "[a]"],
    ["Hi![a](b)", "Hi!a"],
    ["(![a](b)) **![a](b)**", "() "],
    ["Hi! [a](b)", "Hi! a"],
  ],
  addresses: [
    ["See https://example.com/a?b=c#d for more.", "See  for more."],
    ["See https://example.com.", "See ."],
    ["See http://x.y/a.b, then (https://x.y/z).", "See , then ()."],
    ["Go to www.example.com!", "Go to !"],
    ["<https://example.com> and <mailto:a@b.c>", " and "],
    ["看https://a.b/c。好", "看。好"],
    ["**https://a.b**", ""],
    ["HTTPS://A.B/C x", " x"],
    ['"https://a.b/c" x', '"" x'],
    ["https://a.b" + "/c".repeat(500) + " x", " x"],
    ["https://a.b" + ")".repeat(100) + " x", ")".repeat(36) + " x"],
    ["me@example.com, example.com, awww. no"],
    ["[x]: https://a.b\ny", "[x]: \ny"],
  ],
  HTML: [
    ["<b>bold</b><br>next<br/>", "boldnext"],
    ['<a href="https://x.y" target=_blank>link</a>', "link"],
    ["<details><summary>More</summary>", "More"],
    ["a <!-- comment --> b", "a  b"],
    ["<|DELAY 1|> x", " x"],
    ["Array<string> and <unknown>"],
    ["x <b and c> d"],
    ["<b", "<b"],
    ["<a href=", "<a href="],
    ["<!-- never closed"],
  ],
  emoji: [
    ["Hi 😀!", "Hi !"],
    ["👩‍💻👍🏽🇩🇪❤️ x", " x"],
    ["🏴󠁧󠁢󠁥󠁮󠁧󠁿 x", " x"],
    ["\ud83d x \ude00"],
  ],
};

for (const [table, cases] of Object.entries(TEXTS)) {
  for (const [text, expected = text] of cases) {
    Deno.test(`ProseReader, ${table}: ${text.slice(0, 60)}`, () => {
      assertEquals(prose([text]), expected);
      assertEquals(prose(unitByUnit(text)), expected, "unit by unit");
      for (let at = 1; at < text.length; at++) {
        assertEquals(prose([text.slice(0, at), text.slice(at)]), expected, `cut at ${at}`);
      }
    });
  }
}

const PARTS = [
  ...[
    "*",
    "**",
    "***",
    "_",
    "__",
    "~~",
    "#",
    "# ",
    "- ",
    "+ ",
    "> ",
    "|",
    "| a |",
    "\n",
    "\n",
    "---",
    "===",
    ":--|",
  ],
  ...[
    "[",
    "]",
    "](",
    "(",
    ")",
    "![",
    "[x] ",
    "[^1]",
    "[anim:x]",
    "\\",
    "!",
    "<",
    ">",
    "<b>",
    "<a ",
    "href=",
    "<!--",
  ],
  ..."https:// http://x.y www. www.x.y h ht http https: w ww . , ) a 5 word 我 。 😀 👩‍💻 ❤️ \u200d \ud83d \ude00"
    .split(" "),
  ...[" ", " ", "-->", "*".repeat(64), "-".repeat(70), ")".repeat(64)],
];

Deno.test("ProseReader: finds the same prose, however the text is cut", () => {
  for (let seed = 0; seed < 1_000; seed++) {
    const random = new Random(seed);
    const text = random.text(PARTS, seed % 10 === 0 ? 200 : 30);
    const name = `seed ${seed}: ${JSON.stringify(text)}`;
    const whole = prose([text]);
    assertEquals(prose(unitByUnit(text)), whole, name);
    for (let i = 0; i < 3; i++) assertEquals(prose(random.cut(text)), whole, name);
  }
});

Deno.test("ProseReader: passes plain text on at once, and holds back the start of a mark", () => {
  const said: string[] = [];
  const reader = new ProseReader((text) => said.push(text));
  const after = (piece: string) => {
    reader.push(piece);
    return said.splice(0).join("");
  };
  assertEquals(after("Hello"), "Hello");
  assertEquals(after(", you"), ", you");
  assertEquals(after(" **"), " ");
  assertEquals(after("bold"), "bold");
  assertEquals(after("** "), " ");
  assertEquals(after("ht"), "");
  assertEquals(after("tp"), "");
  assertEquals(after(" is"), "http is");
  assertEquals(after(" a [link"), " a ");
  assertEquals(after("](x) now!"), "link now!");
  assertEquals(after(" w"), " ");
  reader.break();
  assertEquals(said.splice(0), ["w"]);
});

for (
  const part of [
    "[",
    "[x](",
    "![",
    "<",
    "<a ",
    "<!--",
    "*",
    "_a",
    "\\",
    "h",
    "https://",
    "https://)",
    "| ",
    "\n- ",
    "#",
    "-",
    "[a](b)",
    "😀",
  ]
) {
  Deno.test(`ProseReader: takes linear time for ${JSON.stringify(part)} without end`, () => {
    prose([part.repeat(500_000 / part.length)]);
    let held = 0;
    const reader = new ProseReader((text) => held -= text.length);
    for (let i = 0; i < 3_000; i++) {
      held += part.length;
      reader.push(part);
    }
    reader.end();
    assert(held >= 0);
  });
}
