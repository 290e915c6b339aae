/** Clients that cost less than the programs they measure: HTTP/1.1 and WebSockets by hand over plain connections. @module */

import { MARK, type Order, PROMPT_MARK, stamp, STAMP_DIGITS } from "./agent.ts";

/** Bytes of earlier reads that stay in front of each read, so that a mark that was cut in two is found. */
const CARRY = 32;
const READ_BYTES = 32 * 1024;
const MARK_BYTE = MARK.charCodeAt(0);
const PROMPT_BYTE = PROMPT_MARK.charCodeAt(0);
const STAMP_RANGE = 10 ** STAMP_DIGITS;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** An {@linkcode Order} whose other numbers are 0. */
export type PartialOrder = Pick<Order, "tokens" | "everyMs"> & Partial<Order>;

/** Formats an order as the text of a message. */
export function orderText({ firstMs = 0, phase = 0, ...order }: PartialOrder): string {
  return JSON.stringify({ firstMs, phase, ...order } satisfies Order);
}

/** Receives the delays of stamped tokens, in microseconds. */
export interface DelayListener {
  /** From the agent's write of a token to its arrival here. */
  token(delay: number): void;
  /** From the request to the prompt's arrival at the agent, once a reply. */
  prompt?(delay: number): void;
}

async function connect(port: number): Promise<Deno.TcpConn> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  connection.setNoDelay(true);
  return connection;
}

function closeQuietly(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch {
    // The connection is already closed.
  }
}

/** The port of a program, and the key that it asks for. */
interface Address {
  readonly port: number;
  readonly authKey?: string | undefined;
}

/** One kept-alive connection, and the reply that arrives on it. */
export class ChatConnection implements Disposable {
  /** Tokens of the current reply. */
  tokens = 0;
  readonly #connection: Deno.TcpConn;
  /** The headers that every request has. */
  readonly #headers: string;
  readonly #listener: DelayListener | undefined;
  readonly #buffer = new Uint8Array(CARRY + READ_BYTES);
  readonly #space = this.#buffer.subarray(CARRY);
  #bodyBytes = 0;
  #hasEnded = false;
  #isComplete = false;
  #sentAt = 0;

  private constructor(connection: Deno.TcpConn, headers: string, listener: DelayListener | undefined) {
    this.#connection = connection;
    this.#headers = headers;
    this.#listener = listener;
  }

  static async open({ port, authKey }: Address, listener?: DelayListener): Promise<ChatConnection> {
    const key = authKey === undefined ? "" : `authorization: Bearer ${authKey}\r\n`;
    return new ChatConnection(await connect(port), `host: 127.0.0.1:${port}\r\n${key}`, listener);
  }

  /** Requests a stream, and reads its head. @throws {Error} if there is none. */
  async request(order: PartialOrder): Promise<void> {
    const messages = [{ role: "user", content: orderText(order) }];
    const body = JSON.stringify({ model: "bench", stream: true, messages });
    this.tokens = 0;
    this.#isComplete = this.#hasEnded = false;
    this.#bodyBytes = 0;
    this.#sentAt = stamp();
    await this.#connection.write(encoder.encode(
      `POST /v1/chat/completions HTTP/1.1\r\n${this.#headers}content-type: application/json\r\n` +
        `content-length: ${body.length}\r\n\r\n${body}`,
    ));
    await this.#readHead();
  }

  /** Reads until the reply has so many tokens or ends. */
  async readTokens(tokens: number): Promise<void> {
    while (this.tokens < tokens && !this.#hasEnded) this.#scan(CARRY, await this.#read());
  }

  /** Reads to the end of the reply. Returns whether it is complete, with so many tokens. */
  async finish(tokens: number): Promise<boolean> {
    await this.readTokens(Infinity);
    return this.#isComplete && this.tokens === tokens;
  }

  [Symbol.dispose](): void {
    closeQuietly(this.#connection);
  }

  /** Reads once; returns the end of the bytes in the buffer. */
  async #read(): Promise<number> {
    const bytes = await this.#connection.read(this.#space);
    if (bytes === null) throw new Error("the connection ended inside a reply");
    return CARRY + bytes;
  }

  async #readHead(): Promise<void> {
    let head = "";
    for (;;) {
      const end = await this.#read();
      const before = head.length;
      for (let i = CARRY; i < end; i++) head += String.fromCharCode(this.#buffer[i]!);
      const at = head.indexOf("\r\n\r\n");
      if (at < 0) continue;
      if (!head.startsWith("HTTP/1.1 200 ")) throw new Error(head.slice(0, head.indexOf("\r")));
      return this.#scan(CARRY + at + 4 - before, end);
    }
  }

  #scan(from: number, end: number): void {
    const buffer = this.#buffer;
    for (let i = from; i < end; i++) {
      if (buffer[i] !== MARK_BYTE) continue;
      this.tokens++;
      if (this.#listener) this.#reportDelays(this.#listener, i + 1, end);
    }
    this.#bodyBytes += end - from;
    // The last chunk of a body ends with two line ends.
    this.#hasEnded = this.#bodyBytes > 4 && buffer[end - 1] === 10 && buffer[end - 2] === 13 &&
      buffer[end - 3] === 10 && buffer[end - 4] === 13;
    buffer.copyWithin(0, end - CARRY, end);
    if (this.#hasEnded) {
      this.#isComplete = decoder.decode(buffer.subarray(0, CARRY)).includes("data: [DONE]\n\n");
    }
  }

  #reportDelays(listener: DelayListener, at: number, end: number): void {
    const now = stamp();
    const writtenAt = parseStamp(this.#buffer, at, end);
    if (!Number.isNaN(writtenAt)) listener.token(elapsed(writtenAt, now));
    if (listener.prompt === undefined || this.#buffer[at + STAMP_DIGITS] !== PROMPT_BYTE) return;
    const promptAt = parseStamp(this.#buffer, at + STAMP_DIGITS + 1, end);
    if (!Number.isNaN(promptAt)) listener.prompt(elapsed(this.#sentAt, promptAt));
  }
}

/** Parses a stamp. NaN if the end of a read cuts it off, which is rare enough to be left out. */
function parseStamp(buffer: Uint8Array, at: number, end: number): number {
  if (at + STAMP_DIGITS > end) return NaN;
  let value = 0;
  for (let i = at; i < at + STAMP_DIGITS; i++) value = value * 10 + buffer[i]! - 48;
  return value;
}

/** Returns the microseconds between two stamps. */
function elapsed(earlier: number, later: number): number {
  const micros = later - earlier;
  // The clocks of two processes may differ by some microseconds; a larger negative value means that stamps restarted.
  return micros < -STAMP_RANGE / 2 ? micros + STAMP_RANGE : micros;
}

/** A frame is `{"type":"agent_state",...`: the position of the type, and its first letter. */
const TYPE_AT = 9;
const STATE_BYTE = "a".charCodeAt(0);
/** First bytes of WebSocket messages. */
const TEXT = 0x81;
const PING = 0x89;
const PONG = 0x8a;
const MASKED = 0x80;
const LENGTH_IN_TWO_BYTES = 126;
/** Connections that are opened at once. */
const BATCH = 50;
/** Longest time until all are subscribed. */
const OPEN_MS = 15_000;

/** Frames that the watchers of a program got, except `idle`, which the server sends some time after a turn. */
export interface FrameCount {
  frames: number;
  /** Arrival of the first and last frame, in milliseconds of this process's clock. */
  firstAt: number;
  lastAt: number;
}

/** Watchers of one program. */
export class Watchers implements Disposable {
  /** Frames since {@linkcode Watchers.reset}. */
  count: FrameCount = { frames: 0, firstAt: 0, lastAt: 0 };
  readonly #onDelay: ((micros: number) => void) | undefined;
  readonly #sockets: EventSocket[] = [];
  #subscribed = 0;
  #ended = 0;
  #lost = 0;
  #onChange = () => {};

  private constructor(onDelay?: (micros: number) => void) {
    this.#onDelay = onDelay;
  }

  /**
   * Connects watchers that subscribe to all events.
   *
   * @param onDelay Gets the microseconds from the agent's write of a stamped frame to its arrival.
   * @throws {Error} if one cannot.
   */
  static async open(port: number, count: number, onDelay?: (micros: number) => void): Promise<Watchers> {
    const watchers = new Watchers(onDelay);
    try {
      for (let left = count; left > 0; left -= BATCH) {
        await Promise.all(Array.from({ length: Math.min(BATCH, left) }, () => watchers.#add(port)));
      }
      if (!await watchers.#until(() => watchers.#subscribed === count, OPEN_MS)) {
        throw new Error("a watcher could not subscribe");
      }
      return watchers;
    } catch (error) {
      watchers[Symbol.dispose]();
      throw error;
    }
  }

  reset(): void {
    this.count = { frames: 0, firstAt: 0, lastAt: 0 };
    this.#ended = 0;
  }

  /** Resolves when all have got the end of a turn; to false if some have not within this time. */
  turnEnded(limitMs: number): Promise<boolean> {
    return this.#until(() => this.#ended === this.#sockets.length, limitMs);
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.close();
  }

  async #add(port: number): Promise<void> {
    const socket = await EventSocket.open(port);
    this.#sockets.push(socket);
    socket.read({
      subscribed: () => {
        this.#subscribed++;
        this.#onChange();
      },
      frame: (buffer, from, end, now) => this.#onFrame(buffer, from, end, now),
    }).catch(() => {
      this.#lost++;
      this.#onChange();
    });
  }

  #onFrame(buffer: Uint8Array, from: number, end: number, now: number): void {
    const isState = buffer[from + TYPE_AT] === STATE_BYTE;
    const text = isState ? decoder.decode(buffer.subarray(from, end)) : "";
    if (isState && text.includes('"state":"idle"')) return;
    const { count } = this;
    count.frames++;
    count.lastAt = performance.now();
    if (count.frames === 1) count.firstAt = count.lastAt;
    if (this.#onDelay) {
      const mark = buffer.subarray(from, end).indexOf(MARK_BYTE);
      const writtenAt = mark < 0 ? NaN : parseStamp(buffer, from + mark + 1, end);
      if (!Number.isNaN(writtenAt)) this.#onDelay(elapsed(writtenAt, now));
    }
    if (!isState || !text.includes('"state":"attention"')) return;
    this.#ended++;
    this.#onChange();
  }

  #until(isReached: () => boolean, limitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(isReached()), limitMs);
      this.#onChange = () => {
        if (!isReached() && this.#lost === 0) return;
        clearTimeout(timer);
        resolve(isReached());
      };
      this.#onChange();
    });
  }
}

interface SocketListener {
  subscribed(): void;
  /** A frame between two positions of the buffer, which was read at this {@linkcode stamp}. */
  frame(buffer: Uint8Array, from: number, end: number, now: number): void;
}

class EventSocket {
  readonly #connection: Deno.TcpConn;
  readonly #buffer = new Uint8Array(READ_BYTES / 2);
  /** Bytes of the buffer that are read but not yet parsed. */
  #length = 0;
  #isSubscribed = false;

  private constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
  }

  static async open(port: number): Promise<EventSocket> {
    const socket = new EventSocket(await connect(port));
    await socket.#connection.write(encoder.encode(
      `GET /v1/vtuber/ws HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nupgrade: websocket\r\nconnection: upgrade\r\n` +
        "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    ));
    await socket.#readHead();
    await socket.#send(TEXT, '{"type":"subscribe","events":["*","say"]}');
    return socket;
  }

  /** Reads until the connection ends, and then rejects. */
  async read(listener: SocketListener): Promise<never> {
    for (;;) {
      this.#parse(listener, stamp());
      await this.#fill();
    }
  }

  close(): void {
    closeQuietly(this.#connection);
  }

  async #fill(): Promise<void> {
    const bytes = await this.#connection.read(this.#buffer.subarray(this.#length));
    if (bytes === null) throw new Error("the connection ended");
    this.#length += bytes;
  }

  async #readHead(): Promise<void> {
    for (;;) {
      await this.#fill();
      const text = decoder.decode(this.#buffer.subarray(0, this.#length));
      const end = text.indexOf("\r\n\r\n");
      if (end < 0) continue;
      if (!text.startsWith("HTTP/1.1 101 ")) throw new Error(text.slice(0, text.indexOf("\r")));
      return this.#discard(end + 4);
    }
  }

  #parse(listener: SocketListener, now: number): void {
    const buffer = this.#buffer;
    let at = 0;
    for (;;) {
      let from = at + 2;
      let length = buffer[at + 1]!;
      if (length === LENGTH_IN_TWO_BYTES) {
        length = buffer[at + 2]! << 8 | buffer[at + 3]!;
        from += 2;
      }
      const end = from + length;
      if (from > this.#length || end > this.#length) break;
      this.#onMessage(listener, buffer[at]!, from, end, now);
      at = end;
    }
    this.#discard(at);
  }

  #onMessage(listener: SocketListener, kind: number, from: number, end: number, now: number): void {
    if (kind === PING) return void this.#send(PONG, "").catch(() => {});
    if (kind !== TEXT) return;
    if (this.#isSubscribed) return listener.frame(this.#buffer, from, end, now);
    const text = decoder.decode(this.#buffer.subarray(from, end));
    this.#isSubscribed = text.startsWith('{"type":"subscribed"');
    if (this.#isSubscribed) listener.subscribed();
  }

  #discard(bytes: number): void {
    if (bytes === 0) return;
    this.#buffer.copyWithin(0, bytes, this.#length);
    this.#length -= bytes;
  }

  /** Sends a short message, masked with zeros. */
  async #send(kind: number, text: string): Promise<void> {
    const payload = encoder.encode(text);
    await this.#connection.write(new Uint8Array([kind, MASKED | payload.length, 0, 0, 0, 0, ...payload]));
  }
}
