import { assertEquals } from "@std/assert";
import { EmotionScanner, type EmotionWords, emotionWords } from "../../lib/turn/emotion.ts";
import { Random, unitByUnit } from "../support/harness/random.ts";

const WORDS = emotionWords();

/** Speech and emotions in the order of the text. */
type ScannedItems = (string | { tag: string; intensity: number })[];

/** Scans pieces, and joins the speech between two emotions. */
function scan(pieces: readonly string[], words: EmotionWords = WORDS): ScannedItems {
  const found: ScannedItems = [];
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

const speechOf = (found: ScannedItems) => found.filter((item) => typeof item === "string").join("");
/** The emotions, with the intensity if it is not 1. */
const emotionsIn = (found: ScannedItems) =>
  found.flatMap((item) =>
    typeof item === "string" ? [] : [item.intensity === 1 ? item.tag : `${item.tag} ${item.intensity}`]
  );
const emotionsOf = (text: string, words?: EmotionWords) => emotionsIn(scan([text], words));

/** Asserts that a text has the same findings however it is cut. */
function assertSameInPieces(text: string, name: string, random = new Random(text.length)): ScannedItems {
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

const LONG = "x".repeat(100);

/** A text, its emotions, and its speech. Without emotions the speech defaults to the text. */
type Case = readonly [name: string, text: string, emotions: readonly string[], spoken?: string];

const TAGS: readonly Case[] = [
  ["nothing", "", []],
  ["a tag", "[happy] Hello!", ["happy"], " Hello!"],
  ["a tag at the very end", "Bye! [sad]", ["sad"], "Bye! "],
  ["a tag and a line end", "[sad]\n", ["sad"], "\n"],
  ["the same tag twice is two", "[happy][happy]", ["happy", "happy"], ""],
  ["several", "[happy] a [sad] b [shy]", ["happy", "sad", "shy"], " a  b "],
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
  ["a footnote", "As said[1].", []],
  ["a word of code", "list[0] = [happy_path]", []],
  ["full-width brackets", "【happy】［sad］", []],
  ["never closed", "[happy", []],
  ["closed on the next line", "[happy\n]", []],
  ["one that is never closed before one", "[a [happy]", ["happy"], "[a "],
  ["closed without an opening", "happy] [sad]", ["sad"], "happy] "],
  ["100 characters in brackets", `[${LONG}] [sad]`, ["sad"], `[${LONG}] `],
  ["100 characters and no end", `[${LONG}[sad]`, ["sad"], `[${LONG}`],
  ["100 spaces around a word", `[${" ".repeat(100)}happy]`, []],
  ["behind a quote mark", "> [happy] he said", ["happy"], ">  he said"],
  ["behind a list mark", "- [happy] a\n* [sad] b", ["happy", "sad"], "-  a\n*  b"],
  ["crossed out", "~~[happy]~~", ["happy"], "~~~~"],
  ["after a less-than sign", "<[happy]", ["happy"], "<"],
];

const LINKS: readonly Case[] = [
  ["a link", "[happy](https://example.com)", []],
  ["an image", "![happy](u.png)", []],
  ["a space before the parenthesis", "[happy] (really)", ["happy"], " (really)"],
  ["a line end before the parenthesis", "[happy]\n(really)", ["happy"], "\n(really)"],
  ["a tag right after a tag", "[happy][sad]", ["happy", "sad"], ""],
  ["a tag and a link", "[happy][sad](u)", ["happy"], "[sad](u)"],
  ["a link with a tag in its address", "[a]([happy])", ["happy"], "[a]()"],
];

const ESCAPES: readonly Case[] = [
  ["an escaped bracket", "\\[happy]", []],
  ["an escaped backslash", "\\\\[happy]", ["happy"], "\\\\"],
  ["an escaped end of it", "[happy\\]", []],
  ["an escaped backtick", "\\`[happy]\\`", ["happy"], "\\`\\`"],
  ["a backslash at the end", "[happy]\\", ["happy"], "\\"],
  ["a path of Windows", "C:\\[x]\\a [happy]", ["happy"], "C:\\[x]\\a "],
];

const FACES: readonly Case[] = [
  ["a face", "[face:joy]", ["joy"], ""],
  ["a face with a space and a capital", "[face: Joy]", ["joy"], ""],
  ["the names of VRM 0", "[face:Sorrow][face:Fun][face:Angry]", ["sorrow", "fun", "angry"], ""],
  ["those names without a face", "[sorrow][fun]", []],
  ["a face that is none", "[face:nose]", []],
  ["other commands", "[anim:happy] [pause:1.5] [vision:camera] [lang:en-US]", []],
  ["a face that links", "[face:joy](u)", []],
];

const ACTS: readonly Case[] = [
  ["a name", '<|ACT {"emotion":"happy"}|> Hi', ["happy"], " Hi"],
  ["an intensity", '<|ACT {"emotion":{"name":"happy","intensity":0.4}}|>', ["happy 0.4"], ""],
  ["no intensity", '<|ACT {"emotion":{"name":"happy"}}|>', ["happy"], ""],
  ["an intensity of 7", '<|ACT {"emotion":{"name":"happy","intensity":7}}|>', ["happy"], ""],
  ["an intensity below 0", '<|ACT {"emotion":{"name":"happy","intensity":-1}}|>', ["happy"], ""],
  ["a capital letter", '<|ACT {"emotion":"Happy"}|>', ["happy"], ""],
  ["small letters", '<|act {"emotion":"happy"}|>', ["happy"], ""],
  ["a colon and no braces", '<|ACT:"emotion":{"name":"think","intensity":0.5}|>', ["think 0.5"], ""],
  [
    "AIRI's own words",
    '<|ACT {"emotion":"awkward"}|><|ACT {"emotion":"question"}|>',
    ["awkward", "question"],
    "",
  ],
  ["more fields", '<|ACT {"motion":"wave","emotion":"sad","delay":1}|>', ["sad"], ""],
  ["AIRI's words in plain brackets", "[think][awkward]", []],
  ["broken JSON", '<|ACT {"emotion":"happy"|>', []],
  ["no emotion", '<|ACT {"motion":"wave"}|>', []],
  ["an unknown emotion", '<|ACT {"emotion":"hungry"}|>', []],
  ["an emotion that is null", '<|ACT {"emotion":null}|>', []],
  ["a pause", "<|DELAY 1|> [happy]", ["happy"], "<|DELAY 1|> "],
  ["a longer word", '<|ACTOR {"emotion":"happy"}|>', []],
  ["never closed", '<|ACT {"emotion":"happy"}', []],
  ["never closed, and a tag on the next line", "<|ACT {\n[sad]", ["sad"], "<|ACT {\n"],
  ["never closed, and 600 characters", `<|ACT ${"x".repeat(600)}[sad]`, ["sad"], `<|ACT ${"x".repeat(600)}`],
  ["600 characters in it", `<|ACT {"x":"${"x".repeat(600)}","emotion":"happy"}|>`, []],
  ["a smaller sign before it", '<<|ACT {"emotion":"happy"}|>', ["happy"], "<"],
  ["an operator of F# before a tag", "xs <| [happy] b", ["happy"], "xs <|  b"],
  ["behind a bracket that is never closed", '[see <|ACT {"emotion":"happy"}|>', ["happy"], "[see "],
  ["in code", '`<|ACT {"emotion":"happy"}|>`', [], '<|ACT {"emotion":"happy"}|>'],
];

const CODE: readonly Case[] = [
  ["code", "`[happy]` [sad]", ["sad"], "[happy] "],
  ["code in two backticks", "``[happy]`` [sad]", ["sad"], "[happy] "],
  ["one backtick in code of two", "``a ` [happy] `` [sad]", ["sad"], "a  [happy]  "],
  ["two codes, and a tag between", "`a` [happy] `b`", ["happy"], "a  b"],
  ["a stray backtick, which ends with its line", "it`s [happy]\n[sad]", ["sad"], "its [happy]\n"],
  ["a stray backtick at the end", "[happy] `", ["happy"], " "],
  ["three backticks and their end, at the start, and a line", "```[happy]```\n[sad]", ["sad"]],
  ["a backtick in a bracket", "[ha`ppy] [sad]`", [], "[happy] [sad]"],
  ["a backslash in code hides nothing", "`a\\` [happy]", ["happy"], "a\\ "],
];

const BLOCKS: readonly Case[] = [
  ["three backticks and their end, inside a line", "a ```[happy]``` b [sad]", ["sad"], "a b "],
  ["a block", "```\n[happy]\n```\n[sad]", ["sad"], ""],
  ["a block with a language", "a\n```js\n[happy]\n```\nb [sad]", ["sad"], "a\nb "],
  ["a block that is never closed", "```\n[happy]\n[sad]", [], ""],
  ["fewer do not close more", "````\n```\n[happy]\n```\n````\n[sad]", ["sad"], ""],
  ["more close fewer", "```\n[happy]\n`````\n[sad]", ["sad"], ""],
  ["spaces after the end", "```\n[happy]\n```  \t\n[sad]", ["sad"], ""],
  ["in a quotation", "> ```\n> [happy]\n> ```\n[sad]", ["sad"], "> "],
  ["line ends of Windows", "```js\r\n[happy]\r\n```\r\n[sad]", ["sad"], ""],
  ["two blocks", "```\n[a]\n```\n[happy]\n```\n[sad]\n```\n", ["happy"], "\n"],
  ["emotion words in a block of 70 lines", "```\n" + "[happy]\n".repeat(70) + "```\n[sad]", ["sad"], ""],
  ["a block behind a list mark", "- ```\n  [happy]\n  ```\n[sad] x", ["sad"], "-  x"],
  ["a block that opens behind words", "Here: ```js\n[happy]\n```\n[sad] x", ["sad"], "Here:  x"],
  ["a block that opens behind a tag", "[happy] ```js\n[shy]\n```\n[sad] x", ["happy", "sad"], "  x"],
];

Deno.test("EmotionScanner: shows 1,000 emotions of a text, and speaks no tag", () => {
  const found = scan(["[happy]a".repeat(1_500)]);
  assertEquals(emotionsIn(found).length, 1_000);
  assertEquals(speechOf(found), "a".repeat(1_500));
});

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
const WITH_CODE = [...PLAIN, ..."` ` `` ``` ``` ````".split(" "), "\n", "\n```\n", "``` ", "js"];

const SEEDS = Array.from({ length: 150 }, (_, seed) => seed);

for (const [name, words] of [["without code", PLAIN], ["with code", WITH_CODE]] as const) {
  Deno.test(`EmotionScanner: finds the same in a text ${name}, however it is cut`, () => {
    for (const seed of SEEDS) {
      const random = new Random(seed);
      const text = random.text(words, 40);
      assertSameInPieces(text, `seed ${seed}: ${JSON.stringify(text)}`, random);
    }
    const random = new Random(1);
    const text = random.text(words, 20_000);
    const whole = scan([text]);
    for (const longest of [1, 7, 200, 5_000]) {
      assertEquals(scan(random.cut(text, longest)), whole, `pieces of up to ${longest}`);
    }
  });
}

Deno.test("EmotionScanner: verbatim speech and tags are the whole text", () => {
  for (const seed of SEEDS) {
    const text = new Random(1_000 + seed).text(WITH_CODE, 60);
    let rest = text;
    const take = (piece: string) => {
      assertEquals(
        rest.startsWith(piece),
        true,
        `lost before ${JSON.stringify(rest)} of ${JSON.stringify(text)}`,
      );
      rest = rest.slice(piece.length);
    };
    const scanner = new EmotionScanner(WORDS, {
      isVerbatim: true,
      emotion: (tag) => {
        const written = /^(?:\[\s*(?:face\s*:)?\s*(\w+)\s*\]|<\|[^\n]*?"(shy|sad)"[^\n]*?\|>)/i.exec(rest)!;
        assertEquals((written[1] ?? written[2])!.toLowerCase(), tag);
        take(written[0]);
      },
      speak: take,
    });
    scanner.push(text);
    scanner.end();
    assertEquals(rest, "");
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
  ["a user's word, in any case and with spaces", [" HunGry "], "hungry", 3],
  ["replaces the skins' words", ["hungry"], "happy", 0],
  ["replaces ChatdollKit's words", ["hungry"], "fun", 0],
  ["with a plus the skins' words stay", ["+hungry", "cold"], "happy", 3],
  ["the plus counts for the whole list", ["+hungry", "cold"], "cold", 3],
  ["in another script", ["嬉しい"], "嬉しい", 3],
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
