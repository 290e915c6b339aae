/**
 * Reads a form with one file (`multipart/form-data`) while it arrives, limited in size and time. `Request.formData()`
 * would keep the whole form in memory, and block the event loop for half a second at 25 MB.
 *
 * @module
 */

import { AppError } from "../core/errors.ts";
import { readBody } from "./body.ts";
import { decodePercent } from "./router.ts";

/** Most bytes of a form without its file. */
const MAX_OTHER_BYTES = 1024 * 1024;
/** Most parts of a form, bytes of a part's headers, and bytes of a field that is no file. */
const MAX_PARTS = 100;
const MAX_HEADER_BYTES = 8 * 1024;
const MAX_FIELD_BYTES = 64 * 1024;
/** Longest name of a file, in characters. */
const MAX_FILENAME_CHARS = 255;
/** Longest total wait for the client's bytes, in milliseconds. Phones send recordings slowly. */
const FORM_TIMEOUT_MS = 120_000;

/** The values of the fields that are no files. */
export type FormFields = ReadonlyMap<string, readonly string[]>;

/** A form that is read up to the start of its file. Disposing of the upload refuses the rest of the form. */
export interface Upload extends Disposable {
  readonly filename: string;
  /**
   * Yields the bytes of the file while they arrive, and then reads the rest of the form.
   *
   * @returns The fields before and after the file.
   * @throws {AppError} like {@linkcode openUpload}.
   */
  readonly content: AsyncGenerator<Uint8Array<ArrayBuffer>, FormFields, undefined>;
}

/** Options of {@linkcode openUpload}. */
interface UploadOptions {
  /** The name of the file's field. Files in other fields are ignored. */
  readonly field: string;
  /** Most bytes of the file. */
  readonly maxBytes: number;
  /** Replaces {@linkcode FORM_TIMEOUT_MS} in tests. */
  readonly timeoutMs?: number;
}

/**
 * Reads a form up to its file.
 *
 * @throws {AppError} `unsupported_media_type`, `body_too_large`, `request_timeout`, `missing_required_parameter` or
 * `invalid_value`. The message says how to correct the request.
 */
export async function openUpload(
  request: Request,
  { field, maxBytes, timeoutMs = FORM_TIMEOUT_MS }: UploadOptions,
): Promise<Upload> {
  const boundary = readBoundary(request.headers);
  const tooLarge = () => {
    const message = `"${field}" is larger than ${maxBytes / 1024 ** 2} MiB: send it in parts.`;
    return new AppError("body_too_large", message, { param: field });
  };
  // `readBody` would refuse the same body, but would name the limit of the body instead of the file's.
  if (Number(request.headers.get("content-length")) > maxBytes + MAX_OTHER_BYTES) throw tooLarge();
  const stop = new AbortController();
  const limits = { maxBytes: maxBytes + MAX_OTHER_BYTES, timeoutMs, fault: "invalid_value" } as const;
  const events = parseForm(readBody(request, limits, stop.signal), boundary);
  const fields = new Map<string, string[]>();
  const addField = ({ name, value }: FormField) => fields.set(name, [...fields.get(name) ?? [], value]);
  const fileError = (code: "missing_required_parameter" | "invalid_value", message: string) =>
    new AppError(code, `"${field}" ${message}`, { param: field });

  async function findFile(): Promise<string> {
    for (let event; (event = (await events.next()).value) !== undefined;) {
      if (event.type === "file" && event.name === field) return event.filename;
      if (event.type === "field") addField(event);
    }
    if (fields.has(field)) throw fileError("invalid_value", "must be a file: send it with a filename.");
    throw fileError("missing_required_parameter", "is required: send a file.");
  }

  async function* readContent(): Upload["content"] {
    let size = 0;
    let isOpen = true;
    for await (const event of events) {
      switch (event.type) {
        case "bytes":
          if (!isOpen) break;
          size += event.bytes.byteLength;
          if (size > maxBytes) throw tooLarge();
          yield event.bytes;
          break;
        case "file":
          if (event.name === field) throw fileError("invalid_value", "must be one file, not several.");
          isOpen = false;
          break;
        case "field":
          addField(event);
          isOpen = false;
          break;
        default:
          return event satisfies never;
      }
    }
    if (size === 0) throw fileError("invalid_value", "is empty.");
    return fields;
  }

  try {
    const filename = await findFile();
    return { filename, content: readContent(), [Symbol.dispose]: () => stop.abort() };
  } catch (error) {
    stop.abort();
    throw error;
  }
}

/** Returns the boundary in the content type. */
function readBoundary(headers: Headers): string {
  const type = headers.get("content-type") ?? "";
  if (!/^\s*multipart\/form-data\s*(;|$)/i.test(type)) {
    const message = `The body must be a form: send "multipart/form-data", not "${type || "nothing"}".`;
    throw new AppError("unsupported_media_type", message);
  }
  const encoding = headers.get("content-encoding") ?? "identity";
  if (encoding !== "identity") {
    throw new AppError(
      "unsupported_media_type",
      `The body must not be compressed, but "content-encoding" is ${encoding}.`,
    );
  }
  const [, quoted, plain] = /;\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70})(?=[\s;]|$))/i.exec(type) ?? [];
  const boundary = quoted ?? plain;
  if (boundary !== undefined) return boundary;
  throw new AppError(
    "unsupported_media_type",
    'The header "content-type" has no boundary of 1 to 70 characters: let your HTTP library write the header of a form.',
  );
}

const encoder = new TextEncoder();
const HEADERS_END = patternOf("\r\n\r\n");
const LAST_DELIMITER_END = patternOf("--");

/** A field that is no file. */
interface FormField {
  readonly type: "field";
  readonly name: string;
  readonly value: string;
}

/** A piece of a form: a field, the start of a file, or bytes of the newest file. */
export type FormEvent =
  | FormField
  | { readonly type: "file"; readonly name: string; readonly filename: string }
  | { readonly type: "bytes"; readonly bytes: Uint8Array<ArrayBuffer> };

/** Parses a form from chunks of any sizes. Exported for tests. @throws {AppError} `invalid_value` */
export async function* parseForm(
  chunks: AsyncIterable<Uint8Array<ArrayBuffer>>,
  boundary: string,
): AsyncGenerator<FormEvent, void, undefined> {
  const start = patternOf(`--${boundary}`);
  const delimiter = patternOf(`\r\n--${boundary}`);
  const reader = new PatternReader(chunks);
  /** Reads up to a delimiter, which lacks its line break if the preamble or part is empty. */
  async function* readPart(missing: () => AppError) {
    if (!await reader.skip(start)) yield* reader.readUntil(delimiter, missing);
  }

  const noBoundary = () => formError("it does not have the boundary of its content type");
  for await (const _preamble of readPart(noBoundary));
  for (let parts = 0; !await reader.skip(LAST_DELIMITER_END); parts++) {
    if (parts === MAX_PARTS) throw formError(`it has more than ${MAX_PARTS} parts`);
    const noEnd = () => formError("the headers of a part do not end");
    const headers = await readText(reader.readUntil(HEADERS_END, noEnd), MAX_HEADER_BYTES, noEnd);
    // Text behind a boundary means that the boundary is content of the file, which would be cut off here.
    if (!/^[ \t]*(\r\n|$)/.test(headers)) throw formError("text follows a boundary in its line");
    const { name, filename } = parseHeaders(headers);
    const content = readPart(() => formError("it ends before its last boundary", name));
    if (filename === undefined) {
      const tooLong = () =>
        formError(`it has more than ${MAX_FIELD_BYTES / 1024} KiB, but no filename`, name);
      yield { type: "field", name, value: await readText(content, MAX_FIELD_BYTES, tooLong) };
    } else {
      yield { type: "file", name, filename };
      for await (const bytes of content) yield { type: "bytes", bytes };
    }
  }
  await reader.skipAll();
}

/** Reads text. @throws The error that `tooLong` makes, beyond `maxBytes`. */
async function readText(
  chunks: AsyncIterable<Uint8Array>,
  maxBytes: number,
  tooLong: () => AppError,
): Promise<string> {
  const decoder = new TextDecoder();
  let [text, size] = ["", 0];
  for await (const bytes of chunks) {
    size += bytes.byteLength;
    if (size > maxBytes) throw tooLong();
    text += decoder.decode(bytes, { stream: true });
  }
  return text + decoder.decode();
}

function formError(fault: string, field?: string): AppError {
  const message = field === undefined ? `The form is broken: ${fault}.` : `"${field}" is broken: ${fault}.`;
  return new AppError("invalid_value", message, { param: field });
}

/** Reads the names of a part's field and file. A part without a filename is a file too if its type is audio or video. */
function parseHeaders(headers: string): { name: string; filename: string | undefined } {
  const [, disposition = ""] = /^content-disposition:(.*)$/im.exec(headers) ?? [];
  const parameters = parseParameters(disposition);
  const name = parameters.get("name");
  if (!name) throw formError("a part has no name");
  const [, encoded] = /^[\w-]*'[^']*'(.*)/.exec(parameters.get("filename*") ?? "") ?? [];
  const filename = encoded === undefined ? parameters.get("filename") : decodePercent(encoded);
  const isMedia = /^content-type:\s*(audio|video|application\/octet-stream)\b/im.test(headers);
  // A path is reduced to its last part. Control characters are removed, because a line break could start another header.
  const safe = filename?.replace(/^.*[/\\]/s, "").replace(/\p{Cc}/gu, "").slice(-MAX_FILENAME_CHARS);
  return { name, filename: safe || (isMedia || filename !== undefined ? "audio" : undefined) };
}

/** Parses the parameters of a header, with `%22` and `\"` as escapes. If a name occurs twice, its first value counts. */
function parseParameters(header: string): Map<string, string> {
  const matches = header.matchAll(/;\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))/g);
  const parameters = [...matches].map(([, name, quoted, plain]) =>
    [name!.toLowerCase(), quoted?.replace(/\\(["\\])/g, "$1").replaceAll("%22", '"') ?? plain!] as const
  );
  return new Map(parameters.reverse());
}

/** Bytes to find, with the steps of Horspool's search, which skips most bytes of a recording. */
interface Pattern {
  readonly bytes: Uint8Array;
  /** How far the search moves on, by the byte below the pattern's last byte. */
  readonly steps: Uint8Array;
}

function patternOf(text: string): Pattern {
  const bytes = encoder.encode(text);
  const last = bytes.length - 1;
  const steps = new Uint8Array(256).fill(bytes.length);
  for (let i = 0; i < last; i++) steps[bytes[i]!] = last - i;
  return { bytes, steps };
}

/** Finds a pattern; returns -1 without. Compares each byte a few times at worst, because no pattern repeats its start. */
function indexOf(bytes: Uint8Array, { bytes: wanted, steps }: Pattern): number {
  const last = wanted.length - 1;
  for (let at = 0; at + last < bytes.length; at += steps[bytes[at + last]!]!) {
    if (bytes[at + last] === wanted[last] && startsWith(bytes, wanted, at)) return at;
  }
  return -1;
}

function startsWith(bytes: Uint8Array, wanted: Uint8Array, at: number): boolean {
  for (let i = 0; i < wanted.length; i++) if (bytes[at + i] !== wanted[i]) return false;
  return true;
}

/** Reads bytes up to a pattern. Keeps one chunk, and the end of the chunk before if a pattern may begin in it. */
class PatternReader {
  readonly #chunks: AsyncIterator<Uint8Array<ArrayBuffer>>;
  /** The bytes that have arrived, but are not read yet. */
  #buffer = new Uint8Array();

  constructor(chunks: AsyncIterable<Uint8Array<ArrayBuffer>>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Yields the bytes before a pattern, and skips the pattern. @throws The error that `missing` makes, without a pattern. */
  async *readUntil(pattern: Pattern, missing: () => AppError): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    let at;
    while ((at = indexOf(this.#buffer, pattern)) < 0) {
      // The pattern may begin in the last bytes, which therefore wait for the next chunk.
      const { length } = this.#buffer;
      const start = this.#buffer.indexOf(pattern.bytes[0]!, Math.max(0, length - pattern.bytes.length + 1));
      const certainLength = start < 0 ? length : start;
      if (certainLength > 0) yield this.#take(certainLength);
      if (!await this.#readChunk()) throw missing();
    }
    if (at > 0) yield this.#take(at);
    this.#take(pattern.bytes.length);
  }

  /** Skips a pattern if it comes next. @returns Whether it did. */
  async skip({ bytes }: Pattern): Promise<boolean> {
    while (this.#buffer.length < bytes.length && await this.#readChunk());
    const isNext = startsWith(this.#buffer, bytes, 0);
    if (isNext) this.#take(bytes.length);
    return isNext;
  }

  /** Skips the rest. */
  async skipAll(): Promise<void> {
    do this.#take(this.#buffer.length); while (await this.#readChunk());
  }

  #take(length: number): Uint8Array<ArrayBuffer> {
    const taken = this.#buffer.subarray(0, length);
    this.#buffer = this.#buffer.subarray(length);
    return taken;
  }

  async #readChunk(): Promise<boolean> {
    const { value } = await this.#chunks.next();
    if (value === undefined) return false;
    if (this.#buffer.length === 0) {
      this.#buffer = value;
    } else {
      const joined = new Uint8Array(this.#buffer.length + value.length);
      joined.set(this.#buffer);
      joined.set(value, this.#buffer.length);
      this.#buffer = joined;
    }
    return true;
  }
}
