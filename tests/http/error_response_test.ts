import { assertEquals } from "@std/assert";
import { AppError, ERROR_CODES, type ErrorCode } from "../../lib/core/errors.ts";
import { errorBody, errorResponse } from "../../lib/http/error_response.ts";

const EXPECTED: Readonly<Record<ErrorCode, readonly [status: number, type: string]>> = {
  invalid_json: [400, "invalid_request_error"],
  invalid_type: [400, "invalid_request_error"],
  invalid_value: [400, "invalid_request_error"],
  missing_required_parameter: [400, "invalid_request_error"],
  unsupported_parameter: [400, "invalid_request_error"],
  unsupported_value: [400, "invalid_request_error"],
  unsupported_content_type: [400, "invalid_request_error"],
  unsupported_media_type: [400, "invalid_request_error"],
  invalid_api_key: [401, "invalid_request_error"],
  origin_not_allowed: [403, "permission_error"],
  host_not_allowed: [403, "permission_error"],
  not_found: [404, "invalid_request_error"],
  model_not_found: [404, "invalid_request_error"],
  method_not_allowed: [405, "invalid_request_error"],
  request_timeout: [408, "invalid_request_error"],
  idempotency_key_conflict: [409, "invalid_request_error"],
  turn_cancelled: [409, "invalid_request_error"],
  permission_resolved: [409, "invalid_request_error"],
  session_busy: [409, "invalid_request_error"],
  upgrade_required: [426, "invalid_request_error"],
  body_too_large: [413, "invalid_request_error"],
  invalid_output: [422, "invalid_request_error"],
  rate_limit_exceeded: [429, "rate_limit_error"],
  internal_error: [500, "server_error"],
  agent_error: [502, "server_error"],
  agent_crashed: [502, "server_error"],
  agent_cancelled: [502, "server_error"],
  agent_auth_required: [503, "server_error"],
  agent_unavailable: [503, "server_error"],
  shutting_down: [503, "server_error"],
  agent_timeout: [504, "server_error"],
};

/** The headers that tell a client whether to retry: `x-should-retry` and `retry-after`. */
function retryHeaders(error: AppError): [shouldRetry: string | null, retryAfter: string | null] {
  const { headers } = errorResponse(error);
  return [headers.get("x-should-retry"), headers.get("retry-after")];
}

for (const code of ERROR_CODES) {
  const [status, type] = EXPECTED[code];
  Deno.test(`errorResponse: ${code} is ${status} ${type}, and final after the prompt`, async () => {
    const response = errorResponse(new AppError(code, "What to do."));
    assertEquals(response.status, status);
    assertEquals(response.headers.get("content-type"), "application/json; charset=utf-8");
    assertEquals(response.headers.get("www-authenticate"), status === 401 ? "Bearer" : null);
    const body = await response.json();
    assertEquals(body, { error: { message: "What to do.", type, param: null, code } });
    assertEquals(Object.keys(body.error), ["message", "type", "param", "code"]);
    assertEquals(retryHeaders(new AppError(code, "x", { prompted: true, retryAfterSecs: 9 })), [
      "false",
      null,
    ]);
  });
}

Deno.test("errorBody: names the faulty field", () => {
  const { error } = errorBody(new AppError("invalid_value", "No.", { param: "messages[2].content" }));
  assertEquals(error.param, "messages[2].content");
});

const RETRIES: readonly [
  ErrorCode,
  retryAfterSecs: number | undefined,
  ...ReturnType<typeof retryHeaders>,
][] = [
  ["rate_limit_exceeded", undefined, null, "5"],
  ["rate_limit_exceeded", 3, null, "3"],
  ["agent_unavailable", undefined, null, "5"],
  ["agent_unavailable", 1, null, "1"],
  ["shutting_down", 30, null, "30"],
  ["session_busy", undefined, null, "5"],
  ["session_busy", 3, null, "3"],
  ["agent_auth_required", 7, "false", null],
  ["idempotency_key_conflict", undefined, "false", null],
  ["turn_cancelled", undefined, "false", null],
  ["internal_error", undefined, "false", null],
  ["invalid_value", undefined, null, null],
  ["invalid_api_key", undefined, null, null],
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
  const silent = ERROR_CODES.filter((code) => EXPECTED[code][0] === 409 || EXPECTED[code][0] >= 500)
    .filter((code) => retryHeaders(new AppError(code, "x")).every((header) => header === null));
  assertEquals(silent.filter((code) => !ofTurns.includes(code)), []);
});
