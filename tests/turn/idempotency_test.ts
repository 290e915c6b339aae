import { assertEquals, assertNotStrictEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import type { QuestionId } from "../../lib/turn/event.ts";
import { IdempotencyCache, type IdempotencyKey } from "../../lib/turn/idempotency.ts";
import { runTurn, type Turn } from "../../lib/turn/turn.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { manualAgent, NO_LIMITS } from "../support/harness/turn_fixture.ts";
import { nextTask, TurnRecorder } from "../support/harness/turn_recorder.ts";

const MINUTE_MS = 60_000;

/** A cache, its clock, and an agent whose turns are counted. */
class Fixture implements Disposable {
  readonly agent = manualAgent();
  now = 0;
  readonly cache = new IdempotencyCache(() => this.now);
  /** Number of turns that were started. */
  started = 0;
  /** Delays the start of a turn, or rejects it. */
  gate: Promise<void> = Promise.resolve();

  readonly #start = async (): Promise<Turn> => {
    this.started++;
    await this.gate;
    const session = await this.agent.newSession();
    const options = { limits: NO_LIMITS, resolvedModel: "openab", record: true, speaksQuestions: true };
    return await runTurn({ session, blocks: [], ...options });
  };

  [Symbol.dispose](): void {
    this.cache[Symbol.dispose]();
  }

  /** Sends a request, by default a repetition. */
  send(name: string, key: Partial<IdempotencyKey> = {}): Promise<Turn> {
    return this.cache.getOrStart({ owner: "me", name, bodyHash: "body", isRetry: true, ...key }, this.#start);
  }

  /** Sends a request, and ends its turn. */
  async complete(name: string): Promise<Turn> {
    const turn = await this.send(name);
    (await this.agent.nextPrompt()).end();
    await turn.ended;
    await nextTask();
    return turn;
  }
}

Deno.test("getOrStart: a repeated request joins its running turn, and gets the finished one", async () => {
  using fixture = new Fixture();
  const first = await fixture.send("a", { isRetry: false });
  const prompt = await fixture.agent.nextPrompt();
  prompt.say("one ");
  const recorder = new TurnRecorder();
  const second = await fixture.send("a");
  second.read(recorder.reader);
  prompt.say("two");
  prompt.end();
  await first.ended;
  assertStrictEquals(second, first);
  assertStrictEquals(await fixture.send("a"), first);
  assertEquals([fixture.started, recorder.text], [1, "one two"]);
});

Deno.test("getOrStart: a repeated request does not get the reply after the answer to its question", async () => {
  using fixture = new Fixture();
  const turn = await fixture.send("a", { isRetry: false });
  const prompt = await fixture.agent.nextPrompt();
  const question = { message: "Which branch?", fields: [], isPrivate: false, isShown: false, expiresAt: 0 };
  const answerInWords = () => true;
  prompt.emit({
    type: "question",
    request: { ...question, id: "q1" as QuestionId, answerInWords, cancel: () => {} },
  });
  assertStrictEquals(await fixture.send("a"), turn);
  assertEquals(turn.answerQuestion("main"), true);
  await assertRejects(() => fixture.send("a"), AppError, "no longer kept");
  prompt.end();
  await turn.ended;
});

Deno.test("getOrStart: a turn has at most 16 repeated requests", async () => {
  using fixture = new Fixture();
  const turn = await fixture.send("a", { isRetry: false });
  for (let count = 0; count < 16; count++) assertStrictEquals(await fixture.send("a"), turn);
  const failure: AppError = await assertRejects(() => fixture.send("a"), AppError);
  assertEquals([failure.code, failure.prompted, fixture.started], ["rate_limit_exceeded", true, 1]);
  assertNotStrictEquals(await fixture.send("b"), turn);
});

Deno.test("getOrStart: a request that is no repetition starts a turn, which repetitions then get", async () => {
  using fixture = new Fixture();
  const first = await fixture.send("a", { isRetry: false });
  const second = await fixture.send("a", { isRetry: false });
  assertNotStrictEquals(first, second);
  assertStrictEquals(await fixture.send("a"), second);
  assertEquals(fixture.started, 2);
});

Deno.test("getOrStart: another body under the same key is a conflict, and leaves the first alone", async () => {
  using fixture = new Fixture();
  const first = await fixture.send("a");
  const failure: AppError = await assertRejects(
    () => fixture.send("a", { bodyHash: "another" }),
    AppError,
    "Idempotency-Key",
  );
  assertEquals([failure.code, failure.prompted], ["idempotency_key_conflict", false]);
  assertStrictEquals(await fixture.send("a"), first);
  assertEquals(fixture.started, 1);
});

Deno.test("getOrStart: an abandoned turn is an error, and never runs twice", async () => {
  using fixture = new Fixture();
  const turn = await fixture.send("a");
  turn.read(() => {})();
  const failure: AppError = await assertRejects(() => fixture.send("a"), AppError);
  assertEquals([failure.code, failure.prompted], ["turn_cancelled", true]);
  (await fixture.agent.nextPrompt()).end("cancelled");
  await turn.ended;
  await assertRejects(() => fixture.send("a"), AppError);
  assertEquals(fixture.started, 1);
});

Deno.test("getOrStart: of several that wait for a turn that could not start, one starts it and the others join", async () => {
  using fixture = new Fixture();
  const { promise, reject } = Promise.withResolvers<void>();
  fixture.gate = promise;
  const [first, ...others] = [1, 2, 3, 4].map(() => fixture.send("a"));
  await nextTask();
  assertEquals(fixture.started, 1);
  fixture.gate = Promise.resolve();
  reject(new AppError("agent_unavailable", "Not yet."));
  await assertRejects(() => first!, AppError, "Not yet.");
  assertEquals(new Set(await Promise.all(others)).size, 1);
  assertEquals(fixture.started, 2);
});

Deno.test("getOrStart: remembers a turn while it runs, and for minutes after its end", async () => {
  using fixture = new Fixture();
  const first = await fixture.send("a");
  fixture.now = 60 * MINUTE_MS;
  assertStrictEquals(await fixture.send("a"), first);
  (await fixture.agent.nextPrompt()).end();
  await first.ended;
  await nextTask();
  fixture.now += 4 * MINUTE_MS;
  assertStrictEquals(await fixture.send("a"), first);
  fixture.now += 2 * MINUTE_MS;
  assertNotStrictEquals(await fixture.send("a"), first);
  assertEquals(fixture.started, 2);
});

Deno.test("getOrStart: lets go of the words of a finished turn after 5 minutes, also without a further request", async () => {
  using clock = new FakeClock();
  using cache = new IdempotencyCache();
  // Only a turn that is still kept is asked for its conversation.
  let lookCount = 0;
  const turn: Partial<Turn> = {
    ...{ ended: Promise.resolve(), replyNumber: 1 },
    get conversation() {
      lookCount++;
      return "mao";
    },
  };
  const start = () => Promise.resolve(turn as Turn);
  await cache.getOrStart({ owner: "me", name: "a", bodyHash: "body", isRetry: true }, start);
  await nextTask();
  for (const [minutes, expected] of [[4, 1], [1, 1], [60, 1]] as const) {
    clock.advance(minutes * MINUTE_MS);
    cache.forget("me", "another");
    assertEquals(lookCount, expected);
  }
  assertEquals(clock.waits, []);
});

Deno.test("getOrStart: forgets the oldest of more than 100 finished turns, but no running one", async () => {
  using fixture = new Fixture();
  const long = await fixture.send("long");
  await fixture.agent.nextPrompt();
  const turns: Turn[] = [];
  for (let number = 0; number < 101; number++) turns.push(await fixture.complete(`request ${number}`));
  assertStrictEquals(await fixture.send("long"), long);
  for (const number of [1, 100]) assertStrictEquals(await fixture.send(`request ${number}`), turns[number]);
  assertNotStrictEquals(await fixture.send("request 0"), turns[0]);
});

Deno.test("getOrStart: the finished turns of a caller with many make no room among another's", async () => {
  using fixture = new Fixture();
  const mine = await fixture.complete("one");
  for (let number = 0; number < 101; number++) {
    await fixture.send(`request ${number}`, { owner: "another" });
    (await fixture.agent.nextPrompt()).end();
    await nextTask();
  }
  assertStrictEquals(await fixture.send("one"), mine);
  assertEquals(fixture.started, 102);
});

Deno.test("getOrStart: the same request of another caller is no repetition", async () => {
  using fixture = new Fixture();
  const mine = await fixture.complete("one");
  assertNotStrictEquals(await fixture.send("one", { owner: "another" }), mine);
  assertStrictEquals(await fixture.send("one"), mine);
});

Deno.test("forget: forgets the finished turns of one conversation, or of all", async () => {
  using fixture = new Fixture();
  const [one, two] = [await fixture.complete("one"), await fixture.complete("two")];
  for (const unknown of ["unknown", ""]) fixture.cache.forget("me", unknown);
  for (const conversation of [one.conversation, undefined]) fixture.cache.forget("another", conversation);
  assertStrictEquals(await fixture.send("one"), one);
  fixture.cache.forget("me", one.conversation);
  assertStrictEquals(await fixture.send("two"), two);
  assertNotStrictEquals(await fixture.send("one"), one);
  fixture.cache.forget("me", undefined);
  assertNotStrictEquals(await fixture.send("two"), two);
});

Deno.test("forget: forgets a running turn only once it has ended", async () => {
  for (const isAll of [false, true]) {
    using fixture = new Fixture();
    const turn = await fixture.send("one");
    fixture.cache.forget("me", isAll ? undefined : turn.conversation);
    assertStrictEquals(await fixture.send("one"), turn);
    (await fixture.agent.nextPrompt()).end();
    await turn.ended;
    await nextTask();
    assertNotStrictEquals(await fixture.send("one"), turn);
  }
});
