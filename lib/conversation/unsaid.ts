/**
 * What callers of a conversation said that its agent never got, in their words: for those who send only their newest
 * message, and never say it again. In memory only.
 *
 * @module
 */

import type { KnownTurn } from "./memory.ts";
import { leading, type Message } from "./message.ts";
import type { Brought } from "./known.ts";

/** Turns whose words are kept; beyond it the oldest are let go. */
const MAX_TURNS = 8;
/** Characters of such a turn, pictures and sounds counted; a longer one is not kept. */
const MAX_CHARS = 256 * 1024;

/** The words of the turns that were asked and never told. */
export class Unsaid {
  readonly #words = new Map<KnownTurn, Message>();

  /** Keeps the words of what a request brings that is still to be told. */
  keep({ turns }: Brought, messages: readonly Message[]): void {
    for (const { turn, index } of turns) {
      const message = messages[index];
      if (message && turn.state === "asked" && sizeOf(message) <= MAX_CHARS) this.#words.set(turn, message);
    }
    for (const oldest of this.#words.keys()) {
      if (this.#words.size <= MAX_TURNS) return;
      this.#words.delete(oldest);
    }
  }

  /** Lets go of what was told meanwhile. */
  prune(): void {
    for (const turn of this.#words.keys()) if (turn.state !== "asked") this.#words.delete(turn);
  }

  /**
   * The messages of a request, with what was never told before them. One that has answers, or has a turn of the
   * conversation, is of a caller who sends all there is to say: then as they are.
   *
   * @param isKnown Whether a message of the request is a turn of the conversation.
   */
  with(messages: readonly Message[], isKnown: boolean): readonly Message[] {
    this.prune();
    if (this.#words.size === 0 || isKnown || messages.some(({ role }) => role === "assistant")) {
      return messages;
    }
    const persona = leading(messages);
    return [...messages.slice(0, persona), ...this.#words.values(), ...messages.slice(persona)];
  }
}

function sizeOf({ parts }: Message): number {
  return parts.reduce((sum, part) => sum + (part.type === "text" ? part.text : part.data).length, 0);
}
