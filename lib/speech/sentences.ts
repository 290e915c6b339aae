/** Divides text that arrives in pieces into sentences. Returns each sentence as soon as its end is certain. Pure. @module */

/**
 * Most characters of a sentence, which takes some 20 seconds to say. A longer sentence is divided where a sentence in
 * quotes ends, at a clause or at a space. A character that takes as long as several letters counts as several.
 */
export const MAX_SENTENCE_CHARS = 250;
/** Count of a digit or symbol, which is spoken as a word, and of a CJK character or half of a surrogate pair. */
const WORD_CHARS = 5;
const SYLLABLE_CHARS = 3;
/** Most characters of code in backticks. A backtick without a closing backtick within these starts no code. */
const MAX_CODE_CHARS = 120;
/** Most characters of white space, and then of text, that are examined behind an abbreviation. */
const MAX_AHEAD_CHARS = 32;
/** Most terminators that are read at once. A longer run is read in steps. */
const MAX_RUN_CHARS = 64;

/** Opening marks and their closing marks. No sentence ends between the two. */
const PAIRS: ReadonlyMap<string, string> = new Map([
  ...["()", "[]", "{}", "（）", "［］", "【】", "「」", "『』", "《》", "“”", "«»", "‹›"],
].map(([open, close]) => [open!, close!]));
const CLOSING: ReadonlySet<string> = new Set(PAIRS.values());

/** A character at which a sentence may end, or that opens or closes a part within which no sentence ends. */
const STOP = /[.!?…‥。！？｡．؟۔।॥\n`"()[\]{}（）［］【】「」『』《》“”«»‹›]/g;
const RUN = new RegExp(`[.!?…‥。！？｡．؟۔।॥]{1,${MAX_RUN_CHARS}}`, "y");
/** Terminators that need no space behind them. */
const WIDE = /[。！？｡．]$/;
const CLOSER = /["'’”」』）)\]］}】》»›]/;
const CJK = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u;
/** A character after which a `"` closes a quote. After any other character, it opens one. */
const BEFORE_CLOSING = /[A-Za-z0-9.,!?…)\]%]/;
/** The start of `:(` and `;-(`, whose parentheses open nothing. */
const EMOTICON_START = /[:;=][-']?$/;
/** The word before a period: its letters, digits and earlier periods. */
const WORD = /[\p{L}\p{M}\p{N}.&§'’-]*$/u;
const SPOKEN_AS_WORD = /[\p{N}\p{S}%&@#*/\\_]/u;
const SPOKEN_AS_SYLLABLE = new RegExp(`${CJK.source}|\\p{Surrogate}`, "u");
const SPEAKABLE = /[\p{L}\p{N}]/u;

const words = (list: string) => new Set(list.split(" "));
/** Abbreviations that never end a sentence. */
const NEVER_LAST = words(
  "dr mr mrs ms mx prof st mt messrs mme mlle gen col maj sgt lt capt cmdr rev hon gov sen rep pres supt " +
    "vs cf viz e.g i.e eg ie approx esp resp incl excl bzw z.b d.h u.a ggf vgl s.o s.u sra sr.a p.ej",
);
/** Abbreviations if a number follows, otherwise words. */
const BEFORE_NUMBER = words(
  "no nos nr fig figs p pp vol vols art ch chap eq sec ver v ca c tel ext núm nº n",
);
/** Abbreviations that end a sentence unless a lower-case letter or a number follows. */
const MAYBE_LAST = words(
  "etc a.m p.m am pm inc ltd co corp bros jr sr al dept est jan feb mar apr jun jul aug sep sept oct nov dec " +
    "mon tue wed thu fri sat sun ph.d m.d b.a m.a usw usf",
);
/** A letter, or letters with periods: initials, or an acronym such as U.S.A. */
const INITIALS = /^(?:\p{L}\.)*\p{L}$/u;
/** Words that begin a new sentence after initials. Any other word continues the name. */
const STARTERS = words(
  "It He She They We You I The This That These Those There Then But And So In On At If When What Why How Where " +
    "Who My Your His Her Our Its A An As For Now Please Yes No Not Do Does Did Is Are Was Were Can Let Here",
);
/** The number or letter before an item of a list. */
const ITEM = /^(?:\d{1,3}|[A-Za-z])$/;
const CLAUSE = /[,;:—–、，；：]["'”’)\]]*(?=\s)|[、，；：—]/g;

/** Whether a sentence ends; `undefined` if that depends on text that has not arrived. */
type Verdict = boolean | undefined;

/** Divides a text into sentences. The sentences do not depend on the pieces in which the text arrives. */
export class SentenceSplitter {
  readonly #maxChars: number;
  /** The text behind the last sentence. */
  #text = "";
  /** Position up to which the text is read. */
  #at = 0;
  /** The closing marks of the open quotes and brackets, the innermost last. */
  #open: string[] = [];
  /** End of the last sentence in quotes or brackets: the best place to divide a text that is too long. */
  #innerEnd = 0;
  /** Position up to which the characters are counted, and their count, which never exceeds `#maxChars`. */
  #countedTo = 0;
  #count = 0;
  #isOver = false;

  /** @param maxChars Characters of the longest sentence. */
  constructor(maxChars = MAX_SENTENCE_CHARS) {
    this.#maxChars = maxChars;
  }

  /** Takes the next piece. @returns The sentences that the piece completes. */
  push(text: string): string[] {
    // The space between two sentences belongs to neither.
    this.#text = this.#text === "" ? text.trimStart() : this.#text + text;
    return this.#read();
  }

  /** Ends the text. @returns The last sentences. The next `push` begins a new text. */
  end(): string[] {
    this.#isOver = true;
    const sentences = this.#read();
    this.#take(this.#text.length, sentences);
    this.#isOver = false;
    return sentences;
  }

  #read(): string[] {
    const sentences: string[] = [];
    for (;;) {
      STOP.lastIndex = this.#at;
      const stop = STOP.exec(this.#text)?.index ?? this.#text.length;
      if (!this.#hasRoomUpTo(stop)) {
        this.#take(this.#findDivision(), sentences);
        continue;
      }
      this.#at = stop;
      if (stop === this.#text.length) return sentences;
      const end = this.#readMark(stop);
      if (end === undefined) return sentences;
      if (end > 0) this.#take(end, sentences);
    }
  }

  /** Counts the characters up to a position. @returns Whether a sentence may be that long. */
  #hasRoomUpTo(position: number): boolean {
    while (this.#countedTo < position) {
      const count = this.#count + charsOf(this.#text[this.#countedTo]!);
      if (count > this.#maxChars) return false;
      this.#count = count;
      this.#countedTo++;
    }
    return true;
  }

  /** Reads the mark at a position. @returns The end of the sentence, 0 if it goes on, `undefined` to wait for more. */
  #readMark(at: number): number | undefined {
    const mark = this.#text[at]!;
    if (mark === "\n") return at + 1;
    if (mark === "`") return this.#readCode(at);
    RUN.lastIndex = at;
    const run = RUN.exec(this.#text)?.[0];
    if (run !== undefined) return this.#readTerminators(at, run);
    this.#at = at + 1;
    if (mark === '"') this.#readQuote(at);
    else if (CLOSING.has(mark)) this.#close(mark);
    else if (!EMOTICON_START.test(this.#text.slice(Math.max(0, at - 2), at))) {
      this.#open.push(PAIRS.get(mark)!);
    }
    return 0;
  }

  #readCode(at: number): number | undefined {
    const rest = this.#text.slice(at + 1, at + 1 + MAX_CODE_CHARS);
    const length = rest.search(/[`\n]/);
    if (length < 0 && rest.length < MAX_CODE_CHARS && !this.#isOver) return undefined;
    this.#at = at + 1 + (rest[length] === "`" ? length + 1 : 0);
    return 0;
  }

  #readQuote(at: number): void {
    if (this.#open.includes('"')) this.#close('"');
    else if (!BEFORE_CLOSING.test(this.#text[at - 1] ?? "")) this.#open.push('"');
  }

  /** Closes the last part that ends with this mark, and the parts inside of it. */
  #close(mark: string): void {
    const last = this.#open.lastIndexOf(mark);
    if (last >= 0) this.#open.length = last;
  }

  #readTerminators(at: number, run: string): number | undefined {
    let end = at + run.length;
    const open = [...this.#open];
    if (run.length < MAX_RUN_CHARS) {
      while (end < this.#text.length && this.#closes(this.#text[end]!)) this.#close(this.#text[end++]!);
    }
    const isInner = this.#open.length > 0;
    const verdict = end === this.#text.length && !this.#isOver ? undefined : this.#isEnd(at, run, end);
    if (verdict === undefined) {
      this.#open = open;
      return undefined;
    }
    this.#at = end;
    if (!verdict) return 0;
    if (!isInner) return end;
    this.#innerEnd = end;
    return 0;
  }

  /** Whether a mark behind a terminator belongs to the sentence. */
  #closes(mark: string): boolean {
    return CLOSER.test(mark) && (mark !== '"' || this.#open.includes('"'));
  }

  /** Whether a sentence ends with these terminators, and with the closing marks up to `end`. */
  #isEnd(at: number, run: string, end: number): Verdict {
    const next = this.#text[end] ?? "";
    const isQuoted = end > at + run.length;
    if (next === "") return true;
    if (WIDE.test(run)) {
      if (run === "．" && /\p{N}/u.test(next)) return false;
      // 「…。」と is reported speech, and the sentence goes on.
      return !(isQuoted && next === "と");
    }
    const isPause = /^(?:\.{2,}|[.…‥]*[…‥][.…‥]*)$/.test(run);
    if (!/\s/.test(next)) {
      return !isPause && CJK.test(next) && this.#endsBeforeCjk(at, run);
    }
    if (isPause || isQuoted) {
      const ahead = this.#ahead(end);
      return ahead === undefined ? undefined : !/^[\p{Ll}–—-]/u.test(ahead);
    }
    return run === "." ? this.#endsAfterWord(at, end) : true;
  }

  /** Whether an ASCII terminator directly before a CJK character ends a sentence. It does not in an address or a name. */
  #endsBeforeCjk(at: number, run: string): boolean {
    const token = /\S*$/.exec(this.#text.slice(0, at))![0];
    if (token.includes("://")) return false;
    return run !== "." || CJK.test(token.at(-1) ?? "");
  }

  /** Whether a sentence ends with the period behind a word. */
  #endsAfterWord(at: number, end: number): Verdict {
    const written = WORD.exec(this.#text.slice(0, at))![0];
    const word = written.toLowerCase();
    if (ITEM.test(written) && at === written.length) return false;
    if (NEVER_LAST.has(word)) return false;
    const isInitials = INITIALS.test(written) && written !== "I";
    if (!isInitials && !BEFORE_NUMBER.has(word) && !MAYBE_LAST.has(word)) return true;
    const ahead = this.#ahead(end);
    if (ahead === undefined) return undefined;
    if (ahead === "") return true;
    if (BEFORE_NUMBER.has(word) && /^[\p{N}#]/u.test(ahead)) return false;
    if (MAYBE_LAST.has(word)) return !/^[\p{Ll}\p{N}]/u.test(ahead);
    if (!isInitials) return true;
    const [first] = /^[\p{L}’']*/u.exec(ahead)!;
    if (first.length === ahead.length && ahead.length < MAX_AHEAD_CHARS && !this.#isOver) return undefined;
    return STARTERS.has(first);
  }

  /** The next characters after white space; empty if the line or the text ends, `undefined` if they have not arrived. */
  #ahead(end: number): string | undefined {
    const space = this.#text.slice(end, end + MAX_AHEAD_CHARS);
    if (/^[^\S\n]*\n/.test(space)) return "";
    const start = end + space.search(/\S|$/);
    const ahead = this.#text.slice(start, start + MAX_AHEAD_CHARS);
    return ahead === "" && space.length < MAX_AHEAD_CHARS && !this.#isOver ? undefined : ahead;
  }

  /** Returns the place at which to divide a sentence that is too long. */
  #findDivision(): number {
    if (this.#innerEnd > 0) return this.#innerEnd;
    const text = this.#text.slice(0, this.#countedTo);
    const clause = [...text.matchAll(CLAUSE)].at(-1);
    if (clause) return clause.index + clause[0].length;
    const space = text.search(/\s\S*$/);
    if (space > 0) return space;
    // Not within a surrogate pair.
    return /[\ud800-\udbff]$/.test(text) ? text.length - 1 : text.length;
  }

  /** Takes the text up to a position as a sentence, if a voice can say some of it. */
  #take(end: number, sentences: string[]): void {
    const sentence = this.#text.slice(0, end).trim();
    if (SPEAKABLE.test(sentence)) sentences.push(sentence);
    this.#text = this.#text.slice(end).trimStart();
    this.#at =
      this.#innerEnd =
      this.#countedTo =
      this.#count =
        0;
    this.#open = [];
  }
}

/** Returns how many letters take as long to say as a character, or as half of a surrogate pair. */
function charsOf(character: string): number {
  if (SPOKEN_AS_WORD.test(character)) return WORD_CHARS;
  return SPOKEN_AS_SYLLABLE.test(character) ? SYLLABLE_CHARS : 1;
}
