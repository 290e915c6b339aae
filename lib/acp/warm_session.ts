/** Holds the session that is opened ahead of need. @module */

/** Longest delay before the session is opened, in milliseconds: first the session before it needs the agent. */
const DELAY_MS = 1_000;

/** Dependencies of a {@linkcode WarmSession}. */
export interface WarmSessionOptions<S> {
  readonly open: () => Promise<S>;
  /** Called if the session could not be opened, even if it was taken meanwhile. */
  onFailure(error: unknown): void;
}

/** At most one session that is open, or being opened, so that a turn need not wait for `session/new`. */
export class WarmSession<S> implements Disposable {
  readonly #options: WarmSessionOptions<S>;
  #session: Promise<S> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isDisposed = false;

  constructor(options: WarmSessionOptions<S>) {
    this.#options = options;
  }

  /** Opens the session now, unless there is one. */
  open(): void {
    this.#stopTimer();
    if (this.#isEmpty) this.#hold(this.#options.open());
  }

  /** Opens the session after a second, unless there is one by then. */
  openSoon(): void {
    if (!this.#isDisposed) this.#timer ??= setTimeout(() => this.open(), DELAY_MS);
  }

  /** Keeps a session that its caller no longer needs. @returns Whether there was room for it. */
  keep(session: Promise<S>): boolean {
    const isEmpty = this.#isEmpty;
    if (isEmpty) this.#hold(session);
    return isEmpty;
  }

  /** Hands out the session. The next one is not opened until it is asked for. */
  take(): Promise<S> | undefined {
    this.#stopTimer();
    const session = this.#session;
    this.#session = undefined;
    return session;
  }

  /** Drops the session of a process that serves no more. */
  drop(): void {
    this.#session = undefined;
  }

  /** From now on no session is opened or kept. */
  [Symbol.dispose](): void {
    this.#stopTimer();
    this.#isDisposed = true;
  }

  get #isEmpty(): boolean {
    return this.#session === undefined && !this.#isDisposed;
  }

  #hold(session: Promise<S>): void {
    this.#session = session;
    session.catch((error) => {
      if (this.#session === session) this.#session = undefined;
      if (!this.#isDisposed) this.#options.onFailure(error);
    });
  }

  #stopTimer(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
