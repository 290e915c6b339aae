/** The events of a streamed response. @module */

import { assertEquals } from "@std/assert";
import type { ResponseObject } from "../../../lib/openai/responses/events.ts";

/** An event of a stream. */
export interface ResponseEvent {
  readonly type: string;
  readonly response?: ResponseObject;
  readonly delta?: string;
  readonly sequence_number: number;
}

/** Parses a stream, and checks that each event has its type as its name. */
export function parseEvents(text: string): ResponseEvent[] {
  return text.split("\n\n").slice(0, -1).map((frame) => {
    const [, name, data] = /^event: (.+)\ndata: (.+)$/.exec(frame) ?? [];
    const event = JSON.parse(data ?? frame);
    assertEquals(event.type, name);
    return event;
  });
}
