/**
 * Late updates: some agents send the last ones of a prompt, or the rest of a repeated history, behind their answer.
 *
 * @module
 */

import { BoundedMap } from "../core/bounded_map.ts";
import { type IdleTimer, startIdleTimer } from "../core/idle_timer.ts";

/** Limits of a quiet period, in milliseconds. */
export interface QuietTimes {
  /** The silence that ends it. 0 ends it at once. */
  readonly silenceMs: number;
  /** Its longest duration. */
  readonly maxMs: number;
}

/** Waits until an agent has sent nothing for a while. It runs until it is disposed of or over. */
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

/** Messages whose prompt is remembered. */
const MAX_MESSAGES = 100;

/** The prompts of one session that its messages belong to, by `messageId`. */
export class MessageOwners {
  readonly #prompts = new BoundedMap<string, number>(MAX_MESSAGES);
  #areIdsReused = false;

  /**
   * Whether a message belongs to an earlier prompt. A new message belongs to the current one.
   *
   * @param current The number of the running prompt; 0 if there is none.
   */
  isOfEarlierPrompt(messageId: string | undefined, current: number): boolean {
    if (messageId === undefined || this.#areIdsReused) return false;
    const owner = this.#prompts.get(messageId);
    if (owner === undefined) this.#prompts.set(messageId, current);
    return owner !== undefined && owner !== current;
  }

  /** Ignores ids from now on: the agent, or the provider behind it, gives the same one to several messages. */
  ignoreIds(): void {
    this.#areIdsReused = true;
  }
}
