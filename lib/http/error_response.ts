/** Errors as OpenAI's error envelope. @module */

import { AppError, type ErrorCode } from "../core/errors.ts";

/** OpenAI's values of `error.type`. */
type ErrorType = "invalid_request_error" | "permission_error" | "rate_limit_error" | "server_error";

/** The OpenAI error envelope; always has all four keys. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: ErrorType;
    readonly param: string | null;
    readonly code: ErrorCode;
  };
}

const BAD_REQUEST = { status: 400, type: "invalid_request_error" } as const;
const FORBIDDEN = { status: 403, type: "permission_error" } as const;
const NOT_FOUND = { status: 404, type: "invalid_request_error" } as const;
const CONFLICT = { status: 409, type: "invalid_request_error" } as const;
const BAD_GATEWAY = { status: 502, type: "server_error" } as const;
const UNAVAILABLE = { status: 503, type: "server_error" } as const;

/** HTTP status and envelope type of every error. */
export const ERROR_TABLE: Readonly<Record<ErrorCode, { readonly status: number; readonly type: ErrorType }>> =
  {
    invalid_json: BAD_REQUEST,
    invalid_type: BAD_REQUEST,
    invalid_value: BAD_REQUEST,
    missing_required_parameter: BAD_REQUEST,
    unsupported_parameter: BAD_REQUEST,
    unsupported_value: BAD_REQUEST,
    unsupported_content_type: BAD_REQUEST,
    unsupported_media_type: BAD_REQUEST,
    invalid_api_key: { status: 401, type: "invalid_request_error" },
    origin_not_allowed: FORBIDDEN,
    host_not_allowed: FORBIDDEN,
    not_found: NOT_FOUND,
    model_not_found: NOT_FOUND,
    method_not_allowed: { status: 405, type: "invalid_request_error" },
    request_timeout: { status: 408, type: "invalid_request_error" },
    idempotency_key_conflict: CONFLICT,
    turn_cancelled: CONFLICT,
    permission_resolved: CONFLICT,
    session_busy: CONFLICT,
    body_too_large: { status: 413, type: "invalid_request_error" },
    invalid_output: { status: 422, type: "invalid_request_error" },
    upgrade_required: { status: 426, type: "invalid_request_error" },
    rate_limit_exceeded: { status: 429, type: "rate_limit_error" },
    internal_error: { status: 500, type: "server_error" },
    agent_error: BAD_GATEWAY,
    agent_crashed: BAD_GATEWAY,
    agent_cancelled: BAD_GATEWAY,
    agent_auth_required: UNAVAILABLE,
    agent_unavailable: UNAVAILABLE,
    shutting_down: UNAVAILABLE,
    agent_timeout: { status: 504, type: "server_error" },
  };

/** Errors for which the same request would fail again. */
const FINAL: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "agent_auth_required",
  "idempotency_key_conflict",
  "turn_cancelled",
  "permission_resolved",
  "internal_error",
]);
/** Statuses of temporary errors. */
const TEMPORARY: ReadonlySet<number> = new Set([429, 503]);
/** Default of `Retry-After`, in seconds. */
const RETRY_AFTER_SECS = 5;

/** Words an error as the body of a response, or of an event in a stream. */
export function errorBody(error: AppError): ErrorBody {
  return {
    error: {
      message: error.message,
      type: ERROR_TABLE[error.code].type,
      param: error.param ?? null,
      code: error.code,
    },
  };
}

/**
 * Makes an error a response. If the prompt reached the agent, or a retry cannot help, the response carries
 * `x-should-retry: false`, which OpenAI's clients obey; else 429, 503 and `session_busy` carry `Retry-After`.
 */
export function errorResponse(error: AppError): Response {
  const { status } = ERROR_TABLE[error.code];
  const headers = new Headers({ "content-type": "application/json; charset=utf-8" });
  if (error.prompted || FINAL.has(error.code)) {
    headers.set("x-should-retry", "false");
  } else if (TEMPORARY.has(status) || error.code === "session_busy") {
    headers.set("retry-after", String(error.retryAfterSecs ?? RETRY_AFTER_SECS));
  }
  if (error.conversation !== undefined) headers.set("x-session-id", error.conversation);
  if (status === 426) headers.set("upgrade", "websocket");
  if (status === 401) headers.set("www-authenticate", "Bearer");
  return new Response(JSON.stringify(errorBody(error)), { status, headers });
}
