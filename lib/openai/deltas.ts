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

/**
 * Cuts a reply into what goes into each event. ChatVRM takes one sentence an event, so a sentence ends an event; and it
 * never gets over a line break that it meets with nothing before it, so that one which comes alone after the end of a
 * sentence is led in by a space.
 */
export class Deltas {
  #ended = false;

  /** The pieces that the next part of the reply makes; none is longer than about a kilobyte or cuts a character. */
  push(text: string): string[] {
    const mute = this.#ended && (text.startsWith("\n") || text.startsWith("\r"));
    this.#ended = SENTENCE_END.test(text.slice(-1));
    const led = mute ? " " + text : text;
    if (!SENTENCE_END.test(led)) return sized(led);
    return led.match(SENTENCE)?.flatMap(sized) ?? [];
  }
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
