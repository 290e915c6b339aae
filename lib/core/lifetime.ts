/**
 * How the program ends: in order at the first signal, at once at the second, and never because of an uncaught error.
 *
 * @module
 */

import type { Log } from "./log.ts";

/** A signal within this time after the first is a copy of it: wrappers such as npx and the watcher forward signals. */
const SAME_SIGNAL_MS = 300;

/** Signals that ask the program to end. Windows has no listener for the others. SIGHUP is the end of a terminal. */
const ENDING_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP"];

/**
 * Listens for the signals that ask the program to end. Ignores SIGHUP if the program was started to ignore it, as by
 * `nohup`.
 *
 * @param stop Called at the first signal.
 * @param exit Called at the second signal: ends the program at once.
 */
export function onSignals(
  stop: (signal: Deno.Signal) => void,
  exit: (signal: Deno.Signal) => void,
): void {
  // Ask before the first listener, with which Deno no longer ignores SIGHUP.
  const ignored = ignoresHangUp() ? "SIGHUP" : undefined;
  let stoppedAt: number | undefined;
  for (const signal of ENDING_SIGNALS) {
    Deno.addSignalListener(signal, () => {
      if (signal === ignored) return;
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
 * Reports whether this program ignores SIGHUP: then its children ignore it too, and a shell survives its own signal.
 */
function ignoresHangUp(): boolean {
  try {
    return new Deno.Command("/bin/sh", { args: ["-c", "kill -HUP $$"], stdin: "null" }).outputSync().success;
  } catch {
    // There is no shell.
    return false;
  }
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
