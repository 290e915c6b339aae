/** The conversations: each request finds its own, takes its turn in it, and hears it in the session that serves it. @module */

import type { Agent } from "../turn/agent.ts";
import { Failure } from "../turn/failure.ts";
import { preparedTurn } from "../turn/prepared.ts";
import type { Turn } from "../turn/run.ts";
import type { Slots } from "../turn/slots.ts";
import { NEW } from "./align.ts";
import { findConversation, type Found, type Whose } from "./find.ts";
import type { Brought, Known } from "./known.ts";
import { Hold } from "./hold.ts";
import { type Live, LiveConversations, type LiveOptions, newLive } from "./live.ts";
import type { Place } from "./line.ts";
import type { Message } from "./message.ts";
import type { BusyMode, SessionMode } from "./policy.ts";
import { type PutOptions, putTurn } from "./put.ts";
import { type ConversationSummary, summaryOf } from "./summary.ts";

/** What the registry is made of. */
export interface ConversationOptions extends LiveOptions, PutOptions {
  readonly slots: Slots;
  readonly mode: SessionMode;
  readonly onBusy: BusyMode;
}

/** A turn that is asked for. */
export interface TurnRequest {
  /**
   * Whose it is; or the conversation that is held, which is told what was said after the last answer, and of which
   * nothing is remembered. Without one it gets a session of its own, closed when it is done.
   */
  readonly conversation?: Whose | Hold | undefined;
  /** Holds the conversation from now on, and its place in it: nobody's turn comes between those of the holder. */
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
  /** Of every turn that runs or waits, or whose caller may have another: its conversation, and what it brings to that. */
  readonly #places = new Map<Place, { readonly live: Live; readonly brought: Brought | undefined }>();
  #draining = false;
  /** Aborts when nothing may begin any more, with the failure of what has begun. */
  readonly #failed = new AbortController();

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
    // Who has gone takes nobody's place.
    signal?.throwIfAborted();
    const { conversation, hold } = request;
    const kept = conversation instanceof Hold ? conversation.take() : undefined;
    // Who has begun is let finish.
    if (this.#draining && kept === undefined) {
      throw new Failure("shutting_down", "The server is shutting down.", { retryAfterSecs: 5 });
    }
    const { found, messages } = this.#find(request);
    if (request.answer !== undefined) return await this.#answer(request, request.answer, found);
    const live = this.#liveOf(request, found);
    const place = kept ?? this.#enter(live);
    const brought = found && this.#bring(live, found);
    if (brought && live.known?.isNamed) live.unsaid.keep(brought, messages);
    if (conversation instanceof Hold) this.#live.holdWith(conversation, live);
    else if (hold) this.#live.holdWith(hold, live, brought);
    this.#places.set(place, { live, brought });
    place.left.then(() => this.#places.delete(place));
    clearTimeout(live.timer);
    const settle = () => {
      if (hold) hold.keep(place, live);
      else place.leave();
      this.#live.rest(live);
    };
    try {
      const givenUp = await this.#ready(place, signal).catch((error) => {
        throw inConversation(error, live);
      });
      const asked = { ...request, messages, live, brought, givenUp, failed: this.#failed.signal };
      const turn = await putTurn(asked, this.#live, this.#options);
      place.began(turn);
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
      if (!isCancel(error)) live.unsaid.drop(request.messages);
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
    const meant = [...this.#places].filter(([{ isNext, turn }, { live: { known } }]) =>
      isNext && (conversation === undefined || conversation === (turn?.conversation ?? known?.id))
    );
    for (const [place, { live: { known }, brought }] of meant) {
      if (place.turn === undefined && known && brought) known.ended(brought, "told");
      place.giveUp("The turn was interrupted.");
    }
    return meant.length;
  }

  /** Holds a conversation, of several turns of one caller. */
  hold(): Hold {
    return this.#live.hold();
  }

  /** The conversations of a key that an agent has heard of, or that have a name; the one that was used last first. */
  list(key: string): ConversationSummary[] {
    const heardOf = this.#of(key).filter(({ isHeardOf }) => isHeardOf);
    return heardOf.reverse().map((known) => summaryOf(known, this.#live.get(known)));
  }

  /**
   * Forgets a conversation of a key, whichever agent it is with, or all of them.
   *
   * @returns How many of those that are listed.
   * @throws {Failure} `internal_error` if some will be there again at the next start.
   */
  forget(key: string, id: string | undefined): number {
    const meant = this.#of(key).filter((known) => id === undefined || known.id === id);
    const heardOf = meant.filter(({ isHeardOf }) => isHeardOf);
    let isGone = true;
    for (const known of meant) isGone = this.#live.forget(known) && isGone;
    const { memory, printer } = this.#options;
    // Another server may keep some in the same folder.
    if (id === undefined) isGone = memory.forgetAll(printer.lasting("owner", key)) && isGone;
    if (!isGone) {
      throw new Failure(
        "internal_error",
        "What is forgotten now is there again at the next start: the file in VTUBER_DATA_DIR cannot be written. " +
          "Make room there, and forget it again after that start.",
      );
    }
    return heardOf.length;
  }

  /** Fails the turns that run, and lets none of those that wait begin. */
  fail(failure: Failure): void {
    this.#failed.abort(failure);
    for (const turn of this.#running) turn.fail(failure);
  }

  /** Takes no more turns, and resolves when those that run have ended. */
  async drain(): Promise<void> {
    this.#draining = true;
    while (this.#places.size > 0) await Promise.all(Array.from(this.#places.keys(), ({ left }) => left));
  }

  /** Closes every session, those that run when their turn has ended. What is remembered is kept. */
  close(): void {
    this.#live.close();
  }

  /** The conversation of a request, and what it is to be told: perhaps more than the request says. */
  #find(request: TurnRequest): { found: Found | undefined; messages: readonly Message[] } {
    const { conversation, agent = this.#options.agents.default, messages } = request;
    if (conversation === undefined || conversation instanceof Hold) return { found: undefined, messages };
    const find = (messages: readonly Message[]) =>
      findConversation(this.#options, conversation, agent, messages);
    const found = find(messages);
    if (found === undefined) return { found, messages };
    const { decision, why, known, origin, how } = found;
    this.#options.log.debug("conversation", { decision, conversation: (known ?? origin).id, why });
    const live = known?.isNamed ? this.#live.get(known) : undefined;
    const before = how.places.slice(0, -1);
    const isAskedAgain = known?.turns[how.places.at(-1) ?? NEW]?.state === "asked";
    const isWhole = isAskedAgain || before.some((place) => place !== NEW);
    const all = isWhole ? messages : live?.unsaid.before(messages) ?? messages;
    return all === messages ? { found, messages } : { found: find(all), messages: all };
  }

  #liveOf(
    { conversation, agent = this.#options.agents.default }: TurnRequest,
    found: Found | undefined,
  ): Live {
    const live = conversation instanceof Hold
      ? conversation.live
      : found?.known && this.#live.get(found.known);
    return live ?? newLive(agent);
  }

  /** Takes a place in the line of a conversation. */
  #enter(live: Live): Place {
    const { onBusy, slots } = this.#options;
    const { line } = live;
    try {
      line.check(onBusy);
    } catch (error) {
      throw inConversation(error, live);
    }
    // Who waits for others of its conversation takes none from other conversations.
    const slot = line.isBusy && onBusy === "queue" ? undefined : slots.take(line.isBusy);
    return line.enter(onBusy, slot);
  }

  /** Waits for the turns before it. @returns As {@linkcode Place.ready} does. */
  async #ready(place: Place, signal: AbortSignal | undefined): Promise<AbortSignal> {
    const givenUp = await place.ready(signal);
    this.#failed.signal.throwIfAborted();
    place.slot ??= this.#options.slots.take();
    return givenUp;
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

  #of(key: string): Known[] {
    const { memory, printer } = this.#options;
    const owner = printer.lasting("owner", key);
    return [...memory.all].filter((known) => known.owner === owner);
  }
}

function inConversation(error: unknown, { known }: Live): unknown {
  return error instanceof Failure && known ? error.inConversation(known.id) : error;
}

function isCancel(error: unknown): boolean {
  return error instanceof Failure && error.code === "turn_cancelled";
}
