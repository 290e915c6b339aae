import { assertEquals, assertStrictEquals } from "@std/assert";
import {
  BUSY_MODES,
  type BusyMode,
  cancelled,
  MAX_QUEUED,
  type QueueTicket,
  TurnQueue,
} from "../../lib/conversation/turn_queue.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { Turn } from "../../lib/turn/turn.ts";
import { appErrorOf, nextTask, waitFor } from "../support/harness/turn_recorder.ts";

/** A turn that records how it was ended. */
class FakeTurn {
  readonly calls: string[] = [];
  readonly turn = {
    cancel: () => this.calls.push("cancel"),
    fail: ({ code }: AppError) => this.calls.push(`fail ${code}`),
  } as unknown as Turn;
}

/** Enters a queue, and starts a turn. */
async function start(queue: TurnQueue): Promise<{ ticket: QueueTicket; calls: string[] }> {
  const ticket = queue.enter("queue");
  await waitFor(ticket.waitForTurn(undefined), "its turn");
  const { turn, calls } = new FakeTurn();
  ticket.attach(turn);
  return { ticket, calls };
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let isIt = false;
  promise.then(() => isIt = true, () => {});
  await nextTask();
  return isIt;
}

const enterFailure = (queue: TurnQueue, mode: BusyMode) => appErrorOf(Promise.try(() => queue.enter(mode)));

/** Replaces long timers: `fire` ends them, `waits` has their times. */
async function withFakeTimers(run: (fire: () => void, waits: number[]) => Promise<void>): Promise<void> {
  const { setTimeout } = globalThis;
  const waits: number[] = [];
  const callbacks: (() => void)[] = [];
  globalThis.setTimeout = ((callback: () => void, ms = 0) => {
    if (ms < 1_000) return setTimeout(callback, ms);
    waits.push(ms);
    callbacks.push(callback);
    return -1;
  }) as typeof globalThis.setTimeout;
  try {
    await run(() => callbacks.forEach((callback) => callback()), waits);
  } finally {
    globalThis.setTimeout = setTimeout;
  }
}

Deno.test("TurnQueue: an empty queue lets a request start, in every mode", async () => {
  for (const mode of BUSY_MODES) {
    const queue = new TurnQueue();
    const ticket = queue.enter(mode);
    assertEquals([queue.isBusy, ticket.isHead], [true, true]);
    assertEquals((await waitFor(ticket.waitForTurn(undefined), mode)).aborted, false);
    ticket.release();
    assertEquals(queue.isBusy, false);
  }
});

Deno.test("TurnQueue: requests start in order, each after the one before", async () => {
  const queue = new TurnQueue();
  const { ticket: first } = await start(queue);
  const order: number[] = [];
  const tickets = [1, 2, 3].map((number) => {
    const ticket = queue.enter("queue");
    ticket.waitForTurn(undefined).then(() => order.push(number));
    return ticket;
  });
  await nextTask();
  assertEquals([order, tickets.map(({ isHead }) => isHead)], [[], [false, false, false]]);
  for (const [index, before] of [first, ...tickets.slice(0, 2)].entries()) {
    before.release();
    await nextTask();
    assertEquals(order, [1, 2, 3].slice(0, index + 1));
  }
});

Deno.test("TurnQueue: a request that leaves early lets no later one overtake the running turn", async () => {
  const queue = new TurnQueue();
  const { ticket: first } = await start(queue);
  const second = queue.enter("queue");
  const third = queue.enter("queue").waitForTurn(undefined);
  second.release();
  assertEquals(await isSettled(third), false);
  first.release();
  assertEquals(await isSettled(third), true);
});

Deno.test("TurnQueue: reject refuses a request while a turn runs, and says when to try again", async () => {
  const queue = new TurnQueue();
  const { ticket, calls } = await start(queue);
  const failure = await enterFailure(queue, "reject");
  assertEquals([failure.code, failure.prompted, failure.retryAfterSecs], ["session_busy", false, 3]);
  assertEquals(calls, []);
  ticket.release();
  queue.enter("reject");
});

Deno.test("TurnQueue: queue lets 8 requests wait beside the one whose turn starts", async () => {
  const queue = new TurnQueue();
  const [first, ...waiting] = Array.from({ length: 1 + MAX_QUEUED }, () => queue.enter("queue"));
  const failure = await enterFailure(queue, "queue");
  assertEquals([MAX_QUEUED, failure.code, failure.retryAfterSecs], [8, "session_busy", 3]);
  waiting[4]!.release();
  queue.enter("queue");
  await enterFailure(queue, "queue");
  first!.release();
  queue.enter("queue");
});

Deno.test("TurnQueue: supersede cancels the running turn and rejects the waiting request", async () => {
  const queue = new TurnQueue();
  const { ticket: first, calls } = await start(queue);
  const middle = queue.enter("supersede");
  const rejected = appErrorOf(middle.waitForTurn(undefined));
  const newest = queue.enter("supersede");
  const waiting = newest.waitForTurn(undefined);
  const failure = await rejected;
  assertEquals([failure.code, failure.prompted, newest.isHead], ["turn_cancelled", false, true]);
  assertEquals(calls[0], "cancel");
  middle.release();
  assertEquals(await isSettled(waiting), false);
  first.release();
  assertEquals(await isSettled(waiting), true);
});

for (const code of ["turn_cancelled", "shutting_down"] as const) {
  Deno.test(`TurnQueue: a request that ends with ${code} while its prompt is being sent ends its turn`, async () => {
    const queue = new TurnQueue();
    const ticket = queue.enter("supersede");
    const signal = await waitFor(ticket.waitForTurn(undefined), "its turn");
    const reason = new AppError(code, "No more.");
    ticket.cancel(reason);
    assertStrictEquals(signal.reason, reason);
    const { turn, calls } = new FakeTurn();
    ticket.attach(turn);
    assertEquals(calls, [code === "turn_cancelled" ? "cancel" : "fail shutting_down"]);
  });
}

Deno.test("TurnQueue: a caller that hangs up ends the wait, but not a turn that has started", async () => {
  const queue = new TurnQueue();
  const { ticket: first } = await start(queue);
  const hangUp = new AbortController();
  const second = queue.enter("queue");
  const waiting = second.waitForTurn(hangUp.signal);
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await waiting.catch((error) => error), reason);
  second.release();
  const late = queue.enter("queue").waitForTurn(AbortSignal.abort(reason));
  assertStrictEquals(await late.catch((error) => error), reason);
  first.release();

  const other = new TurnQueue().enter("queue");
  const laterHangUp = new AbortController();
  const signal = await other.waitForTurn(laterHangUp.signal);
  const { turn, calls } = new FakeTurn();
  other.attach(turn);
  laterHangUp.abort(reason);
  assertEquals([signal.aborted, calls], [false, []]);
});

Deno.test("TurnQueue: cancelAll cancels the running turn and rejects the waiting ones with the reason", async () => {
  const queue = new TurnQueue();
  const { calls } = await start(queue);
  const waiting = [1, 2].map(() => appErrorOf(queue.enter("queue").waitForTurn(undefined)));
  queue.cancelAll(cancelled("Forgotten."));
  for (const failure of await Promise.all(waiting)) {
    assertEquals([failure.code, failure.message], ["turn_cancelled", "Forgotten."]);
  }
  assertEquals(calls, ["cancel"]);
});

Deno.test("TurnQueue: queue waits at most a minute, supersede as long as it takes", () =>
  withFakeTimers(async (fire, waits) => {
    const queue = new TurnQueue();
    const { ticket: first } = await start(queue);
    const late = queue.enter("queue");
    const waiting = late.waitForTurn(undefined).catch((error) => error);
    assertEquals(waits.at(-1), 60_000);
    fire();
    const failure: AppError = await waiting;
    assertEquals([failure.code, failure.retryAfterSecs], ["session_busy", 3]);
    late.release();
    const next = queue.enter("supersede").waitForTurn(undefined);
    fire();
    assertEquals(await isSettled(next), false);
    first.release();
    assertEquals(await isSettled(next), true);
  }));
