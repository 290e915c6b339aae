/**
 * Requests to a person: open until somebody answers, their time runs out, or their agent or turn ends. The first answer
 * counts.
 *
 * @module
 */

import { BoundedMap } from "../core/bounded_map.ts";
import { AppError } from "../core/errors.ts";

/** Requests that are open at once; further ones are refused. Each session has a limit of its own. */
const MAX_OPEN = 1_000;
/** Resolved requests that are remembered, to tell an answer that is too late from one to an unknown request. */
const MAX_RESOLVED = 200;

/** The end of a request that nobody answered. */
export interface Unanswered<Id> {
  readonly id: Id;
  readonly outcome: "expired" | "cancelled";
  readonly by: "timeout" | "turn" | "agent";
}

/** Called about a request. */
export interface RequestCallbacks<Id, Resolution> {
  onOpen(id: Id, expiresAt: number): void;
  /** Called before the wait resolves. */
  onResolved(resolution: Resolution): void;
}

/** The open requests of one kind. `Request` is what is needed to check an answer. */
export class OpenRequests<Id extends string, Request, Resolution extends { readonly id: Id }> {
  readonly #kind: string;
  readonly #timeoutMs: number;
  readonly #open = new Map<Id, { readonly request: Request; resolve(resolution: Resolution): void }>();
  readonly #resolved = new BoundedMap<Id, true>(MAX_RESOLVED);

  /** @param kind The name of a request in messages: `permission request`. */
  constructor(kind: string, timeoutMs: number) {
    this.#kind = kind;
    this.#timeoutMs = timeoutMs;
  }

  get isFull(): boolean {
    return this.#open.size >= MAX_OPEN;
  }

  /**
   * Opens a request and waits for its end.
   *
   * @param signal Withdraws the request at once, which then ends as `cancelled`; the reason `"turn"` says that the turn
   * ends, any other that the agent withdraws the request.
   */
  async wait(
    request: Request,
    { onOpen, onResolved }: RequestCallbacks<Id, Resolution | Unanswered<Id>>,
    signal: AbortSignal,
  ): Promise<Resolution | Unanswered<Id>> {
    const id = crypto.randomUUID() as string as Id;
    const { promise, resolve } = Promise.withResolvers<Resolution | Unanswered<Id>>();
    const end = (resolution: Resolution | Unanswered<Id>) => {
      if (!this.#open.delete(id)) return;
      this.#resolved.set(id, true);
      onResolved(resolution);
      resolve(resolution);
    };
    const withdraw = () => end({ id, outcome: "cancelled", by: signal.reason === "turn" ? "turn" : "agent" });
    const timer = setTimeout(() => end({ id, outcome: "expired", by: "timeout" }), this.#timeoutMs);
    this.#open.set(id, { request, resolve: end });
    try {
      onOpen(id, Date.now() + this.#timeoutMs);
      if (signal.aborted) withdraw();
      else signal.addEventListener("abort", withdraw, { once: true });
      return await promise;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", withdraw);
    }
  }

  /**
   * Returns an open request.
   *
   * @throws {AppError} `permission_resolved` if it has ended, `not_found` if there is none.
   */
  get(id: string): Request {
    const open = this.#open.get(id as Id);
    if (open) return open.request;
    throw this.#resolved.has(id as Id)
      ? new AppError("permission_resolved", `This ${this.#kind} was answered or withdrawn before.`)
      : new AppError("not_found", `There is no ${this.#kind} ${id}.`);
  }

  /** Ends an open request with an answer. */
  resolve(resolution: Resolution): void {
    this.#open.get(resolution.id)?.resolve(resolution);
  }
}
