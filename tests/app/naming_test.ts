import { assert, assertEquals, assertMatch, assertNotEquals, assertObjectMatch } from "@std/assert";
import { MemoryAgent, oneByOne, saying } from "../support/agents/memory_agent.ts";
import { errorOf, type SendOptions, startApp, type TestApp } from "../support/harness/app_harness.ts";

const said = (role: string, content: string) => ({ role, content });
const MAO = said("system", "You are Mao.");
const FIRST = [MAO, said("user", "Hi")];

/** Every way to name a conversation, the one that counts most first. */
const NAMINGS: readonly [
  how: string,
  name: (name: string) => [body: Record<string, unknown>, SendOptions],
][] = [
  ["X-Session-Id", (name) => [{}, { headers: { "x-session-id": name } }]],
  ["X-Hermes-Session-Id", (name) => [{}, { headers: { "x-hermes-session-id": name } }]],
  ["x-openclaw-session-key", (name) => [{}, { headers: { "x-openclaw-session-key": name } }]],
  ["conversation_id", (name) => [{ conversation_id: name }, {}]],
  ["conversation", (name) => [{ conversation: name }, {}]],
  ["metadata.session_id", (name) => [{ metadata: { session_id: name } }, {}]],
  ["threadId", (name) => [{ threadId: name }, {}]],
  ["model", (name) => [{ model: `openab@${name}` }, {}]],
];

/** Asks, and gives the name of the conversation and of what answered. */
async function ask(
  app: TestApp,
  body: Record<string, unknown> = {},
  options: SendOptions = {},
): Promise<{ id: string; servedBy: string; reply: unknown }> {
  // A threadId alone asks for a stream.
  const response = await app.chat({ stream: false, ...body }, options);
  const answer = await response.json();
  assertEquals(response.status, 200, JSON.stringify(answer));
  return {
    id: response.headers.get("x-session-id")!,
    servedBy: response.headers.get("x-resolved-model")!,
    reply: answer.choices[0].message,
  };
}

for (const sessions of ["auto", "stateless"] as const) {
  for (const [how, name] of NAMINGS) {
    Deno.test(`${how} names the conversation, in mode ${sessions}`, async () => {
      await using app = startApp({ script: saying("Hello."), sessions });
      const [body, options] = name("mao");
      assertEquals((await ask(app, body, options)).id, "mao");
      assertEquals((await ask(app, { ...body, messages: [said("user", "Bye")] }, options)).id, "mao");
      assertEquals(app.agent.sessions.length, 1);
      const [other, otherOptions] = name("aya");
      assertEquals((await ask(app, other, otherOptions)).id, "aya");
      assertEquals(app.agent.sessions.length, 2);
    });
  }
}

Deno.test("of several names the one that counts most is taken", async () => {
  await using app = startApp({ script: saying("Hello.") });
  for (const index of NAMINGS.keys()) {
    const body = {};
    const headers: Record<string, string> = {};
    for (const [place, [, name]] of NAMINGS.entries()) {
      if (place < index) continue;
      const [more, options] = name(`name-${place}`);
      Object.assign(body, more);
      Object.assign(headers, options.headers);
    }
    assertEquals((await ask(app, body, { headers })).id, `name-${index}`);
  }
});

Deno.test("an empty name is none, and the next that counts is taken", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const body = { conversation_id: " ", conversation: "", metadata: { session_id: null }, threadId: " mao " };
  assertEquals((await ask(app, body, { headers: { "x-session-id": " " } })).id, "mao");
});

Deno.test("a conversation may be an object with an id, a threadId a number", async () => {
  await using app = startApp({ script: saying("Hello.") });
  assertEquals((await ask(app, { conversation: { id: "mao" } })).id, "mao");
  assertEquals((await ask(app, { threadId: 17 })).id, "17");
  assertEquals((await ask(app, { threadId: "17" })).id, "17");
  assertEquals(app.agent.sessions.length, 2);
});

Deno.test("who the user is names no conversation", async () => {
  await using app = startApp({ script: saying("Hello."), sessions: "auto" });
  const ids = [await ask(app, { user: "mao" }), await ask(app, { user: "mao" })].map(({ id }) => id);
  assertNotEquals(ids[0], ids[1]);
});

Deno.test("a name that is too long, or is no name, is refused and the field named", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const long = "x".repeat(257);
  for (const [how, name] of NAMINGS) {
    const [body, options] = name(long);
    const response = await app.chat(body, options);
    const { status, param } = await errorOf(response);
    assertEquals([status, param], [400, how]);
  }
  for (const body of [{ conversation: {} }, { conversation: 3 }, { metadata: "mao" }, { threadId: {} }]) {
    assertEquals((await errorOf(await app.chat(body))).status, 400, JSON.stringify(body));
  }
  assertEquals(app.agent.prompts.length, 0);
});

Deno.test("x-session-id tells a conversation that was found, and sent back as X-Session-Id continues it", async () => {
  await using app = startApp({ script: saying("Hello, how are you today?"), sessions: "auto" });
  const first = await ask(app, { messages: FIRST });
  assertMatch(first.id, /^conv_\w+$/);
  const second = [...FIRST, first.reply, said("user", "Fine.")];
  assertEquals((await ask(app, { messages: second })).id, first.id);
  // With nothing left that it could be known by.
  const headers = { "x-session-id": first.id };
  const alone = { messages: [said("user", "And you?")] };
  assertEquals((await ask(app, alone, { headers })).id, first.id);
  assertEquals(app.agent.prompts.map(({ text }) => text), [
    "<system>\nYou are Mao.\n</system>\n\nHi",
    "Fine.",
    "And you?",
  ]);
  assertEquals(app.agent.sessions.length, 1);
});

Deno.test("x-session-id of a stream comes before its first word", async () => {
  await using app = startApp({ sessions: "auto" });
  const response = await app.stream({ messages: FIRST });
  assertMatch(response.headers.get("x-session-id") ?? "", /^conv_\w+$/);
  assertEquals(response.headers.get("x-resolved-model"), "openab");
  (await app.agent.nextPrompt()).end();
  await response.text();
});

Deno.test("persistent: all of an agent is one conversation, unless it is named", async () => {
  const other = new MemoryAgent("other");
  other.script = saying("Hello.");
  await using app = startApp({ script: saying("Hello."), sessions: "persistent", agents: [other] });
  assertEquals((await ask(app)).id, "persistent");
  assertEquals(
    (await ask(app, { messages: [said("system", "You are Aya."), said("user", "Ho")] })).id,
    "persistent",
  );
  assertEquals((await ask(app, { model: "other" })).id, "persistent");
  assertEquals((await ask(app, { conversation_id: "mao" })).id, "mao");
  assertEquals([app.agent.sessions.length, other.sessions.length], [2, 1]);
});

Deno.test("x-resolved-model: which agent answered, and with which model", async () => {
  const other = new MemoryAgent("other");
  other.script = saying("Hello.");
  other.models = [{ id: "big", name: "The Big One" }, { id: "fast/1", name: "Fast" }];
  await using app = startApp({ script: saying("Hello."), agents: [other] });
  const table: Readonly<Record<string, string>> = {
    "": "openab",
    default: "openab",
    openab: "openab",
    "gpt-4o": "openab",
    other: "other/big",
    "other/fast/1": "other/fast/1",
    "fast/1": "other/fast/1",
    "the big one": "other/big",
    "other/gpt-4o": "other/big",
    "other@mao": "other/big",
    "other/fast/1@mao": "other/fast/1",
  };
  for (const [model, servedBy] of Object.entries(table)) {
    assertEquals((await ask(app, { model })).servedBy, servedBy, model);
  }
});

Deno.test("the model of a conversation may change from turn to turn, and its session stays", async () => {
  const other = new MemoryAgent("other");
  other.script = saying("Hello.");
  other.models = [{ id: "big", name: "Big" }, { id: "fast", name: "Fast" }];
  await using app = startApp({ agents: [other] });
  for (
    const [model, servedBy] of [["other/fast", "other/fast"], ["other", "other/big"], ["fast", "other/fast"]]
  ) {
    assertEquals((await ask(app, { model, conversation_id: "mao" })).servedBy, servedBy);
  }
  assertEquals(other.sessions.length, 1);
});

const OBJECT = { response_format: { type: "json_object" } };

Deno.test("response_format: the complaint stays in the conversation, and the next request goes on with it", async () => {
  await using app = startApp({ sessions: "auto" });
  app.agent.script = oneByOne(
    saying("Sure, here you are: it is Mao."),
    saying('{"name":"Mao, the cat of the house"}'),
    saying('{"age":3}'),
  );
  const first = await ask(app, { ...OBJECT, messages: FIRST });
  const second = await ask(app, { ...OBJECT, messages: [...FIRST, first.reply, said("user", "How old?")] });
  assertEquals(second.id, first.id);
  assertEquals(app.agent.sessions.length, 1);
  const [, complaint, next] = app.agent.prompts.map(({ text }) => text);
  assertMatch(complaint!, /That is not what was asked for/);
  assertMatch(next!, /How old\?$/);
  for (const known of ["You are Mao", "Hi", "Sure, here"]) {
    assertEquals([complaint, next].filter((text) => text!.includes(known)), [], known);
  }
});

Deno.test("response_format: the next request goes on also if the answer was never right", async () => {
  await using app = startApp({ script: saying("No."), sessions: "auto" });
  const failed = await app.chat({ ...OBJECT, messages: FIRST });
  assertEquals((await errorOf(failed)).code, "invalid_output");
  app.agent.script = saying("Of course, what else?");
  const next = await ask(app, { messages: [...FIRST, said("user", "Then tell me in words.")] });
  assertEquals(app.agent.sessions.length, 1);
  assertEquals(app.agent.prompts.at(-1)?.text, "Then tell me in words.");
  assertMatch(next.id, /^conv_/);
});

Deno.test("response_format: a named conversation takes the complaint as well", async () => {
  await using app = startApp({ script: oneByOne(saying("Sure!"), saying('{"a":1}'), saying("Bye.")) });
  const first = await ask(app, { ...OBJECT, messages: FIRST, conversation_id: "mao" });
  await ask(app, { messages: [...FIRST, first.reply, said("user", "Bye")], conversation_id: "mao" });
  assertEquals([app.agent.sessions.length, app.agent.prompts.length], [1, 3]);
  assertEquals(app.agent.prompts.at(-1)?.text, "Bye");
});

/** Somebody is told something, and posts it back. */
async function notified(app: TestApp, text: string): Promise<void> {
  app.hub.subscribe({ send() {}, backlog: 0, close() {} });
  const response = await app.post("/v1/vtuber/notifications", { text });
  assertEquals(response.ok, true);
  await response.body?.cancel();
}

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "found by what is said" : "named";
  Deno.test(`a notification that is posted back belongs to the conversation, ${which}: the next request goes on, and the agent is told both`, async () => {
    await using app = startApp({ script: saying("Hello, how are you today?"), sessions: "auto" });
    const naming = name === undefined ? {} : { conversation_id: name };
    const first = await ask(app, { ...naming, messages: FIRST });
    await notified(app, "The build is green.");
    const second = [...FIRST, first.reply, said("user", "The build is green.")];
    const posted = await ask(app, { ...naming, messages: second });
    assertEquals(posted.id, first.id);
    assertObjectMatch(posted, { reply: said("assistant", "The build is green.\n") });
    assertEquals(app.agent.prompts.length, 1);
    const third = await ask(app, { ...naming, messages: [...second, posted.reply, said("user", "Great!")] });
    assertEquals([third.id, app.agent.sessions.length], [first.id, 1]);
    assertEquals(
      app.agent.prompts.at(-1)?.text,
      "<user>\nThe build is green.\n</user>\n\n<assistant>\nThe build is green.\n\n</assistant>\n\nGreat!",
    );
  });
}

Deno.test("a notification that is posted back as the first thing begins a conversation", async () => {
  await using app = startApp({ script: saying("Hello."), sessions: "auto" });
  await notified(app, "The build of the whole house is green.");
  const first = [MAO, said("user", "The build of the whole house is green.")];
  const posted = await ask(app, { messages: first });
  const next = await ask(app, { messages: [...first, posted.reply, said("user", "Great!")] });
  assertEquals([next.id, app.agent.sessions.length], [posted.id, 1]);
  const { text } = app.agent.prompts[0]!;
  assert(text.startsWith("<system>\nYou are Mao.\n</system>\n\n<user>\nThe build of"), text);
  assert(text.endsWith("Great!"), text);
});
