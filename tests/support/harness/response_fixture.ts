/** Responses that are built from the events of a turn, without a server. @module */

import { MAX_REPLY_CHARS, ResponseBuilder, type ResponseHead } from "../../../lib/openai/responses/events.ts";
import type { ResponseEcho } from "../../../lib/openai/responses/wire.ts";
import { createReplyReader } from "../../../lib/openai/reply_reader.ts";
import type {
  PermissionId,
  PermissionRequest,
  ToolCall,
  ToolCallId,
  TurnEvent,
  TurnReader,
} from "../../../lib/turn/event.ts";

export const ECHO: ResponseEcho = {
  background: false,
  instructions: null,
  max_output_tokens: null,
  metadata: {},
  previous_response_id: null,
  store: true,
  text: { format: { type: "text" } },
  user: null,
};
export const HEAD: ResponseHead = {
  ...{ id: "resp_1a", createdAt: 1751328000, model: "openab", serverLabel: "claude", promptTokens: 12 },
  echo: ECHO,
};

export const END: TurnEvent = { type: "end", reason: "end_turn" };

export function say(text: string): TurnEvent {
  return { type: "text", text };
}

export function think(text: string): TurnEvent {
  return { type: "thought", text };
}

export function tool(status: ToolCall["status"], facts: Partial<ToolCall> = {}): TurnEvent {
  const id = "t1" as ToolCallId;
  return { type: "tool", tool: { id, title: "Read README.md", kind: "read", status, ...facts } };
}

export function ask(detail: string, title = "rm -r build"): TurnEvent {
  const { tool: asking } = tool("pending", { title, kind: "execute" }) as { tool: ToolCall };
  const request: PermissionRequest = {
    ...{ id: "p1" as PermissionId, expiresAt: 0, tool: asking, detail },
    options: [{ id: "yes", name: "Allow", kind: "allow_once" }],
  };
  return { type: "permission", request };
}

/** Reads a turn into a response, as a handler does. */
export function readerOf(builder: ResponseBuilder, maxTokens?: number): TurnReader {
  const { promptTokens } = HEAD;
  const reader = createReplyReader({ stop: [], maxTokens, promptTokens }, builder.sink, MAX_REPLY_CHARS);
  return (event) => event.type === "permission" ? builder.askApproval(event.request) : reader(event);
}

/** Opens a response. @returns Its builder, the data of its events so far, and the reader of its turn. */
export function openResponse(facts: Partial<ResponseHead> = {}, maxTokens?: number) {
  const data: string[] = [];
  const builder = new ResponseBuilder({ ...HEAD, ...facts }, (event) => void data.push(event));
  return { data, builder, read: readerOf(builder, maxTokens) };
}

/** Builds the response of a whole turn. */
export function buildResponse(
  turn: readonly TurnEvent[],
  facts: Partial<ResponseHead> = {},
  maxTokens?: number,
) {
  const { data, builder, read } = openResponse(facts, maxTokens);
  builder.start();
  turn.forEach(read);
  return { data, response: builder.toResponse() };
}
