/** Several turns of one caller in one conversation, such as an answer and its repair. @module */

import type { QueueTicket } from "./turn_queue.ts";
import type { ActiveConversation } from "./active.ts";

/** Keeps a conversation open until it is disposed of: that of the first turn that it goes with, or one of its own. */
export class PrivateConversation implements Disposable {
  readonly #ended: (live: ActiveConversation | undefined) => void;
  #live: ActiveConversation | undefined;
  #place: QueueTicket | undefined;
  #gave: ((reply: string | undefined) => void) | undefined;

  /** Not for callers, who get one from the conversations. @param ended Called once, when it is held no more. */
  constructor(ended: (live: ActiveConversation | undefined) => void) {
    this.#ended = ended;
  }

  /** The conversation that is held, if a turn went with it. */
  get live(): ActiveConversation | undefined {
    return this.#live;
  }

  /** From now on it holds this conversation, if it holds none. @returns Whether it does so now for the first time. */
  begin(live: ActiveConversation, gave?: (reply: string | undefined) => void): void {
    if (this.#live) return;
    this.#live = live;
    this.#gave = gave;
    live.holders++;
  }

  /** Keeps the place of a turn that has ended for the next one; a place that it has no use for is left. */
  keep(place: QueueTicket, live: ActiveConversation): void {
    if (this.#live !== live || this.#place) return place.release();
    this.#place = place;
    place.pause();
  }

  /** The place that was kept. There is none for a third turn at the same time. */
  take(): QueueTicket | undefined {
    const place = this.#place;
    this.#place = undefined;
    return place;
  }

  /** What its caller was given in the end, of all that its turns said; nothing if it was given no answer. */
  gave(reply: string | undefined): void {
    this.#gave?.(reply);
  }

  [Symbol.dispose](): void {
    const live = this.#live;
    this.#live = undefined;
    this.#gave = undefined;
    this.take()?.release();
    if (live) live.holders--;
    this.#ended(live);
  }
}
