/** The conversations that are remembered: the turns of each, and how far they came. @module */

import type { SessionId } from "../turn/event.ts";
import { findReply, isSameReply, MAX_TURNS, type TranscriptFingerprint } from "./fingerprint.ts";
import { type Continuation, UNMATCHED } from "./match.ts";
import type { UnseenParts } from "./prompt.ts";
import type { ConversationRecord, Fingerprint, Store, TurnRecord } from "./record.ts";

/** Conversations that are remembered. */
export const MAX_CONVERSATIONS = 1_000;

/** The part of a conversation that a request has. */
export interface TranscriptDelta
  extends Pick<TranscriptFingerprint, "persona" | "personaIndexes" | "isPersonaOpen" | "endsWithReply"> {
  /** The request's turns in the conversation, with their indexes among the messages. */
  readonly turns: readonly {
    readonly index: number;
    readonly turn: TurnRecord;
    readonly isAnswered: boolean;
  }[];
  /** The last turn is to be sent again, whatever its state. */
  readonly isRetry: boolean;
  /** The conversation's last reply. */
  readonly reply: UnseenParts["reply"];
  /** Whether the transcript has distinctive replies, but not the conversation's last reply. */
  readonly lacksLastReply: boolean;
}

/** The fields of a conversation that never change, but for its program. */
export type ConversationIdentity = Pick<ConversationRecord, "id" | "owner" | "agent" | "program" | "isNamed">;

/** Whether a client can continue more than its own messages: the agent has a session, or the client a name. */
export function isResumable({ isNamed, sessionId }: ConversationRecord): boolean {
  return isNamed || sessionId !== undefined;
}

/** Whether a conversation is a single question, such as a translator's, to which nobody comes back. */
export function isSingleQuestion({ turns, isNamed }: ConversationRecord): boolean {
  return turns.length <= 1 && !isNamed;
}

/**
 * Tells which of too many conversations make room, the first ones first: single questions of the key that has the most,
 * the others of this key, and any. So no key takes the room of another, however many it starts.
 */
export function roomMakers(
  conversations: Iterable<ConversationRecord>,
): ((conversation: ConversationRecord) => boolean)[] {
  const counts = new Map<Fingerprint, number>();
  for (const { owner } of conversations) counts.set(owner, (counts.get(owner) ?? 0) + 1);
  const most = Math.max(...counts.values());
  const isOfLargest = ({ owner }: ConversationRecord) => counts.get(owner) === most;
  return [
    (conversation) => isOfLargest(conversation) && isSingleQuestion(conversation),
    isOfLargest,
    () => true,
  ];
}

/** Adds the new turns of a request to its conversation, as pending. */
export function mergeTranscript(
  conversation: ConversationRecord,
  transcript: TranscriptFingerprint,
  { positions, isRetry, omitted = [] }: Continuation,
): TranscriptDelta {
  const { turns } = transcript;
  const recorded = [...conversation.turns];
  // Later requests leave these turns out as well, so that they may no longer be required.
  for (const index of omitted) recorded[index]!.state = "delivered";
  const merged = turns.flatMap(({ index, words, media, isAnswered }, i) => {
    const position = positions[i]!;
    if (position !== UNMATCHED) {
      const turn = recorded[position];
      return turn ? [{ index, turn, isAnswered }] : [];
    }
    const turn: TurnRecord = { words, media, state: "pending" };
    conversation.turns.push(turn);
    return [{ index, turn, isAnswered }];
  });
  if (isRetry && turns.length > 0) merged.at(-1)!.turn.media ||= turns.at(-1)!.media;
  const excess = Math.max(0, conversation.turns.length - MAX_TURNS);
  conversation.turnsBefore += conversation.turns.splice(0, excess).length;
  const reply = findReply(transcript, conversation.reply);
  conversation.hasEchoed ||= reply !== undefined;
  return {
    ...transcript,
    turns: merged,
    isRetry,
    reply: reply && { index: reply.index, isUnchanged: isSameReply(reply.fingerprint, conversation.reply) },
    lacksLastReply: reply === undefined && transcript.replies.some(({ isDistinctive }) => isDistinctive),
  };
}

/** Returns the parts of a request that the session does not have yet. */
export function unseenParts(conversation: ConversationRecord, delta: TranscriptDelta): UnseenParts {
  return {
    turns: pendingTurns(delta),
    persona: newPersona(conversation, delta),
    reply: delta.reply,
    answeredElsewhere: answeredElsewhere(delta),
  };
}

/**
 * Finds the newest turn of the session, if another server replied to it: this server ended inside the turn, and the
 * client sent the request again, to the other server.
 */
function answeredElsewhere({ turns, lacksLastReply }: TranscriptDelta): number | undefined {
  const newest = turns.findLast(({ turn }) => turn.state !== "pending");
  if (newest?.turn.state !== "delivered" || !newest.isAnswered) return undefined;
  const hasLaterReply = turns.some(({ turn, isAnswered }) => turn.state === "pending" && isAnswered);
  return lacksLastReply || hasLaterReply ? newest.index : undefined;
}

/** Returns the message indexes of the turns to send: the pending ones. Without any, the last turn is asked again. */
export function pendingTurns({ turns, isRetry, endsWithReply }: TranscriptDelta): number[] {
  const pending = turns.filter(({ turn }, i) =>
    turn.state === "pending" || isRetry && i === turns.length - 1
  );
  return (pending.length > 0 || endsWithReply ? pending : turns.slice(-1)).map(({ index }) => index);
}

/** The message indexes of the persona's messages that the session does not have. */
function newPersona(conversation: ConversationRecord, delta: TranscriptDelta): number[] {
  const { persona, personaIndexes } = delta;
  return personaIndexes.filter((_index, i) => !conversation.persona.includes(persona[i]!));
}

/**
 * Records that the agent has the turns and the persona of a request.
 *
 * @returns A function that takes this back: an agent that died may not have kept them.
 */
export function markDelivered(
  conversation: ConversationRecord,
  { turns, persona, isPersonaOpen }: TranscriptDelta,
  session: { readonly sessionId: SessionId; readonly program: Fingerprint },
): () => void {
  const { sessionId, program } = conversation;
  const before = {
    persona: conversation.persona,
    isPersonaOpen: conversation.isPersonaOpen,
    sessionId,
    program,
  };
  const states = new Set([...conversation.turns, ...turns.map(({ turn }) => turn)]).values()
    .map((turn) => ({ turn, state: turn.state })).toArray();
  if (sessionId !== session.sessionId && (sessionId !== undefined || conversation.replacedSessions)) {
    // The new session does not have the turns that another client sent to the old one.
    const sent = new Set(turns.map(({ turn }) => turn));
    for (const turn of conversation.turns) if (!sent.has(turn)) turn.state = "pending";
  }
  for (const { turn, isAnswered } of turns) {
    if (turn.state === "pending") turn.state = isAnswered ? "answered" : "delivered";
  }
  const last = turns.at(-1);
  if (last) last.turn.state = "delivered";
  Object.assign(conversation, persona.length > 0 ? { persona, isPersonaOpen } : {}, session);
  const changed = states.filter(({ turn, state }) => turn.state !== state);
  return () => {
    for (const { turn, state } of changed) turn.state = state;
    Object.assign(conversation, before);
  };
}

/** All remembered conversations. Their changes are written to the store, if there is one. */
export class ConversationIndex {
  /** In the order of use. */
  readonly #all: Set<ConversationRecord>;
  readonly #store: Store | undefined;

  constructor(store: Store | undefined) {
    this.#store = store;
    this.#all = new Set(store?.load());
  }

  /** All conversations, the last used one at the end. */
  get all(): ReadonlySet<ConversationRecord> {
    return this.#all;
  }

  /** Creates a conversation without turns. */
  create(
    identity: ConversationIdentity,
    { persona, isPersonaOpen, replies, turns }: TranscriptFingerprint,
    now: number,
  ): ConversationRecord {
    // A reply before the first turn is a greeting, the same for everyone.
    const isBetweenTurns = (index: number) => index > turns[0]!.index && index < turns.at(-1)!.index;
    const conversation: ConversationRecord = {
      ...identity,
      persona,
      isPersonaOpen,
      turns: [],
      turnsBefore: 0,
      reply: replies.findLast(({ index }) => turns.length > 0 && isBetweenTurns(index))?.fingerprint,
      sessionId: undefined,
      createdAt: now,
      usedAt: now,
    };
    this.#all.add(conversation);
    return conversation;
  }

  /** Makes a conversation the last used one. Forgets others beyond the limit, but for those that `isBusy` names. */
  touch(
    conversation: ConversationRecord,
    now: number,
    isBusy: (conversation: ConversationRecord) => boolean,
  ): void {
    conversation.usedAt = now;
    this.#all.delete(conversation);
    this.#all.add(conversation);
    if (this.#all.size <= MAX_CONVERSATIONS) return;
    for (const isCandidate of roomMakers(this.#all)) {
      for (const oldest of this.#all) {
        if (this.#all.size <= MAX_CONVERSATIONS) return;
        if (oldest !== conversation && !isBusy(oldest) && isCandidate(oldest)) this.forget(oldest);
      }
    }
  }

  /** Writes a conversation at the next opportunity, unless it is forgotten by then. */
  saveSoon(conversation: ConversationRecord): void {
    if (this.#all.has(conversation)) this.#store?.saveSoon(conversation);
  }

  /**
   * Writes a conversation, unless the conversation was forgotten. Returns a promise that resolves once this is done.
   */
  save(conversation: ConversationRecord): Promise<void> | undefined {
    return this.#all.has(conversation) ? this.#store?.save(conversation) : undefined;
  }

  /** Forgets a conversation. Returns false if it could not be removed from the store. */
  forget(conversation: ConversationRecord): boolean {
    return !this.#all.delete(conversation) || (this.#store?.remove(conversation) ?? true);
  }
}
