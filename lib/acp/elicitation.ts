/** Answers `elicitation/create`: converts it into a question for people, and their answer into the result. @module */

import type { Log } from "../core/log.ts";
import { truncate } from "../core/text.ts";
import type { Question, QuestionField, QuestionResolution, SessionId, TurnReader } from "../turn/event.ts";
import type { PermissionPolicy } from "../turn/permission.ts";
import type { QuestionBroker } from "../turn/question.ts";
import { type ElicitationProperty, type ElicitationRequest, parseElicitationProperty } from "./wire.ts";

/** Characters of a question's message, of a page's address, and of a name. */
const MAX_MESSAGE_CHARS = 4_000;
const MAX_URL_CHARS = 2_000;
const MAX_NAME_CHARS = 500;
/** Fields of a form, and options of a field. A question with more cannot be shown. */
const MAX_FIELDS = 20;
const MAX_OPTIONS = 100;
/** Words for values that nobody else should see. ACP has no format for passwords. */
const PRIVATE =
  /pass|secret|token|credential|(?:api|access|private|recovery).?key|(?<![a-z])(?:pin|otp|cvv|[2m]fa)(?![a-z])|(?:verification|security|one.?time|log.?in|recovery|backup).?code|(?:seed|recovery).?phrase|card.?number|kennwort|パスワード|暗証|密码|密碼|비밀번호/i;

/** The result of `elicitation/create` (ACP `CreateElicitationResponse`). */
export type ElicitationResult =
  | { readonly action: "accept"; readonly content?: Readonly<Record<string, unknown>> }
  | { readonly action: "decline" | "cancel" };

/** Dependencies of {@linkcode SessionQuestions}. */
export interface QuestionDeps {
  /** Without a broker every question is cancelled. */
  readonly questions?: Pick<QuestionBroker, "ask"> | undefined;
  readonly log: Log;
}

/** Questions of one session that wait for a person; further ones are cancelled. */
const MAX_OPEN = 10;

/** Answers the questions of one session. */
export class SessionQuestions {
  readonly #sessionId: SessionId;
  readonly #deps: QuestionDeps;
  #open = 0;

  constructor(sessionId: SessionId, deps: QuestionDeps) {
    this.#sessionId = sessionId;
    this.#deps = deps;
  }

  /**
   * Asks a person; nobody if the policy is `deny`, because an answer may approve something, and a viewer could give it.
   *
   * @param neutralise Makes commands in words from a chat harmless.
   * @param signal Aborts when the agent withdraws the question, or with the reason `"turn"` when the turn ends.
   */
  async ask(
    request: ElicitationRequest,
    { reader, permissions }: { readonly reader: TurnReader; readonly permissions: PermissionPolicy },
    neutralise: (text: string) => string,
    signal: AbortSignal,
  ): Promise<ElicitationResult> {
    const { questions, log } = this.#deps;
    const session = this.#sessionId;
    const cancel = (why: string) => {
      log.info(`cancelled a question of the agent: ${why}`, { session });
      return { action: "cancel" } as const;
    };
    if (permissions === "deny") return cancel("the turn's permission policy is deny");
    const question = toQuestion(request);
    if (question === undefined) return cancel("it cannot be shown");
    if (questions === undefined || this.#open >= MAX_OPEN) return cancel("too many questions are open");
    this.#open++;
    const resolution = await questions.ask(question, reader, signal).finally(() => this.#open--);
    const { outcome = "cancelled", by = "nobody, because no client can answer" } = resolution ?? {};
    log.info(`a question of the agent was ${outcome}`, { by, session });
    const isText = (name: string) =>
      question.fields.some((field) => field.name === name && field.type === "text");
    return toResult(resolution, (name, value) => isText(name) ? neutralise(value as string) : value);
  }
}

/**
 * Converts a request. Returns `undefined` if it cannot be shown: an unknown mode, an unsafe address, a strange form.
 */
export function toQuestion(request: ElicitationRequest): Question | undefined {
  const message = truncate(request.message, MAX_MESSAGE_CHARS);
  if (request.mode === "url") {
    const { url = "" } = request;
    const isWeb = URL.canParse(url) && /^https?:$/.test(new URL(url).protocol);
    return isWeb && url.length <= MAX_URL_CHARS ? { message, fields: [], url, isPrivate: false } : undefined;
  }
  const { properties, required } = request.requestedSchema;
  const entries = Object.entries(properties);
  if (request.mode !== "form" || entries.length > MAX_FIELDS) return undefined;
  const fields: QuestionField[] = [];
  for (const [name, value] of entries) {
    const isRequired = required?.includes(name) ?? false;
    const property = parseElicitationProperty(value);
    const field = property && name.length <= MAX_NAME_CHARS ? toField(name, property, isRequired) : undefined;
    if (field) fields.push(field);
    else if (isRequired) return undefined;
  }
  // A question may name in its words what a field called "value" is for. Choices tell nothing private.
  const isOpenField = ({ type }: QuestionField) => type === "text" || type === "number" || type === "integer";
  const isPrivate = fields.some(isOpenField) && PRIVATE.test(message) ||
    fields.some(({ name, title, description = "" }) =>
      [name, title, description].some((text) => PRIVATE.test(text))
    ) ||
    entries.some(([, value]) => (value as { format?: unknown } | null)?.format === "password");
  return { message, fields, isPrivate };
}

/**
 * Converts the end of a question. A question that nobody answered is cancelled.
 *
 * @param fromChat Converts the value of a field that came from a chat.
 */
function toResult(
  resolution: QuestionResolution | undefined,
  fromChat: (name: string, value: unknown) => unknown,
): ElicitationResult {
  switch (resolution?.outcome) {
    case "answered": {
      const { content = {}, by } = resolution;
      const values = Object.entries(content).map(([name, value]) =>
        [name, by === "chat" ? fromChat(name, value) : value] as const
      );
      return { action: "accept", content: Object.fromEntries(values) };
    }
    case "declined":
      return { action: "decline" };
    default:
      return { action: "cancel" };
  }
}

function toField(name: string, property: ElicitationProperty, required: boolean): QuestionField | undefined {
  const { description, default: preset } = property;
  const base = {
    name,
    title: property.title || name,
    required,
    ...(description ? { description } : {}),
    ...(isSimple(preset) ? { default: preset } : {}),
  };
  switch (property.type) {
    case "string": {
      const options = optionsOf(property);
      if (options === undefined) {
        return { ...base, type: "text", ...limits(property.minLength, property.maxLength) };
      }
      return options.length > 0 ? { ...base, type: "choice", options } : undefined;
    }
    case "array": {
      const options = optionsOf(property.items) ?? [];
      if (options.length === 0) return undefined;
      return { ...base, type: "choices", options, ...limits(property.minItems, property.maxItems) };
    }
    case "number":
    case "integer":
      return { ...base, type: property.type, ...limits(property.minimum, property.maximum) };
    case "boolean":
      return { ...base, type: "boolean" };
    default:
      return property.type satisfies never;
  }
}

/** Lists the options of a field; `undefined` if it is no choice, none if there are too many. */
function optionsOf(
  { enum: values, oneOf, anyOf }: Pick<ElicitationProperty, "enum" | "oneOf" | "anyOf">,
): { readonly value: string; readonly title: string }[] | undefined {
  const titled = oneOf ?? anyOf;
  const options = titled?.map((option) => ({ value: option.const, title: option.title || option.const })) ??
    values?.map((value) => ({ value, title: value }));
  return options && options.length > MAX_OPTIONS ? [] : options;
}

function limits(min: number | null | undefined, max: number | null | undefined) {
  return { ...(min == null ? {} : { min }), ...(max == null ? {} : { max }) };
}

/** Whether a default value can be shown: nothing that nests, and nothing long. */
function isSimple(value: unknown): boolean {
  if (typeof value === "string") return value.length <= MAX_NAME_CHARS;
  if (Array.isArray(value)) {
    return value.length <= MAX_OPTIONS && value.every((item) => typeof item === "string");
  }
  return typeof value === "number" || typeof value === "boolean";
}
