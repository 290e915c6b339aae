/** Reads JSON bodies, limited in size, shape and time, and in their size all together. @module */

import { AppError, type ErrorCode, messageOf } from "../core/errors.ts";
import { startIdleTimer } from "../core/idle_timer.ts";

/** Largest body, in bytes; a few pictures fit. */
const MAX_BODY_BYTES = 20 * 1024 * 1024;
/** Bytes of all bodies together, each from its arrival until the agent has its prompt. */
const MAX_HELD_BYTES = 128 * 1024 * 1024;
/** Deepest nesting of JSON from outside. */
const MAX_DEPTH = 64;
/** Values in JSON from outside: several times those of a request with as many messages as it may have. */
const MAX_VALUES = 100_000;
/** Longest time for a body to arrive, in milliseconds. */
const BODY_TIMEOUT_MS = 60_000;
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
  return encoding === "identity" ? undefined : `The body must not be compressed, as with ${encoding}.`;
}

/** Tells from its start that a text, which was read as UTF-8, is in another encoding. */
function otherEncoding(text: string): string | undefined {
  if (text.startsWith("\x1f\ufffd")) return "compressed with gzip";
  const isUtf16 = text.startsWith("\ufffd\ufffd") || text.slice(0, 2).includes("\0");
  return isUtf16 ? "in UTF-16" : undefined;
}

/** A body that is held: its bytes, and what it is held for after the head of the response. */
interface HeldBody {
  bytes: number;
  use?: Promise<unknown>;
}

const heldBodies = new WeakMap<Request, HeldBody>();
let allHeldBytes = 0;

/** Counts bytes of a request's body. @returns Whether there is room for them. */
function holdBytes(request: Request, bytes: number): boolean {
  if (allHeldBytes + bytes > MAX_HELD_BYTES) return false;
  allHeldBytes += bytes;
  const held = heldBodies.get(request);
  if (held) held.bytes += bytes;
  else heldBodies.set(request, { bytes });
  return true;
}

/** Counts bytes that answer a request with its body. @throws {AppError} `server_overloaded` if there is no room. */
export function holdMore(request: Request, bytes: number): void {
  if (!holdBytes(request, bytes)) throw overloaded();
}

function overloaded(): AppError {
  return new AppError(
    "server_overloaded",
    "The server is busy with large requests. Try again in a few seconds.",
  );
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
  const release = () => void (allHeldBytes -= held.bytes);
  if (held.use) held.use.then(release, release);
  else release();
}

async function readText(request: Request, timeoutMs: number): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  await readBody(request, { maxBytes: MAX_BODY_BYTES, timeoutMs, fault: "invalid_json" }, (bytes) => {
    text += decoder.decode(bytes, { stream: true });
  });
  return text + decoder.decode();
}

/** The limits of a body, and the code of the error if the connection breaks. */
interface BodyLimits {
  readonly maxBytes: number;
  readonly timeoutMs: number;
  readonly fault: ErrorCode;
}

/** Reads the bytes of a body as they come, and counts them. @throws {AppError} */
export async function readBody(
  request: Request,
  { maxBytes, timeoutMs, fault }: BodyLimits,
  take: (bytes: Uint8Array<ArrayBuffer>) => void,
): Promise<void> {
  const { headers, body } = request;
  const tooLarge = () =>
    new AppError("body_too_large", `The body is larger than ${maxBytes / 1024 ** 2} MiB.`);
  if (Number(headers.get("content-length")) > maxBytes) throw tooLarge();
  if (body === null) return;
  const reader = body.getReader();
  let size = 0;
  let failure: AppError | undefined;
  const cancel = (error: AppError) => {
    failure = error;
    // A pending read then ends as if the body were complete.
    reader.cancel(error).catch(() => {});
  };
  using _timeout = startIdleTimer(timeoutMs, () => {
    cancel(new AppError("request_timeout", `The body did not arrive within ${timeoutMs / 1000} seconds.`));
  });
  while (true) {
    const { done, value } = await reader.read().catch((cause) => {
      throw new AppError(fault, "The connection broke before the body was complete.", { cause });
    });
    if (failure) throw failure;
    if (done) return;
    size += value.byteLength;
    if (size > maxBytes) cancel(tooLarge());
    else if (!holdBytes(request, value.byteLength)) cancel(overloaded());
    else take(value);
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
