/** Who is talking: finds the session that serves a request, and runs its turn there. @module */

import { orAbort } from "../turn/abort.ts";
import type { Agent, Session } from "../turn/agent.ts";
import type { EmotionWords } from "../turn/emotion.ts";
import { Failure } from "../turn/failure.ts";
import { runTurn, type Turn, type TurnLimits, type TurnObserver } from "../turn/run.ts";
import type { Slots } from "../turn/slots.ts";
import type { Message } from "./message.ts";
import { type Told, toldOf, toPrompt, untold } from "./prompt.ts";

/** A conversation's key: who asks, and the name they gave it. */
export type ConversationKey = string & { readonly brand: "ConversationKey" };

/** What the registry is made of. */
export interface ConversationOptions {
  readonly agent: Agent;
  readonly slots: Slots;
  readonly limits: TurnLimits;
  readonly log: { debug(message: string, fields: Readonly<Record<string, unknown>>): void };
  /** Lasting conversations that are kept; beyond it the one that was idle longest is closed. */
  readonly maxConversations: number;
  /** How long a lasting conversation is kept after its last turn, in milliseconds. */
  readonly idleMs: number;
  /** Watches every turn. */
  readonly observer?: TurnObserver;
  /** The words that are emotions in replies. */
  readonly emotions?: EmotionWords;
}

/** A turn that is asked for. */
export interface TurnRequest {
  /** The conversation it belongs to; without one it gets a session of its own, closed when it is done. */
  readonly conversation?: ConversationKey | Aside | undefined;
  /** What the caller calls it, where it has a name. */
  readonly name?: string | undefined;
  /** See `TurnOptions.unasked`. */
  readonly unasked?: boolean;
  readonly messages: readonly Message[];
  /** Keep what is said, so that the same request, sent again, can read it from the start. */
  readonly record: boolean;
}

/** A conversation that nobody can name: it lasts until it is disposed of. */
export interface Aside extends Disposable {
  readonly aside: Conversation;
}

/** A conversation as it is kept. */
interface Conversation {
  session: Session | undefined;
  told: Told | undefined;
  turn: Turn | undefined;
  /** Settles when the last turn that was begun has really ended. */
  tail: Promise<void>;
  /** How many turns were begun and have not ended. */
  pending: number;
  /** Aborts the newest turn that was begun, if it still waits, when a newer one comes. */
  newest: AbortController | undefined;
  timer: ReturnType<typeof setTimeout> | undefined;
  /** To be closed when no turn runs. */
  closed: boolean;
}

/** The live conversations. */
export class Conversations {
  readonly #options: ConversationOptions;
  readonly #lasting = new Map<ConversationKey, Conversation>();
  readonly #running = new Set<Turn>();
  readonly #ended = new Set<Promise<void>>();
  #draining = false;

  constructor(options: ConversationOptions) {
    this.#options = options;
  }

  /** The turns that run now. */
  get running(): ReadonlySet<Turn> {
    return this.#running;
  }

  /**
   * Begins a turn; resolves once the agent took the prompt. A running turn of the same conversation is superseded: it
   * is cancelled, and the new one begins when it has really ended.
   *
   * @throws {Failure} if the turn could not begin; the signal's reason if it aborts before that.
   */
  async begin(request: TurnRequest, signal?: AbortSignal): Promise<Turn> {
    if (this.#draining) {
      throw new Failure("shutting_down", "The server is shutting down.", { retryAfterSecs: 5 });
    }
    const { conversation: whose } = request;
    const known = typeof whose === "string" ? this.#lasting.get(whose) : whose?.aside;
    const slot = this.#options.slots.take(known !== undefined && known.pending > 0);
    const conversation = known ?? newConversation();
    if (typeof whose === "string") this.#use(whose, conversation);
    conversation.pending++;
    this.#forgetOldest();
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    this.#ended.add(ended);
    const settle = () => {
      slot[Symbol.dispose]();
      this.#ended.delete(ended);
      end();
      this.#turnEnded(conversation, whose);
    };
    try {
      const turn = await this.#inTurn(conversation, request, ended, signal);
      this.#running.add(turn);
      turn.ended.then(() => {
        this.#running.delete(turn);
        settle();
      });
      return turn;
    } catch (error) {
      settle();
      throw error;
    }
  }

  /** Opens a conversation for several turns of one caller. */
  openAside(): Aside {
    const aside = newConversation();
    return { aside, [Symbol.dispose]: () => this.#close(aside) };
  }

  /** Takes no more turns, and resolves when those that run have ended. */
  async drain(): Promise<void> {
    this.#draining = true;
    while (this.#ended.size > 0) await Promise.all(this.#ended);
  }

  /** Closes every lasting conversation, those that run when their turn has ended. */
  close(): void {
    for (const [key, conversation] of this.#lasting) this.#forget(key, conversation);
  }

  /** Waits for its turn in the conversation, finds the session, and puts what is new. */
  async #inTurn(
    conversation: Conversation,
    request: TurnRequest,
    ended: Promise<void>,
    signal: AbortSignal | undefined,
  ): Promise<Turn> {
    const before = conversation.tail;
    const superseded = new AbortController();
    conversation.newest?.abort(
      new Failure("turn_cancelled", "A newer request of the same conversation took this one's place."),
    );
    conversation.newest = superseded;
    conversation.tail = before.then(() => ended);
    clearTimeout(conversation.timer);
    conversation.turn?.cancel();
    const givenUp = signal ? AbortSignal.any([signal, superseded.signal]) : superseded.signal;
    await orAbort(before, givenUp);
    if (conversation.session === undefined || conversation.session.closed.aborted) {
      conversation.told = undefined;
      conversation.session = await this.#options.agent.open(givenUp);
    }
    const news = conversation.told ? untold(request.messages, conversation.told) : request.messages;
    const turn = await this.#run(conversation.session, request, news);
    conversation.told = toldOf(request.messages);
    conversation.turn = turn;
    // A newer request may have come while the prompt was put.
    if (superseded.signal.aborted) turn.cancel();
    return turn;
  }

  #run(
    session: Session,
    { record, name, unasked = false }: TurnRequest,
    messages: readonly Message[],
  ): Promise<Turn> {
    const { limits, observer, emotions } = this.#options;
    const blocks = toPrompt(messages, session.accepts);
    return runTurn({
      session,
      blocks,
      limits,
      record,
      conversation: name,
      unasked,
      observer,
      emotions,
    });
  }

  /** The map's order is the order of use. */
  #use(key: ConversationKey, conversation: Conversation): void {
    this.#lasting.delete(key);
    this.#lasting.set(key, conversation);
  }

  #turnEnded(conversation: Conversation, whose: TurnRequest["conversation"]): void {
    if (--conversation.pending > 0) return;
    conversation.turn = undefined;
    conversation.newest = undefined;
    if (conversation.closed || whose === undefined) return this.#close(conversation);
    if (typeof whose !== "string") return;
    conversation.timer = setTimeout(() => this.#forget(whose, conversation), this.#options.idleMs);
    this.#forgetOldest();
  }

  /** A busy conversation is never closed, so that there can be more for a while: as many as turns can run. */
  #forgetOldest(): void {
    for (const [key, conversation] of this.#lasting) {
      if (this.#lasting.size <= this.#options.maxConversations) return;
      if (conversation.pending === 0) this.#forget(key, conversation);
    }
  }

  #forget(key: ConversationKey, conversation: Conversation): void {
    if (this.#lasting.get(key) === conversation) this.#lasting.delete(key);
    this.#close(conversation);
    this.#options.log.debug("closed a conversation", { session: conversation.session?.id });
  }

  /** Closes the session, at once or when its turn has ended. */
  #close(conversation: Conversation): void {
    clearTimeout(conversation.timer);
    conversation.closed = true;
    if (conversation.pending === 0) conversation.session?.close();
  }
}

function newConversation(): Conversation {
  return {
    session: undefined,
    told: undefined,
    turn: undefined,
    tail: Promise.resolve(),
    pending: 0,
    newest: undefined,
    timer: undefined,
    closed: false,
  };
}
