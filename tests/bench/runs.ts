/** Two programs, measured in turns. @module */

import { median, percentile } from "./table.ts";

/** Something of each. */
export interface Both<T> {
  readonly server: T;
  readonly relay: T;
}

/** Measures both so many times, one after the other. */
export async function inTurns<P, T>(
  times: number,
  programs: Both<P>,
  measure: (program: P) => Promise<T>,
): Promise<Both<T[]>> {
  const found: Both<T[]> = { server: [], relay: [] };
  for (let i = 0; i < times; i++) {
    found.server.push(await measure(programs.server));
    found.relay.push(await measure(programs.relay));
  }
  return found;
}

/** The medians of one figure. */
export function medians<T>(
  runs: Both<T[]>,
  figure: (run: T) => number | undefined,
): Both<number | undefined> {
  return { server: median(runs.server.map(figure)), relay: median(runs.relay.map(figure)) };
}

/** The value in milliseconds that so large a part of these microseconds does not exceed. */
export function milliseconds(micros: readonly number[], part: number): number | undefined {
  const value = percentile(micros, part);
  return value === undefined ? undefined : value / 1000;
}

/** What each cost of what was spent between two looks. */
export function spent(
  before: number | undefined,
  after: number | undefined,
  count: number,
): number | undefined {
  return before === undefined || after === undefined ? undefined : (after - before) / count;
}

/** Waits. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));
}
