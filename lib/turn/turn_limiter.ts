/** Limits how many turns run at once. @module */

import { AppError } from "../core/errors.ts";

/** Seconds after which a refused client may try again; short, because turns end at any moment. */
const RETRY_AFTER_SECS = 3;

/** Counts the running turns, and refuses further ones at the limit. */
export class TurnLimiter {
  readonly #limit: number;
  #running = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** How many turns run. */
  get running(): number {
    return this.#running;
  }

  /**
   * Counts a turn until the result is disposed of, once the agent has ended the turn.
   *
   * @param replacing The turn supersedes a running one, which is about to end; such a turn is never refused.
   * @throws {AppError} `rate_limit_exceeded` with the seconds to wait, at the limit.
   */
  acquire(replacing = false): Disposable {
    if (this.#running >= this.#limit && !replacing) {
      throw new AppError(
        "rate_limit_exceeded",
        `All ${this.#limit} turns are in use. Try again in ${RETRY_AFTER_SECS} seconds, or raise VTUBER_MAX_IN_FLIGHT.`,
        { retryAfterSecs: RETRY_AFTER_SECS },
      );
    }
    this.#running++;
    const slot = new DisposableStack();
    slot.defer(() => this.#running--);
    return slot;
  }
}
