import { assertEquals } from "@std/assert";
import { errorBody, errorResponse } from "../../lib/http/error_response.ts";
import { AppError, ERROR_CODES, type ErrorCode } from "../../lib/core/errors.ts";

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

for (const code of ERROR_CODES) {
  const [status, type] = EXPECTED[code];
  Deno.test(`errorResponse: ${code} is ${status} ${type}`, async () => {
    const response = errorResponse(new AppError(code, "What to do."));
    assertEquals(response.status, status);
    assertEquals(response.headers.get("content-type"), "application/json; charset=utf-8");
    assertEquals(response.headers.get("www-authenticate"), status === 401 ? "Bearer" : null);
    const body = await response.json();
    assertEquals(body, { error: { message: "What to do.", type, param: null, code } });
    assertEquals(Object.keys(body.error), ["message", "type", "param", "code"]);
  });

  Deno.test(`errorResponse: ${code} after the prompt may not be tried again`, async () => {
    const response = errorResponse(new AppError(code, "x", { prompted: true, retryAfterSecs: 9 }));
    assertEquals(response.headers.get("x-should-retry"), "false");
    assertEquals(response.headers.get("retry-after"), null);
    await response.body?.cancel();
  });
}

Deno.test("envelopeOf: the field at fault is told", () => {
  const failure = new AppError("invalid_value", "No.", { param: "messages[2].content" });
  assertEquals(errorBody(failure), {
    error: {
      message: "No.",
      type: "invalid_request_error",
      param: "messages[2].content",
      code: "invalid_value",
    },
  });
});

const RETRIES: [code: ErrorCode, retryAfterSecs: number | undefined, shouldRetry: string, after: string][] = [
  ["rate_limit_exceeded", undefined, "-", "5"],
  ["rate_limit_exceeded", 3, "-", "3"],
  ["agent_unavailable", undefined, "-", "5"],
  ["agent_unavailable", 1, "-", "1"],
  ["shutting_down", 30, "-", "30"],
  ["agent_auth_required", undefined, "false", "-"],
  ["agent_auth_required", 7, "false", "-"],
  ["idempotency_key_conflict", undefined, "false", "-"],
  ["turn_cancelled", undefined, "false", "-"],
  ["session_busy", undefined, "-", "5"],
  ["session_busy", 3, "-", "3"],
  ["internal_error", undefined, "false", "-"],
  ["invalid_value", undefined, "-", "-"],
  ["invalid_api_key", undefined, "-", "-"],
  ["not_found", 3, "-", "-"],
];

for (const [code, retryAfterSecs, shouldRetry, after] of RETRIES) {
  Deno.test(`errorResponse: ${code} before the prompt, ${retryAfterSecs ?? "no"} seconds given`, async () => {
    const response = errorResponse(new AppError(code, "x", retryAfterSecs ? { retryAfterSecs } : {}));
    assertEquals(response.headers.get("x-should-retry") ?? "-", shouldRetry);
    assertEquals(response.headers.get("retry-after") ?? "-", after);
    await response.body?.cancel();
  });
}

Deno.test("errorResponse: a client that retries 5xx and 409 on its own is told whether to, before a prompt too", () => {
  // OpenAI's clients send these again without being asked, three times in all.
  const retried = ERROR_CODES.filter((code) => EXPECTED[code][0] === 409 || EXPECTED[code][0] >= 500);
  const untold = retried.filter((code) => {
    const { headers } = errorResponse(new AppError(code, "x"));
    return !headers.has("x-should-retry") && !headers.has("retry-after");
  });
  // These come from a running turn only, so that they always carry `prompted`.
  const ofTurns = ["agent_error", "agent_crashed", "agent_cancelled", "agent_timeout"];
  assertEquals(untold.filter((code) => !ofTurns.includes(code)), []);
});
