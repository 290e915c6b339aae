/** Serialises the turns of one conversation: one runs, the others wait, are superseded or are rejected. @module */

import { abortable } from "../core/abortable.ts";
import { AppError } from "../core/errors.ts";
import type { CancelCause, Turn } from "../turn/turn.ts";

/**
 * The ways of a request whose conversation is busy (`VTUBER_ON_BUSY`): `supersede` cancels the running turn, `queue`
 * waits for its end, `reject` fails.
 */
export const BUSY_MODES = ["supersede", "queue", "reject"] as const;
/** One of {@linkcode BUSY_MODES}. */
export type BusyMode = (typeof BUSY_MODES)[number];

/** Requests that can wait in one conversation in mode `queue`. */
export const MAX_QUEUED = 8;
/** Longest wait in mode `queue`, in milliseconds. In mode `supersede` the earlier turns are about to end. */
const MAX_WAIT_MS = 60_000;
/** Seconds after which a rejected client may try again. */
const RETRY_AFTER_SECS = 3;

/** The queue of one conversation. */
export class TurnQueue {
  readonly #tickets = new Set<QueueTicket>();

  /** Whether a turn is running or waiting. */
  get isBusy(): boolean {
    return this.#tickets.size > 0;
  }

  /**
   * Adds a request. In mode `supersede`, cancels all earlier ones first.
   *
   * @throws {AppError} `session_busy` in mode `reject`, or when {@linkcode MAX_QUEUED} requests already wait.
   */
  enter(mode: BusyMode): QueueTicket {
    if (this.isBusy && mode === "supersede") {
      for (const ticket of this.#tickets) ticket.supersede();
    } else if (this.isBusy && mode === "reject") {
      throw busy("A turn of this conversation is running.");
    } else if (this.#tickets.size > MAX_QUEUED) {
      throw busy(`${MAX_QUEUED} requests wait in this conversation.`);
    }
    return new QueueTicket(mode, this.#tickets);
  }

  /** Cancels all requests. */
  cancelAll(reason: AppError): void {
    for (const ticket of this.#tickets) ticket.cancel(reason);
  }
}

/** Makes the error of a request that was cancelled before its turn could start. */
export function cancelled(message: string): AppError {
  return new AppError("turn_cancelled", message);
}

function busy(message: string): AppError {
  return new AppError("session_busy", `${message} Try again in ${RETRY_AFTER_SECS} seconds.`, {
    retryAfterSecs: RETRY_AFTER_SECS,
  });
}

/** A request's position in the queue, held until its turn has ended or could not start. */
export class QueueTicket {
  readonly #mode: BusyMode;
  readonly #tickets: Set<QueueTicket>;
  readonly #cancelling = new AbortController();
  readonly #released = Promise.withResolvers<void>();
  #stopListening = () => {};
  #turn: Turn | undefined;
  #cause: CancelCause = "api";

  /** Not for callers: {@linkcode TurnQueue.enter} makes tickets. */
  constructor(mode: BusyMode, tickets: Set<QueueTicket>) {
    this.#mode = mode;
    this.#tickets = tickets;
    tickets.add(this);
  }

  /** The turn, once it has started. */
  get turn(): Turn | undefined {
    return this.#turn;
  }

  /** Whether the turn runs, or waits for no other turn or only for superseded ones; and is not cancelled. */
  get isCurrent(): boolean {
    if (this.#turn) return !this.#turn.isCancelled;
    const { value: first } = this.#tickets.values().next();
    return !this.#cancelling.signal.aborted && (this.#mode === "supersede" || first === this);
  }

  /**
   * Waits until the earlier turns have ended.
   *
   * @returns A signal that aborts when the caller hangs up or the ticket is cancelled, until the turn is attached.
   * @throws {AppError} `session_busy` after {@linkcode MAX_WAIT_MS}; the reason of the cancel; the signal's reason.
   */
  async waitForTurn(hangUp: AbortSignal | undefined): Promise<AbortSignal> {
    const { signal } = this.#cancelling;
    const onHangUp = () => this.#cancelling.abort(hangUp?.reason);
    // Not `AbortSignal.any`: it takes more time for each request than all the rest here.
    hangUp?.addEventListener("abort", onHangUp);
    this.#stopListening = () => hangUp?.removeEventListener("abort", onHangUp);
    if (hangUp?.aborted) onHangUp();
    signal.throwIfAborted();
    const late = () =>
      this.cancel(busy(`The turn before took longer than ${MAX_WAIT_MS / 1000} seconds, the longest wait.`));
    const timer = this.#mode === "queue" && this.#tickets.size > 1
      ? setTimeout(late, MAX_WAIT_MS)
      : undefined;
    try {
      for (const earlier of this.#tickets) {
        if (earlier === this) break;
        await abortable(earlier.#released.promise, signal);
      }
    } finally {
      clearTimeout(timer);
    }
    return signal;
  }

  /** Attaches the started turn, and ends it if the ticket was cancelled meanwhile. */
  attach(turn: Turn): void {
    this.#stopListening();
    this.#turn = turn;
    // A newer request may have superseded this one while the prompt was being sent.
    const { reason } = this.#cancelling.signal;
    if (reason instanceof AppError) this.cancel(reason);
  }

  /** Cancels the running turn or the waiting request for a newer request. */
  supersede(): void {
    this.#cause = "barge_in";
    this.#cancelling.abort(cancelled("A newer request of the same conversation superseded this one."));
    this.#turn?.supersede();
  }

  /** Cancels the running turn, or rejects the waiting request with this reason. */
  cancel(reason: AppError): void {
    this.#cancelling.abort(reason);
    if (reason.code === "turn_cancelled") this.#turn?.cancel(this.#cause);
    else this.#turn?.fail(reason);
  }

  /** Gives the position up, so that the next request's turn can start. */
  release(): void {
    this.#stopListening();
    this.#tickets.delete(this);
    this.#released.resolve();
  }
}
