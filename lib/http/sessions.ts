/** The conversations that are remembered: `GET` lists them, `DELETE` forgets. @module */

import type { Conversations } from "../conversation/registry.ts";
import { Failure } from "../turn/failure.ts";
import type { Replays } from "../turn/replay.ts";
import type { Handler } from "./router.ts";

/** What is needed of the conversations. */
export interface SessionsSource {
  readonly conversations: Pick<Conversations, "list" | "forget">;
  /** What was answered lately. */
  readonly replays: Pick<Replays, "forget">;
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
 * caller's. @throws {Failure} `missing_required_parameter`, `not_found`.
 */
export function forgetHandler({ conversations, replays, keyId }: SessionsSource): Handler {
  return (request, { rest }) => {
    const { searchParams } = new URL(request.url);
    const id = rest || searchParams.get("id");
    // A client whose id is empty does not mean all.
    if (!id && searchParams.get("all") !== "true") {
      throw new Failure(
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
    throw new Failure("not_found", `There is no conversation "${id}"; GET /v1/vtuber/sessions lists them.`);
  };
}
