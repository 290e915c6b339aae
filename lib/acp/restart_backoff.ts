/** Early deaths of an agent, and how long its next start waits for them. @module */

import { abortable } from "../core/abortable.ts";
import { AppError } from "../core/errors.ts";

/** Early deaths in a row after which requests are refused until the wait is over, instead of waiting. */
const FAILING_DEATHS = 3;
/** The wait before the first restart after an early death; doubled by each further one. */
const FIRST_WAIT_MS = 500;
/** The longest wait. */
const MAX_WAIT_MS = 30_000;

/** The early deaths of an agent, in a row. */
export class RestartBackoff {
  readonly #now: () => number;
  #number = 0;
  #notBefore = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** How many there were. */
  get number(): number {
    return this.#number;
  }

  /** There were so many that nobody should wait for the next start. */
  get #isFailing(): boolean {
    return this.#number >= FAILING_DEATHS;
  }

  /** Counts one; tells how long the next start waits, in milliseconds. */
  count(): number {
    this.#number++;
    const waitMs = Math.min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** (this.#number - 1));
    this.#notBefore = this.#now() + waitMs;
    return waitMs;
  }

  /** The agent was of use. */
  forget(): void {
    this.#number = 0;
  }

  /**
   * Resolves when the agent may be started.
   *
   * @throws {AppError} `agent_unavailable` if it is failing and that is not yet; the signal's reason if it aborts.
   */
  async wait(signal: AbortSignal): Promise<void> {
    const waitMs = this.#notBefore - this.#now();
    if (waitMs <= 0) return;
    if (this.#isFailing) {
      const retryAfterSecs = Math.ceil(waitMs / 1000);
      throw new AppError(
        "agent_unavailable",
        `The agent died ${this.#number} times in a row before it was of use; see this program's log. ` +
          `It is started again in ${retryAfterSecs} seconds at the earliest.`,
        { retryAfterSecs },
      );
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, waitMs);
    await abortable(promise, signal).finally(() => clearTimeout(timer));
  }
}
