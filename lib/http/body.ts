/** Reads the bodies of requests while they arrive, and counts the memory that they take. @module */

import { AppError, type ErrorCode } from "../core/errors.ts";
import { startIdleTimer } from "../core/idle_timer.ts";
import { nextTask } from "../core/next_task.ts";

/** Bytes of all bodies together, each from its arrival until the agent has its prompt. */
const MAX_HELD_BYTES = 128 * 1024 * 1024;
/** Bytes of all bodies of a key. The rest has room for the largest body of another key. */
const MAX_HELD_BYTES_PER_KEY = 96 * 1024 * 1024;
/** Bytes of a body after which the reader lets other requests go on. A body that has arrived is read without other waits. */
const TURN_BYTES = 256 * 1024;
/** Bytes that each chunk counts in addition, so that chunks of single bytes also reach {@linkcode TURN_BYTES}. */
const CHUNK_COST_BYTES = 4 * 1024;

/** The limits of a body, and the code of the error if the connection breaks. */
interface BodyLimits {
  readonly maxBytes: number;
  /** Longest total wait for the client, in milliseconds. The time between two reads does not count. */
  readonly timeoutMs: number;
  readonly fault: ErrorCode;
}

/** Yields the bytes of a body while they arrive. Leaving the loop refuses the rest of the body. @throws {AppError} */
export async function* readBody(
  { headers, body }: Request,
  { maxBytes, timeoutMs, fault }: BodyLimits,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const tooLarge = () =>
    new AppError("body_too_large", `The body is larger than ${maxBytes / 1024 ** 2} MiB.`);
  if (Number(headers.get("content-length")) > maxBytes) throw tooLarge();
  if (body === null) return;
  const reader = body.getReader();
  let failure: { readonly reason: unknown } | undefined;
  const cancel = (reason: unknown) => {
    failure ??= { reason };
    // A pending read then ends as if the body were complete.
    reader.cancel(reason).catch(() => {});
  };
  const onAbort = () => cancel(signal!.reason);
  signal?.addEventListener("abort", onAbort);
  let [size, turnBytes, leftMs] = [0, 0, timeoutMs];
  const read = async () => {
    const startedAt = performance.now();
    using _timeout = startIdleTimer(Math.max(leftMs, 1), () => {
      const message = `The body did not arrive within ${timeoutMs / 1000} seconds.`;
      cancel(new AppError("request_timeout", message));
    });
    const { value } = await reader.read().catch((cause) => {
      throw new AppError(fault, "The connection broke before the body was complete.", { cause });
    });
    leftMs -= performance.now() - startedAt;
    if (failure) throw failure.reason;
    return value;
  };
  try {
    for (let value; (value = await read()) !== undefined;) {
      if (turnBytes >= TURN_BYTES) {
        turnBytes = 0;
        await nextTask();
      }
      turnBytes += CHUNK_COST_BYTES + value.byteLength;
      size += value.byteLength;
      if (size > maxBytes) throw tooLarge();
      yield value;
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    cancel(undefined);
  }
}

/** A body in memory: the id of its key, its size, and the work that needs it after the head of the response. */
interface HeldBody {
  readonly key: string;
  bytes: number;
  use?: Promise<unknown>;
}

const heldBodies = new WeakMap<Request, HeldBody>();
/** Bytes of the bodies of each key that has any. */
const heldByKey = new Map<string, number>();
let allHeldBytes = 0;

/** Sets the key whose limit the body of a request counts for. Must be called before the body is read. */
export function setBodyKey(request: Request, key: string): void {
  heldBodies.set(request, { key, bytes: 0 });
}

/**
 * Counts bytes that a request keeps in memory: its body or its answer.
 *
 * @throws {AppError} `server_overloaded` if there is no room.
 */
export function holdMore(request: Request, bytes: number): void {
  const held = heldBodies.get(request) ?? { key: "", bytes: 0 };
  const ofKey = (heldByKey.get(held.key) ?? 0) + bytes;
  if (allHeldBytes + bytes > MAX_HELD_BYTES || ofKey > MAX_HELD_BYTES_PER_KEY) {
    const message = "The server is busy with large requests. Try again in a few seconds.";
    throw new AppError("server_overloaded", message);
  }
  allHeldBytes += bytes;
  heldByKey.set(held.key, ofKey);
  held.bytes += bytes;
  heldBodies.set(request, held);
}

/** Counts the body of a request until this settles, even if the request is answered before. */
export function holdBodyUntil(request: Request, use: Promise<unknown>): void {
  const held = heldBodies.get(request);
  if (held) held.use = use;
}

/** Stops counting the body of a request that is answered, once nothing uses the body any more. */
export function releaseBody(request: Request): void {
  const held = heldBodies.get(request);
  if (held === undefined) return;
  heldBodies.delete(request);
  if (held.bytes === 0) return;
  const release = () => {
    allHeldBytes -= held.bytes;
    const ofKey = heldByKey.get(held.key)! - held.bytes;
    if (ofKey > 0) heldByKey.set(held.key, ofKey);
    else heldByKey.delete(held.key);
  };
  if (held.use) held.use.then(release, release);
  else release();
}
