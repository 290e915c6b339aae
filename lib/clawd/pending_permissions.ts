/** Permission requests at the pet: each is an HTTP request that stays open until a person decides. @module */

import { messageOf } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { PermissionAnswer } from "../turn/permission.ts";
import { encodePermission } from "./payload.ts";
import { askPermission, type Fetch } from "./pet_client.ts";
import { IDENTITY, type PetDecision, type RequestEvent } from "./wire.ts";

/** Open requests of all conversations; further ones are left to the other clients. */
const MAX_OPEN = 12;
/** Longest delay of a timer, in milliseconds. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Dependencies of {@linkcode PendingPermissions}. */
export interface PendingPermissionsOptions {
  readonly fetch: Fetch;
  readonly log: Log;
  /** The time in milliseconds since 1970. */
  readonly now: () => number;
  /** Answers a permission request; throws if it is no longer open. */
  readonly answer: (id: string, answer: PermissionAnswer, by: string) => unknown;
  /** Called after each request that was not withdrawn. */
  readonly onClosed: (hasDecision: boolean) => void;
}

interface OpenRequest {
  readonly withdrawal: AbortController;
  readonly done: Promise<void>;
}

/** The requests that the pet shows. */
export class PendingPermissions {
  readonly #options: PendingPermissionsOptions;
  readonly #open = new Map<string, OpenRequest>();
  /** Withdrawn requests whose connections are closing. */
  readonly #closing = new Set<Promise<void>>();

  constructor(options: PendingPermissionsOptions) {
    this.#options = options;
  }

  /** Shows a request until it is decided, released or expired. */
  show(port: number, request: RequestEvent, sessionId: string): void {
    const id = request.request_id;
    if (this.#open.has(id)) return;
    if (this.#open.size >= MAX_OPEN) {
      return this.#options.log.debug("clawd-on-desk shows no more permission requests", { shown: MAX_OPEN });
    }
    const withdrawal = new AbortController();
    const done = this.#ask(port, request, sessionId, withdrawal.signal);
    this.#open.set(id, { withdrawal, done });
  }

  /** Withdraws a request: closing its connection removes the pet's bubble. */
  release(requestId: string): void {
    const request = this.#open.get(requestId);
    if (request === undefined) return;
    const { withdrawal, done } = request;
    this.#open.delete(requestId);
    this.#closing.add(done);
    done.finally(() => this.#closing.delete(done));
    withdrawal.abort();
  }

  /** Withdraws all requests. */
  releaseAll(): void {
    for (const requestId of [...this.#open.keys()]) this.release(requestId);
  }

  /** Resolves once the withdrawn requests are closed. */
  async released(): Promise<void> {
    await Promise.all(this.#closing);
  }

  /** Never throws. */
  async #ask(port: number, request: RequestEvent, sessionId: string, signal: AbortSignal): Promise<void> {
    const { fetch, log, now, answer, onClosed } = this.#options;
    const { request_id: id, expires_at } = request;
    const leftMs = Math.min(Math.max(expires_at * 1000 - now(), 0), MAX_TIMER_MS);
    const expiry = setTimeout(() => this.release(id), leftMs);
    let decision: PetDecision | undefined;
    try {
      decision = await askPermission(fetch, port, encodePermission(request, sessionId), signal);
    } catch (error) {
      // In the mode "do not disturb" the pet closes the connection.
      if (!signal.aborted) {
        log.debug("clawd-on-desk did not ask its user", { reason: messageOf(error) });
      }
    } finally {
      clearTimeout(expiry);
    }
    if (signal.aborted) return;
    this.#open.delete(id);
    onClosed(decision !== undefined);
    if (decision === undefined) return;
    const { behavior, always } = decision;
    try {
      answer(id, { decision: behavior === "deny" ? "reject" : always ? "allow_always" : "allow" }, IDENTITY);
    } catch (error) {
      log.debug("the answer of clawd-on-desk was too late or not offered", { reason: messageOf(error) });
    }
  }
}
