/** Prepares the agent's text for skins that speak it: pure, and independent of how the text is cut. @module */

/** Ends of a line for a skin that speaks sentence by sentence (ChatVRM). */
const LINE_END = /[\n。．！？]/;
const LINE_ENDS = /[\n。．！？]/g;
/** Line breaks that ChatVRM and others cannot read. */
const OTHER_BREAK = /\r\n?|[\u2028\u2029]/g;
/** Emotion tags at the start of a reply or a line: `[happy]`, `[face:Joy] [pause:1.5]`. */
export const LEADING_TAGS = /^(?:\s*\[[A-Za-z][\w:.,\- ]{0,31}\])+/;
/** Longest start of a line that is checked for tags, in characters. */
const HEAD_CHARS = 128;
/** The reply of an agent that has nothing to say. Skins compare it as a whole. */
const SILENT_REPLY = "[silent]";

/** The result of {@linkcode scanPlain} for a text that is not plain. */
export const NOT_PLAIN = -1;

/**
 * Looks at each character once, on the token path. Most tokens are plain: without line ends, colons, surrogates and
 * characters that JSON escapes. A plain text goes into a frame as it is.
 *
 * @returns How many characters lie above U+02FF, or {@linkcode NOT_PLAIN}.
 */
export function scanPlain(text: string): number {
  let wide = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x80) {
      if (code < 0x20 || code === 0x22 || code === 0x3a || code === 0x5c) return NOT_PLAIN;
    } else if (code > 0x2ff) {
      if (code >= 0xd800 && code <= 0xdfff || NOT_PLAIN_WIDE.includes(code)) return NOT_PLAIN;
      wide++;
    } else if (code === 0x85) {
      return NOT_PLAIN;
    }
  }
  return wide;
}

/** U+2028, U+2029, and the line ends `。．！？`. */
const NOT_PLAIN_WIDE = [0x2028, 0x2029, 0x3002, 0xff0e, 0xff01, 0xff1f];

/**
 * Removes line breaks before the first word of the reply, and between the tags that open a line and its first word,
 * because ChatVRM stops speaking there. Turns other line breaks into `\n` and ends the reply with `\n`, because ChatVRM
 * never speaks what follows the last line end. Joins the halves of a surrogate pair. Keeps the rest verbatim.
 */
export class SkinText {
  /** The start of the line, as long as it may consist of tags alone. */
  #head: string | undefined = "";
  /** The first half of a surrogate pair or of `\r\n`, whose second half may come with the next piece. */
  #half = "";
  #last = "";

  /** Adds a piece of the reply and returns the text that can be sent now. */
  push(piece: string): string {
    const text = this.#half + piece;
    this.#half = /[\ud800-\udbff\r]$/.exec(text)?.[0] ?? "";
    return this.#prepare(text.slice(0, text.length - this.#half.length));
  }

  /** Adds a plain piece, which can be sent as it is. @returns False if {@linkcode push} has to add the piece. */
  pushPlain(piece: string): boolean {
    if (this.#half !== "") return false;
    this.#addToHead(piece);
    this.#last = piece.slice(-1);
    return true;
  }

  /** Returns the text that ends the reply. @param isBroken A sentence follows that is not the agent's. */
  end(isBroken = false): string {
    const rest = this.#prepare(this.#half);
    if (isBroken) return this.#last === "\n" ? rest : rest + this.#prepare("\n");
    const isComplete = this.#last === "" || this.#last === "\n" || this.#head === SILENT_REPLY;
    return isComplete ? rest : rest + "\n";
  }

  #prepare(piece: string): string {
    const text = piece.replace(OTHER_BREAK, "\n");
    const prepared = (LINE_END.test(text) ? this.#withoutMuteBreaks(text) : this.#addToHead(text))
      .toWellFormed();
    this.#last = prepared.at(-1) ?? this.#last;
    return prepared;
  }

  #addToHead(text: string): string {
    if (this.#head !== undefined) {
      this.#head = this.#head.length + text.length > HEAD_CHARS ? undefined : this.#head + text;
    }
    return text;
  }

  #withoutMuteBreaks(text: string): string {
    let kept = "";
    let start = 0;
    for (const { 0: end, index } of text.matchAll(LINE_ENDS)) {
      kept += this.#addToHead(text.slice(start, index));
      start = index + 1;
      if (end === "\n" && this.#isMute(kept)) continue;
      kept += end;
      this.#head = "";
    }
    return kept + this.#addToHead(text.slice(start));
  }

  /** Whether a line break at this point would come before the first word of the reply or of a line with tags. */
  #isMute(kept: string): boolean {
    if (this.#last === "" && kept === "") return true;
    const head = this.#head?.trimEnd();
    return head !== undefined && head.endsWith("]") && LEADING_TAGS.exec(head)?.[0] === head;
  }
}

/** Characters of one event: about a kilobyte in any script. */
export const MAX_DELTA_CHARS = 341;
/** A sentence with all that ends it, or the rest. */
const SENTENCE = /[^\n。．！？]*[\n。．！？]+|[^\n。．！？]+/g;
/** The position between what may be a tag and a line break. */
const BREAK_AFTER_TAG = /(?<=\])(?=\n)/g;

/**
 * Splits text into events of at most about a kilobyte, without cutting a character. ChatVRM speaks at most one sentence
 * per event, so a sentence ends an event. ChatVRM stops at a line break with nothing before it, as after a sentence or
 * a tag that it has already taken: there a space goes before the line break.
 */
export function splitDeltas(text: string): string[] {
  if (!LINE_END.test(text)) return splitBySize(text);
  const sentences = text.replace(BREAK_AFTER_TAG, " ").match(SENTENCE) ?? [];
  return sentences.flatMap(splitBySize).map((piece) => piece.startsWith("\n") ? " " + piece : piece);
}

/** Splits text into events of at most about a kilobyte, without cutting a character. */
export function splitBySize(text: string): string[] {
  const pieces: string[] = [];
  for (let start = 0, end; start < text.length; start = end) {
    end = Math.min(start + MAX_DELTA_CHARS, text.length);
    if (end < text.length && /[\ud800-\udbff]/.test(text[end - 1]!)) end--;
    pieces.push(text.slice(start, end));
  }
  return pieces;
}
