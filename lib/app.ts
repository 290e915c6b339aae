/** The route table: hands each side the functions it needs, and catches what is thrown, in one place. @module */

import { accepts } from "@std/http/negotiation";
import type { ConversationRegistry } from "./conversation/registry.ts";
import { eventsHandler } from "./events/sse.ts";
import {
  notificationsHandler,
  permissionHandler,
  permissionsHandler,
  stateHandler,
} from "./events/handlers.ts";
import type { Notifier } from "./events/notifier.ts";
import type { EventHub } from "./events/hub.ts";
import { webSocketHandler } from "./events/websocket.ts";
import { errorResponse } from "./http/error_response.ts";
import { type AccessOptions, createAccessControl } from "./http/access.ts";
import { healthHandler, readyHandler } from "./http/health.ts";
import { forgetHandler, sessionsHandler } from "./events/handlers.ts";
import {
  allowedMethods,
  canonicalPath,
  type Handler,
  handlerOf,
  matchRoute,
  notFound,
  type Route,
} from "./http/router.ts";
import { chatHandler } from "./openai/chat.ts";
import type { CompletionDeps } from "./openai/chat.ts";
import { completionsHandler } from "./openai/legacy_completions.ts";
import { modelHandler, modelsHandler } from "./openai/models.ts";
import type { StreamOptions } from "./openai/response.ts";
import { createDedupe, type Log } from "./core/log.ts";
import type { ModelRouter } from "./turn/model_router.ts";
import { AppError } from "./core/errors.ts";
import type { PermissionBroker } from "./turn/permission.ts";
import type { CannedReplies } from "./turn/canned_replies.ts";
import { IdempotencyCache } from "./turn/idempotency.ts";

/** What the app is made of. */
export interface AppDeps {
  readonly agents: ModelRouter;
  readonly conversations: ConversationRegistry;
  readonly hub: EventHub;
  readonly permissions: PermissionBroker;
  readonly notifier: Notifier;
  readonly cannedReplies: CannedReplies;
  /** The page, and what it is made of. */
  readonly stage: { readonly page: Handler; readonly files: Handler };
  readonly access: AccessOptions;
  /** One more path for chat completions. */
  readonly chatPath: string;
  readonly stream: StreamOptions;
  readonly version: string;
  readonly log: Log;
  /** Whether the program is shutting down. */
  readonly draining: () => boolean;
}

/** Answers every request; never rejects. `address` is where the connection comes from, if that is known. */
export type App = (request: Request, address?: string) => Promise<Response>;

/** How long a refusal is not said again at level `info`, in milliseconds; and how many are kept in mind. */
const REFUSALS_LOGGED_MS = 60_000;
const MAX_REFUSALS = 100;
/** The client hung up before it was answered; nobody reads this (nginx's number for it). */
const CLIENT_CLOSED_REQUEST = 499;

/** Makes the app: a function of requests, which opens no port. */
export function createApp(deps: AppDeps): App {
  const guard = createAccessControl(deps.access);
  const routes = createRoutes(deps, guard.keyId);
  const isNew = createDedupe(REFUSALS_LOGGED_MS, MAX_REFUSALS);

  async function answer(request: Request, url: URL, requestId: string, address: string | undefined) {
    const match = matchRoute(routes, url.pathname);
    const allow = match ? allowedMethods(match.route) : "GET, HEAD, POST, DELETE, OPTIONS";
    const { open = false, keyInUrl = false } = match?.route ?? {};
    const caller = { address, open, keyInUrl };
    if (request.method === "OPTIONS") return guard.preflight(request, caller, allow);
    guard.check(request, caller);
    // Only after the key: who has none is not told what is here.
    if (match === undefined) throw notFound(routes, url.pathname);
    const handler = handlerOf(match.route, request.method);
    if (handler === undefined) {
      const response = errorResponse(
        new AppError("method_not_allowed", `${request.method} is not answered here, only ${allow}.`),
      );
      response.headers.set("allow", allow);
      return response;
    }
    const isHead = request.method === "HEAD";
    const response = await handler(request, { requestId, rest: match.rest });
    return isHead ? new Response(null, response) : response;
  }

  return async (request, address) => {
    const started = performance.now();
    const requestId = crypto.randomUUID().replaceAll("-", "");
    const url = new URL(request.url);
    const { method } = request;
    // Read before: an upgraded request can no longer be.
    const cors = guard.corsHeaders(request);
    let response: Response;
    try {
      response = await answer(request, url, requestId, address);
    } catch (error) {
      response = toResponse(error, request, requestId, deps.log, (code) => isNew(`${code} ${url.pathname}`));
    }
    response.headers.set("x-request-id", requestId);
    response.headers.set("x-content-type-options", "nosniff");
    for (const [name, value] of cors) response.headers.append(name, value);
    deps.log.debug("request", {
      method,
      path: url.pathname,
      status: response.status,
      ms: Math.round(performance.now() - started),
      requestId,
    });
    return response;
  };
}

function toResponse(
  error: unknown,
  request: Request,
  requestId: string,
  log: Log,
  isNew: (code: string) => boolean,
): Response {
  if (error instanceof AppError) {
    // Some clients come back every second, for ever.
    log[isNew(error.code) ? "info" : "debug"]("refused", {
      code: error.code,
      // Of a turn it may repeat what the agent said.
      reason: error.prompted ? undefined : error.message,
      requestId,
    });
    return errorResponse(error);
  }
  if (request.signal.aborted) return new Response(null, { status: CLIENT_CLOSED_REQUEST });
  log.error("a request failed", {
    error,
    stack: error instanceof Error ? error.stack : undefined,
    requestId,
  });
  return errorResponse(
    new AppError("internal_error", `Something went wrong inside; the log tells more, under ${requestId}.`),
  );
}

function createRoutes(deps: AppDeps, keyId: string): Route[] {
  const { agents, conversations, hub, permissions, notifier, stage, log, stream, version, draining } = deps;
  const replays = new IdempotencyCache();
  const completion: CompletionDeps = {
    startTurn: (request, signal) => conversations.startTurn(request, signal),
    hold: () => conversations.hold(),
    idempotency: replays,
    cannedReplies: deps.cannedReplies,
    keyId,
    router: agents,
    stream,
    log,
  };
  const created = Math.floor(Date.now() / 1000);
  const sessions = { conversations, replays, keyId };
  const chat = chatHandler(completion);
  const interrupt = (conversation: string | undefined) => conversations.interrupt(conversation);
  const routes: Route[] = [
    { path: "/chat/completions", POST: chat },
    { path: "/completions", POST: completionsHandler(completion) },
    { path: "/models", GET: modelsHandler(agents, created) },
    { path: "/models/*", GET: modelHandler(agents, created) },
    {
      path: "/vtuber/ws",
      keyInUrl: true,
      GET: webSocketHandler({ hub, desk: permissions, interrupt, version, log }),
    },
    { path: "/vtuber/events", keyInUrl: true, GET: eventsHandler(hub) },
    { path: "/vtuber/state", keyInUrl: true, GET: stateHandler(hub) },
    { path: "/vtuber/permissions", GET: permissionsHandler(hub) },
    { path: "/vtuber/permissions/*", POST: permissionHandler(permissions) },
    { path: "/vtuber/notifications", POST: notificationsHandler(notifier) },
    { path: "/vtuber/sessions", GET: sessionsHandler(sessions), DELETE: forgetHandler(sessions) },
    { path: "/vtuber/sessions/*", DELETE: forgetHandler(sessions) },
    { path: "/health", open: true, GET: healthHandler },
    { path: "/healthz", open: true, GET: healthHandler },
    {
      path: "/readyz",
      open: true,
      GET: readyHandler({
        draining,
        agents: agents.all,
      }),
    },
    { path: "/", open: true, GET: rootHandler(stage.page, describe(version, agents.default.name)) },
    { path: "/stage/*", open: true, GET: stage.files },
  ];
  const extra = canonicalPath(deps.chatPath);
  if (routes.every((route) => route.path !== extra)) routes.push({ path: extra, POST: chat });
  return routes;
}

/** The page for browsers, a description for programs. */
function rootHandler(page: Handler, description: unknown): Handler {
  return async (request, context) => {
    const wanted = accepts(request, "application/json", "text/html");
    const response = wanted === "text/html" ? await page(request, context) : Response.json(description);
    response.headers.append("vary", "accept");
    return response;
  };
}

/** What this is, for whoever opens the address. */
function describe(version: string, model: string): unknown {
  return {
    name: "oab-vtuber",
    version,
    description:
      "Gives a character app a coding agent as its brain: type this address where an OpenAI address goes.",
    model,
    endpoints: {
      chat: "POST /v1/chat/completions",
      completions: "POST /v1/completions",
      models: "GET /v1/models",
      watch: "GET /v1/vtuber/ws",
      events: "GET /v1/vtuber/events",
      state: "GET /v1/vtuber/state",
      permissions: "GET /v1/vtuber/permissions",
      permission: "POST /v1/vtuber/permissions/{id}",
      notifications: "POST /v1/vtuber/notifications",
      sessions: "GET /v1/vtuber/sessions",
      forget: "DELETE /v1/vtuber/sessions/{id}",
      health: "GET /health",
      ready: "GET /readyz",
    },
  };
}
