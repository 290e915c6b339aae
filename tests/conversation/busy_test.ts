import { assertEquals, assertStrictEquals } from "@std/assert";
import { MAX_QUEUED } from "../../lib/conversation/turn_queue.ts";
import type { Message } from "../../lib/conversation/message.ts";
import { AppError } from "../../lib/core/errors.ts";
import { failureOf, Heard, settled, soon } from "../support/harness/turn_recorder.ts";
import { crash, gate, House } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

/** A talk of so many questions, the last of them not answered. */
function talk(questions: number): Message[] {
  return Array.from({ length: questions }, (_, index) => [user(`question ${index + 1}`), assistant("Yes.")])
    .flat().slice(0, -1);
}

Deno.test("supersede: the older reader hears its turn to the end, and nothing of the newer one", async () => {
  using house = new House({ mode: "auto" });
  const older = new Heard();
  (await house.begin(undefined, talk(1))).read(older.reader);
  const running = await house.agent.nextPrompt();
  running.say("Once upon");
  const next = house.begin(undefined, [...talk(1), user("Stop!")]);
  running.say(" a time");
  running.end("cancelled");
  const newer = new Heard();
  (await soon(next, "the newer turn")).read(newer.reader);
  const prompt = await house.agent.nextPrompt();
  prompt.say("Yes?");
  running.say("late");
  prompt.end();
  assertEquals(older.briefs, ["text Once upon", "text  a time", "end cancelled"]);
  assertEquals(newer.briefs, ["text Yes?", "end end_turn"]);
  assertEquals([house.agent.sessions.length, prompt.text], [1, "Stop!"]);
});

Deno.test("queue: turns of a conversation run one after the other, in the order in which they came", async () => {
  using house = new House({ onBusy: "queue" });
  const first = await house.prompted("a", ...talk(1));
  const begins = [2, 3, 4].map((questions) => house.begin("a", talk(questions)));
  await settled();
  assertEquals([house.agent.prompts.length, first.cancels], [1, 0]);
  first.end();
  for (const [index, begin] of begins.entries()) {
    await soon(begin, `turn ${index + 2}`);
    const prompt = await house.agent.nextPrompt();
    assertEquals(prompt.text, `question ${index + 2}`);
    await settled();
    assertEquals(house.agent.prompts.length, index + 2);
    prompt.end();
  }
  assertEquals(house.agent.sessions.length, 1);
});

Deno.test("queue: other conversations do not wait", async () => {
  using house = new House({ onBusy: "queue" });
  await house.prompted("a", user("one"));
  assertEquals((await house.prompted("b", user("one"))).text, "one");
  assertEquals((await house.prompted(undefined, user("one"))).text, "one");
});

Deno.test("queue: so many wait and no more; who is refused changes nothing", async () => {
  using house = new House({ onBusy: "queue" });
  const running = await house.prompted("a", user("one"));
  const waiting = Array.from({ length: MAX_QUEUED }, (_, number) => house.begin("a", [user(`w${number}`)]));
  const failure = await failureOf(house.begin("a", [user("too much")]));
  assertEquals([failure.code, failure.prompted, failure.retryAfterSecs], ["session_busy", false, 3]);
  // Who waits takes no slot from others.
  assertEquals(house.slots.running, 1);
  running.end();
  for (const [number, turn] of waiting.entries()) {
    await soon(turn, `turn ${number}`);
    const prompt = await house.agent.nextPrompt();
    assertEquals(prompt.text, `w${number}`);
    prompt.end();
  }
  await settled();
  assertEquals([house.slots.running, house.conversations.running.size], [0, 0]);
});

Deno.test("queue: those that wait take no slot, so that another conversation is served", async () => {
  using house = new House({ onBusy: "queue", limit: 2 });
  const running = await house.prompted("a", user("one"));
  const waiting = [2, 3, 4].map((number) => house.begin("a", [user(`question ${number}`)]));
  await settled();
  const other = await house.prompted("b", user("one"));
  assertEquals([other.text, house.slots.running], ["one", 2]);
  assertEquals((await failureOf(house.begin("c", [user("one")]))).code, "rate_limit_exceeded");
  running.end();
  for (const turn of waiting) {
    await soon(turn, "the next turn");
    assertEquals(house.slots.running, 2);
    (await house.agent.nextPrompt()).end();
  }
  other.end();
  await settled();
  assertEquals(house.slots.running, 0);
});

Deno.test("queue: one that has waited is refused if all slots are taken by then, and holds up nobody", async () => {
  using house = new House({ onBusy: "queue", limit: 1 });
  const turn = await house.begin("a", talk(1));
  const running = await house.agent.nextPrompt();
  const late = failureOf(house.begin("a", talk(2)));
  // Another comes at the very moment at which the slot is free.
  const other = turn.ended.then(() => house.begin("b", [user("one")]));
  running.end();
  const failure = await late;
  assertEquals([failure.code, failure.prompted, failure.retryAfterSecs], ["rate_limit_exceeded", false, 3]);
  await soon(other, "the other turn");
  assertEquals([house.slots.running, house.conversations.running.size], [1, 1]);
  (await house.agent.nextPrompt()).end();
  await settled();
  assertEquals((await house.told("a", ...talk(2), user("question 3"))).text, "question 2\n\nquestion 3");
  assertEquals(house.slots.running, 0);
});

Deno.test("queue: one that has waited for what failed to begin takes a slot of its own", async () => {
  using house = new House({ onBusy: "queue", limit: 1 });
  const opens = gate();
  house.agent.opens = opens.promise;
  house.agent.openFailure = new AppError("agent_unavailable", "Not yet.");
  const first = failureOf(house.begin("a", talk(1)));
  const second = house.begin("a", talk(2));
  await settled();
  assertEquals(house.slots.running, 1);
  opens.open();
  assertEquals((await first).code, "agent_unavailable");
  house.agent.openFailure = undefined;
  await soon(second, "the turn after it");
  assertEquals(house.slots.running, 1);
});

Deno.test("queue: who hangs up leaves the line, and what it asked is told with the next", async () => {
  using house = new House({ onBusy: "queue" });
  const running = await house.prompted("a", ...talk(1));
  const hangUp = new AbortController();
  const left = house.begin("a", talk(2), hangUp.signal);
  const next = house.begin("a", [...talk(2), user("question 3")]);
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await left.catch((error) => error), reason);
  assertEquals([house.slots.running, running.cancels], [1, 0]);
  running.end();
  await soon(next, "the turn after it");
  assertEquals((await house.agent.nextPrompt()).text, "question 2\n\nquestion 3");
});

Deno.test("queue: a turn that fails, or whose agent dies, does not hold up the next", async () => {
  using house = new House({ onBusy: "queue" });
  const first = await house.prompted("a", ...talk(1));
  const second = house.begin("a", talk(2));
  first.say("Well, ");
  first.fail(new AppError("agent_error", "No."));
  await soon(second, "the turn after a failure");
  const prompt = await house.agent.nextPrompt();
  assertEquals(prompt.text, "question 2");
  const third = house.begin("a", talk(3));
  crash(prompt.session);
  await soon(third, "the turn after a crash");
  assertEquals((await house.agent.nextPrompt()).session, house.session(1));
});

Deno.test("queue: what is cancelled by its reader makes room only when the agent has ended it", async () => {
  using house = new House({ onBusy: "queue" });
  const leave = (await house.begin("a", talk(1))).read(() => {});
  const running = await house.agent.nextPrompt();
  const next = house.begin("a", talk(2));
  leave();
  await settled();
  assertEquals([running.cancels, house.agent.prompts.length], [1, 1]);
  running.end("cancelled");
  await soon(next, "the next turn");
});

Deno.test("reject: a turn of a busy conversation is refused, and changes nothing", async () => {
  using house = new House({ onBusy: "reject" });
  const running = await house.prompted("a", ...talk(1));
  const failure = await failureOf(house.begin("a", talk(2)));
  assertEquals([failure.code, failure.prompted, failure.retryAfterSecs], ["session_busy", false, 3]);
  assertEquals([house.slots.running, running.cancels], [1, 0]);
  assertEquals(house.conversations.list("").map(({ turns }) => turns), [1]);
  running.end();
  await settled();
  assertEquals((await house.told("a", ...talk(2))).text, "question 2");
});

Deno.test("reject: other conversations, and those without a name, are not refused", async () => {
  using house = new House({ onBusy: "reject" });
  await house.prompted("a", user("one"));
  await house.prompted("b", user("one"));
  for (let count = 0; count < 2; count++) await house.prompted(undefined, user("one"));
  assertEquals(house.slots.running, 4);
});

Deno.test("reject: a conversation that is found by what it says is as busy as one with a name", async () => {
  using house = new House({ mode: "auto", onBusy: "reject" });
  const running = await house.prompted(undefined, system("Mao"), ...talk(1));
  assertEquals(
    (await failureOf(house.begin(undefined, [system("Mao"), user("question 1"), user("two")]))).code,
    "session_busy",
  );
  running.end();
  await settled();
  assertEquals((await house.told(undefined, system("Mao"), ...talk(2))).text, "question 2");
});

Deno.test("reject: it is busy while its session is opened as well", async () => {
  using house = new House({ onBusy: "reject" });
  const opens = gate();
  house.agent.opens = opens.promise;
  const first = house.begin("a", [user("one")]);
  assertEquals((await failureOf(house.begin("a", [user("two")]))).code, "session_busy");
  opens.open();
  await soon(first, "the first turn");
});
