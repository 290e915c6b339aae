/** The doors: who may come in, decided before a body is read. @module */

import { createHash, timingSafeEqual } from "node:crypto";
import { AppError } from "../core/errors.ts";
import { offeredProtocols } from "./websocket.ts";

/** Which doors stand open. */
export interface AccessOptions {
  /** The key of every route but the open ones; without it only this machine is served. */
  readonly authKey: string | undefined;
  /** Origins that are let in without a key, beside this machine's. */
  readonly allowedOrigins: readonly string[];
  /** Serve others than this machine without a key. */
  readonly insecure: boolean;
}

/** What the guard looks at beside the request. */
export interface Caller {
  /** The address that the connection comes from, if that is known. */
  readonly address: string | undefined;
  /** The route needs no key. */
  readonly open: boolean;
  /** The route takes the key also as `?token=` and as a WebSocket's subprotocol. */
  readonly keyInUrl?: boolean;
}

/** Request headers that browsers may read from an answer. */
const EXPOSED_HEADERS =
  "x-request-id, x-session-id, x-resolved-model, x-usage-estimated, x-should-retry, retry-after";
/** How long a browser may remember a preflight, in seconds. */
const PREFLIGHT_SECS = 600;
/** Apps built with Tauri have this origin on macOS and Linux. */
const TAURI_ORIGIN = "tauri://localhost";
const LOOPBACK_HOST =
  /^(localhost|.+\.localhost|127(\.\d{1,3}){3}|\[::1\]|::1|(::ffff:)127(\.\d{1,3}){3})\.?$/i;

/** Whether a host name or address means this machine. */
export function isLoopback(host: string): boolean {
  return LOOPBACK_HOST.test(host);
}

/** Keeps the doors. */
export interface AccessControl {
  /** @throws {AppError} `host_not_allowed`, `origin_not_allowed` or `invalid_api_key`, with what to do. */
  check(request: Request, caller: Caller): void;
  /** The answer to a preflight, before any key is asked. @throws {AppError} `host_not_allowed`, `origin_not_allowed`. */
  preflight(request: Request, caller: Caller, allow: string): Response;
  /** The headers by which a browser lets its page read an answer. */
  corsHeaders(request: Request): [string, string][];
  /** Names the caller: a fingerprint of the key that it used, the same for the same key. */
  readonly keyId: string;
}

/** Makes the guard. */
export function createAccessControl(options: AccessOptions): AccessControl {
  const { authKey, insecure } = options;
  const allowed = new Set(options.allowedOrigins.map((origin) => origin.toLowerCase().replace(/\/+$/, "")));
  const expected = authKey === undefined ? undefined : digest(authKey);

  function checkPlace(request: Request, { address, open }: Caller): void {
    if (expected !== undefined) return;
    if (!insecure) {
      const host = hostName(request.headers.get("host") ?? new URL(request.url).host);
      if (!isLoopback(host) || address !== undefined && !isLoopback(address)) {
        throw new AppError(
          "host_not_allowed",
          "Without a key only this machine is served, by a name that means it (127.0.0.1, localhost). " +
            "Set VTUBER_AUTH_KEY to serve others.",
        );
      }
    }
    // Browsers send no Origin with a frame, or with what a page may fetch without reading it.
    const isUnseen = !open && request.headers.get("origin") === null &&
      request.headers.get("sec-fetch-site") === "cross-site";
    if (isUnseen || !isAllowedOrigin(request)) {
      throw new AppError(
        "origin_not_allowed",
        `Without a key pages of other sites are not served, such as ${
          request.headers.get("origin") ?? "the one that asked"
        }. ` +
          "Set VTUBER_AUTH_KEY, or list the page's origin in VTUBER_ALLOWED_ORIGINS.",
      );
    }
  }

  function isAllowedOrigin(request: Request): boolean {
    const origin = request.headers.get("origin")?.toLowerCase();
    if (origin === undefined || expected !== undefined) return true;
    if (origin === TAURI_ORIGIN || allowed.has(origin)) return true;
    const url = URL.parse(origin);
    if (url === null || !url.protocol.startsWith("http")) return false;
    return isLoopback(url.hostname) || url.host === request.headers.get("host")?.toLowerCase();
  }

  return {
    keyId: expected === undefined ? "" : expected.toHex().slice(0, 16),

    check(request, caller) {
      checkPlace(request, caller);
      if (expected === undefined || caller.open) return;
      const given = keysOf(request, caller.keyInUrl ?? false);
      let isRight = false;
      for (const key of given) if (timingSafeEqual(digest(key), expected)) isRight = true;
      if (!isRight) {
        throw new AppError(
          "invalid_api_key",
          given.length === 0
            ? "A key is needed: send it as `Authorization: Bearer KEY`. It is the one in VTUBER_AUTH_KEY."
            : "The key is wrong: it must be the one in VTUBER_AUTH_KEY.",
        );
      }
    },

    preflight(request, caller, allow) {
      checkPlace(request, caller);
      const headers = new Headers({ allow });
      if (request.headers.has("origin")) {
        headers.set("access-control-allow-methods", allow);
        const wanted = request.headers.get("access-control-request-headers");
        if (wanted) headers.set("access-control-allow-headers", wanted);
        headers.set("access-control-max-age", String(PREFLIGHT_SECS));
        headers.set("access-control-allow-private-network", "true");
      }
      return new Response(null, { status: 204, headers });
    },

    corsHeaders(request) {
      const origin = request.headers.get("origin");
      if (origin === null) return [];
      if (!isAllowedOrigin(request)) return [["vary", "Origin"]];
      return [
        ["access-control-allow-origin", origin],
        ["access-control-expose-headers", EXPOSED_HEADERS],
        ["vary", "Origin"],
      ];
    },
  };
}

/** Subprotocols that carry a key: ours, and that of OpenAI's realtime clients. */
const KEY_PROTOCOL = /^(?:bearer|openai-insecure-api-key)\.(.+)$/;

/**
 * What a request gives as its key: as a bearer, or in the header that Azure's clients use. A browser can send no header
 * with a WebSocket or an EventSource: there also in the address, or as a subprotocol, as it is or in base64url.
 */
function keysOf(request: Request, keyInUrl: boolean): string[] {
  const keys = [
    /^bearer +(.+?) *$/i.exec(request.headers.get("authorization") ?? "")?.[1],
    request.headers.get("api-key"),
  ];
  if (keyInUrl) {
    keys.push(new URL(request.url).searchParams.get("token"));
    for (const protocol of offeredProtocols(request)) {
      const key = KEY_PROTOCOL.exec(protocol)?.[1];
      if (key !== undefined) keys.push(key, fromBase64Url(key));
    }
  }
  return keys.filter((key) => key !== undefined && key !== null && key !== "") as string[];
}

function fromBase64Url(text: string): string | undefined {
  try {
    return new TextDecoder().decode(Uint8Array.fromBase64(text, { alphabet: "base64url" }));
  } catch {
    return undefined;
  }
}

/** The name in a `Host` header, without its port. */
function hostName(host: string): string {
  return host.replace(/:\d*$/, "");
}

/** Made at once: with a wait for another thread, requests could overtake each other. */
function digest(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}
