/** Notices silence. All timers share one clock, so that a turn or a stream costs no timer of its own. @module */

/** A timer that runs until it is disposed of. */
export interface IdleTimer extends Disposable {
  /** Starts the silence anew. Cheap enough for every token. */
  touch(): void;
}

/** Timers of the clock fire at most this early, in milliseconds. */
const EARLY_MS = 1;

/**
 * Calls `onIdle` each time `ms` milliseconds have passed without a {@linkcode IdleTimer.touch}. Without touches it is an
 * interval. With `ms` 0 it never calls.
 */
export function startIdleTimer(ms: number, onIdle: () => void): IdleTimer {
  return ms > 0 ? new ClockTimer(ms, onIdle) : NEVER;
}

const NEVER: IdleTimer = { touch() {}, [Symbol.dispose]() {} };

class ClockTimer implements IdleTimer {
  readonly ms: number;
  readonly onIdle: () => void;
  idleSince = performance.now();

  constructor(ms: number, onIdle: () => void) {
    this.ms = ms;
    this.onIdle = onIdle;
    timers.add(this);
    wakeAt(this.dueAt);
  }

  get dueAt(): number {
    return this.idleSince + this.ms;
  }

  touch(): void {
    this.idleSince = recentTime();
  }

  [Symbol.dispose](): void {
    if (!timers.delete(this) || timers.size > 0) return;
    clearTimeout(wake);
    nextWakeAt = Infinity;
  }
}

/** The running timers, and the one timeout that wakes at or before the first due time of them. */
const timers = new Set<ClockTimer>();
let wake: ReturnType<typeof setTimeout> | undefined;
let nextWakeAt = Infinity;

function wakeAt(time: number): void {
  if (time >= nextWakeAt) return;
  clearTimeout(wake);
  nextWakeAt = time;
  wake = setTimeout(fireDue, Math.max(0, time - performance.now()));
}

function fireDue(): void {
  const now = performance.now();
  const due: ClockTimer[] = [];
  let earliest = Infinity;
  for (const timer of timers) {
    if (timer.dueAt - now <= EARLY_MS) {
      due.push(timer);
      timer.idleSince = now;
    }
    earliest = Math.min(earliest, timer.dueAt);
  }
  nextWakeAt = Infinity;
  wakeAt(earliest);
  for (const timer of due) {
    // An earlier callback may have disposed of the timer.
    if (!timers.has(timer)) continue;
    try {
      timer.onIdle();
    } catch (error) {
      // Report like an error of a timeout, so that the other timers still fire.
      reportError(error);
    }
  }
}

/** The time at the first call of this event-loop step: reading the clock is the larger part of a touch. */
let cachedTime: number | undefined;

function recentTime(): number {
  if (cachedTime === undefined) {
    cachedTime = performance.now();
    queueMicrotask(forgetTime);
  }
  return cachedTime;
}

function forgetTime(): void {
  cachedTime = undefined;
}
