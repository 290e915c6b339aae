/** Ends a reply at a stop sequence or at a token limit: pure, and independent of how the text is cut. @module */

import { TokenCount } from "./usage.ts";

/** Text that passes the filter, and the reason if the reply ends with it. */
export interface FilteredText {
  readonly text: string;
  readonly finish: "stop" | "length" | undefined;
}

/** Ends a reply before the first stop sequence, or after about `maxTokens` tokens, whichever comes first. */
export class StopFilter {
  readonly #stop: readonly string[];
  readonly #maxTokens: number;
  readonly #tokens = new TokenCount();
  /** The end of the text so far, which may begin a stop sequence. */
  #pending = "";

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
    const text = this.#pending;
    this.#pending = "";
    return this.#limit(text);
  }

  #limit(text: string, finish?: FilteredText["finish"]): FilteredText {
    let end = 0;
    for (const char of this.#maxTokens === Infinity ? "" : text) {
      this.#tokens.add(char);
      if (this.#tokens.value > this.#maxTokens) return { text: text.slice(0, end), finish: "length" };
      end += char.length;
    }
    return { text, finish };
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
