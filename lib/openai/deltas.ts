/** A reply in pieces, one to an event: pure. @module */

import { isPlain } from "./plain.ts";

/** Characters of text in one event: about a kilobyte, whatever the language. */
const MAX_ASCII_CHARS = 1024;
const MAX_WIDE_CHARS = 341;
// deno-lint-ignore no-control-regex -- the range is ASCII
const ASCII = /^[\x00-\x7f]*$/;
/** Where ChatVRM ends a sentence. */
const SENTENCE_END = /[\n。．！？]/;
/** A sentence with all that ends it, or the rest. */
const SENTENCE = /[^\n。．！？]*[\n。．！？]+|[^\n。．！？]+/g;
/** A line break right after what may be a tag. */
const BREAK_AFTER_TAG = /(?<=\])(?=\n)/g;

/**
 * The events that a part of a reply makes; none is longer than about a kilobyte or cuts a character. ChatVRM takes one
 * sentence an event, so a sentence ends an event. It never gets over a line break that it meets with nothing before
 * it, as after a sentence or a tag that it has taken already: there a space leads it in.
 */
export function deltas(text: string): string[] {
  if (text.length <= MAX_WIDE_CHARS && isPlain(text)) return [text];
  if (!SENTENCE_END.test(text)) return sized(text);
  const sentences = text.replace(BREAK_AFTER_TAG, " ").match(SENTENCE) ?? [];
  return sentences.flatMap(sized).map((piece) => piece.startsWith("\n") ? " " + piece : piece);
}

function sized(text: string): string[] {
  const max = ASCII.test(text) ? MAX_ASCII_CHARS : MAX_WIDE_CHARS;
  if (text.length <= max) return [text];
  const found: string[] = [];
  for (let start = 0; start < text.length;) {
    let end = Math.min(start + max, text.length);
    const last = text.charCodeAt(end - 1);
    if (end < text.length && last >= 0xd800 && last <= 0xdbff) end--;
    found.push(text.slice(start, end));
    start = end;
  }
  return found;
}
