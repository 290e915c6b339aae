// @ts-check
/** Finds the next sentence of a text that still grows, for a voice that speaks a sentence at a time. @module */

/** Characters of the longest sentence. A longer one is divided at a clause, a space, or anywhere. */
export const MAX_SENTENCE_CHARS = 250;

/** The end of a sentence, with the character behind it that makes it certain; quotes belong to their sentence. */
const END = /[.!?…]+["'”’)\]]*(?=\s)|[。！？｡]+[」』”’）]*(?=[^。！？｡」』”’）])|\n/g;
/** A word with a point that ends no sentence: a title, an initial, the number of a list. */
const NO_END = /(?:^|[\s("“])(?:Dr|Mr|Mrs|Ms|Prof|St|No|vs|e\.g|i\.e|z\.B|etc|\p{Lu}|\d{1,3})\.$/u;

/**
 * Returns the next sentence from a position on, or `undefined` until it is complete.
 *
 * @param {string} text The text so far.
 * @param {number} from
 * @param {boolean} isComplete Whether the text is over.
 * @returns {{ start: number, end: number } | undefined} `end` is behind the sentence.
 */
export function nextSentence(text, from, isComplete) {
  const start = from + (/\S/.exec(text.slice(from))?.index ?? text.length);
  if (start >= text.length) return undefined;
  const limit = start + MAX_SENTENCE_CHARS;
  END.lastIndex = start;
  for (let match = END.exec(text); match !== null; match = END.exec(text)) {
    const end = match.index + match[0].trimEnd().length;
    if (end > limit) break;
    if (!NO_END.test(text.slice(start, end))) return { start, end };
  }
  if (text.length > limit) return { start, end: divide(text, start, limit) };
  return isComplete ? { start, end: start + text.slice(start).trimEnd().length } : undefined;
}

/** Finds where a sentence that is too long is divided. @param {string} text @param {number} start @param {number} limit */
function divide(text, start, limit) {
  const part = text.slice(start, limit);
  const clause = Math.max(...[", ", "; ", ": ", "、", "，", "；"].map((mark) => part.lastIndexOf(mark)));
  if (clause > 0) return start + clause + 1;
  const space = part.search(/\s\S*$/);
  if (space > 0) return start + space;
  // A character of two units stays whole.
  return /[\ud800-\udbff]$/.test(part) ? limit - 1 : limit;
}

/**
 * Returns what a voice gets of a sentence: without pictographs. Empty if nothing can be spoken.
 *
 * @param {string} sentence
 */
export function speakableText(sentence) {
  const text = sentence.replace(/\p{Extended_Pictographic}[\u{1f3fb}-\u{1f3ff}\ufe0f\u200d]*/gu, "").trim();
  return /[\p{L}\p{N}]/u.test(text) ? text : "";
}
