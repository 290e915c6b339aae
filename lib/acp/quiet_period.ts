/** Waits until an agent has been quiet for a while, because some agents send updates behind their answer. @module */

import { type IdleTimer, startIdleTimer } from "../core/idle_timer.ts";

/** Limits of a quiet period, in milliseconds. */
export interface QuietTimes {
  /** The silence that ends it. 0 ends it at once. */
  readonly silenceMs: number;
  /** Its longest duration. */
  readonly maxMs: number;
}

/** A quiet period that runs until it is disposed of or over. */
export class QuietPeriod implements Disposable {
  readonly #silence: IdleTimer;
  readonly #limit: IdleTimer;

  /** @param onEnd Called once, unless the period is disposed of first. */
  constructor({ silenceMs, maxMs }: QuietTimes, onEnd: () => void) {
    const end = () => {
      this[Symbol.dispose]();
      onEnd();
    };
    this.#silence = startIdleTimer(silenceMs, end);
    this.#limit = startIdleTimer(maxMs, end);
  }

  /** Starts the silence anew. */
  touch(): void {
    this.#silence.touch();
  }

  [Symbol.dispose](): void {
    this.#silence[Symbol.dispose]();
    this.#limit[Symbol.dispose]();
  }
}
