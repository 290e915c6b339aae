/**
 * One end of an ACP connection: JSON-RPC 2.0, one message a line, over two byte streams. Lines are handled
 * synchronously and in order, so that an answer never overtakes the notifications before it.
 *
 * @module
 */

import { AppError, type ErrorReason, messageOf } from "../core/errors.ts";
import type { Redact } from "../core/redact.ts";
import { type LineReader, readLines } from "./ndjson.ts";

/** Characters of a line that is accepted: an agent that sends more is cut off. */
export const MAX_LINE_CHARS = 32 * 1024 * 1024;
/** Characters that may wait for a peer that does not read. */
const MAX_UNSENT_CHARS = 64 * 1024 * 1024;

/** Requests of the other end that may be open at once; beyond it they are answered with an error. */
const MAX_INCOMING = 1_000;

/** Requests that may wait for an answer at once; beyond it nothing more is asked. */
const MAX_PENDING = 1_000;

/** What a peer does with what comes in. */
export interface PeerHandlers {
  /** A notification. Called synchronously, in order; it must not throw. */
  onNotification(method: string, params: unknown): void;
  /**
   * A request. What it gives, or resolves to, is the answer; an {@linkcode RpcError} that it throws is the error
   * answered.
   * The signal aborts when the other end takes the request back (`$/cancel_request`) or the connection closes.
   */
  onRequest(method: string, params: unknown, signal: AbortSignal): unknown;
  /** A line that is no JSON-RPC message: skipped, but said. */
  onInvalidLine(line: string, why: string): void;
}

/** The two streams of a connection. */
export interface PeerStreams {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}

/** A request on its way. */
export interface PendingRequest {
  /** Resolves when the request was written, rejects when it could not be. */
  readonly sent: Promise<void>;
  /** Nobody wants the answer any more: one that still comes is skipped, and nothing is kept for it. */
  discard(): void;
}

type RequestId = string | number;
interface Settle {
  resolve(result: unknown): void;
  reject(error: RpcError | ClosedError): void;
}
interface Message {
  id?: unknown;
  method?: unknown;
  params?: unknown;
  result?: unknown;
  error?: unknown;
}

const encoder = new TextEncoder();

/** A connection to an agent, or to a client: the protocol is the same both ways. */
export class JsonRpcPeer implements AsyncDisposable {
  /** Aborts when the connection is gone; the reason is a {@linkcode ClosedError}. */
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
  #inputEnded = false;
  /** Settles when what is in `#unsent` was written. */
  #flush: Promise<void> | undefined;
  #writing: Promise<void> = Promise.resolve();

  /** @param redact Takes secrets out of the errors that the other end answers. */
  constructor(streams: PeerStreams, handlers: PeerHandlers, redact: Redact = (text) => text) {
    this.#handlers = handlers;
    this.#redact = redact;
    this.closed = this.#closing.signal;
    this.#writer = streams.writable.getWriter();
    this.#writer.closed.catch(() => {});
    this.#reader = readLines(streams.readable, (line) => this.#line(line), MAX_LINE_CHARS);
    this.#reading = this.#reader.done.then(
      () => this.#close("The other end closed the connection."),
      (error) => this.#close(messageOf(error)),
    );
  }

  /**
   * Asks, and resolves to the answer as it came, unchecked.
   *
   * @throws {RpcError} if the answer is an error; {@linkcode ClosedError} if the connection goes first.
   */
  request(method: string, params: unknown): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.call(method, params, { resolve, reject }).sent.catch(() => {});
    return promise;
  }

  /** Asks, and calls `settle` synchronously, in the order of the lines, when the answer comes. */
  call(method: string, params: unknown, settle: Settle): PendingRequest {
    if (this.closed.aborted) {
      settle.reject(this.closed.reason);
      return { sent: Promise.reject(this.closed.reason), discard() {} };
    }
    if (this.#pending.size >= MAX_PENDING) {
      const error = new ClosedError("The other end does not answer: too many requests wait for it.");
      settle.reject(error);
      return { sent: Promise.reject(error), discard() {} };
    }
    const id = this.#nextId++;
    this.#pending.set(id, settle);
    const sent = this.#send({ jsonrpc: "2.0", id, method, params });
    // What was not sent is not answered.
    sent.catch((error: ClosedError) => {
      if (this.#pending.delete(id)) settle.reject(error);
    });
    return { sent, discard: () => void this.#pending.delete(id) };
  }

  /** Tells, without an answer. */
  notify(method: string, params: unknown): void {
    this.#send({ jsonrpc: "2.0", method, params }).catch(() => {});
  }

  /** Ends what is written, once it was: the other end reads the end of its input. Reading goes on. */
  async endInput(): Promise<void> {
    this.#inputEnded = true;
    try {
      await this.#flush;
      await this.#writer.close();
    } catch {
      // It is gone already.
    }
  }

  /** Closes the connection at once; what waits for an answer is rejected. */
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

  #line(line: string): void {
    if (line.length === 0 || line === "\r") return;
    let message: Message;
    try {
      message = JSON.parse(line);
    } catch {
      this.#handlers.onInvalidLine(line, "not JSON");
      return;
    }
    if (typeof message !== "object" || message === null || Array.isArray(message)) {
      this.#handlers.onInvalidLine(line, "not a JSON-RPC message");
    } else if (typeof message.method === "string") {
      if (message.id === undefined || message.id === null) this.#notified(message.method, message.params);
      else this.#asked(message.id, message.method, message.params);
    } else if (message.id !== undefined) {
      this.#answered(line, message);
    } else {
      this.#handlers.onInvalidLine(line, "neither a method nor an id");
    }
  }

  #notified(method: string, params: unknown): void {
    if (method === "$/cancel_request") {
      const id = (params as { requestId?: RequestId } | undefined)?.requestId;
      if (id !== undefined) this.#incoming.get(id)?.abort(new RpcError(RPC.cancelled, "Cancelled."));
      return;
    }
    this.#handlers.onNotification(method, params);
  }

  #asked(id: unknown, method: string, params: unknown): void {
    if (typeof id !== "string" && typeof id !== "number") {
      this.#handlers.onInvalidLine(method, "an id that is neither a string nor a number");
      return;
    }
    const controller = new AbortController();
    if (this.#incoming.size >= MAX_INCOMING) {
      const error = { code: RPC.internalError, message: "Too many requests are open." };
      this.#send({ jsonrpc: "2.0", id, error }).catch(() => {});
      return;
    }
    this.#incoming.set(id, controller);
    const answer = (body: { result: unknown } | { error: unknown }) => {
      this.#incoming.delete(id);
      this.#send({ jsonrpc: "2.0", id, ...body }).catch(() => {});
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

  #answered(line: string, message: Message): void {
    const settle = this.#pending.get(message.id as RequestId);
    if (settle === undefined) {
      this.#handlers.onInvalidLine(line, "an answer to nothing that was asked");
      return;
    }
    this.#pending.delete(message.id as RequestId);
    if (message.error === undefined || message.error === null) settle.resolve(message.result);
    else settle.reject(rpcErrorOf(message.error, this.#redact));
  }

  /** Queues a line. One write is in flight; what comes meanwhile goes out joined, with the next. */
  #send(message: unknown): Promise<void> {
    if (this.closed.aborted) return Promise.reject(this.closed.reason);
    if (this.#inputEnded) return Promise.reject(new ClosedError("Nothing more is said to the other end."));
    const line = JSON.stringify(message) + "\n";
    if (this.#unsentChars + line.length > MAX_UNSENT_CHARS) {
      return Promise.reject(new ClosedError("The other end does not read: too much is waiting for it."));
    }
    this.#unsent.push(line);
    this.#unsentChars += line.length;
    this.#flush ??= this.#writing = this.#writing.catch(() => {}).then(() => this.#write());
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

/** Characters of an error's details that are told on. */
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

/** The other end answered with an error, or could not be asked. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: number;
  readonly data: unknown;

  constructor(code: number, message: string, data?: unknown) {
    super(message);
    this.code = code;
    this.data = data;
  }

  /** The message, with the details that some agents put beside it (`data.details`, or `data` itself). */
  get explanation(): string {
    const details = detailsOf(this.data);
    const more = typeof details === "string" ? details.slice(0, MAX_DETAILS_CHARS) : "";
    return more === "" || this.message.includes(more) ? this.message : `${this.message}: ${more}`;
  }
}

/** The connection is gone: the other end closed it, or it was closed here. */
export class ClosedError extends Error {
  override readonly name = "ClosedError";
}

/** The `error` of an answer, without the secrets that it may repeat. */
export function rpcErrorOf(error: unknown, redact: Redact): RpcError {
  const { code, message, data } = error as Record<string, unknown>;
  return new RpcError(
    typeof code === "number" ? code : RPC.internalError,
    redact(typeof message === "string" ? message : JSON.stringify(error)),
    dataWithout(redact, data),
  );
}

function dataWithout(redact: Redact, data: unknown): unknown {
  if (typeof data === "string") return redact(data);
  if (typeof data !== "object" || data === null) return data;
  try {
    return JSON.parse(
      JSON.stringify(data),
      (_key, value) => typeof value === "string" ? redact(value) : value,
    );
  } catch {
    // It is nested too deep to be looked through.
    return undefined;
  }
}

function detailsOf(data: unknown): unknown {
  return typeof data === "object" && data !== null && "details" in data ? data.details : data;
}

/** What an answer is turned into. */
export interface JsonRpcRequest<T> {
  readonly method: string;
  readonly params: unknown;
  /** How long the answer is waited for, in milliseconds. */
  readonly timeoutMs: number;
  /** Called with the answer as it comes, before anything that the agent says behind it. */
  read(result: unknown): T;
  /** Called with an answer that comes too late; without it, nothing is kept for such an answer. */
  onLate?(result: unknown): void;
}

/** No answer came in time. */
export class TimeoutError extends Error {
  override readonly name = "LateError";
}

/**
 * Asks, and resolves to what was read.
 *
 * @throws What `read` throws, {@linkcode RpcError} or `ClosedError` as the peer's requests do, or
 *   {@linkcode TimeoutError}.
 */
export function request<T>(
  peer: JsonRpcPeer,
  { method, params, timeoutMs: ms, read, onLate: late }: JsonRpcRequest<T>,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    if (!late) asked.discard();
    reject(new TimeoutError(`The agent did not answer ${method} within ${ms / 1000} seconds.`));
  }, ms);
  const asked = peer.call(method, params, {
    resolve(result) {
      clearTimeout(timer);
      if (isLate) return late?.(result);
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
  asked.sent.catch(() => {});
  return promise;
}

/** Whether it failed because no answer came in time: asked once more, the agent would let it wait as long. */
export function isTimeout(error: unknown): boolean {
  return error instanceof TimeoutError || error instanceof AppError && error.cause instanceof TimeoutError;
}

/** The reason of the {@linkcode AppError} that a failed request leads to. */
export function reasonOf(error: unknown): ErrorReason | undefined {
  if (error instanceof AppError) return error.reason;
  if (error instanceof ClosedError) return "exited";
  return error instanceof TimeoutError ? "timeout" : undefined;
}

/** Why a request failed, in the agent's words where it has some. */
export function explain(error: unknown): string {
  return error instanceof RpcError ? error.explanation : messageOf(error);
}
