/** Waiting for what comes of a turn. @module */

import type { TurnReader } from "./event.ts";
import type { Turn } from "./run.ts";

/** How what is waited for is settled. */
export interface Settle<T> {
  resolve(value: T): void;
  reject(reason: unknown): void;
}

/**
 * Reads a turn until its reader settles what comes of it.
 *
 * @throws The signal's reason if it aborts first, and the turn is left; or whatever the reader rejects with.
 */
export async function awaitTurn<T>(
  turn: Turn,
  makeReader: (settle: Settle<T>) => TurnReader,
  signal: AbortSignal,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const leave = turn.read(makeReader({ resolve, reject }));
  const abort = () => {
    leave();
    reject(signal.reason);
  };
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort, { once: true });
  try {
    return await promise;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
