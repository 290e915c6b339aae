/** Limits the requests of a caller in a minute, and tells its clients with OpenAI's headers. @module */

import { AppError } from "../core/errors.ts";
import type { Caller } from "../turn/caller.ts";

/** The time in which a caller can make its requests, in milliseconds. */
const WINDOW_MS = 60_000;
/** Largest limit: the times of so many requests of each key are kept, 8 bytes each. */
export const MAX_REQUESTS_PER_MINUTE = 10_000;

/** The rate of a caller when it makes a request. */
export interface Rate {
  readonly limit: number;
  /** Requests that can follow at once. */
  readonly remaining: number;
  /** Time until the whole limit is free again, in milliseconds. */
  readonly resetMs: number;
  /** Time until the next request passes, in milliseconds; 0 if this one passed. */
  readonly waitMs: number;
}

/**
 * Records a request, if no more than `limit` requests pass within a minute, whichever minute that is. This is a log of
 * times, because a fixed window and a full token bucket let twice the limit pass within a minute. A refused request is
 * not recorded, so that a client that repeats it is served once a place is free.
 *
 * @param passed The times of the requests that passed, oldest first; is changed.
 * @param now The time, in milliseconds of a clock that never goes back.
 */
export function recordRequest(passed: number[], limit: number, now: number): Rate {
  // The differences of times are taken first: `now + WINDOW_MS - now` can be more than `WINDOW_MS`.
  const untilExpired = (time: number) => WINDOW_MS - (now - time);
  const recent = passed.findIndex((time) => untilExpired(time) > 0);
  passed.splice(0, recent < 0 ? passed.length : recent);
  const waitMs = passed.length < limit ? 0 : untilExpired(passed[0]!);
  if (waitMs === 0) passed.push(now);
  return { limit, remaining: limit - passed.length, resetMs: untilExpired(passed.at(-1)!), waitMs };
}

/** Creates a function that records a request of a caller; it returns no rate for a caller without a limit. */
export function createRateLimiter(): (caller: Caller) => Rate | undefined {
  /** The times of each caller's requests: an entry for each key at most. */
  const passed = new Map<string, number[]>();
  return ({ id, requestsPerMinute }) => {
    if (requestsPerMinute === undefined) return undefined;
    const times = passed.get(id) ?? [];
    passed.set(id, times);
    return recordRequest(times, requestsPerMinute, performance.now());
  };
}

/** Returns the headers of a rate. */
export function rateHeaders({ limit, remaining, resetMs }: Rate): [name: string, value: string][] {
  return [
    ["x-ratelimit-limit-requests", String(limit)],
    ["x-ratelimit-remaining-requests", String(remaining)],
    ["x-ratelimit-reset-requests", formatSeconds(Math.ceil(resetMs / 1000))],
  ];
}

/** Checks that a request passed. @throws {AppError} `rate_limit_exceeded`, with the time to wait. */
export function checkRate({ limit, waitMs }: Rate): void {
  if (waitMs === 0) return;
  const retryAfterSecs = Math.ceil(waitMs / 1000);
  throw new AppError(
    "rate_limit_exceeded",
    `This key can make ${limit} requests a minute. Try again in ${retryAfterSecs} seconds, or raise ` +
      "`requests_per_minute` of the key in config.toml.",
    { retryAfterSecs },
  );
}

/** Formats a time as OpenAI does: `1s`, `6m0s`. */
function formatSeconds(secs: number): string {
  return secs < 60 ? `${secs}s` : `${Math.floor(secs / 60)}m${secs % 60}s`;
}
