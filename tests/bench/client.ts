/** A client that costs less than what it measures: HTTP/1.1 by hand over one kept-alive connection. @module */

import { ASKED_MARK, MARK, type Order, stamp, STAMP_DIGITS } from "./agent.ts";

/** Bytes of the reads before that are kept in front of each read, so that what was cut in two is found. */
const CARRY = 32;
const READ_BYTES = 32 * 1024;
const MARK_BYTE = MARK.charCodeAt(0);
const ASKED_BYTE = ASKED_MARK.charCodeAt(0);
const STAMP_RANGE = 10 ** STAMP_DIGITS;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** An {@linkcode Order}; the rest is 0. */
export type Ask = Pick<Order, "tokens" | "everyMs"> & Partial<Order>;

/** Hears of each stamped token, in microseconds. */
export interface Listener {
  /** How long it took from the agent's write to here. */
  token(delay: number): void;
  /** When the prompt reached the agent, after it was sent from here; told once an answer. */
  asked?(delay: number): void;
}

/** One connection, and the answer that comes over it. */
export class Client implements Disposable {
  /** Tokens of this answer. */
  tokens = 0;
  /** Whether the answer has come to its end, with all that belongs to it. */
  complete = false;

  readonly #connection: Deno.TcpConn;
  readonly #port: number;
  readonly #listener: Listener | undefined;
  readonly #buffer = new Uint8Array(CARRY + READ_BYTES);
  readonly #space = this.#buffer.subarray(CARRY);
  #bodyBytes = 0;
  #ended = false;
  #sentAt = 0;

  private constructor(connection: Deno.TcpConn, port: number, listener: Listener | undefined) {
    this.#connection = connection;
    this.#port = port;
    this.#listener = listener;
  }

  /** Connects to a port of this machine. */
  static async connect(port: number, listener?: Listener): Promise<Client> {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port });
    connection.setNoDelay(true);
    return new Client(connection, port, listener);
  }

  /** Asks for a streamed answer; resolves when its head is here. @throws {Error} if it is not a stream. */
  async ask({ firstMs = 0, phase = 0, ...order }: Ask): Promise<void> {
    const content = JSON.stringify({ firstMs, phase, ...order } satisfies Order);
    const body = JSON.stringify({ model: "bench", stream: true, messages: [{ role: "user", content }] });
    this.tokens = 0;
    this.complete = false;
    this.#bodyBytes = 0;
    this.#ended = false;
    this.#sentAt = stamp();
    await this.#connection.write(encoder.encode(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:${this.#port}\r\ncontent-type: application/json\r\n` +
        `content-length: ${body.length}\r\n\r\n${body}`,
    ));
    await this.#head();
  }

  /** Reads until the answer has so many tokens, or ends. */
  async until(tokens: number): Promise<void> {
    while (this.tokens < tokens && !this.#ended) this.#scan(CARRY, await this.#read());
  }

  /** Reads to the end of the answer; whether it is all there, with so many tokens. */
  async finish(tokens: number): Promise<boolean> {
    await this.until(Infinity);
    return this.complete && this.tokens === tokens;
  }

  /** Hangs up. */
  close(): void {
    try {
      this.#connection.close();
    } catch {
      // It is closed already.
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Reads once; the end of what was read, in the buffer. */
  async #read(): Promise<number> {
    const bytes = await this.#connection.read(this.#space);
    if (bytes === null) throw new Error("the connection ended in the middle of an answer");
    return CARRY + bytes;
  }

  async #head(): Promise<void> {
    let head = "";
    for (;;) {
      const end = await this.#read();
      const before = head.length;
      for (let i = CARRY; i < end; i++) head += String.fromCharCode(this.#buffer[i]!);
      const at = head.indexOf("\r\n\r\n");
      if (at < 0) continue;
      if (!head.startsWith("HTTP/1.1 200 ")) throw new Error(head.slice(0, head.indexOf("\r")));
      this.#scan(CARRY + at + 4 - before, end);
      return;
    }
  }

  #scan(from: number, end: number): void {
    const buffer = this.#buffer;
    for (let i = from; i < end; i++) {
      if (buffer[i] !== MARK_BYTE) continue;
      this.tokens++;
      if (this.#listener) this.#hear(this.#listener, i + 1, end);
    }
    this.#bodyBytes += end - from;
    // The last chunk of the body: `0`, and two line ends.
    this.#ended = this.#bodyBytes > 4 && buffer[end - 1] === 10 && buffer[end - 2] === 13 &&
      buffer[end - 3] === 10 && buffer[end - 4] === 13;
    buffer.copyWithin(0, end - CARRY, end);
    if (this.#ended) this.complete = decoder.decode(buffer.subarray(0, CARRY)).includes("data: [DONE]\n\n");
  }

  #hear(listener: Listener, at: number, end: number): void {
    const now = stamp();
    const written = stampAt(this.#buffer, at, end);
    if (!Number.isNaN(written)) listener.token(since(written, now));
    if (listener.asked === undefined || this.#buffer[at + STAMP_DIGITS] !== ASKED_BYTE) return;
    const asked = stampAt(this.#buffer, at + STAMP_DIGITS + 1, end);
    if (!Number.isNaN(asked)) listener.asked(since(this.#sentAt, asked));
  }
}

/** The stamp at this place. NaN for one that is cut off by the end of a read: seldom enough to be left out. */
export function stampAt(buffer: Uint8Array, at: number, end: number): number {
  if (at + STAMP_DIGITS > end) return NaN;
  let value = 0;
  for (let i = at; i < at + STAMP_DIGITS; i++) value = value * 10 + buffer[i]! - 48;
  return value;
}

/** Microseconds from one stamp to another. */
export function since(earlier: number, later: number): number {
  const passed = later - earlier;
  // Clocks of two processes may differ by some microseconds; beyond that the stamp began anew.
  return passed < -STAMP_RANGE / 2 ? passed + STAMP_RANGE : passed;
}
