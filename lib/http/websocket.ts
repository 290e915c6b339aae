/** WebSockets: what a client offers, and the upgrade. @module */

import { AppError } from "../core/errors.ts";

/** Seconds without an answer to a ping after which a client counts as dead. */
const IDLE_TIMEOUT_SECS = 30;
/** Subprotocols of a request that are looked at. */
const MAX_PROTOCOLS = 20;

/** The subprotocols that a client offers. */
export function offeredProtocols(request: Request): string[] {
  const header = request.headers.get("sec-websocket-protocol") ?? "";
  return header.split(",", MAX_PROTOCOLS).map((name) => name.trim()).filter((name) => name !== "");
}

/** Whether a request wants to become a WebSocket. */
export function wantsSocket(request: Request): boolean {
  return request.headers.get("upgrade")?.toLowerCase() === "websocket";
}

/**
 * Makes a WebSocket of a request. Dead clients are noticed by pings, within a minute.
 *
 * @param protocol The subprotocol to choose if it is offered: browsers hang up if none of theirs is.
 * @throws {AppError} `upgrade_required` if the request is no handshake.
 */
export function upgrade(request: Request, protocol: string): { socket: WebSocket; response: Response } {
  if (!wantsSocket(request)) {
    throw new AppError("upgrade_required", "This is a WebSocket: connect with ws:// or wss://.");
  }
  try {
    return Deno.upgradeWebSocket(request, {
      idleTimeout: IDLE_TIMEOUT_SECS,
      ...(offeredProtocols(request).includes(protocol) ? { protocol } : {}),
    });
  } catch (error) {
    throw new AppError("upgrade_required", "This is no proper handshake of a WebSocket.", { cause: error });
  }
}
