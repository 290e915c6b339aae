/** The sessions of an agent that are in use. @module */

import { orAbort } from "../turn/abort.ts";
import type { AcpSession } from "./session.ts";

/** Counts what is handed out: one session for each request that waits, and those that are not closed yet. */
export class Given {
  readonly #open = new Set<AcpSession>();
  #coming = 0;

  /** How many are in use, or about to be. */
  get number(): number {
    return this.#open.size + this.#coming;
  }

  /**
   * Hands out a session. If nobody waits for it any more it is closed when it comes, unless it is kept.
   *
   * @param keep Gets what nobody waits for any more; tells whether it is kept.
   * @throws What `make` throws; the signal's reason if it aborts.
   */
  async give<T extends AcpSession | undefined>(
    make: () => Promise<T>,
    leaving: AbortSignal,
    keep?: (making: Promise<T>) => boolean,
  ): Promise<T> {
    leaving.throwIfAborted();
    this.#coming++;
    const making = make();
    try {
      const session = await orAbort(making, leaving);
      if (session) this.#count(session);
      return session;
    } catch (error) {
      if (leaving.aborted && !keep?.(making)) making.then((session) => session?.close(), () => {});
      throw error;
    } finally {
      this.#coming--;
    }
  }

  #count(session: AcpSession): void {
    if (session.closed.aborted) return;
    this.#open.add(session);
    session.closed.addEventListener("abort", () => this.#open.delete(session), { once: true });
  }
}
