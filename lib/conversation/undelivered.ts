/**
 * What callers of a conversation said that its agent never got, in their words: for those who send only their newest
 * message, and never say it again. In memory only.
 *
 * @module
 */

import type { TurnRecord } from "./record.ts";
import { leading, type Message } from "./message.ts";
import type { TranscriptDelta } from "./conversation.ts";

/** Turns whose words are kept; beyond it the oldest are let go. */
const MAX_TURNS = 8;
/** Characters of such a turn. Of a longer one, its pictures and sounds are not kept; then, if need be, nothing. */
const MAX_CHARS = 64 * 1024;

/** The words of the turns that were asked and never told. */
export class UndeliveredMessages {
  /** By turn: what was said, and what is kept of it. Also of those that are told now, whose agent may die. */
  readonly #words = new Map<TurnRecord, { readonly said: Message; readonly kept: Message }>();

  /** Keeps the words of what a request brings that is still to be told. */
  keep({ turns }: TranscriptDelta, messages: readonly Message[]): void {
    for (const { turn, index } of turns) {
      const said = messages[index]!;
      const kept = said && turn.state === "pending" ? shortened(said) : undefined;
      if (kept) this.#words.set(turn, { said, kept });
    }
    for (const oldest of this.#words.keys()) {
      if (this.#words.size <= MAX_TURNS) return;
      this.#words.delete(oldest);
    }
  }

  /** Lets go of these messages: their caller says them again, if at all. */
  drop(messages: readonly Message[]): void {
    for (const [turn, { said }] of this.#words) if (messages.includes(said)) this.#words.delete(turn);
  }

  /** Lets go of what was told. */
  prune(): void {
    for (const turn of this.#words.keys()) if (turn.state !== "pending") this.#words.delete(turn);
  }

  /** Messages, with what was never told before them. With answers among them their caller said all there is to say. */
  before(messages: readonly Message[]): readonly Message[] {
    const unsaid = Array.from(this.#words).filter(([{ state }]) => state === "pending");
    if (unsaid.length === 0 || messages.some(({ role }) => role === "assistant")) return messages;
    const persona = leading(messages);
    const words = unsaid.map(([_turn, { kept }]) => kept);
    return [...messages.slice(0, persona), ...words, ...messages.slice(persona)];
  }
}

function shortened(message: Message): Message | undefined {
  if (sizeOf(message) <= MAX_CHARS) return message;
  const parts = message.parts.filter(({ type }) => type === "text");
  const text = { ...message, parts };
  return parts.length > 0 && sizeOf(text) <= MAX_CHARS ? text : undefined;
}

function sizeOf({ parts }: Message): number {
  return parts.reduce((sum, part) => sum + (part.type === "text" ? part.text : part.data).length, 0);
}
