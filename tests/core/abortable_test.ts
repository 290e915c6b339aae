import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { abortable, untilAborted } from "../../lib/core/abortable.ts";
import { settlesWithin } from "../../lib/core/deadline.ts";
import { nextTask, waitFor } from "../support/harness/turn_recorder.ts";

Deno.test("abortable: settles like the promise, with or without a signal", async () => {
  for (const signal of [undefined, new AbortController().signal]) {
    assertEquals(await abortable(Promise.resolve(1), signal), 1);
    await assertRejects(() => abortable(Promise.reject(new Error("no")), signal), Error, "no");
  }
});

Deno.test("abortable: throws the signal's reason as it is, and a later rejection is not unhandled", async () => {
  const controller = new AbortController();
  const reason = new Error("hung up");
  const { promise, reject } = Promise.withResolvers<never>();
  const waiting = abortable(promise, controller.signal);
  controller.abort(reason);
  assertStrictEquals(await waiting.catch((error) => error), reason);
  reject(new Error("late"));
  await nextTask();
});

Deno.test("untilAborted: resolves at the abort, or at once after it", async () => {
  await untilAborted(AbortSignal.abort());
  const controller = new AbortController();
  const waiting = untilAborted(controller.signal);
  assertEquals(await settlesWithin(1, waiting), false);
  controller.abort();
  await waiting;
});

Deno.test("settlesWithin: says whether the promise settles in time, and leaves no timer", async () => {
  assertEquals(await settlesWithin(60_000, nextTask()), true);
  assertEquals(await waitFor(settlesWithin(1, new Promise(() => {})), "the deadline"), false);
  await assertRejects(() => settlesWithin(60_000, Promise.reject(new Error("no"))), Error, "no");
});
