/** Requests that are sent again: they join their running turn or are told the finished one, and never run twice. @module */

import { AppError } from "../core/errors.ts";
import type { Turn } from "./turn.ts";

/** Turns that are remembered; beyond it the oldest that has ended is forgotten. */
const MAX_TURNS = 100;
/** How long a turn is remembered after it was begun and has ended, in milliseconds. */
const KEEP_MS = 5 * 60_000;

/** What tells a request from others. */
export interface IdempotencyKey {
  /** The name by which it is found: who asks, and an idempotency key or the body's fingerprint. */
  readonly name: string;
  /** The body's fingerprint. */
  readonly bodyHash: string;
  /** The client says that it sends the request again. */
  readonly isRetry: boolean;
}

/** The failure of a request that is sent again after its turn was left: it may have done half its work. */
export function turnAbandonedError(): AppError {
  return new AppError(
    "turn_cancelled",
    "This request's turn was cancelled when its connection broke, and may be half done. " +
      "Send it as a new request to run it again.",
    { prompted: true },
  );
}

interface Entry {
  readonly body: string;
  readonly turn: Promise<Turn>;
  /** The turn, once it has ended. */
  ended: Turn | undefined;
  /** When it may be forgotten; set once the turn has ended. */
  until: number;
}

/** The turns of the last minutes, by request. */
export class IdempotencyCache {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /**
   * The turn of a request: the one that it has already, if it was sent before, else the one that `begin` begins.
   *
   * @throws {AppError} `idempotency_key_conflict` if another request has the key, `turn_cancelled` if its turn was
   * cancelled when the first connection broke, or was passed by before it began; whatever `begin` throws.
   */
  async getOrStart(key: IdempotencyKey, begin: () => Promise<Turn>): Promise<Turn> {
    this.#forgetOld();
    const known = key.isRetry ? this.#entries.get(key.name) : undefined;
    if (known === undefined) return await this.#begin(key, begin);
    if (known.body !== key.bodyHash) {
      throw new AppError(
        "idempotency_key_conflict",
        "Another request was sent with this Idempotency-Key; use a new key for each request.",
      );
    }
    const turn = await known.turn.catch((error) => {
      // It was passed by, interrupted or forgotten: begun anew, it would pass by others.
      if (error instanceof AppError && error.code === "turn_cancelled") throw error;
      return undefined;
    });
    if (turn === undefined) {
      // The first connection broke, or failed, before the agent was prompted: whoever waited first begins it now.
      this.#forget(key.name, known);
      return await this.getOrStart(key, begin);
    }
    if (turn.isAbandoned) {
      throw turnAbandonedError();
    }
    return turn;
  }

  /** Tells nobody any more what was answered in this conversation, or in any; of turns that run once they have ended. */
  forget(conversation: string | undefined): void {
    const isMeant = (turn: Turn) => conversation === undefined || turn.conversation === conversation;
    for (const [name, entry] of this.#entries) {
      if (entry.ended && isMeant(entry.ended)) this.#entries.delete(name);
      if (entry.ended) continue;
      const drop = () => this.#forget(name, entry);
      entry.turn.then((turn) => {
        if (isMeant(turn)) turn.ended.then(drop);
      }, () => {});
    }
  }

  async #begin({ name, bodyHash }: IdempotencyKey, begin: () => Promise<Turn>): Promise<Turn> {
    this.#makeRoom();
    const entry: Entry = { body: bodyHash, turn: begin(), ended: undefined, until: Infinity };
    this.#entries.delete(name);
    this.#entries.set(name, entry);
    try {
      const turn = await entry.turn;
      turn.ended.then(() => {
        entry.ended = turn;
        entry.until = this.#now() + KEEP_MS;
      });
      return turn;
    } catch (error) {
      // The agent was not prompted: it may be tried again.
      this.#forget(name, entry);
      throw error;
    }
  }

  #forget(name: string, entry: Entry): void {
    if (this.#entries.get(name) === entry) this.#entries.delete(name);
  }

  #forgetOld(): void {
    const now = this.#now();
    for (const [name, { until }] of this.#entries) {
      if (until < now) this.#entries.delete(name);
    }
  }

  /** A turn that runs is never forgotten, or it could run twice: there are no more of those than turns at once. */
  #makeRoom(): void {
    for (const [name, { until }] of this.#entries) {
      if (this.#entries.size < MAX_TURNS) return;
      if (until !== Infinity) this.#entries.delete(name);
    }
  }
}
