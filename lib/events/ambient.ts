/** The character speaks up by itself: from time to time the agent is asked whether it has something to say. @module */

import type { PrivateConversation } from "../conversation/private_conversation.ts";
import { settlesWithin } from "../core/deadline.ts";
import type { Log } from "../core/log.ts";
import { abortable } from "../core/abortable.ts";
import type { Turn } from "../turn/turn.ts";
import type { Urgency } from "./wire.ts";
import type { Notifier, PromptContext } from "./notifier.ts";

/** What goes out: what the agent says, or the prompt itself, for a client that posts it back. */
export const AMBIENT_MODES = ["agent", "text"] as const;
/** One of {@linkcode AMBIENT_MODES}. */
export type AmbientMode = (typeof AMBIENT_MODES)[number];

/** How it speaks up (`VTUBER_AMBIENT_*`). */
export interface AmbientSettings {
  readonly intervalMs: number;
  readonly urgency: Urgency;
  readonly prompt: string;
  readonly mode: AmbientMode;
}

/** What it needs of the rest of the program. */
export interface AmbientDeps extends AmbientSettings {
  readonly notifier: Pick<Notifier, "ask" | "announce" | "sendPrompt">;
  /** Begins a conversation with the agent, apart from every other. */
  readonly openConversation: () => PrivateConversation;
  /** Whether a client would hear it. */
  readonly hasAudience: () => boolean;
  /** The turns that run. */
  readonly runningTurns: () => ReadonlySet<Turn>;
  readonly log: Log;
}

/** How long words wait for running turns to end, in milliseconds; then they are left unsaid. */
const MAX_WAIT_MS = 120_000;
/** How often the agent is asked in one session, which grows with every time. */
const MAX_ROUNDS = 50;
/** Of what it said last so much is told to the session that comes after it. */
const MAX_KEPT = 5;

/** Speaks up every so often, until it is disposed of. */
export class Ambient implements Disposable {
  readonly #deps: AmbientDeps;
  readonly #ending = new AbortController();
  /** What was said last. */
  readonly #said: string[] = [];
  #aside: PrivateConversation;
  #rounds = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(deps: AmbientDeps) {
    this.#deps = deps;
    this.#aside = deps.openConversation();
  }

  /** Begins; the first time is one interval from now. */
  start(): void {
    if (this.#ending.signal.aborted) return;
    this.#timer = setTimeout(() => this.speak().finally(() => this.start()), this.#deps.intervalMs);
  }

  /** Speaks up now, if somebody is there and no turn runs. Never rejects. @returns Whether something was said. */
  async speak(): Promise<boolean> {
    const { notifier: herald, prompt, urgency, mode, hasAudience: isSomeoneThere, runningTurns: running, log } = this.#deps;
    const { signal } = this.#ending;
    if (signal.aborted || !isSomeoneThere() || running().size > 0) return false;
    try {
      const utterance = await herald.ask(prompt, signal, this.#nextRound());
      if (utterance === undefined) return false;
      this.#said.push(utterance.reply);
      if (this.#said.length > MAX_KEPT) this.#said.shift();
      if (!await this.#quiet()) return false;
      const count = mode === "text"
        ? herald.sendPrompt(prompt, utterance, urgency)
        : herald.announce(utterance, urgency);
      log.debug("spoke up", { clients: count });
      return count > 0;
    } catch (error) {
      if (!signal.aborted) log.warn("could not speak up", { error });
      return false;
    }
  }

  /** Speaks no more; a turn of it that runs is cancelled. May be called more than once. */
  [Symbol.dispose](): void {
    if (this.#ending.signal.aborted) return;
    this.#ending.abort();
    clearTimeout(this.#timer);
    this.#aside[Symbol.dispose]();
  }

  /** The conversation to ask in, and what was said in it: now and then a new one. */
  #nextRound(): PromptContext {
    if (++this.#rounds > MAX_ROUNDS) {
      this.#aside[Symbol.dispose]();
      this.#aside = this.#deps.openConversation();
      this.#rounds = 1;
    }
    return { conversation: this.#aside, earlierReplies: [...this.#said] };
  }

  /** Waits until nobody is interrupted. */
  async #quiet(): Promise<boolean> {
    const { signal } = this.#ending;
    const ended = async () => {
      while (this.#deps.runningTurns().size > 0 && !signal.aborted) {
        await Promise.all([...this.#deps.runningTurns()].map((turn) => turn.ended));
      }
    };
    return await abortable(settlesWithin(MAX_WAIT_MS, abortable(ended(), signal)), signal);
  }
}
