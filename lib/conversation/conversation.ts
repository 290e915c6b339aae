/** The conversations that are remembered, as they change: which turns each has, and how far they came. @module */

import type { SessionId } from "../turn/event.ts";
import { type Continuation, UNMATCHED } from "./align.ts";
import { isSamePersona } from "./match.ts";
import type { ConversationRecord, DeliveryState, Fingerprint, Store, TurnRecord } from "./record.ts";
import { MAX_TURNS, type TranscriptFingerprint } from "./fingerprint.ts";

/** Conversations that are remembered; beyond it the one that was used longest ago is forgotten. */
export const MAX_CONVERSATIONS = 1_000;

/** A turn whose state changes. */
type Turn = { -readonly [K in keyof TurnRecord]: TurnRecord[K] };

/** What a request brings to its conversation. */
export interface TranscriptDelta {
  /** Its turns that are the conversation's, with their places among the messages. */
  readonly turns: readonly { readonly index: number; readonly turn: Turn; readonly isAnswered: boolean }[];
  /** The last of them is to be put again, whatever its state. */
  readonly isRetry: boolean;
  readonly persona: readonly Fingerprint[];
  readonly isPersonaOpen: boolean;
}

/** What a conversation begins with. */
export type ConversationIdentity = Pick<ConversationRecord, "id" | "owner" | "agent" | "program" | "isNamed">;

/** A conversation that is remembered. */
export class Conversation implements ConversationRecord {
  readonly id: string;
  readonly owner: Fingerprint;
  readonly agent: string;
  readonly isNamed: boolean;
  readonly createdAt: number;
  readonly turns: Turn[];
  program: Fingerprint;
  persona: readonly Fingerprint[];
  isPersonaOpen: boolean;
  turnsBefore: number;
  reply: Fingerprint | undefined;
  sessionId: SessionId | undefined;
  usedAt: number;

  constructor(known: ConversationRecord) {
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
  get isResumable(): boolean {
    return this.isNamed || this.sessionId !== undefined;
  }

  /** Takes in the turns of a request: those that are new are asked from now on. */
  merge(
    { turns, persona, isPersonaOpen }: TranscriptFingerprint,
    { positions, isRetry, omitted = [] }: Continuation,
  ): TranscriptDelta {
    const had = [...this.turns];
    // They will be missing from now on.
    for (const place of omitted) had[place]!.state = "delivered";
    const brought = turns.flatMap(({ index, words, media, isAnswered }, position) => {
      const place = positions[position]!;
      if (place === UNMATCHED) this.turns.push({ words, media, state: "pending" });
      const turn = place === UNMATCHED ? this.turns.at(-1) : had[place];
      return turn ? [{ index, turn, isAnswered }] : [];
    });
    const last = turns.at(-1);
    if (isRetry && last) brought.at(-1)!.turn.media ||= last.media;
    const tooMany = Math.max(0, this.turns.length - MAX_TURNS);
    this.turns.splice(0, tooMany);
    this.turnsBefore += tooMany;
    return { turns: brought, isRetry, persona, isPersonaOpen };
  }

  /** The places of the messages that the agent's session has not heard yet; never empty if there are turns. */
  pendingTurns({ turns, isRetry }: TranscriptDelta): number[] {
    const asked = turns.filter(({ turn }, position) =>
      turn.state === "pending" || isRetry && position === turns.length - 1
    );
    return (asked.length > 0 ? asked : turns.slice(-1)).map(({ index }) => index);
  }

  /** Whether the system text of a request is another than the session was told. A text that is gone is no news. */
  personaChanged(brought: TranscriptDelta): boolean {
    return brought.persona.length > 0 && !isSamePersona(brought, this);
  }

  /**
   * The agent was given what a request brings.
   *
   * @returns Takes it back: an agent that died may not have kept what it was given.
   */
  markDelivered(
    { turns, persona, isPersonaOpen }: TranscriptDelta,
    sessionId: SessionId,
    program: Fingerprint,
  ): () => void {
    const { persona: oldPersona, isPersonaOpen: wasOpen, sessionId: oldSession, program: oldProgram } = this;
    const states = this.turns.map((turn) => [turn, turn.state] as const);
    if (oldSession !== undefined && oldSession !== sessionId) {
      // What another session was told by somebody else, this one never heard.
      const brought = new Set(turns.map(({ turn }) => turn));
      for (const turn of this.turns) if (!brought.has(turn)) turn.state = "pending";
    }
    for (const { turn, isAnswered } of turns) {
      if (turn.state === "pending") turn.state = isAnswered ? "answered" : "delivered";
    }
    this.setLastState({ turns }, "delivered");
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
  markUnanswered(brought: TranscriptDelta): void {
    if (brought.turns.at(-1)?.turn.state === "answered") this.setLastState(brought, "delivered");
  }

  /** What became of the last turn of a request. */
  setLastState({ turns }: Pick<TranscriptDelta, "turns">, state: DeliveryState): void {
    const last = turns.at(-1);
    if (last) last.turn.state = state;
  }
}

/** All of them. What changes is kept where the program's end does not reach, if there is such a place. */
export class ConversationIndex {
  /** In the order of use. */
  readonly #all = new Set<Conversation>();
  readonly #store: Store | undefined;

  constructor(store: Store | undefined) {
    this.#store = store;
    for (const stored of store?.load() ?? []) this.#all.add(new Conversation(stored));
  }

  /** All of them, the one that was used last at the end. */
  get all(): ReadonlySet<Conversation> {
    return this.#all;
  }

  /** The conversation of this name. */
  find(owner: Fingerprint, agent: string, id: string): Conversation | undefined {
    for (const known of this.#all) {
      if (known.id === id && known.owner === owner && known.agent === agent) return known;
    }
    return undefined;
  }

  /** Begins one. */
  create(origin: ConversationIdentity, transcript: TranscriptFingerprint, now: number): Conversation {
    const { persona, isPersonaOpen, reply, turns: [first] } = transcript;
    // What stands before the first turn is a greeting, and the same for everybody.
    const isAnswer = reply && first && first.index < reply.index;
    const known = new Conversation({
      ...origin,
      persona,
      isPersonaOpen,
      turns: [],
      turnsBefore: 0,
      reply: isAnswer ? reply.fingerprint : undefined,
      sessionId: undefined,
      createdAt: now,
      usedAt: now,
    });
    this.#all.add(known);
    return known;
  }

  /** It is used now. `isBusy` tells which may not be forgotten to make room. */
  touch(known: Conversation, now: number, isBusy: (known: Conversation) => boolean): void {
    known.usedAt = now;
    this.#all.delete(known);
    this.#all.add(known);
    // Those that were one question, as of a translator, before those that anybody may come back to.
    for (const isSmall of [true, false]) {
      if (this.#all.size <= MAX_CONVERSATIONS) return;
      for (const oldest of this.#all) {
        if (this.#all.size <= MAX_CONVERSATIONS) return;
        if (oldest === known || isBusy(oldest)) continue;
        if (!isSmall || oldest.turns.length <= 1 && !oldest.isNamed) this.forget(oldest);
      }
    }
  }

  /** Keeps what it is now. @returns False if another program forgot it: then it is forgotten here as well. */
  save(known: Conversation): boolean {
    if (!this.#all.has(known) || (this.#store?.save(known) ?? true)) return true;
    this.#all.delete(known);
    return false;
  }

  /**
   * Forgets all of an owner, also what another program keeps in the same place.
   *
   * @returns False if they could not be removed from there.
   */
  forgetAll(owner: Fingerprint): boolean {
    for (const known of this.#all) if (known.owner === owner) this.#all.delete(known);
    return this.#store?.removeAll(owner) ?? true;
  }

  /** @returns False if it could not be removed from where it is kept. */
  forget(known: Conversation): boolean {
    return !this.#all.delete(known) || (this.#store?.remove(known) ?? true);
  }
}
