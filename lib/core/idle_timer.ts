/** Notices silence: one lazy timer, so that a sign of life on the token path costs one look at the clock. @module */

/** A watch that runs until it is disposed of. */
export interface IdleTimer extends Disposable {
  /** A sign of life: the silence starts anew. */
  touch(): void;
}

/**
 * Calls `onSilent` each time `ms` milliseconds have passed without a {@linkcode IdleTimer.touch}.
 * With `ms` 0 it never calls.
 */
export function startIdleTimer(ms: number, onSilent: () => void): IdleTimer {
  if (ms <= 0) return { touch() {}, [Symbol.dispose]() {} };
  let last = performance.now();
  let timer = setTimeout(look, ms);
  function look(): void {
    const left = last + ms - performance.now();
    // Timers may fire a fraction of a millisecond early.
    if (left > 1) {
      timer = setTimeout(look, left);
      return;
    }
    last = performance.now();
    timer = setTimeout(look, ms);
    onSilent();
  }
  return {
    touch() {
      last = now();
    },
    [Symbol.dispose]() {
      clearTimeout(timer);
    },
  };
}

/** The time of this go: reading the clock costs more than all the rest of a touch, and a burst of tokens is one go. */
let clock: number | undefined;

function now(): number {
  if (clock !== undefined) return clock;
  queueMicrotask(forget);
  return clock = performance.now();
}

function forget(): void {
  clock = undefined;
}
