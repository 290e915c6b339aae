/** The character speaks up by itself: from time to time the agent is asked whether it has something to say. @module */

import type { Hold } from "../conversation/live.ts";
import { within } from "../ops/lifetime.ts";
import type { Log } from "../ops/log.ts";
import { orAbort } from "../turn/abort.ts";
import type { Turn } from "../turn/run.ts";
import type { Urgency } from "./event.ts";
import type { Herald } from "./herald.ts";

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
  readonly herald: Pick<Herald, "ask" | "utter" | "prompt">;
  /** The conversation that it has with the agent, apart from every other. */
  readonly aside: Hold;
  /** Whether a client would hear it. */
  readonly isSomeoneThere: () => boolean;
  /** The turns that run. */
  readonly running: () => ReadonlySet<Turn>;
  readonly log: Log;
}

/** How long words wait for running turns to end, in milliseconds; then they are left unsaid. */
const MAX_WAIT_MS = 120_000;

/** Speaks up every so often, until it is disposed of. */
export class Ambient implements Disposable {
  readonly #deps: AmbientDeps;
  readonly #ending = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(deps: AmbientDeps) {
    this.#deps = deps;
  }

  /** Begins; the first time is one interval from now. */
  start(): void {
    if (this.#ending.signal.aborted) return;
    this.#timer = setTimeout(() => this.speakUp().finally(() => this.start()), this.#deps.intervalMs);
  }

  /** Speaks up now, if somebody is there and no turn runs. Never rejects. @returns Whether something was said. */
  async speakUp(): Promise<boolean> {
    const { herald, aside, prompt, urgency, mode, isSomeoneThere, running, log } = this.#deps;
    const { signal } = this.#ending;
    if (signal.aborted || !isSomeoneThere() || running().size > 0) return false;
    try {
      const utterance = await herald.ask(prompt, signal, aside);
      if (utterance === undefined || !await this.#quiet()) return false;
      const count = mode === "text"
        ? herald.prompt(prompt, utterance, urgency)
        : herald.utter(utterance, urgency);
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
    this.#deps.aside[Symbol.dispose]();
  }

  /** Waits until nobody is interrupted. */
  async #quiet(): Promise<boolean> {
    const { signal } = this.#ending;
    const ended = async () => {
      while (this.#deps.running().size > 0 && !signal.aborted) {
        await Promise.all([...this.#deps.running()].map((turn) => turn.ended));
      }
    };
    return await orAbort(within(MAX_WAIT_MS, orAbort(ended(), signal)), signal);
  }
}
