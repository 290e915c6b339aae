import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { MemoryAgent, saying } from "../support/agents/memory_agent.ts";
import { errorOf, type SendOptions, startApp, type TestApp } from "../support/harness/app_harness.ts";
import { system, user } from "../support/harness/chat_fixture.ts";

const FIRST = [system("You are Mao."), user("Hi")];

/** Every way to name a conversation, in the order of precedence. */
const NAMING: readonly [how: string, name: (name: string) => [body: Record<string, unknown>, SendOptions]][] =
  [
    ["X-Session-Id", (name) => [{}, { headers: { "x-session-id": name } }]],
    ["X-Hermes-Session-Id", (name) => [{}, { headers: { "x-hermes-session-id": name } }]],
    ["x-openclaw-session-key", (name) => [{}, { headers: { "x-openclaw-session-key": name } }]],
    ["X-OpenWebUI-Chat-Id", (name) => [{}, { headers: { "x-openwebui-chat-id": name } }]],
    ["conversation_id", (name) => [{ conversation_id: name }, {}]],
    ["conversation", (name) => [{ conversation: name }, {}]],
    ["metadata.session_id", (name) => [{ metadata: { session_id: name } }, {}]],
    ["threadId", (name) => [{ threadId: name }, {}]],
    ["model", (name) => [{ model: `openab@${name}` }, {}]],
  ];

/** Sends a chat request, and returns its conversation, its model and its reply. */
async function chat(app: TestApp, body: Record<string, unknown> = {}, options: SendOptions = {}) {
  // A threadId alone would ask for a stream.
  const response = await app.chat({ stream: false, ...body }, options);
  const text = await response.text();
  assertEquals(response.status, 200, text);
  const [id, model] = ["x-session-id", "x-resolved-model"].map((name) => response.headers.get(name));
  return { id: id!, model, reply: JSON.parse(text).choices[0].message };
}
const idOf = async (app: TestApp, body: Record<string, unknown> = {}, options: SendOptions = {}) =>
  (await chat(app, body, options)).id;
const idByHeader = (app: TestApp, name: string) => idOf(app, {}, { headers: { "x-session-id": name } });

for (const [how, name] of NAMING) {
  Deno.test(`${how} names the conversation`, async () => {
    await using app = startApp({
      script: saying("Hello."),
      sessions: how === "model" ? "stateless" : "auto",
    });
    const [body, options] = name("mao");
    assertEquals(await idOf(app, body, options), "mao");
    assertEquals(await idOf(app, { ...body, messages: [user("Bye")] }, options), "mao");
    assertEquals([app.agent.sessions.length, await idOf(app, ...name("aya"))], [1, "aya"]);
  });
}

Deno.test("naming: of several names the first in the order of precedence counts", async () => {
  await using app = startApp({ script: saying("Hello.") });
  for (const index of NAMING.keys()) {
    const body = {};
    const headers: Record<string, string> = {};
    for (const [position, [, name]] of NAMING.entries()) {
      if (position < index) continue;
      const [fields, options] = name(`name-${position}`);
      Object.assign(body, fields);
      Object.assign(headers, options.headers);
    }
    assertEquals(await idOf(app, body, { headers }), `name-${index}`);
  }
});

Deno.test("naming: an empty name counts as none", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const body = { conversation_id: " ", conversation: "", metadata: { session_id: null }, threadId: " mao " };
  assertEquals(await idOf(app, body, { headers: { "x-session-id": " " } }), "mao");
});

Deno.test("naming: an x-session-id with an equal x-session-affinity names no conversation", async () => {
  await using app = startApp({ script: saying("Hello, how are you today?"), sessions: "auto" });
  const headers = { "x-session-id": "ses_1", "x-session-affinity": "ses_1" };
  const { id, reply } = await chat(app, { messages: FIRST }, { headers });
  assertMatch(id, /^conv_/);
  const title = [system("You write titles."), user("Hi")];
  assertNotEquals(await idOf(app, { messages: title }, { headers }), id);
  assertEquals(await idOf(app, { messages: [...FIRST, reply, user("Fine.")] }, { headers }), id);
  assertEquals(await idOf(app, { conversation_id: "mao" }, { headers }), "mao");
  assertEquals(await idOf(app, {}, { headers: { ...headers, "x-session-affinity": "ses_2" } }), "ses_1");
});

Deno.test("naming: the user field names no conversation", async () => {
  await using app = startApp({ script: saying("Hello."), sessions: "auto" });
  assertNotEquals(await idOf(app, { user: "mao" }), await idOf(app, { user: "mao" }));
});

Deno.test("naming: a name that is too long is refused by field", async () => {
  await using app = startApp({ script: saying("Hello.") });
  for (const [how, name] of NAMING) {
    const { status, param } = await errorOf(await app.chat(...name("x".repeat(257))));
    assertEquals([status, param], [400, how]);
  }
  assertEquals(app.agent.prompts.length, 0);
  assertEquals(await idByHeader(app, "x".repeat(256)), "x".repeat(256));
});

Deno.test("x-session-id: the id of a matched conversation, sent back, continues it", async () => {
  await using app = startApp({ script: saying("Hello, how are you today?"), sessions: "auto" });
  const { id, reply } = await chat(app, { messages: FIRST });
  assertMatch(id, /^conv_\w+$/);
  assertEquals(await idOf(app, { messages: [...FIRST, reply, user("Fine.")] }), id);
  // This message alone would match no conversation.
  assertEquals(await idOf(app, { messages: [user("And you?")] }, { headers: { "x-session-id": id } }), id);
  const [, ...texts] = app.agent.prompts.map(({ text }) => text);
  assertEquals([texts, app.agent.sessions.length], [["Fine.", "And you?"], 1]);
});

Deno.test("mode persistent: an agent has one conversation beside the named ones", async () => {
  const other = new MemoryAgent("other");
  other.script = saying("Hello.");
  await using app = startApp({ script: saying("Hello."), sessions: "persistent", agents: [other] });
  const bodies = [{}, { messages: [system("You are Aya."), user("Ho")] }, { model: "other" }];
  for (const body of bodies) assertEquals(await idOf(app, body), "persistent");
  assertEquals(await idOf(app, { conversation_id: "mao" }), "mao");
  assertEquals([app.agent.sessions.length, other.sessions.length], [2, 1]);
});

Deno.test("x-resolved-model: the agent and model of each name", async () => {
  const other = new MemoryAgent("other");
  other.script = saying("Hello.");
  other.models = [{ id: "big", name: "The Big One" }, { id: "fast/1", name: "Fast" }];
  await using app = startApp({ script: saying("Hello."), agents: [other] });
  const models: Readonly<Record<string, string>> = {
    default: "openab",
    "gpt-4o": "openab",
    other: "other/big",
    "the big one": "other/big",
    "other/fast/1@mao": "other/fast/1",
  };
  for (const [model, resolved] of Object.entries(models)) {
    assertEquals((await chat(app, { model })).model, resolved, model);
  }
});

/** 29 characters, and more than 256 percent-encoded. */
const KANA = "マオのおうちのながいながいおはなしのつづきのつづきのはなし";
/** A header as programs without encodings send it: each byte of its UTF-8 arrives as a character. */
const asBytes = (name: string) => String.fromCharCode(...new TextEncoder().encode(name));

for (
  const name of ["マオ", KANA, "é", "ñ%41", "a\nb", "\ud83d", "%", "a b"]
) {
  Deno.test(`naming: ${JSON.stringify(name)} in the body, in headers as bytes, and as x-session-id returns it`, async () => {
    await using app = startApp({ script: saying("Hello.") });
    const id = await idOf(app, { conversation_id: name });
    assertEquals([await idOf(app, { conversation_id: name }), await idByHeader(app, id)], [id, id]);
    assertEquals(await idOf(app, { conversation_id: id }), id);
    if (name.isWellFormed() && !/[\n\0]/.test(name)) {
      assertEquals(name === "%" ? id : decodeURIComponent(id), name);
      for (const header of ["x-session-id", "x-hermes-session-id", "x-openclaw-session-key"]) {
        assertEquals(await idOf(app, {}, { headers: { [header]: asBytes(name) } }), id, header);
      }
    }
    assertEquals([app.agent.sessions.length, app.conversations.list("").length], [1, 1]);
  });
}

Deno.test("naming: the length of a name is counted in characters, however they are encoded", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const [longest, longer] = ["マ".repeat(256), "マ".repeat(257)];
  const id = await idOf(app, { conversation_id: longest });
  for (const encoded of [encodeURIComponent(longest), asBytes(longest)]) {
    assertEquals(await idByHeader(app, encoded), id);
  }
  for (const encoded of [encodeURIComponent(longer), asBytes(longer)]) {
    const error = await errorOf(await app.chat({}, { headers: { "x-session-id": encoded } }));
    assertEquals([error.status, error.code, error.param], [400, "invalid_value", "X-Session-Id"]);
  }
  const error = await errorOf(await app.chat({ conversation_id: longer }));
  assertEquals([error.status, error.code, error.param], [400, "invalid_value", "conversation_id"]);
  assertEquals(app.agent.sessions.length, 1);
});

Deno.test("naming: bytes that are not UTF-8 are a name too", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const id = await idByHeader(app, "J\xf6rg");
  assertEquals([await idByHeader(app, id), await idByHeader(app, "J\xf6rg")], [id, id]);
  assertEquals([decodeURIComponent(id), app.agent.sessions.length], ["J\xf6rg", 1]);
  assertNotEquals(await idByHeader(app, "J\xe4rg"), id);
});

Deno.test("x-session-id: an early failure has it", async () => {
  for (const body of [{}, { stream: true }, { response_format: { type: "json_object" } }]) {
    for (const name of [undefined, "mao", KANA]) {
      await using app = startApp({ sessions: "auto" });
      const ids: (string | undefined)[] = [];
      app.agent.script = (prompt) => {
        ids.push(...[...app.index.all].map(({ id }) => id));
        prompt.fail(new AppError("agent_crashed", "No.", { prompted: true }));
      };
      const response = await app.chat({ ...body, conversation_id: name });
      const error = await errorOf(response);
      assertEquals([error.status, error.code, [response.headers.get("x-session-id")]], [
        502,
        "agent_crashed",
        ids,
      ]);
      if (name !== undefined) assertEquals(decodeURIComponent(ids[0]!), name);
    }
  }
});
