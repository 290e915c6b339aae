// @ts-check
/** How long to wait before the next attempt to connect. @module */

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

/**
 * Doubles from half a second to fifteen, and is never quite the same for all who wait.
 *
 * @param {number} attempt 0 for the first.
 * @param {number} random From 0 to 1.
 * @returns {number} Milliseconds.
 */
export function waitMs(attempt, random) {
  const full = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(attempt, 10));
  return Math.round(full * (0.75 + 0.25 * random));
}
