/** Repeated requests: they join their running turn or replay the finished one, so that no turn runs twice. @module */

import { BoundedMap } from "../core/bounded_map.ts";
import { AppError } from "../core/errors.ts";
import type { Turn } from "./turn.ts";

/** Finished turns that are remembered. */
const MAX_FINISHED = 100;
/** How long a finished turn is remembered, in milliseconds. */
const KEEP_MS = 5 * 60_000;

/** Tells a request from others. */
export interface IdempotencyKey {
  /** The caller, with the request's idempotency key or else the hash of its body. */
  readonly name: string;
  readonly bodyHash: string;
  /** The client marks the request as a repetition of an earlier one. */
  readonly isRetry: boolean;
}

/** Makes the error of a request that is repeated after its turn was abandoned, possibly with half its work done. */
export function turnAbandonedError(): AppError {
  return new AppError(
    "turn_cancelled",
    "This request's turn was cancelled when its connection broke, and may be half done. " +
      "Send it as a new request to run it again.",
    { prompted: true },
  );
}

interface Entry {
  readonly bodyHash: string;
  readonly turn: Promise<Turn>;
}

interface FinishedEntry {
  readonly entry: Entry;
  readonly turn: Turn;
  readonly expiresAt: number;
}

/** The turns that run, and those that ended lately, by request. */
export class IdempotencyCache {
  /** Never evicted, because an evicted turn could run twice. The {@linkcode TurnLimiter} bounds their number. */
  readonly #running = new Map<string, Entry>();
  /** In the order in which they ended. */
  readonly #finished = new BoundedMap<string, FinishedEntry>(MAX_FINISHED);
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * Returns the turn of a repeated request, or starts a turn.
   *
   * @throws {AppError} `idempotency_key_conflict` if the key belongs to another request; `turn_cancelled` if the turn was
   * abandoned, or was cancelled before it started; any error of `start`.
   */
  async getOrStart(key: IdempotencyKey, start: () => Promise<Turn>): Promise<Turn> {
    this.#removeExpired();
    const entry = key.isRetry ? this.#find(key.name) : undefined;
    if (entry === undefined) return await this.#start(key, start);
    if (entry.bodyHash !== key.bodyHash) {
      throw new AppError(
        "idempotency_key_conflict",
        "Another request was sent with this Idempotency-Key. Use a new key for each request.",
      );
    }
    const turn = await entry.turn.catch((error) => {
      // A superseded, interrupted or forgotten request must not come back and supersede others.
      if (error instanceof AppError && error.code === "turn_cancelled") throw error;
      return undefined;
    });
    if (turn === undefined) {
      // The agent was not prompted, so the first repetition starts the turn and the others join it.
      this.#remove(key.name, entry);
      return await this.getOrStart(key, start);
    }
    if (turn.isAbandoned) throw turnAbandonedError();
    return turn;
  }

  /** Forgets the turns of a conversation, or of all. A running turn is forgotten once it has ended. */
  forget(conversation: string | undefined): void {
    const isAffected = (turn: Turn) => conversation === undefined || turn.conversation === conversation;
    for (const [name, { turn }] of this.#finished) if (isAffected(turn)) this.#finished.delete(name);
    for (const [name, entry] of this.#running) {
      entry.turn.then(async (turn) => {
        if (!isAffected(turn)) return;
        await turn.ended;
        this.#remove(name, entry);
      }, () => {});
    }
  }

  async #start({ name, bodyHash }: IdempotencyKey, start: () => Promise<Turn>): Promise<Turn> {
    const entry: Entry = { bodyHash, turn: start() };
    this.#finished.delete(name);
    this.#running.set(name, entry);
    try {
      const turn = await entry.turn;
      turn.ended.then(() => this.#finish(name, entry, turn));
      return turn;
    } catch (error) {
      this.#remove(name, entry);
      throw error;
    }
  }

  #finish(name: string, entry: Entry, turn: Turn): void {
    if (this.#running.get(name) !== entry) return;
    this.#running.delete(name);
    this.#finished.set(name, { entry, turn, expiresAt: this.#now() + KEEP_MS });
  }

  #find(name: string): Entry | undefined {
    return this.#running.get(name) ?? this.#finished.get(name)?.entry;
  }

  #remove(name: string, entry: Entry): void {
    if (this.#running.get(name) === entry) this.#running.delete(name);
    if (this.#finished.get(name)?.entry === entry) this.#finished.delete(name);
  }

  #removeExpired(): void {
    const now = this.#now();
    for (const [name, { expiresAt }] of this.#finished) {
      if (expiresAt >= now) return;
      this.#finished.delete(name);
    }
  }
}
