/** Asking one after another, and the next beside one that is slow. @module */

/** Who is asked, and how. */
export interface Asking<M, T> {
  /** Who is asked, in this order; each is looked up when it is asked. At least one. */
  readonly members: Iterator<M, undefined>;
  /** @param over Aborts when the answer is of no use any more. */
  ask(member: M, over: AbortSignal): Promise<T>;
  /** Whether another may do better than one that failed so. */
  mayPass(error: unknown): boolean;
  /** Gets an answer that came although another is used. */
  discard(answer: T): void;
  /** How long the one that was asked last is waited for alone, in milliseconds; without it, until it has answered. */
  readonly patienceMs: number | undefined;
}

/**
 * The first answer that is there.
 *
 * @throws The first failure that may not be passed over; the first of all, where each of them failed.
 */
export function firstOf<M, T>({ members, ask, mayPass, discard, patienceMs }: Asking<M, T>): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const over = new AbortController();
  const failures: unknown[] = [];
  let waiting = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const end = (tell: () => void) => {
    clearTimeout(timer);
    tell();
    over.abort();
  };
  const askNext = () => {
    clearTimeout(timer);
    const { value: member, done } = members.next();
    if (done) {
      if (waiting === 0) end(() => reject(failures[0]));
      return;
    }
    waiting++;
    if (patienceMs !== undefined) timer = setTimeout(askNext, patienceMs);
    ask(member, over.signal).then(answered, failed);
  };
  const answered = (answer: T) => over.signal.aborted ? discard(answer) : end(() => resolve(answer));
  const failed = (error: unknown) => {
    if (over.signal.aborted) return;
    waiting--;
    failures.push(error);
    if (mayPass(error)) askNext();
    else end(() => reject(error));
  };
  askNext();
  return promise;
}
