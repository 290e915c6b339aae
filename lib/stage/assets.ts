/** Serves the page and its files. @module */

import { eTag, ifNoneMatch } from "@std/http/etag";
import { AppError } from "../core/errors.ts";
import { hostOf } from "../http/access.ts";
import { readPageFile } from "./page_files.ts";

const TYPES: ReadonlyMap<string, string> = new Map([
  ["css", "text/css; charset=utf-8"],
  ["js", "text/javascript; charset=utf-8"],
  ["svg", "image/svg+xml"],
]);

/** Origins of a character on another server, which the page's Content Security Policy has to allow. */
export interface CharacterOrigins {
  readonly img: readonly string[];
  readonly connect: readonly string[];
}

/** Answers `GET /` for browsers. */
export async function servePage(request: Request, origins: CharacterOrigins): Promise<Response> {
  return await respond(request, (await readPageFile("index.html"))!, {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": contentSecurityPolicy(request, origins),
    "referrer-policy": "no-referrer",
    // `GET /` answers programs with JSON, and the policy names the host.
    "vary": "accept, host",
  });
}

/** Answers `GET /stage/NAME`. @throws {AppError} `not_found`. */
export async function serveAsset(request: Request, name: string): Promise<Response> {
  const type = TYPES.get(name.slice(name.lastIndexOf(".") + 1));
  const text = type && await readPageFile(name);
  if (!type || text === undefined) throw new AppError("not_found", `The page has no file ${name}.`);
  return await respond(request, text, { "content-type": type });
}

async function respond(request: Request, text: string, headers: Record<string, string>): Promise<Response> {
  const etag = await eTag(text);
  const all = { ...headers, etag, "cache-control": "no-cache" };
  return ifNoneMatch(request.headers.get("if-none-match"), etag)
    ? new Response(text, { headers: all })
    : new Response(null, { status: 304, headers: all });
}

/** Allows the page its own files, the character's origins and connections to this server. */
function contentSecurityPolicy(request: Request, { img, connect }: CharacterOrigins): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    ["img-src 'self' data: blob:", ...img].join(" "),
    ["connect-src 'self'", ...socketOrigins(request), ...connect].join(" "),
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'self'",
  ].join("; ");
}

/** Returns the server's own WebSocket origins: Safari before 15.4 does not count them as `'self'`. */
function socketOrigins(request: Request): string[] {
  const host = hostOf(request);
  return /^(\[[\da-f:.]+\]|[\w.-]+)(:\d{1,5})?$/i.test(host) ? [`ws://${host}`, `wss://${host}`] : [];
}
