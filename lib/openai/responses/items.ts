/** Items of OpenAI's Responses API: what a request tells, and what a response is made of. Pure. @module */

import { isReply, type Message, type Part } from "../../conversation/message.ts";
import { AppError } from "../../core/errors.ts";
import { hasContent, toolCallPart, toParts } from "../wire.ts";

/** Progress of an item. */
export type ItemStatus = "in_progress" | "completed" | "incomplete";

/** Text of a message. */
export interface OutputText {
  readonly type: "output_text";
  readonly text: string;
  readonly annotations: readonly [];
}

/** The agent's refusal, in place of text. */
export interface OutputRefusal {
  readonly type: "refusal";
  readonly refusal: string;
}

/** A part of the agent's reply. The reply goes on in a new message after a tool call or a thought. */
export interface OutputMessage {
  readonly id: string;
  readonly type: "message";
  readonly status: ItemStatus;
  readonly role: "assistant";
  readonly content: readonly (OutputText | OutputRefusal)[];
}

/** Thoughts and plans of the agent. */
export interface ReasoningItem {
  readonly id: string;
  readonly type: "reasoning";
  readonly status: ItemStatus;
  readonly summary: readonly SummaryPart[];
}

/** A piece of a {@linkcode ReasoningItem}. */
export interface SummaryPart {
  readonly type: "summary_text";
  readonly text: string;
}

/** A tool call of the agent. OpenAI's `function_call` would ask the client to do the work. */
export interface McpCall {
  readonly id: string;
  readonly type: "mcp_call";
  readonly status: ItemStatus | "failed";
  readonly name: string;
  readonly server_label: string;
  /** JSON. */
  readonly arguments: string;
  /** The result, which agents here do not tell. `@openai/agents` sends an empty one for none. */
  readonly output: string | null;
  readonly error: unknown;
  readonly approval_request_id: string | null;
}

/** The agent's request that a tool may run. */
export interface McpApprovalRequest {
  readonly id: string;
  readonly type: "mcp_approval_request";
  readonly name: string;
  readonly server_label: string;
  /** JSON. */
  readonly arguments: string;
}

/** An item that a response is made of. */
export type OutputItem = OutputMessage | ReasoningItem | McpCall | McpApprovalRequest;

/** A message of a request. */
export interface InputMessage {
  readonly type: "message";
  readonly id?: string | undefined;
  readonly role: "system" | "developer" | "user" | "assistant";
  readonly parts: readonly Part[];
}

/** A call of a tool of the client. */
export interface FunctionCall {
  readonly type: "function_call";
  readonly id?: string | undefined;
  readonly call_id: string;
  readonly name: string;
  readonly arguments: string;
}

/** The result of a {@linkcode FunctionCall}. */
export interface FunctionCallOutput {
  readonly type: "function_call_output";
  readonly id?: string | undefined;
  readonly call_id: string;
  readonly parts: readonly Part[];
}

/** The answer to a {@linkcode McpApprovalRequest}. */
export interface ApprovalResponse {
  readonly type: "mcp_approval_response";
  readonly id?: string | undefined;
  readonly approval_request_id: string;
  readonly approve: boolean;
}

/** An item that is not read: an agent here has no use for it. */
export interface OtherItem {
  readonly type: "other";
  readonly id?: string | undefined;
  /** The item's own type. */
  readonly itemType: string;
}

/** An item of a request that stands for an item of an earlier response or request. */
export interface ItemReference {
  readonly type: "item_reference";
  readonly id: string;
}

/** An item of a transcript. */
export type HistoryItem =
  | InputMessage
  | FunctionCall
  | FunctionCallOutput
  | ApprovalResponse
  | OtherItem
  | OutputItem;
/** An item of a request. */
export type InputItem = HistoryItem | ItemReference;

const RESPONSE_PREFIX = "resp_";
const ITEM_PREFIXES: Readonly<Record<HistoryItem["type"], string>> = {
  message: "msg",
  reasoning: "rs",
  mcp_call: "mcp",
  mcp_approval_request: "mcpr",
  mcp_approval_response: "mcpa",
  function_call: "fc",
  function_call_output: "fc",
  other: "item",
};

/** Makes the id of a response. @param key Letters and digits that no other response has. */
export function responseId(key: string): string {
  return RESPONSE_PREFIX + key;
}

/** Makes the id of an item, from which {@linkcode responseIdOf} finds its response. */
export function itemId(
  type: HistoryItem["type"],
  responseId: string,
  index: number,
  list: "input" | "output" = "output",
): string {
  const key = responseId.slice(RESPONSE_PREFIX.length);
  return `${ITEM_PREFIXES[type]}_${key}_${list === "input" ? "in" : ""}${index}`;
}

/** Returns the response of an item, for an id that {@linkcode itemId} made; the response may not exist. */
export function responseIdOf(itemId: string): string | undefined {
  const key = /^[a-z]+_([A-Za-z0-9]+)_(?:in)?\d+$/.exec(itemId)?.[1];
  return key && RESPONSE_PREFIX + key;
}

/**
 * Replaces the references of a request by what they stand for.
 *
 * @param find Returns the item with this id, if the caller may see it.
 * @throws {AppError} `not_found` that names the field.
 */
export function resolveReferences(
  items: readonly InputItem[],
  find: (id: string) => HistoryItem | undefined,
): HistoryItem[] {
  return items.map((item, index) => {
    if (item.type !== "item_reference") return item;
    const found = find(item.id);
    if (found) return found;
    const param = `input[${index}].id`;
    throw new AppError(
      "not_found",
      `"${param}" is the id of no item that is kept. Send the item itself: items are forgotten with their response.`,
      { param },
    );
  });
}

/** Types of items that say nothing to an agent. */
const SILENT: ReadonlySet<string> = new Set(["mcp_list_tools", "compaction", "configuration_update"]);

/**
 * Turns items into the messages of a conversation. The messages of one reply become one, because a conversation is
 * recognised by its replies. Thoughts are left out, and so are tool calls without a result, which agents here have made:
 * a message with a tool call says that the reply came from elsewhere.
 */
export function toMessages(items: readonly HistoryItem[]): Message[] {
  const messages: Message[] = [];
  for (const item of items) {
    for (const message of itemMessages(item)) {
      const last = messages.at(-1);
      const isSameReply = isReply(message) && last !== undefined && isReply(last);
      if (isSameReply) messages[messages.length - 1] = { ...last, parts: [...last.parts, ...message.parts] };
      else messages.push(message);
    }
  }
  return messages;
}

function itemMessages(item: HistoryItem): Message[] {
  switch (item.type) {
    case "message": {
      const parts = "parts" in item ? item.parts : item.content.flatMap(contentParts);
      const role = item.role === "developer" ? "system" : item.role;
      const message: Message = { role, parts };
      // An empty user message is a fault of the request; other empty ones say nothing.
      return role === "user" || hasContent(message) ? [message] : [];
    }
    case "function_call":
      return [toolCall(item)];
    case "function_call_output":
      return [{ role: "tool", name: item.call_id, parts: item.parts }];
    case "mcp_call":
      if (!item.output) return [];
      return [toolCall(item), { role: "tool", name: item.name, parts: toParts(item.output) }];
    case "reasoning":
    case "mcp_approval_request":
    // The answer goes to the turn that waits for it, and is no message.
    case "mcp_approval_response":
      return [];
    case "other": {
      if (SILENT.has(item.itemType)) return [];
      const parts = toParts(`[An item of this conversation was left out: ${item.itemType}.]`);
      return [
        item.itemType.endsWith("_output")
          ? { role: "tool", parts }
          : { role: "assistant", parts, isToolCall: true },
      ];
    }
    default:
      return item satisfies never;
  }
}

function contentParts(part: OutputText | OutputRefusal): Part[] {
  return toParts(part.type === "refusal" ? part.refusal : part.text);
}

function toolCall(call: FunctionCall | McpCall): Message {
  return { role: "assistant", parts: [toolCallPart(call)], isToolCall: true };
}

/** Lists the items of a request as `GET /v1/responses/{id}/input_items` answers: each with an id. */
export function listInputItems(items: readonly HistoryItem[], responseId: string) {
  return items.map((item, index) => {
    const id = item.id || itemId(item.type, responseId, index, "input");
    switch (item.type) {
      case "message":
        if ("content" in item) return item;
        return {
          id,
          type: item.type,
          role: item.role,
          status: "completed",
          content: item.parts.map((part) => wirePart(part, item.role)),
        };
      case "function_call":
        return { ...item, id, status: "completed" };
      case "function_call_output": {
        const { type, call_id, parts } = item;
        const [first] = parts;
        const output = parts.length === 1 && first?.type === "text"
          ? first.text
          : parts.map((part) => wirePart(part, "user"));
        return { id, type, call_id, status: "completed", output };
      }
      case "other":
        return { id, type: item.itemType };
      case "reasoning":
      case "mcp_call":
      case "mcp_approval_request":
      case "mcp_approval_response":
        return { ...item, id };
      default:
        return item satisfies never;
    }
  });
}

function wirePart(part: Part, role: InputMessage["role"]) {
  switch (part.type) {
    case "text":
      return role === "assistant"
        ? { type: "output_text", text: part.text, annotations: [] }
        : { type: "input_text", text: part.text };
    case "image":
      return {
        type: "input_image",
        image_url: `data:${part.mimeType};base64,${part.data}`,
        detail: "auto",
        file_id: null,
      };
    case "audio": {
      const format = part.mimeType === "audio/wav" ? "wav" : "mp3";
      return { type: "input_audio", input_audio: { data: part.data, format } };
    }
    default:
      return part satisfies never;
  }
}
