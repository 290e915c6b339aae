import { assert, assertEquals } from "@std/assert";
import { MAX_REQUESTS_PER_MINUTE, rateHeaders, recordRequest } from "../../lib/http/rate_limit.ts";
import { Random } from "../support/harness/random.ts";

/** Requests under a limit of 3, by the second in which they come: `remaining`, `reset` and the seconds to wait. */
const LOGS: readonly [
  name: string,
  requests: readonly [atSecs: number, remaining: number, reset: string, waitSecs: number][],
][] = [
  ["a request a minute has the whole limit", [[0, 2, "1m0s", 0], [60, 2, "1m0s", 0], [120, 2, "1m0s", 0]]],
  ["the fourth request in a minute waits for the first to be a minute old", [
    [0, 2, "1m0s", 0],
    [10, 1, "1m0s", 0],
    [20, 0, "1m0s", 0],
    [21, 0, "59s", 39],
    [59, 0, "21s", 1],
    [60, 0, "1m0s", 0],
  ]],
  ["the reset is a minute at most, whatever the fraction of the time", [[86.90035768232569, 2, "1m0s", 0], [
    86.90035768232569,
    1,
    "1m0s",
    0,
  ]]],
  ["a refused request costs nothing", [
    [0, 2, "1m0s", 0],
    [0, 1, "1m0s", 0],
    [0, 0, "1m0s", 0],
    [1, 0, "59s", 59],
    [2, 0, "58s", 58],
    [59.5, 0, "1s", 0.5],
    [60, 2, "1m0s", 0],
  ]],
  ["a burst at the end of one minute leaves nothing for the start of the next", [
    [0, 2, "1m0s", 0],
    [59, 1, "1m0s", 0],
    [59, 0, "1m0s", 0],
    [60, 0, "1m0s", 0],
    [61, 0, "59s", 58],
    [119, 1, "1m0s", 0],
  ]],
];
for (const [name, requests] of LOGS) {
  Deno.test(`recordRequest: ${name}`, () => {
    const passed: number[] = [];
    for (const [atSecs, remaining, reset, waitSecs] of requests) {
      const rate = recordRequest(passed, 3, atSecs * 1000);
      const headers = [["limit", "3"], ["remaining", String(remaining)], ["reset", reset]];
      const found = rateHeaders(rate).map(([name, value]) => [name.split("-")[2], value]);
      assertEquals([found, rate.waitMs], [headers, waitSecs * 1000], `${atSecs} s`);
    }
  });
}

Deno.test("recordRequest: no minute has more than the limit, and a client that waits as told is served", () => {
  const random = new Random(11);
  for (let round = 0; round < 50; round++) {
    const limit = 1 + random.below(20);
    const log: number[] = [];
    const passed: number[] = [];
    for (let now = 0, i = 0; i < 300; i++) {
      now += random.below(random.below(20_000) + 1);
      const { waitMs, remaining } = recordRequest(log, limit, now);
      if (waitMs === 0) passed.push(now);
      else assertEquals(recordRequest([...log], limit, now + waitMs).waitMs, 0);
      assert(log.length <= limit && remaining === limit - log.length);
    }
    for (const start of passed) {
      assert(passed.filter((time) => time >= start && time < start + 60_000).length <= limit);
    }
  }
});

Deno.test("recordRequest: forgets the times that are older than a minute", () => {
  const log: number[] = [];
  for (let now = 0; now < 200_000; now += 10) recordRequest(log, MAX_REQUESTS_PER_MINUTE, now);
  assertEquals(log.length, 6_000);
});
