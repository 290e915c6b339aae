import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { MAX_QUEUED, type QueueTicket, TurnQueue } from "../../lib/conversation/turn_queue.ts";
import { BUSY_MODES } from "../../lib/conversation/turn_queue.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { Turn } from "../../lib/turn/turn.ts";
import { failureOf, settled, soon } from "../support/harness/turn_recorder.ts";

/** A turn of which nothing is asked but to be cancelled. */
function cancellable(): { turn: Turn; cancels: () => number } {
  let cancels = 0;
  const turn = { cancel: () => cancels++ } as unknown as Turn;
  return { turn, cancels: () => cancels };
}

/** Whether a place is ready by now. */
async function isReady(ready: Promise<AbortSignal>): Promise<boolean> {
  let isIt = false;
  ready.then(() => isIt = true, () => {});
  await settled();
  return isIt;
}

/** Enters, and begins a turn. */
async function running(line: TurnQueue): Promise<{ place: QueueTicket; cancels: () => number }> {
  const place = line.enter("queue");
  await soon(place.waitForTurn(undefined), "its turn");
  const { turn, cancels } = cancellable();
  place.attach(turn);
  return { place, cancels };
}

/** Runs with timers that ring when they are rung, and tells how long they would have waited. */
async function withTimers(run: (ring: () => void, waits: number[]) => Promise<void>): Promise<void> {
  const { setTimeout } = globalThis;
  const waits: number[] = [];
  const bells: (() => void)[] = [];
  globalThis.setTimeout = ((bell: () => void, ms = 0) => {
    // What lets time go by in a test still does.
    if (ms < 1_000) return setTimeout(bell, ms);
    waits.push(ms);
    bells.push(bell);
    return -1;
  }) as typeof globalThis.setTimeout;
  try {
    await run(() => bells.forEach((bell) => bell()), waits);
  } finally {
    globalThis.setTimeout = setTimeout;
  }
}

Deno.test("Line: who comes to an empty one may begin, in every mode", async () => {
  for (const mode of BUSY_MODES) {
    const line = new TurnQueue();
    line.check(mode);
    assertEquals(line.isBusy, false);
    const place = line.enter(mode);
    assertEquals(line.isBusy, true);
    assertEquals((await soon(place.waitForTurn(undefined), mode)).aborted, false);
    place.release();
    assertEquals(line.isBusy, false);
  }
});

Deno.test("Line: those that wait begin in the order in which they came, each after the one before", async () => {
  const line = new TurnQueue();
  const { place: first } = await running(line);
  const order: number[] = [];
  const places = [1, 2, 3].map((number) => {
    const place = line.enter("queue");
    place.waitForTurn(undefined).then(() => order.push(number));
    return place;
  });
  await settled();
  assertEquals(order, []);
  for (const [index, before] of [first, ...places.slice(0, 2)].entries()) {
    before.release();
    await settled();
    assertEquals(order, [1, 2, 3].slice(0, index + 1));
  }
  assertEquals(line.isBusy, true);
  places[2]?.release();
  assertEquals(line.isBusy, false);
});

Deno.test("Line: one that leaves before its turn lets nobody pass the turn that runs", async () => {
  const line = new TurnQueue();
  const { place: first } = await running(line);
  const second = line.enter("queue");
  const third = line.enter("queue").waitForTurn(undefined);
  second.release();
  assertEquals(await isReady(third), false);
  first.release();
  assertEquals(await isReady(third), true);
});

Deno.test("Line: reject takes nobody while a turn runs, and says when to come back", async () => {
  const line = new TurnQueue();
  const { place, cancels } = await running(line);
  const failure = await failureOf(Promise.try(() => line.check("reject")));
  assertEquals([failure.code, failure.prompted, failure.retryAfterSecs], ["session_busy", false, 3]);
  assertEquals(cancels(), 0);
  place.release();
  line.check("reject");
});

Deno.test("Line: queue takes so many that wait and no more, until one begins or leaves", async () => {
  const line = new TurnQueue();
  const { place: first } = await running(line);
  const waiting: QueueTicket[] = [];
  for (let count = 0; count < MAX_QUEUED; count++) {
    line.check("queue");
    waiting.push(line.enter("queue"));
  }
  assertEquals(MAX_QUEUED, 8);
  const failure = await failureOf(Promise.try(() => line.check("queue")));
  assertEquals([failure.code, failure.retryAfterSecs], ["session_busy", 3]);
  waiting[4]?.release();
  line.check("queue");
  line.enter("queue");
  await failureOf(Promise.try(() => line.check("queue")));
  const next = waiting[0]!.waitForTurn(undefined);
  first.release();
  await soon(next, "the next turn");
  waiting[0]?.attach(cancellable().turn);
  line.check("queue");
});

Deno.test("Line: queue does not count the one that waits for nobody but its agent", () => {
  const line = new TurnQueue();
  for (let count = 0; count <= MAX_QUEUED; count++) {
    line.check("queue");
    line.enter("queue");
  }
  assertEquals((assertThrows(() => line.check("queue"), AppError) as AppError).code, "session_busy");
});

Deno.test("Line: nobody passes one that pauses between two turns, and it takes no new place", async () => {
  const line = new TurnQueue();
  const { place } = await running(line);
  const next = line.enter("queue").waitForTurn(undefined);
  place.pause();
  assertEquals([await isReady(next), line.isBusy], [false, true]);
  assertEquals((await failureOf(Promise.try(() => line.check("reject")))).code, "session_busy");
  assertEquals((await soon(place.waitForTurn(undefined), "its second turn")).aborted, false);
  const { turn, cancels } = cancellable();
  place.attach(turn);
  line.giveUp("Forgotten.");
  assertEquals([cancels(), await isReady(next)], [1, false]);
  place.pause();
  assertEquals([line.isBusy, (await failureOf(next)).code], [true, "turn_cancelled"]);
});

Deno.test("Line: one that pauses and is given up has left, and is told so when it comes back", async () => {
  for (const isBefore of [true, false]) {
    const line = new TurnQueue();
    const { place } = await running(line);
    if (isBefore) line.giveUp("Forgotten.");
    place.pause();
    if (!isBefore) line.giveUp("Forgotten.");
    assertEquals(line.isBusy, false);
    const failure = await failureOf(place.waitForTurn(undefined));
    assertEquals([failure.code, failure.message], ["turn_cancelled", "Forgotten."]);
  }
});

Deno.test("Line: a place takes its part of the turns at once with it", async () => {
  const line = new TurnQueue();
  let freed = 0;
  const place = line.enter("queue", { [Symbol.dispose]: () => void freed++ });
  await soon(place.waitForTurn(undefined), "its turn");
  place.pause();
  assertEquals(freed, 0);
  place.release();
  assertEquals(freed, 1);
});

Deno.test("Line: supersede cancels the turn that runs and refuses those that wait", async () => {
  const line = new TurnQueue();
  const { place: first, cancels } = await running(line);
  const passed = line.enter("supersede");
  const refused = passed.waitForTurn(undefined);
  refused.catch(() => {});
  line.check("supersede");
  const newest = line.enter("supersede").waitForTurn(undefined);
  const failure = await failureOf(refused);
  assertEquals([failure.code, failure.prompted], ["turn_cancelled", false]);
  passed.release();
  assert(cancels() > 0);
  assertEquals(await isReady(newest), false);
  first.release();
  assertEquals(await isReady(newest), true);
});

Deno.test("Line: who is superseded while its prompt is put is told by its signal, and cancelled once it began", async () => {
  const line = new TurnQueue();
  const place = line.enter("supersede");
  const givenUp = await soon(place.waitForTurn(undefined), "its turn");
  line.enter("supersede").waitForTurn(undefined).catch(() => {});
  assert(givenUp.reason instanceof AppError);
  assertEquals(givenUp.reason.code, "turn_cancelled");
  const { turn, cancels } = cancellable();
  place.attach(turn);
  assertEquals(cancels(), 1);
});

Deno.test("Line: who hangs up while waiting is let go with the reason of its signal", async () => {
  const line = new TurnQueue();
  await running(line);
  const hangUp = new AbortController();
  const waiting = line.enter("queue").waitForTurn(hangUp.signal);
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await waiting.catch((error) => error), reason);
});

Deno.test("Line: who has hung up before its turn comes does not begin", async () => {
  const reason = new Error("hung up");
  const waiting = new TurnQueue().enter("queue").waitForTurn(AbortSignal.abort(reason));
  assertStrictEquals(await waiting.catch((error) => error), reason);
});

Deno.test("Line: giving up cancels what runs and refuses what waits, with a word why", async () => {
  const line = new TurnQueue();
  const { cancels } = await running(line);
  const waiting = [1, 2].map(() => line.enter("queue").waitForTurn(undefined));
  const refused = waiting.map(failureOf);
  line.giveUp("Forgotten.");
  for (const failure of await Promise.all(refused)) {
    assertEquals([failure.code, failure.message], ["turn_cancelled", "Forgotten."]);
  }
  assertEquals(cancels(), 1);
});

Deno.test("Line: queue does not wait for ever", () =>
  withTimers(async (ring, waits) => {
    const line = new TurnQueue();
    const { place: first } = await running(line);
    const late = line.enter("queue");
    const waiting = late.waitForTurn(undefined);
    assertEquals(waits.at(-1), 60_000);
    ring();
    const failure = await failureOf(waiting);
    assertEquals([failure.code, failure.retryAfterSecs], ["session_busy", 3]);
    late.release();
    const next = line.enter("supersede").waitForTurn(undefined);
    first.release();
    assertEquals(await isReady(next), true);
  }));

Deno.test("Line: supersede waits as long as it takes", () =>
  withTimers(async (ring) => {
    const line = new TurnQueue();
    const { place: first } = await running(line);
    const next = line.enter("supersede").waitForTurn(undefined);
    ring();
    assertEquals(await isReady(next), false);
    first.release();
    assertEquals(await isReady(next), true);
  }));
