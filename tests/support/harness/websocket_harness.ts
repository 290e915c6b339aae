/** A real port and real WebSockets, for what cannot be had in memory. @module */

import { soon } from "./turn_recorder.ts";
import { briefOf, type Frame } from "./events_fixture.ts";

/** A server on a free port of this machine. */
export interface Listening extends AsyncDisposable {
  /** Its address, as `http://127.0.0.1:PORT`. */
  readonly url: string;
}

/** Listens until it is disposed of; by then every socket must be closed. */
export function listen(handler: (request: Request) => Response | Promise<Response>): Listening {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, handler);
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    [Symbol.asyncDispose]: () => soon(server.shutdown(), "the server to end"),
  };
}

/** How a socket ended. */
export interface Ended {
  readonly code: number;
  readonly reason: string;
}

/** A client with a WebSocket. */
export class Socket implements AsyncDisposable {
  readonly frames: Frame[] = [];
  readonly #socket: WebSocket;
  readonly #ended = Promise.withResolvers<Ended>();
  readonly #opened = Promise.withResolvers<boolean>();
  #wake = Promise.withResolvers<void>();

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.onopen = () => this.#opened.resolve(true);
    socket.onmessage = ({ data }) => {
      this.frames.push(JSON.parse(data));
      this.#woken();
    };
    socket.onclose = ({ code, reason }) => {
      this.#opened.resolve(false);
      this.#ended.resolve({ code, reason });
      this.#woken();
    };
  }

  /** Connects. @throws if it is not let in. */
  static async open(
    url: string,
    options: { protocols?: string[]; headers?: HeadersInit } = {},
  ): Promise<Socket> {
    const socket = new Socket(new WebSocket(url.replace("http", "ws"), options));
    if (await soon(socket.#opened.promise, "a socket")) return socket;
    throw new Error("not let in");
  }

  /** The subprotocol that was chosen. */
  get protocol(): string {
    return this.#socket.protocol;
  }

  /** What it was told, in brief. */
  get briefs(): string[] {
    return this.frames.map(briefOf);
  }

  /** The same, and then forgets it. */
  news(): string[] {
    return this.frames.splice(0).map(briefOf);
  }

  /** How it ends. */
  get ended(): Promise<Ended> {
    return soon(this.#ended.promise, "the end of a socket");
  }

  /** Sends a command, as JSON unless it is text already, or bytes. */
  send(command: unknown): void {
    const plain = typeof command === "string" || command instanceof Uint8Array;
    this.#socket.send(plain ? command as string : JSON.stringify(command));
  }

  /** Waits for the first frame, past or future, that is this in brief. */
  async until(brief: string): Promise<Frame> {
    while (true) {
      const frame = this.frames.find((frame) => briefOf(frame) === brief);
      if (frame) return frame;
      await this.more();
    }
  }

  /** The next frame, or the end. */
  more(): Promise<void> {
    return soon(this.#wake.promise, `more than ${this.briefs.slice(-20).join("; ")}`);
  }

  /** Waits until all that was sent has been answered: what came meanwhile, in brief. */
  async answered(): Promise<string[]> {
    this.send({ type: "ping" });
    await this.until("pong");
    return this.news().filter((brief) => brief !== "pong");
  }

  /** Hangs up. */
  async close(): Promise<void> {
    if (this.#socket.readyState <= WebSocket.OPEN) this.#socket.close();
    await this.ended;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #woken(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }
}
