/**
 * What was said, as keyed hashes: enough to know it again, and nothing that could be read. Pure, but for the key.
 *
 * @module
 */

import { createHmac } from "node:crypto";
import type { Fingerprint } from "./record.ts";
import { isTurn, leading, type Message, textOf } from "./message.ts";

/** Letters and digits of an answer that are compared. */
const REPLY_LETTERS = 200;
/** Characters of an answer in which they are looked for. */
export const REPLY_CHARS = 2_000;
/** Letters and digits that an answer must have to be a proof; so many tell how it begins. */
const DISTINCTIVE_LETTERS = 16;
/** Signs of one print. */
const FINGERPRINT_CHARS = 16;
/** Prints that are not made anew: of keys and programs, of which there are few. */
const MAX_CACHED = 100;
/** Turns of a conversation that are remembered. */
export const MAX_TURNS = 256;
/** Turns of a transcript that are looked at, the newest: fewer, since some of those remembered may not be in it. */
const MAX_TRANSCRIPT_TURNS = 192;

/** A message of a user or a tool, known again by its prints. */
export interface TurnFingerprint {
  /** Its place among the messages. */
  readonly index: number;
  readonly words: Fingerprint;
  /** Of its pictures and sounds; empty without any. */
  readonly media: Fingerprint | "";
  /** The agent answered it, as far as the transcript tells. */
  readonly isAnswered: boolean;
}

/** A transcript, known again by its prints. */
export interface TranscriptFingerprint {
  readonly persona: readonly Fingerprint[];
  /** The last of the persona may be meant for the first turn only: it stands right before it, and that is the newest. */
  readonly isPersonaOpen: boolean;
  /** The newest, up to a limit. */
  readonly turns: readonly TurnFingerprint[];
  /** How many were left out. */
  readonly turnsBefore: number;
  /** The last answer before the newest turn. */
  readonly reply: ReplyFingerprint | undefined;
  /** The answer to the first of these turns, or its first piece. */
  readonly firstReply: ReplyFingerprint | undefined;
}

/** An answer, known again by its print. */
export interface ReplyFingerprint {
  /** Its place among the messages. */
  readonly index: number;
  /** As {@linkcode Fingerprinter.reply} makes it. */
  readonly fingerprint: Fingerprint;
  /** It is long enough to tell a conversation from others by itself: everybody says hello. */
  readonly isDistinctive: boolean;
  /** How many answers stand there in a row, with this one at the end. */
  readonly run: number;
}

/** Makes prints with a key. The same words give the same print with the same key only. */
export class Fingerprinter {
  readonly #key: Uint8Array;
  readonly #lasting = new Map<string, Fingerprint>();

  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /** The print of a text; `kind` keeps apart what is compared with different things. */
  fingerprint(kind: string, text: string): Fingerprint {
    const digest = createHmac("sha256", this.#key).update(`${kind}\0${text}`).digest("base64url");
    return digest.slice(0, FINGERPRINT_CHARS) as Fingerprint;
  }

  /** The print of a text that comes again and again. */
  cached(kind: string, text: string): Fingerprint {
    const name = `${kind}\0${text}`;
    const known = this.#lasting.get(name);
    if (known !== undefined) return known;
    if (this.#lasting.size >= MAX_CACHED) this.#lasting.clear();
    const print = this.fingerprint(kind, text);
    this.#lasting.set(name, print);
    return print;
  }

  /**
   * What is kept of an answer, as {@linkcode transcript} makes it; nothing if it has no words. It is two prints in a
   * row, of the answer and of how it begins, and compared by {@linkcode isSameReply}, {@linkcode replyPrefixMatches} and
   * {@linkcode replyPrefixDiffers} only. Older files have the first of the two.
   */
  reply(text: string): Fingerprint | undefined {
    const letters = lettersOf(text);
    return letters === "" ? undefined : this.#replyOf(letters);
  }

  /** The prints of a transcript. */
  transcript(messages: readonly Message[]): TranscriptFingerprint {
    const persona = leading(messages);
    const all = messages.flatMap((message, index) => isTurn(message) ? [index] : []);
    const places = all.slice(-MAX_TRANSCRIPT_TURNS);
    const last = places.at(-1) ?? messages.length;
    const spoken = messages.findLastIndex((message, index) => message.role === "assistant" && index < last);
    const system = messages.slice(0, persona).map((message) => this.fingerprint("system", wordsOf(message)));
    return {
      // Open-LLM-VTuber says it twice where it loads an old history.
      persona: system.filter((print, index) => print !== system[index - 1]),
      isPersonaOpen: persona > 0 && persona === last,
      turns: places.map((index, position) => this.#turn(messages, index, places[position + 1])),
      turnsBefore: all.length - places.length,
      reply: this.#replyAt(messages, spoken),
      firstReply: this.#replyAt(messages, firstAnswer(messages, places)),
    };
  }

  #replyOf(letters: string): Fingerprint {
    return this.fingerprint("reply", letters) +
      this.fingerprint("beginning", letters.slice(0, DISTINCTIVE_LETTERS)) as Fingerprint;
  }

  #replyAt(messages: readonly Message[], index: number): ReplyFingerprint | undefined {
    const message = messages[index];
    const letters = message ? lettersOf(textOf(message)) : "";
    if (letters === "") return undefined;
    const before = messages.slice(0, index).findLastIndex(isTurn);
    const run = messages.slice(before + 1, index + 1).filter(({ role }) => role === "assistant").length;
    return {
      index,
      fingerprint: this.#replyOf(letters),
      isDistinctive: letters.length >= DISTINCTIVE_LETTERS,
      run,
    };
  }

  #turn(messages: readonly Message[], index: number, next = messages.length): TurnFingerprint {
    const message = messages[index]!;
    const media = message.parts.filter((part) => part.type !== "text");
    return {
      index,
      // Not the speaker's name: Open-LLM-VTuber gives that only to what it remembers.
      words: this.fingerprint("turn", `${message.role}\0${wordsOf(message)}`),
      media: media.length === 0
        ? ""
        : this.fingerprint("media", media.map(({ mimeType, data }) => `${mimeType}\0${data}`).join("\0")),
      isAnswered: messages.slice(index + 1, next).some(({ role }) => role === "assistant"),
    };
  }
}

/** Whether two answers are the same, as far as they are compared. */
export function isSameReply(one: Fingerprint | undefined, other: Fingerprint | undefined): boolean {
  return one !== undefined && one.slice(0, FINGERPRINT_CHARS) === other?.slice(0, FINGERPRINT_CHARS);
}

/** Whether an answer of a transcript is one that was kept, or may be what a skin left of it: skins cut answers. */
export function replyPrefixMatches(
  given: ReplyFingerprint | undefined,
  kept: Fingerprint | undefined,
): boolean {
  if (given === undefined || kept === undefined) return false;
  return isSameReply(given.fingerprint, kept) ||
    given.isDistinctive && beginningOf(given.fingerprint) === beginningOf(kept);
}

/** Whether an answer of a transcript is another than one that was kept: it is long enough to tell, and begins otherwise. */
export function replyPrefixDiffers(
  given: ReplyFingerprint | undefined,
  kept: Fingerprint | undefined,
): boolean {
  if (!given?.isDistinctive || kept === undefined || beginningOf(kept) === "") return false;
  return beginningOf(given.fingerprint) !== beginningOf(kept);
}

function beginningOf(reply: Fingerprint): string {
  return reply.slice(FINGERPRINT_CHARS);
}

/** The place of the answer to the first of the turns; -1 without one. */
function firstAnswer(
  messages: readonly Message[],
  [first, next = messages.length]: readonly number[],
): number {
  if (first === undefined) return -1;
  return messages.findIndex(({ role }, index) => role === "assistant" && index > first && index < next);
}

/** The words of a message, however their white space was written. */
function wordsOf(message: Message): string {
  return textOf(message).normalize("NFKC").replace(/\s+/g, " ").trim();
}

/**
 * The beginning of an answer as it survives what skins make of it: without tags (`[happy]`, `<|ACT ...|>`), fences,
 * white space and marks.
 */
function lettersOf(text: string): string {
  const untagged = text.slice(0, REPLY_CHARS).replace(/\[[^\]\n]{1,80}\]|<[^>\n]{1,200}>|```\w*/g, "");
  return untagged.normalize("NFKC").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "").slice(0, REPLY_LETTERS);
}
