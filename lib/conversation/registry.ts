/** The conversations: each request finds its own, takes its turn in it, and hears it in the session that serves it. @module */

import type { Agent, Session } from "../turn/agent.ts";
import type { EmotionWords } from "../turn/emotion.ts";
import { Failure } from "../turn/failure.ts";
import { preparedTurn } from "../turn/prepared.ts";
import { runTurn, type Turn, type TurnLimits, type TurnObserver } from "../turn/run.ts";
import type { Slots } from "../turn/slots.ts";
import { findConversation, type Found, type Whose } from "./find.ts";
import type { Brought, Known } from "./known.ts";
import { chooseModel, type Hold, type Live, LiveConversations, type LiveOptions, newLive } from "./live.ts";
import type { Message } from "./message.ts";
import { watchTurn } from "./outcome.ts";
import type { BusyMode, SessionMode } from "./policy.ts";
import { newsOf, newsSinceAnswer, toPrompt } from "./prompt.ts";
import { type ConversationSummary, summaryOf } from "./summary.ts";

/** What the registry is made of. */
export interface ConversationOptions extends LiveOptions {
  readonly slots: Slots;
  readonly limits: TurnLimits;
  readonly mode: SessionMode;
  readonly onBusy: BusyMode;
  /** Watches every turn. */
  readonly observer?: TurnObserver;
  /** The words that are emotions in replies. */
  readonly emotions?: EmotionWords;
}

/** A turn that is asked for. */
export interface TurnRequest {
  /**
   * Whose it is; or the conversation that is held, which is told what was said after the last answer, and of which
   * nothing is remembered. Without one it gets a session of its own, closed when it is done.
   */
  readonly conversation?: Whose | Hold | undefined;
  /** Holds the conversation from now on. */
  readonly hold?: Hold | undefined;
  /** Without one, the default. */
  readonly agent?: Agent | undefined;
  /** The agent's name for the model that is to answer. */
  readonly model?: string | undefined;
  /** See `TurnOptions.unasked`. */
  readonly unasked?: boolean;
  readonly messages: readonly Message[];
  /** What to answer, if it was prepared: then no agent is asked. */
  readonly answer?: string | undefined;
  /** Keep what is said, so that the same request, sent again, can read it from the start. */
  readonly record: boolean;
}

/** The conversations. */
export class Conversations {
  readonly #options: ConversationOptions;
  readonly #live: LiveConversations;
  readonly #running = new Set<Turn>();
  readonly #ended = new Set<Promise<void>>();
  #draining = false;
  /** Why nothing begins any more. */
  #failed: Failure | undefined;

  constructor(options: ConversationOptions) {
    this.#options = options;
    this.#live = new LiveConversations(options);
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
   * @throws {Failure} if the turn could not begin; the signal's reason if it aborts before that.
   */
  async begin(request: TurnRequest, signal?: AbortSignal): Promise<Turn> {
    if (this.#draining) {
      throw new Failure("shutting_down", "The server is shutting down.", { retryAfterSecs: 5 });
    }
    const found = this.#find(request);
    if (request.answer !== undefined) return await this.#answer(request, request.answer, found);
    const live = this.#liveOf(request, found);
    const { onBusy, slots } = this.#options;
    try {
      live.line.check(onBusy, isHold(request.conversation));
    } catch (error) {
      throw inConversation(error, live);
    }
    // Who waits for others of its conversation takes none from other conversations.
    let slot = live.line.isBusy && onBusy === "queue" ? undefined : slots.take(live.line.isBusy);
    const ready = async () => {
      const givenUp = await place.ready(signal);
      if (this.#failed) throw this.#failed;
      slot ??= slots.take();
      return givenUp;
    };
    const brought = found && this.#bring(live, found);
    const { conversation, hold } = request;
    for (const holder of [conversation, hold]) if (isHold(holder)) this.#live.holdWith(holder, live);
    const place = live.line.enter(onBusy);
    clearTimeout(live.timer);
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    this.#ended.add(ended);
    const settle = () => {
      slot?.[Symbol.dispose]();
      place.leave();
      this.#ended.delete(ended);
      end();
      this.#live.rest(live);
    };
    try {
      const givenUp = await ready().catch((error) => {
        throw inConversation(error, live);
      });
      const turn = await this.#put(live, request, brought, givenUp);
      place.began(turn);
      if (this.#failed) turn.fail(this.#failed);
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

  /** Holds a conversation, of several turns of one caller. */
  hold(): Hold {
    return this.#live.hold();
  }

  /** The conversations of a key, the one that was used last first. */
  list(key: string): ConversationSummary[] {
    return this.#of(key).reverse().map((known) => summaryOf(known, this.#live.get(known)));
  }

  /**
   * Forgets a conversation of a key, whichever agent it is with, or all of them.
   *
   * @returns How many.
   * @throws {Failure} `internal_error` if some will be there again at the next start.
   */
  forget(key: string, id: string | undefined): number {
    const meant = this.#of(key).filter((known) => id === undefined || known.id === id);
    const left = meant.filter((known) => !this.#live.forget(known));
    if (left.length > 0) {
      throw new Failure(
        "internal_error",
        `${left.length} of ${meant.length} are forgotten only until this program ends: the file in VTUBER_DATA_DIR ` +
          "cannot be written. Make room there, and forget them again after the next start.",
      );
    }
    return meant.length;
  }

  /** Fails the turns that run, and lets none of those that wait begin. */
  fail(failure: Failure): void {
    this.#failed = failure;
    for (const turn of this.#running) turn.fail(failure);
  }

  /** Takes no more turns, and resolves when those that run have ended. */
  async drain(): Promise<void> {
    this.#draining = true;
    while (this.#ended.size > 0) await Promise.all(this.#ended);
  }

  /** Closes every session, those that run when their turn has ended. What is remembered is kept. */
  close(): void {
    this.#live.close();
  }

  #find({ conversation, agent = this.#options.agents.default, messages }: TurnRequest): Found | undefined {
    if (conversation === undefined || isHold(conversation)) return undefined;
    const found = findConversation(this.#options, conversation, agent, messages);
    if (found) {
      const { decision, why, known, origin } = found;
      this.#options.log.debug("conversation", { decision, conversation: (known ?? origin).id, why });
    }
    return found;
  }

  #liveOf(
    { conversation, agent = this.#options.agents.default }: TurnRequest,
    found: Found | undefined,
  ): Live {
    const live = isHold(conversation) ? conversation.live : found?.known && this.#live.get(found.known);
    return live ?? newLive(agent);
  }

  /** Takes in what a request says; its conversation is the one that was used last. */
  #bring(live: Live, found: Found): Brought {
    const { memory } = this.#options;
    const now = Date.now();
    const known = found.known ?? memory.begin(found.origin, found.transcript, now);
    this.#live.use(known, live, now);
    return known.bring(found.transcript, found.how);
  }

  /** A turn in which an answer is given that was prepared. The agent hears of it with the next one. */
  #answer(request: TurnRequest, answer: string, found: Found | undefined): Promise<Turn> {
    const { memory, printer, agents } = this.#options;
    const { agent = agents.default, record } = request;
    if (found) {
      const known = found.known ?? memory.begin(found.origin, found.transcript, Date.now());
      known.bring(found.transcript, found.how);
      known.reply = printer.reply(answer);
      memory.use(known, Date.now(), (known) => this.#live.get(known) !== undefined);
    }
    const conversation = found && (found.known ?? found.origin).id;
    return preparedTurn(answer, { conversation, servedBy: agent.name, record });
  }

  /** Puts what is new, once more if the agent turns out to have ended before it took the prompt. */
  async #put(
    live: Live,
    request: TurnRequest,
    brought: Brought | undefined,
    givenUp: AbortSignal,
  ): Promise<Turn> {
    try {
      return await this.#putOnce(live, request, brought, givenUp);
    } catch (error) {
      const isNoticedLate = error instanceof Failure && error.code === "agent_unavailable" &&
        !error.prompted &&
        live.session?.closed.aborted;
      if (!isNoticedLate) throw error;
      return await this.#putOnce(live, request, brought, givenUp);
    }
  }

  /** Finds the session, and puts what is new. */
  async #putOnce(
    live: Live,
    request: TurnRequest,
    brought: Brought | undefined,
    givenUp: AbortSignal,
  ): Promise<Turn> {
    const session = await this.#live.sessionOf(live, givenUp);
    await chooseModel(this.#options.agents, live.agent, session, request.model);
    givenUp.throwIfAborted();
    if (this.#failed) throw this.#failed;
    return await this.#run(live, session, request, brought);
  }

  #run(
    live: Live,
    session: Session,
    { messages, record, unasked = false }: TurnRequest,
    brought: Brought | undefined,
  ): Promise<Turn> {
    const { limits, observer, emotions, memory, printer } = this.#options;
    const { known, agent } = live;
    let takeBack = () => {};
    let wasFresh = live.isFresh;
    const news = live.isFresh
      ? messages
      : known && brought
      ? newsOf(messages, known.unheard(brought), known.hasOtherPersona(brought))
      : newsSinceAnswer(messages);
    return runTurn({
      session,
      blocks: toPrompt(news, session.accepts),
      limits,
      record,
      conversation: known?.id,
      servedBy: session.model === undefined ? agent.name : `${agent.name}/${session.model}`,
      unasked,
      emotions,
      observer: watchTurn(observer, {
        begun() {
          wasFresh = live.isFresh;
          // One that is held was told what its holder says, and perhaps not all that its caller did.
          live.isFresh &&= known !== undefined && brought === undefined;
          if (!known || !brought) return;
          takeBack = known.told(brought, session.id, printer.lasting("program", agent.program));
          memory.save(known);
        },
        ended(state, reply) {
          if (state === "asked") live.isFresh = wasFresh;
          if (!known) return;
          if (state === "asked") takeBack();
          else if (brought) known.ended(brought, state);
          if (state === "answered") known.reply = printer.reply(reply);
          memory.save(known);
          // Who has read the end of an answer may count on it.
          memory.flush();
        },
      }),
    });
  }

  #of(key: string): Known[] {
    const { memory, printer } = this.#options;
    const owner = printer.lasting("owner", key);
    return [...memory.all].filter((known) => known.owner === owner);
  }
}

function inConversation(error: unknown, { known }: Live): unknown {
  return error instanceof Failure && known ? error.inConversation(known.id) : error;
}

function isHold(conversation: TurnRequest["conversation"]): conversation is Hold {
  return conversation !== undefined && "live" in conversation;
}
