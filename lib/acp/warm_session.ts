/** The session that is made ahead of need. @module */

/** When it is made, if no turn ends before, in milliseconds: not while the one before it needs the agent most. */
const DELAY_MS = 1_000;

/** How a {@linkcode WarmSession} is made. */
export interface SpareOptions<S> {
  readonly make: () => Promise<S>;
  /** It could not be made, be it kept by then or given away. */
  failed(error: unknown): void;
}

/** At most one session, made ahead of need, so that a turn need not wait for it. */
export class WarmSession<S> {
  readonly #options: SpareOptions<S>;
  #session: Promise<S> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ended = false;

  constructor(options: SpareOptions<S>) {
    this.#options = options;
  }

  /** Makes it now, unless it is there or on its way. */
  make(): void {
    this.#stopWaiting();
    if (this.#isWanted) this.#hold(this.#options.make());
  }

  /**
   * Takes a session that was asked for and is no longer needed, be it there or on its way.
   *
   * @returns Whether it is kept: it is not if there is one already.
   */
  keep(session: Promise<S>): boolean {
    const isKept = this.#isWanted;
    if (isKept) this.#hold(session);
    return isKept;
  }

  /** Makes it in a moment. */
  makeSoon(): void {
    if (!this.#ended) this.#timer ??= setTimeout(() => this.make(), DELAY_MS);
  }

  /** Gives it away, be it there or on its way. The next one is not begun before it is asked for. */
  take(): Promise<S> | undefined {
    this.#stopWaiting();
    const session = this.#session;
    this.#session = undefined;
    return session;
  }

  /** What is there, or on its way, is of use no more. */
  drop(): void {
    this.#session = undefined;
  }

  /** From here on none is made or kept. */
  end(): void {
    this.#stopWaiting();
    this.#ended = true;
  }

  get #isWanted(): boolean {
    return this.#session === undefined && !this.#ended;
  }

  #hold(session: Promise<S>): void {
    this.#session = session;
    session.catch((error) => {
      if (this.#session === session) this.#session = undefined;
      if (!this.#ended) this.#options.failed(error);
    });
  }

  #stopWaiting(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
