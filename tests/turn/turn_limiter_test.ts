import { assertEquals, assertThrows } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { TurnLimiter } from "../../lib/turn/turn_limiter.ts";

Deno.test("Slots: as many as the limit, the next is told when to come back", () => {
  const slots = new TurnLimiter(2);
  const first = slots.acquire();
  slots.acquire();
  assertEquals([slots.limit, slots.running], [2, 2]);
  const failure: AppError = assertThrows(() => slots.acquire(), AppError, "VTUBER_MAX_IN_FLIGHT");
  assertEquals([failure.code, failure.prompted], ["rate_limit_exceeded", false]);
  assertEquals(failure.retryAfterSecs !== undefined && failure.retryAfterSecs > 0, true);
  first[Symbol.dispose]();
  slots.acquire();
  assertEquals(slots.running, 2);
});

Deno.test("Slots: one that is given back twice comes back once", () => {
  const slots = new TurnLimiter(3);
  const first = slots.acquire();
  slots.acquire();
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  assertEquals(slots.running, 1);
});

Deno.test("Slots: one that replaces another is never refused, and is counted", () => {
  const slots = new TurnLimiter(1);
  const running = slots.acquire();
  const next = slots.acquire(true);
  assertEquals(slots.running, 2);
  running[Symbol.dispose]();
  assertThrows(() => slots.acquire(), AppError);
  next[Symbol.dispose]();
  assertEquals(slots.running, 0);
});

Deno.test("Slots: it is given back at the end of its scope", () => {
  const slots = new TurnLimiter(1);
  {
    using _slot = slots.acquire();
    assertEquals(slots.running, 1);
  }
  assertEquals(slots.running, 0);
});
