/** Chance that is the same in every run: for properties that must hold of any input. @module */

/** A seeded source of chance (mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to below `limit`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor(((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32 * limit);
  }

  /** Whether something happens that happens once in so many times. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }

  /** One of the items. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  /** Up to `most` of the items in a row. */
  text(items: readonly string[], most: number): string {
    return Array.from({ length: this.below(most) + 1 }, () => this.pick(items)).join("");
  }

  /** The text in pieces of 1 to `longest` code units, cut anywhere: in a tag, in a surrogate pair. */
  cut(text: string, longest = 1 + this.below(12)): string[] {
    const pieces: string[] = [];
    for (let start = 0; start < text.length;) {
      const end = start + 1 + this.below(longest);
      pieces.push(text.slice(start, end));
      start = end;
    }
    return pieces;
  }
}

/** The text with every code unit by itself, which is the finest cut there is. */
export function unitByUnit(text: string): string[] {
  return Array.from({ length: text.length }, (_, at) => text.charAt(at));
}
