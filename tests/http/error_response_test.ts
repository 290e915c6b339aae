import { assertEquals } from "@std/assert";
import { AppError, ERROR_STATUS, type ErrorCode } from "../../lib/core/errors.ts";
import { errorResponse } from "../../lib/http/error_response.ts";

const CODES = Object.keys(ERROR_STATUS) as ErrorCode[];

/** The headers that tell a client whether to retry: `x-should-retry` and `retry-after`. */
function retryHeaders(error: AppError): [shouldRetry: string | null, retryAfter: string | null] {
  const { headers } = errorResponse(error);
  return [headers.get("x-should-retry"), headers.get("retry-after")];
}

const TYPES: readonly [code: ErrorCode, status: number, type: string][] = [
  ["invalid_value", 400, "invalid_request_error"],
  ["invalid_api_key", 401, "invalid_request_error"],
  ["origin_not_allowed", 403, "permission_error"],
  ["host_not_allowed", 403, "permission_error"],
  ["insufficient_scope", 403, "permission_error"],
  ["not_found", 404, "invalid_request_error"],
  ["session_busy", 409, "invalid_request_error"],
  ["rate_limit_exceeded", 429, "rate_limit_error"],
  ["insufficient_quota", 429, "insufficient_quota"],
  ["internal_error", 500, "server_error"],
  ["agent_error", 502, "server_error"],
  ["agent_timeout", 504, "server_error"],
];
for (const [code, status, type] of TYPES) {
  Deno.test(`errorResponse: ${code} is ${status} ${type}`, async () => {
    const response = errorResponse(new AppError(code, "What to do."));
    assertEquals(response.status, status);
    assertEquals(response.headers.get("content-type"), "application/json; charset=utf-8");
    assertEquals(response.headers.get("www-authenticate"), status === 401 ? "Bearer" : null);
    const body = await response.json();
    assertEquals(body, { error: { message: "What to do.", type, param: null, code } });
    assertEquals(Object.keys(body.error), ["message", "type", "param", "code"]);
  });
}

Deno.test("errorResponse: every error is final after the prompt", () => {
  for (const code of CODES) {
    const error = new AppError(code, "x", { prompted: true, retryAfterSecs: 9 });
    assertEquals(retryHeaders(error), ["false", null], code);
  }
});

const RETRIES: readonly [
  ErrorCode,
  retryAfterSecs: number | undefined,
  ...ReturnType<typeof retryHeaders>,
][] = [
  ["rate_limit_exceeded", undefined, null, "5"],
  ["rate_limit_exceeded", 3, null, "3"],
  ["agent_unavailable", undefined, null, "5"],
  ["shutting_down", 30, null, "30"],
  ["session_busy", 3, null, "3"],
  ["agent_auth_required", 7, "false", null],
  ["idempotency_key_conflict", undefined, "false", null],
  ["turn_cancelled", undefined, "false", null],
  ["internal_error", undefined, "false", null],
  ["insufficient_quota", 3, "false", null],
  ["insufficient_scope", 3, null, null],
  ["upstream_error", 3, null, "3"],
  ["upstream_unavailable", undefined, null, "5"],
  ["upstream_timeout", 3, "false", null],
  ["upstream_auth_required", undefined, "false", null],
  ["not_configured", undefined, "false", null],
  ["invalid_value", undefined, null, null],
  ["not_found", 3, null, null],
];
for (const [code, retryAfterSecs, ...expected] of RETRIES) {
  Deno.test(`errorResponse: retry headers of ${code} with ${retryAfterSecs ?? "no"} seconds`, () => {
    assertEquals(retryHeaders(new AppError(code, "x", { retryAfterSecs })), expected);
  });
}

Deno.test("errorResponse: says whether to retry wherever OpenAI's clients would retry by themselves", () => {
  // The clients retry 409 and 5xx. These codes come from running turns only, so that they always carry `prompted`.
  const ofTurns = ["agent_error", "agent_crashed", "agent_cancelled", "agent_timeout"];
  const silent = CODES.filter((code) => ERROR_STATUS[code] === 409 || ERROR_STATUS[code] >= 500)
    .filter((code) => retryHeaders(new AppError(code, "x")).every((header) => header === null));
  assertEquals(silent, ofTurns);
});

Deno.test("errorResponse: the status of an upstream takes the place of that of the code", async () => {
  const response = errorResponse(new AppError("upstream_error", "x", { status: 422, param: "input" }));
  assertEquals([response.status, response.headers.get("retry-after")], [422, null]);
  const error = { message: "x", type: "invalid_request_error", param: "input", code: "upstream_error" };
  assertEquals(await response.json(), { error });
});
