/** A request's JSON body: bounded in size, depth and time before anything looks at it. @module */

import { LimitedBytesTransformStream } from "@std/streams/limited-bytes-transform-stream";
import { toText } from "@std/streams/to-text";
import { AppError } from "../core/errors.ts";

/** Bytes of a body that are read: a few pictures fit. */
export const MAX_BODY_BYTES = 20 * 1024 * 1024;
/** How deep a body may be nested. */
const MAX_DEPTH = 64;
/** How long a body may take to arrive, in milliseconds. */
const BODY_TIMEOUT_MS = 60_000;

/** A body as it came, and what it says. */
export interface JsonBody {
  readonly text: string;
  readonly value: unknown;
}

/**
 * Reads a JSON body.
 *
 * @throws {AppError} `unsupported_media_type`, `body_too_large`, `request_timeout`, `invalid_json`, with what to do.
 */
export async function readJson(request: Request): Promise<JsonBody> {
  const type = request.headers.get("content-type");
  if (type !== null && !/^\s*application\/([\w.+-]+\+)?json\s*(;|$)/i.test(type)) {
    throw new AppError(
      "unsupported_media_type",
      `The body must be JSON: send the header "content-type: application/json", not "${type}".`,
    );
  }
  const text = await readText(request);
  if (text.trim() === "") throw new AppError("invalid_json", "The body is empty; it must be a JSON object.");
  if (depthExceeds(text, MAX_DEPTH)) {
    throw new AppError("invalid_json", `The body is nested deeper than ${MAX_DEPTH} levels.`);
  }
  try {
    return { text, value: JSON.parse(text) };
  } catch (error) {
    throw new AppError("invalid_json", `The body is not JSON: ${(error as Error).message}`);
  }
}

async function readText(request: Request): Promise<string> {
  const tooLarge = () =>
    new AppError("body_too_large", `The body is larger than ${MAX_BODY_BYTES / 1024 / 1024} MiB.`);
  if (Number(request.headers.get("content-length")) > MAX_BODY_BYTES) throw tooLarge();
  if (request.body === null) return "";
  const { promise: late, reject } = Promise.withResolvers<never>();
  const givenUp = new AbortController();
  const timer = setTimeout(
    () =>
      reject(
        new AppError("request_timeout", `The body did not arrive in ${BODY_TIMEOUT_MS / 1000} seconds.`),
      ),
    BODY_TIMEOUT_MS,
  );
  try {
    const limited = request.body.pipeThrough(
      new LimitedBytesTransformStream(MAX_BODY_BYTES, { error: true }),
      { signal: givenUp.signal },
    );
    return await Promise.race([toText(limited), late]);
  } catch (error) {
    givenUp.abort(error);
    if (error instanceof RangeError) throw tooLarge();
    if (error instanceof AppError) throw error;
    throw new AppError("invalid_json", "The body broke off.", { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** Whether brackets outside of strings are nested deeper than `limit`. */
export function depthExceeds(text: string, limit: number): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x22) {
      i = endOfString(text, i + 1);
    } else if (code === 0x7b || code === 0x5b) {
      if (++depth > limit) return true;
    } else if (code === 0x7d || code === 0x5d) {
      depth--;
    }
  }
  return false;
}

/** Where the string that begins at `start` has its closing quote. */
function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let slashes = 0;
    while (text.charCodeAt(quote - 1 - slashes) === 0x5c) slashes++;
    if (slashes % 2 === 0) return quote;
  }
  return text.length;
}
