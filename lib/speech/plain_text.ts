/** Makes text that a voice can speak. Pure. @module */

import { EmotionScanner, type EmotionWords, emotionWords } from "../turn/emotion.ts";

/** Returns a text without emotion tags, Markdown, code blocks, tables and addresses. */
export function speakable(text: string, words: EmotionWords = emotionWords()): string {
  let spoken = "";
  const scanner = new EmotionScanner(words, { emotion() {}, speak: (piece) => void (spoken += piece) });
  scanner.push(text);
  scanner.end();
  return spoken
    .replace(/!?\[([^\]\n]*)\]\([^)\n]*\)/g, "$1")
    .replace(/<?\bhttps?:\/\/[^\s<>]*[^\s<>.,;:!?]>?/g, "")
    .replace(/^[ \t]*\|.*\|[ \t]*$\n?/gm, "")
    .replace(/^[ \t]*(?:#{1,6}|[-*+]|>)[ \t]+/gm, "")
    .replace(/(\*{1,3}|~~|__)(?=\S)([^\n]*?\S)\1/g, "$2")
    .replace(/\p{Extended_Pictographic}[\u{1f3fb}-\u{1f3ff}\ufe0f\u200d]*/gu, "")
    .trim();
}
