import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { abortable, untilAborted } from "../../lib/core/abortable.ts";
import { settled } from "../support/harness/turn_recorder.ts";

Deno.test("orAbort: without a signal it is the promise", async () => {
  assertEquals(await abortable(Promise.resolve(1), undefined), 1);
  await assertRejects(() => abortable(Promise.reject(new Error("no")), undefined), Error, "no");
});

Deno.test("orAbort: the promise settles first", async () => {
  const controller = new AbortController();
  assertEquals(await abortable(Promise.resolve(1), controller.signal), 1);
  await assertRejects(() => abortable(Promise.reject(new Error("no")), controller.signal), Error, "no");
  controller.abort(new Error("later, nobody listens"));
});

Deno.test("orAbort: the signal aborts first, and its reason is thrown as it is", async () => {
  const controller = new AbortController();
  const reason = new Error("hung up");
  const waiting = abortable(new Promise<never>(() => {}), controller.signal);
  controller.abort(reason);
  assertStrictEquals(await waiting.catch((error) => error), reason);
});

Deno.test("orAbort: a signal that has aborted already wins over a promise that is settled", async () => {
  const reason = new Error("hung up before");
  const signal = AbortSignal.abort(reason);
  assertStrictEquals(await abortable(new Promise<never>(() => {}), signal).catch((error) => error), reason);
  assertStrictEquals(await abortable(Promise.resolve(1), signal).catch((error) => error), reason);
});

Deno.test("orAbort: a promise that fails after the abort is nobody's unhandled rejection", async () => {
  const controller = new AbortController();
  const { promise, reject } = Promise.withResolvers<never>();
  const waiting = abortable(promise, controller.signal);
  controller.abort(new Error("hung up"));
  await assertRejects(() => waiting, Error, "hung up");
  reject(new Error("late"));
  await promise.catch(() => {});
});

Deno.test("aborted: before and after", async () => {
  await untilAborted(AbortSignal.abort());
  const controller = new AbortController();
  let told = false;
  const waiting = untilAborted(controller.signal).then(() => told = true);
  await settled();
  assertEquals(told, false);
  controller.abort();
  await waiting;
});
