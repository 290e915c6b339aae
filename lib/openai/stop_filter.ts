/** Where a reply is cut short: at a stop sequence, or at its longest. Pure, and the same however the text is cut. @module */

import { TokenCount } from "./usage.ts";

/** What of a piece of the reply stands, and why it ends there, if it does. */
export interface FilteredText {
  readonly text: string;
  readonly finish: "stop" | "length" | undefined;
}

/** Cuts a reply before the first stop sequence, or after about `maxTokens` tokens, whichever comes first. */
export class StopFilter {
  readonly #stop: readonly string[];
  readonly #maxTokens: number | undefined;
  readonly #count = new TokenCount();
  /** The end of what came, which may be the start of a stop sequence. */
  #held = "";

  constructor(stop: readonly string[], maxTokens: number | undefined) {
    this.#stop = stop;
    this.#maxTokens = maxTokens;
  }

  /** Takes a piece of the reply. */
  push(piece: string): FilteredText {
    const text = this.#held + piece;
    this.#held = "";
    const stop = this.#firstStop(text);
    if (stop !== undefined) return this.#limit(text.slice(0, stop), "stop");
    const keep = text.length - this.#mayBegin(text);
    this.#held = text.slice(keep);
    return this.#limit(text.slice(0, keep), undefined);
  }

  /** What was held back, once the reply has ended. */
  end(): FilteredText {
    const text = this.#held;
    this.#held = "";
    return this.#limit(text, undefined);
  }

  #limit(text: string, finish: FilteredText["finish"]): FilteredText {
    if (this.#maxTokens === undefined || text === "") return { text, finish };
    let said = "";
    for (const char of text) {
      this.#count.add(char);
      if (this.#count.tokens > this.#maxTokens) return { text: said, finish: "length" };
      said += char;
    }
    return { text: said, finish };
  }

  /** Where the stop sequence begins that is complete first; of two that are, the longer. */
  #firstStop(text: string): number | undefined {
    let first: { start: number; end: number } | undefined;
    for (const stop of this.#stop) {
      const start = text.indexOf(stop);
      const end = start + stop.length;
      if (start < 0 || first && (end > first.end || end === first.end && start > first.start)) continue;
      first = { start, end };
    }
    return first?.start;
  }

  /** How many of the last characters may be the start of a stop sequence, or the first half of a character. */
  #mayBegin(text: string): number {
    const longest = Math.max(0, ...this.#stop.map((stop) => stop.length - 1));
    for (let length = Math.min(longest, text.length); length > 0; length--) {
      const end = text.slice(-length);
      if (this.#stop.some((stop) => stop.startsWith(end))) return length;
    }
    const last = text.charCodeAt(text.length - 1);
    return last >= 0xd800 && last <= 0xdbff ? 1 : 0;
  }
}
