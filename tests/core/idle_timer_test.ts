import { assert, assertEquals } from "@std/assert";
import { startIdleTimer } from "../../lib/core/idle_timer.ts";
import { settled, soon } from "../support/harness/turn_recorder.ts";

/** Timers may fire a little early. */
const EARLY_MS = 2;

Deno.test("watchSilence: calls again and again while nothing is touched", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  let calls = 0;
  using _watch = startIdleTimer(2, () => {
    if (++calls === 3) resolve();
  });
  await soon(promise, "three silences");
});

Deno.test("watchSilence: a touch starts the silence anew", async () => {
  const { promise, resolve } = Promise.withResolvers<number>();
  using watch = startIdleTimer(15, () => resolve(performance.now()));
  let touched = performance.now();
  // Touches over more than one silence; on a slow machine a call may come between, but never too early.
  for (let turn = 0; turn < 6; turn++) {
    watch.touch();
    touched = performance.now();
    const silent = await Promise.race([promise, new Promise<void>((resolve) => setTimeout(resolve, 3))]);
    if (silent !== undefined) break;
  }
  const silentAt = await soon(promise, "silence");
  assert(silentAt - touched >= 15 - EARLY_MS, `silent ${silentAt - touched} ms after a touch`);
});

Deno.test("watchSilence: with 0 there is no timer and no call", async () => {
  let calls = 0;
  const watch = startIdleTimer(0, () => calls++);
  watch.touch();
  await settled();
  assertEquals(calls, 0);
});

Deno.test("watchSilence: once disposed of, also by its own call, it never calls again", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const watch = startIdleTimer(1, () => {
    watch[Symbol.dispose]();
    resolve();
  });
  await soon(promise, "silence");
  startIdleTimer(1, () => {
    throw new Error("called after it was disposed of");
  })[Symbol.dispose]();
  await settled();
});
