/** Lets the character speak by itself: prompts the agent from time to time and announces its reply. @module */

import { abortable } from "../core/abortable.ts";
import { settlesWithin } from "../core/deadline.ts";
import type { Log } from "../core/log.ts";
import type { Turn } from "../turn/turn.ts";
import type { EventHub } from "./hub.ts";
import type { Notifier } from "./notifier.ts";
import type { Urgency } from "./wire.ts";

/** The ambient modes: announce the agent's reply, or send the prompt to a client that posts it back. */
export const AMBIENT_MODES = ["agent", "text"] as const;

/** The settings `VTUBER_AMBIENT_*`. */
export interface AmbientSettings {
  readonly intervalMs: number;
  readonly urgency: Urgency;
  readonly prompt: string;
  readonly mode: (typeof AMBIENT_MODES)[number];
}

/** Settings and dependencies of {@linkcode Ambient}. */
export interface AmbientDeps extends AmbientSettings {
  readonly notifier: Pick<Notifier, "ask" | "announce">;
  readonly hub: Pick<EventHub, "wantsNotifications">;
  readonly runningTurns: () => ReadonlySet<Turn>;
  readonly log: Log;
}

/** How long a reply waits for running turns to end, in milliseconds; then it is dropped. */
const MAX_WAIT_MS = 120_000;
/** Earlier replies that the agent gets with a prompt. */
const MAX_EARLIER_REPLIES = 5;

/** Speaks at each interval until it is disposed of. */
export class Ambient implements Disposable {
  readonly #deps: AmbientDeps;
  readonly #stopping = new AbortController();
  #earlierReplies: readonly string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(deps: AmbientDeps) {
    this.#deps = deps;
  }

  /** Starts the interval; the first prompt comes after it. */
  start(): void {
    if (this.#stopping.signal.aborted) return;
    this.#timer = setTimeout(() => this.speak().finally(() => this.start()), this.#deps.intervalMs);
  }

  /**
   * Prompts the agent now, if a client would get it and no turn runs. Never rejects.
   *
   * @returns Whether a client got it.
   */
  async speak(): Promise<boolean> {
    const { notifier, prompt, urgency, mode, hub, runningTurns, log } = this.#deps;
    const { signal } = this.#stopping;
    if (signal.aborted || !hub.wantsNotifications || runningTurns().size > 0) return false;
    try {
      const announcement = await notifier.ask(prompt, { earlierReplies: this.#earlierReplies }, signal);
      if (announcement === undefined) return false;
      this.#earlierReplies = [...this.#earlierReplies, announcement.reply].slice(-MAX_EARLIER_REPLIES);
      if (!await abortable(settlesWithin(MAX_WAIT_MS, this.#untilIdle()), signal)) return false;
      const clients = mode === "text"
        ? notifier.announce({ ...announcement, text: prompt, emotions: [] }, urgency, true)
        : notifier.announce(announcement, urgency);
      log.debug("sent an ambient message", { clients });
      return clients > 0;
    } catch (error) {
      if (!signal.aborted) log.warn("the agent did not answer the ambient prompt", { error });
      return false;
    }
  }

  /** Stops the interval and cancels a running prompt. */
  [Symbol.dispose](): void {
    this.#stopping.abort();
    clearTimeout(this.#timer);
  }

  async #untilIdle(): Promise<void> {
    for (let turns = this.#deps.runningTurns(); turns.size > 0; turns = this.#deps.runningTurns()) {
      await Promise.all([...turns].map((turn) => turn.ended));
    }
  }
}
