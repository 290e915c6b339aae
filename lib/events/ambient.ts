/** Lets the character speak by itself: prompts the agent from time to time and announces its reply. @module */

import type { PrivateConversation } from "../conversation/active.ts";
import { abortable } from "../core/abortable.ts";
import { settlesWithin } from "../core/deadline.ts";
import type { Log } from "../core/log.ts";
import type { Turn } from "../turn/turn.ts";
import type { Notifier, PromptContext } from "./notifier.ts";
import type { Urgency } from "./wire.ts";

/** The ambient modes: announce the agent's reply, or send the prompt to a client that posts it back. */
export const AMBIENT_MODES = ["agent", "text"] as const;
/** One of {@linkcode AMBIENT_MODES}. */
export type AmbientMode = (typeof AMBIENT_MODES)[number];

/** The settings `VTUBER_AMBIENT_*`. */
export interface AmbientSettings {
  readonly intervalMs: number;
  readonly urgency: Urgency;
  readonly prompt: string;
  readonly mode: AmbientMode;
}

/** Settings and dependencies of {@linkcode Ambient}. */
export interface AmbientDeps extends AmbientSettings {
  readonly notifier: Pick<Notifier, "ask" | "announce" | "sendPrompt">;
  readonly openConversation: () => PrivateConversation;
  /** Whether a client would get a notification. */
  readonly hasAudience: () => boolean;
  readonly runningTurns: () => ReadonlySet<Turn>;
  readonly log: Log;
}

/** How long a reply waits for running turns to end, in milliseconds; then it is dropped. */
const MAX_WAIT_MS = 120_000;
/** Prompts in one conversation, whose context grows with each of them. */
const MAX_PROMPTS = 50;
/** Earlier replies that a new session gets. */
const MAX_EARLIER_REPLIES = 5;

/** Speaks at each interval until it is disposed of. */
export class Ambient implements Disposable {
  readonly #deps: AmbientDeps;
  readonly #stopping = new AbortController();
  readonly #earlierReplies: string[] = [];
  #conversation: PrivateConversation;
  #prompts = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(deps: AmbientDeps) {
    this.#deps = deps;
    this.#conversation = deps.openConversation();
  }

  /** Starts the interval; the first prompt comes after it. */
  start(): void {
    if (this.#stopping.signal.aborted) return;
    this.#timer = setTimeout(() => this.speak().finally(() => this.start()), this.#deps.intervalMs);
  }

  /** Prompts the agent now, if there is an audience and no turn runs. Never rejects. @returns Whether a client got it. */
  async speak(): Promise<boolean> {
    const { notifier, prompt, urgency, mode, hasAudience, runningTurns, log } = this.#deps;
    const { signal } = this.#stopping;
    if (signal.aborted || !hasAudience() || runningTurns().size > 0) return false;
    try {
      const announcement = await notifier.ask(prompt, signal, this.#nextContext());
      if (announcement === undefined) return false;
      this.#earlierReplies.push(announcement.reply);
      if (this.#earlierReplies.length > MAX_EARLIER_REPLIES) this.#earlierReplies.shift();
      if (!await this.#untilIdle()) return false;
      const clients = mode === "text"
        ? notifier.sendPrompt(prompt, announcement, urgency)
        : notifier.announce(announcement, urgency);
      log.debug("sent an ambient message", { clients });
      return clients > 0;
    } catch (error) {
      if (!signal.aborted) log.warn("the agent did not answer the ambient prompt", { error });
      return false;
    }
  }

  /** Stops the interval and cancels a running prompt. May be called more than once. */
  [Symbol.dispose](): void {
    if (this.#stopping.signal.aborted) return;
    this.#stopping.abort();
    clearTimeout(this.#timer);
    this.#conversation[Symbol.dispose]();
  }

  /** Counts a prompt, and replaces a conversation that has had enough of them. */
  #nextContext(): PromptContext {
    if (++this.#prompts > MAX_PROMPTS) {
      this.#conversation[Symbol.dispose]();
      this.#conversation = this.#deps.openConversation();
      this.#prompts = 1;
    }
    return { conversation: this.#conversation, earlierReplies: [...this.#earlierReplies] };
  }

  /** Waits until no turn runs. @returns Whether that was so within {@linkcode MAX_WAIT_MS}. */
  async #untilIdle(): Promise<boolean> {
    const { signal } = this.#stopping;
    const allEnded = async () => {
      while (this.#deps.runningTurns().size > 0 && !signal.aborted) {
        await Promise.all([...this.#deps.runningTurns()].map((turn) => turn.ended));
      }
    };
    return await abortable(settlesWithin(MAX_WAIT_MS, abortable(allEnded(), signal)), signal);
  }
}
