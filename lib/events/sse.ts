/** `GET /v1/vtuber/events`: the events as server-sent events, for clients that have no WebSocket. @module */

import type { Handler } from "../http/router.ts";
import { EVENT_STREAM_HEADERS, EventStream } from "../http/sse.ts";
import type { Subscriber } from "./subscriber.ts";
import type { EventHub } from "./hub.ts";

/** How often a comment keeps the connection alive, in milliseconds. */
const HEARTBEAT_MS = 15_000;

/** Streams the events; `?events=agent_state,emotion` chooses which. */
export function eventsHandler(hub: EventHub): Handler {
  return (request) => {
    if (request.method === "HEAD") return new Response(null, { headers: EVENT_STREAM_HEADERS });
    hub.admit();
    const names = new URL(request.url).searchParams.get("events")?.split(",").map((name) => name.trim());
    const stream = new EventStream({
      heartbeatMs: HEARTBEAT_MS,
      heartbeat: (stream) => stream.comment("still here"),
      gone: () => client.detach(),
    });
    const client: Subscriber = hub.subscribe({
      send: (frame) => stream.send(frame),
      get backlog() {
        return stream.backlog;
      },
      close: () => stream.end(),
    }, names);
    return new Response(stream.body, { headers: EVENT_STREAM_HEADERS });
  };
}
