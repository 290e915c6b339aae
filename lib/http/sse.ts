/**
 * Server-sent events in the profile that every skin's reader survives: LF, one `data: ` line per event, whole events in
 * a write. Writes directly into the response's stream, because a transform would cost more than the rest of a token.
 *
 * @module
 */

import { type IdleTimer, startIdleTimer } from "../core/idle_timer.ts";

/** Characters of events that share a write, a few kilobytes in any script. A longer event is written alone. */
const MAX_WRITE_CHARS = 2 * 1024;
/** Bytes that the response buffers before it counts as full. */
const HIGH_WATER_BYTES = 64 * 1024;
/** Bytes that can wait for a slow reader; above, the stream is cut off. */
export const MAX_BACKLOG_BYTES = 8 * 1024 * 1024;
/** Time after which sound that its reader does not take is cut off, in milliseconds. A player can be paused. */
export const READ_TIMEOUT_MS = 300_000;

/** The headers of an event stream; they keep proxies from buffering it. */
export const EVENT_STREAM_HEADERS: Readonly<Record<string, string>> = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
};

interface EventStreamOptions {
  /** Silence after which `heartbeat` is called, again and again, in milliseconds; 0 is never. */
  readonly heartbeatMs: number;
  readonly heartbeat: (stream: EventStream) => void;
  /** Called when the reader hung up or fell too far behind, but not after {@linkcode EventStream.end}. */
  readonly onDisconnect: () => void;
}

const encoder = new TextEncoder();
/** The streams that were written to since the last microtask that flushed them. */
let written = new Set<EventStream>();
let openCount = 0;

/** Counts the streams whose reader is still there. */
export function countEventStreams(): number {
  return openCount;
}

/** An event stream. Events that are sent before the next microtask share a write, up to {@linkcode MAX_WRITE_CHARS}. */
export class EventStream {
  /** The body of the response. */
  readonly body: ReadableStream<Uint8Array>;
  /** Resolves when the stream has ended, or its reader is gone. */
  readonly closed: Promise<void>;
  readonly #setClosed: () => void;
  readonly #onDisconnect: () => void;
  readonly #heartbeat: IdleTimer;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #buffer = "";
  /** Resolves when the reader has taken what waits. */
  #room: PromiseWithResolvers<void> | undefined;

  constructor({ heartbeatMs, heartbeat, onDisconnect }: EventStreamOptions) {
    this.#onDisconnect = onDisconnect;
    ({ promise: this.closed, resolve: this.#setClosed } = Promise.withResolvers());
    this.body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
        openCount++;
      },
      pull: () => {
        this.#room?.resolve();
        this.#room = undefined;
      },
      cancel: () => this.#disconnect(),
    }, { highWaterMark: HIGH_WATER_BYTES, size: (bytes) => bytes.byteLength });
    this.#heartbeat = startIdleTimer(heartbeatMs, () => heartbeat(this));
  }

  /** Bytes that the reader has not taken, approximately. */
  get backlog(): number {
    const { desiredSize } = this.#controller ?? {};
    return this.#buffer.length + (typeof desiredSize === "number" ? HIGH_WATER_BYTES - desiredSize : 0);
  }

  /**
   * Waits until a slow reader has taken most of the backlog, or is gone. For a sender that can wait. After
   * {@linkcode READ_TIMEOUT_MS}, the stream is cut off.
   */
  async waitForRoom(): Promise<void> {
    this.#flush();
    if (this.#controller === undefined || this.backlog < HIGH_WATER_BYTES) return;
    this.#room ??= Promise.withResolvers();
    using _timer = startIdleTimer(READ_TIMEOUT_MS, () => {
      this.#cutOff(`The reader took nothing for ${READ_TIMEOUT_MS / 60_000} minutes.`);
    });
    await this.#room.promise;
  }

  /** Whether the reader is still there, and the stream has not ended. */
  get isOpen(): boolean {
    return this.#controller !== undefined;
  }

  /** Sends an event. `data` has no line break. @param name The event's name, for readers that are known to bear one. */
  send(data: string, name?: string): void {
    const event = "data: " + data + "\n\n";
    this.#write(name === undefined ? event : "event: " + name + "\n" + event);
  }

  /** Sends a comment, which readers ignore if they know the format. */
  comment(text: string): void {
    this.#write(": " + text + "\n\n");
  }

  /** Ends the stream after the events so far. */
  end(): void {
    this.#flush();
    const controller = this.#controller;
    if (controller === undefined) return;
    this.#close();
    controller.close();
  }

  #write(event: string): void {
    if (this.#controller === undefined) return;
    this.#heartbeat.touch();
    if (this.#buffer.length + event.length > MAX_WRITE_CHARS) this.#flush();
    this.#buffer += event;
    if (written.size === 0) queueMicrotask(EventStream.#flushWritten);
    written.add(this);
  }

  static #flushWritten(): void {
    const streams = written;
    written = new Set();
    for (const stream of streams) stream.#flush();
  }

  #flush(): void {
    const controller = this.#controller;
    if (controller === undefined || this.#buffer === "") return;
    const bytes = encoder.encode(this.#buffer);
    this.#buffer = "";
    // If the reader is gone, `enqueue` cancels the stream before it returns.
    try {
      controller.enqueue(bytes);
    } catch {
      return this.#disconnect();
    }
    if (this.backlog > MAX_BACKLOG_BYTES) this.#cutOff("The reader fell too far behind.");
  }

  #cutOff(reason: string): void {
    this.#controller?.error(new Error(reason));
    this.#disconnect();
  }

  #disconnect(): void {
    if (this.#controller === undefined) return;
    this.#close();
    // A microtask, so that an error in it does not keep other streams from being flushed.
    queueMicrotask(this.#onDisconnect);
  }

  #close(): void {
    this.#controller = undefined;
    this.#room?.resolve();
    this.#setClosed();
    openCount--;
    this.#heartbeat[Symbol.dispose]();
  }
}
