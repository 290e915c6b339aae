/** Reads JSON bodies, limited in size, shape and time. @module */

import { AppError, messageOf } from "../core/errors.ts";
import { holdMore, readBody } from "./body.ts";

/** Largest body, in bytes; a few pictures fit. */
const MAX_BODY_BYTES = 20 * 1024 * 1024;
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
