/** Repeated requests: they join their running turn or replay the finished one, so that no turn runs twice. @module */

import { startBackgroundTimer, type Timer } from "../core/background_timer.ts";
import { AppError } from "../core/errors.ts";
import { listExcess } from "../core/excess.ts";
import type { Turn } from "./turn.ts";

/** Finished turns that are remembered. Beyond it, see {@linkcode listExcess}. */
const MAX_FINISHED = 100;
/** Repeated requests of a turn. Each may keep its body and its reply for as long as the turn runs. */
const MAX_REPEATS = 16;
/** How long a finished turn is remembered, in milliseconds. */
const KEEP_MS = 5 * 60_000;

/** Tells a request from others. */
export interface IdempotencyKey {
  /** The id of the caller, whose requests alone can repeat this one. */
  readonly owner: string;
  /** The request's idempotency key, or else the hash of its body. */
  readonly name: string;
  readonly bodyHash: string;
  /** The client marks the request as a repetition of an earlier one. */
  readonly isRetry: boolean;
}

interface Entry {
  readonly owner: string;
  readonly bodyHash: string;
  readonly starting: Promise<Turn>;
  /** The turn, once it has started. */
  turn?: Turn;
  /** The request's reply among those of the turn. */
  replyNumber?: number;
  /** Number of repeated requests. */
  repeats: number;
  expiresAt: number;
  /** Is not kept after the end of the turn. */
  isForgotten?: boolean;
}

/** The turns that run, and those that ended lately, by request. */
export class IdempotencyCache implements Disposable {
  /** Never evicted, because an evicted turn could run twice. The limit of running turns bounds their number. */
  readonly #running = new Map<string, Entry>();
  /** In the order of their ends. */
  readonly #finished = new Map<string, Entry>();
  #expiryTimer: Timer | undefined;
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * Returns the turn of a repeated request, or starts a turn.
   *
   * @throws {AppError} `idempotency_key_conflict` if the key belongs to another request; `rate_limit_exceeded` if the
   * request was repeated too often; `turn_cancelled` if the turn was abandoned, was cancelled before it started, or has
   * begun another reply; any error of `start`.
   */
  async getOrStart(key: IdempotencyKey, start: () => Promise<Turn>): Promise<Turn> {
    const entry = key.isRetry ? this.#find(entryName(key)) : undefined;
    if (entry === undefined) return await this.#start(key, start);
    if (entry.bodyHash !== key.bodyHash) {
      throw new AppError(
        "idempotency_key_conflict",
        "Another request was sent with this Idempotency-Key. Use a new key for each request.",
      );
    }
    if (entry.repeats >= MAX_REPEATS) {
      throw new AppError(
        "rate_limit_exceeded",
        `This request was repeated ${MAX_REPEATS} times. Wait for one of its replies.`,
        { prompted: true },
      );
    }
    entry.repeats++;
    const turn = await entry.starting.catch((error) => {
      // A superseded, interrupted or forgotten request must not come back and supersede others.
      if (error instanceof AppError && error.code === "turn_cancelled") throw error;
      return undefined;
    });
    // The agent was not prompted, so the first repetition starts the turn and the others join it.
    if (turn === undefined) return await this.getOrStart(key, start);
    if (entry.replyNumber !== turn.replyNumber) {
      throw new AppError("turn_cancelled", "The reply to this request is no longer kept.", {
        prompted: true,
      });
    }
    if (!turn.isAbandoned) return turn;
    throw new AppError(
      "turn_cancelled",
      "This request's turn was cancelled when its connection broke, and may be half done. " +
        "Send it as a new request to run it again.",
      { prompted: true },
    );
  }

  /** Forgets the turns of a caller's conversation, or of all. A running turn is forgotten once it has ended. */
  forget(owner: string, conversation: string | undefined): void {
    for (const [name, entry] of [...this.#running, ...this.#finished]) {
      if (entry.owner !== owner) continue;
      if (conversation !== undefined && entry.turn?.conversation !== conversation) continue;
      entry.isForgotten = true;
      this.#finished.delete(name);
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#expiryTimer);
  }

  async #start(key: IdempotencyKey, start: () => Promise<Turn>): Promise<Turn> {
    const { owner, bodyHash } = key;
    const name = entryName(key);
    const entry: Entry = { owner, bodyHash, starting: start(), repeats: 0, expiresAt: Infinity };
    this.#finished.delete(name);
    this.#running.set(name, entry);
    try {
      const turn = entry.turn = await entry.starting;
      entry.replyNumber = turn.replyNumber;
      turn.ended.then(() => this.#finish(name, entry));
      return turn;
    } catch (error) {
      if (this.#running.get(name) === entry) this.#running.delete(name);
      throw error;
    }
  }

  #finish(name: string, entry: Entry): void {
    // A request that is no repetition may have taken the name.
    if (this.#running.get(name) !== entry) return;
    this.#running.delete(name);
    if (entry.isForgotten) return;
    entry.expiresAt = this.#now() + KEEP_MS;
    this.#finished.set(name, entry);
    this.#expiryTimer ??= startBackgroundTimer(() => this.#expire(), KEEP_MS);
    if (this.#finished.size <= MAX_FINISHED) return;
    const entries = this.#finished.entries().map(([name, { owner }]) => ({ name, owner, chars: 0 }));
    for (const { name } of listExcess(entries, MAX_FINISHED, Infinity)) this.#finished.delete(name);
  }

  /** Forgets the turns whose time is over, now and from now on. */
  #expire(): void {
    const now = this.#now();
    for (const [name, { expiresAt }] of this.#finished) {
      if (expiresAt > now) break;
      this.#finished.delete(name);
    }
    const [oldest] = this.#finished.values();
    this.#expiryTimer = oldest && startBackgroundTimer(() => this.#expire(), oldest.expiresAt - now);
  }

  #find(name: string): Entry | undefined {
    const entry = this.#running.get(name) ?? this.#finished.get(name);
    return entry && entry.expiresAt >= this.#now() ? entry : undefined;
  }
}

function entryName({ owner, name }: IdempotencyKey): string {
  return `${owner}\n${name}`;
}
