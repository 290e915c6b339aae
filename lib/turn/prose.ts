/**
 * Extracts the text to speak from streamed Markdown: skips marks, HTML tags, tables, images, addresses and emoji, and
 * keeps the text of links. The result does not depend on how the text is cut into pieces.
 *
 * @module
 */

/** Longest text of a link, its longest address, and the longest tag of HTML, in characters. */
const MAX_LINK_CHARS = 500;
const MAX_ADDRESS_CHARS = 2_000;
const MAX_HTML_CHARS = 300;
/** Brackets within brackets. More are no link, and are read in linear time. */
const MAX_DEPTH = 8;
/** Marks in a row that are read at once. */
const MAX_RUN_CHARS = 64;
/** Longest row of a table without a `|` at its start. */
const MAX_ROW_CHARS = 1_000;

/** Emoji, and the parts of their sequences that no word has. Signs that words have, such as ©, stay. */
const EMOJI = String
  .raw`(?![©®™‼⁉ℹ〰〽㊗㊙\u2194-\u2199\u21a9\u21aa])\p{Extended_Pictographic}|\p{RI}|\p{EMod}|[\ufe0f\u20e3\u{e0020}-\u{e007f}]`;
/** Characters and words that may have to be skipped. */
const SPECIAL = new RegExp(
  String.raw`[*_~[!<\\\n\u200d]|[hH][tT][tT][pP][sS]?:\/\/|[wW]{3}\.|${EMOJI}`,
  "gu",
);
/** The start of an address, or half an emoji, at the end of the text so far. */
const SPECIAL_START =
  /(?:(?:^|[^a-zA-Z0-9])(?:[hH](?:[tT](?:[tT](?:[pP](?:[sS]?:?\/?))?)?)?|[wW]{1,3})|[\ud800-\udbff])$/;
const MAX_SPECIAL_START_CHARS = 9;

/** A mark at the start of a line: bullets, the box of a task, headings, quotations, rules and underlines. */
const LINE_MARK =
  /[-+*•‣◦▪●](?:[ \t](?:\[[ xX]\][ \t])?|(?=\n))|#{1,6}(?:[ \t]|(?=\n))|>|[-*_=]{3,200}[ \t]{0,20}(?:\n|$)/y;
/** The start of such a mark, or of the row under a table's head, at the end of the text so far. */
const LINE_MARK_START =
  /(?:[-+*•‣◦▪●](?:[ \t](?:\[(?:[ xX]\]?)?)?)?|#{1,6}|:?-{0,200}:?[ \t]{0,20}|[-*_=]{1,200}[ \t]{0,20})$/y;
/** The row under a table's head. */
const DELIMITER_ROW = /:?-{2,200}:?[ \t]{0,20}\|/y;

/** Characters of an address, and those that rather belong to the text behind it. */
const ADDRESS = /[^\s<>"`|\u2018-\u201f\u2026\u3000-\u9fff\uac00-\ud7af\uff00-\uffef]*/y;
const ADDRESS_END = /[.,;:!?'")\]*_~]/;

const TAG_NAMES =
  "a abbr b blockquote br center code del details div em font h1 h2 h3 h4 h5 h6 hr i img ins kbd li " +
  "mark ol p pre s small span strike strong sub summary sup table tbody td tfoot th thead tr u ul";
const ATTRIBUTES = String.raw`(?:\s+[\w-]+=(?:"[^"<>\n]*"|'[^'<>\n]*'|[^\s"'<>]+))*`;
const HTML = new RegExp(
  String.raw`<(?:\/?(?:${
    TAG_NAMES.replaceAll(" ", "|")
  })${ATTRIBUTES}\s*\/?|!--[^\n<]{0,${MAX_HTML_CHARS}}?--` +
    String.raw`|\|[a-z_][^<\n]{0,508}?\||(?:https?:\/\/|mailto:)[^\s<>]{0,${MAX_ADDRESS_CHARS}})>`,
  "iy",
);
/** The start of a tag, or of something else in angle brackets, at the end of the text so far. */
const HTML_START = new RegExp(
  String.raw`<(?:\/?(?<name>[a-z][a-z0-9]*)?|!-{0,2}|!--[^\n<]{0,${MAX_HTML_CHARS}}|\|[^<\n]{0,508}` +
    String.raw`|\/?(?:${
      TAG_NAMES.replaceAll(" ", "|")
    })${ATTRIBUTES}\s*(?:[\w-]+(?:=(?:"[^"<>\n]*|'[^'<>\n]*|[^\s"'<>]*))?)?\/?` +
    String.raw`|(?:https?:|mailto:)[^\s<>]{0,${MAX_ADDRESS_CHARS}})$`,
  "iy",
);
const HTML_NAMES = [...TAG_NAMES.split(" "), "http", "https", "mailto"];

/** `[name: value]` moves a character of some skins, with any value. */
const COMMAND = /^\s*(?:face|anim|animation|emotion|expression|motion|pose|pause|lang|vision)\s*:/i;

/** The reason for a read: a piece came, something other than text follows, or the text is over. */
type Cause = "piece" | "break" | "end";

/** The kind of text that a bracket starts. `open` is undecided until more text comes. */
type Bracket =
  | { readonly type: "link" | "brackets"; readonly text: string; readonly end: number }
  | { readonly type: "open" | "none" };

/** Extracts the prose of a text that comes in pieces. */
export class ProseReader {
  readonly #say: (text: string) => void;
  /** Text that is not decided yet. */
  #buffer = "";
  /** Position in the buffer. */
  #at = 0;
  /** The character before it. */
  #before = "\n";
  /** Prose that is passed on next. */
  #spoken = "";
  /** Whether the line has only had marks so far. */
  #isLineStart = true;
  /** The text that is being skipped: the rest of a table's row, or of an address. */
  #skipping: "row" | "address" | undefined;
  /** Whether the lines with a `|` are the rows of a table. */
  #isTable = false;

  /** @param say Gets the prose in pieces, none of which is empty. */
  constructor(say: (text: string) => void) {
    this.#say = say;
  }

  /** Reads the next piece. */
  push(piece: string): void {
    const isText = this.#buffer === "" && !this.#isLineStart && this.#skipping === undefined;
    if (isText && isPlain(piece)) {
      this.#before = piece.at(-1)!;
      return this.#say(piece);
    }
    this.#buffer += piece;
    this.#read("piece");
  }

  /** Says that something else follows: nothing in the text so far depends on what comes. */
  break(): void {
    if (this.#buffer !== "") this.#read("break");
    if (this.#skipping === "address") this.#skipping = undefined;
    this.#before = "]";
  }

  /** Says that the text is over. */
  end(): void {
    this.#read("end");
  }

  #read(cause: Cause): void {
    while (this.#at < this.#buffer.length && this.#readNext(cause));
    this.#buffer = this.#buffer.slice(this.#at);
    this.#at = 0;
    const spoken = this.#spoken;
    this.#spoken = "";
    if (spoken !== "") this.#say(spoken);
  }

  /** Reads on. @returns Whether something was read; else the text has to go on first. */
  #readNext(cause: Cause): boolean {
    if (this.#skipping === "row") return this.#skipRow();
    if (this.#skipping === "address") return this.#skipAddress(cause);
    return this.#isLineStart ? this.#readLineStart(cause) : this.#readText(cause);
  }

  #skipRow(): true {
    const end = this.#buffer.indexOf("\n", this.#at);
    if (end < 0) return this.#skip(this.#buffer.length - this.#at);
    this.#skipping = undefined;
    this.#isLineStart = true;
    return this.#skip(end + 1 - this.#at);
  }

  /** Skips an address, but not the punctuation at its end. */
  #skipAddress(cause: Cause): boolean {
    const address = match(ADDRESS, this.#buffer, this.#at)!;
    let body = address.length;
    while (body > 0 && ADDRESS_END.test(address[body - 1]!)) body--;
    // In steps, so that little is held back.
    body += Math.floor((address.length - body) / MAX_RUN_CHARS) * MAX_RUN_CHARS;
    this.#skip(body);
    if (cause === "piece" && this.#at + address.length - body === this.#buffer.length) return false;
    this.#skipping = undefined;
    return true;
  }

  #readLineStart(cause: Cause): boolean {
    const first = this.#buffer[this.#at]!;
    if (this.#isTable) {
      const end = this.#buffer.indexOf("\n", this.#at);
      if (end < 0 && cause === "piece" && this.#buffer.length - this.#at < MAX_ROW_CHARS) return false;
      const row = this.#buffer.slice(this.#at, Math.min(end < 0 ? Infinity : end, this.#at + MAX_ROW_CHARS));
      if (row.includes("|")) return this.#startSkipping("row");
      this.#isTable = false;
    }
    if (first === "|") return this.#startSkipping("row");
    if (/\s/.test(first)) return this.#speak(1);
    const isOpen = cause === "piece" && match(LINE_MARK_START, this.#buffer, this.#at);
    if (isOpen) return false;
    if (match(DELIMITER_ROW, this.#buffer, this.#at) !== undefined) {
      this.#isTable = true;
      return this.#startSkipping("row");
    }
    const mark = match(LINE_MARK, this.#buffer, this.#at);
    if (mark !== undefined) return this.#skip(mark.length);
    this.#isLineStart = false;
    return true;
  }

  #readText(cause: Cause): boolean {
    SPECIAL.lastIndex = this.#at;
    const special = SPECIAL.exec(this.#buffer);
    if (special === null) return this.#readPlain(cause);
    if (special.index > this.#at) return this.#speak(special.index - this.#at);
    const mark = special[0];
    switch (mark) {
      case "\n":
        this.#speak(1);
        return this.#isLineStart = true;
      case "\\":
        return this.#readEscape(cause);
      case "*":
      case "_":
      case "~":
        return this.#readEmphasis(cause);
      case "[":
      case "!":
        return this.#readBracket(cause, mark === "!");
      case "<":
        return this.#readHtml(cause);
      case "\u200d":
        // Joins two emoji; in other scripts, letters.
        return this.#before === "\ufe0f" ? this.#skip(1, "\ufe0f") : this.#speak(1);
    }
    if (/^[hw]/i.test(mark)) {
      if (/[a-z0-9]/i.test(this.#before)) return this.#speak(mark.length);
      this.#skip(mark.length);
      return this.#startSkipping("address");
    }
    return this.#skip(mark.length, "\ufe0f");
  }

  /** Says text without anything special, up to what may become special. */
  #readPlain(cause: Cause): boolean {
    const length = this.#buffer.length - this.#at;
    if (cause !== "piece") return this.#speak(length);
    const tail = length < MAX_SPECIAL_START_CHARS
      ? this.#before + this.#buffer.slice(this.#at)
      : this.#buffer.slice(-MAX_SPECIAL_START_CHARS);
    const start = SPECIAL_START.exec(tail)?.[0].replace(/^[^a-z\ud800-\udbff]/i, "");
    if (start === undefined) return this.#speak(length);
    if (start.length < length) this.#speak(length - start.length);
    return false;
  }

  #readEscape(cause: Cause): boolean {
    const next = this.#buffer[this.#at + 1];
    if (next === undefined && cause === "piece") return false;
    if (next === undefined || !/[!-/:-@[-`{-~]/.test(next)) return this.#speak(1);
    this.#skip(1);
    return this.#speak(1);
  }

  #readEmphasis(cause: Cause): boolean {
    const run = match(/\*{1,64}|_{1,64}|~{1,64}/y, this.#buffer, this.#at)!;
    const end = this.#at + run.length;
    if (end === this.#buffer.length && run.length < MAX_RUN_CHARS && cause === "piece") return false;
    const after = run.length === MAX_RUN_CHARS
      ? run[0]!
      : this.#buffer[end] ?? (cause === "end" ? "\n" : "x");
    return isEmphasis(run, this.#before, after) ? this.#skip(run.length) : this.#speak(run.length);
  }

  #readBracket(cause: Cause, isImage: boolean): boolean {
    const start = this.#at + (isImage ? 1 : 0);
    // The mark of an image stands behind a space or another mark, and an exclamation mark behind a word.
    if (isImage && !/[\s([>*_|]/.test(this.#before)) return this.#speak(1);
    if (start === this.#buffer.length && cause === "piece") return false;
    if (this.#buffer[start] !== "[") return this.#speak(1);
    const bracket = bracketAt(this.#buffer, start, cause !== "piece");
    switch (bracket.type) {
      case "open":
        return false;
      case "link":
        if (!isImage) this.#spoken += proseOf(bracket.text);
        return this.#skip(bracket.end - this.#at);
      case "brackets":
        if (!isImage && (bracket.text.startsWith("^") || COMMAND.test(bracket.text))) {
          return this.#skip(bracket.end - this.#at);
        }
        return this.#speak(1);
      case "none":
        return this.#speak(1);
      default:
        return bracket satisfies never;
    }
  }

  #readHtml(cause: Cause): boolean {
    const tag = match(HTML, this.#buffer, this.#at);
    if (tag !== undefined) return this.#skip(tag.length);
    HTML_START.lastIndex = this.#at;
    const start = cause === "piece" ? HTML_START.exec(this.#buffer) : null;
    const name = start?.groups?.name?.toLowerCase();
    if (start && (name === undefined || HTML_NAMES.some((known) => known.startsWith(name)))) return false;
    return this.#speak(1);
  }

  #startSkipping(what: "row" | "address"): true {
    this.#skipping = what;
    return true;
  }

  #speak(length: number): true {
    this.#spoken += this.#buffer.slice(this.#at, this.#at + length);
    return this.#skip(length);
  }

  /** Skips characters. @param before What counts as the character before the next one; by default the last. */
  #skip(length: number, before = this.#buffer[this.#at + length - 1]): true {
    this.#at += length;
    if (length > 0) this.#before = before!;
    return true;
  }
}

/** Characters that are never special. */
const PLAIN = new Uint8Array(128);
for (const char of "abcdefghijklmnopqrstuvxyzABCDEFGHIJKLMNOPQRSTUVXYZ0123456789 .,?'\"();") {
  PLAIN[char.charCodeAt(0)] = 1;
}
/** Letters that the start of an address can end with. */
const MAY_BEGIN_ADDRESS = "htpsHTPS";

/** Whether nothing in a piece is special, as in most pieces: a loop is faster than an expression. */
function isPlain(piece: string): boolean {
  for (let at = 0; at < piece.length; at++) {
    const code = piece.charCodeAt(at);
    const isLetter = code < 128
      ? PLAIN[code] === 1
      // Latin, Greek and Cyrillic; kana, Chinese characters and Hangul.
      : code >= 0xc0 && code < 0x530 || code >= 0x3041 && code < 0x3100 || code >= 0x4e00 && code < 0xd7b0 ||
        code === 0x3001 || code === 0x3002;
    if (!isLetter) return false;
  }
  return piece !== "" && !MAY_BEGIN_ADDRESS.includes(piece.at(-1)!);
}

function match(pattern: RegExp, text: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0];
}

/** Whether a run of `*`, `_` or `~` between two characters is a mark: no product, name, blank or range. */
function isEmphasis(run: string, before: string, after: string): boolean {
  if (run[0] === "~") return run.length > 1;
  if (/\s/.test(before) && /\s/.test(after)) return run.length > 2;
  if (run[0] === "_") return !(/[\p{L}\p{N}]/u.test(before) && /[\p{L}\p{N}]/u.test(after));
  const [first, second] = [/[A-Za-z0-9)]/.test(before), /[A-Za-z0-9(]/.test(after)];
  return !(first && second && (/\d/.test(before) || /\d/.test(after)));
}

/** Returns the prose of a link's text, which can have marks and a picture. */
function proseOf(text: string): string {
  let prose = "";
  const reader = new ProseReader((piece) => prose += piece);
  // Behind other text, it is not the start of a line.
  reader.push(". ");
  reader.push(text);
  reader.end();
  return prose.slice(2);
}

/** Finds the kind of text that the bracket at a position starts. `isOver` says that no more text comes. */
function bracketAt(text: string, start: number, isOver: boolean): Bracket {
  const open = { type: isOver ? "none" : "open" } as const;
  const close = closeOf(text, start, "[]", MAX_LINK_CHARS);
  if (close === "none") return { type: "none" };
  if (close === "open") return open;
  const brackets = { type: "brackets", text: text.slice(start + 1, close), end: close + 1 } as const;
  const next = text[close + 1];
  if (next !== "(") return next === undefined && !isOver ? open : brackets;
  const end = closeOf(text, close + 1, "()", MAX_ADDRESS_CHARS);
  if (end === "none" || end === "open" && isOver) return brackets;
  return end === "open" ? open : { ...brackets, type: "link", end: end + 1 };
}

/** Finds the end of a pair in the line. `open` is a pair that can still be closed by text that has not come. */
function closeOf(text: string, start: number, pair: string, maxChars: number): number | "open" | "none" {
  let depth = 0;
  for (let at = start; at <= start + maxChars; at++) {
    const char = text[at];
    if (char === undefined) return "open";
    if (char === "\n") return "none";
    if (char === "\\") at++;
    else if (char === pair[0] && ++depth > MAX_DEPTH) return "none";
    else if (char === pair[1] && --depth === 0) return at;
  }
  return "none";
}
