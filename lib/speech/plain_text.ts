/** Makes text that a voice can speak. Pure. @module */

import { type EmotionWords, emotionWords } from "../turn/emotion.ts";
import { SpeechScan } from "../turn/speech_scan.ts";

/** Returns the speech of a text, as turns have it: without emotion tags, Markdown, code blocks, tables and addresses. */
export function speakable(text: string, words: EmotionWords = emotionWords()): string {
  let speech = "";
  const scan = new SpeechScan(words, () => true, (event) => {
    if (event.type === "speech") speech += event.text;
  });
  scan.push(text);
  scan.end();
  // The spaces around what was left out.
  return speech.replace(/[ \t]+/g, " ").replace(/^ | $/gm, "").replace(/\n{3,}/g, "\n\n").trim();
}
