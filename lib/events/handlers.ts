/** The event channel's plain requests: what is now, open permissions, and something to say. @module */

import { readJson } from "../http/body.ts";
import type { Handler } from "../http/router.ts";
import type { PermissionDesk } from "../turn/permission.ts";
import type { Herald } from "./herald.ts";
import type { Hub } from "./hub.ts";
import { parseAnswer, parseNotification } from "./wire.ts";

/** `GET /v1/vtuber/state`: what the agent does now, for overlays that poll. */
export function stateHandler(hub: Hub): Handler {
  return () => noStore({ ts: nowSecs(), ...hub.snapshot });
}

/** `GET /v1/vtuber/permissions`: the requests that wait for an answer. */
export function permissionsHandler(hub: Hub): Handler {
  return () => noStore({ permissions: hub.permissions.map(({ type: _, ...request }) => request) });
}

/** `POST /v1/vtuber/permissions/{id}` with `{option_id}` or `{decision}`: answers one. */
export function permissionHandler(desk: Pick<PermissionDesk, "answer">): Handler {
  return async (request, { rest }) => {
    const { answer, client } = parseAnswer((await readJson(request)).value);
    const { id, outcome, option, by } = desk.answer(rest, answer, client ?? "http");
    return Response.json({ request_id: id, outcome, ...(option ? { option_id: option.id } : {}), by });
  };
}

/**
 * `POST /v1/vtuber/notifications` with `{text, urgency?, mode?}`: says the text, or with `mode: "agent"` what the agent
 * makes of it. Answers with what was said and how many clients heard it; `said` is null if the agent had nothing to say.
 */
export function notificationsHandler(herald: Pick<Herald, "quote" | "ask" | "utter">): Handler {
  return async (request) => {
    const { text, urgency, mode } = parseNotification((await readJson(request)).value);
    const utterance = mode === "text" ? herald.quote(text) : await herald.ask(text, request.signal);
    if (utterance === undefined) return Response.json({ said: null, clients: 0 });
    return Response.json({ said: utterance.text, clients: herald.utter(utterance, urgency) });
  };
}

function noStore(body: unknown): Response {
  return Response.json(body, { headers: { "cache-control": "no-store" } });
}

function nowSecs(): number {
  return Math.floor(Date.now() / 1000);
}
