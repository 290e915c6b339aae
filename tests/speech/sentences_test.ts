import { assert, assertEquals } from "@std/assert";
import { MAX_SENTENCE_CHARS, SentenceSplitter } from "../../lib/speech/sentences.ts";
import { Random, unitByUnit } from "../support/harness/random.ts";

function split(pieces: readonly string[]): string[] {
  const splitter = new SentenceSplitter();
  return [...pieces.flatMap((piece) => splitter.push(piece)), ...splitter.end()];
}

/** Texts with their sentences, between which there is a `|`. */
const TEXTS: Readonly<Record<string, readonly string[]>> = {
  "plain sentences": [
    "Hello.",
    "Hello. |How are you? |Fine!",
    "Hello.\t|Bye.",
    "One\n|two\n|three",
    "A line\n\n|another",
    "Really?! |Yes!!! |Wow.",
    "No end",
    "It was I. |He knew.",
    "Quoi ? |Oui ! |Bien.",
    "¿Qué? |¡Sí!",
  ],
  numbers: [
    "Pi is 3.14. |It is 3.14159.",
    "It costs $1,000.50. |That is much.",
    "In 2024. |Then it ended.",
    "It is 5:30. |Go.",
    "1. First do this. |2. Then that.",
    "10. Ten\n|11. Eleven",
    "a. First. |Second.",
    "Version v2.9.6 is out. |Use 2.9.6!",
    "50 %. |100%. |Done.",
    "192.168.0.1 is local. |Yes.",
    "３．１４です。|はい。",
  ],
  addresses: [
    "See https://example.com/a.b?c=1!d. |Then go.",
    "Is it https://example.com/? |Yes.",
    "Mail me@example.com. |Thanks.",
    "看 https://a.b/c?名=1。|好。",
    "example.com is free. |Take it.",
    "Open main.ts. |Run deno.json, too.",
    "See lib/speech/wav.ts and ../a.b/c.d here. |OK.",
    "Node.js是好的。|是。",
  ],
  abbreviations: [
    "Dr. Who met Mr. Bean and Mrs. Smith. |Then Prof. X left.",
    "Fruit, e.g. Apples, i.e. Food. |Good.",
    "No. 5 is alive. |No. |Not that.",
    "No. |It is not.",
    "See Fig. 3 and pp. 5 to 7. |Eq. 2 holds.",
    "The U.S.A. is big. |Yes.",
    "I live in the U.S. |It is big.",
    "The U.S. Army came. |Yes.",
    "J. R. R. Tolkien wrote it. |Read it.",
    "At 5 p.m. we eat. |At 6 p.m. |We sleep.",
    "Apples, pears, etc. are fruit. |Nuts, etc. |Yes.",
    "Acme Inc. makes it. |I like Acme Inc. |They are good.",
    "Vitamin C. |It helps.",
    "Smith et al. wrote that. |OK.",
    "St. Paul vs. St. Peter. |Draw.",
    "On Dec. 5 it snows. |Good.",
    "Das ist z.B. gut. |Ja.",
  ],
  pauses: [
    "Well... maybe. |Yes.",
    "Well... |Maybe.",
    "Wait… |What?",
    "Hm… yes.",
    "…and so on. |Right.",
    "我……不知道。|好。",
    "そう…。|はい。",
  ],
  "quotes and brackets": [
    'He said "Stop. Now." and left. |Then he ran.',
    '"Stop!" he said. |"Why?" |Because.',
    '"Really." — so he said. |Yes.',
    "“Stop. Go.” |She went.",
    "«Oui. Non.» |Bien.",
    "It works (I think. Really.) for now. |Good.",
    "(It works.) |Good.",
    "See [the docs. Really] now. |OK.",
    'It is 5" long. |Yes.',
    "It's John's. |'Yes.' |No.",
    "Sad :( and happy. |Yes.",
    'A "quote" and another "one. Two" here. |End.',
    "It is fine.) |Yes.",
    "「你好。再見。」|她說。|好。",
    "「そうだ。行こう。」と言った。|はい。",
    "『本。』|次。",
    '他说"你好。再见。"|好。',
    "（はい。）|いいえ。",
  ],
  code: [
    "Run `deno test. Now` please. |Then go.",
    "The `a.b` and `c? d! e.` are code. |OK.",
    "A stray ` is no code. |Yes.",
    "Call `f()`. |Done.",
  ],
  "other scripts": [
    "你好。|再見！|真的嗎？|是。",
    "你好!|我是小明.|他是谁?|好",
    "こんにちは。|元気ですか？！|はい",
    "안녕하세요. |잘 지내요? |네.",
    "안녕하세요.|저는 봇입니다.",
    "I like 寿司。|You too.",
    "ｱｲｳ｡|ｴｵ",
    "क्या है। |ठीक।",
    "كيف حالك؟ |جيد.",
    "東京は、大きい、町です。|はい。",
  ],
  "emoji and nothing to say": [
    "Hi 😀. |Bye 👩‍💻! |OK.",
    "😀😀",
    "...",
    "Hi. |😀! |Bye.",
    "--- \n",
    "Nice! |:)",
  ],
};

for (const [table, texts] of Object.entries(TEXTS)) {
  for (const marked of texts) {
    const text = marked.replaceAll("|", "");
    Deno.test(`SentenceSplitter, ${table}: ${text}`, () => {
      const expected = marked.split("|").map((sentence) => sentence.trim()).filter((it) =>
        /[\p{L}\p{N}]/u.test(it)
      );
      assertEquals(split([text]), expected);
      assertEquals(split(unitByUnit(text)), expected, "unit by unit");
      for (let at = 1; at < text.length; at++) {
        assertEquals(split([text.slice(0, at), text.slice(at)]), expected, `cut at ${at}`);
      }
    });
  }
}

/** The pieces of a text, and the sentences that are there after each. */
const SOON: readonly (readonly [piece: string, sentences: readonly string[]][])[] = [
  [["Hello.", []], [" ", ["Hello."]], ["Bye!", []], ["\n", ["Bye!"]]],
  [["Hello. How", ["Hello."]], [" are you", []], ["? ", ["How are you?"]]],
  [["你好。", []], ["我", ["你好。"]]],
  [["你好。", []], ["」", []], ["我", ["你好。」"]]],
  [["Dr. ", []], ["Who. ", ["Dr. Who."]]],
  [["No. ", []], ["W", ["No."]]],
  [["No. ", []], ["5", []]],
  [["A title\n", ["A title"]]],
  [['"Hi." ', []], ["he", []]],
  [['"Hi." ', []], ["He", ['"Hi."']]],
];
for (const steps of SOON) {
  const text = steps.map(([piece]) => piece).join("");
  Deno.test(`SentenceSplitter: tells as soon as it is certain: ${JSON.stringify(text)}`, () => {
    const splitter = new SentenceSplitter();
    for (const [piece, sentences] of steps) assertEquals(splitter.push(piece), [...sentences], piece);
  });
}

const LONG: readonly [name: string, text: string, first: string][] = [
  ["at the last clause", `${"word ".repeat(30)}end, ${"more ".repeat(40)}`, `${"word ".repeat(30)}end,`],
  ["at a space, without a clause", "word ".repeat(100), "word ".repeat(50).trim()],
  ["at the longest length, without a space", "x".repeat(600), "x".repeat(MAX_SENTENCE_CHARS)],
  ["between characters", "a" + "😀1".repeat(200), "a" + "😀1".repeat(22) + "😀"],
  ["at a clause of Chinese", "一二三四五六七八九，".repeat(60), "一二三四五六七八九，".repeat(8)],
  ["after 50 digits", "7".repeat(300), "7".repeat(50)],
  ["after 41 symbols and as many letters", "&a".repeat(60), "&a".repeat(41)],
  ["after 83 characters of Japanese", "あ".repeat(300), "あ".repeat(83)],
  ["where a quoted sentence ends", `"One two. ${"word ".repeat(90)}`, '"One two.'],
  [
    "behind an opening that never closes",
    `(One two. Three four. ${"word ".repeat(90)}`,
    "(One two. Three four.",
  ],
];
for (const [name, text, first] of LONG) {
  Deno.test(`SentenceSplitter: divides a long sentence ${name}`, () => {
    const sentences = split([text]);
    assertEquals(sentences[0], first);
    assert(
      sentences.every(({ length }) => length <= MAX_SENTENCE_CHARS + 10),
      String(sentences.map((s) => s.length)),
    );
    assertEquals(sentences.join("").replaceAll(/\s/g, ""), text.replaceAll(/\s/g, ""));
    assertEquals(split(unitByUnit(text)), sentences, "unit by unit");
  });
}

Deno.test("SentenceSplitter: keeps a sentence with dates, prices and a phone number whole", () => {
  const sentence =
    "On 2026-12-01 at 14:30, 1,250 people paid $3,400.50 for 12 tickets; call +1 (555) 010-9999.";
  assertEquals(split([sentence]), [sentence]);
});

Deno.test("SentenceSplitter: has shorter sentences for a slow voice", () => {
  const splitter = new SentenceSplitter(60);
  const sentences = [
    ...splitter.push(`One. ${"word ".repeat(20)}end. ${"7".repeat(20)}.`),
    ...splitter.end(),
  ];
  assertEquals(sentences, [
    "One.",
    "word ".repeat(12).trim(),
    `${"word ".repeat(8)}end.`,
    "7".repeat(12),
    "77777777.",
  ]);
});

const PARTS = [
  ...[
    "Dr",
    "No",
    "U.S",
    "etc",
    "e.g",
    "5",
    "3.14",
    "word",
    "Word",
    "It",
    "x",
    "我",
    "は",
    "안",
    "😀",
    "\ud83d",
    "と",
  ],
  ...[".", ". ", ".", ". ", "!", "? ", "...", "… ", "。", "！", "．", "؟ ", "\n", " ", " ", ",", "、"],
  ...['"', '" ', "'", "`", "(", ")", "[", "]", "「", "」", "“", "”", ":(", "https://a.b/?c", "www", "1. "],
];

Deno.test("SentenceSplitter: finds the same sentences and loses no letter, however the text is cut", () => {
  for (let seed = 0; seed < 500; seed++) {
    const random = new Random(seed);
    const text = random.text(PARTS, seed % 10 === 0 ? 400 : 40);
    const name = `seed ${seed}: ${JSON.stringify(text)}`;
    const sentences = split([text]);
    assertEquals(split(unitByUnit(text)), sentences, name);
    for (let i = 0; i < 3; i++) assertEquals(split(random.cut(text)), sentences, name);
    const letters = (it: string) => it.replaceAll(/[^\p{L}\p{N}]/gu, "");
    assertEquals(letters(sentences.join("")), letters(text), name);
    for (const { length } of sentences) assert(length <= MAX_SENTENCE_CHARS + 200, name);
  }
});

const ENDLESS = [".", " ", "!", "`", '"', "(", "。", "」", "etc. ", "U.S. ", "\n", "...", "?)", "😀", "x"];
for (const part of ENDLESS) {
  Deno.test(`SentenceSplitter: takes linear time and little memory for ${JSON.stringify(part)} without end`, () => {
    const splitter = new SentenceSplitter();
    const found = [...splitter.push(part.repeat(100_000 / part.length)), ...splitter.push("end.\n")];
    let length = 0;
    for (const sentence of found) length = Math.max(length, sentence.length);
    assert(length <= MAX_SENTENCE_CHARS + 100, `${length}`);
    assertEquals(splitter.push(""), []);
  });
}
