/** Completions: `POST /v1/chat/completions`, and OpenAI's older `POST /v1/completions`. @module */

import { createHash } from "node:crypto";
import { textOf } from "../conversation/message.ts";
import type { TurnRequest } from "../conversation/registry.ts";
import { AppError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import { holdBodyUntil, holdMore } from "../http/body.ts";
import { type JsonBody, readJson } from "../http/json_body.ts";
import type { KeyLimit } from "../http/key_limit.ts";
import type { Handler } from "../http/router.ts";
import type { TextToSpeech } from "../speech/text_to_speech.ts";
import type { Caller } from "../turn/caller.ts";
import type { CannedReplies } from "../turn/canned_replies.ts";
import type { EmotionWords } from "../turn/emotion.ts";
import type { IdempotencyCache, IdempotencyKey } from "../turn/idempotency.ts";
import type { ModelRouter } from "../turn/model_router.ts";
import type { Turn } from "../turn/turn.ts";
import { chatFrames, spokenFrames, textFrames } from "./chunk.ts";
import { parseVoice, speakReply, SPOKEN_REPLY_SECS, SpokenReplies, VOICE_FIELDS } from "./reply_voice.ts";
import { collectReply, type StreamOptions, streamReply } from "./response.ts";
import { requireUsableSchema, withInstruction } from "./structured_output.ts";
import { promptTokens } from "./usage.ts";
import { checkConversationName, type CompletionRequest, parseChatRequest, parseTextRequest } from "./wire.ts";

/** Longest idempotency key, in characters. */
const MAX_IDEMPOTENCY_CHARS = 256;
/** Headers that name a conversation: ours, and those of the gateways that skins support. */
const CONVERSATION_HEADERS = [
  "X-Session-Id",
  "X-Hermes-Session-Id",
  "x-openclaw-session-key",
  "X-OpenWebUI-Chat-Id",
];

/** The parts of the program that completions need. */
export interface CompletionDeps {
  /** Starts a turn; resolves once the agent took the prompt. @throws {AppError} if the turn cannot start. */
  readonly startTurn: (request: TurnRequest, signal: AbortSignal) => Promise<Turn>;
  readonly router: ModelRouter;
  readonly idempotency: IdempotencyCache;
  readonly cannedReplies: Pick<CannedReplies, "replyTo">;
  readonly stream: StreamOptions;
  /** The voice; `undefined` if the owner has turned it off. */
  readonly textToSpeech: TextToSpeech | undefined;
  readonly emotions: EmotionWords;
  readonly log: Pick<Log, "warn">;
}

/** The endpoints: how they read their requests and write their responses. */
const ENDPOINTS = {
  chat: { idPrefix: "chatcmpl-", parse: parseChatRequest, createFrames: chatFrames },
  text: { idPrefix: "cmpl-", parse: parseTextRequest, createFrames: textFrames },
} as const;

/** Creates the handler of an endpoint. @param texts Counts the replies of each key that are spoken. */
export function completionHandler(
  deps: CompletionDeps,
  endpoint: keyof typeof ENDPOINTS,
  texts: KeyLimit,
): Handler {
  const { idPrefix, parse, createFrames } = ENDPOINTS[endpoint];
  const { stream, textToSpeech, emotions: words } = deps;
  const transcripts = new SpokenReplies();
  return async (http, { requestId, caller }) => {
    const router = deps.router.for(caller);
    const body = await readJson(http);
    const request = parse(body.value, (id) => transcripts.get(id, caller.id));
    // AITuber-kit sends a thread, reads nothing but a stream, and does not ask for one.
    const isStreamed = request.stream ??
      (request.hasThread || (http.headers.get("accept")?.includes("text/event-stream") ?? false));
    const voice = endpoint === "chat"
      ? parseVoice(body.value, { isStreamed, isJson: request.format !== undefined, textToSpeech, caller })
      : undefined;
    const { agent, model, conversation } = router.resolve(request.model);
    const name = conversationName(http.headers, request.conversation ?? conversation?.trim());
    const key = idempotencyKey(http, caller.id, body, name);
    if (request.format) await requireUsableSchema(request.format, http.signal);
    // The limit is checked before the turn begins, so that a refused message never reaches the agent.
    const place = voice && texts.take(caller);
    let turn: Turn | undefined;
    const starting = startOrJoin(deps, key, request, {
      caller,
      conversation: { owner: caller.id, name },
      agent,
      model,
      messages: request.messages,
      // The prompt of the older endpoint may be a whole transcript.
      mayCommand: endpoint === "chat" && caller.scopes.has("commands"),
      record: key !== undefined,
    }, http.signal).then((started) => turn = started);
    holdBodyUntil(http, starting);

    const options = { ...request, promptTokens: promptTokens(request.messages) };
    const head = {
      id: idPrefix + requestId,
      created: Math.floor(Date.now() / 1000),
      model: request.model || router.default.name,
      includeUsage: request.includeUsage,
    };
    const sound = { id: `audio_${requestId}`, expiresAt: head.created + SPOKEN_REPLY_SECS };
    const onFailure = (error: unknown) => deps.log.warn("a reply is not spoken", { error, requestId });
    let response: Response;
    try {
      if (isStreamed) {
        const spoken = voice && textToSpeech && {
          frames: spokenFrames(head, sound),
          options: { textToSpeech, request: voice, words, onFailure },
          onEnd: (text: string) => transcripts.set(sound.id, caller.id, text),
          onClose: () => place?.[Symbol.dispose](),
        };
        response = await streamReply(
          starting,
          options,
          spoken?.frames ?? createFrames(head),
          stream,
          http.signal,
          spoken,
        );
      } else {
        const { text, end } = await collectReply(await starting, options, http.signal);
        const data = voice && textToSpeech &&
          await speakReply(text, {
            ...{ textToSpeech, request: voice, words, signal: http.signal },
            hold: (bytes) => holdMore(http, bytes),
          }).catch(onFailure);
        const audio = data
          ? { id: sound.id, data, expires_at: sound.expiresAt, transcript: text.trimEnd() }
          : undefined;
        if (audio) transcripts.set(sound.id, caller.id, text);
        response = Response.json(createFrames(head).body(text, end.finish, end.usage, audio));
        if (end.isEstimated) response.headers.set("x-usage-estimated", "true");
        place?.[Symbol.dispose]();
      }
    } catch (error) {
      place?.[Symbol.dispose]();
      throw error instanceof AppError && turn ? error.inConversation(headerText(turn.conversation)) : error;
    }
    const ignored = voice
      ? request.ignored.filter((field) => !VOICE_FIELDS.includes(field))
      : request.ignored;
    setTurnHeaders(response.headers, turn, name, ignored);
    return response;
  };
}

/** Joins the turn of an earlier request with the same key, or starts a new one. */
export function startOrJoin(
  { startTurn, idempotency, cannedReplies }: CompletionDeps,
  key: IdempotencyKey | undefined,
  { messages, format }: Pick<CompletionRequest, "messages" | "format">,
  turn: TurnRequest & { readonly caller: Caller },
  signal: AbortSignal,
): Promise<Turn> {
  const start = () => {
    if (format) return startTurn({ ...turn, messages: withInstruction(messages, format) }, signal);
    const last = messages.at(-1);
    // The lookup uses the canned reply up, so a request that joins a turn must not look.
    const cannedReply = last?.role === "user"
      ? cannedReplies.replyTo(textOf(last), turn.caller.id)
      : undefined;
    return startTurn({ ...turn, cannedReply }, signal);
  };
  return key ? idempotency.getOrStart(key, start) : start();
}

/**
 * Tells in the headers of a response of its turn, and of fields that are ignored.
 *
 * @param turn The turn, unless the response begins before its turn.
 * @param name The conversation, if it is known before the turn.
 */
export function setTurnHeaders(
  headers: Headers,
  turn: Turn | undefined,
  name: string | undefined,
  ignored: readonly string[],
): void {
  const conversation = turn?.conversation ?? name;
  if (conversation !== undefined) headers.set("x-session-id", headerText(conversation));
  if (turn) headers.set("x-resolved-model", headerText(turn.resolvedModel));
  if (ignored.length > 0) headers.set("x-vtuber-ignored", ignored.join(", "));
}

/** The conversation that a request names, as a header can carry it; headers come before the body. */
export function conversationName(headers: Headers, fallback: string | undefined): string | undefined {
  for (const header of CONVERSATION_HEADERS) {
    const value = headers.get(header) ?? "";
    const name = decodeHeader(value).trim();
    // opencode sends both with every request of a session, such as those for titles: it names no conversation.
    if (name === "" || header === "X-Session-Id" && value === headers.get("x-session-affinity")) continue;
    checkConversationName(name, header);
    return headerText(name);
  }
  return fallback === undefined ? undefined : headerText(fallback);
}

/** Percent-encodes text that is not ASCII. */
export function headerText(text: string): string {
  return /^[\x20-\x7e]*$/.test(text) ? text : encodeURIComponent(text.toWellFormed());
}

/** Decodes a header that curl and others send as UTF-8, and that Deno reads as Latin-1. */
function decodeHeader(text: string): string {
  if (text === "") return text;
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
 */
export function idempotencyKey(
  { headers, url }: Request,
  owner: string,
  { text }: JsonBody,
  conversation = "",
): IdempotencyKey | undefined {
  const key = headers.get("idempotency-key")?.trim();
  const retries = headers.get("x-stainless-retry-count");
  if (!key && retries === null) return undefined;
  if (key && key.length > MAX_IDEMPOTENCY_CHARS) {
    const param = "Idempotency-Key";
    throw new AppError("invalid_value", `"${param}" is longer than ${MAX_IDEMPOTENCY_CHARS} characters.`, {
      param,
    });
  }
  // Synchronous on purpose: with an await here a later request could overtake an earlier one.
  const bodyHash = createHash("sha256").update(`${url}\n${conversation}\n${text}`).digest("hex");
  return key
    ? { owner, name: `key\n${key}`, bodyHash, isRetry: true }
    : { owner, name: `body\n${bodyHash}`, bodyHash, isRetry: Number(retries) > 0 };
}
