import { assert, assertEquals, assertMatch } from "@std/assert";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";
import { MemoryAgent, saying } from "../support/agents/memory_agent.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";

const PATH = "/v1/vtuber/sessions";
const bearer = (key: string) => ({ headers: { authorization: `Bearer ${key}` } });

interface Listed {
  id: string;
  agent: string;
  state: string;
  turns: number;
  created_at: number;
  last_used_at: number;
}

async function listed(app: TestApp, options: { headers?: HeadersInit } = {}): Promise<Listed[]> {
  const response = await app.get(PATH, options);
  assertEquals([response.status, response.headers.get("cache-control")], [200, "no-store"]);
  return (await response.json()).sessions;
}

/** Has a conversation, and tells what it is called. */
async function talk(app: TestApp, name?: string, options: { headers?: HeadersInit } = {}): Promise<string> {
  const response = await app.chat(name === undefined ? {} : { conversation_id: name }, options);
  await response.text();
  assertEquals(response.status, 200);
  return response.headers.get("x-session-id")!;
}

async function forgotten(
  app: TestApp,
  path: string,
  options: { headers?: HeadersInit } = {},
): Promise<unknown> {
  const response = await app.send(path, { method: "DELETE", ...options });
  const body = await response.json();
  assertEquals(response.status, 200, JSON.stringify(body));
  return body;
}

Deno.test("GET sessions: none, then each conversation with its fields, the one that was used last first", async () => {
  await using app = startApp({ script: saying("Hello."), sessions: "auto", maxSessions: 1 });
  assertEquals(await listed(app), []);
  const before = Math.floor(Date.now() / 1000);
  await talk(app, "mao");
  const found = await talk(app);
  const all = await listed(app);
  assertEquals(all.map(({ id, state }) => [id, state]), [[found, "open"], ["mao", "closed"]]);
  assertMatch(found, /^conv_[0-9a-f]{32}$/);
  for (const session of all) {
    assertEquals(Object.keys(session), ["id", "agent", "state", "turns", "created_at", "last_used_at"]);
    assertEquals([session.agent, session.turns], ["openab", 1]);
    for (const time of [session.created_at, session.last_used_at]) {
      assert(Number.isInteger(time) && time >= before && time <= Date.now() / 1000, `${time}`);
    }
  }
});

Deno.test("GET sessions: one that runs is busy", async () => {
  await using app = startApp();
  const stream = await app.stream({ conversation_id: "mao" });
  const prompt = await app.agent.nextPrompt();
  assertEquals((await listed(app)).map(({ state }) => state), ["busy"]);
  prompt.end();
  await stream.text();
  assertEquals((await listed(app)).map(({ state }) => state), ["open"]);
});

Deno.test("GET sessions: those of an earlier run are there, closed", async () => {
  const store = new MemoryStore();
  {
    await using app = startApp({ script: saying("Hello."), store });
    await talk(app, "mao");
  }
  await using app = startApp({ script: saying("Hello."), store });
  assertEquals((await listed(app)).map(({ id, state }) => [id, state]), [["mao", "closed"]]);
});

Deno.test("GET sessions: what belongs to no conversation is not there", async () => {
  await using app = startApp({ script: saying("Hello."), sessions: "stateless" });
  await talk(app);
  assertEquals(await listed(app), []);
});

Deno.test("DELETE sessions/{id}: forgets that one, and lets the agent delete it", async () => {
  const store = new MemoryStore();
  await using app = startApp({ script: saying("Hello."), store });
  await talk(app, "mao");
  await talk(app, "aya");
  assertEquals(await forgotten(app, `${PATH}/mao`), { forgotten: 1 });
  assertEquals((await listed(app)).map(({ id }) => id), ["aya"]);
  assertEquals([app.agent.deleted, app.agent.sessions.map(({ closed }) => closed.aborted)], [
    ["session-1"],
    [true, false],
  ]);
  assertEquals([...store.records.values()].map(({ id }) => id), ["aya"]);
  await talk(app, "mao");
  assertEquals(app.agent.sessions.length, 3);
});

Deno.test("DELETE sessions/{id}: one that is not there says what to do", async () => {
  await using app = startApp({ script: saying("Hello.") });
  await talk(app, "mao");
  const error = await errorOf(await app.send(`${PATH}/nobody`, { method: "DELETE" }));
  assertEquals([error.status, error.code, error.type], [404, "not_found", "invalid_request_error"]);
  assertEquals(error.message, 'There is no conversation "nobody"; GET /v1/vtuber/sessions lists them.');
  assertEquals(await forgotten(app, `${PATH}/mao`), { forgotten: 1 });
  assertEquals((await errorOf(await app.send(`${PATH}/mao`, { method: "DELETE" }))).status, 404);
});

Deno.test("DELETE sessions: forgets all of them", async () => {
  await using app = startApp({ script: saying("Hello."), sessions: "auto" });
  for (const name of ["mao", "aya", undefined]) await talk(app, name);
  assertEquals(await forgotten(app, `${PATH}?all=true`), { forgotten: 3 });
  assertEquals(await listed(app), []);
  assertEquals(app.agent.deleted.toSorted(), ["session-1", "session-2", "session-3"]);
  assertEquals(await forgotten(app, `${PATH}?all=true`), { forgotten: 0 });
});

for (const path of [PATH, `${PATH}/`, `${PATH}/.`, `${PATH}?id=`, `${PATH}?all`, `${PATH}?all=false`]) {
  Deno.test(`DELETE ${path}: nothing is forgotten that was not named`, async () => {
    await using app = startApp({ script: saying("Hello.") });
    await talk(app, "mao");
    const error = await errorOf(await app.send(path, { method: "DELETE" }));
    assertEquals([error.status, error.code, error.param], [400, "missing_required_parameter", "id"]);
    assertEquals((await listed(app)).length, 1);
  });
}

Deno.test("DELETE sessions: what cannot be removed for good is said", async () => {
  const store = new MemoryStore();
  await using app = startApp({ script: saying("Hello."), store });
  await talk(app, "mao");
  store.isFull = true;
  const error = await errorOf(await app.send(`${PATH}/mao`, { method: "DELETE" }));
  assertEquals([error.status, error.code], [500, "internal_error"]);
  assertEquals(error.message.includes("VTUBER_DATA_DIR"), true, error.message);
  assertEquals(await listed(app), []);
});

Deno.test("DELETE sessions?id=: forgets one whose name no path can hold", async () => {
  await using app = startApp({ script: saying("Hello.") });
  for (const name of [".", "..", "a/../b"]) {
    await talk(app, name);
    assertEquals(await forgotten(app, `${PATH}?id=${encodeURIComponent(name)}`), { forgotten: 1 });
  }
});

Deno.test("DELETE sessions/{id}: a conversation of several agents is forgotten by all of them", async () => {
  const other = new MemoryAgent("other");
  other.script = saying("Hello.");
  await using app = startApp({ script: saying("Hello."), agents: [other] });
  for (const model of ["openab", "other"]) await (await app.chat({ model, conversation_id: "mao" })).text();
  assertEquals((await listed(app)).map(({ id, agent }) => [id, agent]), [["mao", "other"], [
    "mao",
    "openab",
  ]]);
  assertEquals(await forgotten(app, `${PATH}/mao`), { forgotten: 2 });
  assertEquals([app.agent.deleted, other.deleted], [["session-1"], ["other-session-1"]]);
});

Deno.test("DELETE sessions/{id}: a turn that runs is cancelled, and its stream ends as it should", async () => {
  await using app = startApp();
  const stream = await app.stream({ conversation_id: "mao" });
  const prompt = await app.agent.nextPrompt();
  prompt.say("Once upon");
  assertEquals(await forgotten(app, `${PATH}/mao`), { forgotten: 1 });
  await prompt.cancelled;
  const text = await stream.text();
  assertMatch(text, /"finish_reason":"stop".*\n\ndata: \[DONE\]\n\n$/s);
  assertEquals(app.agent.deleted, ["session-1"]);
});

for (
  const name of [
    "マオ",
    "😀",
    "a b",
    "%",
    "%41",
    "a/b",
    "/",
    "//",
    "v1",
    "?",
    "#x",
    "a+b",
    "a&b=c",
    '"',
    "a%2Fb",
  ]
) {
  Deno.test(`sessions: ${JSON.stringify(name)} is listed, found again by that, and forgotten`, async () => {
    await using app = startApp({ script: saying("Hello.") });
    const told = await talk(app, name);
    const [session] = await listed(app);
    assertEquals(session?.id, told);
    // As it is listed, and as its caller named it.
    for (const id of [session!.id, name]) {
      await talk(app, name);
      assertEquals(await forgotten(app, `${PATH}/${encodeURIComponent(id)}`), { forgotten: 1 }, id);
      assertEquals(await listed(app), []);
    }
  });
}

Deno.test("sessions: what the list calls a conversation continues it as X-Session-Id", async () => {
  await using app = startApp({ script: saying("Hello."), sessions: "auto" });
  for (const name of ["マオ", "a b", undefined]) {
    await talk(app, name);
    const [session] = await listed(app);
    await (await app.chat({}, { headers: { "x-session-id": session!.id } })).text();
    assertEquals((await listed(app)).map(({ turns }) => turns)[0], 1, "the same turn, asked again");
  }
  assertEquals([app.agent.sessions.length, (await listed(app)).length], [3, 3]);
});

Deno.test("sessions: the key is needed, and no path tells more without it", async () => {
  await using app = startApp({ script: saying("Hello."), guard: { authKey: "right" } });
  await talk(app, "mao", bearer("right"));
  for (const headers of [{}, bearer("wrong").headers]) {
    assertEquals((await errorOf(await app.get(PATH, { headers }))).code, "invalid_api_key");
    for (const path of [PATH, `${PATH}/mao`, `${PATH}/nobody`]) {
      const error = await errorOf(await app.send(path, { method: "DELETE", headers }));
      assertEquals([error.status, error.code], [401, "invalid_api_key"]);
    }
  }
  assertEquals((await app.get(`${PATH}?key=right&token=right`)).status, 401);
  assertEquals((await listed(app, bearer("right"))).length, 1);
  assertEquals(await forgotten(app, `${PATH}/mao`, bearer("right")), { forgotten: 1 });
});

Deno.test("sessions: after the key was changed the conversations of the old one are nobody's", async () => {
  const store = new MemoryStore();
  {
    await using app = startApp({ script: saying("Hello."), store, guard: { authKey: "old" } });
    await talk(app, "mao", bearer("old"));
  }
  await using app = startApp({ script: saying("Hello."), store, guard: { authKey: "new" } });
  app.agent.resumes = true;
  assertEquals(await listed(app, bearer("new")), []);
  const gone = await app.send(`${PATH}/mao`, { method: "DELETE", ...bearer("new") });
  assertEquals((await errorOf(gone)).status, 404);
  await talk(app, "mao", bearer("new"));
  assertEquals(app.agent.resumed, []);
});

Deno.test("sessions: other methods are told which there are", async () => {
  await using app = startApp({ script: saying("Hello.") });
  for (
    const [method, path, allow] of [
      ["POST", PATH, "GET, HEAD, DELETE, OPTIONS"],
      ["PUT", PATH, "GET, HEAD, DELETE, OPTIONS"],
      ["GET", `${PATH}/mao`, "DELETE, OPTIONS"],
      ["POST", `${PATH}/mao`, "DELETE, OPTIONS"],
    ] as const
  ) {
    const response = await app.send(path, { method });
    assertEquals([response.status, response.headers.get("allow")], [405, allow], `${method} ${path}`);
    assertEquals((await errorOf(response)).code, "method_not_allowed");
  }
});

Deno.test("sessions: a browser may delete, if it may come here at all", async () => {
  await using app = startApp();
  const headers = { origin: "http://localhost:3000", "access-control-request-method": "DELETE" };
  const response = await app.send(`${PATH}/mao`, { method: "OPTIONS", headers });
  assertEquals(response.status, 204);
  assertMatch(response.headers.get("access-control-allow-methods") ?? "", /\bDELETE\b/);
});

Deno.test("sessions: every way to write the path is understood", async () => {
  await using app = startApp({ script: saying("Hello.") });
  await talk(app, "mao");
  for (const path of ["/vtuber/sessions", "/v1/v1/vtuber/sessions", "//v1//vtuber/sessions/"]) {
    assertEquals((await (await app.get(path)).json()).sessions.length, 1, path);
  }
  assertEquals(await forgotten(app, "/vtuber/sessions/mao/"), { forgotten: 1 });
});
