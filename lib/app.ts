/** The route table: hands each side the functions it needs, and catches what is thrown, in one place. @module */

import type { Conversations } from "./conversation/registry.ts";
import { errorResponse } from "./http/envelope.ts";
import { createGuard, type GuardOptions } from "./http/guard.ts";
import { healthHandler, readyHandler } from "./http/health.ts";
import { allowedMethods, canonicalPath, handlerOf, matchRoute, notFound, type Route } from "./http/router.ts";
import { chatHandler } from "./openai/chat.ts";
import type { CompletionDeps } from "./openai/completion.ts";
import { completionsHandler } from "./openai/completions.ts";
import { modelHandler, modelsHandler } from "./openai/models.ts";
import type { StreamOptions } from "./openai/answer.ts";
import type { Log } from "./ops/log.ts";
import type { Agent } from "./turn/agent.ts";
import { Failure } from "./turn/failure.ts";
import { Replays } from "./turn/replay.ts";

/** What the app is made of. */
export interface AppDeps {
  readonly agent: Agent;
  readonly conversations: Conversations;
  readonly guard: GuardOptions;
  /** The model's name. */
  readonly model: string;
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

/** The client hung up before it was answered; nobody reads this (nginx's number for it). */
const HUNG_UP = 499;

/** Makes the app: a function of requests, which opens no port. */
export async function createApp(deps: AppDeps): Promise<App> {
  const guard = await createGuard(deps.guard);
  const routes = createRoutes(deps, guard.keyId);

  async function answer(request: Request, url: URL, requestId: string, address: string | undefined) {
    const match = matchRoute(routes, url.pathname);
    const allow = match ? allowedMethods(match.route) : "GET, HEAD, POST, OPTIONS";
    const caller = { address, open: match?.route.open ?? false };
    if (request.method === "OPTIONS") return guard.preflight(request, caller, allow);
    await guard.admit(request, caller);
    // Only after the key: who has none is not told what is here.
    if (match === undefined) throw notFound(routes, url.pathname);
    const handler = handlerOf(match.route, request.method);
    if (handler === undefined) {
      const response = errorResponse(
        new Failure("method_not_allowed", `${request.method} is not answered here, only ${allow}.`),
      );
      response.headers.set("allow", allow);
      return response;
    }
    const response = await handler(request, { requestId, rest: match.rest });
    return request.method === "HEAD" ? new Response(null, response) : response;
  }

  return async (request, address) => {
    const started = performance.now();
    const requestId = crypto.randomUUID().replaceAll("-", "");
    const url = new URL(request.url);
    let response: Response;
    try {
      response = await answer(request, url, requestId, address);
    } catch (error) {
      response = toResponse(error, request, requestId, deps.log);
    }
    response.headers.set("x-request-id", requestId);
    response.headers.set("x-content-type-options", "nosniff");
    for (const [name, value] of guard.corsHeaders(request)) response.headers.append(name, value);
    deps.log.debug("request", {
      method: request.method,
      path: url.pathname,
      status: response.status,
      ms: Math.round(performance.now() - started),
      requestId,
    });
    return response;
  };
}

function toResponse(error: unknown, request: Request, requestId: string, log: Log): Response {
  if (error instanceof Failure) {
    log.info("refused", { code: error.code, reason: error.message, requestId });
    return errorResponse(error);
  }
  if (request.signal.aborted) return new Response(null, { status: HUNG_UP });
  log.error("a request failed", {
    error,
    stack: error instanceof Error ? error.stack : undefined,
    requestId,
  });
  return errorResponse(
    new Failure("internal_error", `Something went wrong inside; the log tells more, under ${requestId}.`),
  );
}

function createRoutes(deps: AppDeps, keyId: string): Route[] {
  const { agent, conversations, model, log, stream, version, draining } = deps;
  const completion: CompletionDeps = {
    begin: (request, signal) => conversations.begin(request, signal),
    openAside: () => conversations.openAside(),
    replays: new Replays(),
    keyId,
    model,
    stream,
    log,
  };
  const created = Math.floor(Date.now() / 1000);
  const models = [{ id: model, object: "model", created, owned_by: "acp" }] as const;
  const chat = chatHandler(completion);
  const routes: Route[] = [
    { path: "/chat/completions", POST: chat },
    { path: "/completions", POST: completionsHandler(completion) },
    { path: "/models", GET: modelsHandler(models) },
    { path: "/models/*", GET: modelHandler(models) },
    { path: "/health", open: true, GET: healthHandler },
    { path: "/healthz", open: true, GET: healthHandler },
    {
      path: "/readyz",
      open: true,
      GET: readyHandler({ draining, agents: () => ({ [agent.name]: agent.state }) }),
    },
    { path: "/", open: true, GET: () => Response.json(describe(version, model)) },
  ];
  const extra = canonicalPath(deps.chatPath);
  if (routes.every((route) => route.path !== extra)) routes.push({ path: extra, POST: chat });
  return routes;
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
      health: "GET /health",
      ready: "GET /readyz",
    },
  };
}
