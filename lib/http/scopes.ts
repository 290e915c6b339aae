/** The scopes that endpoints and socket commands need. @module */

import type { Scope } from "../turn/caller.ts";
import type { Method, Route } from "./router.ts";

type Required = "open" | readonly Scope[];

/**
 * Maps every endpoint, and every command of the event socket, to its scopes. A caller needs all of them. `open` needs no
 * key; an empty list needs any key. An endpoint that can start a turn needs `chat` besides its own scope.
 */
export const REQUIRED_SCOPES = {
  "GET /": "open",
  "GET /stage/*": "open",
  "GET /health": "open",
  "GET /healthz": "open",
  "GET /readyz": "open",
  "GET /metrics": ["admin"],
  "POST /chat/completions": ["chat"],
  "POST /completions": ["chat"],
  "POST /responses": ["chat"],
  "GET /responses/*": ["chat"],
  "DELETE /responses/*": ["chat"],
  "POST /responses/*/cancel": ["chat"],
  "GET /responses/*/input_items": ["chat"],
  "POST /embeddings": ["embeddings"],
  "POST /audio/speech": ["audio"],
  "GET /audio/voices": ["audio"],
  "GET /audio/models": ["audio"],
  "POST /audio/transcriptions": ["audio"],
  "GET /models": [],
  "GET /models/*": [],
  "GET /vtuber/ws": ["events"],
  "GET /vtuber/events": ["events"],
  "GET /vtuber/state": ["events"],
  "GET /vtuber/permissions": ["permissions"],
  "GET /vtuber/permissions/*": ["permissions"],
  "POST /vtuber/permissions/*": ["permissions"],
  "POST /vtuber/questions/*": ["permissions"],
  "POST /vtuber/notifications": ["operator", "chat"],
  "POST /vtuber/interrupt": ["operator"],
  "GET /vtuber/sessions": ["chat"],
  "DELETE /vtuber/sessions": ["chat"],
  "DELETE /vtuber/sessions/*": ["chat"],
  "ws hello": [],
  "ws subscribe": [],
  "ws ping": [],
  "ws permission_response": ["permissions"],
  "ws question_response": ["permissions"],
  "ws interrupt": ["operator"],
} as const satisfies Readonly<Record<string, Required>>;

/**
 * Returns the scopes that a method of a route needs.
 *
 * @throws {TypeError} if the table has no row for it.
 */
export function requiredScopes({ path, aliasOf }: Route, method: Method): Required {
  const row = `${method} ${aliasOf ?? path}`;
  if (!Object.hasOwn(REQUIRED_SCOPES, row)) throw new TypeError(`REQUIRED_SCOPES has no row "${row}".`);
  return REQUIRED_SCOPES[row as keyof typeof REQUIRED_SCOPES];
}
