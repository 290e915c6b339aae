import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import {
  type ConversationKey,
  type ConversationOptions,
  Conversations,
  type TurnRequest,
} from "../../lib/conversation/registry.ts";
import { aborted } from "../../lib/turn/abort.ts";
import { Failure } from "../../lib/turn/failure.ts";
import type { Turn } from "../../lib/turn/run.ts";
import { Slots } from "../../lib/turn/slots.ts";
import { MemoryAgent, type MemoryPrompt, type MemorySession } from "../fakes/memory_agent.ts";
import { brief, Heard, settled, soon } from "../turn/heard.ts";
import { assistant, system, user } from "./said.ts";

const NEVER_IDLE_MS = 3_600_000;

/** A registry over an agent in memory that ends no turn by itself. */
class House implements Disposable {
  readonly agent = new MemoryAgent();
  readonly slots: Slots;
  readonly conversations: Conversations;

  constructor(options: Partial<ConversationOptions> & { limit?: number } = {}) {
    const { limit = 32, ...rest } = options;
    this.agent.answersCancels = false;
    this.slots = new Slots(limit);
    this.conversations = new Conversations({
      agent: this.agent,
      slots: this.slots,
      limits: { replyTimeoutMs: 0, turnTimeoutMs: 0 },
      log: { debug() {} },
      maxConversations: 100,
      idleMs: NEVER_IDLE_MS,
      ...rest,
    });
  }

  begin(conversation: string | undefined, messages: readonly Message[], signal?: AbortSignal): Promise<Turn> {
    return this.beginAs(conversation as ConversationKey | undefined, messages, signal);
  }

  beginAs(
    conversation: TurnRequest["conversation"],
    messages: readonly Message[],
    signal?: AbortSignal,
  ): Promise<Turn> {
    return this.conversations.begin({ conversation, messages, record: false }, signal);
  }

  /** Begins a turn and hands out its prompt. */
  async prompted(conversation: string | undefined, ...messages: Message[]): Promise<MemoryPrompt> {
    await this.begin(conversation, messages);
    return await this.agent.nextPrompt();
  }

  /** Runs a whole turn. */
  async told(conversation: string | undefined, ...messages: Message[]): Promise<MemoryPrompt> {
    const prompt = await this.prompted(conversation, ...messages);
    prompt.end();
    await settled();
    return prompt;
  }

  session(index: number): MemorySession {
    const session = this.agent.sessions[index];
    if (session === undefined) throw new Error(`Session ${index} was not opened`);
    return session;
  }

  /** Which of the sessions are closed by now, in the order in which they were opened. */
  get closed(): boolean[] {
    return this.agent.sessions.map((session) => session.closed.aborted);
  }

  /** No timer outlives a test. */
  [Symbol.dispose](): void {
    this.conversations.close();
  }
}

/** The agent of a session dies, in whatever it was doing. */
function crash(session: MemorySession): void {
  session.close();
  for (const prompt of session.agent.prompts) {
    if (prompt.session === session) prompt.fail(new Failure("agent_crashed", "Gone.", { prompted: true }));
  }
}

/** Why it could not begin. */
async function failureOf(beginning: Promise<unknown>): Promise<Failure> {
  return await assertRejects(() => soon(beginning, "a refusal"), Failure);
}

/** Holds whoever waits for `promise` until it is opened, or broken. */
function gate(): { promise: Promise<void>; open: () => void; fail: (error: unknown) => void } {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  return { promise, open: resolve, fail: reject };
}

Deno.test("Conversations: one without a name gets a session of its own, closed when its turn has ended", async () => {
  using house = new House();
  const one = await house.prompted(undefined, system("Mao"), user("one"));
  const two = await house.prompted(undefined, user("one"));
  assertEquals(one.text, "<system>\nMao\n</system>\n\none");
  assertEquals(two.text, "one");
  assertEquals([house.closed, house.slots.used, house.conversations.running.size], [[false, false], 2, 2]);
  one.end();
  await settled();
  assertEquals([house.closed, house.slots.used, house.conversations.running.size], [[true, false], 1, 1]);
  two.fail(new Failure("agent_error", "No."));
  await settled();
  assertEquals([house.closed, house.slots.used, house.conversations.running.size], [[true, true], 0, 0]);
});

Deno.test("Conversations: one with a name keeps its session, and hears only what is new", async () => {
  using house = new House();
  const first = [system("Mao"), user("one")];
  await house.told("a", ...first);
  const second = [...first, assistant("1"), user("two")];
  assertEquals((await house.told("a", ...second)).text, "two");
  assertEquals((await house.told("a", ...second, assistant("2"), user("three"))).text, "three");
  assertEquals((await house.told("b", ...first)).text, "<system>\nMao\n</system>\n\none");
  assertEquals(house.closed, [false, false]);
});

Deno.test("Conversations: a session takes what its agent takes", async () => {
  using house = new House();
  house.agent.accepts = { image: false, audio: false };
  const image = { type: "image", mimeType: "image/png", data: "YQ==" } as const;
  const prompt = await house.told(undefined, { role: "user", parts: [image] });
  assertEquals(prompt.blocks.map((block) => block.type), ["text"]);
});

Deno.test("Conversations: a newer turn cancels the running one, and begins when that has really ended", async () => {
  using house = new House();
  const messages = [user("one")];
  const first = await house.begin("a", messages);
  const heard = new Heard();
  first.read(heard.reader);
  const running = await house.agent.nextPrompt();
  const next = house.begin("a", [...messages, user("two")]);
  assertEquals(running.cancels, 1);
  await settled();
  assertEquals(house.agent.prompts.length, 1);
  running.say("too late to stop");
  await settled();
  assertEquals(house.agent.prompts.length, 1);
  running.end("cancelled");
  await soon(next, "the next turn");
  assertEquals((await house.agent.nextPrompt()).text, "two");
  assertEquals(heard.briefs, ["text too late to stop", "end cancelled"]);
  assertEquals(house.agent.sessions.length, 1);
});

Deno.test("Conversations: turns of others are left alone", async () => {
  using house = new House();
  const one = await house.prompted("a", user("one"));
  const two = await house.prompted("b", user("one"));
  await house.prompted(undefined, user("one"));
  assertEquals([one.cancels, two.cancels], [0, 0]);
});

Deno.test("Conversations: of several that wait only the newest runs, the others are told so at once", async () => {
  using house = new House();
  const running = await house.prompted("a", user("one"));
  const waiting = ["two", "three", "four"].map((text) => house.begin("a", [user("one"), user(text)]));
  const last = house.begin("a", [user("one"), user("five")]);
  for (const refused of waiting) assertEquals((await failureOf(refused)).code, "turn_cancelled");
  assertEquals([house.agent.prompts.length, house.slots.used], [1, 2]);
  running.end("cancelled");
  await soon(last, "the newest turn");
  assertEquals((await house.agent.nextPrompt()).text, "five");
  assertEquals([house.agent.prompts.length, house.slots.used], [2, 1]);
});

Deno.test("Conversations: a newer turn takes the place of one that still opens its session", async () => {
  using house = new House();
  const opens = gate();
  house.agent.opens = opens.promise;
  const first = house.begin("a", [user("one")]);
  await settled();
  const second = house.begin("a", [user("two")]);
  assertEquals((await failureOf(first)).code, "turn_cancelled");
  opens.open();
  await soon(second, "the newer turn");
  assertEquals((await house.agent.nextPrompt()).text, "two");
  assertEquals(house.slots.used, 1);
});

Deno.test("Conversations: a newer turn that comes while a prompt is put cancels it once it is taken", async () => {
  using house = new House();
  const takes = gate();
  house.agent.takes = takes.promise;
  const first = house.begin("a", [user("one")]);
  await settled();
  const second = house.begin("a", [user("one"), user("two")]);
  await settled();
  takes.open();
  const superseded = await soon(first, "the first turn");
  const prompt = await house.agent.nextPrompt();
  assertEquals([prompt.text, prompt.cancels], ["one", 1]);
  assertEquals(house.agent.prompts.length, 1);
  prompt.end("cancelled");
  const heard = new Heard();
  superseded.read(heard.reader);
  assertEquals(heard.briefs, ["end cancelled"]);
  await soon(second, "the second turn");
  assertEquals((await house.agent.nextPrompt()).text, "two");
});

Deno.test("Conversations: a slot is given back when the agent has ended, not when the readers were told", async () => {
  using house = new House({ limit: 1, limits: { replyTimeoutMs: 2, turnTimeoutMs: 0 } });
  const turn = await house.begin(undefined, [user("one")]);
  const heard = new Heard();
  turn.read(heard.reader);
  assertEquals(await heard.last(), "failure agent_timeout");
  await settled();
  assertEquals([house.slots.used, house.closed], [1, [false]]);
  assertEquals((await failureOf(house.begin(undefined, [user("two")]))).code, "rate_limit_exceeded");
  (await house.agent.nextPrompt()).end("cancelled");
  await settled();
  assertEquals([house.slots.used, house.closed], [0, [true]]);
});

Deno.test("Conversations: the 33rd turn is refused, and fits when one has ended", async () => {
  using house = new House();
  const prompts: MemoryPrompt[] = [];
  for (let number = 0; number < 32; number++) {
    prompts.push(await house.prompted(number % 2 === 0 ? undefined : `talk ${number}`, user("hi")));
  }
  const failure = await failureOf(house.begin("one more", [user("hi")]));
  assertEquals([failure.code, failure.prompted], ["rate_limit_exceeded", false]);
  assert(failure.retryAfterSecs);
  assertEquals(house.agent.sessions.length, 32);
  prompts[7]?.end();
  await settled();
  assertEquals((await house.prompted("one more", user("hi"))).text, "hi");
  assertEquals(house.slots.used, 32);
});

Deno.test("Conversations: one that takes the place of a running turn is never refused", async () => {
  using house = new House({ limit: 1 });
  const running = await house.prompted("a", user("one"));
  const next = house.begin("a", [user("one"), user("two")]);
  running.end("cancelled");
  await soon(next, "the next turn");
  assertEquals(house.slots.used, 1);
  assertEquals((await failureOf(house.begin("b", [user("one")]))).code, "rate_limit_exceeded");
});

Deno.test("Conversations: those that are refused for want of a slot displace no conversation", async () => {
  using house = new House({ limit: 1, maxConversations: 2 });
  await house.told("a", user("one"));
  const running = await house.prompted("b", user("one"));
  for (const name of ["c", "d", "e"]) await failureOf(house.begin(name, [user("one")]));
  running.end();
  await settled();
  await house.told("a", user("one"), assistant("1"), user("two"));
  assertEquals(house.closed, [false, false]);
});

Deno.test("Conversations: a session that is lost is opened anew, and told everything", async () => {
  using house = new House();
  const messages = [system("Mao"), user("one"), assistant("1"), user("two")];
  await house.told("a", ...messages.slice(0, 2));
  house.session(0).close();
  assertEquals(
    (await house.told("a", ...messages)).text,
    "<system>\nMao\n</system>\n\n<user>\none\n</user>\n\n<assistant>\n1\n</assistant>\n\ntwo",
  );
  assertEquals((await house.told("a", ...messages, assistant("2"), user("three"))).text, "three");
  assertEquals(house.agent.sessions.length, 2);
});

Deno.test("Conversations: an agent that dies in a turn ends it, and the next turn is told everything", async () => {
  using house = new House();
  const turn = await house.begin("a", [user("one")]);
  const heard = new Heard();
  turn.read(heard.reader);
  crash(house.session(0));
  await settled();
  assertEquals([heard.briefs, house.slots.used], [["failure agent_crashed"], 0]);
  await house.agent.nextPrompt();
  const prompt = await house.told("a", user("one"), assistant("1"), user("two"));
  assertEquals(prompt.text, "<user>\none\n</user>\n\n<assistant>\n1\n</assistant>\n\ntwo");
});

Deno.test("Conversations: an agent that cannot be opened is said, and tried again by the next turn", async () => {
  using house = new House();
  const failure = house.agent.openFailure = new Failure("agent_unavailable", "Not yet.", {
    retryAfterSecs: 2,
  });
  for (const name of ["a", undefined]) {
    assertStrictEquals(await failureOf(house.begin(name, [user("one")])), failure);
  }
  assertEquals([house.slots.used, house.conversations.running.size], [0, 0]);
  house.agent.openFailure = undefined;
  assertEquals((await house.told("a", user("one"))).text, "one");
});

Deno.test("Conversations: a prompt that is not taken is said, and what was to be told is told by the next", async () => {
  using house = new House();
  await house.told("a", user("one"));
  house.agent.promptFailure = new Failure("agent_unavailable", "Gone.", { retryAfterSecs: 1 });
  const second = [user("one"), assistant("1"), user("two")];
  assertEquals((await failureOf(house.begin("a", second))).code, "agent_unavailable");
  assertEquals(house.slots.used, 0);
  house.agent.promptFailure = undefined;
  assertEquals((await house.told("a", ...second, user("three"))).text, "two\n\nthree");
  assertEquals(house.agent.sessions.length, 1);
});

Deno.test("Conversations: a one-off whose prompt is not taken leaves no session behind", async () => {
  using house = new House();
  house.agent.promptFailure = new Failure("agent_unavailable", "Gone.");
  await failureOf(house.begin(undefined, [user("one")]));
  assertEquals([house.closed, house.slots.used], [[true], 0]);
});

Deno.test("Conversations: beyond the limit the one that was idle longest is closed", async () => {
  using house = new House({ maxConversations: 2 });
  for (const name of ["a", "b", "a", "c"]) await house.told(name, user("one"));
  assertEquals(house.closed, [false, true, false]);
  await house.told("b", user("one"));
  assertEquals(house.closed, [true, true, false, false]);
});

Deno.test("Conversations: a busy one is never closed, whatever the limit", async () => {
  using house = new House({ maxConversations: 1 });
  const busy = await house.prompted("a", user("one"));
  await house.prompted("b", user("one"));
  await house.prompted("c", user("one"));
  assertEquals(house.closed, [false, false, false]);
  busy.end();
  await settled();
  assertEquals(house.closed, [true, false, false]);
  assertEquals([...house.conversations.running].length, 2);
});

Deno.test("Conversations: a busy one beyond the limit is still the one of its name", async () => {
  using house = new House({ maxConversations: 1 });
  const running = await house.prompted("a", user("one"));
  await house.prompted("b", user("one"));
  await house.prompted("c", user("one"));
  const next = house.begin("a", [user("one"), user("two")]);
  assertEquals(running.cancels, 1);
  running.end("cancelled");
  await soon(next, "the next turn");
  const prompt = await house.agent.nextPrompt();
  assertEquals([prompt.text, prompt.session], ["two", running.session]);
});

Deno.test("Conversations: one that is idle is closed after a while", async () => {
  using house = new House({ idleMs: 2 });
  await house.told("a", user("one"));
  await soon(aborted(house.session(0).closed), "the idle session's close");
  const prompt = await house.told("a", user("one"), assistant("1"), user("two"));
  assertEquals(prompt.session, house.session(1));
  assert(prompt.text.startsWith("<user>\none"));
});

Deno.test("Conversations: one that is busy is not idle", async () => {
  using house = new House({ idleMs: 5 });
  await house.told("a", user("one"));
  const prompt = await house.prompted("a", user("one"), assistant("1"), user("two"));
  await house.told("another", user("one"));
  const other = house.agent.sessions.find((session) => session !== prompt.session);
  if (other) await soon(aborted(other.closed), "the other session's close");
  assertEquals(prompt.session.closed.aborted, false);
  prompt.end();
  await soon(aborted(prompt.session.closed), "its own close");
});

Deno.test("Conversations: drain takes no more turns, and resolves when the last has ended", async () => {
  using house = new House();
  const one = await house.prompted("a", user("one"));
  const two = await house.prompted(undefined, user("one"));
  const waiting = house.begin("a", [user("one"), user("two")]);
  let drained = false;
  const draining = house.conversations.drain().then(() => drained = true);
  const failure = await failureOf(house.begin(undefined, [user("late")]));
  assertEquals([failure.code, failure.prompted], ["shutting_down", false]);
  one.end("cancelled");
  await soon(waiting, "the turn that had been asked for");
  two.end();
  await settled();
  assertEquals(drained, false);
  for (const prompt of house.agent.prompts) prompt.end();
  await soon(draining, "the drain");
  assertEquals(house.slots.used, 0);
});

Deno.test("Conversations: drain of nothing resolves", async () => {
  using house = new House();
  await house.told("a", user("one"));
  await soon(house.conversations.drain(), "the drain");
});

Deno.test("Conversations: close ends idle sessions at once and busy ones after their turn", async () => {
  using house = new House();
  await house.told("idle", user("one"));
  const busy = await house.prompted("busy", user("one"));
  house.conversations.close();
  assertEquals(house.closed, [true, false]);
  assertEquals(busy.cancels, 0);
  busy.say("still here");
  busy.end();
  await settled();
  assertEquals(house.closed, [true, true]);
});

Deno.test("Conversations: a turn after close gets a new session", async () => {
  using house = new House();
  const busy = await house.prompted("a", user("one"));
  house.conversations.close();
  const next = await house.prompted("a", user("two"));
  assertEquals([busy.cancels, next.session === busy.session], [0, false]);
  busy.end();
  next.end();
  await settled();
  assertEquals(house.closed, [true, false]);
});

Deno.test("Conversations: who gives up while waiting for the running turn is let go at once", async () => {
  using house = new House();
  const running = await house.prompted("a", user("one"));
  const hangUp = new AbortController();
  const waiting = house.begin("a", [user("one"), user("two")], hangUp.signal);
  await settled();
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await waiting.catch((error) => error), reason);
  assertEquals([house.slots.used, house.agent.prompts.length, running.cancels], [1, 1, 1]);
  const next = house.begin("a", [user("one"), user("three")]);
  await settled();
  assertEquals(house.agent.prompts.length, 1);
  running.end("cancelled");
  await soon(next, "the turn after it");
  assertEquals((await house.agent.nextPrompt()).text, "three");
});

Deno.test("Conversations: who gives up while the session is opened is let go at once", async () => {
  using house = new House();
  const opens = gate();
  house.agent.opens = opens.promise;
  const hangUp = new AbortController();
  const waiting = house.begin("a", [user("one")], hangUp.signal);
  await settled();
  hangUp.abort(new Error("hung up"));
  await assertRejects(() => waiting, Error, "hung up");
  assertEquals(house.slots.used, 0);
  opens.open();
  assertEquals((await house.told("a", user("one"))).text, "one");
});

Deno.test("Conversations: who has given up already prompts nobody", async () => {
  using house = new House();
  await house.told("a", user("one"));
  const signal = AbortSignal.abort(new Error("hung up"));
  await assertRejects(
    () => house.begin("a", [user("one"), assistant("1"), user("two")], signal),
    Error,
    "hung up",
  );
  assertEquals([house.agent.prompts.length, house.slots.used], [1, 0]);
});

Deno.test("Conversations: an aside keeps its session for its owner until it is disposed of", async () => {
  using house = new House({ maxConversations: 0 });
  const aside = house.conversations.openAside();
  await house.beginAs(aside, [user("one")]);
  (await house.agent.nextPrompt()).end();
  await settled();
  await house.told("another", user("one"));
  await house.beginAs(aside, [user("one"), assistant("1"), user("two")]);
  const second = house.agent.prompts.at(-1);
  assertEquals([second?.text, second?.session], ["two", house.session(0)]);
  aside[Symbol.dispose]();
  assertEquals(house.session(0).closed.aborted, false);
  second?.end();
  await settled();
  assertEquals([house.session(0).closed.aborted, house.slots.used], [true, 0]);
});

Deno.test("Conversations: an aside without a turn is disposed of without a session", () => {
  using house = new House();
  house.conversations.openAside()[Symbol.dispose]();
  assertEquals(house.agent.sessions.length, 0);
});

Deno.test("Conversations: who observes hears every turn", async () => {
  const heard: [string, string][] = [];
  using house = new House({ observe: (event, turn) => heard.push([turn.id, brief(event)]) });
  const turn = await house.begin("a", [user("one")]);
  const prompt = await house.agent.nextPrompt();
  prompt.say("hi");
  prompt.end();
  assertEquals(heard, [[turn.id, "text hi"], [turn.id, "end end_turn"]]);
});

Deno.test("Conversations: a recorded turn can be read twice", async () => {
  using house = new House();
  const messages = [user("one")];
  const turn = await house.conversations.begin({ conversation: undefined, messages, record: true });
  (await house.agent.nextPrompt()).end();
  for (const heard of [new Heard(), new Heard()]) {
    turn.read(heard.reader);
    assertEquals(heard.briefs, ["end end_turn"]);
  }
});
