/**
 * One end of an ACP connection: JSON-RPC 2.0, one message a line, over two byte streams. Lines are handled
 * synchronously and in order, so that an answer never overtakes the notifications before it.
 *
 * @module
 */

import { messageOf } from "../turn/failure.ts";
import { type LineReader, readLines } from "./lines.ts";
import { ClosedError, type Hide, RPC, RpcError, rpcErrorOf } from "./rpc.ts";

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
  notification(method: string, params: unknown): void;
  /**
   * A request. What it gives, or resolves to, is the answer; an {@linkcode RpcError} that it throws is the error
   * answered.
   * The signal aborts when the other end takes the request back (`$/cancel_request`) or the connection closes.
   */
  request(method: string, params: unknown, signal: AbortSignal): unknown;
  /** A line that is no JSON-RPC message: skipped, but said. */
  garbage(line: string, why: string): void;
}

/** The two streams of a connection. */
export interface PeerStreams {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}

/** A request on its way. */
export interface Pending {
  /** Resolves when the request was written, rejects when it could not be. */
  readonly sent: Promise<void>;
  /** Nobody wants the answer any more: one that still comes is skipped, and nothing is kept for it. */
  forget(): void;
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
export class Peer implements AsyncDisposable {
  /** Aborts when the connection is gone; the reason is a {@linkcode ClosedError}. */
  readonly closed: AbortSignal;

  readonly #handlers: PeerHandlers;
  readonly #hide: Hide;
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

  /** @param hide Takes secrets out of the errors that the other end answers. */
  constructor(streams: PeerStreams, handlers: PeerHandlers, hide: Hide = (text) => text) {
    this.#handlers = handlers;
    this.#hide = hide;
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
  call(method: string, params: unknown, settle: Settle): Pending {
    if (this.closed.aborted) {
      settle.reject(this.closed.reason);
      return { sent: Promise.reject(this.closed.reason), forget() {} };
    }
    if (this.#pending.size >= MAX_PENDING) {
      const error = new ClosedError("The other end does not answer: too many requests wait for it.");
      settle.reject(error);
      return { sent: Promise.reject(error), forget() {} };
    }
    const id = this.#nextId++;
    this.#pending.set(id, settle);
    const sent = this.#send({ jsonrpc: "2.0", id, method, params });
    // What was not sent is not answered.
    sent.catch((error: ClosedError) => {
      if (this.#pending.delete(id)) settle.reject(error);
    });
    return { sent, forget: () => void this.#pending.delete(id) };
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
      this.#handlers.garbage(line, "not JSON");
      return;
    }
    if (typeof message !== "object" || message === null || Array.isArray(message)) {
      this.#handlers.garbage(line, "not a JSON-RPC message");
    } else if (typeof message.method === "string") {
      if (message.id === undefined || message.id === null) this.#notified(message.method, message.params);
      else this.#asked(message.id, message.method, message.params);
    } else if (message.id !== undefined) {
      this.#answered(line, message);
    } else {
      this.#handlers.garbage(line, "neither a method nor an id");
    }
  }

  #notified(method: string, params: unknown): void {
    if (method === "$/cancel_request") {
      const id = (params as { requestId?: RequestId } | undefined)?.requestId;
      if (id !== undefined) this.#incoming.get(id)?.abort(new RpcError(RPC.cancelled, "Cancelled."));
      return;
    }
    this.#handlers.notification(method, params);
  }

  #asked(id: unknown, method: string, params: unknown): void {
    if (typeof id !== "string" && typeof id !== "number") {
      this.#handlers.garbage(method, "an id that is neither a string nor a number");
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
    Promise.try(() => this.#handlers.request(method, params, controller.signal)).then(
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
      this.#handlers.garbage(line, "an answer to nothing that was asked");
      return;
    }
    this.#pending.delete(message.id as RequestId);
    if (message.error === undefined || message.error === null) settle.resolve(message.result);
    else settle.reject(rpcErrorOf(message.error, this.#hide));
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
