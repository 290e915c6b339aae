/** The conversations that are remembered, as they change: which turns each has, and how far they came. @module */

import type { SessionId } from "../turn/event.ts";
import { type Continuation, NEW } from "./align.ts";
import { isSamePersona } from "./match.ts";
import type { KnownConversation, KnownTurn, Print, Store, TurnState } from "./memory.ts";
import { MAX_TURNS, type TranscriptPrint } from "./print.ts";

/** Conversations that are remembered; beyond it the one that was used longest ago is forgotten. */
export const MAX_KNOWN = 1_000;

/** A turn whose state changes. */
type Turn = { -readonly [K in keyof KnownTurn]: KnownTurn[K] };

/** What a request brings to its conversation. */
export interface Brought {
  /** Its turns that are the conversation's, with their places among the messages. */
  readonly turns: readonly { readonly index: number; readonly turn: Turn; readonly isAnswered: boolean }[];
  /** The last of them is to be put again, whatever its state. */
  readonly isAgain: boolean;
  readonly persona: readonly Print[];
  readonly isPersonaOpen: boolean;
}

/** What a conversation begins with. */
export type KnownOrigin = Pick<KnownConversation, "id" | "owner" | "agent" | "program" | "isNamed">;

/** A conversation that is remembered. */
export class Known implements KnownConversation {
  readonly id: string;
  readonly owner: Print;
  readonly agent: string;
  readonly isNamed: boolean;
  readonly createdAt: number;
  readonly turns: Turn[];
  program: Print;
  persona: readonly Print[];
  isPersonaOpen: boolean;
  turnsBefore: number;
  reply: Print | undefined;
  sessionId: SessionId | undefined;
  usedAt: number;

  constructor(known: KnownConversation) {
    this.id = known.id;
    this.owner = known.owner;
    this.agent = known.agent;
    this.program = known.program;
    this.isNamed = known.isNamed;
    this.createdAt = known.createdAt;
    this.persona = known.persona;
    this.isPersonaOpen = known.isPersonaOpen;
    this.turns = known.turns.map((turn) => ({ ...turn }));
    this.turnsBefore = known.turnsBefore;
    this.reply = known.reply;
    this.sessionId = known.sessionId;
    this.usedAt = known.usedAt;
  }

  /** The agent was told of it, or its caller has a name for it: else there is nothing to come back to but its words. */
  get isHeardOf(): boolean {
    return this.isNamed || this.sessionId !== undefined;
  }

  /** Takes in the turns of a request: those that are new are asked from now on. */
  bring(
    { turns, persona, isPersonaOpen }: TranscriptPrint,
    { places, isAgain, left = [] }: Continuation,
  ): Brought {
    const had = [...this.turns];
    // They will be missing from now on.
    for (const place of left) had[place]!.state = "told";
    const brought = turns.flatMap(({ index, words, media, isAnswered }, position) => {
      const place = places[position]!;
      if (place === NEW) this.turns.push({ words, media, state: "asked" });
      const turn = place === NEW ? this.turns.at(-1) : had[place];
      return turn ? [{ index, turn, isAnswered }] : [];
    });
    const last = turns.at(-1);
    if (isAgain && last) brought.at(-1)!.turn.media ||= last.media;
    const tooMany = Math.max(0, this.turns.length - MAX_TURNS);
    this.turns.splice(0, tooMany);
    this.turnsBefore += tooMany;
    return { turns: brought, isAgain, persona, isPersonaOpen };
  }

  /** The places of the messages that the agent's session has not heard yet; never empty if there are turns. */
  unheard({ turns, isAgain }: Brought): number[] {
    const asked = turns.filter(({ turn }, position) =>
      turn.state === "asked" || isAgain && position === turns.length - 1
    );
    return (asked.length > 0 ? asked : turns.slice(-1)).map(({ index }) => index);
  }

  /** Whether the system text of a request is another than the session was told. A text that is gone is no news. */
  hasOtherPersona(brought: Brought): boolean {
    return brought.persona.length > 0 && !isSamePersona(brought, this);
  }

  /**
   * The agent was given what a request brings.
   *
   * @returns Takes it back: an agent that died may not have kept what it was given.
   */
  told({ turns, persona, isPersonaOpen }: Brought, sessionId: SessionId, program: Print): () => void {
    const { persona: oldPersona, isPersonaOpen: wasOpen, sessionId: oldSession, program: oldProgram } = this;
    const states = this.turns.map((turn) => [turn, turn.state] as const);
    if (oldSession !== undefined && oldSession !== sessionId) {
      // What another session was told by somebody else, this one never heard.
      const brought = new Set(turns.map(({ turn }) => turn));
      for (const turn of this.turns) if (!brought.has(turn)) turn.state = "asked";
    }
    for (const { turn, isAnswered } of turns) {
      if (turn.state === "asked") turn.state = isAnswered ? "answered" : "told";
    }
    this.ended({ turns }, "told");
    if (persona.length > 0) {
      this.persona = persona;
      this.isPersonaOpen = isPersonaOpen;
    }
    this.sessionId = sessionId;
    this.program = program;
    return () => {
      for (const [turn, state] of states) turn.state = state;
      this.persona = oldPersona;
      this.isPersonaOpen = wasOpen;
      this.sessionId = oldSession;
      this.program = oldProgram;
    };
  }

  /** The last turn of a request was answered, but nobody was given that answer. */
  unanswered(brought: Brought): void {
    if (brought.turns.at(-1)?.turn.state === "answered") this.ended(brought, "told");
  }

  /** What became of the last turn of a request. */
  ended({ turns }: Pick<Brought, "turns">, state: TurnState): void {
    const last = turns.at(-1);
    if (last) last.turn.state = state;
  }
}

/** All of them. What changes is kept where the program's end does not reach, if there is such a place. */
export class Memory {
  /** In the order of use. */
  readonly #all = new Set<Known>();
  readonly #store: Store | undefined;

  constructor(store: Store | undefined) {
    this.#store = store;
    for (const stored of store?.load() ?? []) this.#all.add(new Known(stored));
  }

  /** All of them, the one that was used last at the end. */
  get all(): ReadonlySet<Known> {
    return this.#all;
  }

  /** The conversation of this name. */
  find(owner: Print, agent: string, id: string): Known | undefined {
    for (const known of this.#all) {
      if (known.id === id && known.owner === owner && known.agent === agent) return known;
    }
    return undefined;
  }

  /** Begins one. */
  begin(origin: KnownOrigin, transcript: TranscriptPrint, now: number): Known {
    const { persona, isPersonaOpen, reply, turns: [first] } = transcript;
    // What stands before the first turn is a greeting, and the same for everybody.
    const isAnswer = reply && first && first.index < reply.index;
    const known = new Known({
      ...origin,
      persona,
      isPersonaOpen,
      turns: [],
      turnsBefore: 0,
      reply: isAnswer ? reply.print : undefined,
      sessionId: undefined,
      createdAt: now,
      usedAt: now,
    });
    this.#all.add(known);
    return known;
  }

  /** It is used now. `isBusy` tells which may not be forgotten to make room. */
  use(known: Known, now: number, isBusy: (known: Known) => boolean): void {
    known.usedAt = now;
    this.#all.delete(known);
    this.#all.add(known);
    // Those that were one question, as of a translator, before those that anybody may come back to.
    for (const isSmall of [true, false]) {
      if (this.#all.size <= MAX_KNOWN) return;
      for (const oldest of this.#all) {
        if (this.#all.size <= MAX_KNOWN) return;
        if (oldest === known || isBusy(oldest)) continue;
        if (!isSmall || oldest.turns.length <= 1 && !oldest.isNamed) this.forget(oldest);
      }
    }
  }

  /** Keeps what it is now. @returns False if another program forgot it: then it is forgotten here as well. */
  save(known: Known): boolean {
    if (!this.#all.has(known) || (this.#store?.save(known) ?? true)) return true;
    this.#all.delete(known);
    return false;
  }

  /**
   * Forgets all of an owner, also what another program keeps in the same place.
   *
   * @returns False if they could not be removed from there.
   */
  forgetAll(owner: Print): boolean {
    for (const known of this.#all) if (known.owner === owner) this.#all.delete(known);
    return this.#store?.removeAll(owner) ?? true;
  }

  /** @returns False if it could not be removed from where it is kept. */
  forget(known: Known): boolean {
    return !this.#all.delete(known) || (this.#store?.remove(known) ?? true);
  }
}
