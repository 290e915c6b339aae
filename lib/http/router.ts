/** Paths: forgiving in how they are written, exact in what they mean. @module */

import { AppError } from "../core/errors.ts";

/** What a handler is given beside the request. */
export interface RequestContext {
  readonly requestId: string;
  /** What the route's `*` stands for, decoded; else empty. */
  readonly rest: string;
}

/** Answers a request. What it throws becomes an error response. */
export type Handler = (request: Request, context: RequestContext) => Response | Promise<Response>;

/** A path and what it does. */
export interface Route {
  /** As {@linkcode canonicalPath} gives it; `/models/*` stands for what has one more part. */
  readonly path: string;
  /** Served without a key. */
  readonly open?: boolean;
  /** The key may also stand in the address or the subprotocol: browsers can send no header there. */
  readonly keyInUrl?: boolean;
  readonly GET?: Handler;
  readonly POST?: Handler;
  readonly DELETE?: Handler;
}

/** A route that fits a request. */
export interface Match {
  readonly route: Route;
  readonly rest: string;
}

/** The alias that some clients use as their base. */
const ALIAS = "/api/v1/openai";

/**
 * The path that is meant: slashes collapsed, without `/v1` however often and the `/api/v1/openai` alias before it.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { canonicalPath } from "./router.ts";
 * assertEquals(canonicalPath("//v1/v1/chat/completions/"), "/chat/completions");
 * ```
 */
export function canonicalPath(pathname: string): string {
  let path = "/" + pathname.split("/").filter((part) => part !== "").join("/");
  if (path === ALIAS || path.startsWith(ALIAS + "/")) path = path.slice(ALIAS.length) || "/";
  while (path === "/v1" || path.startsWith("/v1/")) path = path.slice("/v1".length) || "/";
  return path;
}

/** The route that a path means, if there is one. */
export function matchRoute(routes: readonly Route[], pathname: string): Match | undefined {
  const path = canonicalPath(pathname);
  for (const route of routes) {
    if (route.path === path) return { route, rest: "" };
    if (!route.path.endsWith("/*") || !path.startsWith(route.path.slice(0, -1))) continue;
    const rest = decode(path.slice(route.path.length - 1));
    if (rest !== "") return { route, rest };
  }
  return undefined;
}

/** The failure for a path that means nothing, with the base address to use where it looks like one typed twice. */
export function notFound(routes: readonly Route[], pathname: string): AppError {
  const path = canonicalPath(pathname);
  const nested = routes.find((route) => route.path !== "/" && path.endsWith(route.path));
  const hint = nested ? " If your app adds the path itself, give it the address up to /v1 only." : "";
  return new AppError("not_found", `There is nothing at ${decode(pathname)}.${hint}`);
}

/** The methods that a route answers, for `Allow`. */
export function allowedMethods(route: Route): string {
  return [route.GET && "GET, HEAD", route.POST && "POST", route.DELETE && "DELETE", "OPTIONS"].filter(Boolean)
    .join(", ");
}

/** The route's handler for a method; a HEAD is a GET whose body is left out. */
export function handlerOf(route: Route, method: string): Handler | undefined {
  if (method === "GET" || method === "HEAD") return route.GET;
  if (method === "DELETE") return route.DELETE;
  return method === "POST" ? route.POST : undefined;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
