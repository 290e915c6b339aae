/** Ends a reply at a stop sequence or at a token limit: pure, and independent of how the text is cut. @module */

import { TokenCount } from "./usage.ts";

/** Text that passes the filter, and the reason if the reply ends with it. */
export interface FilteredText {
  readonly text: string;
  readonly finish: "stop" | "length" | undefined;
}

/** Tokens before the limit in which the text passes sentence by sentence, so that the reply can end with one. */
const NEAR_TOKENS = 150;
/** The end of a sentence: before a space, or of a line, or with marks that need no space. */
const SENTENCE_END = /[.!?…]+["'”’)\]]*(?=\s)|[。．！？]+["'”’」』)]*(?=[^。．！？"'”’」』)])|\n/g;
/** The start of an emotion tag at the end of the text. */
const OPEN_TAG = /(?:\[[^[\]\n]{0,63}|<(?:\|(?:(?!\|>)[^\n])*)?)$/;

/**
 * Ends a reply before the first stop sequence, or after about `maxTokens` tokens, whichever comes first. A limit ends
 * the reply with a sentence if one ends within {@linkcode NEAR_TOKENS} before the limit, and never inside an emotion
 * tag.
 */
export class StopFilter {
  readonly #stop: readonly string[];
  readonly #maxTokens: number;
  readonly #tokens = new TokenCount();
  /** The end of the text so far, which may begin a stop sequence. */
  #pending = "";
  /** Text near the limit whose sentence has not ended. */
  #held = "";
  /** Whether a sentence has ended near the limit. */
  #hasSentenceEnd = false;

  constructor(stop: readonly string[], maxTokens = Infinity) {
    this.#stop = stop;
    this.#maxTokens = maxTokens;
  }

  /** Adds a piece of the reply. */
  push(piece: string): FilteredText {
    const text = this.#pending + piece;
    this.#pending = "";
    const stop = this.#findStop(text);
    if (stop !== undefined) return this.#limit(text.slice(0, stop), "stop");
    const end = text.length - this.#pendingChars(text);
    this.#pending = text.slice(end);
    return this.#limit(text.slice(0, end));
  }

  /** Returns the pending text at the end of the reply. */
  end(): FilteredText {
    const { text, finish } = this.#limit(this.#pending);
    this.#pending = "";
    return finish ? { text, finish } : { text: text + this.#takeHeld(), finish };
  }

  #limit(text: string, finish?: FilteredText["finish"]): FilteredText {
    if (this.#maxTokens === Infinity) return { text, finish };
    let passed = "";
    for (const char of text) {
      this.#tokens.add(char);
      if (this.#tokens.value > this.#maxTokens) return { text: passed + this.#cut(char), finish: "length" };
      if (this.#maxTokens - this.#tokens.value >= NEAR_TOKENS) passed += char;
      else this.#held += char;
    }
    return { text: passed + (finish ? this.#takeHeld() : this.#takeSentences()), finish };
  }

  /** Takes the sentences that have ended. @param next The character behind the text, if known. */
  #takeSentences(next = ""): string {
    const last = [...(this.#held + next).matchAll(SENTENCE_END)].at(-1);
    if (last === undefined) return "";
    this.#hasSentenceEnd = true;
    return this.#takeHeld(last.index + last[0].length);
  }

  /** Takes what may stay of the text at the limit. */
  #cut(next: string): string {
    const sentences = this.#takeSentences(next);
    return this.#hasSentenceEnd ? sentences : this.#takeHeld().replace(OPEN_TAG, "");
  }

  #takeHeld(length = this.#held.length): string {
    const text = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return text;
  }

  /** Finds the start of the stop sequence that is complete first; of two that end together, the longer. */
  #findStop(text: string): number | undefined {
    const found = this.#stop.map((stop) => ({ start: text.indexOf(stop), length: stop.length }))
      .filter(({ start }) => start >= 0);
    return found.sort((a, b) => a.start + a.length - b.start - b.length || b.length - a.length)[0]?.start;
  }

  /** How many of the last characters may begin a stop sequence, or are the first half of a surrogate pair. */
  #pendingChars(text: string): number {
    const longest = Math.max(0, ...this.#stop.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, text.length); length > 0; length--) {
      const end = text.slice(-length);
      if (this.#stop.some((stop) => stop.startsWith(end))) return length;
    }
    return /[\ud800-\udbff]$/.test(text) ? 1 : 0;
  }
}
