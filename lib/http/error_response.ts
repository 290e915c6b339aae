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
  "not_configured",
  "upstream_auth_required",
  "upstream_timeout",
  "internal_error",
]);
/** Errors beside those of status 429 and 503 that a later request may not meet. */
const TEMPORARY: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "session_busy",
  "upstream_error",
  "upstream_unavailable",
]);
/** Default of `Retry-After`, in seconds. */
const RETRY_AFTER_SECS = 5;

/** Words an error as the body of a response, or of an event in a stream. The envelope always has all four keys. */
export function errorBody(
  { message, code, param, status }: Pick<AppError, "message" | "code" | "param" | "status">,
) {
  return { error: { message, type: typeOf(code, status), param: param ?? null, code } };
}

/**
 * Makes an error a response. If the prompt reached the agent, or a retry cannot help, the response carries
 * `x-should-retry: false`, which OpenAI's clients obey; else an error that may pass carries `Retry-After`.
 */
export function errorResponse(error: AppError): Response {
  const { status = ERROR_STATUS[error.code] } = error;
  const headers = new Headers({ "content-type": "application/json; charset=utf-8" });
  if (error.prompted || FINAL.has(error.code)) {
    headers.set("x-should-retry", "false");
  } else if (status === 429 || status === 503 || error.status === undefined && TEMPORARY.has(error.code)) {
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
function typeOf(code: ErrorCode, status: number = ERROR_STATUS[code]): string {
  // OpenAI's only type with the name of its code.
  if (code === "insufficient_quota") return code;
  if (status === 403) return "permission_error";
  if (status === 429) return "rate_limit_error";
  return status < 500 || status === 501 ? "invalid_request_error" : "server_error";
}
