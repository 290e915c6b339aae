/** What is remembered of conversations, also on disk: hashes of what was said, never words. @module */

import type { SessionId } from "../turn/event.ts";

/** A keyed hash: 16 characters of base64url; of an answer two of them in a row. */
export type Fingerprint = string & { readonly brand: "Print" };

/**
 * How far a turn came: `asked` never reached the agent, `told` did but has no answer (it runs, was cancelled or
 * failed), `answered` has one.
 */
export const DELIVERY_STATES = ["pending", "delivered", "answered"] as const;
/** One of {@linkcode DELIVERY_STATES}. */
export type DeliveryState = (typeof DELIVERY_STATES)[number];

/** A message of a user, or of a tool. */
export interface TurnRecord {
  /** Its words, without their white space. */
  readonly words: Fingerprint;
  /** Its pictures and sounds; empty without any. */
  readonly media: Fingerprint | "";
  readonly state: DeliveryState;
}

/** What is remembered of a conversation. */
export interface ConversationRecord {
  /** What callers call it: the name they gave it, or one that was made. Unique for an owner and an agent. */
  readonly id: string;
  /** Who has it: a hash of the key. */
  readonly owner: Fingerprint;
  /** The agent's name. */
  readonly agent: string;
  /** The agent's program; its sessions are no other's. */
  readonly program: Fingerprint;
  /** Its caller named it: it is found by that name, and not by what was said. */
  readonly isNamed: boolean;
  /** The system messages before anyone spoke, in order, as the agent was told them. */
  readonly persona: readonly Fingerprint[];
  /** The last of them may have been meant for the first turn only: nothing was said between them and it. */
  readonly isPersonaOpen: boolean;
  /** The turns, the newest last; the oldest are left out beyond a limit. */
  readonly turns: readonly TurnRecord[];
  /** How many were left out. */
  readonly turnsBefore: number;
  /** The last answer, roughly, as `Printer.reply` makes it. */
  readonly reply: Fingerprint | undefined;
  /** The agent's session, if there was one. */
  readonly sessionId: SessionId | undefined;
  /** Unix milliseconds. */
  readonly createdAt: number;
  /** Unix milliseconds of the last request. */
  readonly usedAt: number;
}

/** Where conversations outlive the program. Nothing throws: what cannot be kept is not. */
export interface Store extends Disposable {
  /** The key of all prints: 32 random bytes that were made with the store. */
  readonly key: Uint8Array;
  /** All of them, the one that was used last at the end. */
  load(): ConversationRecord[];
  /**
   * Keeps it, in the place of an older version of it.
   *
   * @returns False if another program removed it since it was loaded or kept here: then it was forgotten there, and is
   * to be forgotten here as well; it is not kept.
   */
  save(conversation: ConversationRecord): boolean;
  /** @returns False if it could not be, and will be there again at the next start. */
  remove(conversation: Pick<ConversationRecord, "owner" | "agent" | "id">): boolean;
  /**
   * Removes all of an owner, also those that another program keeps there.
   *
   * @returns False if they could not be, and will be there again at the next start.
   */
  removeAll(owner: Fingerprint): boolean;
}
