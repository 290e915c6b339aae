/** Notices silence. All timers share one clock, so that a turn or a stream costs no timer of its own. @module */

/** Timers of the clock fire at most this early, in milliseconds. */
const EARLY_MS = 1;

/** The running timers, and the one timeout that wakes at or before the first due time of them. */
const timers = new Set<IdleTimer>();
let wake: ReturnType<typeof setTimeout> | undefined;
let nextWakeAt = Infinity;

/** A timer that runs until it is disposed of. Made by {@linkcode startIdleTimer}. */
export class IdleTimer implements Disposable {
  readonly ms: number;
  readonly onIdle: () => void;
  idleSince = performance.now();

  constructor(ms: number, onIdle: () => void) {
    this.ms = ms;
    this.onIdle = onIdle;
  }

  get dueAt(): number {
    return this.idleSince + this.ms;
  }

  /** Starts the silence anew. Cheap enough for every token. */
  touch(): void {
    this.idleSince = recentTime();
  }

  [Symbol.dispose](): void {
    if (!timers.delete(this) || timers.size > 0) return;
    clearTimeout(wake);
    nextWakeAt = Infinity;
  }
}

/**
 * Calls `onIdle` each time `ms` milliseconds have passed without a {@linkcode IdleTimer.touch}. Without touches it is
 * an interval. With `ms` 0 it never calls.
 */
export function startIdleTimer(ms: number, onIdle: () => void): IdleTimer {
  const timer = new IdleTimer(ms, onIdle);
  if (ms > 0) {
    timers.add(timer);
    wakeAt(timer.dueAt);
  }
  return timer;
}

function wakeAt(time: number): void {
  if (time >= nextWakeAt) return;
  clearTimeout(wake);
  nextWakeAt = time;
  wake = setTimeout(fireDue, Math.max(0, time - performance.now()));
}

function fireDue(): void {
  const now = performance.now();
  nextWakeAt = Infinity;
  let earliest = Infinity;
  for (const timer of timers) {
    if (timer.dueAt - now <= EARLY_MS) {
      timer.idleSince = now;
      // A microtask each, so that an error in one call does not stop the others. An earlier call may dispose of a
      // timer.
      queueMicrotask(() => timers.has(timer) && timer.onIdle());
    }
    earliest = Math.min(earliest, timer.dueAt);
  }
  wakeAt(earliest);
}

/** The time at the first call of this event-loop step: reading the clock is the larger part of a touch. */
let cachedTime: number | undefined;

function recentTime(): number {
  if (cachedTime === undefined) {
    cachedTime = performance.now();
    queueMicrotask(() => cachedTime = undefined);
  }
  return cachedTime;
}
