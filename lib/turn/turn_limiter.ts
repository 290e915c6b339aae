/** How many turns run at once. @module */

import { AppError } from "../core/errors.ts";

/** Seconds after which a refused caller may try again: short, since turns end at any moment. */
const RETRY_AFTER_SECS = 3;

/** Counts running turns and refuses those beyond the limit. */
export class TurnLimiter {
  readonly limit: number;
  #used = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  /** How many are taken. */
  get running(): number {
    return this.#used;
  }

  /**
   * Takes a slot until it is disposed of, which a holder does once its turn has really ended.
   *
   * @param replacing The turn takes the place of a running one, whose slot is about to be free: never refused.
   * @throws {AppError} `rate_limit_exceeded` with the seconds to wait, when all are taken.
   */
  acquire(replacing = false): Disposable {
    if (this.#used >= this.limit && !replacing) {
      throw new AppError(
        "rate_limit_exceeded",
        `All ${this.limit} turns are in use; try again in ${RETRY_AFTER_SECS} seconds, or raise VTUBER_MAX_IN_FLIGHT.`,
        { retryAfterSecs: RETRY_AFTER_SECS },
      );
    }
    this.#used++;
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (held) this.#used--;
        held = false;
      },
    };
  }
}
