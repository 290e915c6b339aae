/**
 * Server-sent events in the one form that every skin's reader survives: LF, one `data: ` line an event, whole events
 * in a write. Written straight into the response's stream: a transform would cost more than the rest of a token.
 *
 * @module
 */

import { type IdleTimer, startIdleTimer } from "../core/idle_timer.ts";

/** Characters of events that share a write, when they come in a burst: a few kilobytes in any script. */
const MAX_WRITE_CHARS = 2 * 1024;
/** Bytes that the response may hold before it is full; what is beyond waits for the reader. */
const HIGH_WATER_BYTES = 64 * 1024;
/** Bytes that may wait for a reader that does not read; beyond it the stream is cut off. */
export const MAX_BACKLOG_BYTES = 8 * 1024 * 1024;

/** The headers of an event stream. */
export const EVENT_STREAM_HEADERS: Readonly<Record<string, string>> = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
};

/** What an event stream needs to know. */
export interface EventStreamOptions {
  /** Called after each such time of silence, in milliseconds; 0 is never. */
  readonly heartbeatMs: number;
  readonly heartbeat: (stream: EventStream) => void;
  /** The reader went away, or fell too far behind. Not called after {@linkcode EventStream.end}. */
  readonly gone: () => void;
}

const encoder = new TextEncoder();
/** The streams that were written to in this go; they go out together when it is over. */
let written: EventStream[] = [];

/** An event stream that is written as things happen. */
export class EventStream {
  /** The body of the response. */
  readonly body: ReadableStream<Uint8Array>;
  readonly #gone: () => void;
  readonly #silence: IdleTimer;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #out = "";
  #scheduled = false;

  constructor({ heartbeatMs, heartbeat, gone }: EventStreamOptions) {
    this.#gone = gone;
    this.body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
      },
      cancel: () => this.#lost(),
    }, { highWaterMark: HIGH_WATER_BYTES, size: (bytes) => bytes.byteLength });
    this.#silence = startIdleTimer(heartbeatMs, () => heartbeat(this));
  }

  /** Bytes that the reader has not taken, about. */
  get backlog(): number {
    const { desiredSize } = this.#controller ?? {};
    return this.#out.length + (typeof desiredSize === "number" ? HIGH_WATER_BYTES - desiredSize : 0);
  }

  /** Sends an event; `data` has no line break. What is sent in one go is written together. */
  send(data: string): void {
    this.#write("data: " + data + "\n\n");
  }

  /** Sends a comment, which is nothing to a reader that knows the format. */
  comment(text: string): void {
    this.#write(": " + text + "\n\n");
  }

  /** Ends the stream after what was sent. */
  end(): void {
    this.#flush();
    const controller = this.#controller;
    if (controller === undefined) return;
    this.#close();
    controller.close();
  }

  #write(event: string): void {
    if (this.#controller === undefined) return;
    this.#silence.touch();
    if (this.#out.length + event.length > MAX_WRITE_CHARS) this.#flush();
    this.#out += event;
    if (this.#scheduled) return;
    this.#scheduled = true;
    if (written.push(this) === 1) queueMicrotask(EventStream.#flushWritten);
  }

  static #flushWritten(): void {
    const streams = written;
    written = [];
    for (const stream of streams) stream.#flush();
  }

  #flush(): void {
    this.#scheduled = false;
    const controller = this.#controller;
    if (controller === undefined || this.#out === "") return;
    const bytes = encoder.encode(this.#out);
    this.#out = "";
    // The write may find the reader gone, and then cancels the stream before it returns.
    try {
      controller.enqueue(bytes);
    } catch {
      return this.#lost();
    }
    if (this.#controller !== undefined && controller.desiredSize! < -MAX_BACKLOG_BYTES) {
      controller.error(new Error("The reader fell too far behind."));
      this.#lost();
    }
  }

  #lost(): void {
    if (this.#controller === undefined) return;
    this.#close();
    this.#gone();
  }

  #close(): void {
    this.#controller = undefined;
    this.#silence[Symbol.dispose]();
  }
}
