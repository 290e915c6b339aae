/** Reads JSON bodies, limited in size, depth and time. @module */

import { AppError, messageOf } from "../core/errors.ts";
import { startIdleTimer } from "../core/idle_timer.ts";

/** Largest body, in bytes; a few pictures fit. */
const MAX_BODY_BYTES = 20 * 1024 * 1024;
/** Deepest nesting of JSON from outside. */
export const MAX_DEPTH = 64;
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
 * @param timeoutMs Replaces {@linkcode BODY_TIMEOUT_MS} in tests.
 * @throws {AppError} `unsupported_media_type`, `body_too_large`, `request_timeout` or `invalid_json`, with what to do.
 */
export async function readJson(request: Request, timeoutMs: number = BODY_TIMEOUT_MS): Promise<JsonBody> {
  const type = request.headers.get("content-type");
  if (type !== null && !JSON_TYPE.test(type)) {
    throw new AppError(
      "unsupported_media_type",
      `The body must be JSON: send the header "content-type: application/json", not "${type}".`,
    );
  }
  const text = await readText(request, timeoutMs);
  if (text.trim() === "") throw new AppError("invalid_json", "The body is empty; it must be a JSON object.");
  // Check the depth first, because parsing megabytes of brackets takes seconds.
  if (depthExceeds(text, MAX_DEPTH)) {
    throw new AppError("invalid_json", `The body is nested deeper than ${MAX_DEPTH} levels.`);
  }
  try {
    return { text, value: JSON.parse(text) };
  } catch (error) {
    throw new AppError("invalid_json", `The body is not JSON: ${messageOf(error)}`);
  }
}

async function readText({ headers, body }: Request, timeoutMs: number): Promise<string> {
  const tooLarge = () =>
    new AppError("body_too_large", `The body is larger than ${MAX_BODY_BYTES / 1024 ** 2} MiB.`);
  if (Number(headers.get("content-length")) > MAX_BODY_BYTES) throw tooLarge();
  if (body === null) return "";
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let [text, size] = ["", 0];
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
      const message = "The connection broke before the body was complete.";
      throw new AppError("invalid_json", message, { cause });
    });
    if (failure) throw failure;
    if (done) return text + decoder.decode();
    size += value.byteLength;
    if (size > MAX_BODY_BYTES) cancel(tooLarge());
    else text += decoder.decode(value, { stream: true });
  }
}

/** Whether brackets outside of strings are nested deeper than `limit`. */
export function depthExceeds(text: string, limit: number): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: // "
        i = endOfString(text, i + 1);
        break;
      case 0x5b: // [
      case 0x7b: // {
        if (++depth > limit) return true;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
    }
  }
  return false;
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
