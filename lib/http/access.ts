/** Access control: address, Host, Origin and key, checked before a body is read. @module */

import { createHash } from "node:crypto";
import { AppError } from "../core/errors.ts";
import { type Caller, type Scope, SCOPES } from "../turn/caller.ts";
import { offeredProtocols } from "./websocket.ts";
import { WrongKeys } from "./wrong_keys.ts";

/** An API key of `[keys.NAME]`. */
export interface ApiKey {
  /** SHA-256 of the key's UTF-8 bytes, as lowercase hexadecimal digits. */
  readonly sha256: string;
  /** The caller of every request with the key. */
  readonly caller: Caller;
}

/** Settings of {@linkcode createAccessControl}. */
export interface AccessOptions {
  /** The key of the owner, which has every scope but `commands`. Without any key, only this machine is served. */
  readonly authKey: string | undefined;
  /** The keys of `[keys.NAME]`. */
  readonly keys?: readonly ApiKey[];
  /** Origins that are allowed without a key, beside those of this machine. */
  readonly allowedOrigins: readonly string[];
  /** Serves other machines without a key. */
  readonly insecure: boolean;
}

/** Decides who is served. */
export type AccessControl = ReturnType<typeof createAccessControl>;

/** The scopes of `VTUBER_AUTH_KEY`, and of this machine where no key is configured. */
const OWNER_SCOPES: ReadonlySet<Scope> = new Set(SCOPES.filter((scope) => scope !== "commands"));
/** The caller from this machine, where no key is configured. */
export const LOCAL_CALLER: Caller = { id: "", scopes: OWNER_SCOPES };
/** The caller from another machine, where no key is configured and `VTUBER_INSECURE` is set. */
const REMOTE_CALLER: Caller = {
  id: "remote",
  scopes: new Set<Scope>(["chat", "audio", "embeddings", "events"]),
};
/** The caller of an endpoint that needs no key. */
const ANONYMOUS: Caller = { id: "", scopes: new Set() };

/** Headers that proxies add. */
const PROXY_HEADERS = [
  "forwarded",
  "via",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
  "x-real-ip",
];
/** The origin of Tauri apps on macOS and Linux. */
const TAURI_ORIGIN = "tauri://localhost";
const LOOPBACK_HOST =
  /^(localhost|.+\.localhost|127(\.\d{1,3}){3}|\[::1\]|::1|(::ffff:)127(\.\d{1,3}){3})\.?$/i;

/** Returns the host and port that the client named. Over HTTP/2, the request has no header `Host`. */
export function hostOf({ headers, url }: Request): string {
  return headers.get("host") ?? new URL(url).host;
}

/** Whether a host name or address means this machine. */
export function isLoopback(host: string): boolean {
  return LOOPBACK_HOST.test(host);
}

/** Creates the access control for these settings. */
export function createAccessControl({ authKey, keys = [], insecure, ...options }: AccessOptions) {
  const wrongKeys = new WrongKeys();
  const allowedOrigins = new Set(
    options.allowedOrigins.map((origin) => origin.toLowerCase().replace(/\/+$/, "")),
  );
  /** The callers by the hash of their key. The time of a lookup by hash tells nothing about a key. */
  const callers = new Map(keys.map(({ sha256, caller }) => [sha256, caller]));
  if (authKey !== undefined) {
    const hash = sha256(authKey);
    callers.set(hash, { id: hash.slice(0, 16), scopes: OWNER_SCOPES });
  }
  const needsKey = callers.size > 0;

  /** Whether a request comes from this machine, under a local name, and through no proxy. */
  function isLocal(request: Request, address: string | undefined): boolean {
    const host = hostOf(request).replace(/:\d*$/, "");
    return isLoopback(host) && (address === undefined || isLoopback(address)) &&
      !hasProxyHeader(request.headers);
  }

  /**
   * Checks the source only: address, Host and Origin.
   *
   * @param address The connection's remote address, if known.
   * @param isOpen The endpoint needs no key.
   * @throws {AppError} `host_not_allowed`, `origin_not_allowed`.
   */
  function checkSource(request: Request, address: string | undefined, isOpen: boolean): void {
    if (needsKey) return;
    const { headers } = request;
    if (!insecure && !isLocal(request, address)) {
      throw new AppError(
        "host_not_allowed",
        hasProxyHeader(headers)
          ? "The request came through a proxy, behind which every stranger looks local. " +
            "To serve them, make a key with `oab-vtuber key new`."
          : "Without a key only this machine is served, under a local name (127.0.0.1, localhost). " +
            "To serve other machines, make a key with `oab-vtuber key new`.",
      );
    }
    const origin = headers.get("origin");
    // Browsers send no Origin for frames and for subresources that the page cannot read.
    const isHiddenOrigin = origin === null && headers.get("sec-fetch-site") === "cross-site";
    if (isHiddenOrigin && !isOpen || !allowsOrigin(request)) {
      throw new AppError(
        "origin_not_allowed",
        `Without a key, pages of other sites are not served (origin: ${origin ?? "hidden"}). ` +
          "Make a key with `oab-vtuber key new`, or list the page's origin in VTUBER_ALLOWED_ORIGINS.",
      );
    }
  }

  /**
   * Checks source and key, and finds the caller. A right key is found first, whatever else came from its address.
   *
   * @throws {AppError} `host_not_allowed`, `origin_not_allowed`, `invalid_api_key` or `rate_limit_exceeded`, with what
   * to do; the reason of the request's signal if the client hangs up first.
   */
  async function identify(
    request: Request,
    address: string | undefined,
    { isOpen = false, keyInUrl = false }: { readonly isOpen?: boolean; readonly keyInUrl?: boolean },
  ): Promise<Caller> {
    checkSource(request, address, isOpen);
    if (isOpen) return ANONYMOUS;
    if (!needsKey) return isLocal(request, address) ? LOCAL_CALLER : REMOTE_CALLER;
    const sent = keysOf(request, keyInUrl);
    if (sent.length === 0) {
      throw new AppError(
        "invalid_api_key",
        "A key is needed: send VTUBER_AUTH_KEY, or a key of [keys.NAME] in config.toml, as `Authorization: Bearer KEY`.",
      );
    }
    for (const key of sent) {
      const caller = callers.get(sha256(key));
      if (caller) return caller;
    }
    return await wrongKeys.refuse(address, request.signal);
  }

  /** Whether the page that sent the request may read the response. */
  function allowsOrigin(request: Request): boolean {
    const origin = request.headers.get("origin")?.toLowerCase();
    if (origin === undefined || needsKey) return true;
    if (origin === TAURI_ORIGIN || allowedOrigins.has(origin)) return true;
    const url = URL.parse(origin);
    if (url === null || !url.protocol.startsWith("http")) return false;
    return isLoopback(url.hostname) || url.host === hostOf(request).toLowerCase();
  }

  return { identify, checkSource, allowsOrigin };
}

/** Subprotocols that carry a key: this server's own, and that of OpenAI's realtime clients. */
const KEY_PROTOCOL = /^(?:bearer|openai-insecure-api-key)\.(.+)$/;

/**
 * Lists the readings of the key of a request: of `?token=`, the first subprotocol with a key, the bearer token or the
 * header of Azure's clients. Only one of them counts, because a holder of some key could try others beside it, without
 * a wait. Browsers can send no header with a WebSocket or an EventSource, so with `inUrl` the URL and the subprotocols
 * count first. A subprotocol is the key, or its base64url.
 */
function keysOf(request: Request, inUrl: boolean): string[] {
  const { headers, url } = request;
  if (inUrl) {
    const token = new URL(url).searchParams.get("token");
    if (token) return [token];
    for (const protocol of offeredProtocols(request)) {
      const key = KEY_PROTOCOL.exec(protocol)?.[1];
      if (key !== undefined) return [key, fromBase64Url(key) ?? key];
    }
  }
  const key = /^bearer +(.+?) *$/i.exec(headers.get("authorization") ?? "")?.[1] ?? headers.get("api-key");
  return key ? [key] : [];
}

function fromBase64Url(text: string): string | undefined {
  try {
    return new TextDecoder().decode(Uint8Array.fromBase64(text, { alphabet: "base64url" }));
  } catch {
    return undefined;
  }
}

/** Hashes synchronously: a wait for `crypto.subtle` would let requests overtake each other. */
export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function hasProxyHeader(headers: Headers): boolean {
  return PROXY_HEADERS.some((name) => headers.has(name));
}
