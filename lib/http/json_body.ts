/** Reads JSON bodies, limited in size, shape and time, and in their size all together. @module */

import { AppError, type ErrorCode, messageOf } from "../core/errors.ts";
import { startIdleTimer } from "../core/idle_timer.ts";
import { nextTask } from "../core/next_task.ts";

/** Largest body, in bytes; a few pictures fit. */
const MAX_BODY_BYTES = 20 * 1024 * 1024;
/** Bytes of all bodies together, each from its arrival until the agent has its prompt. */
const MAX_HELD_BYTES = 128 * 1024 * 1024;
/** Bytes of all bodies of a key. The rest has room for the largest body of another key. */
const MAX_HELD_BYTES_PER_KEY = 96 * 1024 * 1024;
/** Deepest nesting of JSON from outside. */
const MAX_DEPTH = 64;
/** Values in JSON from outside: several times those of a request with as many messages as it may have. */
const MAX_VALUES = 100_000;
/** Longest time for a body to arrive, in milliseconds. */
const BODY_TIMEOUT_MS = 60_000;
/** Bytes of a body after which the reader lets other requests go on. A body that has arrived is read without other waits. */
const TURN_BYTES = 256 * 1024;
/** Bytes that each chunk counts in addition, so that chunks of single bytes also reach {@linkcode TURN_BYTES}. */
const CHUNK_COST_BYTES = 4 * 1024;
const JSON_TYPE = /^\s*application\/([\w.+-]+\+)?json\s*(;|$)/i;

/** A body: its text, and the value that the text encodes. */
export interface JsonBody {
  readonly text: string;
  readonly value: unknown;
}

/**
 * Reads a JSON body.
 *
 * @param options.maxValues Values that the JSON may have.
 * @param options.timeoutMs Replaces {@linkcode BODY_TIMEOUT_MS} in tests.
 * @throws {AppError} `unsupported_media_type`, `body_too_large`, `server_overloaded`, `request_timeout` or
 * `invalid_json`, with what to do.
 */
export async function readJson(
  request: Request,
  { maxValues = MAX_VALUES, timeoutMs = BODY_TIMEOUT_MS }: { maxValues?: number; timeoutMs?: number } = {},
): Promise<JsonBody> {
  const fault = headerFault(request.headers);
  if (fault !== undefined) throw new AppError("unsupported_media_type", fault);
  const text = await readText(request, timeoutMs);
  const encoding = otherEncoding(text);
  if (encoding !== undefined) {
    throw new AppError(
      "unsupported_media_type",
      `The body is ${encoding}; send JSON in UTF-8, uncompressed.`,
    );
  }
  if (text.trim() === "") throw new AppError("invalid_json", "The body is empty; it must be a JSON object.");
  // Check the shape first, because parsing megabytes of brackets or keys takes seconds.
  const shape = shapeFault(text, MAX_DEPTH, maxValues);
  if (shape !== undefined) throw new AppError("invalid_json", `The body ${shape}.`);
  try {
    return { text, value: parseWellFormed(text) };
  } catch (error) {
    throw new AppError("invalid_json", `The body is not JSON: ${messageOf(error)}`);
  }
}

/** Tells from the headers why the body is not read. */
function headerFault(headers: Headers): string | undefined {
  const type = headers.get("content-type") ?? "application/json";
  if (!JSON_TYPE.test(type)) {
    return `The body must be JSON: send the header "content-type: application/json", not "${type}".`;
  }
  const [, charset = "utf-8"] = /;\s*charset\s*=\s*"?([\w-]+)/i.exec(type) ?? [];
  if (!/^(utf-?8|us-ascii)$/i.test(charset)) return `The body must be in UTF-8, not in ${charset}.`;
  const encoding = headers.get("content-encoding") ?? "identity";
  return encoding === "identity"
    ? undefined
    : `The body must not be compressed, but "content-encoding" is ${encoding}.`;
}

/** Tells from its start that a text, which was read as UTF-8, is in another encoding. */
function otherEncoding(text: string): string | undefined {
  if (text.startsWith("\x1f\ufffd")) return "compressed with gzip";
  const isUtf16 = text.startsWith("\ufffd\ufffd") || text.slice(0, 2).includes("\0");
  return isUtf16 ? "in UTF-16" : undefined;
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

async function readText(request: Request, timeoutMs: number): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (
    const bytes of readBody(request, { maxBytes: MAX_BODY_BYTES, timeoutMs, fault: "invalid_json" })
  ) {
    holdMore(request, bytes.byteLength);
    text += decoder.decode(bytes, { stream: true });
  }
  return text + decoder.decode();
}

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
      size += value.byteLength;
      if (size > maxBytes) throw tooLarge();
      yield value;
      turnBytes += CHUNK_COST_BYTES + value.byteLength;
      if (turnBytes < TURN_BYTES) continue;
      turnBytes = 0;
      await nextTask();
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    cancel(undefined);
  }
}

/** Half of a surrogate pair, as JSON escapes it. */
const ESCAPED_HALF = /\\ud[89a-f]/i;
/** An escaped pair, an escaped half without its other half, or any other escape. */
const ESCAPE = /\\ud[89ab][\da-f]{2}\\ud[c-f]|(\\ud[89a-f][\da-f]{2})|\\[^]/gi;

/**
 * Parses JSON. Replaces halves of surrogate pairs by U+FFFD, because agents refuse messages with such halves.
 *
 * @throws {SyntaxError}
 */
export function parseWellFormed(json: string): unknown {
  return JSON.parse(
    ESCAPED_HALF.test(json)
      ? json.replace(ESCAPE, (escape, half) => half === undefined ? escape : "\\ufffd")
      : json,
  );
}

/** Tells how JSON is nested too deeply, or has too many values; the limits are for tests. */
export function shapeFault(text: string, maxDepth = MAX_DEPTH, maxValues = MAX_VALUES): string | undefined {
  let depth = 0;
  let values = 1;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: // "
        i = endOfString(text, i + 1);
        break;
      case 0x2c: // ,
        if (++values > maxValues) return `has more than ${maxValues} values`;
        break;
      case 0x5b: // [
      case 0x7b: // {
        if (++depth > maxDepth) return `is nested deeper than ${maxDepth} levels`;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
    }
  }
  return undefined;
}

/** Finds the closing quote of the string that begins at `start`. */
function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return quote;
  }
  return text.length;
}
