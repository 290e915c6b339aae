/** The conversations that are remembered: the turns of each, and how far they came. @module */

import type { SessionId } from "../turn/event.ts";
import { type Continuation, UNMATCHED } from "./align.ts";
import { MAX_TURNS, type TranscriptFingerprint } from "./fingerprint.ts";
import { isSamePersona } from "./match.ts";
import type { ConversationRecord, DeliveryState, Fingerprint, Store, TurnRecord } from "./record.ts";

/** Conversations that are remembered. Beyond that the one that was not used for the longest time is forgotten. */
export const MAX_CONVERSATIONS = 1_000;

/** A turn whose state changes. */
type Turn = { -readonly [K in keyof TurnRecord]: TurnRecord[K] };

/** The part of a conversation that a request has. */
export interface TranscriptDelta {
  /** The request's turns in the conversation, with their indexes among the messages. */
  readonly turns: readonly { readonly index: number; readonly turn: Turn; readonly isAnswered: boolean }[];
  /** The last turn is to be sent again, whatever its state. */
  readonly isRetry: boolean;
  readonly persona: readonly Fingerprint[];
  readonly isPersonaOpen: boolean;
}

/** The fields of a conversation that never change, but for its program. */
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

  constructor(record: ConversationRecord) {
    this.id = record.id;
    this.owner = record.owner;
    this.agent = record.agent;
    this.program = record.program;
    this.isNamed = record.isNamed;
    this.createdAt = record.createdAt;
    this.persona = record.persona;
    this.isPersonaOpen = record.isPersonaOpen;
    this.turns = record.turns.map((turn) => ({ ...turn }));
    this.turnsBefore = record.turnsBefore;
    this.reply = record.reply;
    this.sessionId = record.sessionId;
    this.usedAt = record.usedAt;
  }

  /** Whether a client can continue more than its own messages: the agent has a session, or the client a name. */
  get isResumable(): boolean {
    return this.isNamed || this.sessionId !== undefined;
  }

  /** Adds the new turns of a request, as pending. */
  merge(
    { turns, persona, isPersonaOpen }: TranscriptFingerprint,
    { positions, isRetry, omitted = [] }: Continuation,
  ): TranscriptDelta {
    const earlier = [...this.turns];
    // Later requests leave these turns out as well, so that they may no longer be required.
    for (const index of omitted) earlier[index]!.state = "delivered";
    const merged = turns.flatMap(({ index, words, media, isAnswered }, i) => {
      const position = positions[i]!;
      const turn: Turn | undefined = position === UNMATCHED
        ? { words, media, state: "pending" }
        : earlier[position];
      if (turn === undefined) return [];
      if (position === UNMATCHED) this.turns.push(turn);
      return [{ index, turn, isAnswered }];
    });
    if (isRetry && turns.length > 0) merged.at(-1)!.turn.media ||= turns.at(-1)!.media;
    this.turnsBefore += this.turns.splice(0, Math.max(0, this.turns.length - MAX_TURNS)).length;
    return { turns: merged, isRetry, persona, isPersonaOpen };
  }

  /** Returns the message indexes of the turns that the session does not have yet; of the last turn if it has all. */
  pendingTurns({ turns, isRetry }: TranscriptDelta): number[] {
    const pending = turns.filter(({ turn }, i) =>
      turn.state === "pending" || isRetry && i === turns.length - 1
    );
    return (pending.length > 0 ? pending : turns.slice(-1)).map(({ index }) => index);
  }

  /** Whether a request has another persona than the session. A request without one changes nothing. */
  personaChanged(delta: TranscriptDelta): boolean {
    return delta.persona.length > 0 && !isSamePersona(delta, this);
  }

  /**
   * Records that the agent has the turns and the persona of a request.
   *
   * @returns A function that takes this back: an agent that died may not have kept them.
   */
  markDelivered(
    { turns, persona, isPersonaOpen }: TranscriptDelta,
    sessionId: SessionId,
    program: Fingerprint,
  ): () => void {
    const { persona: oldPersona, isPersonaOpen: wasPersonaOpen, sessionId: oldSession, program: oldProgram } =
      this;
    const changed: (readonly [Turn, DeliveryState])[] = [];
    const change = (turn: Turn, state: DeliveryState) => {
      if (turn.state !== state) changed.push([turn, turn.state]);
      turn.state = state;
    };
    if (oldSession !== undefined && oldSession !== sessionId) {
      // The new session does not have the turns that another client sent to the old one.
      const sent = new Set(turns.map(({ turn }) => turn));
      for (const turn of this.turns) if (!sent.has(turn)) change(turn, "pending");
    }
    for (const { turn, isAnswered } of turns) {
      if (turn.state === "pending") change(turn, isAnswered ? "answered" : "delivered");
    }
    const last = turns.at(-1);
    if (last) change(last.turn, "delivered");
    if (persona.length > 0) {
      this.persona = persona;
      this.isPersonaOpen = isPersonaOpen;
    }
    this.sessionId = sessionId;
    this.program = program;
    return () => {
      for (const [turn, state] of changed.reverse()) turn.state = state;
      this.persona = oldPersona;
      this.isPersonaOpen = wasPersonaOpen;
      this.sessionId = oldSession;
      this.program = oldProgram;
    };
  }

  /** Records how far the last turn of a request came. */
  setLastState({ turns }: TranscriptDelta, state: DeliveryState): void {
    const last = turns.at(-1);
    if (last) last.turn.state = state;
  }
}

/** All remembered conversations. Their changes are written to the store, if there is one. */
export class ConversationIndex {
  /** In the order of use. */
  readonly #all: Set<Conversation>;
  readonly #store: Store | undefined;

  constructor(store: Store | undefined) {
    this.#store = store;
    this.#all = new Set(store?.load().map((record) => new Conversation(record)));
  }

  /** All conversations, the last used one at the end. */
  get all(): ReadonlySet<Conversation> {
    return this.#all;
  }

  /** Finds a conversation by its name. */
  find(owner: Fingerprint, agent: string, id: string): Conversation | undefined {
    for (const conversation of this.#all) {
      if (conversation.id === id && conversation.owner === owner && conversation.agent === agent) {
        return conversation;
      }
    }
    return undefined;
  }

  /** Creates a conversation without turns. */
  create(identity: ConversationIdentity, transcript: TranscriptFingerprint, now: number): Conversation {
    const { persona, isPersonaOpen, reply, turns: [first] } = transcript;
    // A reply before the first turn is a greeting, the same for everyone.
    const isGreeting = reply === undefined || first === undefined || reply.index < first.index;
    const conversation = new Conversation({
      ...identity,
      persona,
      isPersonaOpen,
      turns: [],
      turnsBefore: 0,
      reply: isGreeting ? undefined : reply.fingerprint,
      sessionId: undefined,
      createdAt: now,
      usedAt: now,
    });
    this.#all.add(conversation);
    return conversation;
  }

  /** Makes a conversation the last used one. Forgets others beyond the limit, but for those that `isBusy` names. */
  touch(conversation: Conversation, now: number, isBusy: (conversation: Conversation) => boolean): void {
    conversation.usedAt = now;
    this.#all.delete(conversation);
    this.#all.add(conversation);
    // Forget single questions first, such as a translator's, to which nobody comes back.
    const isSingle = ({ turns, isNamed }: Conversation) => turns.length <= 1 && !isNamed;
    for (const isCandidate of [isSingle, () => true]) {
      for (const oldest of this.#all) {
        if (this.#all.size <= MAX_CONVERSATIONS) return;
        if (oldest !== conversation && !isBusy(oldest) && isCandidate(oldest)) this.forget(oldest);
      }
    }
  }

  /** Writes a conversation at the next opportunity, unless it is forgotten by then. */
  saveSoon(conversation: Conversation): void {
    if (this.#all.has(conversation)) this.#store?.saveSoon(conversation);
  }

  /** Writes a conversation before it returns, unless the conversation was forgotten. */
  save(conversation: Conversation): void {
    if (this.#all.has(conversation)) this.#store?.save(conversation);
  }

  /** Forgets a conversation. Returns false if it could not be removed from the store. */
  forget(conversation: Conversation): boolean {
    return !this.#all.delete(conversation) || (this.#store?.remove(conversation) ?? true);
  }
}
