/** Who waits in one conversation: its turns run one after the other. @module */

import { abortable } from "../core/abortable.ts";
import { AppError } from "../core/errors.ts";
import type { Turn } from "../turn/turn.ts";

/**
 * What a request does whose conversation is busy (`VTUBER_ON_BUSY`): `supersede` cancels the turn that runs, `queue`
 * waits for its end, `reject` is refused.
 */
export const BUSY_MODES = ["supersede", "queue", "reject"] as const;
/** One of {@linkcode BUSY_MODES}. */
export type BusyMode = (typeof BUSY_MODES)[number];

/** Turns that wait in one conversation, in mode `queue`. */
export const MAX_QUEUED = 8;
/** How long one of them waits at most, in milliseconds. */
const QUEUE_MS = 60_000;
const SUPERSEDED = "A newer request of the same conversation took this one's place.";
/** Seconds after which who was refused may try again. */
const RETRY_AFTER_SECS = 3;

/** A place in the line: left once its turn has really ended, or could not begin. */
export interface QueueTicket {
  /** Nothing before it is waited for, or what is has been given up for it. */
  readonly isHead: boolean;
  /** Its turn, once that has begun. */
  readonly turn: Turn | undefined;
  /** Resolves when it is left. */
  readonly released: Promise<void>;
  /** Its part of the turns that may run at once; freed when it is left. */
  slot: Disposable | undefined;
  /**
   * Waits for the turns before it.
   *
   * @returns A signal that aborts when this one is given up, by its caller or for a newer one.
   * @throws {AppError} `turn_cancelled` or `session_busy`; the signal's reason if it aborts.
   */
  waitForTurn(signal: AbortSignal | undefined): Promise<AbortSignal>;
  /** Its turn has begun. */
  attach(turn: Turn): void;
  /** Cancels its turn, or refuses it if that has not begun: `turn_cancelled`, and why. */
  cancelAll(why: string): void;
  /** Its turn has ended, but its caller has another: nobody passes until then, unless it is given up. */
  pause(): void;
  release(): void;
}

/** The turns of one conversation, in order. */
export class TurnQueue {
  readonly #places = new Set<QueueTicket>();
  /** Settles when the last place that was taken is left. */
  #tail: Promise<void> = Promise.resolve();

  /** Whether a turn runs or waits. */
  get isBusy(): boolean {
    return this.#places.size > 0;
  }

  /** Whether a turn may enter now. @throws {AppError} `session_busy` if it may not. */
  check(mode: BusyMode): void {
    if (!this.isBusy || mode === "supersede") return;
    if (mode === "reject") throw busy("A turn of this conversation is running.");
    const waiting = [...this.#places].filter(({ isHead }) => !isHead);
    if (waiting.length >= MAX_QUEUED) throw busy(`${MAX_QUEUED} requests wait in this conversation.`);
  }

  /** Takes a place at the end; in mode `supersede` those before it are given up. */
  enter(mode: BusyMode, slot?: Disposable): QueueTicket {
    if (mode === "supersede") this.giveUp(SUPERSEDED);
    const before = this.isBusy ? this.#tail : undefined;
    const { promise: left, resolve: leave } = Promise.withResolvers<void>();
    this.#tail = before ? before.then(() => left) : left;
    const given = new AbortController();
    let isNext = before === undefined || mode === "supersede";
    let isPaused = false;
    let turn: Turn | undefined;
    const place: QueueTicket = {
      slot,
      released: left,
      get isHead() {
        return isNext;
      },
      get turn() {
        return turn;
      },
      waitForTurn: async (signal) => {
        const givenUp = signal ? AbortSignal.any([signal, given.signal]) : given.signal;
        isPaused = false;
        givenUp.throwIfAborted();
        if (before) await (mode === "queue" ? inTime(before, givenUp) : abortable(before, givenUp));
        isNext = true;
        return givenUp;
      },
      attach: (begun) => {
        turn = begun;
        // Somebody may have come while the prompt was put.
        if (given.signal.aborted) begun.cancel();
      },
      cancelAll: (why) => {
        given.abort(new AppError("turn_cancelled", why));
        turn?.cancel();
        if (isPaused) place.release();
      },
      pause: () => {
        isPaused = true;
        if (given.signal.aborted) place.release();
      },
      release: () => {
        place.slot?.[Symbol.dispose]();
        this.#places.delete(place);
        leave();
      },
    };
    this.#places.add(place);
    return place;
  }

  /** Cancels the turn that runs, and refuses those that wait. */
  giveUp(why: string): void {
    for (const place of this.#places) place.cancelAll(why);
  }
}

async function inTime(before: Promise<void>, signal: AbortSignal): Promise<void> {
  const late = new AbortController();
  const why = `The turn before took longer than this one may wait, ${QUEUE_MS / 1000} seconds.`;
  const timer = setTimeout(() => late.abort(busy(why)), QUEUE_MS);
  try {
    await abortable(before, AbortSignal.any([signal, late.signal]));
  } finally {
    clearTimeout(timer);
  }
}

function busy(why: string): AppError {
  return new AppError("session_busy", `${why} Try again in ${RETRY_AFTER_SECS} seconds.`, {
    retryAfterSecs: RETRY_AFTER_SECS,
  });
}
