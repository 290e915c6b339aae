/** Watchers that cost less than what they measure: WebSockets by hand over plain connections. @module */

import { MARK, stamp } from "./agent.ts";
import { since, stampAt } from "./client.ts";

const READ_BYTES = 16 * 1024;
const MARK_BYTE = MARK.charCodeAt(0);
/** A frame is `{"type":"agent_state",...`: where its name begins, and with what. */
const NAME_AT = 9;
const STATE_BYTE = "a".charCodeAt(0);
/** The first byte of a message. */
const TEXT = 0x81;
const PING = 0x89;
const PONG = 0x8a;
const MASKED = 0x80;
const LENGTH_IN_TWO_BYTES = 126;

/** Connections that are opened at once. */
const AT_ONCE = 50;
/** How long opening them all may take, in milliseconds. */
const OPEN_MS = 15_000;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What all watchers of one program have heard, in milliseconds of this process's clock. */
export interface Heard {
  /** Frames; without `idle`, which the server tells some time after a turn. */
  frames: number;
  /** When the first and the last of them came. */
  firstAt: number;
  lastAt: number;
}

/** What is done with what they hear. */
export interface Ears {
  /** Hears of each stamped frame how long it took from the agent's write to here, in microseconds. */
  delay?: (micros: number) => void;
  /** Hears each frame. */
  frame?: (text: string) => void;
}

/** Watchers of one program. */
export class Watchers implements Disposable {
  /** What they have heard since {@linkcode Watchers.reset}. */
  heard: Heard = nothing();

  readonly #ears: Ears;
  readonly #watchers: Watcher[] = [];
  #ready = 0;
  #ended = 0;
  #lost = 0;
  #changed = () => {};

  private constructor(ears: Ears) {
    this.#ears = ears;
  }

  /** Connects so many, who want to hear everything. @throws {Error} if one cannot. */
  static async connect(port: number, count: number, ears: Ears = {}): Promise<Watchers> {
    const all = new Watchers(ears);
    try {
      for (let left = count; left > 0; left -= AT_ONCE) {
        const some = Array.from({ length: Math.min(AT_ONCE, left) }, () => all.#add(port));
        await Promise.all(some);
      }
      if (!await all.#until(() => all.#ready === count, OPEN_MS)) throw new Error("a watcher was not let in");
      return all;
    } catch (error) {
      all[Symbol.dispose]();
      throw error;
    }
  }

  /** Forgets what they have heard. */
  reset(): void {
    this.heard = nothing();
    this.#ended = 0;
  }

  /** Resolves once all have heard the end of a turn, or to false if some have not within this time. */
  ended(limitMs: number): Promise<boolean> {
    return this.#until(() => this.#ended === this.#watchers.length, limitMs);
  }

  /** Hangs up. */
  [Symbol.dispose](): void {
    for (const watcher of this.#watchers) watcher.close();
  }

  async #add(port: number): Promise<void> {
    const watcher = await Watcher.connect(port);
    this.#watchers.push(watcher);
    watcher.listen({
      ready: () => {
        this.#ready++;
        this.#changed();
      },
      frame: (buffer, from, end, now) => this.#hear(buffer, from, end, now),
    }).catch(() => {
      this.#lost++;
      this.#changed();
    });
  }

  #hear(buffer: Uint8Array, from: number, end: number, now: number): void {
    const { delay, frame } = this.#ears;
    const isState = buffer[from + NAME_AT] === STATE_BYTE;
    const text = isState || frame ? decoder.decode(buffer.subarray(from, end)) : "";
    if (isState && text.includes('"state":"idle"')) return;
    const { heard } = this;
    heard.frames++;
    heard.lastAt = performance.now();
    if (heard.frames === 1) heard.firstAt = heard.lastAt;
    frame?.(text);
    if (delay) {
      for (let i = from; i < end; i++) {
        if (buffer[i] !== MARK_BYTE) continue;
        const written = stampAt(buffer, i + 1, end);
        if (!Number.isNaN(written)) delay(since(written, now));
        break;
      }
    }
    if (!isState || !text.includes('"state":"attention"')) return;
    this.#ended++;
    this.#changed();
  }

  #until(fits: () => boolean, limitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(fits()), limitMs);
      this.#changed = () => {
        if (!fits() && this.#lost === 0) return;
        clearTimeout(timer);
        resolve(fits());
      };
      this.#changed();
    });
  }
}

interface Listener {
  /** It is subscribed: what comes from now on is heard. */
  ready(): void;
  /** A frame, from here to there; it was read at this {@linkcode stamp}. */
  frame(buffer: Uint8Array, from: number, end: number, now: number): void;
}

class Watcher {
  readonly #connection: Deno.TcpConn;
  readonly #buffer = new Uint8Array(READ_BYTES);
  /** Bytes of the buffer that are read and not yet understood. */
  #held = 0;
  #isReady = false;

  private constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
  }

  static async connect(port: number): Promise<Watcher> {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port });
    connection.setNoDelay(true);
    const watcher = new Watcher(connection);
    await connection.write(encoder.encode(
      `GET /v1/vtuber/ws HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nupgrade: websocket\r\nconnection: upgrade\r\n` +
        "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    ));
    await watcher.#head();
    await watcher.#send(TEXT, '{"type":"subscribe","events":["*","say"]}');
    return watcher;
  }

  /** Reads until the connection ends, and rejects then. */
  async listen(listener: Listener): Promise<void> {
    for (;;) {
      this.#take(listener, stamp());
      await this.#read();
    }
  }

  close(): void {
    try {
      this.#connection.close();
    } catch {
      // It is closed already.
    }
  }

  async #read(): Promise<void> {
    const bytes = await this.#connection.read(this.#buffer.subarray(this.#held));
    if (bytes === null) throw new Error("the connection ended");
    this.#held += bytes;
  }

  /** Reads the head of the answer; what comes behind it is kept. */
  async #head(): Promise<void> {
    for (;;) {
      await this.#read();
      const text = decoder.decode(this.#buffer.subarray(0, this.#held));
      const end = text.indexOf("\r\n\r\n");
      if (end < 0) continue;
      if (!text.startsWith("HTTP/1.1 101 ")) throw new Error(text.slice(0, text.indexOf("\r")));
      this.#keepFrom(end + 4);
      return;
    }
  }

  #take(listener: Listener, now: number): void {
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
      if (from > this.#held || end > this.#held) break;
      this.#frame(listener, buffer[at]!, from, end, now);
      at = end;
    }
    this.#keepFrom(at);
  }

  #frame(listener: Listener, kind: number, from: number, end: number, now: number): void {
    if (kind === PING) return void this.#send(PONG, "").catch(() => {});
    if (kind !== TEXT) return;
    if (this.#isReady) return listener.frame(this.#buffer, from, end, now);
    this.#isReady = decoder.decode(this.#buffer.subarray(from, end)).startsWith('{"type":"subscribed"');
    if (this.#isReady) listener.ready();
  }

  #keepFrom(at: number): void {
    if (at === 0) return;
    this.#buffer.copyWithin(0, at, this.#held);
    this.#held -= at;
  }

  /** A short message, masked with zeros. */
  async #send(kind: number, text: string): Promise<void> {
    const payload = encoder.encode(text);
    await this.#connection.write(new Uint8Array([kind, MASKED | payload.length, 0, 0, 0, 0, ...payload]));
  }
}

function nothing(): Heard {
  return { frames: 0, firstAt: 0, lastAt: 0 };
}
