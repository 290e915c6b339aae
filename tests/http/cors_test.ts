import { assertEquals } from "@std/assert";
import { createAccessControl } from "../../lib/http/access.ts";
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

const CASES: readonly [
  name: string,
  authKey: string | undefined,
  origin: string | undefined,
  allowed: boolean,
][] = [
  ["no Origin", undefined, undefined, false],
  ["a page of this machine", undefined, "http://localhost:3000", true],
  ["a foreign page", undefined, "https://evil.example", false],
  ["a listed page", undefined, "https://app.example", true],
  ["any page, with a key", "k", "https://evil.example", true],
  ["a Tauri app", undefined, "tauri://localhost", true],
  ["the origin null, with a key", "k", "null", true],
];
for (const [name, authKey, origin, allowed] of CASES) {
  Deno.test(`corsHeaders: ${name}`, () => {
    const access = createAccessControl({ authKey, allowedOrigins: ["https://app.example"], insecure: false });
    const incoming = request(origin === undefined ? {} : { origin });
    const headers = new Headers(corsHeaders(incoming, access.allowsOrigin(incoming)));
    assertEquals(headers.get("access-control-allow-origin"), allowed ? origin : null);
    assertEquals(headers.get("vary"), origin === undefined ? null : "Origin");
    assertEquals(headers.get("access-control-allow-credentials"), null);
    const exposed = headers.get("access-control-expose-headers")?.split(", ") ?? [];
    const needed = ["x-request-id", "x-session-id", "retry-after", "x-should-retry"];
    assertEquals(needed.every((name) => exposed.includes(name)), allowed);
  });
}
