import { assertEquals } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, type TestApp, type TestAppOptions } from "../support/harness/app_harness.ts";

const KEY = "s3cret-key";

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
  ["a wrong key", { authKey: KEY }, { authorization: "Bearer x" }, "127.0.0.1", 401, "invalid_api_key"],
];

for (const [name, access, headers, from, status, code] of REFUSED) {
  Deno.test(`access: ${name} is refused before the body is read`, async () => {
    await using app = startApp({ access, script: saying("Hi") });
    let isRead = false;
    const body = new ReadableStream({
      pull(controller) {
        isRead = true;
        controller.error(new Error("the body was read"));
      },
    }, { highWaterMark: 0 });
    const init = { method: "POST", headers: { "content-type": "application/json", ...headers }, body };
    const response = await app.send("/v1/chat/completions", init, from);
    const error = await errorOf(response);
    assertEquals([error.status, error.code, error.param], [status, code, null]);
    assertEquals(response.headers.get("www-authenticate"), status === 401 ? "Bearer" : null);
    assertEquals([isRead, app.agent.sessions.length], [false, 0]);
  });
}

Deno.test("access: without the key no path reveals whether it exists", async () => {
  await using app = startApp({ access: { authKey: KEY } });
  for (const path of ["/nope", "/v1/models", "/v1/chat/completions", "/v1/models/openab"]) {
    assertEquals((await errorOf(await app.get(path))).status, 401, path);
  }
  const headers = { authorization: `Bearer ${KEY}` };
  assertEquals((await errorOf(await app.get("/nope", { headers }))).status, 404);
  assertEquals((await errorOf(await app.get("/v1/chat/completions", { headers }))).status, 405);
});

Deno.test("access: the key admits any machine, page and Host", async () => {
  const [host, origin] = ["nas.lan:8080", "https://app.example"];
  await using app = startApp({ access: { authKey: KEY }, script: saying("Hi") });
  const headers = { authorization: `Bearer ${KEY}`, host, origin };
  const admitted = await app.chat({}, { headers, from: "192.168.1.7" });
  await admitted.text();
  assertEquals([admitted.status, admitted.headers.get("access-control-allow-origin")], [200, origin]);
});

const CORS: [
  name: string,
  status: number,
  send: (app: TestApp, headers: HeadersInit) => Promise<Response>,
][] = [
  ["a whole reply", 200, (app, headers) => app.chat({}, { headers })],
  ["a stream", 200, (app, headers) => app.stream({}, { headers })],
  ["a body that is refused", 400, (app, headers) => app.chat({ messages: [] }, { headers })],
  ["an unknown path", 404, (app, headers) => app.get("/nope", { headers })],
  ["a method that is not allowed", 405, (app, headers) => app.get("/v1/chat/completions", { headers })],
  ["a preflight", 204, (app, headers) => app.send("/v1/chat/completions", { method: "OPTIONS", headers })],
];

for (const [name, status, send] of CORS) {
  Deno.test(`CORS: ${name} is readable by the page that sent the request`, async () => {
    await using app = startApp({ script: saying("Hi") });
    const response = await send(app, { origin: "http://localhost:3000" });
    await response.text();
    const { headers } = response;
    assertEquals([response.status, headers.get("vary")], [status, "Origin"]);
    assertEquals(headers.get("access-control-allow-origin"), "http://localhost:3000");
    assertEquals(headers.get("access-control-allow-credentials"), null);
    const exposed = headers.get("access-control-expose-headers")!.split(", ");
    const needed = ["x-request-id", "x-session-id", "retry-after", "x-should-retry"];
    assertEquals(needed.filter((name) => !exposed.includes(name)), []);
  });
}

Deno.test("CORS: a page can read that its key is wrong, but not that its origin is refused", async () => {
  const origin = "https://app.example";
  await using keyed = startApp({ access: { authKey: KEY } });
  const wrong = await keyed.chat({}, { headers: { origin, authorization: "Bearer x" } });
  await wrong.body?.cancel();
  await using open = startApp();
  const foreign = await open.chat({}, { headers: { origin } });
  await foreign.body?.cancel();
  const names = ["access-control-allow-origin", "access-control-expose-headers", "vary"];
  const read = ({ status, headers }: Response) => [status, ...names.map((name) => headers.get(name))];
  const exposed = wrong.headers.get("access-control-expose-headers");
  assertEquals([read(wrong), read(foreign)], [[401, origin, exposed, "Origin"], [403, null, null, "Origin"]]);
});

Deno.test("preflight: needs no key, but an allowed page; lists the methods of its route", async () => {
  const headers = {
    origin: "https://app.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-retry-count",
    "access-control-request-private-network": "true",
  };
  await using app = startApp({ access: { authKey: KEY } });
  const response = await app.send("/v1/chat/completions", { method: "OPTIONS", headers });
  const read = (name: string) => response.headers.get(name);
  assertEquals([response.status, read("access-control-allow-origin")], [204, headers.origin]);
  assertEquals(read("access-control-allow-headers"), headers["access-control-request-headers"]);
  assertEquals(read("access-control-allow-private-network"), "true");
  assertEquals([read("access-control-allow-methods"), read("allow")], ["POST, OPTIONS", "POST, OPTIONS"]);
  assertEquals([read("access-control-max-age"), await response.text()], ["600", ""]);
  await using open = startApp();
  const plain = await open.send("/v1/models", { method: "OPTIONS" });
  assertEquals([plain.status, plain.headers.get("allow")], [204, "GET, HEAD, OPTIONS"]);
  assertEquals(plain.headers.get("access-control-allow-methods"), null);
  const refused = await open.send("/v1/chat/completions", { method: "OPTIONS", headers });
  assertEquals((await errorOf(refused)).code, "origin_not_allowed");
  const rebound = await open.send("/", { method: "OPTIONS", headers: { host: "evil.example" } });
  assertEquals((await errorOf(rebound)).code, "host_not_allowed");
});
