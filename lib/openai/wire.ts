/**
 * Parses the requests of OpenAI clients. Fields that the server honours are checked; other fields are ignored, and
 * those that ask for something are listed. Only the newest user message can be refused for its content, because clients
 * send the whole history again and again. Sources: OpenAI's API reference, and the requests of the supported skins.
 *
 * @module
 */

import { z } from "zod";
import { isTurn, type Message, type Part, type Role, textOf } from "../conversation/message.ts";
import { AppError, type ErrorCode } from "../core/errors.ts";
import { firstOf } from "../core/schema.ts";
import { decodePercent } from "../http/router.ts";
import { MAX_TYPE_CHARS, parsePart } from "./content_part.ts";
import { parseFormat, type ResponseFormat } from "./structured_output.ts";

/** Messages of one request, and parts of all of them. */
export const MAX_MESSAGES = 10_000;
const MAX_PARTS = 10_000;
/** Stop sequences of one request (OpenAI's limit), and characters of each. */
const MAX_STOPS = 4;
const MAX_STOP_CHARS = 1_000;
/** Tool calls of one message that are read. */
const MAX_TOOL_CALLS = 1_000;
/** Characters of text in all messages together, many times what a model reads: each is scanned several times. */
const MAX_TEXT_CHARS = 4 * 1024 * 1024;
const TOO_MUCH_TEXT = `has more than ${MAX_TEXT_CHARS} characters of text`;
const MAX_CONVERSATION_CHARS = 256;
const MAX_MODEL_CHARS = 256;

/** A request of either completion endpoint. */
export interface CompletionRequest {
  /** The model's name as the client wrote it; empty without one. */
  readonly model: string;
  readonly messages: readonly Message[];
  /** The JSON that the reply must be; `undefined` for text. */
  readonly format: ResponseFormat | undefined;
  readonly stream: boolean | undefined;
  readonly includeUsage: boolean;
  /** Whether the stream includes thoughts, tools and plans. */
  readonly includeAgentEvents: boolean;
  readonly stop: readonly string[];
  /** Longest reply, in estimated tokens. */
  readonly maxTokens: number | undefined;
  /** The conversation that the body names. */
  readonly conversation: string | undefined;
  /** Whether AITuber-kit's thread is present. */
  readonly hasThread: boolean;
  /** The fields that ask for something that an agent cannot do. */
  readonly ignored: readonly string[];
}

const NAME_LENGTH = `must have at most ${MAX_CONVERSATION_CHARS} characters`;
/** The name of a conversation, which some clients send as a number. */
export const conversationName = z.union([z.string(), z.number()], "must be a string").transform(String)
  .pipe(z.string().trim().refine(hasNameLength, NAME_LENGTH));
/** A limit in tokens, which some clients send as text; less than 1 is no limit. */
export const maxTokens = z.coerce.number("must be a number").optional()
  .transform((tokens = 0) => tokens < 1 ? undefined : Math.floor(tokens));
/** The name of a model. */
export const modelName = z.string().max(MAX_MODEL_CHARS).nullish();
/** The conversation: a name, or as in OpenAI's Responses API an object with it. */
export const conversationField = z.union(
  [z.string(), z.number(), z.object({ id: z.string() }).transform(({ id }) => id)],
  "must be a string or an object with an id",
).pipe(conversationName).nullish();
const commonFields = {
  model: modelName,
  stream: z.boolean().nullish(),
  stream_options: z.object({
    include_usage: z.boolean().nullish(),
    include_agent_events: z.boolean().nullish(),
  }).nullish(),
  stop: z.union([z.string(), firstOf(z.string(), MAX_STOPS + 1)], "must be a string or an array of strings")
    .nullish()
    .transform((stop) => [stop ?? []].flat())
    .refine(
      (stops) => stops.length <= MAX_STOPS && stops.every(({ length }) => length <= MAX_STOP_CHARS),
      `may hold up to ${MAX_STOPS} strings of up to ${MAX_STOP_CHARS} characters`,
    ),
  max_tokens: maxTokens,
  max_completion_tokens: maxTokens,
  conversation_id: conversationName.nullish(),
  conversation: conversationField,
  metadata: z.preprocess(
    (value) => typeof value === "object" && !Array.isArray(value) ? value : undefined,
    z.object({ session_id: conversationName.nullish() }).nullish(),
  ).optional(),
  /** AITuber-kit's field. */
  threadId: conversationName.nullish(),
};

const messageSchema = z.object({
  role: z.enum(["system", "developer", "user", "assistant", "tool", "function"]),
  name: z.string().nullish().catch(null),
  content: z.unknown().optional(),
  tool_call_id: z.string().nullish().catch(null),
  tool_calls: firstOf(
    z.object({ function: z.object({ name: z.string(), arguments: z.string().catch("") }).optional() }),
    MAX_TOOL_CALLS,
  ).nullish().catch(null),
  refusal: z.string().nullish().catch(null),
  audio: z.object({ id: z.string() }).nullish().catch(null),
});
type WireMessage = z.infer<typeof messageSchema>;

const chatBody = z.object({
  messages: z.array(messageSchema).min(1).max(MAX_MESSAGES),
  ...commonFields,
  response_format: z.unknown().optional(),
});

const textBody = z.object({
  ...commonFields,
  prompt: z.union([z.string(), z.array(z.unknown())], "must be a string")
    .transform((prompt) => [prompt].flat())
    .refine((prompts): prompts is [string] => prompts.length === 1 && typeof prompts[0] === "string", {
      error: "send one string; token numbers and several prompts are not answered",
      params: { code: "unsupported_value" },
    })
    .refine(([prompt]) => String(prompt).trim() !== "", "must not be empty")
    .refine(([prompt]) => String(prompt).length <= MAX_TEXT_CHARS, TOO_MUCH_TEXT),
});

/** Fields that an agent cannot honour, each with the values that ask for nothing. */
export type IgnoredFields = Readonly<Record<string, readonly unknown[]>>;

const IGNORED: IgnoredFields = {
  ...{ audio: [], best_of: [0, 1], echo: [false], frequency_penalty: [0], function_call: ["auto", "none"] },
  ...{ functions: [], logit_bias: [], logprobs: [false, 0], modalities: [], n: [0, 1], prediction: [] },
  ...{ presence_penalty: [0], reasoning_effort: [], seed: [], suffix: [], temperature: [1], tools: [] },
  ...{ tool_choice: ["auto", "none"], top_k: [], top_logprobs: [0], top_p: [1], verbosity: [] },
};

/** Lists the fields of a body that ask for something that an agent cannot do. */
export function listIgnored(body: object, ignored: IgnoredFields = IGNORED): string[] {
  return Object.entries(body).flatMap(([field, value]) => {
    const neutral = Object.hasOwn(ignored, field) ? ignored[field] : undefined;
    const isEmpty = ["object", "string"].includes(typeof value) && Object.keys(value ?? {}).length === 0;
    const isText = field === "modalities" && String(value) === "text";
    return neutral === undefined || isEmpty || isText || neutral.includes(value) ? [] : [field];
  });
}

const ROLES: Readonly<Record<WireMessage["role"], Role>> = {
  system: "system",
  developer: "system",
  user: "user",
  assistant: "assistant",
  tool: "tool",
  function: "tool",
};

/** Returns the text of an earlier reply with sound, by the id of the sound. */
export type TranscriptOf = (id: string) => string | undefined;

/** Parses the body of a chat completion. @throws {AppError} that names the field. */
export function parseChatRequest(
  body: unknown,
  transcriptOf: TranscriptOf = () => undefined,
): CompletionRequest {
  const value = parse(chatBody, body);
  const format = parseFormat(value.response_format);
  const newest = value.messages.findLastIndex(({ role }) => role === "user");
  const messages = value.messages.map((message, index) =>
    parseMessage(message, index, index === newest, transcriptOf)
  )
    .filter((message) => message.role !== "system" || hasContent(message));
  requireContent(messages, "messages");
  const request = toRequest(value, messages, body);
  // The reply is checked against the schema, but the agent does not write under its constraint.
  const ignored = format?.isStrict ? ["response_format.json_schema.strict"] : [];
  return { ...request, format, ignored: [...request.ignored, ...ignored] };
}

/** Parses the body of a legacy completion. @throws {AppError} that names the field. */
export function parseTextRequest(body: unknown): CompletionRequest {
  const value = parse(textBody, body);
  return toRequest(value, [{ role: "user", parts: toParts(value.prompt[0]) }], body);
}

/** Checks the length of a conversation's name, which may be percent-encoded. @throws {AppError} if it is too long. */
export function checkConversationName(name: string, param: string): void {
  if (!hasNameLength(name)) throw new AppError("invalid_value", `"${param}" ${NAME_LENGTH}.`, { param });
}

function hasNameLength(name: string): boolean {
  return decodePercent(name).length <= MAX_CONVERSATION_CHARS;
}

type CommonFields = z.infer<z.ZodObject<typeof commonFields>>;

function toRequest(value: CommonFields, messages: readonly Message[], body: unknown): CompletionRequest {
  const { conversation_id, conversation, metadata, threadId, stream_options } = value;
  return {
    model: value.model ?? "",
    messages,
    format: undefined,
    stream: value.stream ?? undefined,
    includeUsage: stream_options?.include_usage ?? false,
    includeAgentEvents: stream_options?.include_agent_events ?? false,
    stop: value.stop.filter((text) => text !== ""),
    // OpenAI's newer name takes precedence.
    maxTokens: value.max_completion_tokens ?? value.max_tokens,
    conversation: conversation_id || conversation || metadata?.session_id || threadId || undefined,
    hasThread: typeof threadId === "string",
    ignored: listIgnored(Object(body)),
  };
}

function parseMessage(
  message: WireMessage,
  index: number,
  isNewest: boolean,
  transcriptOf: TranscriptOf,
): Message {
  const { role, refusal, tool_calls, tool_call_id, audio } = message;
  const parts = parseContent(message.content, `messages[${index}].content`, isNewest);
  parts.push(...toParts(refusal ?? ""));
  if (parts.length === 0 && audio) parts.push(...toParts(transcriptOf(audio.id) ?? ""));
  for (const { function: call } of tool_calls ?? []) {
    if (call) parts.push(toolCallPart(call));
  }
  const name = message.name ?? (role === "tool" ? tool_call_id : undefined);
  return {
    role: ROLES[role],
    ...(name ? { name } : {}),
    parts,
    ...(tool_calls?.length ? { isToolCall: true } : {}),
  };
}

/** Writes a call of a client's tool as text. */
export function toolCallPart(call: { readonly name: string; readonly arguments: string }): Part {
  return { type: "text", text: `<tool_call name=${JSON.stringify(call.name)}>${call.arguments}</tool_call>` };
}

/** @param isStrict Refuses a part that cannot be read; otherwise a note replaces the part. */
export function parseContent(content: unknown, at: string, isStrict: boolean): Part[] {
  if (typeof content === "string") return toParts(content);
  return [content ?? []].flat().map((part, index): Part => {
    try {
      return parsePart(part, `${at}[${index}]`);
    } catch (error) {
      if (isStrict || !(error instanceof AppError)) throw error;
      const type = String(Object(part).type).slice(0, MAX_TYPE_CHARS);
      return { type: "text", text: `[A part of this message was left out: ${type}.]` };
    }
  });
}

export function toParts(text: string): Part[] {
  return text === "" ? [] : [{ type: "text", text }];
}

/**
 * Checks that messages can be answered.
 *
 * @param isAnswer The request answers a question of the agent, and may be without a user message.
 * @throws {AppError} that names the field.
 */
export function requireContent(messages: readonly Message[], param: string, isAnswer = false): void {
  const fault = sizeFault(contentSize(messages)) ?? (isAnswer ? undefined : contentFault(messages));
  if (fault !== undefined) throw new AppError("invalid_value", `"${param}" ${fault}.`, { param });
}

/** The size of messages, as far as a request is limited. */
export interface ContentSize {
  readonly parts: number;
  /** Characters of text. */
  readonly chars: number;
}

/** Measures messages. @param size The size of others, which is added. */
export function contentSize(
  messages: readonly Message[],
  size: ContentSize = { parts: 0, chars: 0 },
): ContentSize {
  return messages.reduce(({ parts, chars }, message) => ({
    parts: parts + message.parts.length,
    chars: chars + textOf(message).length,
  }), size);
}

/** Tells which limit of a request this size breaks. */
export function sizeFault({ parts, chars }: ContentSize): string | undefined {
  if (parts > MAX_PARTS) return `has more than ${MAX_PARTS} parts`;
  return chars > MAX_TEXT_CHARS ? TOO_MUCH_TEXT : undefined;
}

/** Tells why the messages cannot be answered. The agent gets the messages after the last reply, which need content. */
function contentFault(messages: readonly Message[]): string | undefined {
  // The character speaks first if there are instructions, and no turn.
  const hasInstructions = messages.some((message) => message.role === "system" && hasContent(message));
  if (hasInstructions && !messages.some(isTurn)) return undefined;
  const lastReply = messages.findLastIndex(({ role }) => role === "assistant");
  const recent = messages.slice(lastReply + 1).filter(isTurn);
  const hasTurn = messages.filter(isTurn).some(hasContent);
  if (hasTurn && (recent.length === 0 || recent.some(hasContent))) return undefined;
  return "has no user message with content, or ends with an empty one";
}

/** Whether a message says anything; the result of a tool may be empty. */
export function hasContent({ role, parts }: Message): boolean {
  return role === "tool" || parts.some((part) => part.type !== "text" || part.text.trim() !== "");
}

/** Parses a body, or the part of it at the path `at`. @throws {AppError} that names the field. */
export function parse<T>(schema: z.ZodType<T>, body: unknown, at: PropertyKey[] = []): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = [...at, ...issue?.path ?? []];
  if (issue === undefined || path.length === 0) {
    throw new AppError("invalid_type", "The body must be a JSON object.");
  }
  const param = z.core.toDotPath(path);
  const refusal = issue.code === "custom" ? issue.params?.code as ErrorCode | undefined : undefined;
  if (refusal) throw new AppError(refusal, `"${param}" is not supported: ${issue.message}.`, { param });
  const value = issue.path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown>)?.[key], body);
  if (value === undefined || value === null) {
    throw new AppError("missing_required_parameter", `"${param}" is required.`, { param });
  }
  const isType = issue.code === "invalid_type" || issue.code === "invalid_union";
  throw new AppError(isType ? "invalid_type" : "invalid_value", `"${param}" is wrong: ${issue.message}.`, {
    param,
  });
}
