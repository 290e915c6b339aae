/** Asks people what an agent wants to know (ACP elicitation). @module */

import { AppError } from "../core/errors.ts";
import type { Question, QuestionField, QuestionId, QuestionResolution, TurnReader } from "./event.ts";
import { OpenRequests } from "./open_requests.ts";

/** A person's answer. */
export type QuestionAnswer =
  | { readonly action: "accept"; readonly content?: Readonly<Record<string, unknown>> | undefined }
  | { readonly action: "decline" };

/** Characters of a text that answers a field. */
const MAX_ANSWER_CHARS = 8_000;
const YES = /^(yes|yep|yeah|y|true|ok|okay|sure)[.!]?$/i;
const NO = /^(no|nope|n|false)[.!]?$/i;

/** Takes questions from agents and answers from people. */
export class QuestionBroker {
  readonly #canAnyoneAnswer: () => boolean;
  readonly #requests: OpenRequests<QuestionId, Question, QuestionResolution>;

  /**
   * @param timeoutMs Longest wait for an answer, in milliseconds.
   * @param canAnyoneAnswer Whether a client is connected that shows questions.
   */
  constructor(timeoutMs: number, canAnyoneAnswer: () => boolean) {
    this.#requests = new OpenRequests("question", timeoutMs);
    this.#canAnyoneAnswer = canAnyoneAnswer;
  }

  /**
   * Opens a question and waits for its end. Sends `question` and, before it resolves, `question_resolved` to `reader`.
   *
   * @param signal As {@linkcode OpenRequests.wait} takes it.
   * @returns The resolution, or `undefined`, without any event, if nobody can answer or too many questions are open.
   */
  async ask(
    question: Question,
    reader: TurnReader,
    signal: AbortSignal,
  ): Promise<QuestionResolution | undefined> {
    const field = spokenField(question);
    if (this.#requests.isFull || !field && !this.#canAnyoneAnswer()) return undefined;
    const answerInWords = (id: QuestionId) => (words: string) => this.#answerInWords(id, field!, words);
    return await this.#requests.wait(question, {
      onOpen: (id, expiresAt) => {
        const cancel = () => this.#requests.resolve({ id, outcome: "cancelled", by: "turn" });
        const request = { ...question, id, expiresAt, isShown: this.#canAnyoneAnswer(), cancel };
        reader({
          type: "question",
          request: field ? { ...request, answerInWords: answerInWords(id) } : request,
        });
      },
      onResolved: (resolution) => reader({ type: "question_resolved", resolution }),
    }, signal);
  }

  /**
   * Answers a question.
   *
   * @param by The client's name, for the other clients.
   * @throws {AppError} `permission_resolved` if the answer is too late, `not_found` if there is no such question,
   * `invalid_value` if a value does not fit its field.
   */
  answer(questionId: string, answer: QuestionAnswer, by: string): QuestionResolution {
    const id = questionId as QuestionId;
    const { fields } = this.#requests.get(id);
    const resolution: QuestionResolution = answer.action === "decline"
      ? { id, outcome: "declined", by }
      : { id, outcome: "answered", content: checkContent(fields, answer.content ?? {}), by };
    this.#requests.resolve(resolution);
    return resolution;
  }

  #answerInWords(id: QuestionId, field: QuestionField, words: string): boolean {
    const value = parseWords(field, words.trim());
    if (value === undefined) return false;
    try {
      this.answer(id, { action: "accept", content: { [field.name]: value } }, "chat");
      return true;
    } catch {
      return false;
    }
  }
}

/** Returns the field of a question that words can answer: its only one, and a text or a choice. */
function spokenField({ fields, url, isPrivate }: Question): QuestionField | undefined {
  const [field, ...others] = fields;
  if (!field || others.length > 0 || url !== undefined || isPrivate) return undefined;
  return ["text", "choice", "boolean"].includes(field.type) ? field : undefined;
}

/** Finds the value that words mean: a choice by its title, its value or its number. */
function parseWords({ type, options = [] }: QuestionField, words: string): unknown {
  if (words === "") return undefined;
  if (type === "boolean") return YES.test(words) ? true : NO.test(words) ? false : undefined;
  if (type === "text") return words;
  const wanted = words.toLowerCase().replace(/[.!?]+$/, "");
  const found = options.find(({ value }) => value.toLowerCase() === wanted) ??
    options.find(({ title }) => title.toLowerCase() === wanted) ??
    (/^\d{1,3}$/.test(wanted) ? options[Number(wanted) - 1] : undefined);
  return found?.value;
}

/** Checks the values of an answer. Leaves out values of no field. @throws {AppError} `invalid_value`. */
function checkContent(
  fields: readonly QuestionField[],
  content: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const checked: Record<string, unknown> = {};
  for (const field of fields) {
    const value = Object.hasOwn(content, field.name) ? content[field.name] : undefined;
    if (value === undefined || value === null) {
      if (field.required) throw invalid(field, "is missing");
      continue;
    }
    const problem = problemOf(field, value);
    if (problem) throw invalid(field, problem);
    Object.defineProperty(checked, field.name, { value, enumerable: true });
  }
  return checked;
}

/** Says why a value does not fit its field. */
function problemOf({ type, options = [], min = -Infinity, max = Infinity }: QuestionField, value: unknown) {
  const isOption = (value: unknown) => options.some((option) => option.value === value);
  const isWithin = (size: number) => size >= min && size <= max;
  switch (type) {
    case "text":
      if (typeof value !== "string") return "must be a text";
      if (value.length > MAX_ANSWER_CHARS) return `has more than ${MAX_ANSWER_CHARS} characters`;
      return isWithin(value.length) ? undefined : "has too few or too many characters";
    case "number":
    case "integer":
      if (typeof value !== "number" || !Number.isFinite(value)) return "must be a number";
      if (type === "integer" && !Number.isInteger(value)) return "must be a whole number";
      return isWithin(value) ? undefined : "is too small or too large";
    case "boolean":
      return typeof value === "boolean" ? undefined : "must be true or false";
    case "choice":
      return isOption(value) ? undefined : "must be one of the options";
    case "choices":
      if (!Array.isArray(value) || !value.every(isOption)) return "must be a list of options";
      return isWithin(value.length) ? undefined : "has too few or too many options";
    default:
      return type satisfies never;
  }
}

function invalid({ name }: QuestionField, problem: string): AppError {
  return new AppError("invalid_value", `The answer to "${name}" ${problem}.`, { param: `content.${name}` });
}
