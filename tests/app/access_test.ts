import { assertEquals } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, type TestApp, type TestAppOptions } from "../support/harness/app_harness.ts";

const KEY = "s3cret-key";

/** A chat request that records whether its body is read. */
function unreadRequest(headers: Record<string, string>): { init: RequestInit; isRead: () => boolean } {
  let isRead = false;
  const body = new ReadableStream({
    pull(controller) {
      isRead = true;
      controller.error(new Error("the body was read"));
    },
  }, { highWaterMark: 0 });
  const init = { method: "POST", headers: { "content-type": "application/json", ...headers }, body };
  return { init, isRead: () => isRead };
}

const REFUSED: [
  name: string,
  access: TestAppOptions["access"] & object,
  headers: Record<string, string>,
  from: string,
  status: number,
  code: string,
][] = [
  ["a rebound name", {}, { host: "evil.example" }, "127.0.0.1", 403, "host_not_allowed"],
  ["another machine", {}, {}, "192.168.1.7", 403, "host_not_allowed"],
  ["a foreign page", {}, { origin: "https://evil.example" }, "127.0.0.1", 403, "origin_not_allowed"],
  ["a page without an origin", {}, { origin: "null" }, "127.0.0.1", 403, "origin_not_allowed"],
  ["no key", { authKey: KEY }, {}, "127.0.0.1", 401, "invalid_api_key"],
  ["a wrong key", { authKey: KEY }, { authorization: "Bearer x" }, "127.0.0.1", 401, "invalid_api_key"],
];

for (const [name, access, headers, from, status, code] of REFUSED) {
  Deno.test(`access: ${name} is refused before the body is read`, async () => {
    await using app = startApp({ access, script: saying("Hi") });
    const { init, isRead } = unreadRequest(headers);
    const response = await app.send("/v1/chat/completions", init, from);
    const error = await errorOf(response);
    assertEquals([error.status, error.code, error.param], [status, code, null]);
    assertEquals(response.headers.get("www-authenticate"), status === 401 ? "Bearer" : null);
    assertEquals([isRead(), app.agent.sessions.length], [false, 0]);
  });
}

Deno.test("access: without the key no path reveals whether it exists", async () => {
  await using app = startApp({ access: { authKey: KEY } });
  for (
    const path of ["/nope", "/v1/models", "/v1/chat/completions", "/v1/models/openab", "/v1/completions"]
  ) {
    assertEquals((await errorOf(await app.get(path))).status, 401, path);
  }
  const headers = { authorization: `Bearer ${KEY}` };
  assertEquals((await errorOf(await app.get("/nope", { headers }))).status, 404);
  assertEquals((await errorOf(await app.get("/v1/chat/completions", { headers }))).status, 405);
});

Deno.test("access: the key admits any machine, page and Host", async () => {
  await using app = startApp({ access: { authKey: KEY }, script: saying("Hi") });
  const headers = { authorization: `Bearer ${KEY}`, host: "nas.lan", origin: "https://app.example" };
  const from = "192.168.1.7";
  for (const answer of [app.chat({}, { headers, from }), app.get("/v1/models", { headers, from })]) {
    const response = await answer;
    const origin = response.headers.get("access-control-allow-origin");
    assertEquals([response.status, origin], [200, "https://app.example"]);
    await response.body?.cancel();
  }
});

Deno.test("access: insecure admits other machines, but no foreign pages", async () => {
  await using app = startApp({ access: { insecure: true }, script: saying("Hi") });
  const from = "192.168.1.7";
  const response = await app.chat({}, { headers: { host: "nas.lan:8080" }, from });
  assertEquals(response.status, 200);
  await response.body?.cancel();
  const headers = { host: "nas.lan:8080", origin: "https://evil.example" };
  assertEquals((await errorOf(await app.chat({}, { headers, from }))).code, "origin_not_allowed");
});

const ORIGIN = "http://localhost:3000";
const CORS: [
  name: string,
  status: number,
  send: (app: TestApp, headers: HeadersInit) => Promise<Response>,
][] = [
  ["a whole reply", 200, (app, headers) => app.chat({}, { headers })],
  ["a stream", 200, (app, headers) => app.stream({}, { headers })],
  ["the models", 200, (app, headers) => app.get("/v1/models", { headers })],
  ["a body that is refused", 400, (app, headers) => app.chat({ messages: [] }, { headers })],
  ["an unknown path", 404, (app, headers) => app.get("/nope", { headers })],
  ["a method that is not allowed", 405, (app, headers) => app.get("/v1/chat/completions", { headers })],
  ["a preflight", 204, (app, headers) => app.send("/v1/chat/completions", { method: "OPTIONS", headers })],
];

for (const [name, status, send] of CORS) {
  Deno.test(`CORS: ${name} is readable by the page that sent the request`, async () => {
    await using app = startApp({ script: saying("Hi") });
    const response = await send(app, { origin: ORIGIN });
    assertEquals(response.status, status);
    assertEquals(response.headers.get("access-control-allow-origin"), ORIGIN);
    assertEquals(response.headers.get("vary"), "Origin");
    assertEquals(response.headers.get("access-control-expose-headers")?.includes("x-request-id"), true);
    await response.text();
  });
}

Deno.test("CORS: a page can read that its key is wrong, but not that its origin is refused", async () => {
  await using keyed = startApp({ access: { authKey: KEY } });
  const wrong = await keyed.chat({}, {
    headers: { origin: "https://app.example", authorization: "Bearer x" },
  });
  assertEquals([wrong.status, wrong.headers.get("access-control-allow-origin")], [
    401,
    "https://app.example",
  ]);
  await wrong.body?.cancel();
  await using open = startApp();
  const foreign = await open.chat({}, { headers: { origin: "https://evil.example" } });
  assertEquals([foreign.status, foreign.headers.get("access-control-allow-origin")], [403, null]);
  assertEquals(foreign.headers.get("vary"), "Origin");
  await foreign.body?.cancel();
});

const PREFLIGHT = {
  origin: "https://app.example",
  "access-control-request-method": "POST",
  "access-control-request-headers": "authorization,content-type,x-stainless-retry-count",
  "access-control-request-private-network": "true",
};

for (const path of ["/v1/chat/completions", "/v1/models", "/health", "/nope"]) {
  Deno.test(`preflight: ${path} needs no key`, async () => {
    await using app = startApp({ access: { authKey: KEY } });
    const response = await app.send(path, { method: "OPTIONS", headers: PREFLIGHT });
    assertEquals(response.status, 204);
    const { headers } = response;
    assertEquals(headers.get("access-control-allow-origin"), PREFLIGHT.origin);
    assertEquals(headers.get("access-control-allow-headers"), PREFLIGHT["access-control-request-headers"]);
    assertEquals(headers.get("access-control-allow-private-network"), "true");
    assertEquals(headers.get("access-control-allow-methods"), headers.get("allow"));
  });
}

Deno.test("preflight: lists the methods of each route", async () => {
  await using app = startApp();
  const allow = async (path: string) => (await app.send(path, { method: "OPTIONS" })).headers.get("allow");
  assertEquals(await allow("/v1/chat/completions"), "POST, OPTIONS");
  assertEquals(await allow("/v1/models"), "GET, HEAD, OPTIONS");
});

Deno.test("preflight: a foreign page is refused without a key", async () => {
  await using app = startApp();
  const response = await app.send("/v1/chat/completions", { method: "OPTIONS", headers: PREFLIGHT });
  assertEquals((await errorOf(response)).code, "origin_not_allowed");
  assertEquals(response.headers.get("access-control-allow-origin"), null);
});
