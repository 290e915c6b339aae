/** A reply as skins can speak it, streamed: pure, and the same however the text is cut. @module */

/** Lines end here for a skin that speaks sentence by sentence. */
const LINE_END = /[\n。．！？]/;
/** Other line breaks, which ChatVRM and others do not get over. */
const OTHER_BREAK = /\r\n?|[\u2028\u2029]/g;
/** Nothing but emotion tags: `[happy]`, `[face:Joy] [pause:1.5]`. */
const ONLY_TAGS = /^(?:\s*\[[A-Za-z][\w:.,\- ]{0,31}\])+\s*$/;
/** Characters of the start of a line that are looked at for tags. */
const HEAD_CHARS = 128;
/** What an agent answers when it has nothing to say; skins compare it to the letter. */
const SILENT_REPLY = "[silent]";

/**
 * Line breaks before the first word, and between a tag that opens a line and its words, are left out: ChatVRM never
 * gets over them. The others are all `\n`. The reply ends with one: ChatVRM never speaks what comes after the last. A
 * character that is cut in two is put together. Everything else is verbatim.
 */
export class SkinText {
  /** The start of the line, while it may be nothing but tags. */
  #head: string | undefined = "";
  /** The first half of a character, or of a line break, whose second half is to come. */
  #half = "";
  #last = "";
  #all: string | undefined = "";

  /** What can be said now of the reply that goes on with `piece`. */
  push(piece: string): string {
    if (this.#half === "" && isPlainAscii(piece)) return this.#say(this.#sameLine(piece));
    let text = this.#half + piece;
    this.#half = "";
    const end = text.charCodeAt(text.length - 1);
    if (end >= 0xd800 && end <= 0xdbff || end === 0x0d) {
      this.#half = text.slice(-1);
      text = text.slice(0, -1);
    }
    return this.#take(text);
  }

  /** What is to be said last. */
  end(): string {
    const rest = this.#rest();
    if (this.#last === "" || this.#last === "\n" || this.#all === SILENT_REPLY) return rest;
    return rest + "\n";
  }

  /** What is to be said before another sentence follows, which is not the agent's: the line ends, if there is one. */
  breakOff(): string {
    const rest = this.#rest();
    return this.#last === "\n" ? rest : rest + this.#take("\n");
  }

  #rest(): string {
    const rest = this.#take(this.#half);
    this.#half = "";
    return rest;
  }

  #take(piece: string): string {
    const text = piece.replace(OTHER_BREAK, "\n");
    return this.#say(LINE_END.test(text) ? this.#withoutMuteBreaks(text) : this.#sameLine(text));
  }

  #say(text: string): string {
    if (text === "") return "";
    const whole = text.toWellFormed();
    this.#last = whole.slice(-1);
    if (this.#all !== undefined) {
      this.#all = this.#all.length + whole.length > SILENT_REPLY.length ? undefined : this.#all + whole;
    }
    return whole;
  }

  #sameLine(text: string): string {
    if (this.#head !== undefined) {
      this.#head = this.#head.length + text.length > HEAD_CHARS ? undefined : this.#head + text;
    }
    return text;
  }

  #withoutMuteBreaks(text: string): string {
    let said = "";
    for (const char of text) {
      if (!LINE_END.test(char)) {
        said += this.#sameLine(char);
      } else if (char !== "\n" || !this.#isMute(said)) {
        said += char;
        this.#head = "";
      }
    }
    return said;
  }

  /** Whether a line break here would come before the first word of the reply, or of a line that begins with tags. */
  #isMute(said: string): boolean {
    if (this.#last === "" && said === "") return true;
    return this.#head !== undefined && this.#head !== "" && ONLY_TAGS.test(this.#head);
  }
}

/** Whether a text is nothing but printable ASCII without a colon, as most tokens are. */
export function isPlainAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code > 0x7e || code === 0x3a) return false;
  }
  return true;
}

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
export function splitDeltas(text: string): string[] {
  if (text.length <= MAX_WIDE_CHARS && isPlainAscii(text)) return [text];
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
