import { assert, assertEquals, assertMatch } from "@std/assert";
import type { TranscriptSummary } from "../../lib/openai/responses/transcripts.ts";
import { errorOf, startApp, type TestApp } from "../support/harness/app_harness.ts";
import { MemoryAgent, saying } from "../support/agents/memory_agent.ts";
import { apiKey } from "../support/harness/key_fixture.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { buildResponse } from "../support/harness/response_fixture.ts";
import { summaryOf, TranscriptsFixture, wordsOf } from "../support/harness/transcripts_fixture.ts";

const PATH = "/v1/vtuber/sessions";
type Options = { headers?: HeadersInit };
const bearer = (key: string): Options => ({ headers: { authorization: `Bearer ${key}` } });
const stage = bearer("stage");

interface Session {
  id: string;
  agent: string;
  state: string;
  turns: number;
  created_at: number;
  last_used_at: number;
  stored_responses: number;
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
    assertEquals(Object.keys(session), [
      "id",
      "agent",
      "state",
      "turns",
      "created_at",
      "last_used_at",
      "stored_responses",
    ]);
    assertEquals([session.agent, session.turns, session.stored_responses], ["openab", 1, 0]);
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

/** Starts an app with the file of responses, of two keys and the agent's conversations. */
async function startWithResponses(fixture: TranscriptsFixture) {
  const transcripts = await fixture.open();
  const app = startApp({
    ...{ script: saying("Hello."), store: new MemoryStore(), transcripts },
    access: { keys: [apiKey("stage"), apiKey("other")] },
  });
  const add = (id: string, fields: Partial<TranscriptSummary> = {}) =>
    transcripts.add(summaryOf(id, { createdAt: Date.now(), ...fields }), wordsOf(id));
  return { app, add };
}

Deno.test("GET sessions: counts the stored responses, also those of forgotten conversations", async () => {
  using fixture = new TranscriptsFixture();
  const { app, add } = await startWithResponses(fixture);
  await using _app = app;
  await chat(app, "mao", stage);
  await chat(app, "aya", stage);
  await add("resp_1", { createdAt: 1_900_000_000_000 });
  await add("resp_2", { createdAt: 1_900_000_005_000 });
  await add("resp_3", { createdAt: 1_000_000_000_000, conversation: "old" });
  await add("resp_4", { owner: "keys.other", conversation: "theirs" });
  const sessions = await list(app, stage);
  assertEquals(
    sessions.map(({ id, stored_responses }) => [id, stored_responses]),
    [["aya", 0], ["mao", 2], ["old", 1]],
  );
  assertEquals(sessions.at(-1), {
    ...{ id: "old", agent: "openab", state: "closed", turns: 0 },
    ...{ created_at: 1_000_000_000, last_used_at: 1_000_000_000, stored_responses: 1 },
  });
  assertEquals((await list(app, bearer("other"))).map(({ id }) => id), ["theirs"]);
});

Deno.test("DELETE sessions: deletes the stored responses too, of this key only", async () => {
  using fixture = new TranscriptsFixture();
  const { app, add } = await startWithResponses(fixture);
  await using _app = app;
  await chat(app, "mao", stage);
  await add("resp_1");
  await add("resp_2", { agent: "gone" });
  await add("resp_3", { conversation: "old" });
  await add("resp_4", { conversation: "%E3%83%9E%E3%82%AA" });
  await add("resp_5", { conversation: "last" });
  await add("resp_6", { owner: "keys.other" });
  const found = () => [1, 2, 3, 4, 5, 6].filter((number) => fixture.has(`question of resp_${number}`));
  assertEquals(await forget(app, `${PATH}/mao`, stage), 2);
  assertEquals(found(), [3, 4, 5, 6]);
  assertEquals(await forget(app, `${PATH}?id=old`, stage), 1);
  assertEquals(await forget(app, `${PATH}/${encodeURIComponent("マオ")}`, stage), 1);
  assertEquals(found(), [5, 6]);
  assertEquals((await errorOf(await remove(app, `${PATH}/old`, stage))).status, 404);
  assertEquals(await forget(app, `${PATH}?all=true`, stage), 1);
  assertEquals([found(), await list(app, stage)], [[6], []]);
});

Deno.test("DELETE sessions/{id}: a running response of the conversation is not kept at its end", async () => {
  using fixture = new TranscriptsFixture();
  const { app } = await startWithResponses(fixture);
  await using _app = app;
  await chat(app, "mao", stage);
  const { response } = buildResponse([]);
  const running = app.responses.start({
    ...{ id: "resp_1", owner: "keys.stage", agent: "openab", previousId: undefined, input: [], createdAt: 0 },
    ...{ store: true, current: () => response, cancel() {} },
  });
  running.attach({ conversation: "mao", resolvedModel: "openab" });
  await forget(app, `${PATH}/mao`, stage);
  await running.finish(response);
  assertEquals([app.responses.get("keys.stage", "resp_1"), fixture.files()], [undefined, []]);
});

Deno.test("DELETE sessions/{id}: if the file cannot be written, the conversation is forgotten, and the error says what is not", async () => {
  using fixture = new TranscriptsFixture();
  await fixture.fill("resp_0");
  fixture.change("CREATE TRIGGER no BEFORE DELETE ON responses BEGIN SELECT RAISE(FAIL, 'full'); END");
  fixture.now = Date.now();
  const { app, add } = await startWithResponses(fixture);
  await using _app = app;
  await chat(app, "mao", stage);
  await add("resp_1");
  const error = await errorOf(await remove(app, `${PATH}/mao`, stage));
  assertEquals([error.status, error.code], [500, "internal_error"]);
  assertEquals(await list(app, stage), []);
});
