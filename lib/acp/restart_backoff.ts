/** Delays the restart of an agent that keeps exiting early. @module */

import { delay } from "@std/async/delay";
import { AppError } from "../core/errors.ts";

/** An exit within this time after the process was ready, without an answered prompt, is an early exit. */
const EARLY_MS = 10_000;
/** Early exits in a row after which a request is refused instead of waiting. */
const MAX_EXITS = 3;
/** Delay after the first early exit; each further exit doubles it. */
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 30_000;

/** The early exits of an agent in a row. */
export class RestartBackoff {
  readonly #now: () => number;
  #exits = 0;
  #notBeforeMs = 0;
  #readyAtMs = 0;
  #hasAnswered = false;

  constructor(now: () => number) {
    this.#now = now;
  }

  get exits(): number {
    return this.#exits;
  }

  /** Whether an exit now would be an early one. */
  get isEarly(): boolean {
    return !this.#hasAnswered && this.#now() - this.#readyAtMs < EARLY_MS;
  }

  /** Counts an early exit. @returns The delay of the next start, in milliseconds. */
  count(): number {
    this.#exits++;
    const delayMs = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** (this.#exits - 1));
    this.#notBeforeMs = this.#now() + delayMs;
    return delayMs;
  }

  /** Notes that the started process is ready. Slow agents take longer for that than an early exit. */
  markReady(): void {
    this.#readyAtMs = this.#now();
    this.#hasAnswered = false;
  }

  /** Starts over, because the agent answered a prompt. */
  reset(): void {
    this.#hasAnswered = true;
    this.#exits = 0;
  }

  /**
   * Waits until the agent may be started.
   *
   * @throws {AppError} `agent_unavailable` after {@linkcode MAX_EXITS} early exits, with the time to wait.
   */
  async waitForStart(signal: AbortSignal): Promise<void> {
    const waitMs = this.#notBeforeMs - this.#now();
    if (waitMs > 0 && this.#exits >= MAX_EXITS) {
      const retryAfterSecs = Math.ceil(waitMs / 1000);
      throw new AppError(
        "agent_unavailable",
        `The agent exited ${this.#exits} times in a row during start-up. The reason is in this program's log. ` +
          `The next start is in ${retryAfterSecs} seconds at the earliest.`,
        { retryAfterSecs },
      );
    }
    if (waitMs > 0) await delay(waitMs, { signal });
    signal.throwIfAborted();
  }
}
