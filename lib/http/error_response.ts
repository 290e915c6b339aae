/** Errors as OpenAI's error envelope. @module */

import { type AppError, ERROR_STATUS, type ErrorCode } from "../core/errors.ts";
import { VERSION } from "./websocket.ts";

/** Errors for which the same request would fail again. */
const FINAL: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "agent_auth_required",
  "idempotency_key_conflict",
  "turn_cancelled",
  "permission_resolved",
  "insufficient_quota",
  "internal_error",
]);
/** Default of `Retry-After`, in seconds. */
const RETRY_AFTER_SECS = 5;

/** Words an error as the body of a response, or of an event in a stream. The envelope always has all four keys. */
export function errorBody({ message, code, param }: Pick<AppError, "message" | "code" | "param">) {
  return { error: { message, type: typeOf(code), param: param ?? null, code } };
}

/**
 * Makes an error a response. If the prompt reached the agent, or a retry cannot help, the response carries
 * `x-should-retry: false`, which OpenAI's clients obey; else 429, 503 and `session_busy` carry `Retry-After`.
 */
export function errorResponse(error: AppError): Response {
  const status = ERROR_STATUS[error.code];
  const headers = new Headers({ "content-type": "application/json; charset=utf-8" });
  if (error.prompted || FINAL.has(error.code)) {
    headers.set("x-should-retry", "false");
  } else if (status === 429 || status === 503 || error.code === "session_busy") {
    headers.set("retry-after", String(error.retryAfterSecs ?? RETRY_AFTER_SECS));
  }
  if (error.conversation !== undefined) headers.set("x-session-id", error.conversation);
  if (status === 426) {
    headers.set("upgrade", "websocket");
    headers.set("sec-websocket-version", VERSION);
  }
  if (status === 401) headers.set("www-authenticate", "Bearer");
  return new Response(JSON.stringify(errorBody(error)), { status, headers });
}

/** Returns OpenAI's `error.type`. */
function typeOf(code: ErrorCode): string {
  // OpenAI's only type with the name of its code.
  if (code === "insufficient_quota") return code;
  const status = ERROR_STATUS[code];
  if (status === 403) return "permission_error";
  if (status === 429) return "rate_limit_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}
