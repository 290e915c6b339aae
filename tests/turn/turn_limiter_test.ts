import { assertEquals, assertThrows } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { TurnLimiter } from "../../lib/turn/turn_limiter.ts";

Deno.test("TurnLimiter: refuses a turn at the limit, and says when to try again", () => {
  const limiter = new TurnLimiter(2);
  const first = limiter.acquire();
  limiter.acquire();
  assertEquals(limiter.running, 2);
  const failure: AppError = assertThrows(() => limiter.acquire(), AppError, "VTUBER_MAX_IN_FLIGHT");
  assertEquals([failure.code, failure.prompted, failure.retryAfterSecs], ["rate_limit_exceeded", false, 3]);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  limiter.acquire();
  assertEquals(limiter.running, 2);
});

Deno.test("TurnLimiter: never refuses a turn that replaces another, but counts it", () => {
  const limiter = new TurnLimiter(1);
  const running = limiter.acquire();
  const next = limiter.acquire(true);
  assertEquals(limiter.running, 2);
  running[Symbol.dispose]();
  assertThrows(() => limiter.acquire(), AppError);
  next[Symbol.dispose]();
  assertEquals(limiter.running, 0);
});
