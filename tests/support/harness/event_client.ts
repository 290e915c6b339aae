/** A client of the event channel for tests: keeps what it was told, and waits for what is to come. */

import type { Server } from "./server_process.ts";

/** What a watcher is told. */
// deno-lint-ignore no-explicit-any
export type Frame = { readonly type: string; readonly ts: number; readonly [name: string]: any };

/** How a watcher connects. */
export interface WatchOptions {
  /** Path and query; `/v1/vtuber/ws` without it. */
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly protocols?: readonly string[];
  /** Subscribes to these, and waits until that is confirmed. */
  readonly events?: readonly string[];
}

/** Longest wait for a frame or an end, in milliseconds: a test that waits for nothing must say so. */
const PATIENCE_MS = 120_000;

/** Connects over a WebSocket, and waits for what it is told first. Rejects if the handshake is refused. */
export async function watch(server: Pick<Server, "url">, options: WatchOptions = {}): Promise<Watcher> {
  const { path = "/v1/vtuber/ws", headers = {}, protocols = [], events } = options;
  const socket = new WebSocket(server.url.replace("http", "ws") + path, {
    headers: { ...headers },
    protocols: [...protocols],
  });
  const watcher = new Watcher(socket);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.onopen = () => resolve();
  socket.onerror = (event) => reject(new Error((event as ErrorEvent).message));
  await promise;
  await watcher.first("agent_state");
  if (events) await watcher.subscribe(events);
  return watcher;
}

/** A WebSocket that is watched. */
export class Watcher implements AsyncDisposable {
  /** What it was told so far, from the first frame. */
  readonly frames: Frame[] = [];
  /** How the connection ended, once it has. */
  readonly closed: Promise<CloseEvent>;
  readonly #socket: WebSocket;
  readonly #news = new News();
  #over = false;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    const { promise, resolve } = Promise.withResolvers<CloseEvent>();
    this.closed = promise;
    socket.onmessage = ({ data }) => {
      this.frames.push(JSON.parse(data));
      this.#news.tell();
    };
    socket.onclose = (event) => {
      this.#over = true;
      this.#news.tell();
      resolve(event);
    };
  }

  /** The subprotocol that the server chose. */
  get protocol(): string {
    return this.#socket.protocol;
  }

  /** Sends a command; text and bytes go out as they are. */
  send(command: unknown): void {
    const asItIs = typeof command === "string" || command instanceof Uint8Array;
    this.#socket.send(asItIs ? command as string : JSON.stringify(command));
  }

  /** Sends a command and resolves to the next frame of this type. */
  async ask(command: unknown, type: string): Promise<Frame> {
    const from = this.frames.length;
    this.send(command);
    return await this.first(type, () => true, from);
  }

  /** Hears these from now on; resolves to those that the server knows. */
  async subscribe(events: readonly string[]): Promise<string[]> {
    return (await this.ask({ type: "subscribe", events }, "subscribed")).events;
  }

  /** Resolves to what `find` makes of the frames, once it makes something of them. */
  async until<T>(find: (frames: readonly Frame[]) => T | undefined | false): Promise<T> {
    for (;;) {
      const found = find(this.frames);
      if (found !== undefined && found !== false) return found as T;
      if (this.#over) throw new Error(`The connection ended after:\n${this.#told()}`);
      await this.#news.next(() => `That did not come. What came:\n${this.#told()}`);
    }
  }

  /** Resolves to the first frame of this type that fits, from this index on. */
  first(type: string, fits: (frame: Frame) => boolean = () => true, from = 0): Promise<Frame> {
    // Each frame is looked at once: who reads slowly is told less.
    let at = from;
    return this.until((frames) => {
      while (at < frames.length) {
        const frame = frames[at++]!;
        if (frame.type === type && fits(frame)) return frame;
      }
    });
  }

  /** Resolves to the first `agent_state` with this state, from this index on. */
  state(state: string, from = 0): Promise<Frame> {
    return this.first("agent_state", (frame) => frame.state === state, from);
  }

  /** Resolves once everything that was sent to it before has come: a ping is answered in order. */
  async settled(): Promise<void> {
    await this.ask({ type: "ping" }, "pong");
  }

  /** Resolves once the turn has come to rest, to its frames in order; those of this session if one is named. */
  async turn(session?: string): Promise<Frame[]> {
    return await this.until((frames) => {
      const mine = frames.filter(({ session_id, turn_id }) =>
        turn_id && (session === undefined || session_id === session)
      );
      return mine.at(-1)?.state === "idle" && mine;
    });
  }

  /** The frames of this type so far. */
  of(type: string): Frame[] {
    return this.frames.filter((frame) => frame.type === type);
  }

  /** The states so far, in order. */
  get states(): string[] {
    return this.of("agent_state").map(({ state }) => state);
  }

  /** Leaves. */
  async close(): Promise<void> {
    if (!this.#over) this.#socket.close();
    await patiently(this.closed, () => "The connection did not end.");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #told(): string {
    return this.frames.slice(-50).map((frame) => JSON.stringify(frame)).join("\n");
  }
}

/** The events as server-sent events; otherwise as {@linkcode Watcher}. */
export class Listener implements AsyncDisposable {
  readonly frames: Frame[] = [];
  /** What is no data line: comments, and lines that should not be there. */
  readonly others: string[] = [];
  readonly response: Response;
  readonly #news = new News();
  readonly #reader: ReadableStreamDefaultReader<string>;
  readonly #done: Promise<void>;
  #over = false;

  private constructor(response: Response) {
    this.response = response;
    this.#reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    this.#done = this.#read();
  }

  /** Connects; `query` is what stands behind the question mark. */
  static async open(server: Pick<Server, "url">, query = "", init: RequestInit = {}): Promise<Listener> {
    return new Listener(await fetch(`${server.url}/v1/vtuber/events?${query}`, init));
  }

  async until<T>(find: (frames: readonly Frame[]) => T | undefined | false): Promise<T> {
    for (;;) {
      const found = find(this.frames);
      if (found !== undefined && found !== false) return found as T;
      if (this.#over) throw new Error(`The stream ended after:\n${JSON.stringify(this.frames)}`);
      await this.#news.next(() => `That did not come. What came:\n${JSON.stringify(this.frames)}`);
    }
  }

  /** Resolves once the server ends the stream. */
  async ended(): Promise<void> {
    await patiently(this.#done, () => "The stream did not end.");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.cancel().catch(() => {});
    await this.#done;
  }

  async #read(): Promise<void> {
    let rest = "";
    for (;;) {
      const { done, value } = await this.#reader.read().catch(() => ({ done: true, value: undefined }));
      if (done) break;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop()!;
      for (const block of blocks) {
        if (block.startsWith("data: ")) this.frames.push(JSON.parse(block.slice("data: ".length)));
        else this.others.push(block);
      }
      this.#news.tell();
    }
    this.#over = true;
    this.#news.tell();
  }
}

/** A handshake by hand, and the socket behind it, which nobody reads. */
export interface Handshake extends Disposable {
  readonly status: number;
  readonly headers: Headers;
  readonly connection: Deno.TcpConn;
  /** Sends a command. */
  send(command: unknown): Promise<void>;
}

/** Shakes hands as a client would that can send whatever it likes. */
export async function shakeHands(
  server: Pick<Server, "url">,
  path = "/v1/vtuber/ws",
  headers: Readonly<Record<string, string>> = {},
): Promise<Handshake> {
  const { hostname, port, host } = new URL(server.url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  const all = {
    host,
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  await writeAll(connection, new TextEncoder().encode(`GET ${path} HTTP/1.1\r\n${lines.join("")}\r\n`));
  let head = "";
  const byte = new Uint8Array(1);
  // One at a time: what comes behind the head is left where it is.
  while (!head.endsWith("\r\n\r\n") && await connection.read(byte) !== null) {
    head += String.fromCharCode(byte[0]!);
  }
  const [first = "", ...rest] = head.trim().split("\r\n");
  return {
    status: Number(first.split(" ")[1]),
    headers: new Headers(rest.map((line) => line.split(/: */, 2) as [string, string])),
    connection,
    send: (command) => writeAll(connection, clientFrame(JSON.stringify(command))),
    [Symbol.dispose]: () => connection.close(),
  };
}

/** A text frame as clients must send it: masked. The mask of zeros leaves the text as it is. */
function clientFrame(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length > 125) throw new RangeError("The text is too long for a short frame.");
  return new Uint8Array([0x81, 0x80 | bytes.length, 0, 0, 0, 0, ...bytes]);
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/** Resolves to the parsed answer of `GET path`. */
export async function get(server: Pick<Server, "url">, path: string, init: RequestInit = {}) {
  const response = await fetch(server.url + path, init);
  return await response.json();
}

/** Waits until `look` gives what fits: for what can only be seen from outside. */
export async function poll<T>(look: () => T | Promise<T>, fits: (value: T) => boolean): Promise<T> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const value = await look();
    if (fits(value)) return value;
    if (performance.now() > end) throw new Error(`It did not become so: ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Waits for a promise, but not for ever. */
export async function patiently<T>(promise: Promise<T>, why: () => string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(why())), PATIENCE_MS);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Wakes whoever waits for news. */
class News {
  #next = Promise.withResolvers<void>();

  tell(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }

  /** Resolves with the next news; rejects with the reason if there is none for too long. */
  async next(why: () => string): Promise<void> {
    await patiently(this.#next.promise, why);
  }
}
