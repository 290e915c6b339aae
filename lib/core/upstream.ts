/** The client of an OpenAI-compatible server that the owner has configured: an upstream. @module */

import { z } from "zod";
import { abortable } from "./abortable.ts";
import { AppError } from "./errors.ts";
import { startIdleTimer } from "./idle_timer.ts";
import { createRedactor, MIN_SECRET_CHARS, urlSecrets } from "./redact.ts";
import { spaceUnsafe } from "./unsafe_text.ts";

/**
 * Longest wait for an answer, or for the head of a stream, in milliseconds. An upload may take as long before that wait
 * begins. A client that uses Node's `fetch` gives up 300 seconds after it has sent its request.
 */
const TIMEOUT_MS = 240_000;
/** Longest silence in a stream while it is read, in milliseconds. */
const SILENCE_MS = 60_000;
/** Requests that run at once, for each upstream. */
const MAX_RUNNING = 64;
/** Bytes of an answer, and of an error that is read for its message. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;
/** Characters of an upstream's message or field that a client is told. */
const MAX_MESSAGE_CHARS = 1_000;
const MAX_PARAM_CHARS = 100;
/** Longest `Retry-After` that is passed on, in seconds. */
const MAX_RETRY_SECS = 86_400;

/** An upstream, as the owner configures it. */
export interface UpstreamConfig {
  /** An address for {@linkcode joinUrl}. */
  readonly baseUrl: string;
  readonly key: string | undefined;
}

/** Lists the texts of an upstream's configuration that must not be printed, logged or told to a client. */
export function upstreamSecrets({ baseUrl, key = "" }: UpstreamConfig): string[] {
  return [...key.length >= MIN_SECRET_CHARS ? [key] : [], ...urlSecrets(baseUrl)];
}

/** Options of a request. */
export interface UpstreamRequestOptions {
  readonly signal: AbortSignal;
  /** Makes room for bytes of the answer. @throws {AppError} if there is none. */
  readonly hold?: (bytes: number) => void;
}

/** Limits that tests replace. */
interface UpstreamLimits {
  readonly timeoutMs?: number;
  readonly silenceMs?: number;
}

/** Options of a request for a stream. */
export interface UpstreamStreamOptions {
  readonly signal: AbortSignal;
  /** Bytes of the answer. */
  readonly maxBytes: number;
  /** Bytes that have to be there before the stream is returned, if it is that long. */
  readonly headBytes?: number;
}

/** Talks to an upstream. Made by {@linkcode createUpstream}. */
export interface Upstream {
  /** The upstream at the start of a sentence, such as `The embeddings server`. */
  readonly subject: string;
  /** Its table in a sentence, such as `[embeddings] in config.toml`. */
  readonly table: string;
  /**
   * Posts JSON to a path of OpenAI's API, and returns the JSON of the answer.
   *
   * @throws {AppError} if the upstream refuses, cannot be reached, or does not answer in time.
   */
  postJson(path: string, body: object, options: UpstreamRequestOptions): Promise<unknown>;
  /** Gets the JSON of a path, as {@linkcode postJson}. */
  getJson(path: string, options: UpstreamRequestOptions): Promise<unknown>;
  /**
   * Posts JSON, and returns the answer once its head and its first bytes have arrived.
   *
   * @throws {AppError} if the upstream refuses, cannot be reached, or does not answer in time.
   */
  postForStream(path: string, body: object, options: UpstreamStreamOptions): Promise<UpstreamStream>;
  /**
   * Posts a body while it arrives, and returns the answer like {@linkcode Upstream.postForStream} once the whole body is
   * sent. If the upstream refuses, the rest of the body is not sent.
   *
   * @throws The error of the body, which ends the request; {@linkcode AppError} like `postForStream`.
   */
  upload(path: string, body: UploadBody, options: UpstreamStreamOptions): Promise<UpstreamStream>;
  /** Makes the error of an answer that is not what OpenAI's API says: `{subject} {fault}: check base_url of {table}.` */
  wrongAnswer(fault: string): AppError;
}

/** A body that is sent while it arrives. */
export interface UploadBody {
  readonly contentType: string;
  readonly chunks: AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** An answer that is read while it arrives. */
export interface UpstreamStream {
  /** The media type without its parameters, in lower case; empty without one. */
  readonly mediaType: string;
  /** The first bytes, as many as were asked for; the body has them too. */
  readonly head: Uint8Array<ArrayBuffer>;
  /**
   * The bytes as they come, without a buffer, so that the upstream waits for a slow reader. A failure, a silence and too
   * many bytes end it with an {@linkcode AppError}. The request runs until it ends or is cancelled.
   */
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
}

/**
 * Creates the client of an upstream. The key goes to the configured address only: redirects are not followed.
 *
 * @param name The table of the configuration file.
 * @param limits Replace {@linkcode TIMEOUT_MS} and {@linkcode SILENCE_MS} in tests.
 */
export function createUpstream(
  name: string,
  config: UpstreamConfig,
  { timeoutMs = TIMEOUT_MS, silenceMs = SILENCE_MS }: UpstreamLimits = {},
): Upstream {
  const { baseUrl, key } = config;
  const subject = `The ${name} server`;
  const table = `[${name}] in config.toml`;
  const redact = createRedactor(upstreamSecrets(config));
  const clean = (text: string, maxChars: number) =>
    redact(spaceUnsafe(text)).slice(0, maxChars).toWellFormed();
  let running = 0;

  const unavailable = (fault: string, cause?: unknown) =>
    new AppError("upstream_unavailable", `${subject} ${fault}: check base_url of ${table}.`, { cause });
  const tooLate = (ms: number) =>
    new AppError("upstream_timeout", `${subject} did not answer within ${ms / 1000} seconds.`);
  const tooLarge = (bytes: number) =>
    new AppError(
      "body_too_large",
      `${subject} answers with more than ${bytes / 1024 ** 2} MiB: ask for less at once.`,
    );

  /** Sends a request. @returns The response if it is a success; its body is still to be read. */
  async function send(path: string, body: Body | undefined, signal: AbortSignal): Promise<Response> {
    const headers = new Headers();
    if (key !== undefined) headers.set("authorization", `Bearer ${key}`);
    if (body !== undefined) headers.set("content-type", body.contentType);
    const response = await fetch(joinUrl(baseUrl, path), {
      method: body === undefined ? "GET" : "POST",
      headers,
      body: body?.data ?? null,
      redirect: "manual",
      signal,
    });
    if (!response.ok) throw await refusalOf(response, path);
    return response;
  }

  /** Sends a request, and returns its response, or what is made of it, within the time limit. */
  async function request<T>(
    path: string,
    makeBody: (ending: AbortSignal) => Body | undefined,
    signal: AbortSignal,
    read: (response: Response) => T | Promise<T>,
  ): Promise<T> {
    if (running >= MAX_RUNNING) {
      throw new AppError("rate_limit_exceeded", `${subject} has ${MAX_RUNNING} requests to answer already.`);
    }
    const stop = new AbortController();
    const ending = AbortSignal.any([signal, stop.signal]);
    let isLate = false;
    using timer = startIdleTimer(timeoutMs, () => {
      isLate = true;
      stop.abort();
    });
    running++;
    try {
      const body = makeBody(ending);
      const sent = body?.sent?.finally(() => timer.touch());
      const [response, isSent = true] = await Promise.all([
        send(path, body, ending),
        sent && abortable(sent, ending),
      ]);
      if (!isSent) throw unavailable("closes the connection before it has everything");
      return await read(response);
    } catch (error) {
      // Stops an upload whose answer has arrived too early, and the reading of that answer.
      stop.abort();
      signal.throwIfAborted();
      if (isLate) throw tooLate(timeoutMs);
      throw error instanceof AppError ? error : unavailable("cannot be reached", error);
    } finally {
      running--;
    }
  }

  /** Requests JSON. */
  function requestJson(
    path: string,
    body: Body | undefined,
    { signal, hold }: UpstreamRequestOptions,
  ): Promise<unknown> {
    return request(path, () => body, signal, async (response) => {
      const text = await readText(response, MAX_ANSWER_BYTES, hold);
      if (text === undefined) throw tooLarge(MAX_ANSWER_BYTES);
      try {
        return JSON.parse(text);
      } catch {
        throw unavailable("does not answer with JSON");
      }
    });
  }

  /** Opens the body of a response as a stream, which counts as a running request until it ends. */
  async function openStream(
    { headers, body }: Response,
    { signal, maxBytes, headBytes = 0 }: UpstreamStreamOptions,
  ): Promise<UpstreamStream> {
    const reader = (body ?? new Blob([]).stream()).getReader();
    let bytes = 0;
    let isReading = false;
    let failure: AppError | undefined;
    const fail = (error: AppError) => {
      failure = error;
      // A pending read then ends as if the body were complete.
      reader.cancel(error).catch(() => {});
    };
    // A slow reader is no silence of the upstream.
    const timer = startIdleTimer(silenceMs, () => {
      if (isReading) fail(tooLate(silenceMs));
    });
    let isRunning = true;
    running++;
    const end = () => {
      if (isRunning) running--;
      isRunning = false;
      timer[Symbol.dispose]();
    };
    const read = async () => {
      timer.touch();
      isReading = true;
      try {
        const { value } = await reader.read();
        isReading = false;
        bytes += value?.byteLength ?? 0;
        if (bytes > maxBytes) fail(tooLarge(maxBytes));
        if (failure) throw failure;
        if (value === undefined) end();
        return value;
      } catch (error) {
        end();
        if (signal.aborted || error instanceof AppError) throw error;
        throw new AppError("upstream_unavailable", `${subject} broke off its answer.`, { cause: error });
      }
    };

    const first: Uint8Array<ArrayBuffer>[] = [];
    const head: number[] = [];
    while (head.length < headBytes) {
      const value = await read();
      if (value === undefined) break;
      first.push(value);
      head.push(...value.subarray(0, headBytes - head.length));
    }
    const [mediaType = ""] = (headers.get("content-type") ?? "").split(";");
    return {
      mediaType: mediaType.trim().toLowerCase(),
      head: Uint8Array.from(head),
      body: new ReadableStream({
        async pull(controller) {
          const value = first.shift() ?? (isRunning ? await read() : undefined);
          if (value === undefined) controller.close();
          else controller.enqueue(value);
        },
        cancel(reason) {
          end();
          return reader.cancel(reason);
        },
      }, { highWaterMark: 0 }),
    };
  }

  /** Makes an error of a response without success. */
  async function refusalOf(response: Response, path: string): Promise<AppError> {
    const { status, headers } = response;
    const body = parseError(await readText(response, MAX_ERROR_BYTES));
    if (status < 400) return unavailable(`redirects (status ${status}), which is not followed`);
    if (status === 401 || status === 403) {
      const fault = key === undefined ? "needs a key: set key" : "refuses the key: correct key";
      return new AppError("upstream_auth_required", `${subject} ${fault} of ${table} (status ${status}).`);
    }
    if (status === 402 || body.code === "insufficient_quota") {
      return new AppError("insufficient_quota", `${subject} has no quota left.`);
    }
    const retryAfterSecs = parseRetryAfter(headers.get("retry-after"));
    if (status === 429) return new AppError("rate_limit_exceeded", `${subject} is busy.`, { retryAfterSecs });
    const message = clean(body.message ?? "", MAX_MESSAGE_CHARS);
    if (status >= 500) {
      const fault = `${subject} failed (status ${status})`;
      return new AppError("upstream_error", message ? `${fault}: ${message}` : `${fault}.`, {
        retryAfterSecs,
      });
    }
    // A server that does not know the path has no message of OpenAI's form.
    if (status === 404 && message === "") return unavailable(`does not serve ${path} (status 404)`);
    return new AppError("upstream_error", message || `${subject} refuses this (status ${status}).`, {
      status,
      param: body.param === undefined ? undefined : clean(body.param, MAX_PARAM_CHARS),
    });
  }

  return {
    subject,
    table,
    postJson: (path, body, options) => requestJson(path, jsonBody(body), options),
    getJson: (path, options) => requestJson(path, undefined, options),
    postForStream: (path, body, options) =>
      request(path, () => jsonBody(body), options.signal, (response) => openStream(response, options)),
    upload: (path, body, options) =>
      request(
        path,
        (ending) => uploadBody(body, ending),
        options.signal,
        (response) => openStream(response, options),
      ),
    wrongAnswer: (fault) => unavailable(fault),
  };
}

/** The body of a request. */
interface Body {
  readonly contentType: string;
  readonly data: string | ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Settles at the end of a stream: `true` if the whole stream is sent, `false` if not. Rejects with the stream's error. */
  readonly sent?: Promise<boolean>;
}

function jsonBody(value: object): Body {
  return { contentType: "application/json", data: JSON.stringify(value) };
}

function uploadBody({ contentType, chunks }: UploadBody, ending: AbortSignal): Body {
  const { promise: sent, resolve, reject } = Promise.withResolvers<boolean>();
  const data = async function* () {
    try {
      for await (const chunk of chunks) {
        // `fetch` goes on reading the body after the answer has arrived.
        ending.throwIfAborted();
        yield chunk;
      }
      resolve(true);
    } catch (error) {
      reject(error);
      throw error;
    } finally {
      // `fetch` stops reading the body when the connection closes, even if there is an answer.
      resolve(false);
    }
  };
  return { contentType, data: ReadableStream.from(data()), sent };
}

/**
 * Joins the address of an API and a path in it. The address can lack the `/v1`, end in a slash, or be the endpoint's
 * own. Its query is kept. Addresses with another version in their path, or with Azure's `api-version`, need no `/v1`.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { joinUrl } from "./upstream.ts";
 * assertEquals(joinUrl("http://127.0.0.1:11434/", "/embeddings"), "http://127.0.0.1:11434/v1/embeddings");
 * assertEquals(joinUrl("http://127.0.0.1:11434/v1", "/embeddings"), "http://127.0.0.1:11434/v1/embeddings");
 * ```
 */
export function joinUrl(base: string, path: string): string {
  const url = new URL(base);
  const parts = url.pathname.split("/").filter((part) => part !== "");
  const isVersioned = parts.some((part) => /^v\d/i.test(part)) || url.searchParams.has("api-version");
  const folder = parts.map((part) => `/${part}`).join("");
  if (!folder.endsWith(path)) url.pathname = folder + (isVersioned ? "" : "/v1") + path;
  url.hash = "";
  return url.href;
}

/** Reads a body as text; `undefined` if it is larger than `maxBytes`. */
async function readText(
  response: Response,
  maxBytes: number,
  hold?: (bytes: number) => void,
): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let [text, size] = ["", 0];
  // Leaving the loop cancels the body.
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) return undefined;
    hold?.(chunk.byteLength);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

const optionalString = z.string().optional().catch(undefined);
const optionalMessage = z.object({ message: optionalString, param: optionalString, code: optionalString });
/** The forms of errors: OpenAI's, and those of Ollama, vLLM, and servers made with FastAPI. */
const errorBody = z.union([
  z.object({ error: optionalMessage }).transform(({ error }) => error),
  z.object({ error: z.string() }).transform(({ error }) => ({ message: error })),
  z.object({ message: z.string() }),
  z.object({ detail: z.string() }).transform(({ detail }) => ({ message: detail })),
]);

/** Finds the message in the body of an error. */
function parseError(text = ""): Partial<z.output<typeof optionalMessage>> {
  try {
    return errorBody.safeParse(JSON.parse(text)).data ?? {};
  } catch {
    return {};
  }
}

/** Reads `Retry-After`, which has seconds or a date. */
function parseRetryAfter(value: string | null): number | undefined {
  if (value === null) return undefined;
  const secs = /^\s*\d/.test(value) ? parseFloat(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isNaN(secs) ? undefined : Math.min(Math.max(Math.ceil(secs), 0), MAX_RETRY_SECS);
}
