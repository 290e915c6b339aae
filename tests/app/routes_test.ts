import { assertEquals, assertMatch } from "@std/assert";
import type { AgentState } from "../../lib/turn/agent.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp } from "../support/harness/app_harness.ts";

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
  Deno.test(`route: ${path} is chat`, async () => {
    await using app = startApp({ script: saying("Hi") });
    const response = await app.post(path, { messages: [{ role: "user", content: "Hi" }] });
    assertEquals((await response.json()).object, "chat.completion");
  });
}

Deno.test("route: one more path for chat, and no other changes", async () => {
  await using app = startApp({ script: saying("Hi"), chatPath: "/v1/brain/" });
  const body = { messages: [{ role: "user", content: "Hi" }] };
  for (const path of ["/brain", "/v1/brain", "/v1/chat/completions"]) {
    assertEquals((await (await app.post(path, body)).json()).object, "chat.completion", path);
  }
  assertEquals((await errorOf(await app.post("/v1/brain/x", body))).status, 404);
});

Deno.test("route: one more path that is another's already changes nothing", async () => {
  await using app = startApp({ chatPath: "/v1/models" });
  assertEquals((await (await app.get("/v1/models")).json()).object, "list");
});

Deno.test("models: one, with the same age at every look", async () => {
  await using app = startApp({ model: "mao/fast" });
  const list = await (await app.get("/v1/models")).json();
  assertEquals(list.object, "list");
  assertEquals(list.data.length, 1);
  const [model] = list.data;
  assertEquals({ ...model, created: 0 }, { id: "mao/fast", object: "model", created: 0, owned_by: "acp" });
  assertEquals(Number.isSafeInteger(model.created), true);
  for (const path of ["/models", "/v1/models/", "/v1/v1/models"]) {
    assertEquals(await (await app.get(path)).json(), list);
  }
  for (const path of ["/v1/models/mao%2Ffast", "/models/mao%2Ffast", "/v1/models/mao/fast"]) {
    assertEquals(await (await app.get(path)).json(), model, path);
  }
});

Deno.test("models: one that is not there", async () => {
  await using app = startApp();
  const error = await errorOf(await app.get("/v1/models/gpt%2F4o"));
  assertEquals([error.status, error.type, error.code, error.param], [
    404,
    "invalid_request_error",
    "model_not_found",
    "model",
  ]);
  assertMatch(error.message, /"gpt\/4o"; there is openab/);
});

for (const path of ["/health", "/healthz", "/v1/health"]) {
  Deno.test(`health: ${path} is ok while the program lives, without a key`, async () => {
    await using app = startApp({ access: { authKey: "k" } });
    app.agent.state = "failing";
    app.isDraining = true;
    const response = await app.get(path, { from: "192.168.1.7" });
    assertEquals([response.status, await response.json()], [200, { status: "ok" }]);
  });
}

const READY: [state: AgentState, draining: boolean, status: number, word: string, check: string][] = [
  ["idle", false, 200, "ready", "ok"],
  ["ready", false, 200, "ready", "ok"],
  ["starting", false, 503, "starting", "starting"],
  ["failing", false, 503, "degraded", "failing"],
  ["closed", false, 503, "draining", "closed"],
  ["ready", true, 503, "draining", "ok"],
];

for (const [state, draining, status, word, check] of READY) {
  Deno.test(`readyz: an agent that is ${state}${draining ? ", in a program that ends" : ""}: ${status}`, async () => {
    await using app = startApp({ access: { authKey: "k" } });
    app.agent.state = state;
    app.isDraining = draining;
    const response = await app.get("/readyz");
    assertEquals(response.status, status);
    assertEquals(await response.json(), { status: word, checks: { "agent:openab": check } });
    assertEquals(app.agent.sessions.length, 0, "no agent is asked");
  });
}

Deno.test("/: says what this is and where to point an app, without a key", async () => {
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
  ["/", 200],
  ["/health", 200],
  ["/readyz", 200],
  ["/v1/models", 200],
  ["/v1/models/openab", 200],
];

for (const [path, status] of HEADS) {
  Deno.test(`HEAD ${path}: what GET says, without the body`, async () => {
    await using app = startApp();
    const head = await app.send(path, { method: "HEAD" });
    assertEquals(head.status, status);
    assertEquals(await head.text(), "");
    const get = await app.get(path);
    assertEquals(head.headers.get("content-type"), get.headers.get("content-type"));
    await get.body?.cancel();
  });
}

Deno.test("HEAD: an error of HEAD has no body either", async () => {
  await using app = startApp();
  for (
    const [path, status] of [["/v1/models/nope", 404], ["/nope", 404], ["/v1/chat/completions", 405]] as const
  ) {
    const response = await app.send(path, { method: "HEAD" });
    assertEquals(response.status, status, path);
    await response.body?.cancel();
  }
});

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

const NOWHERE: [path: string, hinted: boolean][] = [
  ["/nope", false],
  ["/api/tags", false],
  ["/v1/embeddings", false],
  ["/v1/chat", false],
  ["/v1/chat/completions/v1/chat/completions", true],
  ["/v1/chat/completions/chat/completions", true],
];

for (const [path, hinted] of NOWHERE) {
  Deno.test(`404: ${path}${hinted ? ", with a hint" : ""}`, async () => {
    await using app = startApp();
    for (const method of ["GET", "POST"]) {
      const error = await errorOf(await app.send(path, { method }));
      assertEquals([error.status, error.type, error.code, error.param], [
        404,
        "invalid_request_error",
        "not_found",
        null,
      ]);
      assertEquals(error.message.includes("up to /v1 only"), hinted);
    }
  });
}

Deno.test("every answer has its number and is not sniffed", async () => {
  await using app = startApp({ script: saying("Hi") });
  const asked: Promise<Response>[] = [
    app.get("/"),
    app.get("/health"),
    app.get("/readyz"),
    app.get("/v1/models"),
    app.get("/nope"),
    app.send("/health", { method: "HEAD" }),
    app.send("/v1/models", { method: "DELETE" }),
    app.send("/v1/chat/completions", { method: "OPTIONS" }),
    app.chat(),
    app.stream(),
    app.chat({ messages: [] }),
    app.post("/v1/chat/completions", "{"),
    app.get("/health", { headers: { host: "evil.example" } }),
    app.chat({}, { headers: { origin: "https://evil.example" } }),
  ];
  const responses = await Promise.all(asked);
  const numbers = responses.map(({ headers }) => headers.get("x-request-id"));
  for (const number of numbers) assertMatch(number!, /^[0-9a-f]{32}$/);
  assertEquals(new Set(numbers).size, numbers.length);
  assertEquals(responses.every(({ headers }) => headers.get("x-content-type-options") === "nosniff"), true);
  for (const response of responses) await response.text();
});
