import { assertEquals, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { Semaphore } from "../../lib/core/semaphore.ts";

const NEVER = new AbortController().signal;

function semaphore(): Semaphore {
  return new Semaphore({ places: 1, maxWaiting: 2, full: "Too many wait." });
}

/** Takes a place, and records the name once it is there. */
function take(places: Semaphore, name: string, order: string[], signal = NEVER): Promise<Disposable> {
  const taking = places.take(signal);
  taking.then(() => order.push(name), () => {});
  return taking;
}

Deno.test("Semaphore: hands out places in order, and a place only once", async () => {
  const places = semaphore();
  const order: string[] = [];
  const a = await take(places, "a", order);
  const [b, c] = [take(places, "b", order), take(places, "c", order)];
  assertEquals(order, ["a"]);
  a[Symbol.dispose]();
  a[Symbol.dispose]();
  (await b)[Symbol.dispose]();
  (await c)[Symbol.dispose]();
  assertEquals(order, ["a", "b", "c"]);
});

Deno.test("Semaphore: refuses a caller beyond those that wait", async () => {
  const places = semaphore();
  using _held = await places.take(NEVER);
  const leave = new AbortController();
  const waiting = [places.take(leave.signal), places.take(leave.signal)];
  const error = await assertRejects(
    () => places.take(NEVER),
    AppError,
    "Too many wait. Try again in 5 seconds.",
  );
  assertEquals([error.code, error.retryAfterSecs], ["rate_limit_exceeded", 5]);
  leave.abort(new Error("left"));
  for (const wait of waiting) await assertRejects(() => wait, Error, "left");
});

Deno.test("Semaphore: a caller that leaves keeps no place, not even one that it just got", async () => {
  const places = semaphore();
  const held = await places.take(NEVER);
  const leave = new AbortController();
  const [first, second] = [places.take(leave.signal), places.take(NEVER)];
  held[Symbol.dispose]();
  leave.abort(new Error("left"));
  await first.then((place) => place[Symbol.dispose](), () => {});
  (await second)[Symbol.dispose]();
  await assertRejects(() => places.take(leave.signal), Error, "left");
  using _free = await places.take(NEVER);
});
