/** Permission requests that the pet shows: each is a request to it that stays open until its user decides. @module */

import type { Log } from "../core/log.ts";
import { messageOf } from "../core/errors.ts";
import type { PermissionAnswer } from "../turn/permission.ts";
import { permissionText } from "./payload.ts";
import type { AskEvent } from "./wire.ts";
import { type Fetch, post, textOf } from "./request.ts";
import { IDENTITY, parseDecision, type PetDecision } from "./wire.ts";

/** Requests that are open at once, of all conversations; more are asked elsewhere only. */
const MAX_HELD = 12;
/** The longest timer there is, in milliseconds. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** What holding requests takes. */
export interface PendingPermissionsOptions {
  readonly fetch: Fetch;
  readonly log: Log;
  /** The time in milliseconds since 1970. */
  readonly now: () => number;
  /** Answers a permission request; throws if it is too late. */
  readonly answer: (id: string, answer: PermissionAnswer, by: string) => unknown;
  /** Is told whether the pet's user decided, each time a request was not taken away before. */
  readonly decided: (did: boolean) => void;
}

interface Held {
  readonly leaving: AbortController;
  readonly done: Promise<void>;
}

/** The requests that the pet shows. */
export class PendingPermissions {
  readonly #options: PendingPermissionsOptions;
  readonly #open = new Map<string, Held>();
  /** Those that were taken away, until that is done. */
  readonly #closing = new Set<Promise<void>>();

  constructor(options: PendingPermissionsOptions) {
    this.#options = options;
  }

  /** Shows a request until it is decided, is released or expires. */
  hold(port: number, ask: AskEvent, sessionId: string): void {
    if (this.#open.has(ask.request_id)) return;
    if (this.#open.size >= MAX_HELD) {
      return this.#options.log.debug("the pet shows as many permission requests as it may", {
        shown: MAX_HELD,
      });
    }
    const leaving = new AbortController();
    const url = `http://127.0.0.1:${port}/permission`;
    this.#open.set(ask.request_id, { leaving, done: this.#hold(url, ask, sessionId, leaving) });
  }

  /** Takes a request away: the pet's bubble goes when the request to it is closed. */
  release(requestId: string): void {
    const held = this.#open.get(requestId);
    if (held === undefined) return;
    const { leaving, done } = held;
    this.#open.delete(requestId);
    this.#closing.add(done);
    done.finally(() => this.#closing.delete(done));
    leaving.abort();
  }

  /** Takes all away. */
  releaseAll(): void {
    for (const requestId of [...this.#open.keys()]) this.release(requestId);
  }

  /** Resolves when those that were taken away are closed. */
  async released(): Promise<void> {
    await Promise.all(this.#closing);
  }

  /** Never throws. */
  async #hold(url: string, ask: AskEvent, sessionId: string, { signal }: AbortController): Promise<void> {
    const { fetch, log, now, answer, decided } = this.#options;
    const { request_id } = ask;
    const leftMs = Math.min(Math.max(ask.expires_at * 1000 - now(), 0), MAX_TIMER_MS);
    const timer = setTimeout(() => this.release(request_id), leftMs);
    let decision: PetDecision | undefined;
    try {
      const response = await post(fetch, url, permissionText(ask, sessionId), signal);
      decision = parseDecision(await textOf(response));
    } catch (error) {
      // A pet that is told not to disturb closes the connection.
      if (!signal.aborted) log.debug("the pet did not ask", { why: messageOf(error) });
    } finally {
      clearTimeout(timer);
    }
    if (signal.aborted) return;
    this.#open.delete(request_id);
    decided(decision !== undefined);
    if (decision === undefined) return;
    const { behavior, always } = decision;
    const given = behavior === "deny" ? "reject" : always ? "allow_always" : "allow";
    try {
      answer(request_id, { decision: given }, IDENTITY);
    } catch (error) {
      log.debug("the pet's answer came too late, or is not offered", { why: messageOf(error) });
    }
  }
}
