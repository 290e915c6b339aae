/** The messages that an agent does not have, kept in memory for clients that send only their newest one. @module */

import { BoundedMap } from "../core/bounded_map.ts";
import type { TranscriptDelta } from "./conversation.ts";
import { leading, type Message, textOf } from "./message.ts";
import type { TurnRecord } from "./record.ts";

/** Turns whose messages are kept. */
const MAX_TURNS = 8;
/** Characters of a message that is kept. */
const MAX_CHARS = 64 * 1024;

interface MergedRequest {
  readonly messages: readonly Message[];
  readonly delta: TranscriptDelta;
}

/** The texts of the undelivered messages of one conversation. */
export class UndeliveredMessages {
  /** Includes the messages that are being delivered, since the agent may die with them. */
  readonly #messages = new BoundedMap<TurnRecord, Message>(MAX_TURNS);

  /** Inserts the undelivered messages before those of a client that sends only its newest message, and keeps this. */
  insertInto(request: MergedRequest): MergedRequest {
    const { messages, delta: { turns } } = request;
    const [newest] = turns;
    const sendsNewestOnly = turns.length === 1 && !messages.some(({ role }) => role === "assistant");
    const kept = [...this.#messages].filter(([turn]) => turn.state === "pending" && turn !== newest?.turn);
    this.#keep(request);
    if (!sendsNewestOnly) return request;
    const start = leading(messages);
    const inserted = kept.map(([turn], i) => ({ index: start + i, turn, isAnswered: false }));
    const moved = turns.map((turn) => ({ ...turn, index: turn.index + kept.length }));
    return {
      messages: messages.toSpliced(start, 0, ...kept.map(([, message]) => message)),
      delta: { ...request.delta, turns: [...inserted, ...moved] },
    };
  }

  /** Drops the messages that were delivered. */
  prune(): void {
    for (const turn of this.#messages.keys()) if (turn.state !== "pending") this.#messages.delete(turn);
  }

  #keep({ messages, delta }: MergedRequest): void {
    for (const { turn, index } of delta.turns) {
      const message = messages[index]!;
      const text = textOf(message);
      if (turn.state !== "pending" || text === "" || text.length > MAX_CHARS) continue;
      this.#messages.set(turn, { ...message, parts: [{ type: "text", text }] });
    }
  }
}
