/** Serialises the turns of one conversation: one runs, the others wait, are superseded or are rejected. @module */

import { AppError } from "../core/errors.ts";
import type { Turn } from "../turn/turn.ts";

/**
 * What a request does if its conversation is busy (`VTUBER_ON_BUSY`): `supersede` cancels the running turn, `queue` waits
 * for its end, `reject` fails.
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
      this.cancelAll(cancelled("A newer request of the same conversation superseded this one."));
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
  readonly #aborting = new AbortController();
  #stopListening = () => {};
  #cancelReason: AppError | undefined;
  #waiting: PromiseWithResolvers<void> | undefined;
  #turn: Turn | undefined;

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

  /** Whether the request waits for no other request, or only for cancelled ones. */
  get isHead(): boolean {
    return this.#mode === "supersede" || this.#isFirst;
  }

  get #isFirst(): boolean {
    for (const first of this.#tickets) return first === this;
    return false;
  }

  /**
   * Waits until the earlier turns have ended.
   *
   * @returns A signal that aborts when the caller hangs up or the ticket is cancelled, until the turn is attached.
   * @throws {AppError} `session_busy` after {@linkcode MAX_WAIT_MS}; the reason of the cancel; the signal's reason.
   */
  async waitForTurn(signal: AbortSignal | undefined): Promise<AbortSignal> {
    signal?.throwIfAborted();
    this.#aborting.signal.throwIfAborted();
    const onAbort = () => this.#abort(signal?.reason);
    // Not `AbortSignal.any`: it takes more time for each request than all the rest here.
    signal?.addEventListener("abort", onAbort);
    this.#stopListening = () => signal?.removeEventListener("abort", onAbort);
    if (!this.#isFirst) await this.#waitUntilFirst();
    return this.#aborting.signal;
  }

  /** Attaches the started turn, and ends it if the ticket was cancelled meanwhile. */
  attach(turn: Turn): void {
    this.#stopListening();
    this.#turn = turn;
    // A newer request may have superseded this one while the prompt was being sent.
    if (this.#cancelReason) this.#endTurn(turn, this.#cancelReason);
  }

  /** Cancels the running turn, or rejects the waiting request with this reason. */
  cancel(reason: AppError): void {
    this.#cancelReason ??= reason;
    this.#abort(reason);
    if (this.#turn) this.#endTurn(this.#turn, reason);
  }

  /** Gives the position up, so that the next request's turn can start. */
  release(): void {
    this.#stopListening();
    this.#tickets.delete(this);
    for (const next of this.#tickets) return void next.#waiting?.resolve();
  }

  async #waitUntilFirst(): Promise<void> {
    const waiting = this.#waiting = Promise.withResolvers<void>();
    const late = busy(`The turn before took longer than ${MAX_WAIT_MS / 1000} seconds, the longest wait.`);
    const timer = this.#mode === "queue" ? setTimeout(() => waiting.reject(late), MAX_WAIT_MS) : undefined;
    try {
      await waiting.promise;
    } finally {
      clearTimeout(timer);
    }
  }

  #abort(reason: unknown): void {
    this.#aborting.abort(reason);
    this.#waiting?.reject(reason);
  }

  #endTurn(turn: Turn, reason: AppError): void {
    if (reason.code === "turn_cancelled") turn.cancel();
    else turn.fail(reason);
  }
}
