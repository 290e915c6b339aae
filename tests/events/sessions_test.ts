import { assert, assertEquals, assertMatch } from "@std/assert";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";
import { MemoryAgent, saying } from "../support/agents/memory_agent.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";

const PATH = "/v1/vtuber/sessions";
type Options = { headers?: HeadersInit };
const bearer = (key: string): Options => ({ headers: { authorization: `Bearer ${key}` } });

interface Session {
  id: string;
  agent: string;
  state: string;
  turns: number;
  created_at: number;
  last_used_at: number;
}

async function list(app: TestApp, options: Options = {}): Promise<Session[]> {
  const response = await app.get(PATH, options);
  assertEquals([response.status, response.headers.get("cache-control")], [200, "no-store"]);
  return (await response.json()).sessions;
}

/** Runs a chat turn, and returns the name of its conversation. */
async function chat(app: TestApp, name?: string, options: Options = {}): Promise<string> {
  const response = await app.chat(name === undefined ? {} : { conversation_id: name }, options);
  await response.text();
  assertEquals(response.status, 200);
  return response.headers.get("x-session-id")!;
}

function remove(app: TestApp, path: string, options: Options = {}): Promise<Response> {
  return app.send(path, { method: "DELETE", ...options });
}

/** Deletes, and returns the number of forgotten conversations. */
async function forget(app: TestApp, path: string, options: Options = {}): Promise<number> {
  const response = await remove(app, path, options);
  const body = await response.json();
  assertEquals(response.status, 200, JSON.stringify(body));
  return body.forgotten;
}

Deno.test("GET sessions: lists each conversation with its fields, the last used first", async () => {
  await using app = startApp({ script: saying("Hello."), sessions: "auto", maxSessions: 1 });
  assertEquals(await list(app), []);
  const before = Math.floor(Date.now() / 1000);
  await chat(app, "mao");
  const unnamed = await chat(app);
  const all = await list(app);
  assertEquals(all.map(({ id, state }) => [id, state]), [[unnamed, "open"], ["mao", "closed"]]);
  assertMatch(unnamed, /^conv_[0-9a-f]{32}$/);
  for (const session of all) {
    assertEquals(Object.keys(session), ["id", "agent", "state", "turns", "created_at", "last_used_at"]);
    assertEquals([session.agent, session.turns], ["openab", 1]);
    for (const time of [session.created_at, session.last_used_at]) {
      assert(Number.isInteger(time) && time >= before && time <= Date.now() / 1000, `${time}`);
    }
  }
});

Deno.test("GET sessions: a conversation with a running turn is busy", async () => {
  await using app = startApp();
  const stream = await app.stream({ conversation_id: "mao" });
  const prompt = await app.agent.nextPrompt();
  assertEquals((await list(app)).map(({ state }) => state), ["busy"]);
  prompt.end();
  await stream.text();
  assertEquals((await list(app)).map(({ state }) => state), ["open"]);
});

Deno.test("DELETE sessions/{id}: forgets the conversation, and the agent deletes its session", async () => {
  const store = new MemoryStore();
  await using app = startApp({ script: saying("Hello."), store });
  await chat(app, "mao");
  await chat(app, "aya");
  assertEquals(await forget(app, `${PATH}/mao`), 1);
  assertEquals((await list(app)).map(({ id }) => id), ["aya"]);
  assertEquals([app.agent.deleted, app.agent.sessions.map(({ closed }) => closed.aborted)], [
    ["session-1"],
    [true, false],
  ]);
  assertEquals([...store.records.values()].map(({ id }) => id), ["aya"]);
  await chat(app, "mao");
  assertEquals(app.agent.sessions.length, 3);
});

Deno.test("DELETE sessions/{id}: an unknown id is an error that says where ids are listed", async () => {
  await using app = startApp({ script: saying("Hello.") });
  await chat(app, "mao");
  const error = await errorOf(await remove(app, `${PATH}/unknown`));
  assertEquals([error.status, error.code, error.type], [404, "not_found", "invalid_request_error"]);
  assertEquals(error.message, 'There is no conversation "unknown"; GET /v1/vtuber/sessions lists them.');
  assertEquals(await forget(app, `${PATH}/mao`), 1);
  assertEquals((await errorOf(await remove(app, `${PATH}/mao`))).status, 404);
});

Deno.test("DELETE sessions?all=true: forgets all conversations", async () => {
  await using app = startApp({ script: saying("Hello."), sessions: "auto" });
  for (const name of ["mao", "aya", undefined]) await chat(app, name);
  assertEquals(await forget(app, `${PATH}?all=true`), 3);
  assertEquals(await list(app), []);
  assertEquals(app.agent.deleted.toSorted(), ["session-1", "session-2", "session-3"]);
  assertEquals(await forget(app, `${PATH}?all=true`), 0);
});

Deno.test("DELETE sessions: a path that names no conversation forgets none", async () => {
  await using app = startApp({ script: saying("Hello.") });
  await chat(app, "mao");
  for (const path of [PATH, `${PATH}/.`, `${PATH}?id=`, `${PATH}?all`, `${PATH}?all=false`]) {
    const error = await errorOf(await remove(app, path));
    assertEquals([error.status, error.code, error.param], [400, "missing_required_parameter", "id"], path);
  }
  assertEquals((await list(app)).length, 1);
});

Deno.test("DELETE sessions?id=: forgets a conversation whose name no path can hold", async () => {
  await using app = startApp({ script: saying("Hello.") });
  for (const name of [".", "..", "a/../b"]) {
    await chat(app, name);
    assertEquals(await forget(app, `${PATH}?id=${encodeURIComponent(name)}`), 1);
  }
});

Deno.test("DELETE sessions/{id}: forgets the conversations of all agents with this name", async () => {
  const other = new MemoryAgent("other");
  other.script = saying("Hello.");
  await using app = startApp({ script: saying("Hello."), agents: [other] });
  for (const model of ["openab", "other"]) await (await app.chat({ model, conversation_id: "mao" })).text();
  assertEquals((await list(app)).map(({ id, agent }) => [id, agent]), [["mao", "other"], [
    "mao",
    "openab",
  ]]);
  assertEquals(await forget(app, `${PATH}/mao`), 2);
  assertEquals([app.agent.deleted, other.deleted], [["session-1"], ["other-session-1"]]);
});

for (const name of ["マオ", "%41", "a/b", "//", "v1", "?", "a&b=c", "a%2Fb"]) {
  Deno.test(`sessions: ${JSON.stringify(name)} can be forgotten by its listed id and by its name`, async () => {
    await using app = startApp({ script: saying("Hello.") });
    const sessionId = await chat(app, name);
    const [session] = await list(app);
    assertEquals(session?.id, sessionId);
    for (const id of [session!.id, name]) {
      await chat(app, name);
      assertEquals(await forget(app, `${PATH}/${encodeURIComponent(id)}`), 1, id);
      assertEquals(await list(app), []);
    }
  });
}

Deno.test("sessions: a listed id continues its conversation as X-Session-Id", async () => {
  await using app = startApp({ script: saying("Hello."), sessions: "auto" });
  for (const name of ["マオ", "a b", undefined]) {
    await chat(app, name);
    const [session] = await list(app);
    await (await app.chat({}, { headers: { "x-session-id": session!.id } })).text();
    assertEquals((await list(app)).map(({ turns }) => turns)[0], 1, "the repeated turn counts once");
  }
  assertEquals([app.agent.sessions.length, (await list(app)).length], [3, 3]);
});

Deno.test("sessions: belong to their key, and are not listed for another", async () => {
  const store = new MemoryStore();
  {
    await using app = startApp({ script: saying("Hello."), store, access: { authKey: "old" } });
    await chat(app, "mao", bearer("old"));
  }
  await using app = startApp({ script: saying("Hello."), store, access: { authKey: "new" } });
  app.agent.resumes = true;
  assertEquals(await list(app, bearer("new")), []);
  const gone = await remove(app, `${PATH}/mao`, bearer("new"));
  assertEquals((await errorOf(gone)).status, 404);
  await chat(app, "mao", bearer("new"));
  assertEquals(app.agent.resumed, []);
});
