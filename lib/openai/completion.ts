/**
 * One completion, chat or plain: its turn is found or begun, and answered in the form that was asked for.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { type Message, textOf } from "../conversation/message.ts";
import type { Hold } from "../conversation/hold.ts";
import type { TurnRequest } from "../conversation/registry.ts";
import { type JsonBody, readJson } from "../http/body.ts";
import type { RequestContext } from "../http/router.ts";
import type { Log } from "../ops/log.ts";
import { Failure } from "../turn/failure.ts";
import type { Agents, Served } from "../turn/agents.ts";
import type { PreparedAnswers } from "../turn/prepared.ts";
import type { ReplayKey, Replays } from "../turn/replay.ts";
import type { Turn } from "../turn/run.ts";
import { type StreamOptions, turnSource } from "./answer.ts";
import type { FinishReason, FrameHead, Frames } from "./chunk.ts";
import { formattedSource } from "./formatted.ts";
import type { ResponseFormat } from "./format.ts";
import type { ReplyOptions } from "./reply.ts";
import { type CompletionUsage, promptTokens } from "./usage.ts";
import { checkedName, type CompletionRequest } from "./wire.ts";

/** Characters of an idempotency key. */
const MAX_IDEMPOTENCY_CHARS = 256;

/** What completions need of the rest of the program. */
export interface CompletionDeps {
  /** Begins a turn; resolves once the agent took the prompt. @throws {Failure} if it could not begin. */
  readonly begin: (request: TurnRequest, signal: AbortSignal) => Promise<Turn>;
  /** Holds the conversation of a request's turns. */
  readonly hold: () => Hold;
  readonly replays: Replays;
  /** What was sent to clients that post it back. */
  readonly prepared: Pick<PreparedAnswers, "answerTo">;
  /** Names the caller, so that nobody meets another's conversation. */
  readonly keyId: string;
  readonly agents: Agents;
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
  const served = deps.agents.resolve(request.model);
  const name = conversationName(http, request, served);
  const replay = replayKey(http, deps.keyId, body, name);
  const options: ReplyOptions = {
    stop: request.stop,
    maxTokens: request.maxTokens,
    promptTokens: promptTokens(messages),
  };
  const last = messages.at(-1);
  const answer = format === undefined && last?.role === "user"
    ? () => deps.prepared.answerTo(textOf(last))
    : () => undefined;
  /** A new turn, perhaps one whose words are there already; or the one that the request has. */
  const begin = (turn: TurnRequest) => {
    const make = (record: boolean) => deps.begin({ ...turn, record, answer: answer() }, http.signal);
    return replay ? deps.replays.turnOf(replay, () => make(true)) : make(false);
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
    model: request.model || deps.agents.default.name,
    includeUsage: streamed && request.includeUsage,
  };
  const headers = new Headers({
    "x-session-id": headerText(source.turn.conversation),
    "x-resolved-model": headerText(source.turn.servedBy),
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
      const { text, ending } = await source.gather(http.signal);
      if (ending.estimated) headers.set("x-usage-estimated", "true");
      response = Response.json(form.whole(head, text, ending.finish, ending.usage));
    }
  } catch (error) {
    throw error instanceof Failure ? error.inConversation(headerText(source.turn.conversation)) : error;
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
  served: Served,
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
): ReplayKey | undefined {
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
  const body = createHash("sha256").update(`${http.url}\n${conversation}\n${text}`).digest("hex");
  return idempotencyKey
    ? { name: `key\n${keyId}\n${idempotencyKey}`, body, again: true }
    : { name: `body\n${keyId}\n${body}`, body, again: Number(retries) > 0 };
}
