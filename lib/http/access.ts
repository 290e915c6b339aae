/** Access control: address, Host, Origin and key, checked before a body is read. @module */

import { createHash, timingSafeEqual } from "node:crypto";
import { AppError } from "../core/errors.ts";
import type { Route } from "./router.ts";
import { offeredProtocols } from "./websocket.ts";

/** Settings of {@linkcode createAccessControl}. */
export interface AccessOptions {
  /** The key that every route but the open ones requires; without it, only this machine is served. */
  readonly authKey: string | undefined;
  /** Origins that are allowed without a key, beside those of this machine. */
  readonly allowedOrigins: readonly string[];
  /** Serves other machines without a key. */
  readonly insecure: boolean;
}

/** Decides who is served. */
export type AccessControl = ReturnType<typeof createAccessControl>;

/** The origin of Tauri apps on macOS and Linux. */
const TAURI_ORIGIN = "tauri://localhost";
const LOOPBACK_HOST =
  /^(localhost|.+\.localhost|127(\.\d{1,3}){3}|\[::1\]|::1|(::ffff:)127(\.\d{1,3}){3})\.?$/i;

/** Whether a host name or address means this machine. */
export function isLoopback(host: string): boolean {
  return LOOPBACK_HOST.test(host);
}

/** Creates the access control for these settings. */
export function createAccessControl({ authKey, insecure, ...options }: AccessOptions) {
  const allowedOrigins = new Set(
    options.allowedOrigins.map((origin) => origin.toLowerCase().replace(/\/+$/, "")),
  );
  const keyHash = authKey === undefined ? undefined : sha256(authKey);

  /**
   * Checks the source only: address, Host and Origin.
   *
   * @param address The connection's remote address, if known.
   * @throws {AppError} `host_not_allowed`, `origin_not_allowed`.
   */
  function checkSource(request: Request, address: string | undefined, { open }: Pick<Route, "open">): void {
    if (keyHash !== undefined) return;
    const { headers } = request;
    const host = (headers.get("host") ?? new URL(request.url).host).replace(/:\d*$/, "");
    if (!insecure && (!isLoopback(host) || address !== undefined && !isLoopback(address))) {
      throw new AppError(
        "host_not_allowed",
        "Without a key only this machine is served, under a local name (127.0.0.1, localhost). " +
          "Set VTUBER_AUTH_KEY to serve other machines.",
      );
    }
    const origin = headers.get("origin");
    // Browsers send no Origin for frames and for subresources that the page cannot read.
    const isHiddenOrigin = origin === null && headers.get("sec-fetch-site") === "cross-site";
    if (isHiddenOrigin && !open || !allowsOrigin(request)) {
      throw new AppError(
        "origin_not_allowed",
        `Without a key, pages of other sites are not served (origin: ${origin ?? "hidden"}). ` +
          "Set VTUBER_AUTH_KEY, or list the page's origin in VTUBER_ALLOWED_ORIGINS.",
      );
    }
  }

  /**
   * Checks all: source and key.
   *
   * @throws {AppError} `host_not_allowed`, `origin_not_allowed` or `invalid_api_key`, with what to do.
   */
  function check(
    request: Request,
    address: string | undefined,
    route: Pick<Route, "open" | "keyInUrl">,
  ): void {
    checkSource(request, address, route);
    if (keyHash === undefined || route.open) return;
    const keys = keysOf(request, route.keyInUrl);
    if (keys.some((key) => timingSafeEqual(sha256(key), keyHash))) return;
    throw new AppError(
      "invalid_api_key",
      keys.length === 0
        ? "A key is needed: send the value of VTUBER_AUTH_KEY as `Authorization: Bearer KEY`."
        : "The key is wrong: it must be the value of VTUBER_AUTH_KEY.",
    );
  }

  /** Whether the page that sent the request may read the response. */
  function allowsOrigin({ headers }: Request): boolean {
    const origin = headers.get("origin")?.toLowerCase();
    if (origin === undefined || keyHash !== undefined) return true;
    if (origin === TAURI_ORIGIN || allowedOrigins.has(origin)) return true;
    const url = URL.parse(origin);
    if (url === null || !url.protocol.startsWith("http")) return false;
    return isLoopback(url.hostname) || url.host === headers.get("host")?.toLowerCase();
  }

  /** Identifies the key that callers use, without revealing it; empty without a key. */
  const keyId = keyHash === undefined ? "" : keyHash.toHex().slice(0, 16);
  return { check, checkSource, allowsOrigin, keyId };
}

/** Subprotocols that carry a key: this server's own, and that of OpenAI's realtime clients. */
const KEY_PROTOCOL = /^(?:bearer|openai-insecure-api-key)\.(.+)$/;

/**
 * Lists the keys of a request: the bearer token, and the header of Azure's clients. Browsers can send no header with a
 * WebSocket or an EventSource, so `inUrl` adds `?token=` and the subprotocols, as they are and decoded from base64url.
 */
function keysOf(request: Request, inUrl: boolean | undefined): string[] {
  const { headers, url } = request;
  const keys = [/^bearer +(.+?) *$/i.exec(headers.get("authorization") ?? "")?.[1], headers.get("api-key")];
  if (inUrl) {
    keys.push(new URL(url).searchParams.get("token"));
    for (const protocol of offeredProtocols(request)) {
      const key = KEY_PROTOCOL.exec(protocol)?.[1];
      if (key !== undefined) keys.push(key, fromBase64Url(key));
    }
  }
  return keys.filter((key) => !!key) as string[];
}

function fromBase64Url(text: string): string | undefined {
  try {
    return new TextDecoder().decode(Uint8Array.fromBase64(text, { alphabet: "base64url" }));
  } catch {
    return undefined;
  }
}

/** Hashes synchronously: a wait for `crypto.subtle` would let requests overtake each other. */
function sha256(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}
