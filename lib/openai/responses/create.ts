/** `POST /v1/responses`. @module */

import type { Message } from "../../conversation/message.ts";
import { abortable } from "../../core/abortable.ts";
import { settlesWithin } from "../../core/deadline.ts";
import { AppError, toAppError } from "../../core/errors.ts";
import { holdBodyUntil } from "../../http/body.ts";
import { readJson } from "../../http/json_body.ts";
import type { Handler } from "../../http/router.ts";
import { EVENT_STREAM_HEADERS } from "../../http/sse.ts";
import type { Caller } from "../../turn/caller.ts";
import type { IdempotencyKey } from "../../turn/idempotency.ts";
import type { Turn } from "../../turn/turn.ts";
import {
  type CompletionDeps,
  conversationName,
  headerText,
  idempotencyKey,
  setTurnHeaders,
  startOrJoin,
} from "../chat.ts";
import { HEAD_MS, type StreamOptions, UNFINISHED } from "../response.ts";
import { requireUsableSchema } from "../structured_output.ts";
import { promptTokens } from "../usage.ts";
import { contentSize, requireContent } from "../wire.ts";
import type { ApprovalAnswer, Approvals } from "./approvals.ts";
import { type HistoryItem, resolveReferences, responseId, toMessages } from "./items.ts";
import { hasText, ResponseRun, type RunOptions } from "./run.ts";
import type { KeptResponse, ResponseStore } from "./store.ts";
import { instructionMessages, parseResponseRequest, type ResponseRequest } from "./wire.ts";

/** The parts of the program that responses need. */
export interface ResponseDeps extends CompletionDeps {
  readonly responses: ResponseStore;
  readonly approvals: Approvals;
}

/** Creates the handler that makes responses. */
export function createHandler(deps: ResponseDeps): Handler {
  const { responses: store, approvals, stream: settings } = deps;
  return async (http, { requestId, caller }) => {
    const router = deps.router.for(caller);
    const body = await readJson(http);
    const request = parseResponseRequest(body.value, caller.scopes.has("permissions"));
    const { agent, model, conversation } = router.resolve(request.model);
    const id = responseId(requestId);
    if (request.format) await requireUsableSchema(request.format, http.signal);
    // Nothing waits from here to the start of the turn, so that no other request can come between.
    const { input, messages, previous, answer } = readTranscript(deps, request, caller);

    const requestedName = previous
      ? undefined
      : conversationName(http.headers, request.conversation ?? conversation?.trim());
    const continuesNewest = previous && previous.agent === agent.name && store.isNewest(previous);
    // A new name keeps a branch out of the conversation that it leaves, whose messages it repeats.
    const name = previous ? continuesNewest ? previous.conversation : id : requestedName;
    const stopping = new AbortController();
    const signal = request.background ? stopping.signal : AbortSignal.any([http.signal, stopping.signal]);
    let turn: Turn | undefined;
    // The key is without the name that a branch gets, because a repeated request would get another one.
    const key = idempotencyKey(http, caller.id, body, requestedName);
    const continuing = answer && continueOrJoin(deps, key, () =>
      approvals.answer(answer, {
        previousId: request.previousResponseId,
        conversation: requestedName,
      }));
    const starting = (continuing ?? startOrJoin(deps, key, { ...request, messages }, {
      caller,
      conversation: { owner: caller.id, name },
      agent,
      model,
      messages,
      mayCommand: caller.scopes.has("commands"),
      record: key !== undefined,
      asksReaders: request.asksForApproval,
    }, signal)).then((started) => turn = started);
    holdBodyUntil(http, starting);

    const response = await respond(starting, {
      head: {
        ...{ id, createdAt: Math.floor(Date.now() / 1000), model: request.model || router.default.name },
        serverLabel: request.approvalLabel ?? agent.name,
        ...{ promptTokens: promptTokens(messages), conversation: requestedName, echo: request.echo },
        approvals: answer?.approval?.byTool,
      },
      ...{ request, input, owner: caller.id, agent: agent.name, conversation: name, store, approvals },
      ...{ stopping, signal },
      stream: request.stream ? settings : undefined,
    }, http.signal).catch((error) => {
      throw error instanceof AppError && turn ? error.inConversation(headerText(turn.conversation)) : error;
    });
    setTurnHeaders(response.headers, turn, name, request.ignored);
    return response;
  };
}

/** The items of a request, and what they go on with. */
interface Transcript {
  /** The items, with references replaced. */
  readonly input: readonly HistoryItem[];
  /** The messages, after those of the earlier responses. */
  readonly messages: readonly Message[];
  /** The response that the request continues. */
  readonly previous: KeptResponse | undefined;
  /** The answer to an approval request. */
  readonly answer: ApprovalAnswer | undefined;
}

/**
 * Reads the items of a request, and of the responses that it continues.
 *
 * @throws {AppError} if an item or a response is unknown, the answer is not allowed, or the request has no content.
 */
function readTranscript(
  { responses: store, approvals }: ResponseDeps,
  request: ResponseRequest,
  caller: Caller,
): Transcript {
  const input = resolveReferences(request.items, store.createItemFinder(caller.id));
  const previous = request.previousResponseId
    ? store.requirePrevious(caller.id, request.previousResponseId)
    : undefined;
  const instructions = instructionMessages(request.instructions);
  const own = [...instructions, ...toMessages(input)];
  const answer = approvals.find(caller, input);
  requireContent(own, "input", answer !== undefined);
  const history = previous ? store.chain(caller.id, previous.id, contentSize(own)) : [];
  return { input, messages: [...instructions, ...toMessages([...history, ...input])], previous, answer };
}

/** Joins the turn of an earlier request with the same key, or goes on with a turn that waits for an answer. */
async function continueOrJoin(
  { idempotency }: CompletionDeps,
  key: IdempotencyKey | undefined,
  goOn: () => Turn,
): Promise<Turn> {
  return key ? await idempotency.getOrStart(key, () => Promise.try(goOn)) : goOn();
}

/**
 * Responds in the way that the request asks for.
 *
 * @param signal Aborts when the client hangs up.
 */
function respond(starting: Promise<Turn>, options: RunOptions, signal: AbortSignal): Promise<Response> {
  if (options.request.background) return runInBackground(starting, options);
  if (options.stream) return stream(starting, options, options.stream);
  return collect(starting, options, signal);
}

/**
 * Answers at once. The turn goes on without the client.
 *
 * @throws {AppError} if the turn is refused at once, as beyond a limit.
 */
async function runInBackground(starting: Promise<Turn>, options: RunOptions): Promise<Response> {
  // Limits are checked without a wait, so that a refusal comes before any timer.
  await settlesWithin(0, starting);
  const run = new ResponseRun(options);
  const response = run.stream ? eventStream(run) : Response.json(run.response);
  readLater(run, starting, options);
  return response;
}

/**
 * Streams the events of a response, as `streamReply` streams a completion.
 *
 * @throws {AppError} if the turn fails to start before the head of the stream, or fails before any text.
 */
async function stream(
  starting: Promise<Turn>,
  options: RunOptions,
  { headMs = HEAD_MS }: StreamOptions,
): Promise<Response> {
  const isTaken = await settlesWithin(headMs, starting);
  const run = new ResponseRun(options);
  if (isTaken) readNow(run, await starting);
  else readLater(run, starting, options);
  return eventStream(run);
}

/**
 * Waits for the end of a response.
 *
 * @throws {AppError} the turn's failure, unless it leaves an unfinished text; the signal's reason if it aborts.
 */
async function collect(
  starting: Promise<Turn>,
  options: RunOptions,
  signal: AbortSignal,
): Promise<Response> {
  const turn = await starting;
  const run = new ResponseRun(options);
  readNow(run, turn);
  const end = await abortable(run.ended, signal).catch((error) => {
    run.hangUp();
    throw error;
  });
  const { failure, isEstimated } = end ?? {};
  const response = run.response;
  if (failure && !(hasText(response) && UNFINISHED[failure.code])) throw failure.afterPrompt();
  return Response.json(response, { headers: isEstimated ? { "x-usage-estimated": "true" } : {} });
}

function eventStream({ stream }: ResponseRun): Response {
  return new Response(stream!.body, { headers: EVENT_STREAM_HEADERS });
}

/** Reads a turn that has started. @throws {AppError} as {@linkcode ResponseRun.read}. */
function readNow(run: ResponseRun, turn: Turn): void {
  try {
    run.read(turn);
  } catch (error) {
    run.fail(toAppError(error, "internal_error"));
    throw error;
  }
}

/** Reads a turn once it has started. */
function readLater(run: ResponseRun, starting: Promise<Turn>, { signal }: RunOptions): void {
  starting.then((turn) => run.read(turn)).catch((error) => {
    run.fail(toAppError(error, "internal_error"));
    // A fault of this program goes to the log, as every uncaught error does.
    if (!(error instanceof AppError) && !signal.aborted) throw error;
  });
}
