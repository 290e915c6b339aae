/** `POST /v1/chat/completions`, and the request handling that the legacy completions share with it. @module */

import { createHash } from "node:crypto";
import { textOf } from "../conversation/message.ts";
import type { TurnRequest } from "../conversation/registry.ts";
import { AppError } from "../core/errors.ts";
import { type JsonBody, readJson } from "../http/json_body.ts";
import type { Handler, RequestContext } from "../http/router.ts";
import type { CannedReplies } from "../turn/canned_replies.ts";
import type { IdempotencyCache, IdempotencyKey } from "../turn/idempotency.ts";
import type { ModelRouter } from "../turn/model_router.ts";
import type { Turn } from "../turn/turn.ts";
import { chatFrames, type FrameHead, type Frames } from "./chunk.ts";
import type { ReplyOptions } from "./reply_reader.ts";
import { collectReply, type StreamOptions, streamReply } from "./response.ts";
import { withInstruction } from "./structured_output.ts";
import { promptTokens } from "./usage.ts";
import { type CompletionRequest, parseChatRequest, parseConversationName } from "./wire.ts";

/** Longest idempotency key, in characters. */
const MAX_IDEMPOTENCY_CHARS = 256;
/** Headers that name a conversation: ours, and those of the gateways that skins support. */
const CONVERSATION_HEADERS = ["X-Session-Id", "X-Hermes-Session-Id", "x-openclaw-session-key"];

/** The parts of the program that completions need. */
export interface CompletionDeps {
  /** Starts a turn; resolves once the agent took the prompt. @throws {AppError} if the turn cannot start. */
  readonly startTurn: (request: TurnRequest, signal: AbortSignal) => Promise<Turn>;
  readonly router: ModelRouter;
  readonly idempotency: IdempotencyCache;
  readonly cannedReplies: Pick<CannedReplies, "replyTo">;
  /** Id of the API key, so that callers with different keys never share a conversation. */
  readonly keyId: string;
  readonly stream: StreamOptions;
}

/** How one endpoint reads its requests and writes its responses. */
export interface CompletionEndpoint {
  readonly idPrefix: string;
  /** @throws {AppError} that names the field. */
  readonly parse: (body: unknown) => CompletionRequest;
  /** Whether to stream when the request has no `stream` field. */
  readonly streamsByDefault: (request: CompletionRequest, http: Request) => boolean;
  readonly frames: (head: FrameHead) => Frames;
}

const CHAT: CompletionEndpoint = {
  idPrefix: "chatcmpl-",
  parse: parseChatRequest,
  // AITuber-kit sends a thread, reads nothing but a stream, and does not ask for one.
  streamsByDefault: ({ hasThread }, http) =>
    hasThread || (http.headers.get("accept")?.includes("text/event-stream") ?? false),
  frames: chatFrames,
};

/** Creates the handler of chat completions. */
export function chatHandler(deps: CompletionDeps): Handler {
  return (request, context) => complete(deps, CHAT, request, context);
}

/** Answers a completion request. @throws {AppError} as long as the response has not started. */
export async function complete(
  deps: CompletionDeps,
  endpoint: CompletionEndpoint,
  http: Request,
  { requestId }: RequestContext,
): Promise<Response> {
  const body = await readJson(http);
  const request = endpoint.parse(body.value);
  const isStreamed = request.stream ?? endpoint.streamsByDefault(request, http);
  const { agent, model, conversation } = deps.router.resolve(request.model);
  const name = conversationName(http.headers, request.conversation ?? conversation?.trim());
  const key = idempotencyKey(http, deps.keyId, body, name);
  const turn = await startOrJoin(deps, key, request, {
    conversation: { owner: deps.keyId, name },
    agent,
    model,
    messages: request.messages,
    record: key !== undefined,
  }, http.signal);

  const { stop, maxTokens, format, includeUsage, includeAgentEvents } = request;
  const options: ReplyOptions = { stop, maxTokens, format, promptTokens: promptTokens(request.messages) };
  const frames = endpoint.frames({
    id: endpoint.idPrefix + requestId,
    created: Math.floor(Date.now() / 1000),
    model: request.model || deps.router.default.name,
    includeUsage: isStreamed && includeUsage,
  });
  const conversationHeader = headerText(turn.conversation);
  let response: Response;
  try {
    if (isStreamed) {
      response = streamReply(turn, options, { ...deps.stream, frames, includeUsage, includeAgentEvents });
    } else {
      const { text, end } = await collectReply(turn, options, http.signal);
      response = Response.json(frames.body(text, end.finish, end.usage));
      if (end.isEstimated) response.headers.set("x-usage-estimated", "true");
    }
  } catch (error) {
    throw error instanceof AppError ? error.inConversation(conversationHeader) : error;
  }
  response.headers.set("x-session-id", conversationHeader);
  response.headers.set("x-resolved-model", headerText(turn.resolvedModel));
  return response;
}

/** Joins the turn of an earlier request with the same key, or starts a new one. */
function startOrJoin(
  { startTurn, idempotency, cannedReplies }: CompletionDeps,
  key: IdempotencyKey | undefined,
  { messages, format }: CompletionRequest,
  turn: TurnRequest,
  signal: AbortSignal,
): Promise<Turn> {
  const start = () => {
    if (format) return startTurn({ ...turn, messages: withInstruction(messages, format) }, signal);
    const last = messages.at(-1);
    // The lookup uses the canned reply up, so a request that joins a turn must not look.
    const cannedReply = last?.role === "user" ? cannedReplies.replyTo(textOf(last)) : undefined;
    return startTurn({ ...turn, cannedReply }, signal);
  };
  return key ? idempotency.getOrStart(key, start) : start();
}

/** The conversation that a request names, as a header can carry it; headers come before the body. */
function conversationName(headers: Headers, fallback: string | undefined): string | undefined {
  for (const header of CONVERSATION_HEADERS) {
    const name = headers.get(header)?.trim();
    if (name) return headerText(parseConversationName(decodeHeader(name), header));
  }
  return fallback === undefined ? undefined : headerText(fallback);
}

/** Percent-encodes text that is not ASCII. */
function headerText(text: string): string {
  return /^[\x20-\x7e]*$/.test(text) ? text : encodeURIComponent(text.toWellFormed());
}

/** Decodes a header that curl and others send as UTF-8, and that Deno reads as Latin-1. */
function decodeHeader(text: string): string {
  if (/^[\x20-\x7e]*$/.test(text)) return text;
  try {
    const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return text;
  }
}

/**
 * The key under which a request finds its turn when it is sent again: the client's idempotency key, or the body for
 * OpenAI's clients, which count their retries in a header but send no key.
 *
 * @throws {AppError} if the client's key is too long.
 */
function idempotencyKey(
  { headers, url }: Request,
  keyId: string,
  { text }: JsonBody,
  conversation = "",
): IdempotencyKey | undefined {
  const key = headers.get("idempotency-key")?.trim();
  const retries = headers.get("x-stainless-retry-count");
  if (!key && retries === null) return undefined;
  if (key && key.length > MAX_IDEMPOTENCY_CHARS) {
    throw new AppError(
      "invalid_value",
      `"Idempotency-Key" is longer than ${MAX_IDEMPOTENCY_CHARS} characters.`,
      { param: "Idempotency-Key" },
    );
  }
  // Synchronous on purpose: with an await here a later request could overtake an earlier one.
  const bodyHash = createHash("sha256").update(`${url}\n${conversation}\n${text}`).digest("hex");
  return key
    ? { name: `key\n${keyId}\n${key}`, bodyHash, isRetry: true }
    : { name: `body\n${keyId}\n${bodyHash}`, bodyHash, isRetry: Number(retries) > 0 };
}
