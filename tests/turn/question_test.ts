import { assertEquals, assertThrows } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import type { Question, QuestionField, QuestionRequest, TurnEvent } from "../../lib/turn/event.ts";
import { type QuestionAnswer, QuestionBroker } from "../../lib/turn/question.ts";
import { summarize, waitFor } from "../support/harness/turn_recorder.ts";

/** Longer than any test. */
const NEVER_MS = 3_600_000;
const NEVER = new AbortController().signal;

const field = (fields: Partial<QuestionField> = {}): QuestionField => ({
  name: "x",
  title: "X",
  type: "text",
  required: true,
  ...fields,
});
const question = (...fields: QuestionField[]): Question => ({ message: "Well?", fields, isPrivate: false });

/** Asks. Throws if no question was opened. */
function ask(asked: Question, broker = new QuestionBroker(NEVER_MS, () => true), signal = NEVER) {
  const events: TurnEvent[] = [];
  const done = broker.ask(asked, (event) => void events.push(event), signal);
  const [first] = events;
  if (first?.type !== "question") throw new Error("No question was opened");
  return { broker, events, request: first.request, done };
}

const OPTIONS = [{ value: "main", title: "The main branch" }, { value: "next", title: "Next" }];
const accept = (x: unknown): QuestionAnswer => ({ action: "accept", content: { x } });

for (
  const [name, fields, value] of [
    ["a text", {}, "main"],
    ["a number", { type: "number", min: 0, max: 1 }, 0.5],
    ["a whole number", { type: "integer" }, 7],
    ["yes", { type: "boolean" }, true],
    ["a choice", { type: "choice", options: OPTIONS }, "next"],
    ["choices", { type: "choices", options: OPTIONS, min: 1 }, ["next", "main"]],
    ["nothing where nothing is required", { required: false }, undefined],
  ] as const
) {
  Deno.test(`QuestionBroker.answer: accepts ${name}`, async () => {
    const { broker, request, events, done } = ask(question(field(fields as Partial<QuestionField>)));
    broker.answer(request.id, accept(value), "Mao");
    const content = value === undefined ? {} : { x: value };
    assertEquals(await done as unknown, { id: request.id, outcome: "answered", content, by: "Mao" });
    assertEquals(events.map(summarize), ["question Well?", "question answered by Mao"]);
  });
}

for (
  const [name, fields, value] of [
    ["nothing", {}, undefined],
    ["a number for a text", {}, 7],
    ["a text that is too long", { max: 3 }, "main"],
    ["a text that is too short", { min: 5 }, "main"],
    ["a text of 8,001 characters", {}, "x".repeat(8_001)],
    ["a text for a number", { type: "number" }, "7"],
    ["a number that is too large", { type: "number", max: 1 }, 2],
    ["a fraction for a whole number", { type: "integer" }, 0.5],
    ["a word for yes", { type: "boolean" }, "true"],
    ["another choice", { type: "choice", options: OPTIONS }, "other"],
    ["one choice for a list", { type: "choices", options: OPTIONS }, "next"],
    ["another choice in a list", { type: "choices", options: OPTIONS }, ["other"]],
    ["too few choices", { type: "choices", options: OPTIONS, min: 1 }, []],
  ] as const
) {
  Deno.test(`QuestionBroker.answer: refuses ${name}, and the question stays open`, async () => {
    const { broker, request, done } = ask(question(field(fields as Partial<QuestionField>)));
    const error: AppError = assertThrows(() => broker.answer(request.id, accept(value), "me"), AppError);
    assertEquals([error.code, error.param], ["invalid_value", "content.x"]);
    broker.answer(request.id, { action: "decline" }, "me");
    assertEquals((await done)?.outcome, "declined");
  });
}

Deno.test("QuestionBroker.answer: leaves out values that nobody asked for", async () => {
  const { broker, request, done } = ask(question(field()));
  const content = JSON.parse('{"x":"a","y":1,"__proto__":{"z":1}}');
  broker.answer(request.id, { action: "accept", content }, "me");
  assertEquals((await done)?.content as unknown, { x: "a" });
});

for (
  const [words, fields, value] of [
    ["the new one", {}, "the new one"],
    ["  next ", { type: "choice", options: OPTIONS }, "next"],
    ["Next.", { type: "choice", options: OPTIONS }, "next"],
    ["the MAIN branch!", { type: "choice", options: OPTIONS }, "main"],
    ["2", { type: "choice", options: OPTIONS }, "next"],
    ["Yes.", { type: "boolean" }, true],
    ["nope", { type: "boolean" }, false],
  ] as const
) {
  Deno.test(`answerInWords: "${words}" answers a ${"type" in fields ? fields.type : "text"}`, async () => {
    const { request, done } = ask(question(field(fields as Partial<QuestionField>)));
    assertEquals(request.answerInWords?.(words), true);
    const { content, by } = await done ?? {};
    assertEquals([content?.x as unknown, by], [value, "chat"]);
    assertEquals(request.answerInWords?.(words), false, "it is answered already");
  });
}

for (
  const [name, words, fields] of [
    ["other words than a choice", "what is this?", { type: "choice", options: OPTIONS }],
    ["a number of no choice", "3", { type: "choice", options: OPTIONS }],
    ["other words than yes or no", "perhaps", { type: "boolean" }],
    ["no words", "  ", {}],
    ["a text that is too long", "main", { max: 3 }],
  ] as const
) {
  Deno.test(`answerInWords: ${name} are no answer`, async () => {
    const { broker, request, done } = ask(question(field(fields as Partial<QuestionField>)));
    assertEquals(request.answerInWords?.(words), false);
    broker.answer(request.id, { action: "decline" }, "me");
    await done;
  });
}

for (
  const [name, asked] of [
    ["two fields", question(field(), field({ name: "y" }))],
    ["a number", question(field({ type: "number" }))],
    ["a page", { ...question(), url: "https://a.example" }],
    ["a password", { ...question(field()), isPrivate: true }],
  ] as const
) {
  Deno.test(`QuestionBroker: words cannot answer a question for ${name}, which needs a client`, async () => {
    const { broker, request, done } = ask(asked);
    assertEquals(request.answerInWords, undefined);
    broker.answer(request.id, { action: "decline" }, "me");
    await done;
    const lonely = new QuestionBroker(NEVER_MS, () => false);
    assertEquals(await lonely.ask(asked, () => {}, NEVER), undefined);
  });
}

Deno.test("QuestionBroker: a question that words can answer needs no client", async () => {
  const { request, done } = ask(question(field()), new QuestionBroker(NEVER_MS, () => false));
  request.answerInWords?.("a");
  assertEquals((await done)?.outcome, "answered");
});

Deno.test("QuestionBroker: a question expires, and ends with its turn or at its agent's wish", async () => {
  const late = ask(question(field()), new QuestionBroker(1, () => true));
  assertEquals((await waitFor(late.done, "the expiry"))?.outcome, "expired");
  const ended = ask(question(field()), undefined, AbortSignal.abort("turn"));
  assertEquals([(await ended.done)?.outcome, (await ended.done)?.by], ["cancelled", "turn"]);
  const withdrawn = ask(question(field()), undefined, AbortSignal.abort());
  assertEquals((await withdrawn.done)?.by, "agent");
  const error = assertThrows(
    () => withdrawn.broker.answer(withdrawn.request.id, accept("a"), "me"),
    AppError,
  );
  assertEquals((error as AppError).code, "permission_resolved");
  const unknown = "unknown" as QuestionRequest["id"];
  assertEquals(
    (assertThrows(() => late.broker.answer(unknown, accept("a"), "me")) as AppError).code,
    "not_found",
  );
});
