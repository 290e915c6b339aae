/** `POST /v1/chat/completions`. @module */

import type { PrivateConversation } from "../conversation/private_conversation.ts";
import { type Message, textOf } from "../conversation/message.ts";
import type { TurnRequest } from "../conversation/registry.ts";
import { AppError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { type JsonBody, readJson } from "../http/json_body.ts";
import type { Handler, RequestContext } from "../http/router.ts";
import type { CannedReplies } from "../turn/canned_replies.ts";
import type { IdempotencyCache, IdempotencyKey } from "../turn/idempotency.ts";
import type { ModelRoute, ModelRouter } from "../turn/model_router.ts";
import type { Turn } from "../turn/turn.ts";
import { chatFrames, type FinishReason, type FrameHead, type Frames } from "./chunk.ts";
import type { ReplyOptions } from "./reply_reader.ts";
import { type StreamOptions, turnSource } from "./response.ts";
import { formattedSource, type ResponseFormat } from "./structured_output.ts";
import { type CompletionUsage, promptTokens } from "./usage.ts";
import { type ChatRequest, checkedName, type CompletionRequest, parseChatRequest } from "./wire.ts";
import { createHash } from "node:crypto";

const FORM: CompletionFormat = {
  idPrefix: "chatcmpl-",
  parse(body, http) {
    const request = parseChatRequest(body);
    return {
      request,
      messages: request.messages,
      format: request.format,
      streamed: isStreamed(request, http),
    };
  },
  frames: chatFrames,
  whole: chatCompletion,
};

/** Answers chat completions, streamed or whole. */
export function chatHandler(deps: CompletionDeps): Handler {
  return (request, context) => complete(deps, FORM, request, context);
}

/** Whether the client reads a stream: it says so, or asks for the media type, or is AITuber-kit and reads nothing else. */
function isStreamed({ stream, hasThread }: ChatRequest, http: Request): boolean {
  return stream ?? (hasThread || (http.headers.get("accept")?.includes("text/event-stream") ?? false));
}

/** The `chat.completion` object. */
export function chatCompletion(
  { id, created, model }: FrameHead,
  text: string,
  finish: FinishReason,
  usage: CompletionUsage,
): unknown {
  const refusal = finish === "content_filter" ? text || "The agent refused to answer." : null;
  return {
    id,
    object: "chat.completion",
    created,
    model,
    system_fingerprint: null,
    choices: [{
      index: 0,
      message: { role: "assistant", content: text, refusal },
      logprobs: null,
      finish_reason: finish,
    }],
    usage,
  };
}

/** Characters of an idempotency key. */
const MAX_IDEMPOTENCY_CHARS = 256;

/** What completions need of the rest of the program. */
export interface CompletionDeps {
  /** Begins a turn; resolves once the agent took the prompt. @throws {AppError} if it could not begin. */
  readonly startTurn: (request: TurnRequest, signal: AbortSignal) => Promise<Turn>;
  /** Holds the conversation of a request's turns. */
  readonly hold: () => PrivateConversation;
  readonly idempotency: IdempotencyCache;
  /** What was sent to clients that post it back. */
  readonly cannedReplies: Pick<CannedReplies, "replyTo">;
  /** Names the caller, so that nobody meets another's conversation. */
  readonly keyId: string;
  readonly router: ModelRouter;
  readonly stream: StreamOptions;
  readonly log: Log;
}

/** A completion that is asked for. */
export interface Completion {
  readonly request: CompletionRequest;
  readonly messages: readonly Message[];
  readonly format: ResponseFormat | undefined;
  readonly streamed: boolean;
}

/** The form of the answers of one endpoint. */
export interface CompletionFormat {
  readonly idPrefix: string;
  readonly parse: (body: unknown, http: Request) => Completion;
  readonly frames: (head: FrameHead) => Frames;
  /** The answer as one JSON object. */
  readonly whole: (head: FrameHead, text: string, finish: FinishReason, usage: CompletionUsage) => unknown;
}

/** Answers a completion. @throws {AppError} with a status, as long as nothing was said. */
export async function complete(
  deps: CompletionDeps,
  form: CompletionFormat,
  http: Request,
  { requestId }: RequestContext,
): Promise<Response> {
  const body = await readJson(http);
  const { request, messages, format, streamed } = form.parse(body.value, http);
  const served = deps.router.resolve(request.model);
  const name = conversationName(http, request, served);
  const replay = replayKey(http, deps.keyId, body, name);
  const options: ReplyOptions = {
    stop: request.stop,
    maxTokens: request.maxTokens,
    promptTokens: promptTokens(messages),
  };
  const last = messages.at(-1);
  const answer = format === undefined && last?.role === "user"
    ? () => deps.cannedReplies.replyTo(textOf(last))
    : () => undefined;
  /** A new turn, perhaps one whose words are there already; or the one that the request has. */
  const begin = (turn: TurnRequest) => {
    const make = (record: boolean) => deps.startTurn({ ...turn, record, cannedReply: answer() }, http.signal);
    return replay ? deps.idempotency.getOrStart(replay, () => make(true)) : make(false);
  };
  const asked: TurnRequest = {
    conversation: { owner: deps.keyId, name },
    agent: served.agent,
    model: served.model,
    messages,
    record: false,
  };
  const source = format
    ? await formattedSource({ asked, format, options }, begin, deps)
    : turnSource(await begin(asked), options);

  const head: FrameHead = {
    id: form.idPrefix + requestId,
    created: Math.floor(Date.now() / 1000),
    model: request.model || deps.router.default.name,
    includeUsage: streamed && request.includeUsage,
  };
  const headers = new Headers({
    "x-session-id": headerText(source.turn.conversation),
    "x-resolved-model": headerText(source.turn.resolvedModel),
  });
  let response: Response;
  try {
    if (streamed) {
      const { includeUsage, includeAgentEvents } = request;
      response = source.stream({
        ...deps.stream,
        frames: form.frames(head),
        includeUsage,
        includeAgentEvents,
      });
    } else {
      const { text, end } = await source.collect(http.signal);
      if (end.estimated) headers.set("x-usage-estimated", "true");
      response = Response.json(form.whole(head, text, end.finish, end.usage));
    }
  } catch (error) {
    throw error instanceof AppError ? error.inConversation(headerText(source.turn.conversation)) : error;
  }
  for (const [name, value] of headers) response.headers.set(name, value);
  return response;
}

/** Text as a header can carry it: percent-encoded if it holds more than ASCII. */
function headerText(text: string): string {
  return /^[\x20-\x7e]*$/.test(text) ? text : encodeURIComponent(text.toWellFormed());
}

/** Headers that name a conversation: ours, and those of the gateways that skins know. */
const CONVERSATION_HEADERS = ["X-Session-Id", "X-Hermes-Session-Id", "x-openclaw-session-key"];

/** A header's text as it was meant: programs such as curl send it in UTF-8, and it is read as Latin-1. */
function fromHeader(text: string): string {
  if (/^[\x20-\x7e]*$/.test(text)) return text;
  try {
    const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return text;
  }
}

/** The conversation that the request names: in a header, in its body or in the model's name. Watchers are told the same. */
function conversationName(
  http: Request,
  { conversation }: CompletionRequest,
  served: ModelRoute,
): string | undefined {
  for (const header of CONVERSATION_HEADERS) {
    const name = http.headers.get(header)?.trim();
    if (name) return headerText(checkedName(fromHeader(name), header));
  }
  const name = conversation ?? served.conversation?.trim();
  return name === undefined ? undefined : headerText(name);
}

/**
 * By what a request is known when it comes again: an idempotency key, or for OpenAI's clients, which count their
 * retries in a header but send no key, the body itself. At once, so that no request overtakes another.
 */
function replayKey(
  http: Request,
  keyId: string,
  { text }: JsonBody,
  conversation = "",
): IdempotencyKey | undefined {
  const idempotencyKey = http.headers.get("idempotency-key")?.trim();
  const retries = http.headers.get("x-stainless-retry-count");
  if (!idempotencyKey && retries === null) return undefined;
  if (idempotencyKey && idempotencyKey.length > MAX_IDEMPOTENCY_CHARS) {
    throw new AppError(
      "invalid_value",
      `"Idempotency-Key" is longer than ${MAX_IDEMPOTENCY_CHARS} characters.`,
      {
        param: "Idempotency-Key",
      },
    );
  }
  const body = createHash("sha256").update(`${http.url}\n${conversation}\n${text}`).digest("hex");
  return idempotencyKey
    ? { name: `key\n${keyId}\n${idempotencyKey}`, bodyHash: body, isRetry: true }
    : { name: `body\n${keyId}\n${body}`, bodyHash: body, isRetry: Number(retries) > 0 };
}
