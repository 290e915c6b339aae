/**
 * Replies to texts that the server sent itself: AniCompanion's client takes a notification for a hidden prompt and
 * posts its text back as a user message. The prepared reply answers it, and no agent is prompted.
 *
 * @module
 */

import { BoundedMap } from "../core/bounded_map.ts";
import type { Session } from "./agent.ts";
import type { SessionId } from "./event.ts";
import { runTurn, type Turn, type TurnOptions } from "./turn.ts";

/** Texts that are remembered. */
const MAX_TEXTS = 50;
/** Longest time that a text is remembered, in milliseconds. */
const KEEP_MS = 10 * 60_000;

/** The reply to a text, and the callers that got the text, one entry for each client that can post it back. */
interface CannedReply {
  readonly reply: string;
  readonly callers: string[];
  readonly expiresAt: number;
}

/** The texts that were sent, with their replies. */
export class CannedReplies {
  readonly #replies = new BoundedMap<string, CannedReply>(MAX_TEXTS);
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Remembers the reply to a text that was sent to clients of these callers, which each of them can post back once. */
  remember(text: string, reply: string, callers: readonly string[]): void {
    const key = text.trim();
    if (callers.length === 0 || key === "") return;
    this.#replies.set(key, { reply, callers: [...callers], expiresAt: this.#now() + KEEP_MS });
  }

  /** Takes the reply to a user message, if a client of this caller posts back a text that was sent to it. */
  replyTo(text: string, caller: string): string | undefined {
    if (this.#replies.size === 0) return undefined;
    const key = text.trim();
    const { callers = [], reply, expiresAt = 0 } = this.#replies.get(key) ?? {};
    const index = callers.indexOf(caller);
    if (index < 0) return undefined;
    callers.splice(index, 1);
    if (callers.length === 0) this.#replies.delete(key);
    return expiresAt < this.#now() ? undefined : reply;
  }
}

/** Runs a turn that consists of this text, without an agent. */
export function cannedTurn(
  text: string,
  options: Pick<TurnOptions, "conversation" | "resolvedModel" | "record">,
): Promise<Turn> {
  const session: Session = {
    id: `canned-${crypto.randomUUID()}` as SessionId,
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
  return runTurn({ ...options, session, blocks: [], limits: { replyTimeoutMs: 0, turnTimeoutMs: 0 } });
}
