// @ts-check
/** Speech without sound, and the captions of a voice: the speed of speech, the shape of the mouth. @module */

/** Speed in Latin letters, and in scripts in which each character is a syllable or a word. */
const LETTERS_PER_S = 19;
const SYLLABLES_PER_S = 9;
/** If much text waits, the speed rises so that the waiting text takes about this long. */
const MAX_LAG_S = 7;
/** Text that may wait. Earlier text is skipped, because its captions would pass too fast to be read. */
const MAX_WAITING_CHARS = 900;
/** Part of a word behind the current position that counts as spoken, so that captions end with whole words. */
const MAX_WORD_CHARS = 40;
const MAX_CAPTION_CHARS = 150;

const SYLLABLE = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]/;
const PAUSE = /[\s.,!?;:。、，．！？…\u2014-]/;

/**
 * Returns how far the mouth is open for a character, from 0 to 1.
 *
 * @param {string} char
 */
export function mouthOpenness(char) {
  if (PAUSE.test(char)) return 0.04;
  const letter = char.normalize("NFD")[0]?.toLowerCase() ?? "";
  if ("aあかさたなはまやらわアカサタナハマヤラワ".includes(letter)) return 0.95;
  if ("oおこそとのほもよろをオコソトノホモヨロヲ".includes(letter)) return 0.75;
  if ("eえけせてねへめれエケセテネヘメレ".includes(letter)) return 0.6;
  if ("iuyw".includes(letter)) return 0.4;
  if ("mbpfv".includes(letter)) return 0.06;
  // The vowel of any other syllable is unknown: vary the mouth by its code point.
  if (SYLLABLE.test(char)) return 0.35 + 0.5 * ((char.codePointAt(0) ?? 0) % 7) / 6;
  return 0.28;
}

/** Moves through a growing text at the speed of speech. */
export class SpeechPacer {
  /** Whether the text waits however long it is, because a voice reads it. */
  isPatient = false;
  #text = "";
  #position = 0;
  /** Fraction of a character that is left from the last step. */
  #remainder = 0;

  /**
   * Sets the whole text so far.
   *
   * @param {string} text
   */
  setText(text) {
    this.#text = text;
    const earliest = this.isPatient ? 0 : text.length - MAX_WAITING_CHARS;
    this.#position = Math.min(Math.max(this.#position, earliest), text.length);
  }

  /** The whole text so far. */
  get text() {
    return this.#text;
  }

  /** Characters that have been spoken. */
  get position() {
    return this.#position;
  }

  /** Moves forward to a position, which a voice has come to. @param {number} position */
  moveTo(position) {
    this.#position = Math.min(this.#text.length, Math.max(this.#position, Math.floor(position)));
    this.#remainder = 0;
  }

  /** Skips the text that has not been spoken. */
  skip() {
    this.#position = this.#text.length;
    this.#remainder = 0;
  }

  /** Whether the whole text has been spoken. */
  get isDone() {
    return this.#position >= this.#text.length;
  }

  /** The text that has been spoken, up to the end of a word. */
  get spoken() {
    const word = /^[^\s。、！？]*/.exec(this.#text.slice(this.#position))?.[0] ?? "";
    return this.#text.slice(0, this.#position + Math.min(word.length, MAX_WORD_CHARS));
  }

  /**
   * Speaks on.
   *
   * @param {number} seconds
   * @returns {number} How far the mouth is open, from 0 to 1.
   */
  advance(seconds) {
    if (this.isDone) return 0;
    const waiting = this.#text.length - this.#position;
    const speed = SYLLABLE.test(this.#text[this.#position] ?? "") ? SYLLABLES_PER_S : LETTERS_PER_S;
    this.#remainder += seconds * (this.isPatient ? speed : Math.max(speed, waiting / MAX_LAG_S));
    const chars = Math.floor(this.#remainder);
    this.#remainder -= chars;
    this.#position = Math.min(this.#text.length, this.#position + chars);
    return mouthOpenness(this.#text[Math.max(0, this.#position - 1)] ?? "");
  }
}

/** @param {string} text */
export function splitSentences(text) {
  const pattern = /[^\n。！？]*?(?:(?<![.!?…])[.!?…]+["'”’)\]]*(?=\s|$)|[。！？]+[」』]?|\n|$)/g;
  return (text.match(pattern) ?? []).map((sentence) => sentence.trim()).filter((sentence) => sentence !== "");
}

/**
 * Returns the caption for a spoken text: the last sentence, and the one before if both are short.
 *
 * @param {string} spoken
 */
export function captionOf(spoken) {
  const sentences = splitSentences(spoken.slice(-4 * MAX_CAPTION_CHARS));
  const last = sentences.at(-1) ?? "";
  if (last.length > MAX_CAPTION_CHARS) {
    const tail = last.slice(-MAX_CAPTION_CHARS);
    return `…${/\s/.test(tail) ? tail.slice(tail.search(/\s/)) : tail}`;
  }
  const before = sentences.at(-2) ?? "";
  return before !== "" && before.length + last.length < MAX_CAPTION_CHARS * 0.6 ? `${before} ${last}` : last;
}
