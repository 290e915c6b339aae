import { assertEquals, assertMatch } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp } from "../support/harness/app_harness.ts";
import { FakeVoice } from "../support/harness/fake_voice.ts";
import { ServedApp } from "../support/harness/served_app.ts";
import { user } from "../support/harness/chat_fixture.ts";

Deno.test("routes: every spelling of a path", async () => {
  await using app = startApp({ script: saying("Hi"), model: "mao/fast" });
  for (
    const path of ["/v1//chat/completions/", "/chat/completions", "/api/v1/openai/v1/chat/completions?a=b"]
  ) {
    const response = await app.post(path, { messages: [user("Hi")] });
    assertEquals((await response.json()).object, "chat.completion", path);
  }
  for (const path of ["/v1/models/mao%2Ffast", "/models/mao/fast"]) {
    assertEquals((await (await app.get(path)).json()).id, "mao/fast", path);
  }
});

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
  await using speech = startApp({ chatPath: "/v1/audio/speech", textToSpeech: new FakeVoice() });
  const spoken = await speech.post("/v1/audio/speech", { input: "Hi" });
  assertEquals(spoken.headers.get("content-type"), "audio/wav");
  await spoken.body?.cancel();
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

Deno.test("readyz: reports the agents, and a server that shuts down", async () => {
  await using app = startApp();
  for (
    const [state, isDraining, status, word] of [["failing", false, 503, "degraded"], [
      "ready",
      true,
      503,
      "draining",
    ]] as const
  ) {
    app.agent.state = state;
    app.isDraining = isDraining;
    const response = await app.get("/readyz");
    assertEquals([response.status, (await response.json()).status], [status, word]);
  }
});

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

Deno.test("HEAD: the headers of GET, with its length, and no body", async () => {
  await using served = ServedApp.start({ textToSpeech: new FakeVoice() });
  for (const path of ["/v1/models", "/v1/models/nope", "/v1/audio/voices", "/health"]) {
    const [get, head] = await Promise.all(
      ["GET", "HEAD"].map((method) => fetch(served.url + path, { method })),
    ) as [Response, Response];
    const length = (await get.text()).length;
    assertEquals([head.status, await head.text()], [get.status, ""]);
    assertEquals(head.headers.get("content-type"), get.headers.get("content-type"));
    assertEquals(head.headers.get("content-length"), String(length), path);
  }
});

for (const host of ["localhost:abc", "::1", "a b", "[::1", "127.0.0.1:99999"]) {
  Deno.test(`a malformed Host is an error in the envelope: ${host}`, async () => {
    await using served = ServedApp.start();
    const { hostname, port } = new URL(served.url);
    const connection = await Deno.connect({ hostname, port: Number(port) });
    const head = `GET /v1/models HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
    await connection.write(new TextEncoder().encode(head));
    const text = await new Response(connection.readable).text();
    assertMatch(text, /^HTTP\/1.1 40[03] /);
    assertMatch(text, /"type":"\w+_error","param":.*"code":"\w+"}}/);
  });
}

const METHODS: [method: string, path: string, allow: string][] = [
  ["HEAD", "/v1/chat/completions", "POST, OPTIONS"],
  ["HEAD", "/v1/audio/speech", "POST, OPTIONS"],
  ["GET", "/v1/audio/transcriptions", "POST, OPTIONS"],
  ["POST", "/v1/audio/voices", "GET, HEAD, OPTIONS"],
  ["PUT", "/v1/completions", "POST, OPTIONS"],
  ["DELETE", "/v1/models/openab", "GET, HEAD, OPTIONS"],
  ["POST", "/v1/vtuber/sessions", "GET, HEAD, DELETE, OPTIONS"],
  ["GET", "/v1/vtuber/sessions/mao", "DELETE, OPTIONS"],
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

Deno.test("404: names the path, with a hint if an app added it twice", async () => {
  await using app = startApp();
  for (
    const [path, hasHint] of [["/v1/engines", false], [
      "/v1/chat/completions/chat/completions",
      true,
    ]] as const
  ) {
    const { message, ...error } = await errorOf(await app.send(path, { method: "POST" }));
    assertEquals(error, { status: 404, type: "invalid_request_error", param: null, code: "not_found" });
    assertEquals([message.includes(path), message.includes("up to /v1 only")], [true, hasHint]);
  }
});

const NOT_SERVED: [method: string, path: string, advice: RegExp][] = [
  ["POST", "/v1/responses/compact", /Compaction is not served/],
  ["POST", "/v1/responses/input_tokens", /`usage` of POST \/v1\/responses/],
  ["POST", "/v1/moderations", /Moderation is not served/],
  ["POST", "/v1/images/generations", /Images and videos are not made/],
  ["POST", "/v1/files", /Nothing is stored here/],
  ["GET", "/v1/files/file-1/content", /Nothing is stored here/],
  ["POST", "/v1/uploads/upload_1/parts", /Nothing is stored here/],
  ["POST", "/v1/vector_stores/vs_1/search", /Nothing is stored here/],
  ["POST", "/v1/containers", /Nothing is stored here/],
  ["GET", "/v1/batches", /run later/],
  ["POST", "/v1/fine_tuning/jobs/x/cancel", /run later/],
  ["POST", "/v1/evals", /run later/],
  ["POST", "/v1/assistants", /Assistants API/],
  ["POST", "/v1/threads/thread_1/runs", /Assistants API/],
  ["POST", "/v1/conversations", /X-Session-Id/],
  ["POST", "/v1/audio/translations", /POST \/v1\/audio\/transcriptions/],
  ["POST", "/api/chat", /Ollama.* call POST \/v1\/chat\/completions/],
  ["GET", "/api/tags", /GET \/v1\/models/],
];
for (const [method, path, advice] of NOT_SERVED) {
  Deno.test(`404: ${path} says what to call instead`, async () => {
    await using app = startApp();
    const { message, ...error } = await errorOf(await app.send(path, { method }));
    assertEquals(error, { status: 404, type: "invalid_request_error", param: null, code: "not_found" });
    assertMatch(message, advice);
    const preflight = await app.send(path, { method: "OPTIONS" });
    assertEquals([preflight.status, preflight.headers.get("allow")?.includes("POST")], [204, true]);
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
