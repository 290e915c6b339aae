import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { abortable, untilAborted } from "../../lib/core/abortable.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

Deno.test("abortable: settles like the promise, with or without a signal", async () => {
  const controller = new AbortController();
  for (const signal of [undefined, controller.signal]) {
    assertEquals(await abortable(Promise.resolve(1), signal), 1);
    await assertRejects(() => abortable(Promise.reject(new Error("no")), signal), Error, "no");
  }
  controller.abort(new Error("too late to matter"));
});

Deno.test("abortable: throws the signal's reason as it is", async () => {
  const controller = new AbortController();
  const reason = new Error("hung up");
  const waiting = abortable(new Promise<never>(() => {}), controller.signal);
  controller.abort(reason);
  assertStrictEquals(await waiting.catch((error) => error), reason);
});

Deno.test("abortable: a signal that has aborted wins over a settled promise", async () => {
  const reason = new Error("hung up");
  const signal = AbortSignal.abort(reason);
  for (const promise of [new Promise<never>(() => {}), Promise.resolve(1), Promise.reject(new Error("no"))]) {
    assertStrictEquals(await abortable<unknown>(promise, signal).catch((error) => error), reason);
  }
});

Deno.test("abortable: a rejection after the abort is not unhandled", async () => {
  const controller = new AbortController();
  const { promise, reject } = Promise.withResolvers<never>();
  const waiting = abortable(promise, controller.signal);
  controller.abort(new Error("hung up"));
  await assertRejects(() => waiting, Error, "hung up");
  reject(new Error("late"));
  await nextTask();
});

Deno.test("untilAborted: resolves at the abort, or at once after it", async () => {
  await untilAborted(AbortSignal.abort());
  const controller = new AbortController();
  let isResolved = false;
  const waiting = untilAborted(controller.signal).then(() => isResolved = true);
  await nextTask();
  assertEquals(isResolved, false);
  controller.abort();
  await waiting;
});
