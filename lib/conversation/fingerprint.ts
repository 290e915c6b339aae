/** Fingerprints of messages: keyed hashes that recognise a text and do not reveal it. Pure, but for the key. @module */

import { createHash } from "node:crypto";
import { BoundedMap } from "../core/bounded_map.ts";
import type { ConversationRecord, Fingerprint, TurnRecord } from "./record.ts";
import { isReply, isTurn, leading, type Message, SPEAKER, textOf } from "./message.ts";

/** Letters and digits of a reply that are compared. */
const REPLY_LETTERS = 200;
/** Characters at the start of a reply in which these letters are looked for. */
export const REPLY_CHARS = 2_000;
/** Letters and digits that make a reply distinctive. Its prefix for comparison has as many. */
const DISTINCTIVE_LETTERS = 16;
/** Characters of a hash. */
const FINGERPRINT_CHARS = 16;
/** Cached fingerprints, of keys and programs, of which there are few. */
const MAX_CACHED = 100;
/** Turns that a conversation remembers. */
export const MAX_TURNS = 256;
/**
 * Newest turns of a transcript that are compared. Fewer than MAX_TURNS, since a skin may have dropped some of those.
 */
const MAX_TRANSCRIPT_TURNS = 192;
/** Characters of the fingerprint of a conversation's last reply: four replies that may be it. */
const MAX_STORED_CHARS = 4 * 2 * FINGERPRINT_CHARS;
/** Newest replies of a transcript that are compared. A group has one of each character behind a turn. */
const MAX_REPLIES = 16;
/** The block size of SHA-256, in bytes. */
const BLOCK_BYTES = 64;

/** The fingerprints of a message of a user or a tool. */
export interface TurnFingerprint extends Readonly<Pick<TurnRecord, "words" | "media">> {
  /** Index among the messages. */
  readonly index: number;
  /** The transcript has a reply to it. */
  readonly isAnswered: boolean;
  /** The transcript has a call of the client's tools behind it. */
  readonly hasToolCall: boolean;
}

/** The fingerprints of a transcript. */
export interface TranscriptFingerprint
  extends Readonly<Pick<ConversationRecord, "persona" | "isPersonaOpen" | "turnsBefore">> {
  /** The index of each message of the persona. */
  readonly personaIndexes: readonly number[];
  /** The newest turns, oldest first, up to a limit. */
  readonly turns: readonly TurnFingerprint[];
  /**
   * The last replies before the newest turn, back to another turn, and those behind it. In a group most are others'.
   */
  readonly replies: readonly ReplyFingerprint[];
  /** Replies stand behind the newest turn: the client asks to continue them, or for another character's reply. */
  readonly endsWithReply: boolean;
  /** The reply to the first of the turns, or the first piece of that reply. */
  readonly firstReply: ReplyFingerprint | undefined;
}

/** The fingerprint of a reply in a transcript. */
export interface ReplyFingerprint {
  /** Index among the messages. */
  readonly index: number;
  /** As {@linkcode Fingerprinter.reply} makes it. */
  readonly fingerprint: Fingerprint;
  /** The reply is long enough to identify a conversation by itself. */
  readonly isDistinctive: boolean;
}

/** Makes fingerprints with a key. */
export class Fingerprinter {
  readonly #inner = createHash("sha256");
  readonly #outer = createHash("sha256");
  readonly #cached = new BoundedMap<string, Fingerprint>(MAX_CACHED);

  /** @param key 32 bytes. */
  constructor(key: Uint8Array) {
    const padded = (pad: number) => Uint8Array.from({ length: BLOCK_BYTES }, (_, i) => (key[i] ?? 0) ^ pad);
    this.#inner.update(padded(0x36));
    this.#outer.update(padded(0x5c));
  }

  /** Makes the fingerprint of a text. `kind` separates the texts of different fields. */
  fingerprint(kind: string, text: string): Fingerprint {
    // HMAC-SHA256 (RFC 2104) from two prepared hashes takes half the time of `createHmac`.
    const inner = this.#inner.copy().update(`${kind}\0${text}`).digest();
    return this.#outer.copy().update(inner).digest("base64url").slice(0, FINGERPRINT_CHARS) as Fingerprint;
  }

  /** Makes the fingerprint of a text that comes with every request. */
  cached(kind: string, text: string): Fingerprint {
    const name = `${kind}\0${text}`;
    const fingerprint = this.#cached.get(name) ?? this.fingerprint(kind, text);
    this.#cached.set(name, fingerprint);
    return fingerprint;
  }

  /**
   * Makes the fingerprint of a reply; undefined if the reply has no letters. It is the hash of the reply and the hash
   * of its prefix, to be compared with {@linkcode isSameReply} and {@linkcode replyPrefixDiffers} only.
   *
   * @param continued The text that the reply continues. The client may keep both as one: their fingerprint follows.
   */
  reply(text: string, continued?: string): Fingerprint | undefined {
    const letters = lettersOf(text);
    if (letters === "") return undefined;
    const prefix = this.fingerprint("beginning", letters.slice(0, DISTINCTIVE_LETTERS));
    const joined = continued === undefined ? "" : this.reply(continued + text) ?? "";
    return this.fingerprint("reply", letters) + prefix + joined as Fingerprint;
  }

  /** Makes the fingerprints of a transcript. */
  transcript(messages: readonly Message[]): TranscriptFingerprint {
    const persona = leading(messages);
    const all = messages.flatMap((message, index) => isTurn(message) ? [index] : []);
    const indexes = all.slice(-MAX_TRANSCRIPT_TURNS);
    const newest = indexes.at(-1) ?? messages.length;
    const replies = messages.flatMap((message, index) => isReply(message) ? [index] : []);
    const lastReply = replies.findLast((index) => index < newest) ?? newest;
    const turnBefore = all.findLast((index) => index < lastReply) ?? -1;
    const [first = messages.length, second = messages.length] = indexes;
    const system = messages.slice(0, persona).map((message) => this.fingerprint("system", wordsOf(message)));
    // Open-LLM-VTuber repeats the system message when it loads an old history.
    const personaIndexes = [...system.keys()].filter((index) => system[index] !== system[index - 1]);
    return {
      persona: personaIndexes.map((index) => system[index]!),
      personaIndexes,
      isPersonaOpen: persona > 0 && persona === newest,
      turns: indexes.map((index, position) => this.#turn(messages, index, indexes[position + 1])),
      turnsBefore: all.length - indexes.length,
      replies: replies.filter((index) => index > turnBefore).slice(-MAX_REPLIES)
        .flatMap((index) => this.#replyAt(messages, index) ?? []),
      endsWithReply: (replies.at(-1) ?? -1) > (all.at(-1) ?? -1),
      firstReply: this.#replyAt(messages, replies.find((index) => index > first && index < second)),
    };
  }

  #replyAt(messages: readonly Message[], index: number | undefined): ReplyFingerprint | undefined {
    if (index === undefined) return undefined;
    const text = textOf(messages[index]!);
    const fingerprint = this.reply(text);
    return fingerprint &&
      { index, fingerprint, isDistinctive: lettersOf(text).length >= DISTINCTIVE_LETTERS };
  }

  #turn(messages: readonly Message[], index: number, next = messages.length): TurnFingerprint {
    const message = messages[index]!;
    const media = message.parts.filter((part) => part.type !== "text");
    return {
      index,
      // Without the speaker's name, which Open-LLM-VTuber sends for remembered messages only.
      words: this.fingerprint("turn", `${message.role}\0${wordsOf(message)}`),
      media: media.length === 0
        ? ""
        : this.fingerprint("media", media.map(({ mimeType, data }) => `${mimeType}\0${data}`).join("\0")),
      isAnswered: messages.slice(index + 1, next).some(isReply),
      hasToolCall: messages.slice(index + 1, next).some(({ isToolCall }) => isToolCall),
    };
  }
}

/** Adds an interrupted reply to the one before it, because a client may keep either as its last one. */
export function withInterrupted(earlier: Fingerprint | undefined, interrupted: Fingerprint): Fingerprint {
  return (interrupted + (earlier ?? "")).slice(0, MAX_STORED_CHARS) as Fingerprint;
}

/** Whether two replies are the same in the letters that are compared. */
export function isSameReply(one: Fingerprint | undefined, other: Fingerprint | undefined): boolean {
  return one !== undefined && other !== undefined && sharesHash(one, other, 0);
}

/** Whether a reply of a transcript is surely not the stored one: it is distinctive and has another prefix. */
export function replyPrefixDiffers(
  sent: ReplyFingerprint | undefined,
  stored: Fingerprint | undefined,
): boolean {
  return sent !== undefined && sent.isDistinctive && stored !== undefined && !hasSamePrefix(sent, stored);
}

/** Finds the last of a conversation's replies in a transcript: the same, else one that begins as it does. */
export function findReply(
  { replies }: Pick<TranscriptFingerprint, "replies">,
  stored: Fingerprint | undefined,
): ReplyFingerprint | undefined {
  return replies.findLast(({ fingerprint }) => isSameReply(fingerprint, stored)) ??
    replies.findLast((reply) => reply.isDistinctive && stored !== undefined && hasSamePrefix(reply, stored));
}

function hasSamePrefix({ fingerprint }: ReplyFingerprint, stored: Fingerprint): boolean {
  return sharesHash(fingerprint, stored, FINGERPRINT_CHARS);
}

/** Whether two fingerprints of replies have a hash in common, of those at an offset in each pair of hashes. */
function sharesHash(one: Fingerprint, other: Fingerprint, offset: number): boolean {
  const pair = 2 * FINGERPRINT_CHARS;
  for (let i = offset; i < one.length; i += pair) {
    const hash = one.slice(i, i + FINGERPRINT_CHARS);
    for (let j = offset; j < other.length; j += pair) if (other.startsWith(hash, j)) return true;
  }
  return false;
}

/** Characters of a message whose white space may differ. In megabytes of words it takes seconds to replace. */
const MAX_SPACED_CHARS = 16_000;

/** Returns the words of a message, whatever its width and, at its start, its white space. */
function wordsOf(message: Message): string {
  const text = textOf(message).normalize("NFKC").trim();
  return text.slice(0, MAX_SPACED_CHARS).replace(/\s+/g, " ") + text.slice(MAX_SPACED_CHARS);
}

/**
 * Returns the letters of a reply that skins keep: without tags (`[happy]`, `<|ACT ...|>`), fences, space and marks, and
 * without the speaker's name, which group chats add.
 */
function lettersOf(text: string): string {
  const untagged = text.slice(0, REPLY_CHARS).replace(/\[[^\]\n]{1,80}\]|<[^>\n]{1,200}>|```\w*/g, "");
  return untagged.normalize("NFKC").trimStart().replace(SPEAKER, "").toLowerCase().replace(
    /[^\p{L}\p{N}]+/gu,
    "",
  ).slice(0, REPLY_LETTERS);
}
