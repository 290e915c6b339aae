/** How the program ends: once asked politely, twice at once. @module */

/** The signals that ask the program to end; Windows has no SIGTERM to listen for. */
const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM", "SIGHUP"];

/** What to do. */
export interface LifetimeOptions {
  /** Asked for the first time. */
  readonly stop: (signal: Deno.Signal) => void;
  /** Asked again: there is no time left. */
  readonly exit: (signal: Deno.Signal) => void;
}

/** Listens until it is disposed of. */
export function onSignals({ stop, exit }: LifetimeOptions): Disposable {
  let asked = false;
  const listeners = SIGNALS.map((signal) => {
    const listener = () => {
      if (asked) return exit(signal);
      asked = true;
      stop(signal);
    };
    Deno.addSignalListener(signal, listener);
    return () => Deno.removeSignalListener(signal, listener);
  });
  return { [Symbol.dispose]: () => listeners.forEach((remove) => remove()) };
}

/** Whether the promise settles within the time, in milliseconds. */
export async function within(ms: number, promise: Promise<unknown>): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), ms);
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
