/** `GET /v1/vtuber/ws`: the events over a WebSocket, and the commands that come back. @module */

import { upgrade } from "../http/websocket.ts";
import type { Handler } from "../http/router.ts";
import type { Log } from "../core/log.ts";
import { AppError, toAppError } from "../core/errors.ts";
import type { PermissionBroker } from "../turn/permission.ts";
import type { Subscriber, Transport } from "./subscriber.ts";
import type { EventHub } from "./hub.ts";
import { type Command, parseCommand } from "./wire.ts";

/** The subprotocol that is chosen if it is offered. */
const PROTOCOL = "vtuber";
/** Sockets at once. */
const MAX_SOCKETS = 6_000;
/** Commands of one client that are answered in a second. AniCompanion's pings multiply with each reconnect. */
const MAX_COMMANDS_PER_SECOND = 50;

/** What the sockets need of the rest of the program. */
export interface WebSocketDeps {
  readonly hub: EventHub;
  readonly desk: Pick<PermissionBroker, "answer">;
  /** Cancels the running turns of a conversation, or all; tells how many. */
  readonly interrupt: (conversation: string | undefined) => number;
  readonly version: string;
  readonly log: Log;
}

/** Answers the handshake. */
export function webSocketHandler(deps: WebSocketDeps): Handler {
  /** Also those that were closed here and whose other end never answers: they cannot be ended, only counted. */
  const sockets = new Set<WebSocket>();
  return (request) => {
    deps.hub.admit();
    if (sockets.size >= MAX_SOCKETS) {
      throw new AppError("rate_limit_exceeded", `${MAX_SOCKETS} sockets are open already.`, {
        retryAfterSecs: 5,
      });
    }
    const { socket, response } = upgrade(request, PROTOCOL);
    sockets.add(socket);
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    let client: Subscriber | undefined;
    const allowed = rateLimit(MAX_COMMANDS_PER_SECOND);
    socket.onopen = () => {
      try {
        client = deps.hub.subscribe(transportOf(socket, ended));
        deps.log.debug("a watcher came", { client: client.id, watchers: deps.hub.clientCount });
      } catch (error) {
        socket.close(1013, toAppError(error, "internal_error").code);
      }
    };
    socket.onmessage = ({ data }) => {
      if (client === undefined) return;
      const verdict = allowed();
      if (verdict === "ignore") return;
      try {
        if (verdict === "refuse") {
          throw new AppError(
            "rate_limit_exceeded",
            `More than ${MAX_COMMANDS_PER_SECOND} commands in a second: the rest of it is ignored.`,
          );
        }
        handleCommand(deps, client, parseCommand(typeof data === "string" ? data : ""));
      } catch (error) {
        const { code, message } = toAppError(error, "internal_error");
        if (code === "internal_error") deps.log.error("a command failed", { error });
        client.send({ type: "error", code, message });
      }
    };
    // Either may come twice.
    socket.onclose = socket.onerror = () => {
      sockets.delete(socket);
      end();
      if (client === undefined) return;
      client.detach();
      deps.log.debug("a watcher left", { client: client.id, watchers: deps.hub.clientCount });
      client = undefined;
    };
    return response;
  };
}

function handleCommand(
  { hub, desk, interrupt, version }: WebSocketDeps,
  client: Subscriber,
  command: Command,
): void {
  switch (command.type) {
    case "hello":
      client.name = command.client ?? client.id;
      return client.send({ type: "hello", client_id: client.id, server: "oab-vtuber", version });
    case "subscribe":
      return hub.changeSubscription(client, command.events);
    case "ping":
      return client.send({ type: "pong" });
    case "permission_response":
      return void desk.answer(command.requestId, command.answer, client.name);
    case "interrupt":
      return client.send({ type: "interrupted", turns: interrupt(command.sessionId) });
    default:
      return command satisfies never;
  }
}

function transportOf(socket: WebSocket, ended: Promise<void>): Transport {
  return {
    ended,
    send(frame) {
      if (socket.readyState === WebSocket.OPEN) socket.send(frame);
    },
    get backlog() {
      return socket.bufferedAmount;
    },
    close(code, reason) {
      if (socket.readyState <= WebSocket.OPEN) socket.close(code, reason);
    },
  };
}

/** Counts by the second; of what is too much the first is refused and the rest ignored. */
function rateLimit(perSecond: number): () => "allow" | "refuse" | "ignore" {
  let second = 0;
  let count = 0;
  return () => {
    const now = Math.floor(performance.now() / 1000);
    if (now !== second) count = 0;
    second = now;
    count++;
    if (count <= perSecond) return "allow";
    return count === perSecond + 1 ? "refuse" : "ignore";
  };
}
