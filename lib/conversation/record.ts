/** The record of a conversation, as it outlives the program: hashes of the messages, never their words. @module */

import type { SessionId } from "../turn/event.ts";

/** A keyed hash: 16 characters of base64url, or for a reply pairs of such hashes in a row. */
export type Fingerprint = string & { readonly brand: "Fingerprint" };

/**
 * How far a turn came, in the order of their numbers in the file. `pending`: the agent does not have the message.
 * `delivered`: the agent has it, and no reply is complete (the turn runs, was cancelled or failed). `answered`: the
 * reply is complete.
 */
export const DELIVERY_STATES = ["pending", "delivered", "answered"] as const;
/** One of {@linkcode DELIVERY_STATES}. */
export type DeliveryState = (typeof DELIVERY_STATES)[number];

/** A message of a user or a tool. */
export interface TurnRecord {
  /** The text, whatever its white space. */
  readonly words: Fingerprint;
  /** The images and sounds; empty without any. */
  media: Fingerprint | "";
  state: DeliveryState;
  /** How often the agent died when the message was sent to it. Not in the file. */
  deaths?: number;
}

/** A remembered conversation. `owner`, `agent` and `id` together identify it. */
export interface ConversationRecord {
  /** The hash of the API key. */
  readonly owner: Fingerprint;
  /** The agent's name. */
  readonly agent: string;
  /** The name that the client gave, or a generated one. */
  readonly id: string;
  /** The client named the conversation, so that its messages are not matched. */
  readonly isNamed: boolean;
  /** The agent's command and folder. Its sessions can be resumed with the same program only. */
  program: Fingerprint;
  /** The system messages before the first other message, in order, as the agent got them. */
  persona: readonly Fingerprint[];
  /** The last system message may have been meant for the first turn only: no message stood between the two. */
  isPersonaOpen: boolean;
  /** The newest turns, oldest first. */
  readonly turns: TurnRecord[];
  /** Number of older turns that were dropped. */
  turnsBefore: number;
  /** The last reply, as `Fingerprinter.reply` makes it. Interrupted ones stand before it. */
  reply: Fingerprint | undefined;
  /** The client has sent a reply back, so that it keeps a history. Not in the file. */
  hasEchoed?: boolean;
  /** The last side job that named this conversation: its first system message and its reply. Not in the file. */
  sideJob?: { readonly system: Fingerprint; readonly reply: Fingerprint | undefined };
  /** The agent's session, if it had one. */
  sessionId: SessionId | undefined;
  /** The newest sessions that could not serve and were replaced. Not in the file. */
  replacedSessions?: readonly SessionId[];
  /** Unix milliseconds. */
  readonly createdAt: number;
  /** Unix milliseconds of the last request. */
  usedAt: number;
}

/** How many prompts were sent for a key on a day. */
export interface TurnCount {
  /** Days since 1970-01-01 (UTC). */
  readonly day: number;
  readonly count: number;
}

/** The storage of the counts of turns, one for each key. Every call reads or writes the file at once, and may throw. */
export interface TurnCounts {
  read(key: string): TurnCount | undefined;
  write(key: string, count: TurnCount): void;
  /** Removes the counts of earlier days, but not those of these keys. */
  prune(today: number, keys: readonly string[]): void;
}

/** The storage of conversations. A conversation that cannot be written is lost at the program's end. */
export interface Store extends Disposable {
  readonly turnCounts: TurnCounts;
  /** The key of all fingerprints: 32 random bytes, made with the store. */
  readonly key: Uint8Array;
  /** Reads all conversations, the last used one at the end. */
  load(): ConversationRecord[];
  /** Writes a conversation soon, together with others, as it is then. */
  saveSoon(conversation: ConversationRecord): void;
  /** Writes a conversation with the others of this moment. Resolves once this is done; it never rejects. */
  save(conversation: ConversationRecord): Promise<void>;
  /** Removes a conversation. Returns false if it is still there. */
  remove(conversation: ConversationRecord): boolean;
}
