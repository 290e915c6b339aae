/** A limit on how much runs at once. @module */

import { abortable } from "./abortable.ts";
import { AppError } from "./errors.ts";

/** Seconds after which a caller that found no place may try again. */
const RETRY_AFTER_SECS = 5;

/** The limits of a {@linkcode Semaphore}. */
export interface SemaphoreLimits {
  /** Holders at a time. */
  readonly places: number;
  /** Callers that wait for a place. */
  readonly maxWaiting: number;
  /** The error of a caller beyond, as a sentence: `Too many texts wait to be spoken.` */
  readonly full: string;
}

/**
 * Hands out places. Callers wait for theirs in order.
 *
 * @example
 * ```ts
 * import { Semaphore } from "./semaphore.ts";
 * const checks = new Semaphore({ places: 2, maxWaiting: 32, full: "Too many checks wait." });
 * using _place = await checks.take(AbortSignal.timeout(1_000));
 * ```
 */
export class Semaphore {
  readonly #limits: SemaphoreLimits;
  readonly #waiting: (() => void)[] = [];
  #taken = 0;

  constructor(limits: SemaphoreLimits) {
    this.#limits = limits;
  }

  /**
   * Waits for a place, which is free again when it is disposed of.
   *
   * @throws {AppError} `rate_limit_exceeded` if too many wait; the signal's reason if it aborts.
   */
  async take(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    const { places, maxWaiting, full } = this.#limits;
    if (this.#taken < places) {
      this.#taken++;
    } else if (this.#waiting.length < maxWaiting) {
      await this.#wait(signal);
    } else {
      const message = `${full} Try again in ${RETRY_AFTER_SECS} seconds.`;
      throw new AppError("rate_limit_exceeded", message, { retryAfterSecs: RETRY_AFTER_SECS });
    }
    let isFree = false;
    return {
      [Symbol.dispose]: () => {
        if (!isFree) this.#give();
        isFree = true;
      },
    };
  }

  async #wait(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    try {
      await abortable(promise, signal);
    } catch (error) {
      const index = this.#waiting.indexOf(resolve);
      if (index >= 0) this.#waiting.splice(index, 1);
      else this.#give();
      throw error;
    }
  }

  /** Hands a place to the next caller that waits. */
  #give(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#taken--;
  }
}
