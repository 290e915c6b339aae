/**
 * Parses the requests of OpenAI clients. Fields that the server honours are checked; fields that only a raw model could
 * honour are ignored; a field that would get a wrong answer is refused by name. Sources: OpenAI's API reference, and
 * the requests of the supported skins.
 *
 * @module
 */

import { z } from "zod";
import { isTurn, type Message, type Part, type Role } from "../conversation/message.ts";
import { AppError, type ErrorCode } from "../core/errors.ts";
import { parsePart, unsupportedValue } from "./content_part.ts";
import { parseFormat, type ResponseFormat } from "./structured_output.ts";

/** Messages of one request. */
const MAX_MESSAGES = 10_000;
/** Stop sequences of one request (OpenAI's limit), and characters of each. */
const MAX_STOPS = 4;
const MAX_STOP_CHARS = 1_000;
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
}

const ignoredNumber = z.number().nullish();
const commonFields = {
  model: z.string().max(MAX_MODEL_CHARS).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({
    include_usage: z.boolean().nullish(),
    include_agent_events: z.boolean().nullish(),
  }).nullish(),
  stop: z.union([z.string(), z.array(z.string())], "must be a string or an array of strings").nullish(),
  max_tokens: z.number().int().nullish(),
  n: z.number().nullish(),
  temperature: ignoredNumber,
  top_p: ignoredNumber,
  presence_penalty: ignoredNumber,
  frequency_penalty: ignoredNumber,
  seed: ignoredNumber,
  conversation_id: z.string().nullish(),
  // OpenAI's Responses API allows an id, or an object with one.
  conversation: z.union(
    [z.string(), z.looseObject({ id: z.string() })],
    "must be a string or an object with an id",
  ).nullish(),
  metadata: z.looseObject({ session_id: z.string().nullish() }).nullish(),
  /** AITuber-kit's field. */
  threadId: z.union([z.string(), z.number()], "must be a string").nullish(),
};
const messageSchema = z.looseObject({
  role: z.enum(["system", "developer", "user", "assistant", "tool", "function"]),
  name: z.string().nullish(),
  content: z.union(
    [z.string(), z.array(z.looseObject({ type: z.string() }))],
    "must be a string, null or an array of parts that have a type",
  ).nullish(),
  tool_call_id: z.string().nullish(),
  tool_calls: z.array(z.looseObject({
    function: z.looseObject({ name: z.string(), arguments: z.string().catch("") }).optional(),
  })).nullish().catch(null),
  refusal: z.string().nullish().catch(null),
});
const chatBody = z.looseObject({
  ...commonFields,
  messages: z.array(messageSchema).min(1).max(MAX_MESSAGES),
  max_completion_tokens: z.number().int().nullish(),
  logprobs: z.boolean().nullish(),
  tool_choice: z.unknown().optional(),
  modalities: z.array(z.string()).nullish(),
  response_format: z.unknown().optional(),
});
const textBody = z.looseObject({
  ...commonFields,
  prompt: z.union([z.string(), z.array(z.unknown())], "must be a string"),
  best_of: z.number().nullish(),
  logprobs: z.number().nullish(),
  echo: z.boolean().nullish(),
  suffix: z.string().nullish(),
});
type CommonFields = z.infer<z.ZodObject<typeof commonFields>>;
type WireMessage = z.infer<typeof messageSchema>;

const ROLES: Readonly<Record<WireMessage["role"], Role>> = {
  system: "system",
  developer: "system",
  user: "user",
  assistant: "assistant",
  tool: "tool",
  function: "tool",
};

/** Parses the body of a chat completion. @throws {AppError} that names the field. */
export function parseChatRequest(body: unknown): CompletionRequest {
  const value = parse(chatBody, body);
  const { max_completion_tokens, logprobs, tool_choice, modalities, response_format } = value;
  if (logprobs) throw unsupportedValue("logprobs", "An agent gives no log probabilities; leave it out.");
  if (modalities?.some((modality) => modality !== "text")) {
    throw unsupportedValue("modalities", 'Only ["text"] is answered here.');
  }
  // A client that insists on its own tools would wait for a call that never comes.
  if (![null, undefined, "auto", "none"].includes(tool_choice as string)) {
    throw new AppError(
      "unsupported_parameter",
      '"tool_choice" may be "auto" or "none": the agent uses its own tools, not the client\'s.',
      { param: "tool_choice" },
    );
  }
  const messages = value.messages.map(parseMessage);
  requireUserContent(messages);
  return {
    ...parseCommon(value, max_completion_tokens),
    messages,
    format: parseFormat(response_format),
  };
}

/** Parses the body of a legacy completion. @throws {AppError} that names the field. */
export function parseTextRequest(body: unknown): CompletionRequest {
  const value = parse(textBody, body);
  if (value.logprobs) {
    throw unsupportedValue("logprobs", "An agent gives no log probabilities; leave it out.");
  }
  if (value.echo) throw unsupportedValue("echo", "The prompt is not echoed; leave it out.");
  if (value.suffix) throw unsupportedValue("suffix", "Text is not inserted; leave it out.");
  if (value.best_of && value.best_of > 1) {
    throw unsupportedValue("best_of", "It must be 1: each is a whole turn.");
  }
  const [text, ...more] = [value.prompt].flat();
  if (typeof text !== "string" || more.length > 0) {
    throw unsupportedValue(
      "prompt",
      "It must be one string: token numbers and several prompts are not answered.",
    );
  }
  if (text.trim() === "") throw new AppError("invalid_value", '"prompt" is empty.', { param: "prompt" });
  return {
    ...parseCommon(value, undefined),
    messages: [{ role: "user", parts: [{ type: "text", text }] }],
    format: undefined,
  };
}

/** Checks the length of a conversation's name, which may be percent-encoded. @throws {AppError} if it is too long. */
export function parseConversationName(name: string, field: string): string {
  if (decode(name).length <= MAX_CONVERSATION_CHARS) return name;
  throw new AppError("invalid_value", `"${field}" is longer than ${MAX_CONVERSATION_CHARS} characters.`, {
    param: field,
  });
}

function parseCommon(
  value: CommonFields,
  maxCompletionTokens: number | null | undefined,
): Omit<CompletionRequest, "messages" | "format"> {
  const { model, stream, stream_options, n, stop, threadId } = value;
  if (n !== undefined && n !== null && n !== 1) {
    throw unsupportedValue("n", "It must be 1: each is a whole turn of the agent.");
  }
  if (stream_options && !stream) {
    throw new AppError("invalid_value", '"stream_options" goes with "stream": true.', {
      param: "stream_options",
    });
  }
  // OpenAI's newer name takes precedence.
  const maxTokens = maxCompletionTokens ?? value.max_tokens ?? undefined;
  if (maxTokens !== undefined && maxTokens <= 0) {
    const param = maxTokens === maxCompletionTokens ? "max_completion_tokens" : "max_tokens";
    throw new AppError("invalid_value", `"${param}" must be at least 1.`, { param });
  }
  return {
    model: model ?? "",
    stream: stream ?? undefined,
    includeUsage: stream_options?.include_usage ?? false,
    includeAgentEvents: stream_options?.include_agent_events ?? false,
    stop: parseStop(stop),
    maxTokens,
    conversation: conversationOf(value),
    hasThread: threadId !== undefined && threadId !== null,
  };
}

function parseStop(stop: string | string[] | null | undefined): string[] {
  const list = [stop ?? []].flat();
  if (list.length > MAX_STOPS || list.some((text) => text.length > MAX_STOP_CHARS)) {
    throw new AppError(
      "invalid_value",
      `"stop" may hold up to ${MAX_STOPS} strings of up to ${MAX_STOP_CHARS} characters.`,
      { param: "stop" },
    );
  }
  return list.filter((text) => text !== "");
}

/** The first name in the order of precedence. */
function conversationOf(
  { conversation_id, conversation, metadata, threadId }: CommonFields,
): string | undefined {
  const fields = Object.entries({
    conversation_id,
    conversation: typeof conversation === "string" ? conversation : conversation?.id,
    "metadata.session_id": metadata?.session_id,
    threadId: threadId?.toString(),
  });
  for (const [field, value] of fields) {
    const name = value?.trim();
    if (name) return parseConversationName(name, field);
  }
  return undefined;
}

function parseMessage(message: WireMessage, index: number): Message {
  const { role, content, refusal, tool_calls, tool_call_id } = message;
  const parts: Part[] = typeof content === "string"
    ? toParts(content)
    : (content ?? []).map((part, position) => parsePart(part, `messages[${index}].content[${position}]`));
  parts.push(...toParts(refusal ?? ""));
  for (const { function: call } of tool_calls ?? []) {
    if (call) {
      parts.push(...toParts(`<tool_call name=${JSON.stringify(call.name)}>${call.arguments}</tool_call>`));
    }
  }
  const name = message.name ?? (role === "tool" ? tool_call_id : undefined);
  return { role: ROLES[role], ...(name ? { name } : {}), parts };
}

function toParts(text: string): Part[] {
  return text === "" ? [] : [{ type: "text", text }];
}

/** Requires content in what is new since the last reply, because only that goes to the agent. */
function requireUserContent(messages: readonly Message[]): void {
  const turns = messages.filter(isTurn);
  const recent = messages.slice(messages.findLastIndex(({ role }) => role === "assistant") + 1).filter(
    isTurn,
  );
  if (turns.some(hasContent) && (recent.length === 0 || recent.some(hasContent))) return;
  throw new AppError(
    "invalid_value",
    turns.some(hasContent)
      ? '"messages" ends with an empty user message.'
      : '"messages" has no user message with content.',
    { param: "messages" },
  );
}

/** Whether a message says anything; the result of a tool may be empty. */
function hasContent({ role, parts }: Message): boolean {
  return role === "tool" || parts.some((part) => part.type !== "text" || part.text.trim() !== "");
}

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  if (issue === undefined || issue.path.length === 0) {
    throw new AppError("invalid_type", "The body must be a JSON object.");
  }
  const param = fieldName(issue.path);
  const value = issue.path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown>)?.[key], body);
  if (value === undefined || value === null) {
    throw new AppError("missing_required_parameter", `"${param}" is required.`, { param });
  }
  const isType = issue.code === "invalid_type" || issue.code === "invalid_union";
  const code: ErrorCode = isType ? "invalid_type" : "invalid_value";
  throw new AppError(code, `"${param}" is wrong: ${issue.message}.`, { param });
}

/** Writes `["messages", 2, "content"]` as `messages[2].content`. */
function fieldName(path: readonly PropertyKey[]): string {
  return path.map((key, index) =>
    typeof key === "number" ? `[${key}]` : index === 0 ? String(key) : `.${String(key)}`
  ).join("");
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
