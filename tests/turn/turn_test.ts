import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { emotionWords } from "../../lib/turn/emotion.ts";
import type {
  PermissionId,
  PermissionOutcome,
  PermissionRequest,
  QuestionId,
  ToolCallId,
  TurnEvent,
} from "../../lib/turn/event.ts";
import { RECORD_LIMIT } from "../../lib/turn/reply_readers.ts";
import { runTurn, Turn, type TurnObserver } from "../../lib/turn/turn.ts";
import type { MemoryAgent, MemoryPrompt } from "../support/agents/memory_agent.ts";
import { beginTurn, BLOCKS, hasEnded, manualAgent, recordTurn } from "../support/harness/turn_fixture.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { isLast, nextTask, summarize, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";

/** An observer that records summaries, and can want speech. */
function observer(
  wantsSpeech = false,
): TurnObserver & { wantsSpeech: boolean; readonly summaries: string[] } {
  const summaries: string[] = [];
  return {
    summaries,
    wantsSpeech,
    onStart: () => void summaries.push("start"),
    onEvent: (event) => void summaries.push(summarize(event)),
  };
}

const EMOTIONS = emotionWords();

/** Runs a turn as far as the agent's answer to the prompt, with limits that leave a timer if it is not disposed of. */
async function runWith(agent: MemoryAgent): Promise<Turn> {
  const session = await agent.newSession();
  const limits = { replyTimeoutMs: 60_000, turnTimeoutMs: 60_000 };
  return await runTurn({ session, resolvedModel: "openab", blocks: BLOCKS, limits });
}

Deno.test("runTurn: resolves once the agent took the prompt", async () => {
  const agent = manualAgent();
  const { promise, resolve } = Promise.withResolvers<void>();
  agent.promptGate = promise;
  let isRunning = false;
  const running = runWith(agent).finally(() => isRunning = true);
  await nextTask();
  assertEquals(isRunning, false);
  resolve();
  const turn = await running;
  const prompt = await agent.nextPrompt();
  assertEquals(prompt.blocks, BLOCKS);
  assertEquals([turn.sessionId, turn.isOver, turn.isAbandoned], [agent.sessions[0]!.id, false, false]);
  prompt.end();
  await turn.ended;
});

Deno.test("runTurn: throws the error of a prompt that the agent did not take, and leaves no timer", async () => {
  const agent = manualAgent();
  const failure = agent.promptError = new AppError("agent_unavailable", "Gone.");
  assertStrictEquals(await runWith(agent).catch((error) => error), failure);
});

Deno.test("Turn: an agent that answers before the prompt counts as taken leaves no timer", async () => {
  const agent = manualAgent();
  agent.script = (prompt) => {
    prompt.say("fast");
    prompt.end();
  };
  const turn = await runWith(agent);
  assertEquals(turn.isOver, true);
  assertEquals(recordTurn(turn).summaries, ["text fast", "end end_turn"]);
  await turn.ended;
});

Deno.test("Turn: reader and observer get every event in order", async () => {
  const watcher = observer();
  const { turn, prompt } = await beginTurn({ observer: watcher });
  const recorder = recordTurn(turn);
  prompt.think("hm");
  prompt.tool({ title: "ls", kind: "search", status: "completed" });
  prompt.plan({ content: "a", priority: "low", status: "pending" });
  prompt.say("Hello");
  prompt.usage({ inputTokens: 3, outputTokens: 4 });
  assertEquals(turn.isOver, false);
  prompt.end("max_tokens");
  const expected = [
    "thought hm",
    "tool ls search completed",
    "plan pending",
    "text Hello",
    "usage 3+4",
    "end max_tokens",
  ];
  assertEquals(recorder.summaries, expected);
  assertEquals(watcher.summaries, ["start", ...expected]);
  assertEquals(turn.isOver, true);
  await turn.ended;
});

Deno.test("Turn: cancel asks the agent once, drops what it says later, and its answer is the end", async () => {
  const { turn, prompt } = await beginTurn();
  const recorder = recordTurn(turn);
  turn.cancel();
  turn.cancel();
  assertEquals([prompt.cancelCount, turn.isOver, turn.isCancelled], [1, false, true]);
  prompt.say("last words");
  prompt.think("hm");
  prompt.tool({ title: "ls", kind: "search", status: "completed" });
  prompt.end("cancelled");
  turn.cancel();
  assertEquals([prompt.cancelCount, turn.isAbandoned], [1, false]);
  assertEquals(recorder.summaries, ["tool ls search completed", "end cancelled"]);
});

const ENDS_OF_CANCELLED: Readonly<Record<string, (prompt: MemoryPrompt, turn: Turn) => void>> = {
  "is answered": (prompt) => prompt.end("end_turn"),
  "is refused": (prompt) => prompt.end("refusal"),
  "fails": (prompt) => prompt.fail(new AppError("agent_error", "No.")),
  "loses its agent": (prompt) => prompt.fail(new AppError("agent_crashed", "Gone.")),
  "is failed by this side": (_prompt, turn) => turn.fail(new AppError("shutting_down", "Bye.")),
};
for (const [what, end] of Object.entries(ENDS_OF_CANCELLED)) {
  Deno.test(`Turn: a cancelled turn that ${what} ends as cancelled`, async () => {
    const { turn, prompt } = await beginTurn();
    const recorder = recordTurn(turn);
    turn.cancel();
    end(prompt, turn);
    assertEquals(recorder.summaries, ["end cancelled"]);
    prompt.end();
    await turn.ended;
  });
}

Deno.test("Turn: more than 8 MiB of text and thoughts end it as too long, and stop the agent", async () => {
  const { turn, prompt } = await beginTurn();
  const recorder = recordTurn(turn);
  const MIB = "x".repeat(1024 * 1024);
  for (let count = 0; count < 4; count++) {
    prompt.say(MIB);
    prompt.think(MIB);
  }
  assertEquals(turn.isOver, false);
  prompt.say("!");
  assertEquals([recorder.summaries.at(-1), recorder.events.length], ["end max_tokens", 9]);
  assertEquals([prompt.cancelCount, await hasEnded(turn)], [1, false]);
  prompt.end("cancelled");
  assertEquals(await hasEnded(turn), true);
});

Deno.test("observer: the readers get the last event once its promise settles, and at the latest after a second", async () => {
  for (const isSlow of [false, true]) {
    using clock = new FakeClock();
    const saved = Promise.withResolvers<void>();
    const watcher: TurnObserver = {
      wantsSpeech: false,
      onStart() {},
      onEvent: (event) => event.type === "end" ? saved.promise : undefined,
    };
    const { turn, prompt } = await beginTurn({ observer: watcher, record: true });
    const recorder = recordTurn(turn);
    prompt.say("Hi");
    prompt.end();
    // The agent's next turn need not wait.
    await turn.ended;
    const late = recordTurn(turn);
    assertEquals([recorder.summaries, turn.isOver], [["text Hi"], true]);
    if (isSlow) clock.advance(1_000);
    else saved.resolve();
    for (const each of [recorder, late]) assertEquals(await each.lastSummary(), "end end_turn");
    assertEquals(recordTurn(turn).summaries, ["text Hi", "end end_turn"]);
    late.leave();
    assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 0]);
  }
});

Deno.test("endReply: after `length` only the observer gets events, without text, and the last reader may leave", async () => {
  const watcher = observer(true);
  const { turn, prompt } = await beginTurn({ observer: watcher, emotions: EMOTIONS });
  const recorder = recordTurn(turn);
  prompt.say("One.");
  turn.endReply("length");
  recorder.leave();
  prompt.say(" Two [happy].");
  prompt.tool({ title: "ls", kind: "search", status: "completed" });
  prompt.emit(permission("p1"));
  assertEquals([turn.isOver, turn.isAbandoned, prompt.cancelCount], [false, false, 0]);
  prompt.end();
  assertEquals(recorder.text, "One.");
  assertEquals(watcher.summaries, [
    ...["start", "speech One.", "text One.", "tool ls search completed", "permission rm -r"],
    ...["permission cancelled by turn", "end end_turn"],
  ]);
});

Deno.test("endReply: after `stop` the turn is cancelled, unless a tool is open or has run", async () => {
  for (const status of [undefined, "in_progress", "completed"] as const) {
    const { turn, prompt } = await beginTurn();
    const { leave } = recordTurn(turn);
    if (status) prompt.tool({ status });
    turn.endReply("stop");
    leave();
    assertEquals([turn.isCancelled, prompt.cancelCount], status ? [false, 0] : [true, 1], status);
    prompt.end();
  }
});

Deno.test("endReply: a reader that ends the reply while it joins keeps nothing from ending", async () => {
  const { turn, prompt } = await beginTurn({ record: true });
  prompt.say("One. Two.");
  const leaves = [1, 2].map(() => turn.read(() => turn.endReply("length")));
  for (const leave of leaves) leave();
  assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 0]);
  prompt.end();
  await turn.ended;
});

Deno.test("endReply: a question that the limit cuts, and that nobody else sees, is cancelled", async () => {
  const { turn, prompt } = await beginTurn({ speaksQuestions: true });
  turn.read((event) => {
    if (event.type === "text") turn.endReply("length");
  });
  let cancelled = 0;
  const id = "q1" as QuestionId;
  const request = {
    id,
    message: "Which branch?",
    fields: [],
    isPrivate: false,
    expiresAt: 0,
    isShown: false,
  };
  prompt.emit({
    type: "question",
    request: { ...request, answerInWords: () => false, cancel: () => cancelled++ },
  });
  assertEquals(cancelled, 1);
  prompt.end();
  await turn.ended;
});

Deno.test("supersede: cancels at once, but waits for the open tools of a turn whose reply is complete", async () => {
  const cancelsOf = async (...steps: ((turn: Turn, prompt: MemoryPrompt) => void)[]) => {
    const { turn, prompt } = await beginTurn();
    const cancels = steps.map((step) => {
      step(turn, prompt);
      return prompt.cancelCount;
    });
    prompt.end();
    await turn.ended;
    return cancels;
  };
  const cut = (turn: Turn) => turn.endReply("length");
  const supersede = (turn: Turn) => turn.supersede();
  const tool = (id: string, status: "in_progress" | "completed") => (_: Turn, prompt: MemoryPrompt) =>
    prompt.tool({ id, status });
  assertEquals(await cancelsOf(tool("a", "in_progress"), supersede), [0, 1]);
  assertEquals(await cancelsOf(tool("a", "completed"), cut, supersede), [0, 0, 1]);
  assertEquals(
    await cancelsOf(
      tool("a", "in_progress"),
      cut,
      supersede,
      tool("b", "in_progress"),
      tool("a", "completed"),
      tool("b", "completed"),
    ),
    [0, 0, 0, 0, 0, 1],
  );
  assertEquals(await cancelsOf(tool("a", "in_progress"), cut, supersede, (turn) => turn.cancel()), [
    0,
    0,
    0,
    1,
  ]);
});

Deno.test("supersede: a turn that ends while its tools are waited for is complete", async () => {
  const { turn, prompt } = await beginTurn({ observer: observer() });
  prompt.tool();
  turn.endReply("length");
  turn.supersede();
  const tool = { id: "t1" as ToolCallId, title: "ls", kind: "read", status: "completed" } as const;
  prompt.emit({ type: "tool", tool, closing: true });
  prompt.end();
  await turn.ended;
  assertEquals([turn.isCancelled, prompt.cancelCount], [false, 0]);
});

Deno.test("supersede: a turn that is over waits for no tool, and leaves no timer", async () => {
  const { turn, prompt } = await beginTurn();
  prompt.tool({ title: "sleep", kind: "execute", status: "in_progress" });
  turn.endReply("length");
  turn.fail(new AppError("agent_timeout", "Too slow."));
  turn.supersede();
  prompt.end();
  await turn.ended;
});

Deno.test("supersede: waits at most 30 seconds for the open tools", async () => {
  const { turn, prompt } = await beginTurn();
  prompt.tool();
  turn.endReply("length");
  using clock = new FakeClock();
  turn.supersede();
  clock.advance(29_900);
  await nextTask();
  assertEquals(prompt.cancelCount, 0);
  clock.advance(200);
  await nextTask();
  assertEquals(prompt.cancelCount, 1);
  prompt.end();
  await turn.ended;
});

Deno.test("Turn: a `cancelled` that nobody asked for is a failure", async () => {
  const { turn, prompt } = await beginTurn();
  const recorder = recordTurn(turn);
  prompt.end("cancelled");
  assertEquals(recorder.summaries, ["failure agent_cancelled"]);
  assertEquals(recorder.failure.prompted, true);
  await turn.ended;
});

Deno.test("Turn: silence fails it at once; later events are dropped until the agent ends it", async () => {
  const watcher = observer();
  const limits = { replyTimeoutMs: 5, turnTimeoutMs: 0 };
  const { turn, prompt } = await beginTurn({ limits, observer: watcher, record: true });
  const recorder = recordTurn(turn);
  prompt.say("a");
  assertEquals(await recorder.lastSummary(), "failure agent_timeout");
  assertEquals([turn.isOver, prompt.cancelCount, await hasEnded(turn)], [true, 1, false]);
  prompt.say("late");
  assertEquals(await hasEnded(turn), false);
  prompt.end("cancelled");
  assertEquals(await hasEnded(turn), true);
  const all = ["text a", "failure agent_timeout"];
  assertEquals([recorder.summaries, recordTurn(turn).summaries, watcher.summaries], [all, all, [
    "start",
    ...all,
  ]]);
  assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 1]);
  assertEquals([recorder.failure.prompted, recorder.failure.retryAfterSecs], [true, undefined]);
});

Deno.test("Turn: a turn that takes too long fails although the agent speaks", async () => {
  const { turn, prompt } = await beginTurn({ limits: { replyTimeoutMs: 60_000, turnTimeoutMs: 10 } });
  const recorder = recordTurn(turn);
  const speaking = setInterval(() => prompt.think("hm"), 1);
  try {
    assertEquals(await recorder.lastSummary(), "failure agent_timeout");
  } finally {
    clearInterval(speaking);
  }
  assertEquals(prompt.cancelCount, 1);
  recorder.assertComplete();
  prompt.end("cancelled");
  await waitFor(turn.ended, "the end");
});

Deno.test("Turn: every event breaks the silence, not only text", async () => {
  const { turn, prompt } = await beginTurn({ limits: { replyTimeoutMs: 40, turnTimeoutMs: 0 } });
  const recorder = recordTurn(turn);
  let lastEventAt = performance.now();
  const events = [
    () => prompt.think("hm"),
    () => prompt.tool(),
    () => prompt.plan(),
    () => prompt.usage({}),
    () => prompt.say("a"),
  ];
  for (const send of events) {
    await new Promise((resolve) => setTimeout(resolve, 15));
    if (turn.isOver) break; // a slow machine may pause longer than the limit
    send();
    lastEventAt = performance.now();
  }
  assertEquals(await recorder.lastSummary(), "failure agent_timeout");
  assertEquals(performance.now() - lastEventAt >= 38, true);
  prompt.end();
  await turn.ended;
});

Deno.test("Turn: fail is the last event, and asks the agent to stop", async () => {
  const { turn, prompt } = await beginTurn();
  const recorder = recordTurn(turn);
  turn.fail(new AppError("shutting_down", "Bye."));
  turn.fail(new AppError("internal_error", "Again."));
  assertEquals(recorder.summaries, ["failure shutting_down"]);
  recorder.leave();
  assertEquals([turn.isAbandoned, prompt.cancelCount, await hasEnded(turn)], [false, 1, false]);
  prompt.fail(new AppError("agent_crashed", "Gone."));
  assertEquals(await hasEnded(turn), true);
});

/** Asserts that a turn cannot be read from its start. */
function assertUnreadable(turn: Turn): void {
  const failure: AppError = assertThrows(() => turn.read(() => {}), AppError);
  assertEquals([failure.code, failure.prompted], ["turn_cancelled", true]);
}

Deno.test("read: the first reader of an unrecorded turn gets the earlier events, a second is refused", async () => {
  const { turn, prompt } = await beginTurn();
  prompt.say("early ");
  const recorder = recordTurn(turn);
  prompt.say("late");
  assertUnreadable(turn);
  prompt.end();
  assertEquals(recorder.summaries, ["text early ", "text late", "end end_turn"]);
});

Deno.test("read: every reader of a recorded turn gets it from the start, also after the end", async () => {
  const { turn, prompt } = await beginTurn({ record: true });
  const first = recordTurn(turn);
  prompt.say("a");
  prompt.say("b");
  const second = recordTurn(turn);
  prompt.think("c");
  prompt.end("refusal");
  const third = recordTurn(turn);
  for (const recorder of [first, second, third]) {
    assertEquals(recorder.summaries, ["text a", "text b", "thought c", "end refusal"]);
  }
  third.leave();
  assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 0]);
});

Deno.test("read: a reader that joins during an event gets each event once", async () => {
  const { turn, prompt } = await beginTurn({ record: true });
  const late = new TurnRecorder();
  let hasJoined = false;
  turn.read(() => {
    if (!hasJoined) turn.read(late.reader);
    hasJoined = true;
  });
  prompt.say("a");
  prompt.say("b");
  prompt.end();
  assertEquals(late.summaries, ["text a", "text b", "end end_turn"]);
});

Deno.test("read: the last reader that leaves cancels the turn", async () => {
  const { turn, prompt } = await beginTurn({ record: true });
  const [first, second] = [recordTurn(turn), recordTurn(turn)];
  first.leave();
  first.leave();
  prompt.say("still read");
  assertEquals([turn.isAbandoned, prompt.cancelCount], [false, 0]);
  second.leave();
  assertEquals([turn.isAbandoned, prompt.cancelCount], [true, 1]);
  prompt.say("unread");
  prompt.end("cancelled");
  await turn.ended;
  assertEquals([first.summaries, second.summaries], [[], ["text still read"]]);
  assertEquals(turn.isOver, true);
});

const LONG_REPLIES: Readonly<Record<string, (prompt: MemoryPrompt) => void>> = {
  "too much text": (prompt) => {
    prompt.say("x".repeat(RECORD_LIMIT / 2));
    prompt.think("x".repeat(RECORD_LIMIT / 2));
  },
  "too many long plans": (prompt) => {
    const entries = [{ content: "x".repeat(RECORD_LIMIT / 4), priority: "low", status: "pending" }] as const;
    for (let count = 0; count < 5; count++) prompt.emit({ type: "plan", entries });
  },
  "too many events": (prompt) => {
    for (let count = 0; count < RECORD_LIMIT / 100; count++) prompt.say("x");
  },
};
for (const [name, reply] of Object.entries(LONG_REPLIES)) {
  Deno.test(`read: after ${name}, a reader goes on, and a late one is refused`, async () => {
    const { turn, prompt } = await beginTurn({ record: true });
    const recorder = recordTurn(turn);
    reply(prompt);
    const sent = recorder.events.length;
    prompt.end();
    assertEquals(recorder.events.length, sent + 1);
    assertUnreadable(turn);
  });
}

Deno.test("emotions: with an observer that wants speech, they come before the text that completes them", async () => {
  const watcher = observer(true);
  const { turn, prompt } = await beginTurn({ emotions: EMOTIONS, observer: watcher });
  const recorder = recordTurn(turn);
  for (const piece of ["[ha", "ppy] Hi ", "[sad]", "!"]) prompt.say(piece);
  prompt.end();
  assertEquals(recorder.summaries, [
    "text [ha",
    "emotion happy 1",
    "speech  Hi ",
    "text ppy] Hi ",
    "text [sad]",
    "emotion sad 1",
    "speech !",
    "text !",
    "end end_turn",
  ]);
  assertEquals(watcher.summaries, ["start", ...recorder.summaries]);
  assertEquals(recorder.text, "[happy] Hi [sad]!");
});

Deno.test("emotions: without such an observer they are found when the text pauses, and there is no speech", async () => {
  for (const watcher of [undefined, observer(false)]) {
    const { turn, prompt } = await beginTurn({ emotions: EMOTIONS, observer: watcher });
    const recorder = recordTurn(turn);
    for (const piece of ["[ha", "ppy] Hi ", "[sad]"]) prompt.say(piece);
    prompt.tool({ title: "ls" });
    prompt.say("[shy");
    prompt.think("hm");
    prompt.say("]");
    prompt.end();
    assertEquals(recorder.summaries, [
      ...["text [ha", "text ppy] Hi ", "text [sad]", "emotion happy 1", "emotion sad 1"],
      ...["tool ls read in_progress", "text [shy", "thought hm", "text ]", "emotion shy 1", "end end_turn"],
    ]);
  }
});

Deno.test("emotions: an observer that begins to want speech gets speech from then on, and earlier emotions", async () => {
  const watcher = observer(false);
  const { prompt } = await beginTurn({ emotions: EMOTIONS, observer: watcher });
  prompt.say("[happy] unheard. ");
  watcher.wantsSpeech = true;
  prompt.say("Heard.");
  watcher.wantsSpeech = false;
  prompt.say(" Unheard again.");
  prompt.end();
  assertEquals(watcher.summaries.slice(1), [
    "text [happy] unheard. ",
    "emotion happy 1",
    "speech Heard.",
    "text Heard.",
    "text  Unheard again.",
    "end end_turn",
  ]);
});

for (const wantsSpeech of [true, false]) {
  Deno.test(`emotions: \`at\` counts the speech before, whether it is wanted: ${wantsSpeech}`, async () => {
    const { turn, prompt } = await beginTurn({ emotions: EMOTIONS, observer: observer(wantsSpeech) });
    const recorder = recordTurn(turn);
    for (const text of ["[happy] Hi \ud83d\ude00", "!\n```\ncode\n```\nSo [sa", "d]."]) prompt.say(text);
    prompt.end();
    await recorder.until(isLast);
    const emotions = recorder.events.filter(({ type }) => type === "emotion");
    const sad = { type: "emotion", tag: "sad", intensity: 1, at: " Hi \ud83d\ude00!\nSo ".length } as const;
    assertEquals(emotions, [{ ...sad, tag: "happy", at: 0 }, sad]);
  });
}

for (const how of ["end", "failure", "cancel"] as const) {
  Deno.test(`emotions: a tag at the very end comes before the last event: ${how}`, async () => {
    const { turn, prompt } = await beginTurn({ emotions: EMOTIONS });
    const recorder = recordTurn(turn);
    prompt.say("[happy]");
    if (how === "cancel") turn.cancel();
    prompt.end(how === "end" ? "end_turn" : "cancelled");
    const last = { end: "end end_turn", failure: "failure agent_cancelled", cancel: "end cancelled" }[how];
    assertEquals(recorder.summaries, ["text [happy]", "emotion happy 1", last]);
  });
}

Deno.test("emotions: a recorded turn replays them in their place, without speech", async () => {
  const { turn, prompt } = await beginTurn({ emotions: EMOTIONS, observer: observer(true), record: true });
  prompt.say("[happy] a [sad]");
  prompt.end();
  const expected = ["emotion happy 1", "text [happy] a [sad]", "emotion sad 1", "end end_turn"];
  assertEquals(recordTurn(turn).summaries, expected);
});

function permission(id: string): TurnEvent {
  const tool = { id: "t1", title: "rm -r", kind: "execute", status: "pending" } as const;
  const request = { id, tool, detail: "", options: [], expiresAt: 0 };
  return { type: "permission", request } as unknown as TurnEvent;
}

function resolved(id: string): TurnEvent {
  return {
    type: "permission_resolved",
    resolution: { id: id as PermissionId, outcome: "allowed", by: "me" },
  };
}

Deno.test("permissions: an open request counts as cancelled before the end", async () => {
  const { turn, prompt } = await beginTurn();
  const recorder = recordTurn(turn);
  for (const event of [permission("p1"), permission("p2"), resolved("p1")]) prompt.emit(event);
  prompt.end();
  assertEquals(recorder.summaries, [
    "permission rm -r",
    "permission rm -r",
    "permission allowed by me",
    "permission cancelled by turn",
    "end end_turn",
  ]);
  const ids = recorder.events.map((event) => event.type === "permission_resolved" ? event.resolution.id : "");
  assertEquals(ids.filter(Boolean), ["p1", "p2"]);
});

Deno.test("permissions: while one is open, silence does not fail the turn", async () => {
  const limits = { replyTimeoutMs: 5, turnTimeoutMs: 0 };
  const { turn, prompt } = await beginTurn({ limits });
  const recorder = recordTurn(turn);
  prompt.emit(permission("p1"));
  // Turns that begin later time out, so that this turn's timer has fired before.
  for (let count = 0; count < 3; count++) {
    const silent = await beginTurn({ limits });
    assertEquals(await recordTurn(silent.turn).lastSummary(), "failure agent_timeout");
    silent.prompt.end("cancelled");
  }
  assertEquals([turn.isOver, recorder.summaries], [false, ["permission rm -r"]]);
  prompt.emit(resolved("p1"));
  assertEquals(await recorder.lastSummary(), "failure agent_timeout");
  prompt.end("cancelled");
});

/** A permission request that waits for a minute. */
function permissionRequest(id: string, toolId = id): PermissionRequest {
  const tool = { id: toolId as ToolCallId, title: id, kind: "execute", status: "pending" } as const;
  return { id: id as PermissionId, tool, detail: "", options: [], expiresAt: Date.now() + 60_000 };
}

/** Runs a turn whose reply has ended with the permission request `a`. */
async function beginAsking() {
  const { turn, prompt } = await beginTurn({ asksReaders: true });
  const recorder = recordTurn(turn);
  prompt.say("Hm.");
  prompt.emit({ type: "permission", request: permissionRequest("a") });
  return { turn, prompt, recorder };
}

Deno.test("answerQuestion: whether readers are asked for permissions is the wish of the request that answers", async () => {
  for (const asksReaders of [false, true]) {
    const { turn, prompt } = await beginTurn({ speaksQuestions: true, asksReaders: !asksReaders });
    recordTurn(turn);
    const question = { message: "Which?", fields: [], isPrivate: false, isShown: false, expiresAt: 0 };
    prompt.emit({
      type: "question",
      request: { ...question, id: "q1" as QuestionId, answerInWords: () => true, cancel() {} },
    });
    turn.answerQuestion("main", asksReaders);
    const next = recordTurn(turn);
    prompt.emit({ type: "permission", request: permissionRequest("a") });
    assertEquals(next.summaries.includes("end end_turn"), asksReaders);
    prompt.end();
    await turn.ended;
  }
});

Deno.test("resumeReply: the readers that come back get what came since their reply ended with a request", async () => {
  const { turn, prompt, recorder } = await beginAsking();
  assertEquals(recorder.summaries, ["text Hm.", "permission a", "end end_turn"]);
  recorder.leave();
  assertEquals([turn.isAsking("a" as PermissionId), turn.isCancelled, turn.replyNumber], [true, false, 1]);
  prompt.emit(resolved("a"));
  prompt.say("One.");
  turn.resumeReply();
  assertEquals([turn.isAsking("a" as PermissionId), turn.replyNumber], [false, 2]);
  const next = recordTurn(turn);
  prompt.say("Two.");
  prompt.end();
  assertEquals(next.summaries, ["text One.", "text Two.", "end end_turn"]);
  await turn.ended;
});

Deno.test("resumeReply: a turn that has ended meanwhile is read to its end", async () => {
  const { turn, prompt } = await beginAsking();
  prompt.emit(resolved("a"));
  prompt.say("One.");
  prompt.end();
  turn.resumeReply();
  assertEquals(recordTurn(turn).summaries, ["text One.", "end end_turn"]);
  await turn.ended;
});

Deno.test("resumeReply: another request that is open ends the next reply", async () => {
  const { turn, prompt } = await beginAsking();
  prompt.emit({ type: "permission", request: permissionRequest("b") });
  prompt.emit(resolved("a"));
  turn.resumeReply();
  const last = recordTurn(turn).events.at(-1);
  assertEquals([last?.type === "end" && last.asks?.id, turn.isAsking("b" as PermissionId)], ["b", true]);
  prompt.end();
  await turn.ended;
});

Deno.test("resumeReply: the last reader of the next reply that leaves cancels the turn", async () => {
  const { turn, prompt } = await beginAsking();
  prompt.emit(resolved("a"));
  turn.resumeReply();
  recordTurn(turn).leave();
  assertEquals([turn.cancelledBy, prompt.cancelCount], ["disconnect", 1]);
  prompt.end();
  await turn.ended;
});

const RESOLUTIONS: [outcome: PermissionOutcome, isCancelled: boolean][] = [
  ["allowed", false],
  ["rejected", false],
  ["cancelled", false],
  ["expired", true],
];
for (const [outcome, isCancelled] of RESOLUTIONS) {
  Deno.test(`Turn: a request of a suspended reply that is ${outcome} ${isCancelled ? "ends" : "leaves"} it`, async () => {
    const { turn, prompt } = await beginAsking();
    const id = "a" as PermissionId;
    prompt.emit({ type: "permission_resolved", resolution: { id, outcome, by: "Mao" } });
    assertEquals([turn.isCancelled, turn.isAbandoned], [isCancelled, isCancelled]);
    assertEquals([turn.isAsking(id), prompt.cancelCount], [!isCancelled, isCancelled ? 1 : 0]);
    prompt.end();
    await turn.ended;
  });
}

Deno.test("Turn: a request that expires while its reply is read is left to the agent", async () => {
  const { turn, prompt } = await beginTurn();
  recordTurn(turn);
  prompt.emit({ type: "permission", request: permissionRequest("a") });
  prompt.emit({
    type: "permission_resolved",
    resolution: { id: "a" as PermissionId, outcome: "expired", by: "timeout" },
  });
  assertEquals(turn.isCancelled, false);
  prompt.end();
  await turn.ended;
});

Deno.test("Turn: a newer request supersedes one that waits for its readers", async () => {
  const { turn, prompt } = await beginAsking();
  turn.supersede();
  assertEquals([turn.cancelledBy, turn.isAsking("a" as PermissionId)], ["barge_in", false]);
  prompt.end();
  await turn.ended;
});
