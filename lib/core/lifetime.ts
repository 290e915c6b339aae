/** How the program ends: in order at the first signal, at once at the second, and never because of an uncaught error. @module */

import type { Log } from "./log.ts";

/** A signal within this time after the first is a copy of it: wrappers such as npx and the watcher forward signals. */
const SAME_SIGNAL_MS = 300;

/**
 * Listens for the signals that ask the program to end.
 *
 * @param atTerminal Whether the program writes to a terminal.
 * @param stop Called at the first signal.
 * @param exit Called at the second signal: ends the program at once.
 */
export function onSignals(
  atTerminal: boolean,
  stop: (signal: Deno.Signal) => void,
  exit: (signal: Deno.Signal) => void,
): void {
  let stoppedAt: number | undefined;
  for (const signal of endingSignals(atTerminal)) {
    Deno.addSignalListener(signal, () => {
      if (stoppedAt === undefined) {
        stoppedAt = performance.now();
        stop(signal);
      } else if (performance.now() - stoppedAt > SAME_SIGNAL_MS) {
        exit(signal);
      }
    });
  }
}

/**
 * Windows has no SIGTERM listener. SIGHUP, the signal of a closed terminal, counts only at a terminal, because `nohup`
 * means that the program goes on.
 */
function endingSignals(atTerminal: boolean): Deno.Signal[] {
  if (Deno.build.os === "windows") return ["SIGINT", "SIGBREAK"];
  return atTerminal ? ["SIGINT", "SIGTERM", "SIGHUP"] : ["SIGINT", "SIGTERM"];
}

/** Logs uncaught errors instead of exiting: a bug in one turn must not end the others. */
export function logUncaught(log: Pick<Log, "error">): void {
  const onError = (event: ErrorEvent | PromiseRejectionEvent) => {
    event.preventDefault();
    const error = event instanceof ErrorEvent ? event.error : event.reason;
    log.error("uncaught error", { error, stack: error instanceof Error ? error.stack : undefined });
  };
  globalThis.addEventListener("error", onError);
  globalThis.addEventListener("unhandledrejection", onError);
}
