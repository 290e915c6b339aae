/** A reply in pieces, one to an event: pure. @module */

/** Characters of text in one event: about a kilobyte, whatever the language. */
const MAX_ASCII_CHARS = 1024;
const MAX_WIDE_CHARS = 341;
// deno-lint-ignore no-control-regex -- the range is ASCII
const ASCII = /^[\x00-\x7f]*$/;
/** Where ChatVRM ends a sentence. */
const SENTENCE_END = /[\n\r。．！？]/;
/** A sentence with all that ends it, or the rest. */
const SENTENCE = /[^\n\r。．！？]*[\n\r。．！？]+|[^\n\r。．！？]+/g;

/** A line break at the start, or right after what may be a tag. */
const BARE_BREAK = /^(?=[\n\r])|(?<=\])(?=[\n\r])/g;

/**
 * The events that a part of a reply makes; none is longer than about a kilobyte or cuts a character. ChatVRM takes one
 * sentence an event, so a sentence ends an event. It never gets over a line break that it meets with nothing before
 * it, as after a sentence or a tag that it has taken already: there a space leads it in.
 */
export function deltas(text: string): string[] {
  if (!SENTENCE_END.test(text)) return sized(text);
  return text.replace(BARE_BREAK, " ").match(SENTENCE)?.flatMap(sized) ?? [];
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
