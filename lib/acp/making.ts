/** How an agent fares with the sessions that are asked of it. @module */

/** A process that lets a session wait longer than this, in milliseconds, is asked after others, or beside them. */
export const SLOW_MS = 2_000;
/** One that lets it wait longer than this is no longer said to be ready: slow ones take a quarter of a minute. */
const OVERDUE_MS = 20_000;

interface AwaitedSession {
  readonly process: object;
  readonly sinceMs: number;
}

/** The sessions that are asked of an agent, whichever of its processes makes them. A process is any object. */
export class Making {
  readonly #now: () => number;
  /** Those that are not there yet, the oldest first: one for each request, for as long as the agent may take at most. */
  readonly #awaited = new Set<AwaitedSession>();
  readonly #proven = new WeakSet<object>();
  #asked = 0;
  #newest = { number: 0, failed: false };

  constructor(now: () => number) {
    this.#now = now;
  }

  /** What came of the newest session that is no longer awaited is that it was not made. */
  get isFailing(): boolean {
    return this.#newest.failed;
  }

  /** The process has made no session yet, or lets one wait for too long. */
  isStarting(process: object): boolean {
    return !this.#proven.has(process) || this.#waitedMs(process) > OVERDUE_MS;
  }

  /** Another process may be faster: this one has made no session yet, failed to, or lets one wait. */
  isUnsure(process: object): boolean {
    return this.isFailing || !this.#proven.has(process) || this.#waitedMs(process) > SLOW_MS;
  }

  /** The process was asked for a session that is not there yet. */
  isMaking(process: object): boolean {
    return this.#oldest(process) !== undefined;
  }

  /** Asks a process for a session. @throws What `ask` throws. */
  async from<T>(process: object, ask: () => Promise<T>): Promise<T> {
    const number = ++this.#asked;
    const awaited = { process, sinceMs: this.#now() };
    this.#awaited.add(awaited);
    let failed = true;
    try {
      const session = await ask();
      this.#proven.add(process);
      failed = false;
      return session;
    } finally {
      this.#awaited.delete(awaited);
      if (number > this.#newest.number) this.#newest = { number, failed };
    }
  }

  #waitedMs(process: object): number {
    const oldest = this.#oldest(process);
    return oldest ? this.#now() - oldest.sinceMs : 0;
  }

  #oldest(process: object): AwaitedSession | undefined {
    return this.#awaited.values().find((awaited) => awaited.process === process);
  }
}
