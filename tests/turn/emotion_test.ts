import { assertEquals } from "@std/assert";
import { EmotionScanner, type EmotionWords, emotionWords } from "../../lib/turn/emotion.ts";
import { Random, unitByUnit } from "../support/harness/random.ts";

const WORDS = emotionWords();

/** Speech and emotions in the order of the text. */
type Found = (string | { tag: string; intensity: number })[];

/** Scans pieces, and joins the speech between two emotions. */
function scan(pieces: readonly string[], words: EmotionWords = WORDS): Found {
  const found: Found = [];
  const scanner = new EmotionScanner(words, {
    emotion: (tag, intensity) => void found.push({ tag, intensity }),
    speak: (text) => {
      if (text === "") return;
      const last = found.at(-1);
      if (typeof last === "string") found[found.length - 1] = last + text;
      else found.push(text);
    },
  });
  for (const piece of pieces) scanner.push(piece);
  scanner.end();
  return found;
}

const speechOf = (found: Found) => found.filter((item) => typeof item === "string").join("");
/** The emotions, with the intensity if it is not 1. */
const emotionsIn = (found: Found) =>
  found.flatMap((item) =>
    typeof item === "string" ? [] : [item.intensity === 1 ? item.tag : `${item.tag} ${item.intensity}`]
  );
const emotionsOf = (text: string, words?: EmotionWords) => emotionsIn(scan([text], words));

/** Asserts that a text has the same findings however it is cut. */
function assertSameInPieces(text: string, name: string, random = new Random(text.length)): Found {
  const whole = scan([text]);
  assertEquals(scan(unitByUnit(text)), whole, `${name}, unit by unit`);
  for (let at = 1; at < text.length; at++) {
    assertEquals(scan([text.slice(0, at), text.slice(at)]), whole, `${name}, cut at ${at}`);
  }
  for (let i = 0; i < 10; i++) {
    const pieces = random.cut(text);
    assertEquals(scan(pieces), whole, `${name}: ${JSON.stringify(pieces)}`);
  }
  return whole;
}

const TAG = /\[\s*(?:face\s*:)?\s*[a-z]+\s*\]|<\|\s*(?:EMOTE_\w+|ACT\b[^\n]*?)\s*\|>/iy;

/** Asserts that speech and tags together are the whole text, apart from backticks if `ticks`. */
function assertNothingLost(text: string, found: Found, ticks: boolean): void {
  let at = 0;
  const skip = () => {
    while (ticks && text[at] === "`") at++;
  };
  for (const item of found) {
    if (typeof item !== "string") {
      skip();
      TAG.lastIndex = at;
      const tag = TAG.exec(text)?.[0] ?? "";
      assertEquals(tag.toLowerCase().includes(item.tag), true, `no tag at ${at} of ${JSON.stringify(text)}`);
      at += tag.length;
      continue;
    }
    for (const unit of unitByUnit(item)) {
      if (text[at] !== unit) skip();
      assertEquals(text[at], unit, `lost at ${at} of ${JSON.stringify(text)}`);
      at++;
    }
  }
  skip();
  assertEquals(at, text.length, `lost the end of ${JSON.stringify(text)}`);
}

const LONG = "x".repeat(100);

/** A text, its emotions, and its speech. Without emotions the speech defaults to the text. */
type Case = readonly [name: string, text: string, emotions: readonly string[], spoken?: string];

const TAGS: readonly Case[] = [
  ["nothing", "", []],
  ["no tag", "Hello!", []],
  ["a tag", "[happy] Hello!", ["happy"], " Hello!"],
  ["a tag alone", "[happy]", ["happy"], ""],
  ["a tag at the very end", "Bye! [sad]", ["sad"], "Bye! "],
  ["a tag and a line end", "[sad]\n", ["sad"], "\n"],
  ["the same tag twice is two", "[happy][happy]", ["happy", "happy"], ""],
  ["several", "[happy] a [sad] b [shy]", ["happy", "sad", "shy"], " a  b "],
  ["a capital letter", "[Happy]", ["happy"], ""],
  ["capital letters", "[HAPPY]", ["happy"], ""],
  ["spaces in it", "[ happy ]", ["happy"], ""],
  ["a line end in it", "[\nhappy]", [], "[\nhappy]"],
  ["doubled brackets", "[[happy]]", ["happy"], "[]"],
  ["a word before it", "I am[happy]!", ["happy"], "I am!"],
  [
    "Japanese around it",
    "こんにちは[happy]、元気？[curious]そう。",
    ["happy", "curious"],
    "こんにちは、元気？そう。",
  ],
  ["Chinese and emoji around it", "😀[joy]你好😀[shy]👩‍👧", ["joy", "shy"], "😀你好😀👩‍👧"],
  ["a half character before it", "\ud83d[joy]\ude00", ["joy"], "\ud83d\ude00"],
  ["a word that only begins like one", "[joyful]", []],
  ["two words", "[very happy]", []],
  ["no word", "[]", []],
  ["only spaces", "[ ]", []],
  ["silence", "[silent]", []],
  ["a footnote", "As said[1].", []],
  ["a task", "[TODO] and [x] and [ ]", []],
  ["a word of code", "list[0] = [happy_path]", []],
  ["full-width brackets", "【happy】［sad］", []],
  ["other brackets", "(happy) {sad} <shy>", []],
  ["never closed", "[happy", []],
  ["closed on the next line", "[happy\n]", []],
  ["one that is never closed before one", "[a [happy]", ["happy"], "[a "],
  ["closed without an opening", "happy] [sad]", ["sad"], "happy] "],
  ["100 characters in brackets", `[${LONG}] [sad]`, ["sad"], `[${LONG}] `],
  ["100 characters and no end", `[${LONG}[sad]`, ["sad"], `[${LONG}`],
  ["100 spaces around a word", `[${" ".repeat(100)}happy]`, []],
  ["behind a quote mark", "> [happy] he said", ["happy"], ">  he said"],
  ["behind a list mark", "- [happy] a\n* [sad] b", ["happy", "sad"], "-  a\n*  b"],
  ["in bold", "**[happy]**", ["happy"], "****"],
  ["crossed out", "~~[happy]~~", ["happy"], "~~~~"],
  ["before a less-than sign", "[happy]<b>", ["happy"], "<b>"],
  ["after a less-than sign", "<[happy]", ["happy"], "<"],
];

const LINKS: readonly Case[] = [
  ["a link", "[happy](https://example.com)", []],
  ["a link and a tag", "[happy](u) [sad]", ["sad"], "[happy](u) "],
  ["an image", "![happy](u.png)", []],
  ["a space before the parenthesis", "[happy] (really)", ["happy"], " (really)"],
  ["a line end before the parenthesis", "[happy]\n(really)", ["happy"], "\n(really)"],
  ["an escaped parenthesis", "[happy]\\(x)", ["happy"], "\\(x)"],
  ["a tag right after a tag", "[happy][sad]", ["happy", "sad"], ""],
  ["a tag and a link", "[happy][sad](u)", ["happy"], "[sad](u)"],
  ["a link with a tag in its address", "[a]([happy])", ["happy"], "[a]()"],
];

const ESCAPES: readonly Case[] = [
  ["an escaped bracket", "\\[happy]", []],
  ["an escaped backslash", "\\\\[happy]", ["happy"], "\\\\"],
  ["three backslashes", "\\\\\\[happy]", []],
  ["an escaped end of it", "[happy\\]", []],
  ["an escaped backtick", "\\`[happy]\\`", ["happy"], "\\`\\`"],
  ["a backslash at the end", "[happy]\\", ["happy"], "\\"],
  ["a path of Windows", "C:\\[x]\\a [happy]", ["happy"], "C:\\[x]\\a "],
];

const FACES: readonly Case[] = [
  ["a face", "[face:joy]", ["joy"], ""],
  ["a face with a space and a capital", "[face: Joy]", ["joy"], ""],
  ["spaces everywhere", "[ face : joy ]", ["joy"], ""],
  ["capitals everywhere", "[FACE:JOY]", ["joy"], ""],
  ["the names of VRM 0", "[face:Sorrow][face:Fun][face:Angry]", ["sorrow", "fun", "angry"], ""],
  ["those names without a face", "[sorrow][fun]", []],
  ["a face that is none", "[face:nose]", []],
  ["a face without a word", "[face:]", []],
  ["other commands", "[anim:happy] [pause:1.5] [vision:camera] [lang:en-US]", []],
  ["a face that links", "[face:joy](u)", []],
];

const ACTS: readonly Case[] = [
  ["a name", '<|ACT {"emotion":"happy"}|> Hi', ["happy"], " Hi"],
  ["an intensity", '<|ACT {"emotion":{"name":"happy","intensity":0.4}}|>', ["happy 0.4"], ""],
  ["no intensity", '<|ACT {"emotion":{"name":"happy"}}|>', ["happy"], ""],
  ["an intensity of 0", '<|ACT {"emotion":{"name":"happy","intensity":0}}|>', ["happy 0"], ""],
  ["an intensity of 7", '<|ACT {"emotion":{"name":"happy","intensity":7}}|>', ["happy"], ""],
  ["an intensity below 0", '<|ACT {"emotion":{"name":"happy","intensity":-1}}|>', ["happy"], ""],
  ["an intensity in words", '<|ACT {"emotion":{"name":"happy","intensity":"much"}}|>', ["happy"], ""],
  ["a capital letter", '<|ACT {"emotion":"Happy"}|>', ["happy"], ""],
  ["small letters", '<|act {"emotion":"happy"}|>', ["happy"], ""],
  ["a colon and no braces", '<|ACT:"emotion":{"name":"think","intensity":0.5}|>', ["think 0.5"], ""],
  [
    "AIRI's own words",
    '<|ACT {"emotion":"awkward"}|><|ACT {"emotion":"question"}|>',
    ["awkward", "question"],
    "",
  ],
  ["the older form", "<|EMOTE_HAPPY|>", ["happy"], ""],
  ["more fields", '<|ACT {"motion":"wave","emotion":"sad","delay":1}|>', ["sad"], ""],
  ["AIRI's words in plain brackets", "[think][awkward]", []],
  ["broken JSON", '<|ACT {"emotion":"happy"|>', []],
  ["no JSON", "<|ACT happy|>", []],
  ["no emotion", '<|ACT {"motion":"wave"}|>', []],
  ["an unknown emotion", '<|ACT {"emotion":"hungry"}|>', []],
  ["an emotion that is a number", '<|ACT {"emotion":1}|>', []],
  ["an emotion that is null", '<|ACT {"emotion":null}|>', []],
  ["an emotion in a list", '<|ACT {"emotion":["happy"]}|>', []],
  ["a pause", "<|DELAY 1|> [happy]", ["happy"], "<|DELAY 1|> "],
  ["a longer word", '<|ACTOR {"emotion":"happy"}|>', []],
  ["never closed", '<|ACT {"emotion":"happy"}', []],
  ["never closed, and a tag on the next line", "<|ACT {\n[sad]", ["sad"], "<|ACT {\n"],
  ["never closed, and 600 characters", `<|ACT ${"x".repeat(600)}[sad]`, ["sad"], `<|ACT ${"x".repeat(600)}`],
  ["600 characters in it", `<|ACT {"x":"${"x".repeat(600)}","emotion":"happy"}|>`, []],
  ["as little as can be", "<|>", []],
  ["empty", "<||>", []],
  ["a smaller sign before it", '<<|ACT {"emotion":"happy"}|>', ["happy"], "<"],
  ["an operator of F# before a tag", "xs <| [happy] b", ["happy"], "xs <|  b"],
  ["behind a bracket that is never closed", '[see <|ACT {"emotion":"happy"}|>', ["happy"], "[see "],
  ["in code", '`<|ACT {"emotion":"happy"}|>`', [], '<|ACT {"emotion":"happy"}|>'],
  ["in a block", '```\n<|ACT {"emotion":"happy"}|>\n```\n', [], ""],
];

const CODE: readonly Case[] = [
  ["code", "`[happy]` [sad]", ["sad"], "[happy] "],
  ["code in two backticks", "``[happy]`` [sad]", ["sad"], "[happy] "],
  ["one backtick in code of two", "``a ` [happy] `` [sad]", ["sad"], "a  [happy]  "],
  ["two codes, and a tag between", "`a` [happy] `b`", ["happy"], "a  b"],
  ["a stray backtick, which ends with its line", "it`s [happy]\n[sad]", ["sad"], "its [happy]\n"],
  ["a stray backtick at the end", "[happy] `", ["happy"], " "],
  ["three backticks and their end, inside a line", "a ```[happy]``` [sad]", ["sad"], "a [happy] "],
  ["three backticks and their end, at the start of a line", "```[happy]``` [sad]", ["sad"]],
  ["three backticks and their end, at the start, and a line", "```[happy]```\n[sad]", ["sad"]],
  ["a backtick in a bracket", "[ha`ppy] [sad]`", [], "[happy] [sad]"],
  ["a backslash in code hides nothing", "`a\\` [happy]", ["happy"], "a\\ "],
  ["three backticks and their end, at the start, and words", "```inline``` b", [], "inline b"],
  ["a tilde is no code", "~[happy]~", ["happy"], "~~"],
];

const BLOCKS: readonly Case[] = [
  ["a block", "```\n[happy]\n```\n[sad]", ["sad"], ""],
  ["a block with a language", "a\n```js\n[happy]\n```\nb [sad]", ["sad"], "a\nb "],
  ["a block that is never closed", "```\n[happy]\n[sad]", [], ""],
  ["a block of tildes", "~~~\n[happy]\n~~~\n[sad]", ["sad"], ""],
  ["a block of tildes with backticks on its first line", "~~~ a`b`\n[happy]\n~~~\n[sad]", ["sad"], ""],
  ["tildes do not close backticks", "```\n[happy]\n~~~\n[sad]\n```\n[shy]", ["shy"], ""],
  ["backticks do not close tildes", "~~~\n[happy]\n```\n[sad]\n~~~\n[shy]", ["shy"], ""],
  ["fewer do not close more", "````\n```\n[happy]\n```\n````\n[sad]", ["sad"], ""],
  ["more close fewer", "```\n[happy]\n`````\n[sad]", ["sad"], ""],
  ["a line that goes on does not close", "```\n[happy]\n``` js\n[sad]\n```\n[shy]", ["shy"], ""],
  ["spaces after the end", "```\n[happy]\n```  \t\n[sad]", ["sad"], ""],
  ["spaces before both", "  ```\n  [happy]\n  ```\n[sad]", ["sad"]],
  ["in a quotation", "> ```\n> [happy]\n> ```\n[sad]", ["sad"], "> "],
  ["line ends of Windows", "```js\r\n[happy]\r\n```\r\n[sad]", ["sad"], ""],
  ["an empty block", "```\n```\n[sad]", ["sad"], ""],
  ["two blocks", "```\n[a]\n```\n[happy]\n```\n[sad]\n```\n", ["happy"], "\n"],
  ["two backticks open no block", "``\n[happy]\n``\n", ["happy"]],
  ["two tildes open no block", "~~\n[happy]\n~~\n", ["happy"], "~~\n\n~~\n"],
  ["a block after a tag and its line end", "[happy]\n```\n[sad]\n```\n", ["happy"], "\n"],
  ["backticks inside a line of a block", "```\na ``` b\n[happy]\n```\n[sad]", ["sad"], ""],
  ["emotion words in a block of 70 lines", "```\n" + "[happy]\n".repeat(70) + "```\n[sad]", ["sad"], ""],
  ["a block behind a list mark", "- ```\n  [happy]\n  ```\n[sad] x", ["sad"], "-  x"],
  ["a block behind a number", "1. ```js\n   [happy]\n   ```\n[sad] x", ["sad"], "1.  x"],
  ["a block that opens behind words", "Here: ```js\n[happy]\n```\n[sad] x", ["sad"], "Here:  x"],
  ["a block that opens behind a tag", "[happy] ```js\n[shy]\n```\n[sad] x", ["happy", "sad"], "  x"],
];

const TABLES = {
  tags: TAGS,
  links: LINKS,
  escapes: ESCAPES,
  faces: FACES,
  ACT: ACTS,
  code: CODE,
  blocks: BLOCKS,
};

for (const [table, cases] of Object.entries(TABLES)) {
  for (const [name, text, expected, speech = expected.length === 0 ? text : undefined] of cases) {
    Deno.test(`EmotionScanner, ${table}: ${name}`, () => {
      const found = assertSameInPieces(text, name);
      assertEquals(emotionsIn(found), expected);
      if (speech !== undefined) assertEquals(speechOf(found), speech);
    });
  }
}

/** Parts of tags, links and escapes, but not of code. */
const PLAIN = [
  ...["[", "]", "[", "]", "(", ")", "\\", "|", "<", ">", "<|", "|>", ":", "~", "\n", " ", "\r\n"],
  ...["happy", "Sad", "joyful", "face", "face:", "[happy]", "[face: Joy]", "[1]", "](", "x"],
  ...['<|ACT {"emotion":"shy"}|>', '<|ACT {"emotion":{"name":"sad","intensity":0.5}}|>', "<|ACT ", "|"],
  ...["語", "😀", "\ud83d", "\ude00", "こんにちは"],
];
/** The same and code. */
const WITH_CODE = [
  ...PLAIN,
  "`",
  "`",
  "``",
  "```",
  "```",
  "````",
  "~~~",
  "~~~~",
  "\n",
  "\n",
  "\n```\n",
  "js",
  "> ",
];

const SEEDS = Array.from({ length: 150 }, (_, seed) => seed);

for (const [name, words] of [["without code", PLAIN], ["with code", WITH_CODE]] as const) {
  Deno.test(`EmotionScanner: finds the same in a text ${name}, however it is cut`, () => {
    for (const seed of SEEDS) {
      const random = new Random(seed);
      const text = random.text(words, 40);
      assertSameInPieces(text, `seed ${seed}: ${JSON.stringify(text)}`, random);
    }
  });

  Deno.test(`EmotionScanner: finds the same in a long text ${name}, however it is cut`, () => {
    const random = new Random(1);
    const text = random.text(words, 20_000);
    const whole = scan([text]);
    for (const longest of [1, 2, 3, 7, 40, 200, 5_000]) {
      assertEquals(scan(random.cut(text, longest)), whole, `pieces of up to ${longest}`);
    }
  });
}

Deno.test("EmotionScanner: speech and tags are the whole text, if it has no code", () => {
  for (const seed of SEEDS) {
    const text = new Random(1_000 + seed).text(PLAIN, 60).replace(/~{3,}/g, "~~");
    assertNothingLost(text, scan([text]), false);
  }
});

Deno.test("EmotionScanner: only backticks are lost, if the text has no blocks", () => {
  let checked = 0;
  for (const seed of SEEDS) {
    const text = new Random(2_000 + seed).text(WITH_CODE, 30);
    if (/`{3,}|^(?:\[[^\]]*\]|<\|[^\n]*?\|>|[ \t\r>])*~{3,}/m.test(text)) continue;
    assertNothingLost(text, scan([text]), true);
    checked++;
  }
  assertEquals(checked > 30, true, `only ${checked} texts`);
});

Deno.test("EmotionScanner: a sink without speak gets the same emotions", () => {
  for (const seed of SEEDS) {
    const random = new Random(seed);
    const text = random.text(WITH_CODE, 40);
    const found: string[] = [];
    const scanner = new EmotionScanner(WORDS, {
      emotion: (tag, intensity) => void found.push(intensity === 1 ? tag : `${tag} ${intensity}`),
    });
    for (const piece of random.cut(text)) scanner.push(piece);
    scanner.end();
    assertEquals(found, emotionsOf(text), JSON.stringify(text));
  }
});

Deno.test("EmotionScanner: passes plain text on at once, and holds back the start of a tag", () => {
  const speech: string[] = [];
  const scanner = new EmotionScanner(WORDS, { emotion() {}, speak: (text) => void speech.push(text) });
  const after = (piece: string) => {
    scanner.push(piece);
    return speech.splice(0);
  };
  assertEquals(after("Hello"), ["Hello"]);
  assertEquals(after(" [ha"), [" "]);
  assertEquals(after("t]"), []);
  assertEquals(after(" x"), ["[hat] x"]);
  assertEquals(after("[happy]"), []);
  assertEquals(after("!"), ["!"]);
  scanner.end();
  assertEquals(speech, []);
});

Deno.test("EmotionScanner: keeps the order of speech and emotions", () => {
  assertEquals(scan(["a [happy] b [sad]"]), [
    "a ",
    { tag: "happy", intensity: 1 },
    " b ",
    { tag: "sad", intensity: 1 },
  ]);
});

Deno.test("EmotionScanner: a complete tag at a pause is no link", () => {
  const found: string[] = [];
  const scanner = new EmotionScanner(WORDS, {
    emotion: (tag) => void found.push(tag),
    speak: (text) => void found.push(`speech ${text}`),
  });
  scanner.push("[happy]");
  assertEquals(found, []);
  scanner.pause();
  assertEquals(found, ["happy"]);
  scanner.pause();
  scanner.push("(u)");
  scanner.push("[sa");
  scanner.pause();
  scanner.push("d]");
  scanner.end();
  assertEquals(found, ["happy", "speech (u)", "sad"]);
});

const SKINS: Readonly<Record<string, string>> = {
  AniCompanion:
    "neutral happy sad angry surprised curious excited shy love smirk sleepy proud disgusted pain laugh bored",
  "Open-LLM-VTuber": "neutral anger disgust fear joy smirk sadness surprise",
  ChatVRM: "neutral happy angry sad relaxed",
  "AITuber-kit": "neutral happy angry sad relaxed surprised",
  Amica: "neutral happy angry sad relaxed Surprised Shy Jealous Bored Serious Suspicious Victory Sleep Love",
};
for (const [skin, words] of Object.entries(SKINS)) {
  Deno.test(`emotionWords: has the words of ${skin}`, () => {
    for (const word of words.split(" ")) assertEquals(emotionsOf(`[${word}]`), [word.toLowerCase()]);
  });
}

Deno.test("emotionWords: ChatdollKit's words are faces, AIRI's are acts", () => {
  for (const word of "Neutral Joy Angry Sorrow Fun Surprised".split(" ")) {
    assertEquals(emotionsOf(`[face:${word}]`), [word.toLowerCase()]);
  }
  for (const word of "happy sad angry think surprised awkward question curious neutral".split(" ")) {
    assertEquals(emotionsOf(`<|ACT {"emotion":"${word}"}|>`), [word]);
  }
});

const EVERYWHERE = (word: string) => `[${word}] [face:${word}] <|ACT {"emotion":"${word}"}|>`;
const OWN: readonly [name: string, own: readonly string[], word: string, times: number][] = [
  ["a user's word", ["hungry"], "hungry", 3],
  ["replaces the skins' words", ["hungry"], "happy", 0],
  ["replaces ChatdollKit's words", ["hungry"], "fun", 0],
  ["with a plus it is added", ["+hungry"], "hungry", 3],
  ["with a plus the skins' words stay", ["+hungry", "cold"], "happy", 3],
  ["the plus counts for the whole list", ["+hungry", "cold"], "cold", 3],
  ["in any case", ["HunGry"], "hungry", 3],
  ["with spaces", [" hungry "], "hungry", 3],
  ["in another script", ["嬉しい"], "嬉しい", 3],
  ["no words: the skins' words", [], "happy", 3],
  ["empty words only: the skins' words", ["", " "], "happy", 3],
  ["a plus alone: the skins' words", ["+"], "happy", 3],
];
for (const [name, own, word, times] of OWN) {
  Deno.test(`emotionWords: ${name}`, () => {
    assertEquals(emotionsOf(EVERYWHERE(word), emotionWords(own)), Array(times).fill(word));
  });
}

Deno.test("EmotionScanner: many starts of a tag take linear time", () => {
  assertEquals(emotionsOf("<|".repeat(500_000) + '<|ACT {"emotion":"happy"}|>'), ["happy"]);
});
