/**
 * Reads forms with files (`multipart/form-data`), limited in size and time, and in their size together with all bodies.
 * `Request.formData()` looks at every byte in JavaScript, and stops the program for half a second for 25 MB.
 *
 * @module
 */

import { AppError } from "../core/errors.ts";
import { readBody } from "./json_body.ts";
import { decodePercent } from "./router.ts";

/** Bytes of a form beside its file. */
const MAX_OTHER_BYTES = 1024 * 1024;
/** Parts of a form, bytes of the headers of a part, and bytes of a field that is no file. */
const MAX_PARTS = 100;
const MAX_HEADER_BYTES = 8 * 1024;
const MAX_FIELD_BYTES = 64 * 1024;
/** Longest name of a file, in characters. */
const MAX_FILENAME_CHARS = 255;
/** Longest time for a form to arrive, in milliseconds. Phones send recordings slowly. */
const FORM_TIMEOUT_MS = 120_000;

/** A file of a form. */
export interface FormFile {
  /** The name of its field. */
  readonly field: string;
  readonly filename: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A form. */
export interface FormBody {
  /** The values of the fields that are no files. */
  readonly fields: ReadonlyMap<string, readonly string[]>;
  readonly files: readonly FormFile[];
}

/**
 * Reads a form.
 *
 * @param options.timeoutMs Replaces {@linkcode FORM_TIMEOUT_MS} in tests.
 * @throws {AppError} `unsupported_media_type`, `body_too_large`, `server_overloaded`, `request_timeout` or
 * `invalid_value`, with what to do.
 */
export async function readForm(
  request: Request,
  { maxFileBytes, timeoutMs = FORM_TIMEOUT_MS }: { maxFileBytes: number; timeoutMs?: number },
): Promise<FormBody> {
  const boundary = readBoundary(request.headers);
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const limits = { maxBytes: maxFileBytes + MAX_OTHER_BYTES, timeoutMs, fault: "invalid_value" } as const;
  await readBody(request, limits, (bytes) => void chunks.push(bytes));
  const form = parseForm(concat(chunks), boundary);
  for (const { field, bytes } of form.files) {
    if (bytes.byteLength <= maxFileBytes) continue;
    throw new AppError("body_too_large", `"${field}" is larger than ${maxFileBytes / 1024 ** 2} MiB.`, {
      param: field,
    });
  }
  return form;
}

/** Returns the boundary that the content type tells. */
function readBoundary(headers: Headers): string {
  const type = headers.get("content-type") ?? "";
  if (!/^\s*multipart\/form-data\s*(;|$)/i.test(type)) {
    const message = `The body must be a form: send "multipart/form-data", not "${type || "nothing"}".`;
    throw new AppError("unsupported_media_type", message);
  }
  const encoding = headers.get("content-encoding") ?? "identity";
  if (encoding !== "identity") {
    throw new AppError("unsupported_media_type", `The body must not be compressed, as with ${encoding}.`);
  }
  const [, quoted, plain] = /;\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))/i.exec(type) ?? [];
  const boundary = quoted ?? plain;
  if (boundary !== undefined) return boundary;
  throw new AppError(
    "unsupported_media_type",
    'The header "content-type" has no boundary: let your HTTP library write the header of a form.',
  );
}

function concat(chunks: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(chunks.reduce((size, { byteLength }) => size + byteLength, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return whole;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const CRLF = encoder.encode("\r\n");
const HEADERS_END = encoder.encode("\r\n\r\n");

/** Parses a form. The bytes of its files are views of `body`. Exported for tests. @throws {AppError} `invalid_value` */
export function parseForm(body: Uint8Array<ArrayBuffer>, boundary: string): FormBody {
  const delimiter = encoder.encode(`\r\n--${boundary}`);
  const fields = new Map<string, string[]>();
  const files: FormFile[] = [];
  // The first delimiter has no line before it, but may have a preamble.
  let at = startsWith(body, delimiter.subarray(CRLF.length), 0) ? -CRLF.length : indexOf(body, delimiter, 0);
  if (at < 0 && at !== -CRLF.length) throw broken("it does not have the boundary of its content type");
  for (let parts = 0;; parts++) {
    at += delimiter.length;
    if (decoder.decode(body.subarray(at, at + 2)) === "--") return { fields, files };
    if (parts === MAX_PARTS) throw broken(`it has more than ${MAX_PARTS} parts`);
    const headersEnd = indexOf(body.subarray(0, at + MAX_HEADER_BYTES), HEADERS_END, at);
    if (headersEnd < 0) throw broken("the headers of a part do not end");
    const { name, filename } = parseHeaders(decoder.decode(body.subarray(at, headersEnd)));
    const start = headersEnd + HEADERS_END.length;
    // An empty part can share its line break with its delimiter.
    at = indexOf(body, delimiter, start - CRLF.length);
    if (at < 0) throw broken("it ends before its last boundary", name);
    const bytes = body.subarray(start, Math.max(start, at));
    if (filename !== undefined) {
      files.push({ field: name, filename, bytes });
    } else if (bytes.byteLength > MAX_FIELD_BYTES) {
      throw broken(`it has more than ${MAX_FIELD_BYTES / 1024} KiB, but no filename`, name);
    } else {
      fields.set(name, [...fields.get(name) ?? [], decoder.decode(bytes)]);
    }
  }
}

function broken(fault: string, field?: string): AppError {
  const message = field === undefined ? `The form is broken: ${fault}.` : `"${field}" is broken: ${fault}.`;
  return new AppError("invalid_value", message, { param: field });
}

/** Reads the names of a part's field and file. A part with the type of a medium is a file too. */
function parseHeaders(headers: string): { name: string; filename: string | undefined } {
  const [, disposition] = /^content-disposition:(.*)$/im.exec(headers) ?? [];
  const name = disposition && parameter(disposition, "name");
  if (!name) throw broken("a part has no name");
  const [, , encoded] = /;\s*filename\*\s*=\s*([\w-]*)'[^']*'([^;\s]*)/i.exec(disposition) ?? [];
  const filename = encoded === undefined ? parameter(disposition, "filename") : decodePercent(encoded);
  const isMedium = /^content-type:\s*(audio|video|application\/octet-stream)\b/im.test(headers);
  // Only the last part of a path is a name, and line breaks would be headers.
  const safe = filename?.replace(/^.*[/\\]/s, "").replace(/\p{Cc}/gu, "").slice(-MAX_FILENAME_CHARS);
  return { name, filename: safe || (isMedium || filename !== undefined ? "audio" : undefined) };
}

/** Returns a parameter of a header, in the escapes of browsers and of older libraries. */
function parameter(header: string, name: string): string | undefined {
  const [, quoted, plain] =
    new RegExp(`;\\s*${name}\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s;"]+))`, "i").exec(header) ?? [];
  return quoted?.replace(/\\(["\\])/g, "$1").replaceAll("%22", '"') ?? plain;
}

/** Finds bytes, as Horspool does: most bytes of a sound are skipped, and each is compared a few times at worst. */
function indexOf(bytes: Uint8Array, wanted: Uint8Array, from: number): number {
  const last = wanted.length - 1;
  const steps = new Uint8Array(256).fill(wanted.length);
  for (let i = 0; i < last; i++) steps[wanted[i]!] = last - i;
  for (let at = from; at + last < bytes.length; at += steps[bytes[at + last]!]!) {
    if (bytes[at + last] === wanted[last] && startsWith(bytes, wanted, at)) return at;
  }
  return -1;
}

function startsWith(bytes: Uint8Array, wanted: Uint8Array, at: number): boolean {
  for (let i = 0; i < wanted.length; i++) if (bytes[at + i] !== wanted[i]) return false;
  return true;
}
