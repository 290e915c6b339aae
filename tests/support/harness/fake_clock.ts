/** A clock that a test moves on. Only timers of a second and more wait for it, so that the test itself can wait. */
export class FakeClock implements Disposable {
  readonly #setTimeout = globalThis.setTimeout;
  readonly #clearTimeout = globalThis.clearTimeout;
  readonly #now = performance.now;
  readonly #timers = new Map<number, { readonly dueAt: number; readonly callback: () => void }>();
  #nextId = -1;
  #aheadMs = 0;

  constructor() {
    performance.now = () => this.#now.call(performance) + this.#aheadMs;
    globalThis.setTimeout = ((callback: () => void, ms = 0) => {
      if (ms < 1_000) return this.#setTimeout(callback, ms);
      this.#timers.set(this.#nextId, { dueAt: performance.now() + ms, callback });
      return this.#nextId--;
    }) as typeof globalThis.setTimeout;
    globalThis.clearTimeout = ((id: number) => {
      if (!this.#timers.delete(id)) this.#clearTimeout(id);
    }) as typeof globalThis.clearTimeout;
  }

  /** How long the timers that wait will take, in milliseconds. */
  get waits(): number[] {
    return [...this.#timers.values()].map(({ dueAt }) => Math.round(dueAt - performance.now()));
  }

  /** Moves the clock, and fires the timers that are due. */
  advance(ms: number): void {
    this.#aheadMs += ms;
    for (const [id, { dueAt, callback }] of this.#timers) {
      if (dueAt > performance.now()) continue;
      this.#timers.delete(id);
      callback();
    }
  }

  [Symbol.dispose](): void {
    globalThis.setTimeout = this.#setTimeout;
    globalThis.clearTimeout = this.#clearTimeout;
    performance.now = this.#now;
  }
}
