import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { IdempotencyCache, type IdempotencyKey } from "../../lib/turn/idempotency.ts";
import { runTurn, type Turn } from "../../lib/turn/turn.ts";
import { MemoryAgent, type MemoryPrompt } from "../support/agents/memory_agent.ts";
import { nextTask, TurnRecorder } from "../support/harness/turn_recorder.ts";

const MINUTE_MS = 60_000;

/** Begins turns, counts them, and hands out their prompts. */
class Beginner {
  readonly agent = new MemoryAgent();
  count = 0;
  /** Awaited before a turn begins; what it throws is why it could not. */
  gate: Promise<void> = Promise.resolve();

  constructor() {
    this.agent.answersCancels = false;
  }

  readonly begin = async (): Promise<Turn> => {
    this.count++;
    await this.gate;
    const session = await this.agent.newSession();
    const limits = { replyTimeoutMs: 0, turnTimeoutMs: 0 };
    return await runTurn({
      session,
      blocks: [{ type: "text", text: "Hello" }],
      limits,
      resolvedModel: "openab",
      record: true,
    });
  };

  prompt(): Promise<MemoryPrompt> {
    return this.agent.nextPrompt();
  }
}

function key(name: string, options: { body?: string; again?: boolean } = {}): IdempotencyKey {
  return { name, bodyHash: options.body ?? "body", isRetry: options.again ?? true };
}

Deno.test("Replays: a request sent again joins its running turn, and is told the finished one", async () => {
  const beginner = new Beginner();
  const replays = new IdempotencyCache(() => 0);
  const first = await replays.getOrStart(key("a", { again: false }), beginner.begin);
  const prompt = await beginner.prompt();
  prompt.say("one ");
  const heard = new TurnRecorder();
  const second = await replays.getOrStart(key("a"), beginner.begin);
  second.read(heard.reader);
  prompt.say("two");
  prompt.end();
  await first.ended;
  const third = await replays.getOrStart(key("a"), beginner.begin);
  assertStrictEquals(second, first);
  assertStrictEquals(third, first);
  assertEquals(beginner.count, 1);
  assertEquals(heard.text, "one two");
});

Deno.test("Replays: one that joins while the turn is begun waits for it", async () => {
  const beginner = new Beginner();
  const { promise, resolve } = Promise.withResolvers<void>();
  beginner.gate = promise;
  const replays = new IdempotencyCache(() => 0);
  const turns = [1, 2, 3].map(() => replays.getOrStart(key("a"), beginner.begin));
  await nextTask();
  assertEquals(beginner.count, 1);
  resolve();
  const [first, ...others] = await Promise.all(turns);
  for (const other of others) assertStrictEquals(other, first);
});

Deno.test("Replays: a request that is not sent again begins a turn of its own, and is then the one that counts", async () => {
  const beginner = new Beginner();
  const replays = new IdempotencyCache(() => 0);
  const first = await replays.getOrStart(key("a", { again: false }), beginner.begin);
  const second = await replays.getOrStart(key("a", { again: false }), beginner.begin);
  assertEquals(first === second, false);
  assertStrictEquals(await replays.getOrStart(key("a"), beginner.begin), second);
  assertEquals(beginner.count, 2);
});

Deno.test("Replays: one sent again that is not known begins", async () => {
  const beginner = new Beginner();
  const replays = new IdempotencyCache(() => 0);
  await replays.getOrStart(key("a"), beginner.begin);
  await replays.getOrStart(key("b"), beginner.begin);
  assertEquals(beginner.count, 2);
});

Deno.test("Replays: another body under the same key is a conflict, and does not harm the first", async () => {
  const beginner = new Beginner();
  const replays = new IdempotencyCache(() => 0);
  const first = await replays.getOrStart(key("a"), beginner.begin);
  const failure: AppError = await assertRejects(
    () => replays.getOrStart(key("a", { body: "another" }), beginner.begin),
    AppError,
    "Idempotency-Key",
  );
  assertEquals([failure.code, failure.prompted], ["idempotency_key_conflict", false]);
  assertStrictEquals(await replays.getOrStart(key("a"), beginner.begin), first);
  assertEquals(beginner.count, 1);
});

Deno.test("Replays: a turn that was abandoned is not run twice, it is said", async () => {
  const beginner = new Beginner();
  const replays = new IdempotencyCache(() => 0);
  const turn = await replays.getOrStart(key("a"), beginner.begin);
  turn.read(() => {})();
  const failure: AppError = await assertRejects(() => replays.getOrStart(key("a"), beginner.begin), AppError);
  assertEquals([failure.code, failure.prompted], ["turn_cancelled", true]);
  (await beginner.prompt()).end("cancelled");
  await turn.ended;
  await assertRejects(() => replays.getOrStart(key("a"), beginner.begin), AppError);
  assertEquals(beginner.count, 1);
});

Deno.test("Replays: a turn that could not begin is thrown to its caller, and begins with the next", async () => {
  const beginner = new Beginner();
  beginner.gate = Promise.reject(new AppError("agent_unavailable", "Not yet."));
  const replays = new IdempotencyCache(() => 0);
  await assertRejects(() => replays.getOrStart(key("a"), beginner.begin), AppError, "Not yet.");
  beginner.gate = Promise.resolve();
  const turn = await replays.getOrStart(key("a"), beginner.begin);
  assertStrictEquals(await replays.getOrStart(key("a"), beginner.begin), turn);
  assertEquals(beginner.count, 2);
});

Deno.test("Replays: one that waited for a turn that could not begin begins it itself", async () => {
  const beginner = new Beginner();
  const { promise, reject } = Promise.withResolvers<void>();
  beginner.gate = promise;
  const replays = new IdempotencyCache(() => 0);
  const first = replays.getOrStart(key("a"), beginner.begin);
  const second = replays.getOrStart(key("a"), beginner.begin);
  await nextTask();
  beginner.gate = Promise.resolve();
  reject(new AppError("agent_unavailable", "Not yet."));
  await assertRejects(() => first, AppError, "Not yet.");
  const turn = await second;
  assertStrictEquals(await replays.getOrStart(key("a"), beginner.begin), turn);
  assertEquals(beginner.count, 2);
});

Deno.test("Replays: of several that waited for a turn that could not begin one begins it, the others join", async () => {
  const beginner = new Beginner();
  const { promise, reject } = Promise.withResolvers<void>();
  beginner.gate = promise;
  const replays = new IdempotencyCache(() => 0);
  const first = replays.getOrStart(key("a"), beginner.begin);
  const others = [1, 2, 3].map(() => replays.getOrStart(key("a"), beginner.begin));
  await nextTask();
  beginner.gate = Promise.resolve();
  reject(new AppError("agent_unavailable", "Not yet."));
  await assertRejects(() => first, AppError);
  const turns = new Set(await Promise.all(others));
  assertEquals([turns.size, beginner.count], [1, 2]);
});

Deno.test("Replays: a turn is remembered for minutes after it has ended, and however long it runs", async () => {
  const beginner = new Beginner();
  let now = 0;
  const replays = new IdempotencyCache(() => now);
  const first = await replays.getOrStart(key("a"), beginner.begin);
  now = 60 * MINUTE_MS;
  assertStrictEquals(await replays.getOrStart(key("a"), beginner.begin), first);
  (await beginner.prompt()).end();
  await first.ended;
  await nextTask();
  now += 4 * MINUTE_MS;
  assertStrictEquals(await replays.getOrStart(key("a"), beginner.begin), first);
  now += 2 * MINUTE_MS;
  const next = await replays.getOrStart(key("a"), beginner.begin);
  assertEquals(next === first, false);
  assertEquals(beginner.count, 2);
});

Deno.test("Replays: a hundred are remembered, then the oldest that has ended is forgotten", async () => {
  const beginner = new Beginner();
  const replays = new IdempotencyCache(() => 0);
  const turns: Turn[] = [];
  for (let number = 0; number < 101; number++) {
    const turn = await replays.getOrStart(key(`request ${number}`), beginner.begin);
    (await beginner.prompt()).end();
    await turn.ended;
    turns.push(turn);
  }
  assertEquals(beginner.count, 101);
  for (const number of [1, 100]) {
    assertStrictEquals(await replays.getOrStart(key(`request ${number}`), beginner.begin), turns[number]);
  }
  await replays.getOrStart(key("request 0"), beginner.begin);
  assertEquals(beginner.count, 102);
});

Deno.test("Replays: a turn that runs is not forgotten for those that have ended: it would run twice", async () => {
  const beginner = new Beginner();
  const replays = new IdempotencyCache(() => 0);
  const long = await replays.getOrStart(key("long"), beginner.begin);
  await beginner.prompt();
  for (let number = 0; number < 100; number++) {
    const short = await replays.getOrStart(key(`request ${number}`), beginner.begin);
    (await beginner.prompt()).end();
    await short.ended;
  }
  assertStrictEquals(await replays.getOrStart(key("long"), beginner.begin), long);
  assertEquals(beginner.count, 101);
});

Deno.test("Replays: a look at what is known forgets nothing", async () => {
  const beginner = new Beginner();
  const replays = new IdempotencyCache(() => 0);
  for (let number = 0; number < 100; number++) {
    await replays.getOrStart(key(`request ${number}`), beginner.begin);
  }
  for (let number = 0; number < 100; number++) {
    await replays.getOrStart(key(`request ${number}`), beginner.begin);
  }
  assertEquals(beginner.count, 100);
});

/** Begins a turn in a session of its own, which is its conversation; and ends it, if that is asked. */
async function begun(
  beginner: Beginner,
  replays: IdempotencyCache,
  name: string,
  isOver: boolean,
): Promise<Turn> {
  const turn = await replays.getOrStart(key(name), beginner.begin);
  const prompt = await beginner.prompt();
  if (isOver) {
    prompt.end();
    await turn.ended;
    await nextTask();
  }
  return turn;
}

Deno.test("Replays: what was answered in a conversation that is forgotten is told nobody, the rest is", async () => {
  const beginner = new Beginner();
  const replays = new IdempotencyCache(() => 0);
  const one = await begun(beginner, replays, "one", true);
  const two = await begun(beginner, replays, "two", true);
  replays.forget(one.conversation);
  assertStrictEquals(await replays.getOrStart(key("two"), beginner.begin), two);
  assertEquals(await replays.getOrStart(key("one"), beginner.begin) === one, false);
  assertEquals(beginner.count, 3);
});

Deno.test("Replays: what was answered in any conversation is told nobody, once all are forgotten", async () => {
  const beginner = new Beginner();
  const replays = new IdempotencyCache(() => 0);
  const turns = [await begun(beginner, replays, "one", true), await begun(beginner, replays, "two", true)];
  replays.forget(undefined);
  for (const [index, name] of ["one", "two"].entries()) {
    assertEquals(await replays.getOrStart(key(name), beginner.begin) === turns[index], false);
  }
  assertEquals(beginner.count, 4);
});

Deno.test("Replays: a turn that runs is not forgotten with its conversation: it would run twice", async () => {
  const beginner = new Beginner();
  const replays = new IdempotencyCache(() => 0);
  const turn = await begun(beginner, replays, "one", false);
  for (const conversation of [turn.conversation, undefined]) {
    replays.forget(conversation);
    assertStrictEquals(await replays.getOrStart(key("one"), beginner.begin), turn);
  }
  assertEquals(beginner.count, 1);
});

Deno.test("Replays: a turn that ran when its conversation was forgotten is told nobody once it has ended", async () => {
  for (const isAll of [false, true]) {
    const beginner = new Beginner();
    const replays = new IdempotencyCache(() => 0);
    const turn = await replays.getOrStart(key("one"), beginner.begin);
    const prompt = await beginner.prompt();
    replays.forget(isAll ? undefined : turn.conversation);
    prompt.end();
    await turn.ended;
    await nextTask();
    assertEquals(await replays.getOrStart(key("one"), beginner.begin) === turn, false);
  }
});

Deno.test("Replays: to forget a conversation that nobody talked in forgets nothing", async () => {
  const beginner = new Beginner();
  const replays = new IdempotencyCache(() => 0);
  const turn = await begun(beginner, replays, "one", true);
  for (const conversation of ["nobody", ""]) replays.forget(conversation);
  assertStrictEquals(await replays.getOrStart(key("one"), beginner.begin), turn);
});
