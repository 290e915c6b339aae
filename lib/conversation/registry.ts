/** The conversations: each request finds its own, takes its turn in it, and hears it in the session that serves it. @module */

import { AppError } from "../core/errors.ts";
import type { Agent } from "../turn/agent.ts";
import { cannedTurn } from "../turn/canned_replies.ts";
import type { Turn } from "../turn/turn.ts";
import type { TurnLimiter } from "../turn/turn_limiter.ts";
import {
  type ActiveConversation,
  ActiveConversations,
  type ActiveConversationsOptions,
  newActiveConversation,
} from "./active.ts";
import { UNMATCHED } from "./align.ts";
import type { Conversation, TranscriptDelta } from "./conversation.ts";
import { PrivateConversation } from "./private_conversation.ts";
import type { Message } from "./message.ts";
import type { SessionMode } from "./resolve.ts";
import type { BusyMode } from "./turn_queue.ts";
import { type ConversationKey, type Resolution, resolveConversation } from "./resolve.ts";
import { startTurn, type StartTurnOptions } from "./start_turn.ts";
import type { QueueTicket } from "./turn_queue.ts";

/** What the registry is made of. */
export interface ConversationOptions extends ActiveConversationsOptions, StartTurnOptions {
  readonly turnLimiter: TurnLimiter;
  readonly mode: SessionMode;
  readonly onBusy: BusyMode;
}

/** A turn that is asked for. */
export interface TurnRequest {
  /**
   * Whose it is; or the conversation that is held, which is told what was said after the last answer, and of which
   * nothing is remembered. Without one it gets a session of its own, closed when it is done.
   */
  readonly conversation?: ConversationKey | PrivateConversation | undefined;
  /** Holds the conversation from now on, and its place in it: nobody's turn comes between those of the holder. */
  readonly hold?: PrivateConversation | undefined;
  /** Without one, the default. */
  readonly agent?: Agent | undefined;
  /** The agent's name for the model that is to answer. */
  readonly model?: string | undefined;
  /** See `TurnOptions.unasked`. */
  readonly unsolicited?: boolean;
  readonly messages: readonly Message[];
  /** What to answer, if it was prepared: then no agent is asked. */
  readonly cannedReply?: string | undefined;
  /** Keep what is said, so that the same request, sent again, can read it from the start. */
  readonly record: boolean;
}

/** The conversations. */
export class ConversationRegistry {
  readonly #options: ConversationOptions;
  readonly #live: ActiveConversations;
  readonly #running = new Set<Turn>();
  /** Of every turn that runs or waits, or whose caller may have another: its conversation, and what it brings to that. */
  readonly #places = new Map<
    QueueTicket,
    { readonly live: ActiveConversation; readonly brought: TranscriptDelta | undefined }
  >();
  #draining = false;
  /** Aborts when nothing may begin any more, with the failure of what has begun. */
  readonly #failed = new AbortController();

  constructor(options: ConversationOptions) {
    this.#options = options;
    this.#live = new ActiveConversations(options);
  }

  /** The turns that run now. */
  get running(): ReadonlySet<Turn> {
    return this.#running;
  }

  /**
   * Begins a turn; resolves once the agent took the prompt. What happens to a running turn of the same conversation is
   * the user's choice: it is superseded (cancelled, and the new one begins when it has really ended), waited for, or
   * this one is refused.
   *
   * @throws {AppError} if the turn could not begin; the signal's reason if it aborts before that.
   */
  async startTurn(request: TurnRequest, signal?: AbortSignal): Promise<Turn> {
    // Who has gone takes nobody's place.
    signal?.throwIfAborted();
    const { conversation, hold: openPrivate } = request;
    const kept = conversation instanceof PrivateConversation ? conversation.take() : undefined;
    // Who has begun is let finish.
    if (this.#draining && kept === undefined) {
      throw new AppError("shutting_down", "The server is shutting down.", { retryAfterSecs: 5 });
    }
    const { found, messages } = this.#find(request);
    if (request.cannedReply !== undefined) return await this.#answer(request, request.cannedReply, found);
    const live = this.#liveOf(request, found);
    const place = kept ?? this.#enter(live);
    const brought = found && this.#bring(live, found);
    if (brought && live.conversation?.isNamed) live.undelivered.keep(brought, messages);
    if (conversation instanceof PrivateConversation) this.#live.holdWith(conversation, live);
    else if (openPrivate) this.#live.holdWith(openPrivate, live, brought);
    this.#places.set(place, { live, brought });
    place.released.then(() => this.#places.delete(place));
    clearTimeout(live.timer);
    const settle = () => {
      if (openPrivate) openPrivate.keep(place, live);
      else place.release();
      this.#live.onIdle(live);
    };
    try {
      const givenUp = await this.#ready(place, signal).catch((error) => {
        throw inConversation(error, live);
      });
      const asked = {
        ...request,
        messages,
        active: live,
        delta: brought,
        cancelled: givenUp,
        shutdown: this.#failed.signal,
      };
      const turn = await startTurn(asked, this.#live, this.#options);
      place.attach(turn);
      if (this.#failed.signal.aborted) turn.fail(this.#failed.signal.reason);
      this.#running.add(turn);
      turn.ended.then(() => {
        this.#running.delete(turn);
        settle();
      });
      return turn;
    } catch (error) {
      settle();
      // Who is told to send it again does so; who is passed by does not.
      if (!isCancel(error)) live.undelivered.drop(request.messages);
      throw error;
    }
  }

  /**
   * Ends the turns of a conversation, as watchers know it, or of all: those that run, and those that wait for their
   * agent, which are refused with `turn_cancelled` and never told to it. Those that wait for another turn come next.
   *
   * @returns How many.
   */
  interrupt(conversation: string | undefined): number {
    const meant = [...this.#places].filter(([{ isHead, turn }, { live: { conversation: known } }]) =>
      isHead && (conversation === undefined || conversation === (turn?.conversation ?? known?.id))
    );
    for (const [place, { live: { conversation: known }, brought }] of meant) {
      if (place.turn === undefined && known && brought) known.setLastState(brought, "delivered");
      place.cancelAll("The turn was interrupted.");
    }
    return meant.length;
  }

  /** Holds a conversation, of several turns of one caller. */
  hold(): PrivateConversation {
    return this.#live.hold();
  }

  /** The conversations of a key that an agent has heard of, or that have a name; the one that was used last first. */
  list(key: string): ConversationSummary[] {
    const heardOf = this.#of(key).filter(({ isResumable }) => isResumable);
    return heardOf.reverse().map((known) => summaryOf(known, this.#live.get(known)));
  }

  /**
   * Forgets a conversation of a key, whichever agent it is with, or all of them.
   *
   * @returns How many of those that are listed.
   * @throws {AppError} `internal_error` if some will be there again at the next start.
   */
  forget(key: string, id: string | undefined): number {
    const meant = this.#of(key).filter((known) => id === undefined || known.id === id);
    const heardOf = meant.filter(({ isResumable }) => isResumable);
    let isGone = true;
    for (const known of meant) isGone = this.#live.forget(known) && isGone;
    const { index, fingerprinter } = this.#options;
    // Another server may keep some in the same folder.
    if (id === undefined) isGone = index.forgetAll(fingerprinter.cached("owner", key)) && isGone;
    if (!isGone) {
      throw new AppError(
        "internal_error",
        "What is forgotten now is there again at the next start: the file in VTUBER_DATA_DIR cannot be written. " +
          "Make room there, and forget it again after that start.",
      );
    }
    return heardOf.length;
  }

  /** Fails the turns that run, and lets none of those that wait begin. */
  fail(failure: AppError): void {
    this.#failed.abort(failure);
    for (const turn of this.#running) turn.fail(failure);
  }

  /** Takes no more turns, and resolves when those that run have ended. */
  async drain(): Promise<void> {
    this.#draining = true;
    while (this.#places.size > 0) {
      await Promise.all(Array.from(this.#places.keys(), ({ released }) => released));
    }
  }

  /** Closes every session, those that run when their turn has ended. What is remembered is kept. */
  close(): void {
    this.#live.close();
  }

  /** The conversation of a request, and what it is to be told: perhaps more than the request says. */
  #find(request: TurnRequest): { found: Resolution | undefined; messages: readonly Message[] } {
    const { conversation, agent = this.#options.agents.default, messages } = request;
    if (conversation === undefined || conversation instanceof PrivateConversation) {
      return { found: undefined, messages };
    }
    const find = (messages: readonly Message[]) =>
      resolveConversation(this.#options, conversation, agent, messages);
    const found = find(messages);
    if (found === undefined) return { found, messages };
    const { decision, reason, conversation: known, identity, alignment } = found;
    this.#options.log.debug("conversation", { decision, conversation: (known ?? identity).id, why: reason });
    const live = known?.isNamed ? this.#live.get(known) : undefined;
    const before = alignment.positions.slice(0, -1);
    const isAskedAgain = known?.turns[alignment.positions.at(-1) ?? UNMATCHED]?.state === "pending";
    const isWhole = isAskedAgain || before.some((place) => place !== UNMATCHED);
    const all = isWhole ? messages : live?.undelivered.before(messages) ?? messages;
    return all === messages ? { found, messages } : { found: find(all), messages: all };
  }

  #liveOf(
    { conversation, agent = this.#options.agents.default }: TurnRequest,
    found: Resolution | undefined,
  ): ActiveConversation {
    const live = conversation instanceof PrivateConversation
      ? conversation.live
      : found?.conversation && this.#live.get(found.conversation);
    return live ?? newActiveConversation(agent);
  }

  /** Takes a place in the line of a conversation. */
  #enter(live: ActiveConversation): QueueTicket {
    const { onBusy, turnLimiter } = this.#options;
    const { queue } = live;
    try {
      queue.check(onBusy);
    } catch (error) {
      throw inConversation(error, live);
    }
    // Who waits for others of its conversation takes none from other conversations.
    const slot = queue.isBusy && onBusy === "queue" ? undefined : turnLimiter.acquire(queue.isBusy);
    return queue.enter(onBusy, slot);
  }

  /** Waits for the turns before it. @returns As {@linkcode QueueTicket.waitForTurn} does. */
  async #ready(place: QueueTicket, signal: AbortSignal | undefined): Promise<AbortSignal> {
    const givenUp = await place.waitForTurn(signal);
    this.#failed.signal.throwIfAborted();
    place.slot ??= this.#options.turnLimiter.acquire();
    return givenUp;
  }

  /** Takes in what a request says; its conversation is the one that was used last. */
  #bring(live: ActiveConversation, found: Resolution): TranscriptDelta {
    const { index } = this.#options;
    const now = Date.now();
    const known = found.conversation ?? index.create(found.identity, found.transcript, now);
    this.#live.touch(known, live, now);
    return known.merge(found.transcript, found.alignment);
  }

  /** A turn in which an answer is given that was prepared. The agent hears of it with the next one. */
  #answer(request: TurnRequest, answer: string, found: Resolution | undefined): Promise<Turn> {
    const { index, fingerprinter, agents } = this.#options;
    const { agent = agents.default, record } = request;
    if (found) {
      const known = found.conversation ?? index.create(found.identity, found.transcript, Date.now());
      known.merge(found.transcript, found.alignment);
      known.reply = fingerprinter.reply(answer);
      index.touch(known, Date.now(), (known) => this.#live.get(known) !== undefined);
    }
    const conversation = found && (found.conversation ?? found.identity).id;
    return cannedTurn(answer, { conversation, resolvedModel: agent.name, record });
  }

  #of(key: string): Conversation[] {
    const { index, fingerprinter } = this.#options;
    const owner = fingerprinter.cached("owner", key);
    return [...index.all].filter((known) => known.owner === owner);
  }
}

function inConversation(error: unknown, { conversation }: ActiveConversation): unknown {
  return error instanceof AppError && conversation ? error.inConversation(conversation.id) : error;
}

function isCancel(error: unknown): boolean {
  return error instanceof AppError && error.code === "turn_cancelled";
}

/** What is told of a conversation. */
export interface ConversationSummary {
  readonly id: string;
  readonly agent: string;
  /** `busy` has a turn that runs or waits, `open` a session, `closed` none; then it is opened again when needed. */
  readonly state: "busy" | "open" | "closed";
  readonly turns: number;
  /** Unix seconds. */
  readonly created_at: number;
  /** Unix seconds. */
  readonly last_used_at: number;
}

/** Makes it; `live` is there if it is in use. */
export function summaryOf(known: Conversation, live: ActiveConversation | undefined): ConversationSummary {
  return {
    id: known.id,
    agent: known.agent,
    state: stateOf(live),
    turns: known.turnsBefore + known.turns.length,
    created_at: Math.floor(known.createdAt / 1000),
    last_used_at: Math.floor(known.usedAt / 1000),
  };
}

function stateOf(live: ActiveConversation | undefined): ConversationSummary["state"] {
  if (live?.queue.isBusy) return "busy";
  return live?.session && !live.session.closed.aborted ? "open" : "closed";
}
