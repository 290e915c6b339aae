/**
 * One completion, chat or plain: its turn is found or begun, and answered in the form that was asked for.
 *
 * @module
 */

import { type Message, textOf } from "../conversation/message.ts";
import type { Aside, ConversationKey, TurnRequest } from "../conversation/registry.ts";
import { type JsonBody, readJson } from "../http/body.ts";
import type { RequestContext } from "../http/router.ts";
import type { Log } from "../ops/log.ts";
import { Failure } from "../turn/failure.ts";
import { type PreparedAnswers, preparedTurn } from "../turn/prepared.ts";
import type { ReplayKey, Replays } from "../turn/replay.ts";
import type { Turn } from "../turn/run.ts";
import { type StreamOptions, turnSource } from "./answer.ts";
import type { FinishReason, FrameHead, Frames } from "./chunk.ts";
import { formattedSource } from "./formatted.ts";
import type { ResponseFormat } from "./format.ts";
import type { ReplyOptions } from "./reply.ts";
import { type CompletionUsage, promptTokens } from "./usage.ts";
import { type CompletionRequest, MAX_CONVERSATION_CHARS } from "./wire.ts";

/** Characters of an idempotency key. */
const MAX_IDEMPOTENCY_CHARS = 256;

/** What completions need of the rest of the program. */
export interface CompletionDeps {
  /** Begins a turn; resolves once the agent took the prompt. @throws {Failure} if it could not begin. */
  readonly begin: (request: TurnRequest, signal: AbortSignal) => Promise<Turn>;
  /** Opens a conversation for the turns of one request. */
  readonly openAside: () => Aside;
  readonly replays: Replays;
  /** What was sent to clients that post it back. */
  readonly prepared: Pick<PreparedAnswers, "answerTo">;
  /** Names the caller, so that nobody meets another's conversation. */
  readonly keyId: string;
  /** The model's name where a request names none, and of what really answers. */
  readonly model: string;
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
export interface CompletionForm {
  readonly idPrefix: string;
  readonly parse: (body: unknown, http: Request) => Completion;
  readonly frames: (head: FrameHead) => Frames;
  /** The answer as one JSON object. */
  readonly whole: (head: FrameHead, text: string, finish: FinishReason, usage: CompletionUsage) => unknown;
}

/** Answers a completion. @throws {Failure} with a status, as long as nothing was said. */
export async function complete(
  deps: CompletionDeps,
  form: CompletionForm,
  http: Request,
  { requestId }: RequestContext,
): Promise<Response> {
  const body = await readJson(http);
  const { request, messages, format, streamed } = form.parse(body.value, http);
  const conversation = conversationOf(http, request);
  const key = conversation === undefined ? undefined : `${deps.keyId}\n${conversation}` as ConversationKey;
  // Watchers are told the same name as the client.
  const name = conversation === undefined ? undefined : headerText(conversation);
  const replay = await replayKey(http, deps.keyId, body);
  const options: ReplyOptions = {
    stop: request.stop,
    maxTokens: request.maxTokens,
    promptTokens: promptTokens(messages),
  };
  const last = messages.at(-1);
  /** A new turn, perhaps one whose words are there already. */
  const make = (turn: TurnRequest) => {
    const prepared = format === undefined && last?.role === "user"
      ? deps.prepared.answerTo(textOf(last))
      : undefined;
    return prepared === undefined ? deps.begin(turn, http.signal) : preparedTurn(prepared, name, turn.record);
  };
  const begin = (turn: TurnRequest) => {
    if (replay === undefined) return make(turn);
    return deps.replays.turnOf(replay, () => make({ ...turn, record: true }));
  };
  const source = format
    ? await formattedSource({ key, name, messages, format, options }, begin, deps)
    : turnSource(await begin({ conversation: key, name, messages, record: false }), options);

  const head: FrameHead = {
    id: form.idPrefix + requestId,
    created: Math.floor(Date.now() / 1000),
    model: request.model || deps.model,
    includeUsage: streamed && request.includeUsage,
  };
  const headers = new Headers({
    "x-session-id": headerText(source.turn.conversation),
    "x-resolved-model": headerText(deps.model),
  });
  let response: Response;
  if (streamed) {
    const { includeUsage, includeAgentEvents } = request;
    response = source.stream({ ...deps.stream, frames: form.frames(head), includeUsage, includeAgentEvents });
  } else {
    const { text, ending } = await source.gather(http.signal);
    if (ending.estimated) headers.set("x-usage-estimated", "true");
    response = Response.json(form.whole(head, text, ending.finish, ending.usage));
  }
  for (const [name, value] of headers) response.headers.set(name, value);
  return response;
}

/** Text as a header can carry it: percent-encoded if it holds more than ASCII. */
function headerText(text: string): string {
  return /^[\x20-\x7e]*$/.test(text) ? text : encodeURIComponent(text.toWellFormed());
}

/** The conversation that the request names, in a header or its body. */
function conversationOf(http: Request, { conversation }: CompletionRequest): string | undefined {
  const named = http.headers.get("x-session-id")?.trim() || conversation;
  if (named !== undefined && named.length > MAX_CONVERSATION_CHARS) {
    throw new Failure(
      "invalid_value",
      `"X-Session-Id" is longer than ${MAX_CONVERSATION_CHARS} characters.`,
      {
        param: "X-Session-Id",
      },
    );
  }
  return named;
}

/**
 * By what a request is known when it comes again: an idempotency key, or for OpenAI's clients, which count their
 * retries in a header but send no key, the body itself.
 */
async function replayKey(http: Request, keyId: string, { text }: JsonBody): Promise<ReplayKey | undefined> {
  const idempotencyKey = http.headers.get("idempotency-key")?.trim();
  const retries = http.headers.get("x-stainless-retry-count");
  if (!idempotencyKey && retries === null) return undefined;
  if (idempotencyKey && idempotencyKey.length > MAX_IDEMPOTENCY_CHARS) {
    throw new Failure(
      "invalid_value",
      `"Idempotency-Key" is longer than ${MAX_IDEMPOTENCY_CHARS} characters.`,
      {
        param: "Idempotency-Key",
      },
    );
  }
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${http.url}\n${text}`));
  const body = new Uint8Array(bytes).toHex();
  return idempotencyKey
    ? { name: `key\n${keyId}\n${idempotencyKey}`, body, again: true }
    : { name: `body\n${keyId}\n${body}`, body, again: Number(retries) > 0 };
}
