import { assertEquals, assertRejects } from "@std/assert";
import { settlesWithin } from "../../lib/core/deadline.ts";
import { nextTask, waitFor } from "../support/harness/turn_recorder.ts";

Deno.test("settlesWithin: says whether the promise settles in time", async () => {
  assertEquals(await settlesWithin(60_000, Promise.resolve(7)), true);
  assertEquals(await settlesWithin(60_000, nextTask()), true);
  assertEquals(await waitFor(settlesWithin(1, new Promise(() => {})), "the deadline"), false);
});

Deno.test("settlesWithin: throws the promise's error, and leaves no timer", async () => {
  await assertRejects(() => settlesWithin(60_000, Promise.reject(new Error("no"))), Error, "no");
});
