/** The events of a response in the background, for clients that read its stream again. @module */

import { AppError } from "../../core/errors.ts";
import { EVENT_STREAM_HEADERS, EventStream } from "../../http/sse.ts";
import type { StreamOptions } from "../response.ts";

/** Characters of the events that are kept. A longer response can only be read whole. */
const MAX_CHARS = 2 * 1024 * 1024;
/** Characters that an event counts beside its data. */
const EVENT_CHARS = 50;
/** Open streams of a response. */
const MAX_STREAMS = 16;

/** Keeps the events of a response, as long as there is room for them, and streams them from any sequence number on. */
export class EventLog {
  /** Each at its sequence number. */
  #events: { readonly data: string; readonly type: string }[] | undefined = [];
  #chars = 0;
  #isOver = false;
  readonly #streams = new Set<EventStream>();

  /** Characters that are kept. */
  get chars(): number {
    return this.#chars;
  }

  /** Adds the event with the next sequence number. */
  add(data: string, type: string): void {
    this.#keep(data, type);
    for (const stream of this.#streams) stream.send(data, type);
  }

  #keep(data: string, type: string): void {
    if (this.#events === undefined) return;
    this.#events.push({ data, type });
    this.#chars += EVENT_CHARS + data.length;
    if (this.#chars <= MAX_CHARS) return;
    this.#events = undefined;
    this.#chars = 0;
  }

  /** Ends the streams: the response is over. */
  end(): void {
    this.#isOver = true;
    for (const stream of this.#streams) stream.end();
    this.#streams.clear();
  }

  /**
   * Streams the events after this sequence number: those so far at once, the others as they come.
   *
   * @throws {AppError} `unsupported_parameter` if the events are no longer kept, `invalid_value` if there is no event
   * with this number yet, `rate_limit_exceeded` if too many streams are open.
   */
  stream(after: number, { heartbeat, heartbeatMs }: StreamOptions): Response {
    if (this.#events === undefined) throw cannotStream("it is too long");
    if (after >= this.#events.length) {
      const message = `"starting_after" must be the sequence_number of an event so far: ${
        this.#events.length - 1
      } at most.`;
      throw new AppError("invalid_value", message, { param: "starting_after" });
    }
    if (this.#streams.size >= MAX_STREAMS) {
      throw new AppError(
        "rate_limit_exceeded",
        `This response has ${MAX_STREAMS} streams. Close one of them.`,
      );
    }
    const stream = new EventStream({
      heartbeatMs: heartbeat === "off" ? 0 : heartbeatMs,
      heartbeat: (stream) => stream.comment("keepalive"),
      onDisconnect: () => this.#streams.delete(stream),
    });
    for (const { data, type } of this.#events.slice(after + 1)) stream.send(data, type);
    if (this.#isOver) stream.end();
    else this.#streams.add(stream);
    return new Response(stream.body, { headers: EVENT_STREAM_HEADERS });
  }
}

/** Makes the error of a response whose events are not kept. */
export function cannotStream(why: string): AppError {
  const param = "stream";
  return new AppError(
    "unsupported_parameter",
    `"${param}" is not possible for this response, because ${why}. Read it without "${param}", again and again ` +
      "until its status is neither queued nor in_progress.",
    { param },
  );
}
