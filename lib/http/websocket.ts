/** WebSockets: the offered subprotocols, and the upgrade. @module */

import { AppError } from "../core/errors.ts";

/** Seconds without an answer to a ping after which a client counts as gone. */
const IDLE_TIMEOUT_SECS = 30;
/** Subprotocols of a request that are read. */
const MAX_PROTOCOLS = 20;

/** The version of the protocol, and the form of a handshake's key (RFC 6455). */
export const VERSION = "13";
const KEY = /^[A-Za-z0-9+/]{22}==$/;

/** The open sockets by their subprotocol. In sets, because Deno may report the end of a socket twice. */
const open = new Map<string, Set<WebSocket>>();

/** Counts the open WebSockets of each subprotocol, whether or not its clients offered it. */
export function countWebSockets(): [protocol: string, count: number][] {
  return [...open].map(([protocol, sockets]) => [protocol, sockets.size]);
}

/** Lists the subprotocols that a client offers. */
export function offeredProtocols(request: Request): string[] {
  const header = request.headers.get("sec-websocket-protocol") ?? "";
  return header.split(",", MAX_PROTOCOLS).map((name) => name.trim()).filter((name) => name !== "");
}

/**
 * Upgrades a request to a WebSocket. Pings find a client that is gone within a minute.
 *
 * @param protocol The subprotocol to choose if the client offers it: browsers hang up if none of theirs is chosen.
 * @throws {AppError} `upgrade_required` or `invalid_value` if the request is no handshake; the reason of the request's
 * signal if the client has hung up, because its socket would never open nor close.
 */
export function upgrade(request: Request, protocol: string): { socket: WebSocket; response: Response } {
  const { headers, method, signal } = request;
  signal.throwIfAborted();
  if (method !== "GET" || headers.get("upgrade")?.toLowerCase() !== "websocket") {
    throw new AppError("upgrade_required", "This is a WebSocket: connect with ws:// or wss://.");
  }
  if (headers.get("sec-websocket-version") !== VERSION) {
    throw new AppError("upgrade_required", `The version of the WebSocket must be ${VERSION}.`);
  }
  if (!KEY.test(headers.get("sec-websocket-key") ?? "")) {
    const param = "Sec-WebSocket-Key";
    throw new AppError("invalid_value", `"${param}" must be 16 bytes in base64.`, { param });
  }
  const chosen = offeredProtocols(request).includes(protocol) ? { protocol } : {};
  try {
    const upgraded = Deno.upgradeWebSocket(request, { idleTimeout: IDLE_TIMEOUT_SECS, ...chosen });
    count(upgraded.socket, protocol);
    return upgraded;
  } catch (error) {
    throw new AppError("upgrade_required", "The WebSocket handshake is malformed.", { cause: error });
  }
}

function count(socket: WebSocket, protocol: string): void {
  const sockets = open.get(protocol) ?? new Set();
  open.set(protocol, sockets);
  socket.addEventListener("open", () => sockets.add(socket));
  socket.addEventListener("close", () => sockets.delete(socket));
}
