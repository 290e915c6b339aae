/**
 * What OpenAI clients send, read into typed requests. Field policy: what the gateway honours is checked, what only a
 * raw model could honour is accepted and ignored, what would be answered wrongly is refused with the field's name.
 * Source: OpenAI's API reference, and what skins were seen to send.
 *
 * @module
 */

import { z } from "zod";
import { isTurn, type Message, type Part, type Role } from "../conversation/message.ts";
import { AppError, type ErrorCode } from "../core/errors.ts";
import { parseFormat, type ResponseFormat } from "./structured_output.ts";
import { toPart, unsupported } from "./content_part.ts";

/** Messages of one request. */
const MAX_MESSAGES = 10_000;
/** Stop sequences of one request (OpenAI's limit), and characters of one. */
const MAX_STOPS = 4;
const MAX_STOP_CHARS = 1_000;
/** Characters of a conversation's name. */
const MAX_CONVERSATION_CHARS = 256;
/** Characters of a model's name. */
const MAX_MODEL_CHARS = 256;

/** What both kinds of completion ask for. */
export interface CompletionRequest {
  /** The model's name as the client wrote it; empty if it named none. */
  readonly model: string;
  /** `undefined` if the client did not say. */
  readonly stream: boolean | undefined;
  readonly includeUsage: boolean;
  /** Thoughts, tools and plans in the stream's deltas. */
  readonly includeAgentEvents: boolean;
  readonly stop: readonly string[];
  /** Tokens of the reply, roughly. */
  readonly maxTokens: number | undefined;
  /** The conversation that the client named, in whichever of its fields. */
  readonly conversation: string | undefined;
}

/** `POST /v1/chat/completions`. */
export interface ChatRequest extends CompletionRequest {
  readonly messages: readonly Message[];
  readonly format: ResponseFormat | undefined;
  /** AITuber-kit's thread: it reads a stream without asking for one. */
  readonly hasThread: boolean;
}

/** `POST /v1/completions`. */
export interface TextRequest extends CompletionRequest {
  readonly prompt: string;
}

const ignoredNumber = z.number().nullish();
const streamOptions = z.looseObject({
  include_usage: z.boolean().nullish(),
  include_agent_events: z.boolean().nullish(),
});
const common = {
  model: z.string().max(MAX_MODEL_CHARS).nullish(),
  stream: z.boolean().nullish(),
  stream_options: streamOptions.nullish(),
  stop: z.union([z.string(), z.array(z.string())], "must be a string or an array of strings").nullish(),
  max_tokens: z.number().int().nullish(),
  n: z.number().nullish(),
  temperature: ignoredNumber,
  top_p: ignoredNumber,
  presence_penalty: ignoredNumber,
  frequency_penalty: ignoredNumber,
  seed: ignoredNumber,
  conversation_id: z.string().nullish(),
  // OpenAI's: an id, or an object that has one.
  conversation: z.union(
    [z.string(), z.looseObject({ id: z.string() })],
    "must be a string or an object with an id",
  ).nullish(),
  metadata: z.looseObject({ session_id: z.string().nullish() }).nullish(),
  // AITuber-kit's.
  threadId: z.union([z.string(), z.number()], "must be a string").nullish(),
};
const message = z.looseObject({
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
  ...common,
  messages: z.array(message).min(1).max(MAX_MESSAGES),
  max_completion_tokens: z.number().int().nullish(),
  logprobs: z.boolean().nullish(),
  tool_choice: z.unknown().optional(),
  modalities: z.array(z.string()).nullish(),
  response_format: z.unknown().optional(),
});
const textBody = z.looseObject({
  ...common,
  prompt: z.union([z.string(), z.array(z.unknown())], "must be a string"),
  best_of: z.number().nullish(),
  logprobs: z.number().nullish(),
  echo: z.boolean().nullish(),
  suffix: z.string().nullish(),
});
type Common = z.infer<z.ZodObject<typeof common>>;
type WireMessage = z.infer<typeof message>;

/** Reads the body of a chat request. @throws {AppError} that names the field and says what to do. */
export function parseChatRequest(body: unknown): ChatRequest {
  const value = read(chatBody, body);
  if (value.logprobs) throw unsupported("logprobs", "An agent gives no log probabilities; leave it out.");
  if (value.modalities?.some((modality) => modality !== "text")) {
    throw unsupported("modalities", 'Only ["text"] is answered here.');
  }
  refuseForcedTools(value.tool_choice);
  const messages = value.messages.map(toMessage);
  refuseNothingSaid(messages);
  return {
    ...shared(value, value.max_completion_tokens),
    messages,
    format: parseFormat(value.response_format),
    hasThread: value.threadId !== undefined && value.threadId !== null,
  };
}

/** Reads the body of a legacy completion request. @throws {AppError} that names the field and says what to do. */
export function parseTextRequest(body: unknown): TextRequest {
  const value = read(textBody, body);
  if (value.logprobs) throw unsupported("logprobs", "An agent gives no log probabilities; leave it out.");
  if (value.echo) throw unsupported("echo", "The prompt is not echoed; leave it out.");
  if (value.suffix) throw unsupported("suffix", "Text is not inserted; leave it out.");
  if (value.best_of && value.best_of > 1) throw unsupported("best_of", "It must be 1: each is a whole turn.");
  return { ...shared(value, undefined), prompt: toText(value.prompt) };
}

function shared(value: Common, maxCompletionTokens: number | null | undefined): CompletionRequest {
  // The newer name wins.
  const maxTokens = maxCompletionTokens ?? value.max_tokens;
  const tokensField = typeof maxCompletionTokens === "number" ? "max_completion_tokens" : "max_tokens";
  if (value.n !== undefined && value.n !== null && value.n !== 1) {
    throw unsupported("n", "It must be 1: each is a whole turn of the agent.");
  }
  if (value.stream_options && !value.stream) {
    throw new AppError("invalid_value", '"stream_options" goes with "stream": true.', {
      param: "stream_options",
    });
  }
  if (typeof maxTokens === "number" && maxTokens <= 0) {
    throw new AppError("invalid_value", `"${tokensField}" must be at least 1.`, { param: tokensField });
  }
  return {
    model: value.model ?? "",
    stream: value.stream ?? undefined,
    includeUsage: value.stream_options?.include_usage ?? false,
    includeAgentEvents: value.stream_options?.include_agent_events ?? false,
    stop: stops(value.stop),
    maxTokens: maxTokens ?? undefined,
    conversation: conversationOf(value),
  };
}

function conversationOf({ conversation_id, conversation, metadata, threadId }: Common): string | undefined {
  const names = Object.entries({
    conversation_id,
    conversation: typeof conversation === "string" ? conversation : conversation?.id,
    "metadata.session_id": metadata?.session_id,
    threadId: threadId?.toString(),
  });
  for (const [field, given] of names) {
    const name = given?.trim();
    if (name) return checkedName(name, field);
  }
  return undefined;
}

/** A conversation's name, which may be percent-encoded. @throws {AppError} if it is too long. */
export function checkedName(name: string, field: string): string {
  if (decoded(name).length <= MAX_CONVERSATION_CHARS) return name;
  throw new AppError("invalid_value", `"${field}" is longer than ${MAX_CONVERSATION_CHARS} characters.`, {
    param: field,
  });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function stops(stop: string | string[] | null | undefined): string[] {
  const list = typeof stop === "string" ? [stop] : stop ?? [];
  if (list.length > MAX_STOPS || list.some((text) => text.length > MAX_STOP_CHARS)) {
    throw new AppError(
      "invalid_value",
      `"stop" may hold up to ${MAX_STOPS} strings of up to ${MAX_STOP_CHARS} characters.`,
      { param: "stop" },
    );
  }
  return list.filter((text) => text !== "");
}

/** The agent has tools of its own; a client that insists on its own would wait for a call that never comes. */
function refuseForcedTools(choice: unknown): void {
  if (choice === undefined || choice === null || choice === "auto" || choice === "none") return;
  throw new AppError(
    "unsupported_parameter",
    '"tool_choice" may be "auto" or "none": the agent uses its own tools, not the client\'s.',
    { param: "tool_choice" },
  );
}

function toText(prompt: string | unknown[]): string {
  const texts = typeof prompt === "string" ? [prompt] : prompt;
  const [text] = texts;
  if (texts.length !== 1 || typeof text !== "string") {
    throw unsupported(
      "prompt",
      "It must be one string: neither token numbers nor several prompts are answered.",
    );
  }
  if (text.trim() === "") throw new AppError("invalid_value", '"prompt" is empty.', { param: "prompt" });
  return text;
}

const ROLES: Readonly<Record<WireMessage["role"], Role>> = {
  system: "system",
  developer: "system",
  user: "user",
  assistant: "assistant",
  tool: "tool",
  function: "tool",
};

/** Whatever is said since the last answer goes to the agent: something must be. */
function refuseNothingSaid(messages: readonly Message[]): void {
  const turns = messages.filter(isTurn);
  const since = messages.slice(messages.findLastIndex(({ role }) => role === "assistant") + 1).filter(isTurn);
  if (turns.some(saysSomething) && (since.length === 0 || since.some(saysSomething))) return;
  throw new AppError(
    "invalid_value",
    turns.some(saysSomething)
      ? '"messages" ends with a message of the user that is empty.'
      : '"messages" holds nothing that the user said.',
    { param: "messages" },
  );
}

/** The result of a tool may be empty. */
function saysSomething({ role, parts }: Message): boolean {
  return role === "tool" || parts.some((part) => part.type !== "text" || part.text.trim() !== "");
}

function toMessage(message: WireMessage, index: number): Message {
  const parts: Part[] = [];
  if (typeof message.content === "string") {
    if (message.content !== "") parts.push({ type: "text", text: message.content });
  } else {
    for (const [position, part] of (message.content ?? []).entries()) {
      parts.push(toPart(part, `messages[${index}].content[${position}]`));
    }
  }
  if (message.refusal) parts.push({ type: "text", text: message.refusal });
  for (const call of message.tool_calls ?? []) {
    if (call.function) {
      const { name, arguments: args } = call.function;
      parts.push({ type: "text", text: `<tool_call name=${JSON.stringify(name)}>${args}</tool_call>` });
    }
  }
  const name = message.name ?? (message.role === "tool" ? message.tool_call_id : undefined) ?? undefined;
  return { role: ROLES[message.role], ...(name ? { name } : {}), parts };
}

function read<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const param = issue ? fieldOf(issue.path) : "";
  if (issue === undefined || param === "") {
    throw new AppError("invalid_type", "The body must be a JSON object.");
  }
  const given = issue.path.reduce<unknown>(
    (value, key) => (value as Record<PropertyKey, unknown>)?.[key],
    body,
  );
  const code: ErrorCode = given === undefined || given === null
    ? "missing_required_parameter"
    : issue.code === "invalid_type" || issue.code === "invalid_union"
    ? "invalid_type"
    : "invalid_value";
  const what = code === "missing_required_parameter" ? "is required" : `is wrong: ${issue.message}`;
  throw new AppError(code, `"${param}" ${what}.`, { param });
}

/** `["messages", 2, "content"]` as `messages[2].content`. */
function fieldOf(path: readonly PropertyKey[]): string {
  return path.map((key, index) =>
    typeof key === "number" ? `[${key}]` : index === 0 ? String(key) : `.${String(key)}`
  ).join("");
}
