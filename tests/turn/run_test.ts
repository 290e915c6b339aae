import { assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import type { PromptBlock } from "../../lib/turn/agent.ts";
import { Failure } from "../../lib/turn/failure.ts";
import { RECORD_LIMIT, runTurn, Turn, type TurnLimits, type TurnOptions } from "../../lib/turn/run.ts";
import { MemoryAgent, type MemoryPrompt } from "../fakes/memory_agent.ts";
import { brief, Heard, settled, soon } from "./heard.ts";

const BLOCKS: readonly PromptBlock[] = [{ type: "text", text: "Hello" }];
const NO_LIMITS: TurnLimits = { replyTimeoutMs: 0, turnTimeoutMs: 0 };

/** An agent that ends no turn by itself. */
function quietAgent(): MemoryAgent {
  const agent = new MemoryAgent();
  agent.answersCancels = false;
  return agent;
}

/** A turn, and the prompt that the test answers it with. */
async function begin(options: Partial<TurnOptions> = {}): Promise<{ turn: Turn; prompt: MemoryPrompt }> {
  const agent = quietAgent();
  const session = await agent.open();
  const turn = await runTurn({ session, blocks: BLOCKS, limits: NO_LIMITS, ...options });
  return { turn, prompt: await agent.nextPrompt() };
}

function heardOf(turn: Turn): Heard & { leave: () => void } {
  const heard = new Heard();
  return Object.assign(heard, { leave: turn.read(heard.reader) });
}

/** Whether the turn has really ended by now. */
async function hasEnded(turn: Turn): Promise<boolean> {
  let ended = false;
  turn.ended.then(() => ended = true);
  await settled();
  return ended;
}

Deno.test("runTurn: resolves once the prompt was taken, with what was asked", async () => {
  const agent = quietAgent();
  const { promise, resolve } = Promise.withResolvers<void>();
  agent.takes = promise;
  const session = await agent.open();
  let begun = false;
  const beginning = runTurn({ session, blocks: BLOCKS, limits: NO_LIMITS }).then((turn) => {
    begun = true;
    return turn;
  });
  await settled();
  assertEquals(begun, false);
  resolve();
  const turn = await beginning;
  const prompt = await agent.nextPrompt();
  assertEquals(prompt.blocks, BLOCKS);
  assertEquals([turn.sessionId, turn.over, turn.abandoned], [session.id, false, false]);
  prompt.end();
  await turn.ended;
});

Deno.test("runTurn: a prompt that is not taken is thrown, and nothing is left running", async () => {
  const agent = quietAgent();
  const refusal = agent.promptFailure = new Failure("agent_unavailable", "Gone.");
  const session = await agent.open();
  const limits = { replyTimeoutMs: 60_000, turnTimeoutMs: 60_000 };
  assertStrictEquals(await runTurn({ session, blocks: BLOCKS, limits }).catch((error) => error), refusal);
});

Deno.test("Turn: every event comes in order, to its reader and to who observes", async () => {
  const observed: [string, Turn][] = [];
  const { turn, prompt } = await begin({ observe: (event, turn) => observed.push([brief(event), turn]) });
  const heard = heardOf(turn);
  prompt.think("hm");
  prompt.tool({ title: "ls", kind: "search", status: "completed" });
  prompt.plan({ content: "a", priority: "low", status: "pending" });
  prompt.say("Hello");
  prompt.usage({ inputTokens: 3, outputTokens: 4 });
  assertEquals(turn.over, false);
  prompt.end("max_tokens");
  const expected = [
    "thought hm",
    "tool ls search completed",
    "plan pending",
    "text Hello",
    "usage 3+4",
    "end max_tokens",
  ];
  assertEquals(heard.briefs, expected);
  assertEquals(observed, expected.map((event) => [event, turn]));
  assertEquals(turn.over, true);
  await turn.ended;
});

Deno.test("Turn: ids are its own", async () => {
  const [one, two] = [await begin(), await begin()];
  assertEquals(one.turn.id === two.turn.id, false);
  one.prompt.end();
  two.prompt.end();
});

Deno.test("Turn: an agent that answers before the prompt counts as taken leaves no timer", async () => {
  const agent = quietAgent();
  agent.script = (prompt) => {
    prompt.say("fast");
    prompt.end();
  };
  const session = await agent.open();
  const limits = { replyTimeoutMs: 60_000, turnTimeoutMs: 60_000 };
  const turn = await runTurn({ session, blocks: BLOCKS, limits });
  assertEquals(turn.over, true);
  assertEquals(heardOf(turn).briefs, ["text fast", "end end_turn"]);
  await turn.ended;
});

Deno.test("Turn: the first reader of an unrecorded turn hears what was before it, the second is refused", async () => {
  const { turn, prompt } = await begin();
  prompt.say("early ");
  const heard = heardOf(turn);
  prompt.say("late");
  const failure: Failure = assertThrows(() => turn.read(() => {}), Failure);
  assertEquals([failure.code, failure.prompted], ["turn_cancelled", true]);
  prompt.end();
  assertEquals(heard.briefs, ["text early ", "text late", "end end_turn"]);
});

Deno.test("Turn: a recorded turn is told from its start to whoever comes, also after its end", async () => {
  const { turn, prompt } = await begin({ record: true });
  const [first, all] = [heardOf(turn), ["text a", "text b", "thought c", "end refusal"]];
  prompt.say("a");
  prompt.say("b");
  const second = heardOf(turn);
  prompt.think("c");
  prompt.end("refusal");
  const third = heardOf(turn);
  for (const heard of [first, second, third]) assertEquals(heard.briefs, all);
  third.leave();
  assertEquals([turn.abandoned, prompt.cancels], [false, 0]);
});

Deno.test("Turn: a reader that joins while an event is told hears each event once", async () => {
  const { turn, prompt } = await begin({ record: true });
  const late = new Heard();
  let joined = false;
  turn.read(() => {
    if (!joined) turn.read(late.reader);
    joined = true;
  });
  prompt.say("a");
  prompt.say("b");
  prompt.end();
  assertEquals(late.briefs, ["text a", "text b", "end end_turn"]);
});

Deno.test("Turn: a reader that leaves while an event is told hears nothing more, not even that", async () => {
  const { turn, prompt } = await begin({ record: true });
  let leaveSecond = () => {};
  turn.read(() => leaveSecond());
  const second = heardOf(turn);
  leaveSecond = second.leave;
  prompt.say("a");
  prompt.end();
  assertEquals(second.briefs, []);
});

Deno.test("Turn: the last reader that leaves cancels it, and is told nothing more", async () => {
  const { turn, prompt } = await begin({ record: true });
  const [first, second] = [heardOf(turn), heardOf(turn)];
  first.leave();
  first.leave();
  prompt.say("still read");
  assertEquals([turn.abandoned, prompt.cancels], [false, 0]);
  second.leave();
  assertEquals([turn.abandoned, prompt.cancels], [true, 1]);
  prompt.say("to nobody");
  prompt.end("cancelled");
  await turn.ended;
  assertEquals(first.briefs, []);
  assertEquals(second.briefs, ["text still read"]);
  assertEquals(turn.over, true);
});

Deno.test("Turn: a turn that nobody read yet is not abandoned, and leaving after the end cancels nothing", async () => {
  const { turn, prompt } = await begin();
  prompt.say("a");
  await settled();
  assertEquals([turn.abandoned, prompt.cancels], [false, 0]);
  const heard = heardOf(turn);
  prompt.end();
  heard.leave();
  assertEquals([turn.abandoned, prompt.cancels], [false, 0]);
});

Deno.test("Turn: cancel asks the agent once, and its answer is the end", async () => {
  const { turn, prompt } = await begin();
  const heard = heardOf(turn);
  turn.cancel();
  turn.cancel();
  assertEquals([prompt.cancels, turn.over], [1, false]);
  prompt.say("last words");
  prompt.end("cancelled");
  turn.cancel();
  assertEquals(prompt.cancels, 1);
  assertEquals(heard.briefs, ["text last words", "end cancelled"]);
  assertEquals(turn.abandoned, false);
});

Deno.test("Turn: a cancel before the prompt is taken reaches the agent once it is", async () => {
  const agent = quietAgent();
  const { promise, resolve } = Promise.withResolvers<void>();
  agent.takes = promise;
  const session = await agent.open();
  const turn = new Turn({ session, blocks: BLOCKS, limits: NO_LIMITS });
  const starting = turn.start(session, BLOCKS);
  turn.cancel();
  resolve();
  await starting;
  const prompt = await agent.nextPrompt();
  assertEquals(prompt.cancels, 1);
  prompt.end("cancelled");
  assertEquals(heardOf(turn).briefs, ["end cancelled"]);
});

Deno.test("Turn: an end that came although it was cancelled is what the agent said", async () => {
  const { turn, prompt } = await begin();
  const heard = heardOf(turn);
  turn.cancel();
  prompt.end("end_turn");
  assertEquals(heard.briefs, ["end end_turn"]);
});

Deno.test("Turn: a cancel that nobody asked for is a failure", async () => {
  const { turn, prompt } = await begin();
  const heard = heardOf(turn);
  prompt.end("cancelled");
  assertEquals(heard.briefs, ["failure agent_cancelled"]);
  assertEquals(heard.failure.prompted, true);
  await turn.ended;
});

Deno.test("Turn: silence fails it at once; what comes later is swallowed, and it ends when the agent ends it", async () => {
  const observed: string[] = [];
  const { turn, prompt } = await begin({
    limits: { replyTimeoutMs: 5, turnTimeoutMs: 0 },
    observe: (event) => observed.push(brief(event)),
    record: true,
  });
  const heard = heardOf(turn);
  prompt.say("a");
  assertEquals(await heard.last(), "failure agent_timeout");
  assertEquals([turn.over, prompt.cancels], [true, 1]);
  assertEquals(await hasEnded(turn), false);
  prompt.say("late");
  assertEquals(await hasEnded(turn), false);
  prompt.end("cancelled");
  assertEquals(await hasEnded(turn), true);
  const all = ["text a", "failure agent_timeout"];
  assertEquals(heard.briefs, all);
  assertEquals(observed, all);
  assertEquals(heardOf(turn).briefs, all);
  assertEquals([turn.abandoned, prompt.cancels], [false, 1]);
  assertEquals([heard.failure.prompted, heard.failure.retryAfterSecs], [true, undefined]);
});

Deno.test("Turn: one that takes too long fails although the agent speaks", async () => {
  const { turn, prompt } = await begin({ limits: { replyTimeoutMs: 60_000, turnTimeoutMs: 10 } });
  const heard = heardOf(turn);
  const speaking = setInterval(() => prompt.think("hm"), 1);
  try {
    assertEquals(await heard.last(), "failure agent_timeout");
  } finally {
    clearInterval(speaking);
  }
  assertEquals(prompt.cancels, 1);
  heard.assertWhole();
  prompt.end("cancelled");
  await soon(turn.ended, "the end");
});

Deno.test("Turn: every event is a sign of life, not only text", async () => {
  const { turn, prompt } = await begin({ limits: { replyTimeoutMs: 40, turnTimeoutMs: 0 } });
  const heard = heardOf(turn);
  let spokenAt = performance.now();
  const says = [
    () => prompt.think("hm"),
    () => prompt.tool(),
    () => prompt.plan(),
    () => prompt.usage({}),
    () => prompt.say("a"),
  ];
  for (const say of says) {
    await new Promise((resolve) => setTimeout(resolve, 15));
    if (turn.over) break; // a slow machine was silent itself
    say();
    spokenAt = performance.now();
  }
  assertEquals(await heard.last(), "failure agent_timeout");
  assertEquals(performance.now() - spokenAt >= 38, true);
  prompt.end();
  await turn.ended;
});

Deno.test("Turn: fail tells the readers, once, and asks the agent to stop", async () => {
  const { turn, prompt } = await begin();
  const heard = heardOf(turn);
  turn.fail(new Failure("shutting_down", "Bye."));
  turn.fail(new Failure("internal_error", "Again."));
  assertEquals(heard.briefs, ["failure shutting_down"]);
  assertEquals(prompt.cancels, 1);
  heard.leave();
  assertEquals([turn.abandoned, prompt.cancels], [false, 1]);
  assertEquals(await hasEnded(turn), false);
  prompt.fail(new Failure("agent_crashed", "Gone."));
  assertEquals(await hasEnded(turn), true);
});

Deno.test("Turn: the agent's failure is the last event, and ends it", async () => {
  const { turn, prompt } = await begin();
  const heard = heardOf(turn);
  prompt.say("a");
  prompt.fail(new Failure("agent_crashed", "Gone."));
  await turn.ended;
  assertEquals(heard.briefs, ["text a", "failure agent_crashed"]);
});

const OVER_THE_RECORD: readonly { name: string; say: (prompt: MemoryPrompt) => number }[] = [
  {
    name: "too much text",
    say: (prompt) => {
      const half = "x".repeat(RECORD_LIMIT / 2);
      prompt.say(half);
      prompt.think(half);
      prompt.say("!");
      return 3;
    },
  },
  {
    name: "too many events",
    say: (prompt) => {
      for (let count = 0; count < 10_100; count++) prompt.say("x");
      return 10_100;
    },
  },
];
for (const { name, say } of OVER_THE_RECORD) {
  Deno.test(`Turn: ${name}: who reads goes on, who comes late is refused`, async () => {
    const { turn, prompt } = await begin({ record: true });
    const heard = heardOf(turn);
    const said = say(prompt);
    const failure: Failure = assertThrows(() => turn.read(() => {}), Failure);
    assertEquals([failure.code, failure.prompted], ["turn_cancelled", true]);
    prompt.end();
    assertEquals(heard.events.length, said + 1);
    assertThrows(() => turn.read(() => {}), Failure);
  });
}

Deno.test("Turn: just within the record it can still be told", async () => {
  const { turn, prompt } = await begin({ record: true });
  heardOf(turn);
  prompt.say("x".repeat(RECORD_LIMIT - 1));
  prompt.end();
  assertEquals(heardOf(turn).events.length, 2);
});

Deno.test("runTurn: the session's own error is thrown as it is", async () => {
  const agent = quietAgent();
  const session = await agent.open();
  session.prompt = () => Promise.reject(new TypeError("odd"));
  await assertRejects(() => runTurn({ session, blocks: BLOCKS, limits: NO_LIMITS }), TypeError, "odd");
});
