/** Answers requests: routes behind access control, request ids, and the one catch. @module */

import { AppError, type ErrorCode } from "./core/errors.ts";
import { createDedupe, type Log } from "./core/log.ts";
import type { AccessControl } from "./http/access.ts";
import { releaseBody, setBodyKey } from "./http/body.ts";
import { corsHeaders, preflightResponse } from "./http/cors.ts";
import { errorResponse } from "./http/error_response.ts";
import { checkRate, createRateLimiter, rateHeaders } from "./http/rate_limit.ts";
import {
  allowedMethods,
  type Answered,
  matchRoute,
  methodOf,
  METHODS,
  notFound,
  type Route,
} from "./http/router.ts";
import { requiredScopes } from "./http/scopes.ts";
import { requireScopes } from "./turn/caller.ts";

/** Answers a request; never rejects. `address` is the connection's remote address, if known. */
export type App = (request: Request, address?: string) => Promise<Response>;

/** How long the same refusal is not logged again at level `info`, in milliseconds, and how many are remembered. */
const REFUSAL_LOG_MS = 60_000;
const MAX_REFUSALS = 100;
/** Errors whose message may repeat words of a body, or of an upstream, which do not belong into the log. */
const QUOTING: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["invalid_json", "upstream_error"]);
/** Status of a request whose client hung up first (nginx's number); nobody reads it. */
const CLIENT_CLOSED_REQUEST = 499;

/** A request that is being answered. */
interface Arrival {
  readonly requestId: string;
  /** The connection's remote address, if known. */
  readonly address: string | undefined;
  /** The path; undefined if the Host header, which the URL has, is malformed. */
  readonly pathname: string | undefined;
  readonly match: ReturnType<typeof matchRoute>;
  /** Headers of the response, whether it is the handler's or an error. */
  readonly head: Headers;
  /** Whether the source and the key are right. */
  isAdmitted?: boolean;
  /** The code of the error that answers the request. */
  code?: ErrorCode;
}

/**
 * Creates the app: a function of requests, which opens no port.
 *
 * @param onAnswered Called once for each response, when its head is ready. It must not throw.
 */
export function createApp(
  routes: readonly Route[],
  access: AccessControl,
  log: Log,
  onAnswered?: (answered: Answered) => void,
): App {
  // A route without its scopes is a mistake of ours, which must not wait for a request.
  for (const route of routes) for (const method of METHODS) if (route[method]) requiredScopes(route, method);
  const isNewRefusal = createDedupe(REFUSAL_LOG_MS, MAX_REFUSALS);
  const rateOf = createRateLimiter();

  async function answer(
    request: Request,
    arrival: Arrival,
  ): Promise<Response> {
    const { requestId, address, pathname, match, head } = arrival;
    if (pathname === undefined) {
      throw new AppError("invalid_value", 'The header "Host" is malformed.', { param: "Host" });
    }
    const isServed = match !== undefined && match.route.instead === undefined;
    const allow = isServed ? allowedMethods(match.route) : "GET, HEAD, POST, DELETE, OPTIONS";
    const method = match && methodOf(match.route, request.method);
    const required = method ? requiredScopes(match.route, method) : [];
    const isOpen = required === "open";
    if (request.method === "OPTIONS") {
      access.checkSource(request, address, isOpen);
      return preflightResponse(request, allow);
    }
    // Check the key first, so that callers without one cannot probe for routes.
    const caller = await access.identify(request, address, { isOpen, keyInUrl: match?.route.keyInUrl });
    arrival.isAdmitted = true;
    const rate = rateOf(caller);
    if (rate) {
      for (const [name, value] of rateHeaders(rate)) head.set(name, value);
      checkRate(rate);
    }
    if (!isServed) throw notFound(routes, pathname, match?.route.instead);
    const handler = method && match.route[method];
    if (handler === undefined) {
      const message = `${request.method} is not allowed here; allowed are ${allow}.`;
      head.set("allow", allow);
      throw new AppError("method_not_allowed", message);
    }
    if (!isOpen) requireScopes(caller, required, "This endpoint");
    setBodyKey(request, caller.id);
    // Deno's server leaves out the body of a response to `HEAD`, and knows its length.
    return await handler(request, { requestId, rest: match.rest, caller });
  }

  function toResponse(error: unknown, request: Request, arrival: Arrival): Response {
    const { requestId, isAdmitted, match, pathname } = arrival;
    if (error instanceof AppError) {
      arrival.code = error.code;
      // Some clients repeat a refused request every second, for ever. A stranger can make up any number of paths.
      const place = isAdmitted ? pathname : match?.route.path;
      const level = isNewRefusal(`${error.code} ${place}`) ? "info" : "debug";
      // The words of an agent do not belong into the log either.
      const reason = error.prompted || QUOTING.has(error.code) ? undefined : error.message;
      log[level]("request refused", { code: error.code, reason, requestId });
      return errorResponse(error);
    }
    if (request.signal.aborted) return new Response(null, { status: CLIENT_CLOSED_REQUEST });
    const stack = error instanceof Error ? error.stack : undefined;
    log.error("request failed", { error, stack, requestId });
    arrival.code = "internal_error";
    const message = `An internal error occurred. The log has its details under ${requestId}.`;
    return errorResponse(new AppError("internal_error", message));
  }

  return async (request, address) => {
    const startedAt = performance.now();
    const requestId = crypto.randomUUID().replaceAll("-", "");
    const pathname = URL.parse(request.url)?.pathname;
    const match = pathname === undefined ? undefined : matchRoute(routes, pathname);
    // Read before the handler, because a request that was upgraded to a WebSocket can no longer be read.
    const { method } = request;
    const head = new Headers(corsHeaders(request, access.allowsOrigin(request)));
    head.set("x-request-id", requestId);
    head.set("x-content-type-options", "nosniff");
    const arrival: Arrival = { requestId, address, pathname, match, head };
    const response = await answer(request, arrival)
      .catch((error) => toResponse(error, request, arrival))
      .finally(() => releaseBody(request));
    for (const [name, value] of head) response.headers.append(name, value);
    const ms = performance.now() - startedAt;
    const { status } = response;
    const route = match?.route.instead === undefined ? match?.route : undefined;
    onAnswered?.({ route, method, status, ms, code: arrival.code });
    log.debug("request", { method, path: pathname, status, ms: Math.round(ms), requestId });
    return response;
  };
}
