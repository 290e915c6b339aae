import { assertEquals, assertThrows } from "@std/assert";
import { Failure } from "../../lib/turn/failure.ts";
import { Slots } from "../../lib/turn/slots.ts";

Deno.test("Slots: as many as the limit, the next is told when to come back", () => {
  const slots = new Slots(2);
  const first = slots.take();
  slots.take();
  assertEquals([slots.limit, slots.used], [2, 2]);
  const failure: Failure = assertThrows(() => slots.take(), Failure, "VTUBER_MAX_IN_FLIGHT");
  assertEquals([failure.code, failure.prompted], ["rate_limit_exceeded", false]);
  assertEquals(failure.retryAfterSecs !== undefined && failure.retryAfterSecs > 0, true);
  first[Symbol.dispose]();
  slots.take();
  assertEquals(slots.used, 2);
});

Deno.test("Slots: one that is given back twice comes back once", () => {
  const slots = new Slots(3);
  const first = slots.take();
  slots.take();
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  assertEquals(slots.used, 1);
});

Deno.test("Slots: one that replaces another is never refused, and is counted", () => {
  const slots = new Slots(1);
  const running = slots.take();
  const next = slots.take(true);
  assertEquals(slots.used, 2);
  running[Symbol.dispose]();
  assertThrows(() => slots.take(), Failure);
  next[Symbol.dispose]();
  assertEquals(slots.used, 0);
});

Deno.test("Slots: it is given back at the end of its scope", () => {
  const slots = new Slots(1);
  {
    using _slot = slots.take();
    assertEquals(slots.used, 1);
  }
  assertEquals(slots.used, 0);
});
