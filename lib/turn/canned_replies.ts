/**
 * Words that were sent ahead of their question: AniCompanion's client takes a notification for a hidden prompt and
 * posts its text back as a user message. It is then told what was prepared, and no agent is asked.
 *
 * @module
 */

import type { Session } from "./agent.ts";
import type { SessionId } from "./event.ts";
import { runTurn, type Turn, type TurnOptions } from "./turn.ts";

/** Texts that are remembered; beyond it the oldest is forgotten. */
const MAX_TEXTS = 50;
/** How long one is remembered, in milliseconds. */
const KEEP_MS = 10 * 60_000;

interface Entry {
  readonly answer: string;
  readonly until: number;
  /** How often it may be asked for: once by each client that was sent it. */
  left: number;
}

/** What was sent, and what is to be answered. */
export class CannedReplies {
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Remembers a text that was sent to so many clients. */
  remember(text: string, answer: string, clients: number): void {
    const key = text.trim();
    if (clients === 0 || key === "") return;
    this.#entries.delete(key);
    this.#entries.set(key, { answer, until: this.#now() + KEEP_MS, left: clients });
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= MAX_TEXTS) break;
      this.#entries.delete(oldest);
    }
  }

  /** The answer to a text that comes back, if it is one that was sent. */
  replyTo(text: string): string | undefined {
    if (this.#entries.size === 0) return undefined;
    const key = text.trim();
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (--entry.left === 0 || entry.until < this.#now()) this.#entries.delete(key);
    return entry.until < this.#now() ? undefined : entry.answer;
  }
}

/** A turn in which this is said, and no agent is asked. */
export function cannedTurn(
  text: string,
  options: Pick<TurnOptions, "conversation" | "resolvedModel" | "record">,
): Promise<Turn> {
  const session: Session = {
    id: `prepared-${crypto.randomUUID()}` as SessionId,
    promptCapabilities: { image: false, audio: false },
    model: undefined,
    closed: new AbortController().signal,
    prompt(_blocks, reader) {
      reader({ type: "text", text });
      reader({ type: "end", reason: "end_turn" });
      return Promise.resolve({ cancel() {} });
    },
    setModel: () => Promise.resolve(),
    close() {},
  };
  const limits = { replyTimeoutMs: 0, turnTimeoutMs: 0 };
  return runTurn({ ...options, session, blocks: [], limits });
}
