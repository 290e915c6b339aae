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
import { decodePercent } from "../http/router.ts";
import { parsePart } from "./content_part.ts";
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

/** Makes the refusal of a value that an agent cannot honour. */
function unsupported(advice: string, code: ErrorCode = "unsupported_value") {
  return { error: advice, params: { code } };
}

const NAME_LENGTH = `must have at most ${MAX_CONVERSATION_CHARS} characters`;
const conversationName = z.string().trim().refine(hasNameLength, NAME_LENGTH);
const maxTokens = z.number().int().min(1, "must be at least 1").nullish();
const NO_LOGPROBS = unsupported("an agent gives no log probabilities; leave it out");
const commonFields = {
  model: z.string().max(MAX_MODEL_CHARS).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({
    include_usage: z.boolean().nullish(),
    include_agent_events: z.boolean().nullish(),
  }).nullish(),
  stop: z.union([z.string(), z.array(z.string())], "must be a string or an array of strings").nullish()
    .transform((stop) => [stop ?? []].flat())
    .refine(
      (stops) => stops.length <= MAX_STOPS && stops.every(({ length }) => length <= MAX_STOP_CHARS),
      `may hold up to ${MAX_STOPS} strings of up to ${MAX_STOP_CHARS} characters`,
    ),
  max_tokens: maxTokens,
  max_completion_tokens: maxTokens,
  n: z.number().nullish().refine(
    (n) => (n ?? 1) === 1,
    unsupported("each is a whole turn of the agent; use 1"),
  ),
  conversation_id: conversationName.nullish(),
  // OpenAI's Responses API allows an id, or an object with one.
  conversation: z.union(
    [z.string(), z.looseObject({ id: z.string() }).transform(({ id }) => id)],
    "must be a string or an object with an id",
  ).pipe(conversationName).nullish(),
  metadata: z.looseObject({ session_id: conversationName.nullish() }).nullish(),
  /** AITuber-kit's field. */
  threadId: z.union([z.string(), z.number()], "must be a string").transform(String).pipe(conversationName)
    .nullish(),
};
const OPTIONS_OF_A_STREAM = { path: ["stream_options"], error: 'goes with "stream": true' };

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
type WireMessage = z.infer<typeof messageSchema>;

const chatBody = z.looseObject({
  messages: z.array(messageSchema).min(1).max(MAX_MESSAGES),
  ...commonFields,
  logprobs: z.boolean().nullish().refine((value) => !value, NO_LOGPROBS),
  // A client that insists on its own tools would wait for a call that never comes.
  tool_choice: z.unknown().optional().refine(
    (choice) => ["auto", "none"].includes(choice as string ?? "auto"),
    unsupported('the agent uses its own tools; use "auto" or "none"', "unsupported_parameter"),
  ),
  modalities: z.array(z.string()).nullish().refine(
    (modalities) => modalities?.every((modality) => modality === "text") ?? true,
    unsupported('only ["text"] is answered here'),
  ),
  response_format: z.unknown().optional(),
}).refine(hasStream, OPTIONS_OF_A_STREAM);

const textBody = z.looseObject({
  ...commonFields,
  prompt: z.union([z.string(), z.array(z.unknown())], "must be a string")
    .transform((prompt) => [prompt].flat())
    .refine(
      (prompts): prompts is [string] => prompts.length === 1 && typeof prompts[0] === "string",
      unsupported("send one string; token numbers and several prompts are not answered"),
    )
    .refine(([prompt]) => String(prompt).trim() !== "", "must not be empty"),
  best_of: z.number().nullish().refine(
    (n) => (n ?? 1) <= 1,
    unsupported("each is a whole turn of the agent; use 1"),
  ),
  logprobs: z.number().nullish().refine((value) => !value, NO_LOGPROBS),
  echo: z.boolean().nullish().refine((value) => !value, unsupported("leave it out")),
  suffix: z.string().nullish().refine((value) => !value, unsupported("leave it out")),
}).refine(hasStream, OPTIONS_OF_A_STREAM);

function hasStream({ stream, stream_options }: Pick<CommonFields, "stream" | "stream_options">): boolean {
  return !stream_options || stream === true;
}

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
  const messages = value.messages.map(parseMessage);
  requireUserContent(messages);
  return { ...toRequest(value, messages), format: parseFormat(value.response_format) };
}

/** Parses the body of a legacy completion. @throws {AppError} that names the field. */
export function parseTextRequest(body: unknown): CompletionRequest {
  const value = parse(textBody, body);
  return toRequest(value, [{ role: "user", parts: toParts(value.prompt[0]) }]);
}

/** Checks the length of a conversation's name, which may be percent-encoded. @throws {AppError} if it is too long. */
export function checkConversationName(name: string, param: string): void {
  if (!hasNameLength(name)) throw new AppError("invalid_value", `"${param}" ${NAME_LENGTH}.`, { param });
}

function hasNameLength(name: string): boolean {
  return decodePercent(name).length <= MAX_CONVERSATION_CHARS;
}

type CommonFields = z.infer<z.ZodObject<typeof commonFields>>;

function toRequest(value: CommonFields, messages: readonly Message[]): CompletionRequest {
  const { conversation_id, conversation, metadata, threadId, stream_options } = value;
  // OpenAI's newer name takes precedence.
  const maxTokens = value.max_completion_tokens ?? value.max_tokens;
  return {
    model: value.model ?? "",
    messages,
    format: undefined,
    stream: value.stream ?? undefined,
    includeUsage: stream_options?.include_usage ?? false,
    includeAgentEvents: stream_options?.include_agent_events ?? false,
    stop: value.stop.filter((text) => text !== ""),
    maxTokens: maxTokens ?? undefined,
    conversation: conversation_id || conversation || metadata?.session_id || threadId || undefined,
    hasThread: typeof threadId === "string",
  };
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
  return {
    role: ROLES[role],
    ...(name ? { name } : {}),
    parts,
    ...(tool_calls?.length ? { isToolCall: true } : {}),
  };
}

function toParts(text: string): Part[] {
  return text === "" ? [] : [{ type: "text", text }];
}

/** Requires content in what is new since the last reply, because only that goes to the agent. */
function requireUserContent(messages: readonly Message[]): void {
  const hasTurn = messages.filter(isTurn).some(hasContent);
  const lastReply = messages.findLastIndex(({ role }) => role === "assistant");
  const recent = messages.slice(lastReply + 1).filter(isTurn);
  if (hasTurn && (recent.length === 0 || recent.some(hasContent))) return;
  throw new AppError(
    "invalid_value",
    '"messages" has no user message with content, or ends with an empty one.',
    {
      param: "messages",
    },
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
  const param = z.core.toDotPath(issue.path);
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
