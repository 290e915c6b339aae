/** Runs a turn: sends the prompt, watches its time limits, and hands every event to its readers. @module */

import { abortable } from "../core/abortable.ts";
import { settlesWithin } from "../core/deadline.ts";
import { AppError, toAppError } from "../core/errors.ts";
import { type IdleTimer, startIdleTimer } from "../core/idle_timer.ts";
import type { PromptBlock, Session } from "./agent.ts";
import type { EmotionWords } from "./emotion.ts";
import {
  isLast,
  type LastEvent,
  type PermissionId,
  type PermissionRequest,
  type PermissionResolution,
  type QuestionRequest,
  type SessionId,
  type TurnEvent,
  type TurnId,
  type TurnReader,
} from "./event.ts";
import { OpenItems } from "./open_items.ts";
import type { PermissionPolicy } from "./permission.ts";
import { ReplyReaders } from "./reply_readers.ts";
import { SpeechScan } from "./speech_scan.ts";

/** Characters of a turn's text and thoughts. A turn that goes beyond is ended, as `max_tokens`. */
export const MAX_TURN_CHARS = 8 * 1024 * 1024;
/** Longest wait of the readers for the observer's promise about the last event, in milliseconds. */
const OBSERVER_WAIT_MS = 1_000;
/** Longest wait of a newer request for the open tools of a turn whose reply is complete, in milliseconds. */
const TOOL_WAIT_MS = 30_000;

/** Time limits of a turn, in milliseconds; 0 is no limit. */
export interface TurnLimits {
  /** Longest silence of the agent. */
  readonly replyTimeoutMs: number;
  /** Longest turn. */
  readonly turnTimeoutMs: number;
}

/**
 * Why a turn was cancelled: its readers hung up, a person interrupted it, a newer request superseded it, or the reply
 * has reached its stop sequence.
 */
export type CancelCause = "disconnect" | "api" | "barge_in" | "stop";

/** Watches turns without taking part in them. It must not throw. */
export interface TurnObserver {
  /** The agent has the prompt. Comes before every event. */
  onStart(turn: Turn): void;
  /**
   * May return a promise for the last event: the readers get this event once the promise settles, or after a second.
   */
  onEvent(event: TurnEvent, turn: Turn): void | Promise<void>;
  /** The reply is complete with a question, and the turn goes on: see {@linkcode Turn.answerQuestion}. */
  onReplyEnd?(): void;
  /**
   * Whether the observer wants `speech` events, and each `emotion` at once. The turn asks this for every text. If not,
   * the turn sends no `speech`, and looks for emotions only when the text pauses.
   */
  readonly wantsSpeech: boolean;
}

/** Measures one request for a turn, which may never start. It must not throw. */
export interface TurnMeter extends Pick<TurnObserver, "onStart" | "onEvent"> {
  /** The agent did not get the prompt. `error` is no `AppError` if the caller hung up. */
  onRejected(error: unknown): void;
}

/** A prompt, and the session that gets it. */
export interface Attempt {
  readonly session: Session;
  readonly blocks: readonly PromptBlock[];
  /** See {@linkcode Session.prompt}. */
  readonly permissions?: PermissionPolicy | undefined;
}

/** Another attempt. */
export interface Retry {
  readonly attempt: Promise<Attempt>;
  /** Called if the attempt could not be made, or its prompt was not taken. */
  onFailed(error: unknown): void;
}

/** The parts of a turn. */
export interface TurnOptions extends Attempt {
  readonly limits: TurnLimits;
  /** The conversation's name; by default the session's id. */
  readonly conversation?: string | undefined;
  /** The answering agent's name, or `agent/model`. */
  readonly resolvedModel: string;
  /** The program itself prompted the agent, so that no client may be waiting for the reply. */
  readonly unsolicited?: boolean;
  readonly observer?: TurnObserver | undefined;
  /** The emotion words to find in the reply; without them the reply is not scanned at all. */
  readonly emotions?: EmotionWords | undefined;
  /** Keeps the events, so that a repeated request can {@linkcode Turn.read} them from the start. */
  readonly record?: boolean;
  /** Speaks the questions that words can answer, because the conversation's next message may answer them. */
  readonly speaksQuestions?: boolean;
  /** Ends the reply with each permission request, because its reader answers it: see {@linkcode Turn.resumeReply}. */
  readonly asksReaders?: boolean | undefined;
  /**
   * Asked once, if no text, tool call or question came before the agent's last event: may return another attempt, with
   * which the turn goes on. If the attempt cannot start, the turn ends with the first one's last event.
   *
   * @param signal Aborts when the turn is cancelled.
   */
  readonly retry?: (last: LastEvent, signal: AbortSignal) => Retry | undefined;
}

/** One prompt, and everything that the agent does in answer to it. Made by {@linkcode runTurn}. */
export class Turn {
  readonly id: TurnId = crypto.randomUUID() as TurnId;
  readonly conversation: string;
  readonly resolvedModel: string;
  readonly unsolicited: boolean;
  /** Resolves once the agent has ended the turn, which may be after its readers got the last event. */
  readonly ended: Promise<void>;

  readonly #limits: TurnLimits;
  readonly #readers: ReplyReaders;
  #speaksQuestions: boolean;
  #asksReaders: boolean;
  readonly #observer: TurnObserver | undefined;
  readonly #scan: SpeechScan | undefined;
  readonly #resolveEnded: () => void;
  readonly #open = new OpenItems();
  /** Aborts to ask the agent to stop. */
  readonly #stopping = new AbortController();
  /** The time limits, which end with the turn. */
  readonly #timers = new DisposableStack();
  /** The question that was spoken last. */
  #spoken: QuestionRequest | undefined;
  /** The permission request with which the reply has ended. */
  #asked: PermissionRequest | undefined;
  #replyNumber = 1;
  #sessionId: SessionId;
  #retry: TurnOptions["retry"];
  #chars = 0;
  #hasText = false;
  /** Whether the agent has called a tool or asked a question. */
  #hasActed = false;
  #isStarted = false;
  /** Whether the text that the agent still says belongs to no reply. */
  #isMuted = false;
  #cancelledBy: CancelCause | undefined;
  #isAbandoned = false;
  #isOver = false;
  #silence: IdleTimer | undefined;
  /** Runs while a newer request waits for the open tools. */
  #toolWait: IdleTimer | undefined;

  /** Not for callers: {@linkcode runTurn} makes turns. */
  constructor({ session, limits, emotions, ...options }: TurnOptions) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#resolveEnded = resolve;
    this.#sessionId = session.id;
    this.#retry = options.retry;
    this.conversation = options.conversation ?? session.id;
    this.resolvedModel = options.resolvedModel;
    this.unsolicited = options.unsolicited ?? false;
    this.#limits = limits;
    this.#readers = new ReplyReaders(options.record ?? false);
    this.#speaksQuestions = options.speaksQuestions ?? false;
    this.#asksReaders = options.asksReaders ?? false;
    this.#observer = options.observer;
    const { observer } = options;
    this.#scan = emotions && new SpeechScan(
      emotions,
      () => observer?.wantsSpeech ?? false,
      (event) => this.#emit(event),
    );
  }

  /** The number of the reply that new readers get: 1, and one more after each answer of a reader. */
  get replyNumber(): number {
    return this.#replyNumber;
  }

  /** The session that has the prompt. */
  get sessionId(): SessionId {
    return this.#sessionId;
  }

  /** Whether the last event is decided. The readers may get it a moment later. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Whether the turn was cancelled. Its agent may not have stopped yet. */
  get isCancelled(): boolean {
    return this.#cancelledBy !== undefined;
  }

  /** Why the turn was cancelled, if it was. */
  get cancelledBy(): CancelCause | undefined {
    return this.#cancelledBy;
  }

  /** Whether the last reader left before the turn was over. */
  get isAbandoned(): boolean {
    return this.#isAbandoned;
  }

  /** Not for callers: sends the prompt. */
  async start(attempt: Attempt): Promise<void> {
    const { replyTimeoutMs, turnTimeoutMs } = this.#limits;
    try {
      await this.#send(attempt);
    } catch (error) {
      // The observer knows of the turn if an event came before the error, and so needs its end.
      if (this.#isStarted) this.fail(toAppError(error, "agent_unavailable"));
      throw error;
    }
    this.#announce();
    if (this.#isOver) return;
    this.#silence = this.#timers.use(startIdleTimer(replyTimeoutMs, () => {
      // While the agent waits for a person, the request has a time limit of its own.
      if (this.#open.waitsForPerson) return;
      this.#timeOut(`The agent was silent for ${replyTimeoutMs / 1000} seconds.`);
    }));
    this.#timers.use(startIdleTimer(turnTimeoutMs, () => {
      this.#timeOut(`The turn took longer than ${turnTimeoutMs / 1000} seconds.`);
    }));
  }

  /**
   * Hands every event from the start of the turn to `reader`; earlier events come at once. A turn that is not recorded
   * has one reader.
   *
   * @returns A function that stops reading. The last reader that leaves cancels the turn. While a spoken question is
   *   open, it ends only the reply.
   * @throws {AppError} `turn_cancelled` if the events from the start are gone.
   */
  read(reader: TurnReader): () => void {
    this.#readers.add(reader);
    return () => {
      if (!this.#readers.remove(reader) || this.#isOver) return;
      // Some clients close the response when the person answers the question of the agent with the next message.
      if (this.#spokenQuestion) return this.#suspendReply();
      this.#abandon();
    };
  }

  /**
   * Ends the reply for its readers, which may leave. The observer still gets events, but no text and no thoughts. After
   * `length` the agent goes on with its work. After `stop` the turn is cancelled, unless the agent has called a tool or
   * asked a question.
   */
  endReply(cut: "length" | "stop"): void {
    if (this.#isOver || this.isCancelled) return;
    this.#isMuted = true;
    this.#readers.close();
    if (cut === "stop" && !this.#hasActed) this.cancel("stop");
  }

  /**
   * Answers the open question that was spoken, if these words answer it. The reply so far ends, and the readers that
   * come next read what the agent says from now on.
   */
  answerQuestion(words: string, asksReaders = false): boolean {
    if (this.#isOver || this.isCancelled || !this.#spokenQuestion?.answerInWords?.(words)) return false;
    this.#asksReaders = asksReaders;
    if (!this.#readers.isClosed) this.#suspendReply();
    this.resumeReply();
    return true;
  }

  /** Whether the reply has ended with this permission request, and the turn was neither read on nor cancelled since. */
  isAsking(id: PermissionId): boolean {
    return this.#asked?.id === id && !this.isCancelled;
  }

  /**
   * Begins the next reply after one that was suspended. Its readers get everything that came since. If a permission
   * request is still open, the reply ends with it.
   */
  resumeReply(): void {
    this.#asked = undefined;
    this.#readers.resume();
    this.#replyNumber++;
    this.#askReaders();
  }

  /**
   * Asks the agent to stop. The turn ends as cancelled, whatever the agent answers, and its later text is dropped. Does
   * nothing once the turn is over.
   */
  cancel(by: CancelCause = "api"): void {
    if (this.#isOver || this.isCancelled) return;
    this.#cancelledBy = by;
    this.#stopping.abort();
  }

  /**
   * Cancels the turn for a newer request of its conversation. If the readers have the whole reply and a tool is open,
   * waits until none is, at most {@linkcode TOOL_WAIT_MS}.
   */
  supersede(): void {
    if (this.#isOver) return;
    if (!this.#isMuted || !this.#open.hasTools) return this.cancel("barge_in");
    this.#toolWait ??= this.#timers.use(startIdleTimer(TOOL_WAIT_MS, () => this.cancel("barge_in")));
  }

  /** Ends the turn at once with this failure, and asks the agent to stop. */
  fail(failure: AppError): void {
    if (this.#isOver) return;
    this.#end({ type: "failure", failure });
    this.#stopping.abort();
  }

  /**
   * Asks the readers nothing from now on, because no request can answer. A turn that waits for an answer after the end
   * of its reply fails.
   */
  refuseAnswers(failure: AppError): void {
    this.#asksReaders = false;
    this.#speaksQuestions = false;
    if (this.#readers.isSuspended && this.#open.waitsForPerson) this.fail(failure);
  }

  /** Sends the prompt of an attempt, which is cancelled once the agent is asked to stop. */
  async #send({ session, blocks, permissions }: Attempt): Promise<void> {
    const reader: TurnReader = Object.assign((event: TurnEvent) => this.#onAgentEvent(event), {
      answersPermissions: () => this.#canAskReaders,
    });
    const prompt = await session.prompt(blocks, reader, permissions);
    const { signal } = this.#stopping;
    if (signal.aborted) prompt.cancel();
    else signal.addEventListener("abort", () => prompt.cancel(), { once: true });
  }

  #timeOut(message: string): void {
    this.fail(new AppError("agent_timeout", message, { prompted: true }));
  }

  #announce(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#observer?.onStart(this);
  }

  #onAgentEvent(event: TurnEvent): void {
    if (!this.#isOver) {
      this.#announce();
      this.#silence?.touch();
      if (event.type === "text" || event.type === "thought") {
        this.#onWords(event);
      } else if (isLast(event)) {
        if (this.#tryAgain(event)) return;
        this.#end(event);
      } else {
        this.#scan?.pause();
        this.#open.track(event);
        this.#hasActed ||= event.type === "tool" || event.type === "question";
        this.#emit(event);
        if (event.type === "question") this.#onQuestion(event.request);
        if (event.type === "permission") this.#askReaders();
        if (event.type === "permission_resolved") this.#onPermissionResolved(event.resolution);
        // A tool that closes because the turn ends is followed by the last event: nothing is left to cancel.
        const isClosing = event.type === "tool" && event.closing;
        if (this.#toolWait && !this.#open.hasTools && !isClosing) this.cancel("barge_in");
      }
    }
    if (isLast(event)) this.#resolveEnded();
  }

  /** Goes on with another attempt, if there is one. */
  #tryAgain(last: LastEvent): boolean {
    if (this.isCancelled || this.#hasText || this.#hasActed) return false;
    const retry = this.#retry;
    this.#retry = undefined;
    const again = retry?.(last, this.#stopping.signal);
    if (again === undefined) return false;
    this.#startAgain(again, last);
    return true;
  }

  async #startAgain({ attempt, onFailed }: Retry, last: LastEvent): Promise<void> {
    try {
      const next = await attempt;
      this.#stopping.signal.throwIfAborted();
      this.#sessionId = next.session.id;
      await this.#send(next);
    } catch (error) {
      onFailed(error);
      if (!this.#isOver) this.#end(last);
      this.#resolveEnded();
    }
  }

  #onWords(event: TurnEvent & { readonly type: "text" | "thought" }): void {
    if (this.isCancelled || this.#isMuted) return;
    this.#chars += event.text.length;
    if (this.#chars > MAX_TURN_CHARS) {
      this.#end({ type: "end", reason: "max_tokens" });
      return this.#stopping.abort();
    }
    if (event.type === "thought") {
      this.#scan?.pause();
    } else {
      this.#hasText ||= /\S/.test(event.text);
      this.#scan?.push(event.text);
    }
    this.#emit(event);
  }

  /** Speaks a question that words can answer, one at a time. Cancels a question that nobody sees or hears. */
  #onQuestion(request: QuestionRequest): void {
    const isHeard = this.#speaksQuestions && !this.isCancelled && !this.#readers.isClosed;
    if (isHeard && request.answerInWords && this.#spokenQuestion === undefined) {
      this.#spoken = request;
      this.#speak(request);
    } else if (!request.isShown) request.cancel();
  }

  /**
   * Speaks a question. If nobody else can answer it, the reply ends, for the next message. If a limit cuts the question,
   * nobody has heard it.
   */
  #speak({ message, fields, isShown, cancel }: QuestionRequest): void {
    const choices = fields.flatMap(({ options = [] }) => options.map(({ title }) => `- ${title}`));
    const question = [message, ...choices].join("\n");
    this.#onWords({ type: "text", text: this.#hasText ? `\n\n${question}` : question });
    this.#scan?.pause();
    if (isShown) return;
    if (this.#isMuted) cancel();
    else this.#suspendReply();
  }

  /** The open question that was spoken. */
  get #spokenQuestion(): QuestionRequest | undefined {
    return this.#spoken && !this.#isMuted && this.#open.hasQuestion(this.#spoken.id)
      ? this.#spoken
      : undefined;
  }

  /** Ends the reply with the permission request that is open, if its reader is to answer it. */
  #askReaders(): void {
    const { permission } = this.#open;
    if (permission && this.#canAskReaders && !this.#readers.isClosed) this.#suspendReply(permission);
  }

  get #canAskReaders(): boolean {
    return this.#asksReaders && !this.#isOver && !this.isCancelled && !this.#isMuted;
  }

  /** Ends the reply while the turn waits for an answer to its spoken question, or to this permission request. */
  #suspendReply(asks?: PermissionRequest): void {
    this.#asked = asks;
    this.#readers.suspend({ type: "end", reason: "end_turn", ...(asks ? { asks } : {}) });
    if (asks === undefined) this.#observer?.onReplyEnd?.();
  }

  /** Ends a turn whose readers did not come back in time. If a watcher has answered in their place, the turn goes on. */
  #onPermissionResolved({ outcome }: PermissionResolution): void {
    if (outcome === "expired" && this.#asked) this.#abandon();
  }

  #abandon(): void {
    this.#isAbandoned = true;
    this.cancel("disconnect");
  }

  /**
   * A cancelled turn ends as cancelled, and no other does: a `cancelled` that this side did not ask for is a failure.
   */
  #lastEvent(event: LastEvent): LastEvent {
    if (this.isCancelled) return { type: "end", reason: "cancelled" };
    const isEmpty = !this.#hasText && !this.#hasActed;
    if (event.type === "end" && event.reason === "end_turn" && isEmpty) return { ...event, isEmpty };
    if (event.type !== "end" || event.reason !== "cancelled") return event;
    const failure = new AppError("agent_cancelled", "The agent cancelled the turn.", { prompted: true });
    return { type: "failure", failure };
  }

  #end(event: LastEvent): void {
    this.#scan?.end();
    for (const event of this.#open.resolutions()) this.#emit(event);
    this.#isOver = true;
    this.#timers.dispose();
    const last = this.#lastEvent(event);
    const settled = this.#observer?.onEvent(last, this);
    if (settled) settlesWithin(OBSERVER_WAIT_MS, settled).finally(() => this.#readers.end(last));
    else this.#readers.end(last);
  }

  #emit(event: TurnEvent): void {
    this.#readers.send(event);
    this.#observer?.onEvent(event, this);
  }
}

/**
 * Runs a turn. Resolves once the agent took the prompt, so that an earlier error can still become an HTTP status.
 *
 * @throws {AppError} if the agent did not take the prompt.
 */
export async function runTurn(options: TurnOptions): Promise<Turn> {
  const turn = new Turn(options);
  await turn.start(options);
  return turn;
}

/**
 * Reads a turn until its reader settles the result.
 *
 * @throws The signal's reason if it aborts first (the turn then loses this reader), or the reader's rejection.
 */
export async function collectTurn<T>(
  turn: Turn,
  makeReader: (result: Pick<PromiseWithResolvers<T>, "resolve" | "reject">) => TurnReader,
  signal: AbortSignal,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const stopReading = turn.read(makeReader({ resolve, reject }));
  try {
    return await abortable(promise, signal);
  } catch (error) {
    if (signal.aborted) stopReading();
    throw error;
  }
}
