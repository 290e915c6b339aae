/**
 * Emotion tags out of streamed text: `[happy]`, `[face:Joy]`, `<|ACT {"emotion":"happy"}|>`. Found the same however the
 * text is cut, each once. What stands in code is no emotion, nor is a link.
 *
 * @module
 */

/** Which words are emotions, in lower case. */
export interface EmotionWords {
  /** As `[word]`. */
  readonly plain: ReadonlySet<string>;
  /** As `[face:word]`. */
  readonly face: ReadonlySet<string>;
  /** As `<|ACT {"emotion":"word"}|>`. */
  readonly act: ReadonlySet<string>;
}

/** The words of the skins (AniCompanion, Open-LLM-VTuber, ChatVRM and AITuber-kit, Amica). */
const SKIN_WORDS =
  "neutral happy sad angry surprised curious excited shy love smirk sleepy proud disgusted pain laugh bored " +
  "anger disgust fear joy sadness surprise relaxed jealous serious suspicious victory sleep";
/** Those that ChatdollKit adds in `[face:X]` (the names of VRM 0). */
const FACE_WORDS = "sorrow fun";
/** Those that AIRI adds in `<|ACT ...|>`. */
const ACT_WORDS = "think awkward question";

/**
 * The words that are emotions.
 *
 * @param own The user's list: as it is, it takes the place of the known words; if its first word begins with `+`, it
 * adds to them.
 */
export function emotionWords(own: readonly string[] = []): EmotionWords {
  const words = own.map((word) => word.replace(/^\+/, "").trim().toLowerCase()).filter((word) => word !== "");
  const adds = words.length === 0 || own[0]?.trim().startsWith("+");
  const set = (known: string) => new Set([...adds ? known.split(" ") : [], ...words]);
  return {
    plain: set(SKIN_WORDS),
    face: set(`${SKIN_WORDS} ${FACE_WORDS}`),
    act: set(`${SKIN_WORDS} ${ACT_WORDS}`),
  };
}

/** Takes what a {@linkcode EmotionScanner} finds, in the order of the text. */
export interface EmotionSink {
  /** `intensity` is from 0 to 1. */
  emotion(tag: string, intensity: number): void;
  /** Text that is no tag: what can be said, without fenced blocks; or all of it, see `isVerbatim`. */
  speak?(text: string): void;
  /** Code is spoken too, with all its marks. */
  readonly isVerbatim?: boolean;
}

/** Characters of a tag; what is longer is none. */
const MAX_TAG_CHARS = 64;
const MAX_ACT_CHARS = 512;

/** Backticks or tildes that make a fence. */
const MIN_FENCE_CHARS = 3;

/** Where the scanner is. */
type Place =
  | "text"
  /** Behind a backslash. */
  | "escaped"
  /** In a run of backticks or tildes. */
  | "fence"
  /** In code that ends with the same run of backticks, or with its line. */
  | "code"
  /** In a block that ends with a line of at least the same run. */
  | "block"
  /** Behind `[`, `<` or `<|`. */
  | "tag"
  /** Behind `]`: a `(` makes it a link. */
  | "closed"
  | "angle"
  | "act";

/** Finds emotion tags in text that comes in pieces. */
export class EmotionScanner {
  readonly #words: EmotionWords;
  readonly #sink: EmotionSink;
  #place: Place = "text";
  /** Nothing but spaces and quote marks stands before this on its line. */
  #lineStart = true;
  /** What was read of a tag, or of a run. */
  #held = "";
  /** The run that opened the code or block. */
  #run = "";
  /** The run that is being read in code or a block, which may be the closing one. */
  #closing = "";
  /** The first line of a block so far, while it may yet have a backtick: then it is code in the line. */
  #firstLine: string | undefined;
  #spoken = "";

  constructor(words: EmotionWords, sink: EmotionSink) {
    this.#words = words;
    this.#sink = sink;
  }

  /** Takes the next piece. */
  push(piece: string): void {
    if (this.#place === "text" && isOrdinary(piece)) {
      this.#passLine(piece);
      this.#sink.speak?.(piece);
      return;
    }
    for (const char of piece) this.#take(char);
    this.#flush();
  }

  /** Something else comes between: a tag at the very end of the text is one. */
  pause(): void {
    if (this.#place !== "closed") return;
    this.#found();
    this.#flush();
  }

  /** The text is over. */
  end(): void {
    // What is released may begin a tag again, a shorter one each time.
    while (this.#held !== "") {
      if (this.#place === "closed") this.#found();
      else if (this.#place === "fence") this.#endRun();
      else this.#release();
    }
    this.#place = "text";
    this.#flush();
  }

  #take(char: string): void {
    switch (this.#place) {
      case "text":
        return this.#inText(char);
      case "escaped":
        this.#place = "text";
        return this.#say(char);
      case "fence":
        if (char === this.#held[0] && this.#held.length < MAX_TAG_CHARS) {
          this.#held += char;
          return;
        }
        this.#endRun();
        return this.#take(char);
      case "code":
        return this.#inCode(char);
      case "block":
        return this.#inBlock(char);
      case "tag":
        return this.#inTag(char);
      case "closed":
        if (char === "(") this.#release();
        else this.#found();
        return this.#take(char);
      case "angle":
        if (char === "|") {
          this.#held += char;
          this.#place = "act";
          return;
        }
        this.#release();
        return this.#take(char);
      case "act":
        return this.#inAct(char);
      default:
        return this.#place satisfies never;
    }
  }

  #inText(char: string): void {
    switch (char) {
      case "\\":
        this.#place = "escaped";
        return this.#say(char);
      case "`":
      case "~":
        this.#place = "fence";
        this.#held = char;
        return;
      case "[":
        this.#place = "tag";
        this.#held = char;
        return;
      case "<":
        this.#place = "angle";
        this.#held = char;
        return;
      default:
        return this.#say(char);
    }
  }

  /** The run in `#held` has ended: it opens a block, or code, or is nothing. */
  #endRun(): void {
    const run = this.#held;
    this.#held = "";
    this.#closing = "";
    const isBlock = this.#lineStart && run.length >= MIN_FENCE_CHARS;
    if (!isBlock && run[0] !== "`") {
      this.#place = "text";
      return this.#say(run);
    }
    this.#mark(run);
    this.#run = run;
    this.#lineStart = false;
    this.#place = isBlock ? "block" : "code";
    this.#firstLine = isBlock && run[0] === "`" ? "" : undefined;
  }

  /** A stray backtick hides no more than its line; a fence that begins within a line hides a block. */
  #inCode(char: string): void {
    if (char === "`") {
      this.#mark(char);
      if (this.#closing.length < MAX_TAG_CHARS) this.#closing += char;
      return;
    }
    const closed = this.#closing === this.#run;
    this.#closing = "";
    if (!closed && char !== "\n") return this.#say(char);
    if (!closed && this.#run.length >= MIN_FENCE_CHARS) {
      this.#mark(char);
      this.#place = "block";
      this.#lineStart = true;
      return;
    }
    this.#place = "text";
    this.#inText(char);
  }

  #inBlock(char: string): void {
    if (this.#firstLine !== undefined && char === "`") {
      const said = this.#firstLine;
      this.#firstLine = undefined;
      this.#place = "code";
      if (!this.#sink.isVerbatim) this.#say(said);
      return this.#inCode(char);
    }
    this.#mark(char);
    if (this.#firstLine !== undefined) {
      this.#firstLine = char === "\n" || this.#firstLine.length >= MAX_ACT_CHARS
        ? undefined
        : this.#firstLine + char;
    }
    if (char === "\n") {
      const closed = this.#closing.trimEnd().length >= this.#run.length;
      this.#closing = "";
      this.#lineStart = true;
      if (closed) this.#place = "text";
    } else if (
      char === this.#run[0] && (this.#lineStart || this.#closing !== "") && !this.#closing.endsWith(" ")
    ) {
      this.#lineStart = false;
      if (this.#closing.length < MAX_TAG_CHARS) this.#closing += char;
    } else if (this.#closing !== "" && isSpace(char)) {
      if (!this.#closing.endsWith(" ")) this.#closing += " ";
    } else {
      this.#closing = "";
      if (!isSpace(char) && char !== ">") this.#lineStart = false;
    }
  }

  #inTag(char: string): void {
    if (char === "]") {
      this.#held += char;
      this.#place = "closed";
    } else if (char === "[" || char === "\n" || char === "`" || this.#held.length >= MAX_TAG_CHARS) {
      this.#release();
      this.#take(char);
    } else {
      this.#held += char;
    }
  }

  #inAct(char: string): void {
    if (char === "<") {
      this.#release();
      return this.#take(char);
    }
    this.#held += char;
    if (this.#held.endsWith("|>")) this.#found();
    else if (char === "\n" || this.#held.length >= MAX_ACT_CHARS) this.#release();
  }

  /** What is held is a whole tag: an emotion, or else text. */
  #found(): void {
    const emotion = emotionOf(this.#held, this.#words);
    if (emotion === undefined) return this.#release();
    this.#held = "";
    this.#place = "text";
    this.#lineStart = false;
    this.#flush();
    this.#sink.emotion(emotion.tag, emotion.intensity);
  }

  /** What is held does not begin a tag; what follows its first character may. */
  #release(): void {
    const [first = "", ...rest] = this.#held;
    this.#held = "";
    this.#place = "text";
    this.#say(first);
    for (const char of rest) this.#take(char);
  }

  #say(text: string): void {
    this.#passLine(text);
    if (this.#sink.speak) this.#spoken += text;
  }

  /** A mark of code, or what stands in a block: not said, but verbatim it is kept. */
  #mark(text: string): void {
    if (this.#sink.isVerbatim) this.#spoken += text;
  }

  #flush(): void {
    const text = this.#spoken;
    this.#spoken = "";
    if (text !== "") this.#sink.speak?.(text);
  }

  #passLine(text: string): void {
    for (let i = text.length - 1; i >= 0; i--) {
      const char = text[i]!;
      if (char === "\n") {
        this.#lineStart = true;
        return;
      }
      if (!isSpace(char) && char !== ">") {
        this.#lineStart = false;
        return;
      }
    }
  }
}

/** The emotion that a whole tag names, if it names one. */
function emotionOf(tag: string, words: EmotionWords): { tag: string; intensity: number } | undefined {
  if (tag.startsWith("<|")) return actEmotion(tag.slice(2, -2), words);
  const [, face, word = ""] = /^\[\s*(face\s*:)?\s*(.*?)\s*\]$/is.exec(tag) ?? [];
  const name = word.toLowerCase();
  return (face ? words.face : words.plain).has(name) ? { tag: name, intensity: 1 } : undefined;
}

/** AIRI's: `ACT {"emotion":"happy"}`, `ACT:"emotion":{"name":"happy","intensity":0.5}`, and the older `EMOTE_HAPPY`. */
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

function isSpace(char: string): boolean {
  return char === " " || char === "\t" || char === "\r";
}

/** Whether a piece has nothing in it that could begin a tag or code, as most tokens have. */
function isOrdinary(piece: string): boolean {
  for (let i = 0; i < piece.length; i++) {
    switch (piece.charCodeAt(i)) {
      case 0x3c: // <
      case 0x5b: // [
      case 0x5c: // \
      case 0x60: // `
      case 0x7e: // ~
        return false;
    }
  }
  return true;
}
