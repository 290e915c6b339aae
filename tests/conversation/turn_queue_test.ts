import { assertEquals } from "@std/assert";
import { type QueueTicket, TurnQueue } from "../../lib/conversation/turn_queue.ts";
import type { AppError } from "../../lib/core/errors.ts";
import type { Turn } from "../../lib/turn/turn.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { nextTask, waitFor } from "../support/harness/turn_recorder.ts";

/** Enters a queue, and starts a turn that counts its cancels. */
async function start(queue: TurnQueue): Promise<{ ticket: QueueTicket; calls: string[] }> {
  const calls: string[] = [];
  const ticket = queue.enter("queue");
  await waitFor(ticket.waitForTurn(undefined), "its turn");
  ticket.attach({ supersede: () => calls.push("supersede") } as unknown as Turn);
  return { ticket, calls };
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let isIt = false;
  promise.then(() => isIt = true, () => {});
  await nextTask();
  return isIt;
}

Deno.test("TurnQueue: a request that leaves early lets no later one overtake the running turn", async () => {
  const queue = new TurnQueue();
  const { ticket: first } = await start(queue);
  const second = queue.enter("queue");
  const third = queue.enter("queue");
  const waiting = third.waitForTurn(undefined);
  second.release();
  assertEquals([third.isCurrent, await isSettled(waiting)], [false, false]);
  first.release();
  assertEquals([third.isCurrent, await isSettled(waiting)], [true, true]);
});

Deno.test("TurnQueue: a caller that hangs up does not end a turn that has started", async () => {
  const ticket = new TurnQueue().enter("queue");
  const hangUp = new AbortController();
  const signal = await ticket.waitForTurn(hangUp.signal);
  ticket.attach({} as Turn);
  hangUp.abort(new Error("hung up"));
  assertEquals(signal.aborted, false);
});

Deno.test("TurnQueue: queue waits at most a minute, supersede as long as it takes", async () => {
  using clock = new FakeClock();
  const queue = new TurnQueue();
  const { ticket: first, calls } = await start(queue);
  const late = queue.enter("queue");
  const waiting = late.waitForTurn(undefined).catch((error) => error);
  clock.advance(60_000);
  const failure: AppError = await waiting;
  assertEquals([failure.code, failure.retryAfterSecs], ["session_busy", 3]);
  late.release();
  const next = queue.enter("supersede").waitForTurn(undefined);
  assertEquals(calls, ["supersede"]);
  clock.advance(600_000);
  assertEquals(await isSettled(next), false);
  first.release();
  assertEquals(await isSettled(next), true);
});
