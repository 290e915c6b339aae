/**
 * The messages that a conversation's agent does not have, for clients that send only their newest message and never
 * repeat an earlier one. In memory only.
 *
 * @module
 */

import { BoundedMap } from "../core/bounded_map.ts";
import { type Continuation, UNMATCHED } from "./align.ts";
import type { Conversation, TranscriptDelta } from "./conversation.ts";
import type { TranscriptFingerprint } from "./fingerprint.ts";
import { leading, type Message } from "./message.ts";
import type { TurnRecord } from "./record.ts";

/** Turns whose messages are kept. */
const MAX_TURNS = 8;
/** Characters of a message that is kept. Of a longer one the text is kept, if that is short enough. */
const MAX_CHARS = 64 * 1024;

/** A request beside its conversation. */
export interface AlignedRequest {
  readonly messages: readonly Message[];
  readonly transcript: TranscriptFingerprint;
  readonly alignment: Continuation;
}

/** The undelivered messages of one conversation. */
export class UndeliveredMessages {
  /** Includes the messages that are being delivered, since the agent may die with them. */
  readonly #messages = new BoundedMap<TurnRecord, { readonly sent: Message; readonly kept: Message }>(
    MAX_TURNS,
  );

  /** Keeps the pending messages of a request. */
  keep({ turns }: TranscriptDelta, messages: readonly Message[]): void {
    for (const { turn, index } of turns) {
      const sent = messages[index]!;
      const kept = turn.state === "pending" ? shorten(sent) : undefined;
      if (kept) this.#messages.set(turn, { sent, kept });
    }
  }

  /** Drops these messages: their client was told to send them again. */
  drop(messages: readonly Message[]): void {
    for (const [turn, { sent }] of this.#messages) if (messages.includes(sent)) this.#messages.delete(turn);
  }

  /** Drops the messages that were delivered. */
  prune(): void {
    for (const turn of this.#messages.keys()) if (turn.state !== "pending") this.#messages.delete(turn);
  }

  /**
   * Inserts the undelivered messages before those of a request, whose turns are then all new. A request that repeats
   * earlier messages or has replies stays as it is: its client sends all it wants to be known.
   */
  insertInto(request: AlignedRequest, { turns: recorded }: Conversation): AlignedRequest {
    const { messages, transcript, alignment: { positions } } = request;
    const isPending = (position: number) => recorded[position]?.state === "pending";
    const turns = this.#messages.size === 0
      ? []
      : recorded.flatMap((turn, position) =>
        isPending(position) && this.#messages.has(turn) ? [position] : []
      );
    const repeats = isPending(positions.at(-1) ?? UNMATCHED) ||
      positions.slice(0, -1).some((position) => position !== UNMATCHED);
    if (turns.length === 0 || repeats || messages.some(({ role }) => role === "assistant")) return request;
    const start = leading(messages);
    const inserted = turns.map((position) => this.#messages.get(recorded[position]!)!.kept);
    return {
      messages: messages.toSpliced(start, 0, ...inserted),
      transcript: {
        ...transcript,
        isPersonaOpen: false,
        turns: [
          ...turns.map((position, i) => ({ ...recorded[position]!, index: start + i, isAnswered: false })),
          ...transcript.turns.map((turn) => ({ ...turn, index: turn.index + inserted.length })),
        ],
      },
      alignment: { positions: [...turns, ...transcript.turns.map(() => UNMATCHED)], isRetry: false },
    };
  }
}

function shorten(message: Message): Message | undefined {
  if (sizeOf(message) <= MAX_CHARS) return message;
  const text = { ...message, parts: message.parts.filter(({ type }) => type === "text") };
  return text.parts.length > 0 && sizeOf(text) <= MAX_CHARS ? text : undefined;
}

function sizeOf({ parts }: Message): number {
  return parts.reduce((sum, part) => sum + (part.type === "text" ? part.text : part.data).length, 0);
}
