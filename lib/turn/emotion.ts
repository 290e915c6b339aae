/**
 * Finds emotion tags in streamed text: `[happy]`, `[face:Joy]`, `<|ACT {"emotion":"happy"}|>`. Finds the same tags,
 * each once, however the text is cut into pieces. Tags in code and the texts of links do not count.
 *
 * @module
 */

/** Emotion words in lower case, by the form of their tag: `[word]`, `[face:word]`, `<|ACT {"emotion":"word"}|>`. */
export type EmotionWords = Readonly<Record<"plain" | "face" | "act", ReadonlySet<string>>>;

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
  speak(text: string): void;
  /** `speak` gets code blocks and backticks too. */
  readonly isVerbatim?: boolean;
}

/** Characters that can begin a tag, an escape or code. Most pieces have none. */
const SPECIAL = /[\\`[<]/;
/** Plain characters, an escape, or a tag. */
const TOKEN = /[^\\`[<]+|\\[^]|\[[^[\]\n`]{0,63}\]|<\|[^<\n]{0,508}?\|>/y;
/** The start of an escape or a tag at the end of the text so far. */
const TOKEN_START = /\\$|\[[^[\]\n`]{0,63}$|<(?:\|[^<\n]{0,509})?$/y;
/** A run of backticks; longer runs count as several. */
const FENCE = /`{1,64}/y;
/** The fence that closes a code block, with the rest of its line. */
const BLOCK_END = /`{1,64}[ \t\r]{0,64}\n?/y;
/** Code between at least this many backticks is a block, which is not spoken. */
const MIN_BLOCK_FENCE = 3;

/** Why the scanner reads its buffer: a piece came, the text pauses, or it is over. */
type Cause = "piece" | "pause" | "end";

/** Emotions of one text. Further tags are left out of the speech, and show nothing: no face changes as often. */
const MAX_EMOTIONS = 1_000;

/** Finds emotion tags in text that comes in pieces. */
export class EmotionScanner {
  readonly #words: EmotionWords;
  readonly #sink: EmotionSink;
  /** Text that is not decided yet, such as the start of a tag. */
  #buffer = "";
  /** Position in the buffer. */
  #at = 0;
  /** Text that `speak` gets next. */
  #spoken = "";
  /** Number of emotions so far. */
  #found = 0;
  /** The backticks that opened the code; empty outside of code. */
  #fence = "";

  constructor(words: EmotionWords, sink: EmotionSink) {
    this.#words = words;
    this.#sink = sink;
  }

  /** Scans the next piece. */
  push(piece: string): void {
    if (this.#fence === "" && this.#buffer === "" && !SPECIAL.test(piece)) {
      this.#sink.speak(piece);
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
    this.#fence = "";
  }

  #read(cause: Cause): void {
    while (this.#at < this.#buffer.length) {
      const isRead = this.#fence === "" ? this.#readText(cause) : this.#readCode(cause);
      if (!isRead) break;
    }
    this.#buffer = this.#buffer.slice(this.#at);
    this.#at = 0;
    this.#flush();
  }

  /** Reads a token of text. @returns Whether there was one; else the text has to go on first. */
  #readText(cause: Cause): boolean {
    if (this.#buffer[this.#at] === "`") {
      const fence = this.#match(FENCE, cause);
      if (fence === undefined) return false;
      this.#fence = fence;
      return this.#skip(fence.length);
    }
    TOKEN.lastIndex = TOKEN_START.lastIndex = this.#at;
    const token = TOKEN.exec(this.#buffer)?.[0];
    if (token === undefined) {
      if (cause !== "end" && TOKEN_START.test(this.#buffer)) return false;
      return this.#say(1);
    }
    const next = this.#buffer[this.#at + token.length];
    // A tag in brackets is the text of a link if a `(` follows.
    if (token[0] === "[" && next === undefined && cause === "piece") return false;
    const emotion = emotionOf(token, this.#words);
    if (emotion === undefined || token[0] === "[" && next === "(") return this.#say(token.length);
    this.#at += token.length;
    if (++this.#found > MAX_EMOTIONS) return true;
    this.#flush();
    this.#sink.emotion(emotion.tag, emotion.intensity);
    return true;
  }

  /**
   * Reads code up to a fence. A block ends with at least as many backticks as opened it. Other code ends with the same
   * number, or with its line, because a stray backtick is likelier than inline code of several lines.
   */
  #readCode(cause: Cause): boolean {
    const isBlock = this.#fence.length >= MIN_BLOCK_FENCE;
    const stop = indexOfAny(this.#buffer, isBlock ? "`" : "`\n", this.#at);
    if (stop > this.#at) return isBlock ? this.#skip(stop - this.#at) : this.#say(stop - this.#at);
    if (this.#buffer[stop] === "\n") {
      this.#fence = "";
      return true;
    }
    const end = this.#match(isBlock ? BLOCK_END : FENCE, cause);
    if (end === undefined) return false;
    const isClosed = isBlock ? end.trimEnd().length >= this.#fence.length : end === this.#fence;
    if (isClosed) this.#fence = "";
    return this.#skip(end.length);
  }

  /** Matches a fence that the text cannot make longer. */
  #match(pattern: RegExp, cause: Cause): string | undefined {
    pattern.lastIndex = this.#at;
    const fence = pattern.exec(this.#buffer)![0];
    const mayGrow = this.#at + fence.length === this.#buffer.length && !fence.endsWith("\n");
    return mayGrow && cause !== "end" ? undefined : fence;
  }

  /** Passes on characters that are said. */
  #say(length: number): true {
    this.#spoken += this.#buffer.slice(this.#at, this.#at += length);
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
    if (text !== "") this.#sink.speak(text);
  }
}

function indexOfAny(text: string, characters: string, from: number): number {
  for (let at = from; at < text.length; at++) if (characters.includes(text[at]!)) return at;
  return text.length;
}

/** Returns the emotion that a complete tag names. */
function emotionOf(tag: string, words: EmotionWords): { tag: string; intensity: number } | undefined {
  if (tag.startsWith("<|")) return actEmotion(tag.slice(2, -2), words);
  const [, face, word = ""] = /^\[\s*(face\s*:)?\s*(.*?)\s*\]$/is.exec(tag) ?? [];
  const name = word.toLowerCase();
  return (face ? words.face : words.plain).has(name) ? { tag: name, intensity: 1 } : undefined;
}

/** Reads AIRI's `ACT {"emotion":"happy"}` and `ACT:"emotion":{"name":"happy","intensity":0.5}`. */
function actEmotion(content: string, words: EmotionWords): { tag: string; intensity: number } | undefined {
  const body = /^\s*ACT\b\s*:?\s*(.*)$/is.exec(content)?.[1];
  if (body === undefined) return undefined;
  try {
    const { emotion } = JSON.parse(body.startsWith("{") ? body : `{${body}}`);
    // A string has neither field, and so is the name itself.
    const { name = emotion, intensity } = Object(emotion);
    const tag = typeof name === "string" ? name.toLowerCase() : "";
    if (!words.act.has(tag)) return undefined;
    return {
      tag,
      intensity: typeof intensity === "number" && intensity >= 0 && intensity <= 1 ? intensity : 1,
    };
  } catch {
    return undefined;
  }
}
