/** `GET /v1/vtuber/ws`: delivers events over a WebSocket and handles the commands of the client. @module */

import { AppError, toAppError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Handler } from "../http/router.ts";
import { upgrade } from "../http/websocket.ts";
import type { PermissionBroker } from "../turn/permission.ts";
import type { EventHub } from "./hub.ts";
import type { Subscriber, Transport } from "./subscriber.ts";
import { type Command, parseCommand } from "./wire.ts";

/** The subprotocol that is chosen if the client offers it. */
const PROTOCOL = "vtuber";
/** Open sockets, those included that the server has closed and the client has not. */
const MAX_SOCKETS = 6_000;
/** Commands of one client that are answered in a second. AniCompanion's pings multiply with each reconnect. */
const MAX_COMMANDS_PER_SECOND = 50;
/** WebSocket close code `Try Again Later` (IANA registry). */
const TRY_AGAIN_LATER = 1013;

/** Dependencies of the WebSocket handler. */
export interface WebSocketDeps {
  readonly hub: Pick<EventHub, "admit" | "subscribe" | "changeSubscription">;
  readonly permissions: Pick<PermissionBroker, "answer">;
  /** Cancels the turns of a conversation, or of all. @returns The number of cancelled turns. */
  readonly interrupt: (conversation: string | undefined) => number;
  readonly version: string;
  readonly log: Log;
}

/** Answers the WebSocket handshake. */
export function webSocketHandler(deps: WebSocketDeps): Handler {
  const { hub, log } = deps;
  const sockets = new Set<WebSocket>();
  return (request) => {
    hub.admit();
    if (sockets.size >= MAX_SOCKETS) {
      throw new AppError("rate_limit_exceeded", `${MAX_SOCKETS} WebSockets are open already.`, {
        retryAfterSecs: 5,
      });
    }
    const { socket, response } = upgrade(request, PROTOCOL);
    sockets.add(socket);
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const limit = rateLimit(MAX_COMMANDS_PER_SECOND);
    let subscriber: Subscriber | undefined;
    socket.onopen = () => {
      try {
        subscriber = hub.subscribe(webSocketTransport(socket, ended));
        log.debug("client connected", { client: subscriber.id });
      } catch (error) {
        socket.close(TRY_AGAIN_LATER, toAppError(error, "internal_error").code);
      }
    };
    socket.onmessage = ({ data }) => {
      if (subscriber === undefined) return;
      const verdict = limit();
      if (verdict === "ignore") return;
      try {
        if (verdict === "reject") {
          throw new AppError(
            "rate_limit_exceeded",
            `More than ${MAX_COMMANDS_PER_SECOND} commands in a second. Further ones are ignored until the next.`,
          );
        }
        handleCommand(deps, subscriber, parseCommand(typeof data === "string" ? data : ""));
      } catch (error) {
        const { code, message } = toAppError(error, "internal_error");
        if (code === "internal_error") log.error("a command failed", { error });
        subscriber.send({ type: "error", code, message });
      }
    };
    // Deno may fire both events for one socket, and each of them twice.
    socket.onclose = socket.onerror = () => {
      sockets.delete(socket);
      end();
      if (subscriber === undefined) return;
      subscriber.detach();
      log.debug("client disconnected", { client: subscriber.id });
      subscriber = undefined;
    };
    return response;
  };
}

function handleCommand(deps: WebSocketDeps, client: Subscriber, command: Command): void {
  switch (command.type) {
    case "hello":
      client.name = command.client ?? client.id;
      return client.send({
        type: "hello",
        client_id: client.id,
        server: "oab-vtuber",
        version: deps.version,
      });
    case "subscribe":
      return deps.hub.changeSubscription(client, command.events);
    case "ping":
      return client.send({ type: "pong" });
    case "permission_response":
      deps.permissions.answer(command.requestId, command.answer, client.name);
      return;
    case "interrupt":
      return client.send({ type: "interrupted", turns: deps.interrupt(command.sessionId) });
    default:
      return command satisfies never;
  }
}

function webSocketTransport(socket: WebSocket, ended: Promise<void>): Transport {
  return {
    ended,
    send({ frame }) {
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

/** Counts calls per second. The first call above the limit is rejected, so that the client learns of it once. */
function rateLimit(perSecond: number): () => "allow" | "reject" | "ignore" {
  let second = 0;
  let count = 0;
  return () => {
    const now = Math.floor(performance.now() / 1000);
    if (now !== second) count = 0;
    second = now;
    count++;
    if (count <= perSecond) return "allow";
    return count === perSecond + 1 ? "reject" : "ignore";
  };
}
