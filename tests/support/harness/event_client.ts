/** Clients of the event channel, and a port for those that need no server process. @module */

import { type Frame, summarize } from "./events_fixture.ts";
import { waitFor } from "./turn_recorder.ts";

export type { Frame };

/** A server that can be connected to. */
interface Server {
  readonly url: string;
}

/** Options of a connection. */
export interface WatchOptions {
  /** Path and query; by default `/v1/vtuber/ws`. */
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly protocols?: readonly string[];
  /** Subscribes to these events, and waits for the confirmation. */
  readonly events?: readonly string[];
}

/** Finds something in the frames so far; `undefined` and `false` mean that it has not come. */
type Find<T> = (frames: readonly Frame[]) => T | undefined | false;

/** Connects to a server and waits for the first state. Rejects if the handshake is refused. */
export async function watch(server: Server, options: WatchOptions = {}): Promise<EventClient> {
  const { path = "/v1/vtuber/ws", headers = {}, protocols = [], events } = options;
  const client = await EventClient.open(server.url + path, { headers, protocols: [...protocols] });
  await client.first("agent_state");
  if (events) await client.subscribe(events);
  return client;
}

/** Frames as they come, and waits for the ones that are still to come. */
class FrameLog {
  /** All frames so far, without those that were taken. */
  readonly frames: Frame[] = [];
  #hasEnded = false;
  #change = Promise.withResolvers<void>();

  protected add(...frames: Frame[]): void {
    this.frames.push(...frames);
    this.#notify();
  }

  protected end(): void {
    this.#hasEnded = true;
    this.#notify();
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  get summaries(): string[] {
    return this.frames.map(summarize);
  }

  /** Resolves to the first frame with this summary, or to what the function finds. */
  until(summary: string): Promise<Frame>;
  until<T>(find: Find<T>): Promise<T>;
  async until<T>(what: string | Find<T>): Promise<T | Frame> {
    const find = typeof what === "string"
      ? () => this.frames.find((frame) => summarize(frame) === what)
      : what;
    for (;;) {
      const found = find(this.frames);
      if (found !== undefined && found !== false) return found;
      if (this.#hasEnded) throw new Error(`The connection ended after:\n${this.#recent()}`);
      await this.nextFrame();
    }
  }

  /** Resolves with the next frames or the end. */
  async nextFrame(): Promise<void> {
    await waitFor(this.#change.promise, `a frame after:\n${this.#recent()}`);
  }

  #notify(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }

  #recent(): string {
    return this.frames.slice(-50).map((frame) => JSON.stringify(frame)).join("\n");
  }
}

/** A client with a WebSocket. */
export class EventClient extends FrameLog implements AsyncDisposable {
  /** Resolves when the connection has ended. */
  readonly closed: Promise<CloseEvent>;
  readonly #socket: WebSocket;
  readonly #opened = Promise.withResolvers<void>();

  private constructor(socket: WebSocket) {
    super();
    this.#socket = socket;
    const { promise, resolve } = Promise.withResolvers<CloseEvent>();
    this.closed = promise;
    socket.onopen = () => this.#opened.resolve();
    socket.onerror = (event) => {
      this.#opened.reject(new Error(`The handshake was refused: ${(event as ErrorEvent).message}`));
    };
    socket.onmessage = ({ data }) => this.add(JSON.parse(data));
    socket.onclose = (event) => {
      this.end();
      resolve(event);
    };
  }

  /** Connects. Rejects if the handshake is refused. */
  static async open(
    url: string,
    options: { protocols?: string[]; headers?: HeadersInit } = {},
  ): Promise<EventClient> {
    const client = new EventClient(new WebSocket(url.replace("http", "ws"), options));
    await waitFor(client.#opened.promise, "the socket to open");
    return client;
  }

  get protocol(): string {
    return this.#socket.protocol;
  }

  /** Removes the frames so far and returns their summaries. */
  takeSummaries(): string[] {
    return this.frames.splice(0).map(summarize);
  }

  /** Sends a command; text and bytes go out unchanged. */
  send(command: unknown): void {
    const isEncoded = typeof command === "string" || command instanceof Uint8Array;
    this.#socket.send(isEncoded ? command as string : JSON.stringify(command));
  }

  /** Sends a command and resolves to the next frame of this type. */
  async ask(command: unknown, type: string): Promise<Frame> {
    const from = this.frames.length;
    this.send(command);
    return await this.first(type, () => true, from);
  }

  /** Subscribes. Resolves to the events that the server knows. */
  async subscribe(events: readonly string[]): Promise<string[]> {
    return (await this.ask({ type: "subscribe", events }, "subscribed")).events;
  }

  /** Resolves once the server has answered everything that was sent before. */
  async ping(): Promise<void> {
    await this.ask({ type: "ping" }, "pong");
  }

  /** Does the same as {@linkcode EventClient.ping}, then takes the summaries of all other frames. */
  async sync(): Promise<string[]> {
    await this.ping();
    return this.takeSummaries().filter((summary) => summary !== "pong");
  }

  /** Resolves to the first matching frame of this type, from this index on. */
  first(type: string, matches: (frame: Frame) => boolean = () => true, from = 0): Promise<Frame> {
    // Each frame is looked at once, because a client that reads slowly gets fewer of them.
    let at = from;
    return this.until((frames) => {
      while (at < frames.length) {
        const frame = frames[at++]!;
        if (frame.type === type && matches(frame)) return frame;
      }
    });
  }

  /** Resolves to the first `agent_state` with this state, from this index on. */
  state(state: string, from = 0): Promise<Frame> {
    return this.first("agent_state", (frame) => frame.state === state, from);
  }

  /** Resolves once a turn is idle again, to its frames; to those of this session if one is named. */
  async untilTurnEnds(session?: string): Promise<Frame[]> {
    return await this.until((frames) => {
      const own = frames.filter(({ session_id, turn_id }) =>
        turn_id && (session === undefined || session_id === session)
      );
      return own.at(-1)?.state === "idle" && own;
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

  async close(): Promise<void> {
    if (!this.hasEnded) this.#socket.close();
    await waitFor(this.closed, "the connection to end");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** A client with an event stream. */
export class EventStreamClient extends FrameLog implements AsyncDisposable {
  /** Blocks that are no `data:` line: comments, and everything unexpected. */
  readonly others: string[] = [];
  readonly response: Response;
  readonly #reader: ReadableStreamDefaultReader<string>;
  readonly #done: Promise<void>;

  private constructor(response: Response) {
    super();
    this.response = response;
    this.#reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    this.#done = this.#read();
  }

  /** Connects, with this query string. */
  static async open(
    server: Server,
    query = "",
    init: RequestInit = {},
  ): Promise<EventStreamClient> {
    return new EventStreamClient(await fetch(`${server.url}/v1/vtuber/events?${query}`, init));
  }

  /** Resolves once the server has ended the stream. */
  async closed(): Promise<void> {
    await waitFor(this.#done, "the stream to end");
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
      const [data, others] = [blocks.filter(isData), blocks.filter((block) => !isData(block))];
      this.others.push(...others);
      this.add(...data.map((block) => JSON.parse(block.slice("data: ".length))));
    }
    this.end();
  }
}

function isData(block: string): boolean {
  return block.startsWith("data: ");
}

/** A raw connection after a WebSocket handshake, from which nothing is read. */
export interface Handshake extends Disposable {
  readonly status: number;
  readonly headers: Headers;
  readonly connection: Deno.TcpConn;
  /** Sends a command. */
  send(command: unknown): Promise<void>;
}

/** Performs a WebSocket handshake with any headers. */
export async function handshake(
  server: Server,
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
  // Reads single bytes, so that everything after the head stays unread.
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

/** Encodes a text frame. Clients have to mask frames; a mask of zeros leaves the text unchanged. */
function clientFrame(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length > 125) throw new RangeError("The text is too long for a short frame.");
  return new Uint8Array([0x81, 0x80 | bytes.length, 0, 0, 0, 0, ...bytes]);
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/** A server on a free port of this machine. */
export interface ListeningServer extends AsyncDisposable {
  /** The address, as `http://127.0.0.1:PORT`. */
  readonly url: string;
}

/** Listens until disposed of; by then every socket has to be closed. */
export function listen(handler: (request: Request) => Response | Promise<Response>): ListeningServer {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, handler);
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    [Symbol.asyncDispose]: () => waitFor(server.shutdown(), "the server to end"),
  };
}
