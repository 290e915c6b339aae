import { assert, assertEquals } from "@std/assert";
import { startIdleTimer } from "../../lib/core/idle_timer.ts";
import { nextTask, waitFor } from "../support/harness/turn_recorder.ts";

/** Timers may fire a little early. */
const EARLY_MS = 2;

Deno.test("startIdleTimer: a touch starts the silence anew", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  // Taken before the touch, because a slow machine may stand still between the two.
  let touchedAt = performance.now();
  using timer = startIdleTimer(15, () => resolve(performance.now()));
  // Touch for longer than one silence. On a slow machine a call may come between, but never too early.
  for (let round = 0; round < 6; round++) {
    touchedAt = performance.now();
    timer.touch();
    const calledAt = await Promise.race([promise, new Promise<void>((resolve) => setTimeout(resolve, 3))]);
    if (calledAt !== undefined) break;
  }
  const calledAt = await waitFor(promise, "a call");
  assert(calledAt - touchedAt >= 15 - EARLY_MS, `called ${calledAt - touchedAt} ms after a touch`);
});

Deno.test("startIdleTimer: timers of different lengths share the clock", async () => {
  const order: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  using _long = startIdleTimer(40, () => {
    order.push("long");
    resolve();
  });
  using _never = startIdleTimer(3_600_000, () => order.push("never"));
  const short = startIdleTimer(5, () => {
    order.push("short");
    short[Symbol.dispose]();
  });
  await waitFor(promise, "the longer timer");
  assertEquals(order, ["short", "long"]);
});

Deno.test("startIdleTimer: an error of one timer is reported, and does not stop the others", async () => {
  const errors: unknown[] = [];
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    errors.push(event.error.message);
  };
  globalThis.addEventListener("error", onError);
  const { promise, resolve } = Promise.withResolvers<void>();
  let calls = 0;
  {
    using _broken = startIdleTimer(1, () => {
      throw new Error("broken");
    });
    using _other = startIdleTimer(1, () => {
      if (++calls === 3) resolve();
    });
    await waitFor(promise, "three calls of the other timer");
  }
  globalThis.removeEventListener("error", onError);
  assertEquals(errors[0], "broken");
});

Deno.test("startIdleTimer: with 0 or disposed of, also by its own call, it never calls", async () => {
  const fail = () => {
    throw new Error("called");
  };
  startIdleTimer(0, fail).touch();
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = startIdleTimer(1, () => {
    timer[Symbol.dispose]();
    resolve();
  });
  await waitFor(promise, "a call");
  startIdleTimer(1, fail)[Symbol.dispose]();
  await nextTask();
});
