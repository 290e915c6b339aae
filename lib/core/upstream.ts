/** The client of an OpenAI-compatible server that the owner has configured: an upstream. @module */

import { z } from "zod";
import { AppError } from "./errors.ts";
import { startIdleTimer } from "./idle_timer.ts";
import { createRedactor, MIN_SECRET_CHARS, urlSecrets } from "./redact.ts";
import { spaceUnsafe } from "./unsafe_text.ts";

/** Longest time for an answer, in milliseconds. Node's `fetch` gives up on us after 300 seconds. */
const TIMEOUT_MS = 240_000;
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
  postJson(path: string, body: unknown, options: UpstreamRequestOptions): Promise<unknown>;
}

/**
 * Creates the client of an upstream. The key goes to the configured address only: redirects are not followed.
 *
 * @param name The table of the configuration file.
 * @param timeoutMs Replaces {@linkcode TIMEOUT_MS} in tests.
 */
export function createUpstream(
  name: string,
  config: UpstreamConfig,
  timeoutMs: number = TIMEOUT_MS,
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

  /** Posts a body, and reads the answer within the time limit. */
  async function post<T>(
    path: string,
    body: BodyInit,
    contentType: string,
    signal: AbortSignal,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    if (running >= MAX_RUNNING) {
      throw new AppError("rate_limit_exceeded", `${subject} has ${MAX_RUNNING} requests to answer already.`);
    }
    const headers = new Headers({ "content-type": contentType });
    if (key !== undefined) headers.set("authorization", `Bearer ${key}`);
    const timeout = new AbortController();
    using _timer = startIdleTimer(timeoutMs, () => timeout.abort());
    running++;
    try {
      const response = await fetch(joinUrl(baseUrl, path), {
        method: "POST",
        headers,
        body,
        redirect: "manual",
        signal: AbortSignal.any([signal, timeout.signal]),
      });
      if (!response.ok) throw await refusalOf(response, path);
      return await read(response);
    } catch (error) {
      if (error instanceof AppError) throw error;
      signal.throwIfAborted();
      if (!timeout.signal.aborted) throw unavailable("cannot be reached", error);
      throw new AppError("upstream_timeout", `${subject} did not answer within ${timeoutMs / 1000} seconds.`);
    } finally {
      running--;
    }
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
    postJson: (path, body, { signal, hold }) =>
      post(path, JSON.stringify(body), "application/json", signal, async (response) => {
        const text = await readText(response, MAX_ANSWER_BYTES, hold);
        if (text === undefined) {
          const limit = `${MAX_ANSWER_BYTES / 1024 ** 2} MiB`;
          throw new AppError(
            "body_too_large",
            `${subject} answers with more than ${limit}: ask for less at once.`,
          );
        }
        try {
          return JSON.parse(text);
        } catch {
          throw unavailable("does not answer with JSON");
        }
      }),
  };
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
