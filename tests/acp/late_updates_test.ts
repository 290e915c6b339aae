import { assert } from "@std/assert";
import { QuietPeriod } from "../../lib/acp/late_updates.ts";
import { nextTask, waitFor } from "../support/harness/turn_recorder.ts";

Deno.test("QuietPeriod: ends after a silence that each touch starts anew", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  const period = new QuietPeriod({ silenceMs: 40, maxMs: 60_000 }, () => resolve(performance.now()));
  const startedAt = performance.now();
  let touchedAt = startedAt;
  while (touchedAt - startedAt < 100) {
    touchedAt = performance.now();
    period.touch();
    await nextTask();
  }
  // The timers of the program fire a millisecond early at most.
  assert(await waitFor(promise, "the end") - touchedAt >= 38);
});

Deno.test("QuietPeriod: ends in time without a silence, and never after it was disposed of", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  let hasEnded = false;
  {
    using _disposed = new QuietPeriod({ silenceMs: 5, maxMs: 5 }, () => hasEnded = true);
  }
  const period = new QuietPeriod({ silenceMs: 60_000, maxMs: 20 }, resolve);
  period.touch();
  await waitFor(promise, "the end");
  assert(!hasEnded);
});
