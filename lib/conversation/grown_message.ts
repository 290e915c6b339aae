/**
 * Recognises transcripts that clients send as one user message, which grows with every turn: the old message, the reply
 * to it, and what is new.
 *
 * @module
 */

import { BoundedMap } from "../core/bounded_map.ts";
import { REPLY_CHARS } from "./fingerprint.ts";
import { type Message, textOf } from "./message.ts";

/** Messages that are remembered, of all callers. */
const MAX_MESSAGES = 100;
/** Characters of a message that is remembered, with its reply. */
const MAX_CHARS = 16 * 1024;

/** The newest single messages of all callers with the replies to them, in memory only. */
export class GrownMessages {
  readonly #newest = new BoundedMap<string, { readonly caller: string; readonly pieces: readonly string[] }>(
    MAX_MESSAGES,
  );

  /** Splits a single message that has grown into the earlier turns and replies, and the rest as the last turn. */
  split(caller: string, messages: readonly Message[]): readonly Message[] {
    const message = singleMessage(messages);
    if (message === undefined) return messages;
    const text = textOf(message);
    let split: readonly string[] = [];
    for (const { caller: other, pieces } of this.#newest.values()) {
      const rest = other === caller && pieces.length > split.length ? restAfter(text, pieces) : "";
      if (rest !== "") split = [...pieces, rest];
    }
    if (split.length === 0) return messages;
    const turns = split.map((text, index): Message => ({
      role: index % 2 === 0 ? "user" : "assistant",
      parts: [{ type: "text", text }],
    }));
    return messages.flatMap((each) => each === message ? turns : [each]);
  }

  /** Remembers a single message with the reply to it. @param messages As {@linkcode split} returned them. */
  remember(caller: string, messages: readonly Message[], reply: string): void {
    const pieces = [...messages.filter(({ role }) => role !== "system").map(textOf), reply].map((piece) =>
      piece.trim()
    );
    const key = [caller, ...pieces].join("\0");
    // Only the start of a long reply is known.
    if (pieces.includes("") || reply.length >= REPLY_CHARS || key.length > MAX_CHARS) return;
    this.#newest.set(key, { caller, pieces });
  }
}

/** Returns the only message of a request beside system messages, if it is a user's and has text alone. */
export function singleMessage(messages: readonly Message[]): Message | undefined {
  const [message, ...others] = messages.filter(({ role }) => role !== "system");
  const isText = message?.role === "user" && message.parts.every(({ type }) => type === "text");
  return isText && others.length === 0 ? message : undefined;
}

/** Returns the text behind these pieces, whatever the white space between them; empty if it begins otherwise. */
function restAfter(text: string, pieces: readonly string[]): string {
  let rest = text.trimStart();
  for (const piece of pieces) {
    if (!rest.startsWith(piece)) return "";
    rest = rest.slice(piece.length).trimStart();
  }
  return rest;
}
