/**
 * What was said, as keyed hashes: enough to know it again, and nothing that could be read. Pure, but for the key.
 *
 * @module
 */

import { createHmac } from "node:crypto";
import type { Print } from "./memory.ts";
import { isTurn, leading, type Message, textOf } from "./message.ts";

/** Letters and digits of an answer that are compared. */
const REPLY_LETTERS = 200;
/** Characters of an answer in which they are looked for. */
export const REPLY_CHARS = 2_000;
/** Letters and digits that an answer must have to be a proof. */
const PROOF_LETTERS = 16;
/** Prints that are not made anew: of keys and programs, of which there are few. */
const MAX_LASTING = 100;
/** Turns of a conversation that are remembered. */
export const MAX_TURNS = 256;
/** Turns of a transcript that are looked at, the newest: fewer, since some of those remembered may not be in it. */
const SEEN_TURNS = 192;

/** A message of a user or a tool, known again by its prints. */
export interface TurnPrint {
  /** Its place among the messages. */
  readonly index: number;
  readonly words: Print;
  /** Of its pictures and sounds; empty without any. */
  readonly media: Print | "";
  /** The agent answered it, as far as the transcript tells. */
  readonly isAnswered: boolean;
}

/** A transcript, known again by its prints. */
export interface TranscriptPrint {
  readonly persona: readonly Print[];
  /** The last of the persona may be meant for the first turn only: it stands right before it, and that is the newest. */
  readonly isPersonaOpen: boolean;
  /** The newest, up to a limit. */
  readonly turns: readonly TurnPrint[];
  /** The last answer before the newest turn. */
  readonly reply: ReplyPrint | undefined;
}

/** An answer, known again by its print. */
export interface ReplyPrint {
  /** Its place among the messages. */
  readonly index: number;
  readonly print: Print;
  /** It is long enough to tell a conversation from others by itself: everybody says hello. */
  readonly isProof: boolean;
  /** How many answers stand there in a row, with this one at the end. */
  readonly run: number;
}

/** Makes prints with a key. The same words give the same print with the same key only. */
export class Printer {
  readonly #key: Uint8Array;
  readonly #lasting = new Map<string, Print>();

  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /** The print of a text; `kind` keeps apart what is compared with different things. */
  print(kind: string, text: string): Print {
    const digest = createHmac("sha256", this.#key).update(`${kind}\0${text}`).digest("base64url");
    return digest.slice(0, 16) as Print;
  }

  /** The print of a text that comes again and again. */
  lasting(kind: string, text: string): Print {
    const name = `${kind}\0${text}`;
    const known = this.#lasting.get(name);
    if (known !== undefined) return known;
    if (this.#lasting.size >= MAX_LASTING) this.#lasting.clear();
    const print = this.print(kind, text);
    this.#lasting.set(name, print);
    return print;
  }

  /** The print of an answer, as {@linkcode transcript} makes it; nothing if it has no words. */
  reply(text: string): Print | undefined {
    const letters = lettersOf(text);
    return letters === "" ? undefined : this.print("reply", letters);
  }

  /** The prints of a transcript. */
  transcript(messages: readonly Message[]): TranscriptPrint {
    const persona = leading(messages);
    const places = messages.flatMap((message, index) => isTurn(message) ? [index] : []).slice(-SEEN_TURNS);
    const last = places.at(-1) ?? messages.length;
    const spoken = messages.findLastIndex((message, index) => message.role === "assistant" && index < last);
    const system = messages.slice(0, persona).map((message) => this.print("system", wordsOf(message)));
    return {
      // Open-LLM-VTuber says it twice where it loads an old history.
      persona: system.filter((print, index) => print !== system[index - 1]),
      isPersonaOpen: persona > 0 && persona === last,
      turns: places.map((index, position) => this.#turn(messages, index, places[position + 1])),
      reply: spoken < 0 ? undefined : this.#replyAt(messages, spoken),
    };
  }

  #replyAt(messages: readonly Message[], index: number): ReplyPrint | undefined {
    const letters = lettersOf(textOf(messages[index]!));
    if (letters === "") return undefined;
    const before = messages.slice(0, index).findLastIndex(isTurn);
    const run = messages.slice(before + 1, index + 1).filter(({ role }) => role === "assistant").length;
    return { index, print: this.print("reply", letters), isProof: letters.length >= PROOF_LETTERS, run };
  }

  #turn(messages: readonly Message[], index: number, next = messages.length): TurnPrint {
    const message = messages[index]!;
    const media = message.parts.filter((part) => part.type !== "text");
    return {
      index,
      // Not the speaker's name: Open-LLM-VTuber gives that only to what it remembers.
      words: this.print("turn", `${message.role}\0${wordsOf(message)}`),
      media: media.length === 0
        ? ""
        : this.print("media", media.map(({ mimeType, data }) => `${mimeType}\0${data}`).join("\0")),
      isAnswered: messages.slice(index + 1, next).some(({ role }) => role === "assistant"),
    };
  }
}

/** The words of a message, however their white space was written. */
function wordsOf(message: Message): string {
  return textOf(message).normalize("NFKC").replace(/\s+/g, " ").trim();
}

/**
 * The beginning of an answer as it survives what skins make of it: without tags (`[happy]`, `<|ACT ...|>`), white space
 * and marks.
 */
function lettersOf(text: string): string {
  const untagged = text.slice(0, REPLY_CHARS).replace(/\[[^\]\n]{1,80}\]|<[^>\n]{1,200}>/g, "");
  return untagged.normalize("NFKC").toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "").slice(0, REPLY_LETTERS);
}
