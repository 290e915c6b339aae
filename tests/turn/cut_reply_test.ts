import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { emotionWords } from "../../lib/turn/emotion.ts";
import type { QuestionId, ToolCallId } from "../../lib/turn/event.ts";
import { Turn } from "../../lib/turn/turn.ts";
import type { MemoryPrompt } from "../support/agents/memory_agent.ts";
import { beginTurn, observer, permission, recordTurn } from "../support/harness/turn_fixture.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

Deno.test("endReply: after `length` only the observer gets events, without text, and the last reader may leave", async () => {
  const watcher = observer(true);
  const { turn, prompt } = await beginTurn({ observer: watcher, emotions: emotionWords() });
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
