/** Limits how much each key does at once, so that no key uses up what all keys share. @module */

import { AppError } from "../core/errors.ts";
import type { Caller } from "../turn/caller.ts";

/** Seconds after which a client that was refused may try again. */
const RETRY_AFTER_SECS = 5;

/** Counts what each key does at once. */
export class KeyLimit {
  readonly #max: number;
  readonly #things: string;
  /** What is in progress, by the id of the key. */
  readonly #counts = new Map<string, number>();

  /** @param things The limited things in a sentence: `texts that are spoken`. */
  constructor(max: number, things: string) {
    this.#max = max;
    this.#things = things;
  }

  /** Counts one more, until the result is disposed of. @throws {AppError} `rate_limit_exceeded` beyond the limit. */
  take({ id }: Pick<Caller, "id">): Disposable {
    const count = this.#counts.get(id) ?? 0;
    if (count >= this.#max) {
      const message = `This key has ${this.#max} ${this.#things} at once already. ` +
        `Try again in ${RETRY_AFTER_SECS} seconds.`;
      throw new AppError("rate_limit_exceeded", message, { retryAfterSecs: RETRY_AFTER_SECS });
    }
    this.#counts.set(id, count + 1);
    let isOver = false;
    return {
      [Symbol.dispose]: () => {
        if (isOver) return;
        isOver = true;
        const left = this.#counts.get(id)! - 1;
        if (left > 0) this.#counts.set(id, left);
        else this.#counts.delete(id);
      },
    };
  }
}
