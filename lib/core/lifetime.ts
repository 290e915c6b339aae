/** How the program ends: once asked politely, twice at once, and not by a mistake. @module */

import type { Log } from "./log.ts";

/**
 * The signals that ask the program to end. Windows has no SIGTERM to listen for. A closed terminal is heard only where
 * there is one: `nohup` means that it should not be.
 */
function endingSignals(atTerminal: boolean): Deno.Signal[] {
  if (Deno.build.os === "windows") return ["SIGINT", "SIGBREAK"];
  return atTerminal ? ["SIGINT", "SIGTERM", "SIGHUP"] : ["SIGINT", "SIGTERM"];
}

/** A signal sooner after the first is the same one again: wrappers such as npx and the watcher hand it on too. */
const SAME_SIGNAL_MS = 300;

/** What to do. */
export interface LifetimeOptions {
  /** Whether the program writes to a terminal. */
  readonly atTerminal: boolean;
  /** Asked for the first time. */
  readonly stop: (signal: Deno.Signal) => void;
  /** Asked again: there is no time left. */
  readonly exit: (signal: Deno.Signal) => void;
}

/** Listens until it is disposed of. */
export function onSignals({ atTerminal, stop, exit }: LifetimeOptions): Disposable {
  let asked: number | undefined;
  const listeners = endingSignals(atTerminal).map((signal) => {
    const listener = () => {
      if (asked === undefined) {
        asked = performance.now();
        stop(signal);
      } else if (performance.now() - asked > SAME_SIGNAL_MS) {
        exit(signal);
      }
    };
    Deno.addSignalListener(signal, listener);
    return () => Deno.removeSignalListener(signal, listener);
  });
  return { [Symbol.dispose]: () => listeners.forEach((remove) => remove()) };
}

/** A mistake of ours in one turn must not end the others: it is logged, and the program goes on. */
export function logUncaught(log: Pick<Log, "error">): Disposable {
  const survive = (event: ErrorEvent | PromiseRejectionEvent) => {
    event.preventDefault();
    const error = event instanceof ErrorEvent ? event.error : event.reason;
    log.error("something went wrong inside", {
      error,
      stack: error instanceof Error ? error.stack : undefined,
    });
  };
  globalThis.addEventListener("error", survive);
  globalThis.addEventListener("unhandledrejection", survive);
  return {
    [Symbol.dispose]() {
      globalThis.removeEventListener("error", survive);
      globalThis.removeEventListener("unhandledrejection", survive);
    },
  };
}
