/** CORS: lets browsers show a response to the page that asked for it. @module */

/** Response headers that pages may read. */
const EXPOSED_HEADERS =
  "x-request-id, x-session-id, x-resolved-model, x-usage-estimated, x-vtuber-ignored, x-should-retry, retry-after, " +
  "x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests";
/** How long a browser may cache a preflight, in seconds. */
const PREFLIGHT_SECS = 600;

/** Answers an `OPTIONS` request; browsers send such a preflight without a key. */
export function preflightResponse(request: Request, allow: string): Response {
  const headers = new Headers({ allow });
  if (request.headers.has("origin")) {
    headers.set("access-control-allow-methods", allow);
    const requested = request.headers.get("access-control-request-headers");
    if (requested) headers.set("access-control-allow-headers", requested);
    headers.set("access-control-max-age", String(PREFLIGHT_SECS));
    headers.set("access-control-allow-private-network", "true");
  }
  return new Response(null, { status: 204, headers });
}

/** Returns the headers that let the requesting page read the response, if its origin is allowed. */
export function corsHeaders(request: Request, isAllowed: boolean): [name: string, value: string][] {
  const origin = request.headers.get("origin");
  if (origin === null) return [];
  if (!isAllowed) return [["vary", "Origin"]];
  return [
    ["access-control-allow-origin", origin],
    ["access-control-expose-headers", EXPOSED_HEADERS],
    ["vary", "Origin"],
  ];
}
