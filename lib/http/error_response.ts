/** Whatever was thrown, as an OpenAI error. @module */

import { AppError, type ErrorCode } from "../core/errors.ts";

/** The `type` of the envelope (OpenAI's words). */
type ErrorType = "invalid_request_error" | "permission_error" | "rate_limit_error" | "server_error";

/** The OpenAI error envelope; all four keys are always there. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: ErrorType;
    readonly param: string | null;
    readonly code: ErrorCode;
  };
}

const bad = { status: 400, type: "invalid_request_error" } as const;
const conflict = { status: 409, type: "invalid_request_error" } as const;
const forbidden = { status: 403, type: "permission_error" } as const;
const missing = { status: 404, type: "invalid_request_error" } as const;
const broken = { status: 502, type: "server_error" } as const;
const unavailable = { status: 503, type: "server_error" } as const;

/** Status and type of every failure. */
const TABLE: Readonly<Record<ErrorCode, { readonly status: number; readonly type: ErrorType }>> = {
  invalid_json: bad,
  invalid_type: bad,
  invalid_value: bad,
  missing_required_parameter: bad,
  unsupported_parameter: bad,
  unsupported_value: bad,
  unsupported_content_type: bad,
  unsupported_media_type: bad,
  invalid_api_key: { status: 401, type: "invalid_request_error" },
  origin_not_allowed: forbidden,
  host_not_allowed: forbidden,
  not_found: missing,
  model_not_found: missing,
  method_not_allowed: { status: 405, type: "invalid_request_error" },
  request_timeout: { status: 408, type: "invalid_request_error" },
  idempotency_key_conflict: conflict,
  turn_cancelled: conflict,
  permission_resolved: conflict,
  session_busy: conflict,
  upgrade_required: { status: 426, type: "invalid_request_error" },
  body_too_large: { status: 413, type: "invalid_request_error" },
  invalid_output: { status: 422, type: "invalid_request_error" },
  rate_limit_exceeded: { status: 429, type: "rate_limit_error" },
  internal_error: { status: 500, type: "server_error" },
  agent_error: broken,
  agent_crashed: broken,
  agent_cancelled: broken,
  agent_auth_required: unavailable,
  agent_unavailable: unavailable,
  shutting_down: unavailable,
  agent_timeout: { status: 504, type: "server_error" },
};

/** Failures that a client mends, if it can, by changing something: the same request would fail again. */
const FINAL: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "agent_auth_required",
  "idempotency_key_conflict",
  "turn_cancelled",
  "permission_resolved",
  "internal_error",
]);
/** Statuses of what passes by itself. */
const PASSING: ReadonlySet<number> = new Set([429, 503]);
/** Seconds after which to come back, where a failure does not say. */
const RETRY_AFTER_SECS = 5;

/** The error as the body of a response, or of an event in a stream. */
export function errorBody(failure: AppError): ErrorBody {
  return {
    error: {
      message: failure.message,
      type: TABLE[failure.code].type,
      param: failure.param ?? null,
      code: failure.code,
    },
  };
}

/**
 * The error as a response. Once the prompt had reached the agent, and where a retry cannot help, it carries
 * `x-should-retry: false`, which OpenAI's clients obey; before that 429 and 503 carry `Retry-After`.
 */
export function errorResponse(failure: AppError): Response {
  const { status } = TABLE[failure.code];
  const headers = new Headers({ "content-type": "application/json; charset=utf-8" });
  if (failure.prompted || FINAL.has(failure.code)) {
    headers.set("x-should-retry", "false");
  } else if (PASSING.has(status) || failure.code === "session_busy") {
    headers.set("retry-after", String(failure.retryAfterSecs ?? RETRY_AFTER_SECS));
  }
  if (failure.conversation !== undefined) headers.set("x-session-id", failure.conversation);
  if (status === 426) headers.set("upgrade", "websocket");
  if (status === 401) headers.set("www-authenticate", "Bearer");
  return new Response(JSON.stringify(errorBody(failure)), { status, headers });
}
