/**
 * Parses requests for responses. As in chat, only what is new can be refused for its content, and fields that ask for
 * something that an agent cannot do are listed. Sources: OpenAI's API reference and client, and the requests of
 * `@ai-sdk/openai`, `@openai/agents` and LangChain.
 *
 * @module
 */

import { z } from "zod";
import type { Message } from "../../conversation/message.ts";
import { AppError } from "../../core/errors.ts";
import { MAX_TYPE_CHARS } from "../content_part.ts";
import { parseFormat } from "../structured_output.ts";
import {
  type CompletionRequest,
  conversationField,
  conversationName,
  type IgnoredFields,
  listIgnored,
  MAX_MESSAGES,
  maxTokens,
  modelName,
  parse,
  parseContent,
  requireContent,
  toParts,
} from "../wire.ts";
import { type InputItem, toMessages } from "./items.ts";

/** OpenAI's limits of `metadata`: pairs, and characters of a key and of a value. */
const MAX_PAIRS = 16;
const MAX_KEY_CHARS = 64;
const MAX_VALUE_CHARS = 512;
/** Characters of an id of a response or of an item. */
const MAX_ID_CHARS = 256;
/** Characters of `user`. */
const MAX_USER_CHARS = 512;
/** Characters of the label of a server. */
const MAX_LABEL_CHARS = 256;
/** Characters of a field that a response repeats: several of its events do, which have to fit into a stream. */
const MAX_ECHO_CHARS = 64 * 1024;
/** Tools that are looked at. */
const MAX_TOOLS = 1_000;

/** A request for a response. */
export interface ResponseRequest
  extends Pick<CompletionRequest, "model" | "format" | "stream" | "maxTokens" | "conversation" | "ignored"> {
  /** The Responses API has no stop sequences. */
  readonly stop: readonly [];
  /** The input, each item at its index. */
  readonly items: readonly InputItem[];
  /** The system message of this request alone. */
  readonly instructions: string | undefined;
  readonly previousResponseId: string | undefined;
  /** Whether the response is to be kept; `undefined` if the client does not say. */
  readonly store: boolean | undefined;
  /** The response is answered at once, and the work goes on without the client. */
  readonly background: boolean;
  /** The client answers permission requests itself. */
  readonly asksForApproval: boolean;
  /** The server under whose label the client expects them: `@openai/agents` refuses requests of any other. */
  readonly approvalLabel: string | undefined;
  readonly echo: ResponseEcho;
}

/** Fields that a response repeats from its request. */
export interface ResponseEcho {
  readonly background: boolean;
  /** `null` if they are too long to be repeated. */
  readonly instructions: string | null;
  readonly max_output_tokens: number | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly previous_response_id: string | null;
  readonly store: boolean;
  readonly text: { readonly format: { readonly type: string } };
  readonly user: string | null;
}

const METADATA_LIMITS =
  `may hold up to ${MAX_PAIRS} strings of up to ${MAX_VALUE_CHARS} characters, under names of ` +
  `up to ${MAX_KEY_CHARS}`;
const id = z.string().min(1).max(MAX_ID_CHARS);

const requestBody = z.object({
  model: modelName,
  input: z.unknown().optional(),
  instructions: z.string().nullish(),
  previous_response_id: z.string().max(MAX_ID_CHARS).nullish(),
  conversation_id: conversationName.nullish(),
  conversation: conversationField,
  prompt: z.unknown().refine((prompt) => prompt === undefined || prompt === null, {
    error: "its prompts are stored at OpenAI; send the text as instructions",
    params: { code: "unsupported_parameter" },
  }).optional(),
  stream: z.boolean().nullish(),
  store: z.boolean().nullish(),
  background: z.boolean().nullish(),
  max_output_tokens: maxTokens,
  metadata: z.record(z.string(), z.string(), "must be an object of strings").nullish()
    .refine(
      (metadata) =>
        Object.entries(metadata ?? {}).every(([key, value]) =>
          key.length <= MAX_KEY_CHARS && value.length <= MAX_VALUE_CHARS
        ) && Object.keys(metadata ?? {}).length <= MAX_PAIRS,
      METADATA_LIMITS,
    ),
  text: z.object({ format: z.unknown().optional() }).nullish(),
  tools: z.unknown().optional(),
  user: z.string().max(MAX_USER_CHARS).nullish().catch(null),
});

/** The fields that an agent cannot honour, each with the values that ask for nothing. */
const IGNORED: IgnoredFields = {
  ...{ context_management: [], include: [], max_tool_calls: [], moderation: [], reasoning: [] },
  ...{ service_tier: ["auto", "default"], temperature: [1], tool_choice: ["auto", "none"] },
  ...{ top_logprobs: [0], top_p: [1] },
};

const text = z.string().catch("");
const itemFields = { id: id.optional().catch(undefined) };
const roles = z.enum(["system", "developer", "user", "assistant"]);
const messageItem = z.object({ ...itemFields, role: roles, content: z.unknown().optional() });
const referenceItem = z.object({ id });
const callItem = z.object({ ...itemFields, call_id: text, name: text, arguments: text });
const resultItem = z.object({ ...itemFields, call_id: text, output: z.unknown().optional() });
const mcpItem = z.object({
  id: text,
  name: text,
  server_label: text,
  arguments: text,
  output: z.string().nullish().catch(null),
  error: z.unknown().optional(),
  approval_request_id: z.string().nullish().catch(null),
});
const reasoningItem = z.object({ id: text, summary: z.array(z.unknown()).catch([]) });
const summaryPart = z.object({ text });
const approvalItem = z.object({ ...itemFields, approval_request_id: id, approve: z.boolean() });

/**
 * Parses the body of `POST /v1/responses`.
 *
 * @param canApprove The caller may answer permission requests.
 * @throws {AppError} that names the field.
 */
export function parseResponseRequest(body: unknown, canApprove: boolean): ResponseRequest {
  const value = parse(requestBody, body);
  const { instructions, previous_response_id, conversation_id, conversation, metadata } = value;
  if (previous_response_id && (conversation_id || conversation)) {
    const param = "previous_response_id";
    throw new AppError(
      "invalid_value",
      `"${param}" cannot come with "conversation": a response belongs to one conversation already.`,
      { param },
    );
  }
  if (value.background && value.store === false) {
    throw new AppError(
      "unsupported_value",
      '"background" needs a response that is kept, and "store" is false.',
      { param: "background" },
    );
  }
  const items = parseInput(value.input ?? (instructions ? [] : undefined));
  checkContent(instructions, items);
  const format = parseFormat(value.text?.format, "text.format");
  const named = conversation_id || conversation || metadata?.session_id?.trim();
  const tools = listTools(value.tools);
  const server = canApprove ? tools.find(asksForApproval) : undefined;
  const label = server?.server_label;
  return {
    model: value.model ?? "",
    items,
    instructions: instructions || undefined,
    format,
    stream: value.stream ?? undefined,
    stop: [],
    maxTokens: value.max_output_tokens,
    // The earlier response decides, if there is one.
    conversation: previous_response_id ? undefined : named || undefined,
    previousResponseId: previous_response_id || undefined,
    store: value.store ?? undefined,
    background: value.background ?? false,
    asksForApproval: server !== undefined,
    approvalLabel: typeof label === "string" && label !== "" ? label.slice(0, MAX_LABEL_CHARS) : undefined,
    ignored: [
      ...listIgnored(Object(body), IGNORED),
      ...(tools.every((tool) => canApprove && isHonoured(tool)) ? [] : ["tools"]),
      // The reply is checked against the schema, but the agent does not write under its constraint.
      ...(format?.isStrict ? ["text.format.strict"] : []),
    ],
    echo: {
      background: value.background ?? false,
      instructions: canEcho(instructions) ? instructions ?? null : null,
      max_output_tokens: value.max_output_tokens ?? null,
      metadata: metadata ?? {},
      previous_response_id: previous_response_id || null,
      store: value.store ?? true,
      text: { format: format ? echoFormat(value.text?.format as { type: string }) : { type: "text" } },
      user: value.user ?? null,
    },
  };
}

/** Returns a format as it was sent, or its type alone if it is too long to be repeated. */
function echoFormat(format: { readonly type: string }): { readonly type: string } {
  return canEcho(JSON.stringify(format)) ? format : { type: format.type };
}

function canEcho(text: string | null | undefined): boolean {
  return (text?.length ?? 0) <= MAX_ECHO_CHARS;
}

/** Checks what is known before references are resolved. */
function checkContent(instructions: string | null | undefined, items: readonly InputItem[]): void {
  const known = items.filter((item) => item.type !== "item_reference");
  requireContent([...instructionMessages(instructions), ...toMessages(known)], "input", isAnswer(items));
}

/** Whether a request answers a permission request, and so needs no words. */
function isAnswer(items: readonly InputItem[]): boolean {
  return items.at(-1)?.type === "mcp_approval_response";
}

/** Makes the instructions of a request the system message before its other messages. */
export function instructionMessages(instructions: string | null | undefined): Message[] {
  return instructions?.trim() ? [{ role: "system", parts: toParts(instructions) }] : [];
}

function parseInput(input: unknown): InputItem[] {
  if (typeof input === "string") return [{ type: "message", role: "user", parts: toParts(input) }];
  const at = { param: "input" };
  if (input === undefined) throw new AppError("missing_required_parameter", '"input" is required.', at);
  if (!Array.isArray(input)) {
    throw new AppError("invalid_type", '"input" is wrong: must be a string or an array of items.', at);
  }
  if (input.length > MAX_MESSAGES) {
    throw new AppError("invalid_value", `"input" has more than ${MAX_MESSAGES} items.`, at);
  }
  const newest = input.findLastIndex((item) => Object(item).role === "user");
  return input.map((item, index) => parseItem(item, index, index === newest, index === input.length - 1));
}

/**
 * @param isNewest The item is the newest message of the user, which can be refused for its content.
 * @param isLast The item is what the request asks about, and cannot be left out.
 */
function parseItem(item: unknown, index: number, isNewest: boolean, isLast: boolean): InputItem {
  const at = ["input", index];
  const path = `input[${index}]`;
  const { type: sentType, role, id } = Object(item);
  const type = sentType ?? (role === undefined && id !== undefined ? "item_reference" : "message");
  switch (type) {
    case "message": {
      const { id, role, content } = parse(messageItem, item, at);
      return { type, id, role, parts: parseContent(content, `${path}.content`, isNewest) };
    }
    case "item_reference":
      return { type, ...parse(referenceItem, item, at) };
    case "function_call":
      return { type, ...parse(callItem, item, at) };
    case "function_call_output": {
      const { output, ...call } = parse(resultItem, item, at);
      return { type, ...call, parts: parseContent(output, `${path}.output`, false) };
    }
    case "mcp_call": {
      const { output, error, approval_request_id, ...call } = parse(mcpItem, item, at);
      return {
        ...{ type, ...call, status: error ? "failed" : "completed", output: output ?? null },
        ...{ error: error ?? null, approval_request_id: approval_request_id ?? null },
      };
    }
    case "mcp_approval_request":
      return {
        type,
        ...parse(mcpItem.pick({ id: true, name: true, server_label: true, arguments: true }), item, at),
      };
    case "mcp_approval_response":
      return { type, ...parse(approvalItem, item, at) };
    case "reasoning": {
      const { id, summary } = parse(reasoningItem, item, at);
      const texts = summary.flatMap((part) => summaryPart.safeParse(part).data ?? []);
      return {
        type,
        id,
        status: "completed",
        summary: texts.map(({ text }) => ({ type: "summary_text", text })),
      };
    }
    default: {
      const itemType = String(type).slice(0, MAX_TYPE_CHARS);
      if (!isLast) return { type: "other", itemType, ...(typeof id === "string" ? { id } : {}) };
      const param = `${path}.type`;
      throw new AppError(
        "unsupported_value",
        `"${param}" is "${itemType}", which is not supported as the newest item.`,
        {
          param,
        },
      );
    }
  }
}

/** Returns the tools that are objects. */
function listTools(tools: unknown): Record<string, unknown>[] {
  return [tools ?? []].flat().slice(0, MAX_TOOLS).map(Object);
}

/** Whether a tool says that the client answers permission requests, which OpenAI's default is. */
function asksForApproval({ type, require_approval }: Record<string, unknown>): boolean {
  return type === "mcp" && require_approval !== "never";
}

/** Whether a tool asks for approvals and nothing else. */
function isHonoured(tool: Record<string, unknown>): boolean {
  return asksForApproval(tool) && tool.server_url === undefined && tool.connector_id === undefined;
}
