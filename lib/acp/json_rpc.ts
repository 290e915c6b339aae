/**
 * JSON-RPC 2.0 over two byte streams, one message a line, as ACP uses it: its errors, the connection, and a request with
 * a time limit. Lines are handled synchronously and in order, so that an answer never overtakes the notifications before
 * it. The meaning of methods and their parameters is not known here.
 *
 * @module
 */

import { AppError, type ErrorReason, messageOf } from "../core/errors.ts";
import type { Redact } from "../core/redact.ts";
import { type LineReader, readLines } from "./ndjson.ts";

/** Longest accepted line, in characters. A peer that sends a longer one is disconnected. */
const MAX_LINE_CHARS = 32 * 1024 * 1024;
/** Characters that may wait to be written to a peer that does not read. */
const MAX_UNSENT_CHARS = 64 * 1024 * 1024;
/** Open requests of the peer. Further ones are answered with an error. */
const MAX_INCOMING = 1_000;
/** Own requests that wait for an answer. Further ones are rejected. */
const MAX_PENDING = 1_000;
/** Characters of an error's details that are shown. */
const MAX_DETAILS_CHARS = 500;

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

  /** The message, with the details that some agents put into `data.details` or `data`. */
  get explanation(): string {
    const { data } = this;
    const details = typeof data === "object" && data !== null && "details" in data ? data.details : data;
    const text = typeof details === "string" ? details.slice(0, MAX_DETAILS_CHARS) : "";
    return text === "" || this.message.includes(text) ? this.message : `${this.message}: ${text}`;
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

/** Explains why a request failed, in the agent's words if it sent an error. */
export function explain(error: unknown): string {
  return error instanceof RpcError ? error.explanation : messageOf(error);
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
  /** Reports a skipped line that is not a usable JSON-RPC message. */
  onInvalidLine(line: string, why: string): void;
}

/** The two byte streams of a connection. */
export interface PeerStreams {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}

/** A request that waits for its answer. */
export interface PendingRequest {
  /** Resolves when the request is written. Rejects if it cannot be written. */
  readonly sent: Promise<void>;
  /** Stops waiting. A later answer is skipped. */
  discard(): void;
}

/** Callbacks for the outcome of a request. Called at most once, synchronously. */
interface Settle {
  resolve(result: unknown): void;
  reject(error: RpcError | ClosedError): void;
}

type RequestId = string | number;

interface Message {
  readonly id?: unknown;
  readonly method?: unknown;
  readonly params?: unknown;
  readonly result?: unknown;
  readonly error?: unknown;
}

const encoder = new TextEncoder();

/** One end of a connection. The protocol is the same for agent and client. */
export class JsonRpcPeer implements AsyncDisposable {
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
    this.#reader = readLines(streams.readable, (line) => this.#onLine(line), MAX_LINE_CHARS);
    this.#reading = this.#reader.done.then(
      () => this.#close("The other end closed the connection."),
      (error) => this.#close(messageOf(error)),
    );
  }

  /**
   * Sends a request without a time limit, and resolves to the unchecked result.
   *
   * @throws {RpcError} if the answer is an error. {@linkcode ClosedError} if the connection closes first.
   */
  request(method: string, params: unknown): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.call(method, params, { resolve, reject });
    return promise;
  }

  /** Sends a request. Calls `settle` in the order of the lines, before the next line is handled. */
  call(method: string, params: unknown, settle: Settle): PendingRequest {
    const refusal = this.closed.aborted
      ? this.closed.reason
      : this.#pending.size >= MAX_PENDING
      ? new ClosedError(`The other end does not answer: ${MAX_PENDING} requests wait for it.`)
      : undefined;
    if (refusal) {
      settle.reject(refusal);
      return { sent: rejected(refusal), discard() {} };
    }
    const id = this.#nextId++;
    this.#pending.set(id, settle);
    const sent = this.#send({ jsonrpc: "2.0", id, method, params });
    sent.catch((error: ClosedError) => {
      if (this.#pending.delete(id)) settle.reject(error);
    });
    return { sent, discard: () => void this.#pending.delete(id) };
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

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #close(why: string): void {
    if (this.closed.aborted) return;
    const error = new ClosedError(why);
    this.#closing.abort(error);
    this.#writer.abort(error).catch(() => {});
    for (const settle of this.#pending.values()) settle.reject(error);
    this.#pending.clear();
    for (const controller of this.#incoming.values()) controller.abort(error);
    this.#incoming.clear();
  }

  #onLine(line: string): void {
    if (line.length === 0 || line === "\r") return;
    let message: Message;
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
      } else this.#onRequest(line, message.id, message.method, message.params);
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

  #onRequest(line: string, id: unknown, method: string, params: unknown): void {
    if (typeof id !== "string" && typeof id !== "number") {
      return this.#handlers.onInvalidLine(line, "an id that is neither a string nor a number");
    }
    if (this.#incoming.size >= MAX_INCOMING) {
      const error = { code: RPC.internalError, message: "Too many requests are open." };
      this.#send({ jsonrpc: "2.0", id, error });
      return;
    }
    const controller = new AbortController();
    this.#incoming.set(id, controller);
    const answer = (body: { result: unknown } | { error: unknown }) => {
      this.#incoming.delete(id);
      this.#send({ jsonrpc: "2.0", id, ...body });
    };
    Promise.try(() => this.#handlers.onRequest(method, params, controller.signal)).then(
      (result) => answer({ result: result ?? {} }),
      (error) =>
        answer({
          error: error instanceof RpcError
            ? { code: error.code, message: error.message, data: error.data }
            : { code: RPC.internalError, message: messageOf(error) },
        }),
    );
  }

  #onAnswer(line: string, { id, result, error }: Message): void {
    const settle = this.#pending.get(id as RequestId);
    if (settle === undefined) return this.#handlers.onInvalidLine(line, "an answer to no pending request");
    this.#pending.delete(id as RequestId);
    if (error === undefined || error === null) settle.resolve(result);
    else settle.reject(parseError(error, this.#redact));
  }

  /**
   * Queues a message. One write is in flight; later messages leave joined in the next one.
   *
   * @returns When the message is written. A rejection may be ignored.
   */
  #send(message: unknown): Promise<void> {
    if (this.closed.aborted) return rejected(this.closed.reason);
    if (this.#isInputEnded) return rejected(new ClosedError("The other end's input was closed."));
    const line = JSON.stringify(message) + "\n";
    if (this.#unsentChars + line.length > MAX_UNSENT_CHARS) {
      return rejected(
        new ClosedError(`The other end does not read: ${this.#unsentChars} characters wait for it.`),
      );
    }
    this.#unsent.push(line);
    this.#unsentChars += line.length;
    if (this.#flush === undefined) {
      this.#flush = this.#writing = this.#writing.catch(() => {}).then(() => this.#write());
      this.#flush.catch(() => {});
    }
    return this.#flush;
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

/** A rejected promise whose rejection may be ignored. */
function rejected(error: unknown): Promise<never> {
  const promise = Promise.reject(error);
  promise.catch(() => {});
  return promise;
}

/** Reads the `error` of an answer, without secrets that it may repeat. */
function parseError(error: unknown, redact: Redact): RpcError {
  const { code, message, data } = error as Record<string, unknown>;
  return new RpcError(
    typeof code === "number" ? code : RPC.internalError,
    redact(typeof message === "string" ? message : JSON.stringify(error)),
    redactData(data, redact),
  );
}

function redactData(data: unknown, redact: Redact): unknown {
  if (data === undefined) return undefined;
  try {
    const text = JSON.stringify(data);
    return JSON.parse(text, (_key, value) => typeof value === "string" ? redact(value) : value);
  } catch {
    // The data is nested too deeply to be walked.
    return undefined;
  }
}

/** A request with a time limit. */
export interface JsonRpcRequest<T> {
  readonly method: string;
  readonly params: unknown;
  readonly timeoutMs: number;
  /** Parses the result, before the next line is handled. */
  read(result: unknown): T;
  /** Called with a result that arrives after the time limit. Without it, a late answer is skipped. */
  onLate?(result: unknown): void;
}

/**
 * Sends a request, and resolves to the parsed result.
 *
 * @throws {RpcError} if the answer is an error. {@linkcode ClosedError} if the connection closes first.
 *   {@linkcode TimeoutError} after the time limit. Everything that `read` throws.
 */
export function request<T>(
  peer: JsonRpcPeer,
  { method, params, timeoutMs, read, onLate }: JsonRpcRequest<T>,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    if (!onLate) pending.discard();
    reject(new TimeoutError(`The agent did not answer ${method} within ${timeoutMs / 1000} seconds.`));
  }, timeoutMs);
  const pending = peer.call(method, params, {
    resolve(result) {
      clearTimeout(timer);
      if (isLate) return onLate?.(result);
      try {
        resolve(read(result));
      } catch (error) {
        reject(error);
      }
    },
    reject(error) {
      clearTimeout(timer);
      reject(error);
    },
  });
  return promise;
}
