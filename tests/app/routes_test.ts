import { assertEquals, assertMatch } from "@std/assert";
import type { AgentState } from "../../lib/turn/agent.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp } from "../support/harness/app_harness.ts";
import { user } from "../support/harness/chat_fixture.ts";

const CHAT_PATHS = [
  "/v1/chat/completions",
  "/chat/completions",
  "/v1/v1/chat/completions",
  "//v1/chat/completions",
  "/v1//chat/completions/",
  "/api/v1/openai/v1/chat/completions",
  "/api/v1/openai/chat/completions",
  "/v1/chat/completions?api-version=2024-06-01",
];

for (const path of CHAT_PATHS) {
  Deno.test(`routes: ${path} is chat`, async () => {
    await using app = startApp({ script: saying("Hi") });
    const response = await app.post(path, { messages: [user("Hi")] });
    assertEquals((await response.json()).object, "chat.completion");
  });
}

Deno.test("routes: the extra chat path", async () => {
  await using app = startApp({ script: saying("Hi"), chatPath: "/v1/brain/" });
  const body = { messages: [user("Hi")] };
  for (const path of ["/brain", "/v1/brain", "/v1/chat/completions"]) {
    assertEquals((await (await app.post(path, body)).json()).object, "chat.completion", path);
  }
  assertEquals((await errorOf(await app.post("/v1/brain/x", body))).status, 404);
});

Deno.test("routes: the extra chat path does not hide another route", async () => {
  await using models = startApp({ chatPath: "/v1/models" });
  assertEquals((await (await models.get("/v1/models")).json()).object, "list");
  await using state = startApp({ chatPath: "/v1/vtuber/state" });
  assertEquals((await (await state.get("/v1/vtuber/state")).json()).state, "idle");
});

Deno.test("routes: models and one model, under any spelling of the path", async () => {
  await using app = startApp({ model: "mao/fast" });
  const list = await (await app.get("/v1/models")).json();
  const [model] = list.data;
  assertEquals([list.object, list.data.length, Number.isSafeInteger(model.created)], ["list", 1, true]);
  assertEquals({ ...model, created: 0 }, { id: "mao/fast", object: "model", created: 0, owned_by: "acp" });
  for (const path of ["/models", "/v1/models/", "/v1/v1/models"]) {
    assertEquals(await (await app.get(path)).json(), list);
  }
  for (const path of ["/v1/models/mao%2Ffast", "/models/mao%2Ffast", "/v1/models/mao/fast"]) {
    assertEquals(await (await app.get(path)).json(), model, path);
  }
  const { message, ...error } = await errorOf(await app.get("/v1/models/gpt%2F4o"));
  const type = "invalid_request_error";
  assertEquals(error, { status: 404, type, param: "model", code: "model_not_found" });
  assertMatch(message, /"gpt\/4o"/);
});

for (const path of ["/health", "/healthz", "/v1/health"]) {
  Deno.test(`health: ${path} is ok while the server runs, without a key`, async () => {
    await using app = startApp({ access: { authKey: "k" } });
    app.agent.state = "failing";
    app.isDraining = true;
    const response = await app.get(path, { from: "192.168.1.7" });
    assertEquals([response.status, await response.json()], [200, { status: "ok" }]);
  });
}

const READY: [state: AgentState, isDraining: boolean, status: number, word: string, check: string][] = [
  ["idle", false, 200, "ready", "ok"],
  ["ready", false, 200, "ready", "ok"],
  ["starting", false, 503, "starting", "starting"],
  ["failing", false, 503, "degraded", "failing"],
  ["closed", false, 503, "draining", "closed"],
  ["ready", true, 503, "draining", "ok"],
];

for (const [state, isDraining, status, word, check] of READY) {
  Deno.test(`readyz: ${status} while the agent is ${state}${isDraining ? " and the server shuts down" : ""}`, async () => {
    await using app = startApp({ access: { authKey: "k" } });
    app.agent.state = state;
    app.isDraining = isDraining;
    const response = await app.get("/readyz");
    const body = { status: word, checks: { "agent:openab": check } };
    assertEquals([response.status, await response.json()], [status, body]);
    assertEquals(app.agent.sessions.length, 0, "the agent is not involved");
  });
}

Deno.test("/: describes the server and lists the endpoints, without a key", async () => {
  await using app = startApp({ access: { authKey: "k" }, model: "mao" });
  for (const path of ["/", "", "/v1", "/v1/"]) {
    const response = await app.get(path);
    assertEquals(response.status, 200);
    const { name, version, model, endpoints } = await response.json();
    assertEquals([name, version, model], ["oab-vtuber", "1.2.3", "mao"]);
    assertEquals(endpoints.chat, "POST /v1/chat/completions");
  }
});

const HEADS: [path: string, status: number][] = [
  ...["/", "/health", "/readyz", "/v1/models", "/v1/models/openab"].map((
    path,
  ): [string, number] => [path, 200]),
  ["/v1/models/nope", 404],
  ["/nope", 404],
  ["/v1/chat/completions", 405],
];

for (const [path, status] of HEADS) {
  Deno.test(`HEAD ${path}: ${status}, with the headers of GET and no body`, async () => {
    await using app = startApp();
    const head = await app.send(path, { method: "HEAD" });
    assertEquals(head.status, status);
    if (status !== 200) return await head.body?.cancel();
    assertEquals(await head.text(), "");
    const get = await app.get(path);
    assertEquals(head.headers.get("content-type"), get.headers.get("content-type"));
    await get.body?.cancel();
  });
}

const METHODS: [method: string, path: string, allow: string][] = [
  ["GET", "/v1/chat/completions", "POST, OPTIONS"],
  ["HEAD", "/v1/chat/completions", "POST, OPTIONS"],
  ["PUT", "/v1/chat/completions", "POST, OPTIONS"],
  ["DELETE", "/v1/completions", "POST, OPTIONS"],
  ["PATCH", "/v1/completions", "POST, OPTIONS"],
  ["POST", "/v1/models", "GET, HEAD, OPTIONS"],
  ["DELETE", "/v1/models/openab", "GET, HEAD, OPTIONS"],
  ["POST", "/health", "GET, HEAD, OPTIONS"],
  ["POST", "/", "GET, HEAD, OPTIONS"],
];

for (const [method, path, allow] of METHODS) {
  Deno.test(`${method} ${path}: 405 with what is allowed`, async () => {
    await using app = startApp();
    const response = await app.send(path, { method });
    assertEquals([response.status, response.headers.get("allow")], [405, allow]);
    const error = await errorOf(response);
    assertEquals([error.code, error.type], ["method_not_allowed", "invalid_request_error"]);
    assertEquals(error.message.includes(method), true);
  });
}

const MISSING: [path: string, hasHint: boolean][] = [
  ["/nope", false],
  ["/api/tags", false],
  ["/v1/embeddings", false],
  ["/v1/chat", false],
  ["/v1/chat/completions/v1/chat/completions", true],
  ["/v1/chat/completions/chat/completions", true],
];

for (const [path, hasHint] of MISSING) {
  Deno.test(`404: ${path}${hasHint ? ", with a hint" : ""}`, async () => {
    await using app = startApp();
    for (const method of ["GET", "POST"]) {
      const { message, ...error } = await errorOf(await app.send(path, { method }));
      assertEquals(error, { status: 404, type: "invalid_request_error", param: null, code: "not_found" });
      assertEquals(message.includes("up to /v1 only"), hasHint);
    }
  });
}

Deno.test("every response has a request id and is not sniffed", async () => {
  await using app = startApp({ script: saying("Hi") });
  const responses = await Promise.all([
    ...["/", "/health", "/readyz", "/v1/models", "/nope"].map((path) => app.get(path)),
    app.send("/health", { method: "HEAD" }),
    app.send("/v1/models", { method: "DELETE" }),
    app.send("/v1/chat/completions", { method: "OPTIONS" }),
    app.chat(),
    app.stream(),
    app.chat({ messages: [] }),
    app.post("/v1/chat/completions", "{"),
    app.get("/health", { headers: { host: "evil.example" } }),
    app.chat({}, { headers: { origin: "https://evil.example" } }),
  ]);
  const ids = responses.map(({ headers }) => headers.get("x-request-id"));
  for (const id of ids) assertMatch(id!, /^[0-9a-f]{32}$/);
  assertEquals(new Set(ids).size, ids.length);
  assertEquals(responses.every(({ headers }) => headers.get("x-content-type-options") === "nosniff"), true);
  for (const response of responses) await response.text();
});
