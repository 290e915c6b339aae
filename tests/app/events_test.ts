import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { type Log, LOG_LEVELS } from "../../lib/core/log.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, WriteReader } from "../support/harness/app_harness.ts";
import { EventClient } from "../support/harness/event_client.ts";
import { EVENTS_PATH, ServedApp } from "../support/harness/served_app.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const KEY = "s3cret-key";
const SSE_PATH = "/v1/vtuber/events";
const STATE_PATH = "/v1/vtuber/state";
const PERMISSIONS_PATH = "/v1/vtuber/permissions";

/** A log that keeps all lines. */
function recordingLog(): { log: Log; text: () => string } {
  const lines: string[] = [];
  const keep = (message: string, fields?: unknown) => void lines.push(`${message} ${JSON.stringify(fields)}`);
  return {
    log: Object.fromEntries(LOG_LEVELS.map((level) => [level, keep])) as Log,
    text: () => lines.join("\n"),
  };
}

for (const path of [EVENTS_PATH, "//v1/vtuber/ws", "/v1/v1/vtuber/ws", "/vtuber/ws", "/v1/vtuber/ws/"]) {
  Deno.test(`events: ${path} is the WebSocket, and starts with the state`, async () => {
    await using served = ServedApp.start();
    await using client = await EventClient.open(served.url + path);
    await client.until("state idle");
    assertEquals(client.frames.length, 1);
  });
}

type Credentials = [search: string, options: { protocols?: string[]; headers?: HeadersInit }];
const bearer = (key: string): Credentials => ["", { headers: { authorization: `Bearer ${key}` } }];
const query = (key: string): Credentials => [`?token=${key}`, {}];
const protocol = (key: string): Credentials => ["", { protocols: ["vtuber", `bearer.${key}`] }];
const BASE64URL_KEY = new TextEncoder().encode(KEY).toBase64({ alphabet: "base64url", omitPadding: true });

for (const [search, options] of [bearer(KEY), query(KEY), protocol(KEY), protocol(BASE64URL_KEY)]) {
  Deno.test(`events: the key in ${search}${JSON.stringify(options)} opens the WebSocket, and is not logged`, async () => {
    const { log, text } = recordingLog();
    await using served = ServedApp.start({ access: { authKey: KEY }, log });
    await using client = await EventClient.open(served.url + EVENTS_PATH + search, options);
    await client.until("state idle");
    assertEquals(client.protocol, options.protocols ? "vtuber" : "");
    await client.close();
    assertEquals([KEY, BASE64URL_KEY, EVENTS_PATH].map((part) => text().includes(part)), [
      false,
      false,
      true,
    ]);
  });
}

Deno.test("events: without the key, or with a wrong one, every endpoint refuses, and the key is not logged", async () => {
  const { log, text } = recordingLog();
  await using served = ServedApp.start({ access: { authKey: KEY }, log });
  const credentials: Credentials[] = [["", {}], query("wr0ng"), protocol("wr0ng"), bearer("wr0ng")];
  for (const [search, options] of credentials) {
    await assertRejects(() => EventClient.open(served.url + EVENTS_PATH + search, options), Error, "refused");
  }
  for (const path of [EVENTS_PATH, SSE_PATH, STATE_PATH, PERMISSIONS_PATH]) {
    assertEquals((await errorOf(await served.app.get(path))).status, 401, path);
  }
  for (const path of ["/v1/vtuber/notifications", `${PERMISSIONS_PATH}/p`]) {
    assertEquals((await errorOf(await served.app.post(path, { text: "x" }))).status, 401);
  }
  assertEquals([served.app.hub.clientCount, text().includes("wr0ng")], [0, false]);
});

Deno.test("events: the key in the query opens the read-only endpoints alone", async () => {
  await using app = startApp({ access: { authKey: KEY } });
  for (const path of [STATE_PATH, SSE_PATH]) {
    const response = await app.get(`${path}?token=${KEY}`);
    assertEquals(response.status, 200, path);
    await response.body?.cancel();
  }
  for (const path of ["/v1/models", PERMISSIONS_PATH]) {
    assertEquals((await errorOf(await app.get(`${path}?token=${KEY}`))).status, 401, path);
  }
  for (const path of [`${PERMISSIONS_PATH}/p`, "/v1/vtuber/notifications", "/v1/chat/completions"]) {
    assertEquals((await errorOf(await app.post(`${path}?token=${KEY}`, {}))).status, 401, path);
  }
});

Deno.test("events: a foreign page is refused", async () => {
  await using served = ServedApp.start();
  const open = (origin: string) => EventClient.open(served.url + EVENTS_PATH, { headers: { origin } });
  await assertRejects(() => open("https://evil.example"), Error, "refused");
  await using client = await open("http://localhost:5173");
  await client.until("state idle");
  const foreign = await served.app.get(SSE_PATH, { headers: { origin: "https://evil.example" } });
  assertEquals((await errorOf(foreign)).code, "origin_not_allowed");
});

Deno.test("events: a request that is no WebSocket handshake gets 426", async () => {
  await using app = startApp();
  const { status, code } = await errorOf(await app.get(EVENTS_PATH));
  assertEquals([status, code], [426, "upgrade_required"]);
});

Deno.test("events: AniCompanion's commands", async () => {
  await using served = ServedApp.start();
  await using client = await EventClient.open(served.url + "//v1/vtuber/ws");
  client.send({ type: "subscribe", events: ["agent_state", "emotion", "notification", "tool_status"] });
  client.send({ type: "ping" });
  const { ts } = await client.until("pong");
  const subscribed = "subscribed agent_state,emotion,tool_status,notification";
  assertEquals(client.summaries, ["state idle", subscribed, "pong"]);
  assertEquals(Math.abs(ts - Date.now() / 1000) < 60, true);
});

Deno.test("events: hello is answered with the client's id and the server's version", async () => {
  await using served = ServedApp.start();
  const client = await served.connect();
  client.send({ type: "hello", client: "Mao" });
  const [hello] = await client.sync();
  assertMatch(hello!, /^hello .* oab-vtuber 1\.2\.3$/);
});

const INVALID: readonly [name: string, command: unknown, code: string][] = [
  ["an unknown command", { type: "dance" }, "invalid_value"],
  ["no command", {}, "invalid_value"],
  ["a list", [], "invalid_value"],
  ["broken JSON", '{"type":"pin', "invalid_json"],
  ["an empty frame", "", "invalid_json"],
  ["a binary frame", new TextEncoder().encode('{"type":"ping"}'), "invalid_json"],
  ["17 KiB", { type: "ping", x: "x".repeat(17 * 1024) }, "body_too_large"],
  [
    "an answer to an unknown request",
    { type: "permission_response", request_id: "nope", decision: "allow" },
    "not_found",
  ],
];
for (const [name, command, code] of INVALID) {
  Deno.test(`events: ${name} gets one error, and the connection goes on`, async () => {
    await using served = ServedApp.start();
    const client = await served.connect();
    client.send(command);
    client.send({ type: "ping" });
    await client.until("pong");
    assertEquals(client.frames.map(({ type }) => type), ["error", "pong"]);
    const { code: actual, message } = client.frames[0]!;
    assertEquals([actual, typeof message], [code, "string"]);
  });
}

Deno.test("events: too many commands in a second get one error, and are ignored", async () => {
  await using served = ServedApp.start();
  const client = await served.connect();
  for (let i = 0; i < 2_000; i++) client.send({ type: "ping" });
  client.send({ type: "subscribe", events: [] });
  while (client.frames.at(-1)?.code !== "rate_limit_exceeded") await client.nextFrame();
  const pongs = client.frames.filter(({ type }) => type === "pong").length;
  assertEquals(pongs >= 40 && pongs <= 100, true, `${pongs} pongs`);
});

Deno.test("events: a turn as it runs, under the name of its conversation, while the reply is verbatim", async () => {
  await using served = ServedApp.start();
  const client = await served.connect("*", "say");
  const { prompt, reply, session } = await served.startChat("mao");
  const tool = { id: "t1", title: "npm test", kind: "execute" } as const;
  prompt.say("[happy] Hel");
  prompt.tool(tool);
  prompt.tool({ ...tool, status: "completed" });
  prompt.say("lo [1].\n");
  prompt.end();
  await client.until("state attention");
  await client.until("state idle");
  assertEquals(client.summaries, [
    "state thinking",
    "emotion happy 1",
    "say  Hel",
    "tool t1 running",
    "state working",
    "tool t1 done",
    "state thinking",
    "say lo [1].\n",
    "state attention",
    "state idle",
  ]);
  assertEquals([session, new Set(client.frames.map(({ session_id }) => session_id))], [
    "mao",
    new Set(["mao"]),
  ]);
  assertEquals(new Set(client.frames.map(({ turn_id }) => typeof turn_id)), new Set(["string"]));
  const contents = (await reply.rest()).matchAll(/"content":("(?:[^"\\]|\\.)*")/g);
  assertEquals(Array.from(contents, ([, content]) => JSON.parse(content!)).join(""), "[happy] Hello [1].\n");
});

Deno.test("events: a chat without a name has the id of its response", async () => {
  await using served = ServedApp.start({ script: saying("Hi") });
  const client = await served.connect("agent_state");
  const response = await served.app.chat();
  await response.text();
  const { session_id } = await client.until("state thinking");
  assertEquals(session_id, response.headers.get("x-session-id"));
});

Deno.test("events: a failed turn shows an error, a turn whose client hangs up does not", async () => {
  await using served = ServedApp.start();
  const client = await served.connect("agent_state");
  const failed = await served.startChat("one");
  failed.prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true }));
  await client.until("state idle");
  assertEquals(client.takeSummaries(), ["state thinking", "state error", "state idle"]);
  const left = await served.startChat("two");
  await left.reply.cancel();
  await client.until("state idle");
  assertEquals(client.summaries, ["state thinking", "state idle"]);
});

Deno.test("events: interrupt cancels the turns of one conversation, or all", async () => {
  await using served = ServedApp.start();
  const client = await served.connect("agent_state");
  const chats = [
    await served.startChat("one"),
    await served.startChat("two"),
    await served.startChat("three"),
  ];
  client.takeSummaries();
  const interrupt = async (fields: object, turns: number) => {
    client.send({ type: "interrupt", ...fields });
    await client.until(`interrupted ${turns}`);
    await client.sync();
  };
  await interrupt({ session_id: "unknown" }, 0);
  await interrupt({ session_id: "two" }, 1);
  await chats[1]!.prompt.cancelled;
  assertEquals(chats.map(({ prompt }) => prompt.cancelCount), [0, 1, 0]);
  await chats[1]!.reply.rest();
  await interrupt({}, 2);
  for (const { prompt, reply } of chats) {
    await reply.rest();
    assertEquals(prompt.cancelCount, 1);
  }
  assertEquals(served.app.hub.snapshot.state, "idle");
});

Deno.test("events: interrupt refuses a request that waits for its agent", async () => {
  await using served = ServedApp.start();
  const client = await served.connect("agent_state");
  served.app.agent.openGate = new Promise(() => {});
  for (const stream of [true, false]) {
    const answer = served.app.chat({ conversation_id: "mao", stream });
    // The request may arrive after the first interrupt.
    while (!(await client.sync()).includes("interrupted 1")) {
      client.send({ type: "interrupt", session_id: "mao" });
    }
    const { status, code, message } = await errorOf(await answer);
    assertEquals([status, code, message], [409, "turn_cancelled", "The turn was interrupted."]);
  }
});

Deno.test("events: the state, for clients that poll", async () => {
  await using served = ServedApp.start();
  const state = async () => {
    const response = await served.app.get(STATE_PATH);
    assertEquals(response.headers.get("cache-control"), "no-store");
    return await response.json();
  };
  const { ts, ...idle } = await state();
  const empty = { sessions: [], tools: [], plan: [], permissions: [], emotion: null, watchers: 0 };
  assertEquals([Number.isInteger(ts), idle], [true, { state: "idle", ...empty }]);
  const { prompt } = await served.startChat("mao");
  prompt.tool({ id: "t1", title: "ls" });
  const { state: name, sessions, tools } = await state();
  assertEquals([name, sessions[0].session_id, tools[0].tool_name], ["working", "mao", "ls"]);
});

/** Summaries of the frames of an event stream, without its comments. */
function summaries(text: string): string[] {
  return text.split("\n\n").filter((event) => event.startsWith("data: ")).map((event) => {
    const { type, state, tag } = JSON.parse(event.slice("data: ".length));
    return `${type} ${state ?? tag}`;
  });
}

Deno.test("events: server-sent events, all or the chosen ones", async () => {
  await using app = startApp({ script: saying("[happy] Hi") });
  const all = await app.get(SSE_PATH);
  const some = await app.get(`${SSE_PATH}?events=agent_state,%20nonsense`);
  assertEquals(all.headers.get("content-type"), "text/event-stream; charset=utf-8");
  assertEquals(app.hub.clientCount, 2);
  await (await app.chat()).text();
  await using chosen = new WriteReader(some);
  let text = "";
  while (!/"idle"[^]*"idle"/.test(text)) text += await chosen.next();
  app.hub.close();
  const states = ["agent_state idle", "agent_state thinking", "agent_state attention", "agent_state idle"];
  assertEquals(summaries(text), states);
  assertEquals(summaries(await all.text()), [...states.slice(0, 2), "emotion happy", ...states.slice(2)]);
  assertEquals(app.hub.clientCount, 0);
});

Deno.test("events: a client that hangs up is no longer counted", async () => {
  await using served = ServedApp.start();
  const { app } = served;
  const [leaving, staying] = [await served.connect(), await served.connect()];
  const stream = await app.get(SSE_PATH);
  assertEquals(app.hub.clientCount, 3);
  await stream.body?.cancel();
  assertEquals(app.hub.clientCount, 2);
  await leaving.close();
  while (app.hub.clientCount > 1) await nextTask();
  assertEquals(await staying.sync(), []);
  const head = await app.send(SSE_PATH, { method: "HEAD" });
  assertEquals([head.status, head.body, app.hub.clientCount], [200, null, 1]);
});

Deno.test("events: at shutdown the connections close, and new ones are refused", async () => {
  await using served = ServedApp.start();
  const client = await served.connect();
  served.app.hub.close();
  assertEquals((await client.closed).code, 1001);
  assertEquals((await errorOf(await served.app.get(SSE_PATH))).code, "shutting_down");
  await assertRejects(() => EventClient.open(served.url + EVENTS_PATH), Error, "refused");
});
