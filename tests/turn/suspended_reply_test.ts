import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import type { PermissionId, PermissionOutcome, QuestionId } from "../../lib/turn/event.ts";
import { beginTurn, permission, recordTurn, resolved } from "../support/harness/turn_fixture.ts";

/** Runs a turn whose reply has ended with the permission request `a`. */
async function beginAsking() {
  const { turn, prompt } = await beginTurn({ asksReaders: true });
  const recorder = recordTurn(turn);
  prompt.say("Hm.");
  prompt.emit(permission("a"));
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
    prompt.emit(permission("a"));
    assertEquals(next.summaries.includes("end end_turn"), asksReaders);
    prompt.end();
    await turn.ended;
  }
});

Deno.test("resumeReply: the readers that come back get what came since their reply ended with a request", async () => {
  const { turn, prompt, recorder } = await beginAsking();
  assertEquals(recorder.summaries, ["text Hm.", "permission rm -r", "end end_turn"]);
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
  prompt.emit(permission("b"));
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
    prompt.emit(resolved("a", outcome));
    assertEquals([turn.isCancelled, turn.isAbandoned], [isCancelled, isCancelled]);
    assertEquals([turn.isAsking(id), prompt.cancelCount], [!isCancelled, isCancelled ? 1 : 0]);
    prompt.end();
    await turn.ended;
  });
}

Deno.test("Turn: a request that expires while its reply is read is left to the agent", async () => {
  const { turn, prompt } = await beginTurn();
  recordTurn(turn);
  prompt.emit(permission("a"));
  prompt.emit(resolved("a", "expired"));
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

Deno.test("refuseAnswers: fails a turn that waits for an answer, and no other turn asks its reader", async () => {
  const failure = new AppError("shutting_down", "Bye.");
  const waiting = await beginAsking();
  waiting.turn.refuseAnswers(failure);
  assertEquals(waiting.turn.isOver, true);

  const working = await beginAsking();
  working.prompt.emit(resolved("a"));
  working.turn.refuseAnswers(failure);
  assertEquals(working.turn.isOver, false);

  const asking = await beginTurn({ asksReaders: true, speaksQuestions: true });
  const { turn, prompt } = asking;
  const recorder = recordTurn(turn);
  turn.refuseAnswers(failure);
  prompt.emit(permission("a"));
  assertEquals([turn.isOver, recorder.summaries.includes("end end_turn")], [false, false]);
  let cancelCount = 0;
  const question = { message: "Which?", fields: [], isPrivate: false, isShown: false, expiresAt: 0 };
  prompt.emit({
    type: "question",
    request: { ...question, id: "q1" as QuestionId, answerInWords: () => true, cancel: () => cancelCount++ },
  });
  assertEquals([cancelCount, recorder.text], [1, ""]);
  for (const begun of [waiting, working, asking]) {
    begun.prompt.end();
    await begun.turn.ended;
  }
});
