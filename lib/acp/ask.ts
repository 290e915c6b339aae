/** Requests that an agent should answer soon. @module */

import { Failure, messageOf } from "../turn/failure.ts";
import type { Peer } from "./peer.ts";
import { RpcError } from "./rpc.ts";

/** What an answer is turned into. */
export interface Question<T> {
  readonly method: string;
  readonly params: unknown;
  /** How long the answer is waited for, in milliseconds. */
  readonly ms: number;
  /** Called with the answer as it comes, before anything that the agent says behind it. */
  read(result: unknown): T;
  /** Called with an answer that comes too late; without it, nothing is kept for such an answer. */
  late?(result: unknown): void;
}

/** No answer came in time. */
export class LateError extends Error {
  override readonly name = "LateError";
}

/**
 * Asks, and resolves to what was read.
 *
 * @throws What `read` throws, {@linkcode RpcError} or `ClosedError` as the peer's requests do, or
 *   {@linkcode LateError}.
 */
export function ask<T>(peer: Peer, { method, params, ms, read, late }: Question<T>): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    if (!late) asked.forget();
    reject(new LateError(`The agent did not answer ${method} within ${ms / 1000} seconds.`));
  }, ms);
  const asked = peer.call(method, params, {
    resolve(result) {
      clearTimeout(timer);
      if (isLate) return late?.(result);
      try {
        resolve(read(result));
      } catch (error) {
        reject(error);
      }
    },
    reject(error) {
      clearTimeout(timer);
      reject(error);
    },
  });
  asked.sent.catch(() => {});
  return promise;
}

/** Whether it failed because no answer came in time: asked once more, the agent would let it wait as long. */
export function isLate(error: unknown): boolean {
  return error instanceof LateError || error instanceof Failure && error.cause instanceof LateError;
}

/** Why a request failed, in the agent's words where it has some. */
export function explain(error: unknown): string {
  return error instanceof RpcError ? error.explanation : messageOf(error);
}
