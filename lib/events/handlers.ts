/** The event channel's plain requests: what is now, open permissions, and something to say. @module */

import type { ConversationRegistry } from "../conversation/registry.ts";
import { AppError } from "../core/errors.ts";
import { readJson } from "../http/json_body.ts";
import type { Handler } from "../http/router.ts";
import type { IdempotencyCache } from "../turn/idempotency.ts";
import type { PermissionBroker } from "../turn/permission.ts";
import type { EventHub } from "./hub.ts";
import type { Notifier } from "./notifier.ts";
import { parsePermissionAnswer, parseNotification } from "./wire.ts";

/** `GET /v1/vtuber/state`: what the agent does now, for overlays that poll. */
export function stateHandler(hub: EventHub): Handler {
  return () => noStore({ ts: nowSecs(), ...hub.snapshot });
}

/** `GET /v1/vtuber/permissions`: the requests that wait for an answer. */
export function permissionsHandler(hub: EventHub): Handler {
  return () => noStore({ permissions: hub.permissions.map(({ type: _, ...request }) => request) });
}

/** `POST /v1/vtuber/permissions/{id}` with `{option_id}` or `{decision}`: answers one. */
export function permissionHandler(desk: Pick<PermissionBroker, "answer">): Handler {
  return async (request, { rest }) => {
    const { answer, client } = parsePermissionAnswer((await readJson(request)).value);
    const { id, outcome, option, by } = desk.answer(rest, answer, client ?? "http");
    return Response.json({ request_id: id, outcome, ...(option ? { option_id: option.id } : {}), by });
  };
}

/**
 * `POST /v1/vtuber/notifications` with `{text, urgency?, mode?}`: says the text, or with `mode: "agent"` what the agent
 * makes of it. Answers with what was said and how many clients heard it; `said` is null if the agent had nothing to say.
 */
export function notificationsHandler(herald: Pick<Notifier, "fromText" | "ask" | "announce">): Handler {
  return async (request) => {
    const { text, urgency, mode } = parseNotification((await readJson(request)).value);
    const utterance = mode === "text" ? herald.fromText(text) : await herald.ask(text, request.signal);
    if (utterance === undefined) return Response.json({ said: null, clients: 0 });
    return Response.json({ said: utterance.text, clients: herald.announce(utterance, urgency) });
  };
}

function noStore(body: unknown): Response {
  return Response.json(body, { headers: { "cache-control": "no-store" } });
}

function nowSecs(): number {
  return Math.floor(Date.now() / 1000);
}

/** What is needed of the conversations. */
export interface SessionsSource {
  readonly conversations: Pick<ConversationRegistry, "list" | "forget">;
  /** What was answered lately. */
  readonly replays: Pick<IdempotencyCache, "forget">;
  /** Names the caller. */
  readonly keyId: string;
}

/** `GET /v1/vtuber/sessions`: the caller's conversations, the one that was used last first. */
export function sessionsHandler({ conversations, keyId }: SessionsSource): Handler {
  return () =>
    Response.json({ sessions: conversations.list(keyId) }, { headers: { "cache-control": "no-store" } });
}

/**
 * `DELETE /v1/vtuber/sessions/{id}` or `?id=`: forgets one. `DELETE /v1/vtuber/sessions?all=true`: forgets all of the
 * caller's. @throws {AppError} `missing_required_parameter`, `not_found`.
 */
export function forgetHandler({ conversations, replays, keyId }: SessionsSource): Handler {
  return (request, { rest }) => {
    const { searchParams } = new URL(request.url);
    const id = rest || searchParams.get("id");
    // A client whose id is empty does not mean all.
    if (!id && searchParams.get("all") !== "true") {
      throw new AppError(
        "missing_required_parameter",
        "Which conversation? DELETE /v1/vtuber/sessions/ID forgets one, /v1/vtuber/sessions?all=true all of them.",
        { param: "id" },
      );
    }
    const forget = (id: string | undefined) => {
      replays.forget(id);
      return conversations.forget(keyId, id);
    };
    // Names are kept as headers can carry them.
    const forgotten = id ? forget(id) || forget(encodeURIComponent(id)) : forget(undefined);
    if (forgotten > 0 || !id) return Response.json({ forgotten });
    throw new AppError("not_found", `There is no conversation "${id}"; GET /v1/vtuber/sessions lists them.`);
  };
}
