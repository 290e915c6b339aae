/** The routes under `/v1/vtuber`: events, state, permissions, notifications and sessions. @module */

import type { ConversationRegistry, ConversationSummary } from "../conversation/registry.ts";
import { AppError } from "../core/errors.ts";
import { readJson } from "../http/json_body.ts";
import type { Handler, Route } from "../http/router.ts";
import { EVENT_STREAM_HEADERS, EventStream } from "../http/sse.ts";
import type { IdempotencyCache } from "../turn/idempotency.ts";
import { type EventHub, withoutType } from "./hub.ts";
import type { Notifier } from "./notifier.ts";
import { eventsOf, type Subscriber } from "./subscriber.ts";
import { type WebSocketDeps, webSocketHandler } from "./websocket.ts";
import { parseInterrupt, parseNotification, parsePermissionAnswer, parseQuestionAnswer } from "./wire.ts";

/** Silence of an event stream after which a comment keeps the connection alive, in milliseconds. */
const HEARTBEAT_MS = 15_000;

/** A conversation with responses in the file. */
interface StoredConversation {
  readonly id: string;
  readonly agent: string;
  readonly responses: number;
  /** Unix milliseconds. */
  readonly createdAt: number;
  /** Unix milliseconds. */
  readonly usedAt: number;
}

/** Dependencies of the routes. */
export interface EventRoutesDeps extends WebSocketDeps {
  readonly notifier: Pick<Notifier, "fromText" | "ask" | "announce">;
  readonly conversations: Pick<ConversationRegistry, "list" | "forget" | "interrupt">;
  /** The responses that are kept, by the id of their caller. */
  readonly responses: {
    listConversations(owner: string): readonly StoredConversation[];
    /** Deletes the responses of one conversation, or of all. */
    deleteConversation(owner: string, conversation: string | undefined): Promise<void>;
  };
  readonly idempotency: Pick<IdempotencyCache, "forget">;
  /** The turns that wait for the approval of their client. */
  readonly approvals: Pick<IdempotencyCache, "forget">;
}

/** Creates the routes under `/v1/vtuber`. */
export function eventRoutes(deps: EventRoutesDeps): Route[] {
  const { hub, permissions, questions, notifier, conversations } = deps;
  const forget = forgetHandler(deps);
  return [
    {
      path: "/vtuber/ws",
      keyInUrl: true,
      GET: webSocketHandler(deps),
      docs: { GET: { name: "watch", summary: "Events and commands over a WebSocket" } },
    },
    {
      path: "/vtuber/events",
      keyInUrl: true,
      GET: eventStreamHandler(hub),
      docs: { GET: { name: "events", summary: "The same events as server-sent events" } },
    },
    {
      path: "/vtuber/state",
      keyInUrl: true,
      GET: (_request, { caller }) => noStore({ ts: Math.floor(Date.now() / 1000), ...hub.snapshot(caller) }),
      docs: { GET: { name: "state", summary: "What the agent is doing now" } },
    },
    {
      path: "/vtuber/permissions",
      GET: () => noStore({ permissions: hub.permissions.map(withoutType) }),
      docs: { GET: { name: "permissions", summary: "Open permission requests" } },
    },
    {
      path: "/vtuber/permissions/*",
      GET: wholePermissionHandler(hub),
      POST: permissionHandler(permissions),
      docs: {
        GET: { summary: "An open permission request with its whole detail" },
        POST: { name: "permission", summary: "Answers a permission request" },
      },
    },
    {
      path: "/vtuber/questions/*",
      POST: questionHandler(questions),
      docs: { POST: { name: "question", summary: "Answers a question of the agent" } },
    },
    {
      path: "/vtuber/notifications",
      POST: notificationsHandler(notifier),
      docs: { POST: { name: "notifications", summary: "Makes the character say something" } },
    },
    {
      path: "/vtuber/interrupt",
      POST: interruptHandler(conversations),
      docs: { POST: { name: "interrupt", summary: "Cancels the turn of one conversation, or all turns" } },
    },
    {
      path: "/vtuber/sessions",
      GET: (_request, { caller }) => noStore({ sessions: listSessions(deps, caller.id) }),
      DELETE: forget,
      docs: {
        GET: { name: "sessions", summary: "Your conversations, newest first" },
        DELETE: { summary: "Forgets one conversation (`?id=`) or all of yours (`?all=true`)" },
      },
    },
    {
      path: "/vtuber/sessions/*",
      DELETE: forget,
      docs: { DELETE: { name: "forget", summary: "Forgets a conversation" } },
    },
  ];
}

/** Streams the events; `?events=agent_state,emotion` chooses them. */
function eventStreamHandler(hub: EventHub): Handler {
  return (request, { caller }) => {
    const names = new URL(request.url).searchParams.get("events")?.split(",").map((name) => name.trim());
    // Refuse before the stream is opened, because nobody would close the stream of a refused request.
    hub.admit();
    if (names) eventsOf(names, caller);
    if (request.method === "HEAD") return new Response(null, { headers: EVENT_STREAM_HEADERS });
    const stream = new EventStream({
      heartbeatMs: HEARTBEAT_MS,
      heartbeat: (stream) => stream.comment("still here"),
      onDisconnect: () => subscriber.detach(),
    });
    const subscriber: Subscriber = hub.subscribe(
      {
        send: ({ frame }) => stream.send(frame),
        get backlog() {
          return stream.backlog;
        },
        close: () => stream.end(),
      },
      caller,
      names,
    );
    return new Response(stream.body, { headers: EVENT_STREAM_HEADERS });
  };
}

/** Returns the open permission request in the path. */
function wholePermissionHandler(hub: EventHub): Handler {
  return (_request, { rest }) => {
    const request = hub.wholePermission(rest);
    if (request === undefined) {
      throw new AppError("not_found", `There is no open permission request ${rest}.`);
    }
    return noStore(withoutType(request));
  };
}

/** Answers the permission request in the path, with `{option_id}` or `{decision}`. */
function permissionHandler(permissions: EventRoutesDeps["permissions"]): Handler {
  return async (request, { rest }) => {
    const { answer, client } = parsePermissionAnswer((await readJson(request)).value);
    const { id, outcome, option, by } = permissions.answer(rest, answer, client ?? "http");
    return Response.json({ request_id: id, outcome, ...(option ? { option_id: option.id } : {}), by });
  };
}

/** Answers the question in the path, with `{action, content?}`. */
function questionHandler(questions: EventRoutesDeps["questions"]): Handler {
  return async (request, { rest }) => {
    const { answer, client } = parseQuestionAnswer((await readJson(request)).value);
    const { id, outcome, by } = questions.answer(rest, answer, client ?? "http");
    return Response.json({ question_id: id, outcome, by });
  };
}

/** Announces `{text, urgency?, mode?}`. The response's `said` is null if the agent had nothing to say. */
function notificationsHandler(notifier: EventRoutesDeps["notifier"]): Handler {
  return async (request, { caller }) => {
    const { text, urgency, mode } = parseNotification((await readJson(request)).value);
    const announcement = mode === "text"
      ? notifier.fromText(text)
      : await notifier.ask(text, { caller }, request.signal);
    if (announcement === undefined) return Response.json({ said: null, clients: 0 });
    return Response.json({ said: announcement.text, clients: notifier.announce(announcement, urgency) });
  };
}

/** Cancels the turn of `{session_id}`; without it, all running turns. */
function interruptHandler(conversations: EventRoutesDeps["conversations"]): Handler {
  return async (request) => {
    const { session_id } = parseInterrupt((await readJson(request)).value);
    return Response.json({ turns: conversations.interrupt(session_id ?? undefined) });
  };
}

/** Lists the conversations of a caller, also those of which only responses are kept, the last used one first. */
function listSessions({ conversations, responses }: EventRoutesDeps, owner: string) {
  const sessions = new Map<string, ConversationSummary & { stored_responses: number }>();
  const keyOf = ({ id, agent }: Pick<StoredConversation, "id" | "agent">) => JSON.stringify([agent, id]);
  for (const each of conversations.list(owner)) sessions.set(keyOf(each), { ...each, stored_responses: 0 });
  for (const { id, agent, responses: count, createdAt, usedAt } of responses.listConversations(owner)) {
    const forgotten = {
      ...{ id, agent, state: "closed", turns: 0 } as const,
      created_at: Math.floor(createdAt / 1000),
      last_used_at: Math.floor(usedAt / 1000),
    };
    const session = sessions.get(keyOf({ id, agent })) ?? forgotten;
    sessions.set(keyOf(session), { ...session, stored_responses: count });
  }
  return [...sessions.values()].sort((a, b) => b.last_used_at - a.last_used_at);
}

/** Forgets the conversation in the path or in `?id=`, or with `?all=true` all conversations of the caller. */
function forgetHandler(deps: EventRoutesDeps): Handler {
  const { conversations, responses, idempotency, approvals } = deps;
  return async (request, { rest, caller }) => {
    const forget = async (id: string | undefined) => {
      const { length } = listSessions(deps, caller.id).filter((each) => id === undefined || each.id === id);
      idempotency.forget(caller.id, id);
      approvals.forget(caller.id, id);
      // Before the running turns are cancelled, so that their responses are not kept.
      const deleted = responses.deleteConversation(caller.id, id);
      try {
        conversations.forget(caller.id, id);
      } finally {
        await deleted;
      }
      return length;
    };
    const { searchParams } = new URL(request.url);
    const id = rest || searchParams.get("id");
    if (id) {
      // A name that a header cannot carry is kept percent-encoded.
      const forgotten = await forget(id) || await forget(encodeURIComponent(id));
      if (forgotten > 0) return Response.json({ forgotten });
      throw new AppError(
        "not_found",
        `There is no conversation "${id}"; GET /v1/vtuber/sessions lists them.`,
      );
    }
    // An empty id is a client's mistake, and must not delete everything.
    if (searchParams.get("all") === "true") {
      return Response.json({ forgotten: await forget(undefined) });
    }
    throw new AppError(
      "missing_required_parameter",
      "Name a conversation: DELETE /v1/vtuber/sessions/ID forgets one, /v1/vtuber/sessions?all=true all of them.",
      { param: "id" },
    );
  };
}

function noStore(body: unknown): Response {
  return Response.json(body, { headers: { "cache-control": "no-store" } });
}
