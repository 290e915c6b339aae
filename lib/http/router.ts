/** Routes: which handler answers a path, however the client writes it, and how the docs list them. @module */

import { AppError, type ErrorCode } from "../core/errors.ts";
import type { Caller } from "../turn/caller.ts";

/** The facts that a handler gets beside the request. */
export interface RequestContext {
  readonly requestId: string;
  /** The decoded part of the path that the route's `*` stands for; else empty. */
  readonly rest: string;
  /** The maker of the request, and its rights. */
  readonly caller: Caller;
}

/** Answers a request. A thrown error becomes an error response. */
export type Handler = (request: Request, context: RequestContext) => Response | Promise<Response>;

/** Methods that a route can answer. `HEAD` is answered by the `GET` handler. */
export const METHODS = ["GET", "POST", "DELETE"] as const;
/** One of {@linkcode METHODS}. */
export type Method = (typeof METHODS)[number];

/** A path and the handlers of its methods. */
export interface Route extends Readonly<Partial<Record<Method, Handler>>> {
  /** The path in canonical form, see {@linkcode canonicalPath}; a part `*` matches one or more parts. The first such path wins. */
  readonly path: string;
  /** The docs show the path without `/v1`. */
  readonly unversioned?: boolean;
  /** The path of the endpoint that is served here too, and whose scopes count. */
  readonly aliasOf?: string;
  /** Accepts the key in the query or the WebSocket subprotocol too, because browsers cannot send a header there. */
  readonly keyInUrl?: boolean;
  /** The path is not served: the end of the error's sentence, which says what to call. */
  readonly instead?: string;
  /** How the docs list each method, and `GET /` under its name if it has one. */
  readonly docs?: Readonly<Partial<Record<Method, { readonly name?: string; readonly summary: string }>>>;
}

/** A response, as it is measured. */
export interface Answered {
  /** The served route of the path, if there is one. */
  readonly route: Route | undefined;
  readonly method: string;
  readonly status: number;
  /** Time until the head of the response, in milliseconds. */
  readonly ms: number;
  /** The code of the error, if the response is one. */
  readonly code: ErrorCode | undefined;
}

/** The base path of some OpenAI-compatible gateways, which their clients keep, and any number of `/v1`. */
const PREFIX = /^(?:\/api\/v1\/openai)?(?:\/v1)*(?=\/|$)/;

/**
 * Reduces a path to the form that routes use: single slashes, without the alias `/api/v1/openai` and any `/v1` in
 * front.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { canonicalPath } from "./router.ts";
 * assertEquals(canonicalPath("//v1/v1/chat/completions/"), "/chat/completions");
 * ```
 */
export function canonicalPath(pathname: string): string {
  const path = "/" + pathname.split("/").filter((part) => part !== "").join("/");
  return path.replace(PREFIX, "") || "/";
}

/** Finds the route of a path, and the decoded rest. Exact paths come first, and the last of them wins. */
export function matchRoute(
  routes: readonly Route[],
  pathname: string,
): { readonly route: Route; readonly rest: string } | undefined {
  const path = canonicalPath(pathname);
  const exact = routes.findLast((route) => route.path === path);
  if (exact) return { route: exact, rest: "" };
  for (const route of routes) {
    const [start, end] = route.path.split("/*") as [string, string?];
    if (end === undefined || !path.startsWith(`${start}/`) || !path.endsWith(end)) continue;
    const rest = decodePercent(path.slice(start.length + 1, path.length - end.length));
    if (rest !== "") return { route, rest };
  }
  return undefined;
}

/**
 * Makes the `not_found` error of a path, with what to call for a path that apps try by default, and with a hint if an
 * app seems to have added the endpoint's path twice.
 */
export function notFound(routes: readonly Route[], pathname: string, instead?: string): AppError {
  const path = canonicalPath(pathname);
  const isNested = routes.some((route) => route.path !== "/" && path.endsWith(route.path));
  const hint = instead ??
    (isNested ? "If your app adds the endpoint's path itself, enter the address up to /v1 only." : "");
  return new AppError("not_found", `There is nothing at ${decodePercent(pathname)}. ${hint}`.trimEnd());
}

/** Lists the methods of a route for the `Allow` header. */
export function allowedMethods(route: Route): string {
  const methods = [route.GET && "GET, HEAD", route.POST && "POST", route.DELETE && "DELETE", "OPTIONS"];
  return methods.filter(Boolean).join(", ");
}

/** Returns the method of a route that answers a request's method, if the route has it. */
export function methodOf(route: Route, requested: string): Method | undefined {
  const name = requested === "HEAD" ? "GET" : requested;
  return METHODS.find((method) => method === name && route[method] !== undefined);
}

/** Returns the path of a route, or of the endpoint that it is an alias of, as the docs show it. */
export function publicPath({ path, aliasOf = path, unversioned }: Route): string {
  return (unversioned ? "" : "/v1") + aliasOf.replace("*", "{id}");
}

/** Lists the documented endpoints, in the order of the routes, with paths such as `/v1/vtuber/sessions/{id}`. */
export function listEndpoints(routes: readonly Route[]) {
  return routes.flatMap((route) =>
    METHODS.flatMap((method) => {
      const entry = route.docs?.[method];
      return entry ? [{ route, method, path: publicPath(route), ...entry }] : [];
    })
  );
}

/** Decodes percent-encoded text, and returns any other text as it is. */
export function decodePercent(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
