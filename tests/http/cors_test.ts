import { assertEquals } from "@std/assert";
import { corsHeaders, preflightResponse } from "../../lib/http/cors.ts";

const REQUESTED = "authorization, content-type, api-key, http-referer, x-title, x-stainless-retry-count";

function request(headers: Record<string, string>): Request {
  return new Request("http://127.0.0.1:8080/v1/models", { headers: { host: "127.0.0.1:8080", ...headers } });
}

Deno.test("preflightResponse: allows the headers that the browser asks for", async () => {
  const response = preflightResponse(
    request({
      origin: "https://skin.example",
      "access-control-request-method": "POST",
      "access-control-request-headers": REQUESTED,
      "access-control-request-private-network": "true",
    }),
    "POST, OPTIONS",
  );
  assertEquals([response.status, await response.text()], [204, ""]);
  assertEquals(Object.fromEntries(response.headers), {
    allow: "POST, OPTIONS",
    "access-control-allow-methods": "POST, OPTIONS",
    "access-control-allow-headers": REQUESTED,
    "access-control-allow-private-network": "true",
    "access-control-max-age": "600",
  });
});

Deno.test("preflightResponse: without an Origin it answers a plain OPTIONS", () => {
  const response = preflightResponse(request({}), "GET, HEAD, OPTIONS");
  assertEquals([response.status, Object.fromEntries(response.headers)], [204, {
    allow: "GET, HEAD, OPTIONS",
  }]);
});

Deno.test("corsHeaders: lets the page of an allowed origin read the response, never with credentials", () => {
  for (
    const [origin, isAllowed] of [["https://app.example", true], ["https://evil.example", false]] as const
  ) {
    const headers = new Headers(corsHeaders(request({ origin }), isAllowed));
    assertEquals(headers.get("access-control-allow-origin"), isAllowed ? origin : null);
    assertEquals([headers.get("vary"), headers.get("access-control-allow-credentials")], ["Origin", null]);
    const exposed = headers.get("access-control-expose-headers")?.split(", ") ?? [];
    const needed = ["x-request-id", "x-session-id", "retry-after", "x-should-retry"];
    assertEquals(needed.every((name) => exposed.includes(name)), isAllowed);
  }
  assertEquals(corsHeaders(request({}), true), []);
});
