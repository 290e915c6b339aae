/** Timers that do not keep the program alive. @module */

/** A timer, as `clearTimeout` takes it. */
export type Timer = ReturnType<typeof setTimeout>;

/** Calls a function after a time, in milliseconds. A program that has nothing else to do ends without the call. */
export function startBackgroundTimer(run: () => void, ms: number): Timer {
  const timer = setTimeout(run, ms);
  // Node's types hide that Deno's timers are numbers.
  Deno.unrefTimer(timer as unknown as number);
  return timer;
}
