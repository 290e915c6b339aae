/** The registry of conversations: resolves the conversation of a request, and runs its turn there. @module */

import { AppError, shuttingDown } from "../core/errors.ts";
import type { Agent } from "../turn/agent.ts";
import type { Caller } from "../turn/caller.ts";
import { cannedTurn } from "../turn/canned_replies.ts";
import type { Turn, TurnMeter } from "../turn/turn.ts";
import { ActiveConversation, ActiveConversations, type ConversationOptions } from "./active.ts";
import { isResumable, mergeTranscript, type TranscriptDelta } from "./conversation.ts";
import { GrownMessages, singleMessage } from "./grown_message.ts";
import { cleanMessages, type Message, textOf } from "./message.ts";
import type { ConversationRecord } from "./record.ts";
import { type ConversationKey, type Resolution, resolveConversation } from "./resolve.ts";
import { type Delivery, startTurn, type TurnJob } from "./start_turn.ts";
import type { Reservation } from "./turn_budget.ts";
import { cancelled, type QueueTicket } from "./turn_queue.ts";

/** A request for a turn. */
export interface TurnRequest {
  /** The caller that asks for the turn; none if the program itself does. */
  readonly caller?: Caller | undefined;
  /** The caller and its conversation. Without it the request gets a session of its own, closed after the turn. */
  readonly conversation?: ConversationKey | undefined;
  /** By default the first agent that answers the caller. */
  readonly agent?: Agent | undefined;
  /** The agent's name for the model. */
  readonly model?: string | undefined;
  /** See `TurnOptions.unsolicited`. */
  readonly unsolicited?: boolean;
  readonly messages: readonly Message[];
  /**
   * The newest message of the user may trigger commands of the agent. Only for words that the caller itself says: never
   * for those of a transcript, a notification or a viewer.
   */
  readonly mayCommand?: boolean | undefined;
  /** The reply, if it is known beforehand: then no agent is prompted. */
  readonly cannedReply?: string | undefined;
  /** Keeps the turn's events, so that a repeated request can read them from the start. */
  readonly record: boolean;
  /** See `TurnOptions.asksReaders`. */
  readonly asksReaders?: boolean | undefined;
}

/** A request whose agent is known. */
type RoutedRequest = TurnRequest & { readonly agent: Agent };

/** The public view of a conversation. */
export interface ConversationSummary {
  readonly id: string;
  readonly agent: string;
  /** `busy`: a turn is running or waiting. `open`: it has a session. `closed`: its session is resumed when needed. */
  readonly state: "busy" | "open" | "closed";
  readonly turns: number;
  /** Unix seconds. */
  readonly created_at: number;
  /** Unix seconds. */
  readonly last_used_at: number;
}

/** A request from its place in the queue to the end of its turn. */
interface QueuedJob extends TurnJob {
  readonly ticket: QueueTicket;
  /** Counts as a running turn. A request that waits in mode `queue` does not. */
  isRunning: boolean;
  delivery?: Delivery;
}

/** Seconds after which a client that was refused at the limit may try again; short, because turns end at any moment. */
const RETRY_AFTER_SECS = 3;

/** Side jobs of a caller that run at once: a front end asks for a title, tags and follow-ups at the end of one reply. */
const MAX_SIDE_JOBS = 4;

/** Resolves the conversations of requests, and runs their turns. */
export class ConversationRegistry {
  readonly #options: ConversationOptions;
  readonly #active: ActiveConversations;
  readonly #jobs = new Set<QueuedJob>();
  readonly #grown = new GrownMessages();
  /** Set once no new turn may start. */
  #refusal: AppError | undefined;
  #drained: PromiseWithResolvers<void> | undefined;

  constructor(options: ConversationOptions) {
    this.#options = options;
    this.#active = new ActiveConversations(options);
  }

  /** How many turns run or are about to run. A turn counts until the agent has ended it. */
  get runningCount(): number {
    return this.#count(({ isRunning }) => isRunning);
  }

  /** How many requests wait for earlier turns of their conversation, or for their agent to take the prompt. */
  get waitingCount(): number {
    return this.#count(({ ticket }) => ticket.turn === undefined);
  }

  /** How many conversations have an open session. */
  get sessionCount(): number {
    return this.#active.sessionCount;
  }

  /** The running turns. */
  get running(): ReadonlySet<Turn> {
    return new Set([...this.#jobs].flatMap(({ ticket }) => ticket.turn ?? []));
  }

  /**
   * Starts a turn in the conversation of a request. Resolves once the agent took the prompt.
   *
   * @throws {AppError} if the turn could not start; the signal's reason if it aborts before that.
   */
  async startTurn(request: TurnRequest, signal?: AbortSignal): Promise<Turn> {
    const agent = request.agent ?? this.#options.agents.for(request.caller).default;
    const meter = this.#options.measure?.(agent.name);
    try {
      return await this.#startTurn({ ...request, agent }, meter, signal);
    } catch (error) {
      meter?.onRejected(error);
      throw error;
    }
  }

  async #startTurn(
    { messages, ...rest }: RoutedRequest,
    meter: TurnMeter | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Turn> {
    signal?.throwIfAborted();
    if (this.#refusal) throw this.#refusal;
    const request = this.#splitGrown({ ...rest, messages: cleanMessages(messages) });
    const found = this.#resolve(request);
    const sideJob = found?.decision === "side_job" ? found : undefined;
    const resolution = sideJob ? undefined : found;
    if (request.cannedReply !== undefined) {
      return await this.#startCannedTurn(request, request.cannedReply, resolution);
    }
    const continued = resolution && this.#answerQuestion(request, resolution);
    if (continued) return continued;
    const active = (resolution?.conversation && this.#active.get(resolution.conversation)) ??
      new ActiveConversation(request.agent);
    let reservation: Reservation | undefined;
    let job: QueuedJob | undefined;
    try {
      // A request that waits in a queue takes no slot from other conversations; one that supersedes a turn is never
      // refused.
      if (!active.queue.isBusy) this.#checkLimits(request);
      if (sideJob) this.#checkSideJobs(request);
      // Before the queue: a request without a budget cancels no turn.
      reservation = this.#options.budget.reserve(request.caller);
      job = this.#enqueue({ ...request, sideJob, meter }, resolution, active);
      const cancelled = await job.ticket.waitForTurn(signal);
      if (!job.isRunning) this.#checkLimits(request);
      job.isRunning = true;
      job.delivery = await startTurn(job, this.#active, this.#options, cancelled);
      const { turn } = job.delivery;
      job.ticket.attach(turn);
      if (this.#refusal) turn.refuseAnswers(this.#refusal);
      turn.ended.then(() => this.#finish(job!));
      return turn;
    } catch (error) {
      reservation?.settle(error);
      if (job) this.#finish(job);
      const { conversation } = active;
      throw error instanceof AppError && conversation ? error.inConversation(conversation.id) : error;
    }
  }

  /**
   * Cancels the turns of a conversation, by the name that events carry, or all turns: running ones, and those that wait
   * for their agent only. The next request in a queue then starts.
   *
   * @returns Number of cancelled turns.
   */
  interrupt(conversation: string | undefined): number {
    const jobs = [...this.#jobs].filter(({ ticket: { isCurrent, turn }, active }) =>
      isCurrent &&
      (conversation === undefined || conversation === (turn?.conversation ?? active.conversation?.id))
    );
    for (const { ticket, delta } of jobs) {
      // A person stopped it: the next turn does not deliver its messages.
      const last = delta?.turns.at(-1);
      if (ticket.turn === undefined && last) last.turn.state = "delivered";
      ticket.cancel(cancelled("The turn was interrupted."));
    }
    return jobs.length;
  }

  /** Lists the conversations of a key that have a name or a session, the last used one first. */
  list(key: string): ConversationSummary[] {
    const resumable = this.#conversationsOf(key).filter(isResumable);
    return resumable.reverse().map((conversation) => ({
      id: conversation.id,
      agent: conversation.agent,
      state: this.#active.get(conversation)?.state ?? "closed",
      turns: conversation.turnsBefore + conversation.turns.length,
      created_at: Math.floor(conversation.createdAt / 1000),
      last_used_at: Math.floor(conversation.usedAt / 1000),
    }));
  }

  /**
   * Forgets a conversation of a key, with whichever agent, or all of them.
   *
   * @returns Number of forgotten conversations, of those that {@linkcode list} shows.
   * @throws {AppError} `internal_error` if the file still has some of them.
   */
  forget(key: string, id: string | undefined): number {
    const conversations = this.#conversationsOf(key).filter((each) => id === undefined || each.id === id);
    const count = conversations.filter(isResumable).length;
    const failed = conversations.filter((conversation) => !this.#active.forget(conversation));
    if (failed.length > 0) {
      throw new AppError(
        "internal_error",
        "The conversation is forgotten until the next start only, because the file in VTUBER_DATA_DIR cannot be " +
          "written. Free disk space or mend its permissions, restart, and forget it again.",
      );
    }
    return count;
  }

  /** Fails the running turns and those that wait. */
  fail(failure: AppError): void {
    this.#refusal ??= failure;
    for (const { ticket } of this.#jobs) ticket.cancel(failure);
  }

  /** Refuses new turns, and resolves when the others have ended. A turn that waits for a further request fails. */
  async drain(): Promise<void> {
    const refusal = this.#refusal ??= shuttingDown();
    for (const turn of this.running) turn.refuseAnswers(refusal);
    if (this.#jobs.size === 0) return;
    this.#drained ??= Promise.withResolvers();
    await this.#drained.promise;
  }

  /** Closes every session, a busy one after its turn. The conversations stay remembered. */
  close(): void {
    this.#active.close();
  }

  #resolve({ conversation, agent, messages }: RoutedRequest): Resolution | undefined {
    if (conversation === undefined) return undefined;
    const { log } = this.#options;
    const resolution = resolveConversation(this.#options, conversation, agent, messages);
    if (resolution) {
      const { decision, reason, identity } = resolution;
      const conversation = (resolution.conversation ?? identity).id;
      if (decision === "side_job") log.info("a request is no part of a chat", { conversation, reason });
      else log.debug("conversation", { decision, conversation, reason });
    }
    return resolution;
  }

  /** Splits a single message that has grown, and remembers it with its reply. */
  #splitGrown(request: RoutedRequest): RoutedRequest & Pick<TurnJob, "onAnswered"> {
    const { conversation, agent } = request;
    if (conversation === undefined || singleMessage(request.messages) === undefined) return request;
    const caller = [conversation.owner, agent.name, conversation.name ?? ""].join("\n");
    const messages = this.#grown.split(caller, request.messages);
    return { ...request, messages, onAnswered: (reply) => this.#grown.remember(caller, messages, reply) };
  }

  /** Returns the running turn of a conversation if the request's newest message answers the question of its agent. */
  #answerQuestion(
    { messages, asksReaders, onAnswered }: TurnRequest & Pick<TurnJob, "onAnswered">,
    resolution: Resolution,
  ): Turn | undefined {
    const active = resolution.conversation && this.#active.get(resolution.conversation);
    const delivery = this.#jobs.values().find((job) => job.active === active && job.delivery)?.delivery;
    const newest = messages.at(-1);
    // A repeated message is the prompt that led to the question.
    if (!delivery || newest?.role !== "user" || resolution.alignment.isRetry) return undefined;
    if (!delivery.turn.answerQuestion(textOf(newest), asksReaders)) return undefined;
    delivery.continueWith({ messages, onAnswered, delta: this.#merge(resolution, active).delta });
    return delivery.turn;
  }

  /** Takes a place in the queue of the conversation, and merges the request into it. */
  #enqueue(
    request: TurnRequest & Pick<TurnJob, "sideJob" | "meter" | "onAnswered">,
    resolution: Resolution | undefined,
    active: ActiveConversation,
  ): QueuedJob {
    const { onBusy } = this.#options;
    const { queue } = active;
    const isRunning = !queue.isBusy || onBusy !== "queue";
    const ticket = queue.enter(onBusy);
    active.idleTimer?.[Symbol.dispose]();
    let { messages } = request;
    let delta: TranscriptDelta | undefined;
    if (resolution) {
      const merged = this.#merge(resolution, active);
      delta = merged.delta;
      if (merged.conversation.isNamed) {
        ({ messages, delta } = active.undelivered.insertInto({ messages, delta }));
      }
    }
    const job = { ...request, active, messages, delta, ticket, isRunning };
    this.#jobs.add(job);
    return job;
  }

  /** Merges a request into its conversation. If it continues none, a new one starts. */
  #merge({ conversation, identity, transcript, alignment }: Resolution, active?: ActiveConversation) {
    const { index } = this.#options;
    const now = Date.now();
    const merged = conversation ?? index.create(identity, transcript, now);
    if (active) this.#active.add(merged, active);
    index.touch(merged, now, this.#active.has);
    return { conversation: merged, delta: mergeTranscript(merged, transcript, alignment) };
  }

  /** Checks that one more turn can run: of all callers, and of this caller. @throws {AppError} `rate_limit_exceeded`. */
  #checkLimits({ caller }: TurnRequest): void {
    const { maxTurns } = this.#options;
    if (this.runningCount >= maxTurns) {
      throw tooMany(`All ${maxTurns} turns are in use.`, ", or raise VTUBER_MAX_IN_FLIGHT");
    }
    if (!caller?.concurrentTurns) return;
    if (this.#count((job) => job.isRunning && job.caller?.id === caller.id) < caller.concurrentTurns) return;
    throw tooMany(
      `All ${caller.concurrentTurns} turns of this key are in use.`,
      `, or raise concurrent_turns of [${caller.id}] in config.toml`,
    );
  }

  /** Checks that one more side job of the caller can run. @throws {AppError} `rate_limit_exceeded`. */
  #checkSideJobs({ caller }: TurnRequest): void {
    const running = this.#count((job) => job.sideJob !== undefined && job.caller?.id === caller?.id);
    if (running < MAX_SIDE_JOBS) return;
    throw tooMany(`${MAX_SIDE_JOBS} requests beside a chat, such as for a title, run already.`);
  }

  #count(matches: (job: QueuedJob) => boolean): number {
    return this.#jobs.values().reduce((count, job) => count + Number(matches(job)), 0);
  }

  /** Ends a job: the next request in the queue can start. */
  #finish(job: QueuedJob): void {
    if (!this.#jobs.delete(job)) return;
    // Before the next turn starts: a message that was cancelled is not sent again.
    job.active.undelivered.prune();
    job.ticket.release();
    this.#active.onIdle(job.active);
    if (this.#jobs.size === 0) this.#drained?.resolve();
  }

  /** Starts a turn with a known reply, which the agent gets with its next prompt. */
  #startCannedTurn(
    { agent, record }: RoutedRequest,
    reply: string,
    resolution: Resolution | undefined,
  ): Promise<Turn> {
    const { fingerprinter } = this.#options;
    if (resolution) this.#merge(resolution).conversation.reply = fingerprinter.reply(reply);
    const conversation = (resolution?.conversation ?? resolution?.identity)?.id;
    return cannedTurn(reply, { conversation, resolvedModel: agent.name, record });
  }

  #conversationsOf(key: string): ConversationRecord[] {
    const { index, fingerprinter } = this.#options;
    const owner = fingerprinter.cached("owner", key);
    return [...index.all].filter((conversation) => conversation.owner === owner);
  }
}

/** Makes the error of a request beyond a limit of turns that run at once. */
function tooMany(limit: string, advice = ""): AppError {
  return new AppError("rate_limit_exceeded", `${limit} Try again in ${RETRY_AFTER_SECS} seconds${advice}.`, {
    retryAfterSecs: RETRY_AFTER_SECS,
  });
}
