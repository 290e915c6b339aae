/** Writes the events of a response, each with the next number. @module */

import { safeJson } from "../chunk.ts";

/** Takes an event: its data and its type. */
export type EventSink = (data: string, type: string) => void;

/** Writes events into a sink. Without one, no event is made. */
export class EventWriter {
  readonly #sink: EventSink | undefined;
  #sequence = 0;

  constructor(sink: EventSink | undefined) {
    this.#sink = sink;
  }

  /** Whether somebody gets the events. */
  get areRead(): boolean {
    return this.#sink !== undefined;
  }

  send(event: { readonly type: string; readonly [field: string]: unknown }): void {
    this.#sink?.(safeJson({ ...event, sequence_number: this.#sequence++ }), event.type);
  }

  /** Sends an event whose JSON is complete but for its number and its end. */
  sendJson(json: string, type: string): void {
    this.#sink?.(`${json},"sequence_number":${this.#sequence++}}`, type);
  }
}
