/**
 * Finds emotion tags in streamed text: `[happy]`, `[face:Joy]`, `<|ACT {"emotion":"happy"}|>`. Finds the same tags, each
 * once, however the text is cut into pieces. Tags in code and the texts of links do not count.
 *
 * @module
 */

/** Emotion words in lower case, by the form of their tag. */
export interface EmotionWords {
  /** `[word]` */
  readonly plain: ReadonlySet<string>;
  /** `[face:word]` */
  readonly face: ReadonlySet<string>;
  /** `<|ACT {"emotion":"word"}|>` */
  readonly act: ReadonlySet<string>;
}

/** The words of the skins AniCompanion, Open-LLM-VTuber, ChatVRM, AITuber-kit and Amica. */
const SKIN_WORDS =
  "neutral happy sad angry surprised curious excited shy love smirk sleepy proud disgusted pain laugh bored " +
  "anger disgust fear joy sadness surprise relaxed jealous serious suspicious victory sleep";
/** Further words of ChatdollKit's `[face:word]`, named after VRM 0. */
const FACE_WORDS = "sorrow fun";
/** Further words of AIRI's `<|ACT ...|>`. */
const ACT_WORDS = "think awkward question";

/**
 * Returns the emotion words.
 *
 * @param own The user's words. They replace the skins' words, or add to them if the first word begins with `+`.
 */
export function emotionWords(own: readonly string[] = []): EmotionWords {
  const words = own.map((word) => word.replace(/^\+/, "").trim().toLowerCase()).filter((word) => word !== "");
  const adds = words.length === 0 || own[0]?.trim().startsWith("+");
  const set = (defaults: string) => new Set([...adds ? defaults.split(" ") : [], ...words]);
  return {
    plain: set(SKIN_WORDS),
    face: set(`${SKIN_WORDS} ${FACE_WORDS}`),
    act: set(`${SKIN_WORDS} ${ACT_WORDS}`),
  };
}

/** Takes the findings of an {@linkcode EmotionScanner} in the order of the text. */
export interface EmotionSink {
  /** `intensity` is from 0 to 1. */
  emotion(tag: string, intensity: number): void;
  /** Text without tags and code blocks, and without the backticks of inline code. */
  speak?(text: string): void;
  /** `speak` gets code blocks and backticks too. */
  readonly isVerbatim?: boolean;
}

/** Characters that can begin a tag, an escape or code. Most tokens have none. */
const SPECIAL = /[\\`~[<]/;
const PLAIN = /[^\\`~[<]+/y;
/** A run of backticks or tildes; longer runs count as several. */
const RUN = /`{1,64}|~{1,64}/y;
const MAX_RUN_CHARS = 64;
/** A tag in brackets. A `(` behind it makes it the text of a link. */
const TAG = /\[[^[\]\n`]{0,63}\](?!\()/y;
/** The same where the next character is known. */
const TAG_BEFORE_TEXT = /\[[^[\]\n`]{0,63}\](?=[^(])/y;
/** The start of a tag at the end of the text so far. */
const TAG_START = /\[[^[\]\n`]{0,63}\]?$/y;
const ACT = /<\|[^<\n]{0,508}?\|>/y;
const ACT_START = /<(?:\|[^<\n]{0,509})?$/y;
/** Shortest fence of a code block. */
const MIN_FENCE_CHARS = 3;
/** Characters of a line that wait for its end. */
const MAX_LINE_CHARS = 512;

/** Why the scanner reads its buffer: a piece came, the text pauses, or it is over. */
type Cause = "piece" | "pause" | "end";

/** Finds emotion tags in text that comes in pieces. */
export class EmotionScanner {
  readonly #words: EmotionWords;
  readonly #sink: EmotionSink;
  #mode: "text" | "code" | "block" = "text";
  /** Text that is not decided yet, such as the start of a tag. */
  #buffer = "";
  /** Position in the buffer. */
  #at = 0;
  /** Text that `speak` gets next. */
  #spoken = "";
  /** The current line so far has only spaces and quote marks. */
  #isLineStart = true;
  /** The run that opened the code or the block. */
  #fence = "";
  /** The code may turn out to be a block: its fence is long enough, and no other backtick has followed. */
  #mayBeBlock = false;

  constructor(words: EmotionWords, sink: EmotionSink) {
    this.#words = words;
    this.#sink = sink;
  }

  /** Scans the next piece. */
  push(piece: string): void {
    if (this.#mode === "text" && this.#buffer === "" && !SPECIAL.test(piece)) {
      this.#trackLine(piece);
      this.#sink.speak?.(piece);
      return;
    }
    this.#buffer += piece;
    this.#read("piece");
  }

  /** Says that something else follows the text so far: a tag at its end is no link. */
  pause(): void {
    if (this.#buffer !== "") this.#read("pause");
  }

  /** Says that the text is over. */
  end(): void {
    this.#read("end");
    this.#mode = "text";
  }

  #read(cause: Cause): void {
    while (this.#at < this.#buffer.length && this.#readNext(cause));
    this.#buffer = this.#buffer.slice(this.#at);
    this.#at = 0;
    this.#flush();
  }

  /** Reads one token. @returns Whether there was one; else the text has to go on first. */
  #readNext(cause: Cause): boolean {
    switch (this.#mode) {
      case "text":
        return this.#readText(cause);
      case "code":
        return this.#readCode(cause);
      case "block":
        return this.#readBlock(cause);
      default:
        return this.#mode satisfies never;
    }
  }

  #readText(cause: Cause): boolean {
    switch (this.#buffer[this.#at]) {
      case "\\":
        if (this.#at + 1 === this.#buffer.length && cause !== "end") return false;
        return this.#say(2);
      case "`":
      case "~":
        return this.#readFence(cause);
      case "[":
        return this.#readTag(cause === "piece" ? TAG_BEFORE_TEXT : TAG, TAG_START, cause);
      case "<":
        return this.#readTag(ACT, ACT_START, cause);
      default:
        return this.#say(this.#match(PLAIN)!.length);
    }
  }

  #readTag(complete: RegExp, start: RegExp, cause: Cause): boolean {
    const tag = this.#match(complete);
    if (tag === undefined) {
      if (cause !== "end" && this.#match(start) !== undefined) return false;
      return this.#say(1);
    }
    const emotion = emotionOf(tag, this.#words);
    if (emotion === undefined) return this.#say(1);
    this.#at += tag.length;
    this.#isLineStart = false;
    this.#flush();
    this.#sink.emotion(emotion.tag, emotion.intensity);
    return true;
  }

  /** Reads a run in text. Backticks open code; tildes open a block at the start of a line. */
  #readFence(cause: Cause): boolean {
    const run = this.#readRun(cause);
    if (run === undefined) return false;
    const isLong = run.length >= MIN_FENCE_CHARS;
    if (run[0] === "~" && !(isLong && this.#isLineStart)) return this.#say(run.length);
    this.#skip(run.length);
    this.#fence = run;
    this.#mode = run[0] === "~" ? "block" : "code";
    this.#mayBeBlock = isLong;
    this.#isLineStart = false;
    return true;
  }

  /**
   * Reads code up to the same run of backticks. A long fence without another backtick on its line opens a block. Other
   * code that its line does not close has a stray backtick, and ends with the line.
   */
  #readCode(cause: Cause): boolean {
    const stop = indexOfAny(this.#buffer, "`", "\n", this.#at);
    const length = stop - this.#at;
    const next = this.#buffer[stop];
    if (this.#mayBeBlock && next !== "`" && length <= MAX_LINE_CHARS) {
      if (next === undefined && cause !== "end") return false;
      this.#mode = "block";
      return true;
    }
    this.#mayBeBlock = false;
    if (length > 0) return this.#say(length);
    if (next === "\n") {
      this.#mode = this.#fence.length >= MIN_FENCE_CHARS ? "block" : "text";
      return true;
    }
    const run = this.#readRun(cause);
    if (run === undefined) return false;
    if (run === this.#fence) this.#mode = "text";
    return this.#skip(run.length);
  }

  /** Reads a line of a block. A line with nothing but a fence of at least the same length closes the block. */
  #readBlock(cause: Cause): boolean {
    const end = this.#buffer.indexOf("\n", this.#at);
    const line = this.#buffer.slice(this.#at, end < 0 ? undefined : end);
    const [, fence] = /^[ \t\r>]*(`*|~*)[ \t\r]*$/.exec(line) ?? [];
    const mayClose = this.#isLineStart && fence !== undefined && line.length <= MAX_LINE_CHARS;
    if (end < 0) {
      if (mayClose && cause !== "end") return false;
      this.#isLineStart = false;
      return this.#skip(line.length);
    }
    if (mayClose && fence[0] === this.#fence[0] && fence.length >= this.#fence.length) this.#mode = "text";
    this.#isLineStart = true;
    return this.#skip(line.length + 1);
  }

  /** Matches a run that the text cannot make longer. */
  #readRun(cause: Cause): string | undefined {
    const run = this.#match(RUN)!;
    const mayGrow = this.#at + run.length === this.#buffer.length && run.length < MAX_RUN_CHARS;
    return mayGrow && cause !== "end" ? undefined : run;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.#buffer)?.[0];
  }

  /** Passes on characters that are said. */
  #say(length: number): true {
    const text = this.#buffer.slice(this.#at, this.#at += length);
    this.#trackLine(text);
    this.#spoken += text;
    return true;
  }

  /** Passes over characters that are said in verbatim text only. */
  #skip(length: number): true {
    const text = this.#buffer.slice(this.#at, this.#at += length);
    if (this.#sink.isVerbatim) this.#spoken += text;
    return true;
  }

  #flush(): void {
    const text = this.#spoken;
    this.#spoken = "";
    if (text !== "") this.#sink.speak?.(text);
  }

  #trackLine(text: string): void {
    const line = text.slice(text.lastIndexOf("\n") + 1);
    const isBlank = /^[ \t\r>]*$/.test(line);
    this.#isLineStart = isBlank && (this.#isLineStart || line.length < text.length);
  }
}

function indexOfAny(text: string, one: string, other: string, from: number): number {
  for (let at = from; at < text.length; at++) if (text[at] === one || text[at] === other) return at;
  return text.length;
}

/** Returns the emotion that a complete tag names. */
function emotionOf(tag: string, words: EmotionWords): { tag: string; intensity: number } | undefined {
  if (tag.startsWith("<|")) return actEmotion(tag.slice(2, -2), words);
  const [, face, word = ""] = /^\[\s*(face\s*:)?\s*(.*?)\s*\]$/is.exec(tag) ?? [];
  const name = word.toLowerCase();
  return (face ? words.face : words.plain).has(name) ? { tag: name, intensity: 1 } : undefined;
}

/** Reads AIRI's `ACT {"emotion":"happy"}`, `ACT:"emotion":{"name":"happy","intensity":0.5}` and older `EMOTE_HAPPY`. */
function actEmotion(content: string, words: EmotionWords): { tag: string; intensity: number } | undefined {
  const older = /^\s*EMOTE_(\w+)\s*$/i.exec(content)?.[1];
  const body = /^\s*ACT\b\s*:?\s*(.*)$/is.exec(content)?.[1];
  let name: unknown = older;
  let intensity: unknown;
  if (body !== undefined) {
    try {
      const { emotion } = JSON.parse(body.startsWith("{") ? body : `{${body}}`) ?? {};
      name = typeof emotion === "object" && emotion !== null ? emotion.name : emotion;
      intensity = emotion?.intensity;
    } catch {
      return undefined;
    }
  }
  if (typeof name !== "string" || !words.act.has(name.toLowerCase())) return undefined;
  return {
    tag: name.toLowerCase(),
    intensity: typeof intensity === "number" && intensity >= 0 && intensity <= 1 ? intensity : 1,
  };
}
