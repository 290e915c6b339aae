/** A response from the start of its turn to its end: it is built, streamed and kept. @module */

import type { AppError } from "../../core/errors.ts";
import { EventStream } from "../../http/sse.ts";
import type { PermissionRequest } from "../../turn/event.ts";
import type { Turn } from "../../turn/turn.ts";
import { createReplyReader, failedReply, type ReplyEnd, type ReplySink } from "../reply_reader.ts";
import { jsonSink, type StreamOptions } from "../response.ts";
import type { Approvals } from "./approvals.ts";
import { EventLog } from "./event_log.ts";
import { MAX_REPLY_CHARS, ResponseBuilder, type ResponseHead, type ResponseObject } from "./events.ts";
import type { HistoryItem } from "./items.ts";
import type { ResponseStore, RunningResponse } from "./store.ts";
import type { ResponseRequest } from "./wire.ts";

/** The facts of a response that is run. */
export interface RunOptions {
  readonly head: ResponseHead;
  readonly request: ResponseRequest;
  /** The items of the request, with references replaced. */
  readonly input: readonly HistoryItem[];
  /** The id of the caller. */
  readonly owner: string;
  /** The name of the agent. */
  readonly agent: string;
  /** The name of the conversation, if it is known before the turn. */
  readonly conversation: string | undefined;
  readonly store: ResponseStore;
  readonly approvals: Approvals;
  /** Ends the start of the turn, and the check of its JSON. */
  readonly stopping: AbortController;
  /** Aborts when the start of the turn is given up: by `stopping`, or by the client of a response in the foreground. */
  readonly signal: AbortSignal;
  /** The settings of a stream; without them, the response is not streamed. */
  readonly stream: StreamOptions | undefined;
}

/** A response that is being made. It is in the store from the beginning. */
export class ResponseRun {
  /** The body of the response, if it is streamed. */
  readonly stream: EventStream | undefined;
  /** Resolves to the end of the reply; to `undefined` if the response is cancelled before. */
  readonly ended: Promise<ReplyEnd | undefined>;
  readonly #builder: ResponseBuilder;
  readonly #log: EventLog | undefined;
  readonly #options: RunOptions;
  readonly #sink: ReplySink;
  readonly #kept: RunningResponse;
  readonly #resolveEnded: (end: ReplyEnd | undefined) => void;
  #turn: Turn | undefined;
  #stopReading = () => {};
  /** The failure of the reply, if it came before any text. */
  #earlyFailure: AppError | undefined;

  constructor(options: RunOptions) {
    const { head, request, input, owner, agent, store, stopping, stream: settings } = options;
    this.#options = options;
    const { promise, resolve } = Promise.withResolvers<ReplyEnd | undefined>();
    this.ended = promise;
    this.#resolveEnded = resolve;
    const stream = this.stream = settings && new EventStream({
      heartbeatMs: settings.heartbeat === "off" ? 0 : settings.heartbeatMs,
      heartbeat: () => this.#builder.keepAlive(),
      onDisconnect: () => {
        if (!request.background) this.hangUp();
      },
    });
    const log = this.#log = request.background ? new EventLog() : undefined;
    const emit = (data: string, type: string) => {
      log?.add(data, type);
      stream?.send(data, type);
    };
    const builder = this.#builder = new ResponseBuilder(head, log || stream ? emit : undefined);
    this.#kept = store.start({
      ...{ id: head.id, owner, agent, conversation: options.conversation, input, store: request.store },
      previousId: request.previousResponseId,
      createdAt: Date.now(),
      events: log,
      current: () => builder.toResponse(),
      cancel: () => this.cancel(),
    });
    const sink = { ...builder.sink, end: (end: ReplyEnd) => this.#end(end) };
    this.#sink = request.format ? jsonSink(request.format, sink, "", stopping.signal) : sink;
  }

  /** The response as it is now. */
  get response(): ResponseObject {
    return this.#builder.toResponse();
  }

  /**
   * Reads the turn.
   *
   * @throws {AppError} if the turn has failed already, before any text; `turn_cancelled` if a repeated request can no
   *   longer read it from its start.
   */
  read(turn: Turn): void {
    const { request, head } = this.#options;
    this.#turn = turn;
    this.#kept.attach(turn);
    this.#builder.start();
    const reader = createReplyReader(
      { ...request, promptTokens: head.promptTokens },
      {
        ...this.#sink,
        end: (end) => {
          this.#sink.end(end);
          if (end.cut) turn.endReply(end.cut);
        },
      },
      MAX_REPLY_CHARS,
    );
    this.#stopReading = turn.read(reader);
    // The client hung up before the turn began.
    if (this.#builder.isOver) this.#stopReading();
    if (this.#earlyFailure) throw this.#earlyFailure.afterPrompt();
  }

  /** Ends a response whose turn could not begin. */
  fail(failure: AppError): void {
    this.#end(failedReply(failure, this.#options.head.promptTokens));
  }

  /** Ends the response and its turn, because somebody cancels it. */
  cancel(): void {
    if (this.#builder.isOver) return;
    // First, so that the end of the turn finds the response over.
    this.#builder.cancel();
    this.#options.stopping.abort();
    this.#turn?.cancel();
    this.#finish(undefined);
  }

  /** Ends the response of a client that is gone. Its turn ends unless a repeated request reads it. */
  hangUp(): void {
    if (this.#builder.isOver) return;
    this.#builder.cancel();
    this.#stopReading();
    this.#finish(undefined);
  }

  #end(end: ReplyEnd): void {
    if (this.#builder.isOver) return;
    if (!hasText(this.response)) this.#earlyFailure = end.failure;
    if (end.asks) this.#askApproval(end.asks, end.tail);
    else this.#builder.sink.end(end);
    this.#finish(end);
  }

  #askApproval(permission: PermissionRequest, tail: string): void {
    const rest = tail.trimEnd();
    if (rest !== "") this.#builder.sink.text(rest, false);
    const id = this.#builder.askApproval(permission);
    const { approvals, owner, head } = this.#options;
    if (!id || !this.#turn) return;
    approvals.add({ id, owner, permission, earlier: head.approvals, turn: this.#turn });
  }

  #finish(end: ReplyEnd | undefined): void {
    const { response } = this;
    this.stream?.end();
    this.#log?.end();
    if (response.status === "cancelled" || response.status === "failed") this.#kept.cutOff();
    // It never rejects, and nobody waits for the file.
    this.#kept.finish(response);
    this.#resolveEnded(end);
  }
}

/** Whether a response says anything. */
export function hasText({ output }: ResponseObject): boolean {
  return output.some((item) => item.type === "message" && item.content.length > 0);
}
