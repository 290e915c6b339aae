import { assertEquals } from "@std/assert";
import { speakable } from "../../lib/speech/plain_text.ts";
import { emotionWords } from "../../lib/turn/emotion.ts";

const TEXTS: readonly (readonly [name: string, text: string, speech: string])[] = [
  ["plain text", "Hello, world!", "Hello, world!"],
  ["nothing", "", ""],
  ["emotion tags", '[happy] Hi [sad] there <|ACT {"emotion":"shy"}|>!', "Hi there !"],
  ["only tags", "[happy]", ""],
  ["commands of skins", "[anim:wave] Hi. [pause:1.5]", "Hi."],
  ["code", "Run `deno test` now:\n```sh\ndeno test\n```\nDone.", "Run deno test now:\nDone."],
  ["only code", "```\nx\n```", ""],
  ["Markdown", "# Title\n\n- **one**\n- *two*\n\n> ~~three~~", "Title\n\none\ntwo\n\nthree"],
  ["a table", "Look:\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nNice.", "Look:\n\nNice."],
  ["a link", "See [the docs](https://example.com/x) or https://example.com/y now.", "See the docs or now."],
  ["an image", "![a cat](https://x.y/z.png)Cute.", "Cute."],
  ["emoji", "Great 🎉🎉 work!", "Great work!"],
  ["Japanese", "[happy] **こんにちは**！\n- 一\n- 二", "こんにちは！\n一\n二"],
];
for (const [name, text, speech] of TEXTS) {
  Deno.test(`speakable: ${name}`, () => assertEquals(speakable(text), speech));
}

Deno.test("speakable: leaves out the user's own emotion words", () => {
  assertEquals(speakable("[hungry] Hi", emotionWords(["hungry"])), "Hi");
  assertEquals(speakable("[hungry] Hi"), "[hungry] Hi");
});
