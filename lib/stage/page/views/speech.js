// @ts-check
/** Text as it would be spoken: how far along it is, how far the mouth is open, and which words a caption shows. @module */

/** Characters a second: of letters, and of scripts that say more with each. */
const LETTERS_PER_S = 19;
const SYLLABLES_PER_S = 9;
/** Text that waits to be spoken is caught up with in about this time, in seconds. */
const CATCH_UP_S = 7;
/** What is longer is skipped: nobody reads captions at that speed. */
const MAX_WAITING_CHARS = 900;
const SYLLABLE = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]/;
const PAUSE = /[\s.,!?;:。、，．！？…\u2014-]/;

/**
 * How far a mouth is open when it says this.
 *
 * @param {string} char
 */
export function opennessOf(char) {
  if (PAUSE.test(char)) return 0.04;
  const plain = char.normalize("NFD")[0]?.toLowerCase() ?? "";
  if ("aあかさたなはまやらわアカサタナハマヤラワ".includes(plain)) return 0.95;
  if ("oおこそとのほもよろをオコソトノホモヨロヲ".includes(plain)) return 0.75;
  if ("eえけせてねへめれエケセテネヘメレ".includes(plain)) return 0.6;
  if ("iuyw".includes(plain)) return 0.4;
  if ("mbpfv".includes(plain)) return 0.06;
  if (SYLLABLE.test(char)) return 0.35 + 0.5 * ((char.codePointAt(0) ?? 0) % 7) / 6;
  return 0.28;
}

/** Follows a text that is still being written, at the speed of speech. */
export class Speaker {
  #text = "";
  #at = 0;
  #budget = 0;

  /** What is to be said, from its beginning; it may grow from call to call. @param {string} text */
  say(text) {
    // Another text: it is said from its beginning.
    if (!text.startsWith(this.#text.slice(0, this.#at))) this.#at = 0;
    this.#text = text;
    if (text.length - this.#at > MAX_WAITING_CHARS) this.#at = text.length - MAX_WAITING_CHARS;
  }

  /** Says no more. */
  stop() {
    this.#at = this.#text.length;
    this.#budget = 0;
  }

  /** Whether there is nothing left to say. */
  get silent() {
    return this.#at >= this.#text.length;
  }

  /** What has been said so far, to the end of the word. */
  get spoken() {
    const rest = /^[^\s。、！？]*/.exec(this.#text.slice(this.#at))?.[0] ?? "";
    return this.#text.slice(0, this.#at + Math.min(rest.length, 40));
  }

  /**
   * Goes on in time.
   *
   * @param {number} seconds
   * @returns {number} How far the mouth is open, from 0 to 1.
   */
  step(seconds) {
    if (this.silent) return 0;
    const waiting = this.#text.length - this.#at;
    const char = this.#text[this.#at] ?? "";
    const pace = SYLLABLE.test(char) ? SYLLABLES_PER_S : LETTERS_PER_S;
    this.#budget += seconds * Math.max(pace, waiting / CATCH_UP_S);
    const whole = Math.floor(this.#budget);
    this.#budget -= whole;
    this.#at = Math.min(this.#text.length, this.#at + whole);
    return opennessOf(this.#text[Math.max(0, this.#at - 1)] ?? "");
  }
}

/** Characters of a caption. */
const MAX_CAPTION_CHARS = 150;

/**
 * A reply as it can be said aloud: without code, and without the marks of Markdown.
 *
 * @param {string} text
 */
export function speakable(text) {
  return text
    .replace(/(^|\n)[ \t>]*(`{3,}(?=[^`\n]*(?:\n|$))|~{3,})[\s\S]*?(\n[ \t>]*\2[`~]*(?=\s|$)|$)/g, "\n")
    .replace(/!?\[([^\]\n]{0,500})\]\([^)\n]{0,2000}\)/g, "$1")
    .split("\n")
    .map((line, index, { length }) => {
      const words = line.trimStart().replace(/^(#{1,6}|[-*+]|>)\s+/, "").replace(/\*\*|__|`/g, "");
      return index < length - 1 ? words.trimEnd() : words;
    })
    .filter((line, index, { length }) => line !== "" || index === length - 1)
    .join("\n");
}

/**
 * The sentences of a text.
 *
 * @param {string} text
 * @returns {string[]}
 */
export function sentencesOf(text) {
  const found = text.match(/[^\n。！？]*?(?:(?<![.!?…])[.!?…]+["'”’)\]]*(?=\s|$)|[。！？]+[」』]?|\n|$)/g) ??
    [];
  return found.map((sentence) => sentence.trim()).filter((sentence) => sentence !== "");
}

/**
 * What a caption shows of what has been said: its last sentence, with the one before where both are short.
 *
 * @param {string} spoken
 */
export function captionOf(spoken) {
  const sentences = sentencesOf(spoken.slice(-4 * MAX_CAPTION_CHARS));
  const last = sentences.at(-1) ?? "";
  if (last.length > MAX_CAPTION_CHARS) {
    const tail = last.slice(-MAX_CAPTION_CHARS);
    return `…${/\s/.test(tail) ? tail.slice(tail.search(/\s/)) : tail}`;
  }
  const before = sentences.at(-2) ?? "";
  return before !== "" && before.length + last.length < MAX_CAPTION_CHARS * 0.6 ? `${before} ${last}` : last;
}
