/** Scopes of the event channel, with a key for each: the owner's, and one that only watches. */

import { assertEquals, assertMatch } from "@std/assert";
import type { Command } from "../../lib/events/wire.ts";
import type { KeyConfig } from "../../lib/config/keys.ts";
import { SCOPES } from "../../lib/turn/caller.ts";
import { errorOf, startApp } from "../support/harness/app_harness.ts";
import { EventClient, EventStreamClient } from "../support/harness/event_client.ts";
import { apiKey, withKey } from "../support/harness/key_fixture.ts";
import { EVENTS_PATH, ServedApp } from "../support/harness/served_app.ts";
import { saying } from "../support/agents/memory_agent.ts";

const STATE_PATH = "/v1/vtuber/state";
const SESSIONS_PATH = "/v1/vtuber/sessions";
const KEYS: readonly KeyConfig[] = [
  apiKey("owner", SCOPES),
  apiKey("watcher", ["events"]),
  apiKey("answerer", ["events", "permissions"]),
  apiKey("operator", ["events", "operator"]),
  apiKey("mao", ["chat"]),
  apiKey("neko", ["chat"]),
];
const ACCESS = { access: { keys: KEYS } };

/** Connects with a key, and waits for the first state. */
async function connect(served: ServedApp, key: string): Promise<EventClient> {
  const client = await EventClient.open(served.url + EVENTS_PATH, withKey(key));
  await client.first("agent_state");
  return client;
}

const COMMANDS: Readonly<Record<Command["type"], Record<string, unknown>>> = {
  hello: { client: "Mao" },
  subscribe: { events: ["emotion"] },
  ping: {},
  permission_response: { request_id: "p", decision: "allow" },
  question_response: { question_id: "q", action: "decline" },
  interrupt: { session_id: "mao" },
};
/** The replies to the commands by key: the type, or the code of the error. */
const REPLIES: readonly [key: string, replies: Readonly<Record<Command["type"], string>>][] = [
  ["watcher", {
    hello: "hello",
    subscribe: "subscribed",
    ping: "pong",
    permission_response: "insufficient_scope permissions",
    question_response: "insufficient_scope permissions",
    interrupt: "insufficient_scope operator",
  }],
  // Without a subscription to requests, nothing can be answered.
  ["answerer", {
    hello: "hello",
    subscribe: "subscribed",
    ping: "pong",
    permission_response: "invalid_value permission_request",
    question_response: "invalid_value question",
    interrupt: "insufficient_scope operator",
  }],
  ["operator", {
    hello: "hello",
    subscribe: "subscribed",
    ping: "pong",
    permission_response: "insufficient_scope permissions",
    question_response: "insufficient_scope permissions",
    interrupt: "interrupted",
  }],
];
for (const [key, replies] of REPLIES) {
  Deno.test(`event scopes: commands of the key ${key}`, async () => {
    await using served = ServedApp.start(ACCESS);
    await using client = await connect(served, key);
    for (const [type, fields] of Object.entries(COMMANDS)) {
      await client.sync();
      // A key in a command changes nothing: the caller is that of the handshake.
      client.send({ type, ...fields, key: "owner", token: "owner", authorization: "Bearer owner" });
      await client.until((frames) => frames.length > 0);
      const [{ type: reply, code, message }] = client.frames as [EventClient["frames"][number]];
      const quoted = /"(\w+)"/.exec(message ?? "")?.[1];
      const actual = reply === "error" ? `${code} ${quoted}` : reply;
      assertEquals(actual, replies[type as Command["type"]], type);
    }
  });
}

Deno.test("event scopes: naming an event without its scope changes nothing, and is a 403 as a stream", async () => {
  await using served = ServedApp.start(ACCESS);
  await using client = await connect(served, "watcher");
  assertEquals(await client.subscribe(["agent_state"]), ["agent_state"]);
  for (const name of ["permission_request", "permission_resolved", "question", "question_resolved"]) {
    const { code, message } = await client.ask({ type: "subscribe", events: ["say", name] }, "error");
    assertEquals(code, "insufficient_scope");
    assertMatch(message, new RegExp(`"${name}" needs the scope "permissions"`));
    for (const method of ["GET", "HEAD"]) {
      const path = `/v1/vtuber/events?events=say,${name}`;
      const refused = await served.app.send(path, { method, ...withKey("watcher") });
      const body = await refused.json();
      assertEquals([refused.status, body.error.code], [403, "insufficient_scope"], name);
    }
  }
  const { watchers } = await (await served.app.get(STATE_PATH, withKey("owner"))).json();
  assertEquals(watchers, 1);
  client.takeSummaries();
  const { prompt } = await served.startChat("mao", "mao");
  prompt.say("Hi.");
  prompt.end();
  await client.until("state idle");
  assertEquals(client.summaries, ["state thinking", "state attention", "state idle"]);
});

Deno.test("event scopes: a watcher of every event gets no word of a permission or a question, by any way", async () => {
  await using served = ServedApp.start(ACCESS);
  await using owner = await connect(served, "owner");
  await owner.subscribe(["*", "say"]);
  await using socket = await connect(served, "watcher");
  await socket.subscribe(["*", "say"]);
  await using all = await EventStreamClient.open(served, "events=*,say", withKey("watcher"));
  await using byDefault = await EventStreamClient.open(served, "", withKey("watcher"));
  const { prompt } = await served.startChat("talk", "mao");
  const asked = served.askPermission(prompt, { detail: "SECRET" });
  const { request_id } = await owner.first("permission_request");
  await using late = await connect(served, "watcher");
  const state = await (await served.app.get(STATE_PATH, withKey("watcher"))).json();
  assertEquals([state.state, state.sessions[0].state], ["notification", "notification"]);
  assertEquals([state.permissions, state.questions, state.scopes], [[], [], ["events"]]);
  const { permissions } = await (await served.app.get(STATE_PATH, withKey("owner"))).json();
  assertEquals(permissions.length, 1);
  for (
    const [path, method] of [["", "GET"], [`/${request_id}`, "GET"], [`/${request_id}`, "POST"]] as const
  ) {
    const refused = await served.app.send(`/v1/vtuber/permissions${path}`, { method, ...withKey("watcher") });
    assertEquals((await errorOf(refused)).code, "insufficient_scope");
  }
  owner.send({ type: "permission_response", request_id, decision: "allow" });
  assertEquals((await asked)?.outcome, "allowed");
  prompt.say("Done.");
  prompt.end();
  for (const client of [socket, all, byDefault, late]) {
    await client.until((frames) => frames.some(({ state }) => state === "attention"));
    assertEquals(client.summaries.filter((summary) => summary.startsWith("state notification")).length, 1);
    const types = new Set(client.frames.map(({ type }) => type));
    for (const type of types) assertMatch(type, /^(agent_state|say|subscribed)$/);
  }
  const seen = JSON.stringify([socket.frames, all.frames, byDefault.frames, late.frames, state]);
  // `rm -r x` is the title of the tool that asks.
  assertEquals(/SECRET|rm -r/.test(seen), false, seen);
});

Deno.test("event scopes: a request is rejected at once if the only subscribers lack the scope permissions", async () => {
  await using served = ServedApp.start(ACCESS);
  await using client = await connect(served, "operator");
  await client.subscribe(["*", "say"]);
  const { prompt } = await served.startChat("talk", "mao");
  assertEquals(await served.askPermission(prompt), undefined);
  await using answerer = await connect(served, "answerer");
  await answerer.subscribe(["*"]);
  const asked = served.askPermission(prompt);
  const { request_id } = await answerer.first("permission_request");
  answerer.send({ type: "permission_response", request_id, decision: "reject" });
  assertEquals((await asked)?.outcome, "rejected");
});

Deno.test("event scopes: an operator interrupts the turns of every key, and nobody else does", async () => {
  await using served = ServedApp.start(ACCESS);
  const { app } = served;
  await served.startChat("one", "mao");
  await served.startChat("two", "neko");
  await served.startChat("three", "neko");
  const interrupt = (key: string, body = {}) => app.post("/v1/vtuber/interrupt", body, withKey(key));
  for (const key of ["watcher", "answerer", "mao"]) {
    const { status, code } = await errorOf(await interrupt(key, { session_id: "one" }));
    assertEquals([status, code], [403, "insufficient_scope"]);
  }
  assertEquals(app.conversations.running.size, 3);
  assertEquals(await (await interrupt("operator", { session_id: "one" })).json(), { turns: 1 });
  await using client = await connect(served, "operator");
  assertEquals((await client.ask({ type: "interrupt" }, "interrupted")).turns, 2);
});

/** Says hello in a conversation of this name, as a request that can be repeated. */
async function chat(app: ReturnType<typeof startApp>, key: string, name: string): Promise<Response> {
  const headers = { ...withKey(key).headers, "x-session-id": name, "idempotency-key": "k" };
  const response = await app.chat({}, { headers });
  await response.text();
  assertEquals([response.status, response.headers.get("x-session-id")], [200, name]);
  return response;
}

for (const target of ["/talk", "?id=talk", "?all=true"]) {
  Deno.test(`event scopes: DELETE sessions${target} forgets what its own key said, and nothing of another`, async () => {
    await using app = startApp({ ...ACCESS, script: saying("Hello.") });
    const list = async (key: string) => {
      const { sessions } = await (await app.get(SESSIONS_PATH, withKey(key))).json();
      return sessions.map(({ id, turns }: { id: string; turns: number }) => `${id} ${turns}`);
    };
    const forget = (key: string) => app.send(SESSIONS_PATH + target, { method: "DELETE", ...withKey(key) });
    const replayed = async (key: string) => {
      const before = app.agent.prompts.length;
      await chat(app, key, "talk");
      return app.agent.prompts.length === before;
    };
    await chat(app, "mao", "talk");
    const stranger = await forget("neko");
    if (target.includes("all")) assertEquals(await stranger.json(), { forgotten: 0 });
    else assertEquals((await errorOf(stranger)).status, 404);
    assertEquals([await list("neko"), await list("mao")], [[], ["talk 1"]]);
    assertEquals(await replayed("mao"), true);

    assertEquals(await replayed("neko"), false);
    assertEquals(await (await forget("mao")).json(), { forgotten: 1 });
    assertEquals([await list("mao"), await list("neko")], [[], ["talk 1"]]);
    assertEquals([await replayed("neko"), await replayed("mao")], [true, false]);
  });
}
