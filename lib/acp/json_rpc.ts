/**
 * JSON-RPC 2.0 over two byte streams, one message a line, as ACP uses it. Lines are handled synchronously and in order,
 * so that an answer never overtakes the notifications before it.
 *
 * @module
 */

import { AppError, type ErrorReason, messageOf } from "../core/errors.ts";
import type { Redact } from "../core/redact.ts";
import { shapeFault } from "../http/json_body.ts";
import { truncate } from "../core/text.ts";
import { type LineReader, readLines } from "./ndjson.ts";
import { plainMessage } from "./provider_error.ts";

/** Longest accepted line, in characters. A longer one is skipped. */
const MAX_LINE_CHARS = 32 * 1024 * 1024;
const TOO_LONG = `longer than ${MAX_LINE_CHARS} characters`;
/** Values of a line, which are counted in lines of so many characters: to parse millions of them takes seconds. */
const MAX_LINE_VALUES = 200_000;
const COUNTED_CHARS = 256 * 1024;
/** Deepest nesting of such a line. */
const MAX_LINE_DEPTH = 1_000;
/** Characters that may wait to be written to a peer that does not read. */
const MAX_UNSENT_CHARS = 64 * 1024 * 1024;
/** Open requests of the peer. Further ones are answered with an error. */
const MAX_INCOMING = 1_000;
/** Own requests that wait for an answer. Further ones are rejected. */
const MAX_PENDING = 1_000;
/** Characters of an error's details that are shown. */
const MAX_DETAILS_CHARS = 500;
/** Characters of an error's message. */
const MAX_MESSAGE_CHARS = 2_000;

/** JSON-RPC and ACP error codes (ACP schema v1, `ErrorCode`). */
export const RPC = {
  methodNotFound: -32601,
  invalidParams: -32602,
  internalError: -32603,
  cancelled: -32800,
  authRequired: -32000,
  resourceNotFound: -32002,
} as const;

/** An error answer to a request, in either direction. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: number;
  readonly data: unknown;

  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.code = code;
    this.data = data;
  }
}

/** The connection is closed, by either end, or does not accept more messages. */
export class ClosedError extends Error {
  override readonly name = "ClosedError";
}

/** A request was not answered in time. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
}

/** Returns the reason of the {@linkcode AppError} that a failed request leads to. */
export function reasonOf(error: unknown): ErrorReason | undefined {
  if (error instanceof AppError) return error.reason;
  if (error instanceof ClosedError) return "exited";
  return error instanceof TimeoutError ? "timeout" : undefined;
}

/** Whether a request failed because it was not answered in time. */
export function isTimeout(error: unknown): boolean {
  return reasonOf(error) === "timeout";
}

/** Explains why a request failed, in the agent's words and with its details if it sent an error. */
export function explain(error: unknown): string {
  const message = messageOf(error);
  const details = error instanceof RpcError && typeof error.data === "string"
    ? error.data.slice(0, MAX_DETAILS_CHARS)
    : "";
  return message.includes(details) ? message : `${message}: ${details}`;
}

/** Handlers of the messages that a peer sends. */
export interface PeerHandlers {
  /** Handles a notification, synchronously and in order. Must not throw. */
  onNotification(method: string, params: unknown): void;
  /**
   * Handles a request. The returned or resolved value is the result; a thrown {@linkcode RpcError} is the error answer.
   *
   * @param signal Aborts when the peer cancels the request (`$/cancel_request`) or the connection closes.
   */
  onRequest(method: string, params: unknown, signal: AbortSignal): unknown;
  /** Reports a skipped line that is not a usable JSON-RPC message. A line that is too long is cut. */
  onInvalidLine(line: string, why: string): void;
}

/** The two byte streams of a connection. */
export interface PeerStreams {
  /** A stream of type `bytes`, as of a process. */
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}

/** Callbacks for the outcome of a request. Called at most once, before the next line is handled. */
export interface Settle {
  resolve(result: unknown): void;
  reject(error: Error): void;
}

type RequestId = string | number;
type Json = Readonly<Record<string, unknown>>;

const encoder = new TextEncoder();

/** One end of a connection. The protocol is the same for agent and client. */
export class JsonRpcPeer {
  /** Aborts when the connection closes. The reason is a {@linkcode ClosedError}. */
  readonly closed: AbortSignal;

  readonly #handlers: PeerHandlers;
  readonly #redact: Redact;
  readonly #reader: LineReader;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #closing = new AbortController();
  readonly #pending = new Map<RequestId, Settle>();
  readonly #incoming = new Map<RequestId, AbortController>();
  readonly #reading: Promise<void>;
  #nextId = 0;
  #unsent: string[] = [];
  #unsentChars = 0;
  #isInputEnded = false;
  /** Settles when the lines in `#unsent` are written. */
  #flush: Promise<void> | undefined;
  #writing: Promise<void> = Promise.resolve();

  /** @param redact Removes secrets from the errors that the peer answers with. */
  constructor(streams: PeerStreams, handlers: PeerHandlers, redact: Redact = (text) => text) {
    this.#handlers = handlers;
    this.#redact = redact;
    this.closed = this.#closing.signal;
    this.#writer = streams.writable.getWriter();
    this.#writer.closed.catch(() => {});
    this.#reader = readLines(
      streams.readable,
      (line, isCut) => isCut ? handlers.onInvalidLine(line, TOO_LONG) : this.#onLine(line),
      MAX_LINE_CHARS,
    );
    this.#reading = this.#reader.done.then(
      () => this.#close("The other end closed the connection."),
      (error) => this.#close(messageOf(error)),
    );
  }

  /**
   * Sends a request, and resolves to its result.
   *
   * @param options.timeoutMs Default: no time limit. A later answer is skipped.
   * @param options.read Parses the result, before the next line is handled.
   * @throws {RpcError} if the answer is an error. {@linkcode ClosedError} if the connection closes first.
   *   {@linkcode TimeoutError} after the time limit. Everything that `read` throws.
   */
  request<T = unknown>(
    method: string,
    params: unknown,
    { timeoutMs, read = (result) => result as T }: { timeoutMs?: number; read?: (result: unknown) => T } = {},
  ): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const { id } = this.#call(method, params, {
      resolve: (result) => resolve(Promise.try(read, result)),
      reject,
    });
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => {
      const message = `The agent did not answer ${method} within ${timeoutMs / 1000} seconds.`;
      this.#takePending(id)?.reject(new TimeoutError(message));
    }, timeoutMs);
    return promise.finally(() => clearTimeout(timer));
  }

  /** Sends a request without a time limit. Resolves when the request is written; rejects if it cannot be written. */
  call(method: string, params: unknown, settle: Settle): Promise<void> {
    return this.#call(method, params, settle).sent;
  }

  #call(method: string, params: unknown, settle: Settle): { id: RequestId; sent: Promise<void> } {
    const id = this.#nextId++;
    const sent = this.#pending.size < MAX_PENDING
      ? this.#send({ jsonrpc: "2.0", id, method, params })
      : Promise.reject(
        new ClosedError(`The other end does not answer: ${MAX_PENDING} requests wait for it.`),
      );
    this.#pending.set(id, settle);
    sent.catch((error) => this.#takePending(id)?.reject(error));
    return { id, sent };
  }

  /** Sends a notification. */
  notify(method: string, params: unknown): void {
    this.#send({ jsonrpc: "2.0", method, params });
  }

  /** Closes the peer's input once everything is written. Reading continues. */
  async endInput(): Promise<void> {
    this.#isInputEnded = true;
    try {
      await this.#flush;
      await this.#writer.close();
    } catch {
      // The stream is closed already.
    }
  }

  /** Closes the connection at once, and rejects the pending requests. */
  async close(why = "The connection was closed."): Promise<void> {
    this.#close(why);
    await this.#reader.cancel();
    await this.#reading;
  }

  #close(why: string): void {
    if (this.closed.aborted) return;
    const error = new ClosedError(why);
    this.#closing.abort(error);
    this.#writer.abort(error).catch(() => {});
    for (const id of this.#pending.keys()) this.#takePending(id)?.reject(error);
    for (const controller of this.#incoming.values()) controller.abort(error);
    this.#incoming.clear();
  }

  #takePending(id: unknown): Settle | undefined {
    const settle = this.#pending.get(id as RequestId);
    this.#pending.delete(id as RequestId);
    return settle;
  }

  #onLine(line: string): void {
    if (line.length === 0 || line === "\r") return;
    const fault = line.length < COUNTED_CHARS ? undefined : shapeFault(line, MAX_LINE_DEPTH, MAX_LINE_VALUES);
    if (fault !== undefined) return this.#handlers.onInvalidLine(line, fault);
    let message: Json;
    try {
      message = JSON.parse(line);
    } catch {
      return this.#handlers.onInvalidLine(line, "not JSON");
    }
    if (typeof message !== "object" || message === null || Array.isArray(message)) {
      this.#handlers.onInvalidLine(line, "not a JSON-RPC message");
    } else if (typeof message.method === "string") {
      if (message.id === undefined || message.id === null) {
        this.#onNotification(message.method, message.params);
      } else if (typeof message.id === "string" || typeof message.id === "number") {
        this.#onRequest(message.id, message.method, message.params);
      } else this.#handlers.onInvalidLine(line, "an id that is neither a string nor a number");
    } else if (message.id !== undefined) {
      this.#onAnswer(line, message);
    } else {
      this.#handlers.onInvalidLine(line, "neither a method nor an id");
    }
  }

  #onNotification(method: string, params: unknown): void {
    if (method !== "$/cancel_request") return this.#handlers.onNotification(method, params);
    const id = (params as { requestId?: RequestId } | undefined)?.requestId;
    if (id !== undefined) this.#incoming.get(id)?.abort(new RpcError(RPC.cancelled, "Cancelled."));
  }

  async #onRequest(id: RequestId, method: string, params: unknown): Promise<void> {
    if (this.#incoming.size >= MAX_INCOMING) {
      const error = { code: RPC.internalError, message: "Too many requests are open." };
      this.#send({ jsonrpc: "2.0", id, error });
      return;
    }
    const controller = new AbortController();
    this.#incoming.set(id, controller);
    let answer: { result: unknown } | { error: unknown };
    try {
      answer = { result: await this.#handlers.onRequest(method, params, controller.signal) ?? {} };
    } catch (error) {
      const { code = RPC.internalError, data } = error instanceof RpcError ? error : {};
      answer = { error: { code, message: messageOf(error), data } };
    }
    this.#incoming.delete(id);
    this.#send({ jsonrpc: "2.0", id, ...answer });
  }

  #onAnswer(line: string, { id, result, error }: Json): void {
    const settle = this.#takePending(id);
    if (settle === undefined) this.#handlers.onInvalidLine(line, "an answer to no pending request");
    else if (error === undefined || error === null) settle.resolve(result);
    else settle.reject(parseError(error, this.#redact));
  }

  /**
   * Queues a message. One write is in flight; later messages leave joined in the next one.
   *
   * @returns When the message is written. A rejection may be ignored.
   */
  #send(message: unknown): Promise<void> {
    const sent = this.#queue(JSON.stringify(message) + "\n");
    sent.catch(() => {});
    return sent;
  }

  async #queue(line: string): Promise<void> {
    if (this.closed.aborted) throw this.closed.reason;
    if (this.#isInputEnded) throw new ClosedError("The other end's input was closed.");
    if (this.#unsentChars + line.length > MAX_UNSENT_CHARS) {
      throw new ClosedError(`The other end does not read: ${this.#unsentChars} characters wait for it.`);
    }
    this.#unsent.push(line);
    this.#unsentChars += line.length;
    await (this.#flush ??= this.#writing = this.#writing.then(() => this.#write()));
  }

  async #write(): Promise<void> {
    const text = this.#unsent.join("");
    this.#unsent = [];
    this.#unsentChars = 0;
    this.#flush = undefined;
    try {
      await this.#writer.write(encoder.encode(text));
    } catch (error) {
      this.#close(messageOf(error));
      throw this.closed.reason;
    }
  }
}

/**
 * Reads the `error` of an answer, without secrets that it may repeat. Some agents put details into `data.details`,
 * codex into `data.message`.
 */
function parseError(error: unknown, redact: Redact): RpcError {
  const { code, message, data } = error as Json;
  const { details = undefined, message: reason = data } = (data ?? {}) as {
    details?: unknown;
    message?: unknown;
  };
  const plain = (text: string) => truncate(redact(plainMessage(text)), MAX_MESSAGE_CHARS);
  return new RpcError(
    typeof code === "number" ? code : RPC.internalError,
    plain(typeof message === "string" ? message : JSON.stringify(error)),
    [details, reason].filter((text) => typeof text === "string").map(plain)[0],
  );
}
