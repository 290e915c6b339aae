import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { connect } from "node:net";
import { LOCAL_CALLER } from "../../lib/http/access.ts";
import { errorOf, startApp, WriteReader } from "../support/harness/app_harness.ts";
import { EventClient } from "../support/harness/event_client.ts";
import { recordingLog } from "../support/harness/chat_fixture.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";
import { EVENTS_PATH, ServedApp } from "../support/harness/served_app.ts";

const KEY = "s3cret-key";
const SSE_PATH = "/v1/vtuber/events";
const STATE_PATH = "/v1/vtuber/state";
const PERMISSIONS_PATH = "/v1/vtuber/permissions";

Deno.test("events: without the key, or with a wrong one, every endpoint refuses, and the key is not logged", async () => {
  const { log, lines } = recordingLog();
  await using served = ServedApp.start({ access: { authKey: KEY }, log });
  const headers = { authorization: "Bearer wr0ng" };
  for (const path of [EVENTS_PATH, SSE_PATH, STATE_PATH, PERMISSIONS_PATH]) {
    for (const url of [path, `${path}?token=wr0ng`]) {
      assertEquals((await errorOf(await served.app.get(url, { headers }))).status, 401, path);
    }
  }
  for (const path of ["/v1/vtuber/notifications", `${PERMISSIONS_PATH}/p`]) {
    assertEquals((await errorOf(await served.app.post(path, { text: "x" }))).status, 401);
  }
  await using client = await EventClient.open(`${served.url}${EVENTS_PATH}?token=${KEY}`);
  await client.until("state idle");
  assertEquals(lines.some((line) => line.includes("wr0ng") || line.includes(KEY)), false);
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

Deno.test("events: AniCompanion's commands, and hello", async () => {
  await using served = ServedApp.start();
  await using client = await EventClient.open(served.url + "//v1/vtuber/ws");
  client.send({ type: "subscribe", events: ["agent_state", "emotion", "notification", "tool_status"] });
  client.send({ type: "ping" });
  const { ts } = await client.until("pong");
  const subscribed = "subscribed agent_state,emotion,tool_status,notification";
  assertEquals(client.takeSummaries(), ["state idle", subscribed, "pong"]);
  assertEquals(Number.isInteger(ts), true);
  client.send({ type: "hello", client: "Mao" });
  const [hello] = await client.sync();
  assertMatch(hello!, /^hello .* oab-vtuber 1\.2\.3$/);
});

const INVALID: readonly [name: string, command: unknown, code: string][] = [
  ["an unknown command", { type: "dance" }, "invalid_value"],
  ["broken JSON", '{"type":"pin', "invalid_json"],
  ["a binary frame", new TextEncoder().encode('{"type":"ping"}'), "invalid_json"],
  ["17 KiB", { type: "ping", x: "x".repeat(17 * 1024) }, "body_too_large"],
  [
    "an answer without a subscription to permissions",
    { type: "permission_response", request_id: "nope", decision: "allow" },
    "invalid_value",
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
  const names = new Set(client.frames.map(({ session_id }) => session_id));
  assertEquals([session, names], ["mao", new Set(["mao"])]);
  const contents = (await reply.rest()).matchAll(/"content":("(?:[^"\\]|\\.)*")/g);
  assertEquals(Array.from(contents, ([, content]) => JSON.parse(content!)).join(""), "[happy] Hello [1].\n");
});

Deno.test("events: a permission is answered over the socket or HTTP, and a later answer is an error", async () => {
  await using served = ServedApp.start();
  const { app } = served;
  const client = await served.connect("*");
  client.send({ type: "hello", client: "Mao" });
  const { prompt } = await served.startChat("mao");
  const ask = async () => {
    const asked = served.askPermission(prompt);
    const request = await client.first("permission_request", (frame) => !resolved.includes(frame.request_id));
    resolved.push(request.request_id);
    assertEquals(Math.abs(request.expires_at - Date.now() / 1000 - 60) < 30, true);
    return { asked, request_id: request.request_id as string };
  };
  const resolved: string[] = [];
  const first = await ask();
  client.send({ type: "permission_response", request_id: first.request_id, option_id: "maybe" });
  assertMatch((await client.sync()).at(-1)!, /^error invalid_value /);
  client.send({ type: "permission_response", request_id: first.request_id, option_id: "yes" });
  assertEquals((await first.asked)?.by, "Mao");

  const second = await ask();
  const answer = (id: string, body: unknown) => app.post(`${PERMISSIONS_PATH}/${id}`, body);
  const list = async () => (await (await app.get(PERMISSIONS_PATH)).json()).permissions;
  assertEquals((await list()).map(({ request_id }: { request_id: string }) => request_id), [
    second.request_id,
  ]);
  assertEquals((await errorOf(await answer(second.request_id, {}))).status, 400);
  const response = await answer(second.request_id, { decision: "allow", client: "curl" });
  const body = { request_id: second.request_id, outcome: "allowed", option_id: "yes", by: "curl" };
  assertEquals([response.status, await response.json(), (await second.asked)?.by], [200, body, "curl"]);
  for (const [id, status] of [[second.request_id, 409], ["nope", 404]] as const) {
    assertEquals((await errorOf(await answer(id, { decision: "allow" }))).status, status);
  }
  client.send({ type: "permission_response", request_id: first.request_id, decision: "reject" });
  assertMatch((await client.sync()).at(-1)!, /^error permission_resolved /);
  assertEquals(await list(), []);
});

Deno.test("events: only a socket that subscribed to permission requests answers them", async () => {
  await using served = ServedApp.start();
  const { prompt } = await served.startChat("mao");
  await using judge = await served.connect("permission_request", "permission_resolved");
  const others = [await served.connect(), await served.connect("agent_state"), await served.connect("*")];
  others.at(-1)!.send({ type: "subscribe", events: ["permission_resolved"] });
  const asked = served.askPermission(prompt);
  const { request_id } = await judge.first("permission_request");
  const answer = { type: "permission_response", request_id, decision: "allow" };
  for (const client of others) {
    const { code, message } = await client.ask(answer, "error");
    assertEquals([code, message.includes('"permission_request"')], ["invalid_value", true]);
  }
  judge.send({ ...answer, decision: "reject" });
  assertEquals((await asked)?.outcome, "rejected");
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

Deno.test("events: server-sent events, the chosen ones; a client that hangs up is no longer counted", async () => {
  await using app = startApp();
  const response = await app.get(`${SSE_PATH}?events=agent_state,%20nonsense`);
  assertEquals(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const state = await app.get(STATE_PATH);
  assertEquals([state.headers.get("cache-control"), (await state.json()).watchers], ["no-store", 1]);
  await using chosen = new WriteReader(response);
  assertMatch((await chosen.next())!, /^data: {"type":"agent_state","ts":\d+,"state":"idle"}\n\n$/);
  await chosen.cancel();
  const head = await app.send(SSE_PATH, { method: "HEAD" });
  assertEquals([head.status, head.body, app.hub.snapshot(LOCAL_CALLER).watchers], [200, null, 0]);
});

/**
 * Sends a WebSocket handshake, and resets the connection when the response has arrived. After an earlier reset, Deno's
 * server keeps the connection for ever, so that its shutdown would never end.
 */
async function resetHandshake(url: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { hostname, port, host } = new URL(url);
  const socket = connect(Number(port), hostname);
  const lines = [
    `GET ${EVENTS_PATH} HTTP/1.1`,
    `Host: ${host}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  ];
  socket.on("close", resolve).on("error", resolve).on("data", () => void socket.resetAndDestroy());
  socket.write(lines.join("\r\n") + "\r\n\r\n");
  await promise;
}

Deno.test("events: a connection that is reset before its first frame leaves its place", async () => {
  await using served = ServedApp.start();
  for (let i = 0; i < 50; i++) await resetHandshake(served.url);
  while (served.app.hub.snapshot(LOCAL_CALLER).watchers > 0) await nextTask();
  const client = await served.connect();
  client.send({ type: "ping" });
  await client.until("pong");
  assertEquals(served.app.hub.snapshot(LOCAL_CALLER).watchers, 1);
});

Deno.test("events: at shutdown the connections close, and new ones are refused", async () => {
  await using served = ServedApp.start();
  const client = await served.connect();
  served.app.hub.close();
  assertEquals((await client.closed).code, 1001);
  assertEquals((await errorOf(await served.app.get(SSE_PATH))).code, "shutting_down");
  await assertRejects(() => EventClient.open(served.url + EVENTS_PATH), Error, "refused");
});

Deno.test("events: a lost memory is told in words that a client can post back", async () => {
  await using served = ServedApp.start({ script: (prompt) => prompt.end() });
  const { app } = served;
  const client = await served.connect("notification");
  const ask = async (content: string, name?: string) => {
    const messages = [{ role: "user", content }];
    return await (await app.post("/v1/chat/completions", { conversation_id: name, messages })).json();
  };
  await ask("Hi", "mao");
  app.agent.sessions[0]!.close();
  await ask("And?", "mao");
  const sentence = "I have lost my memory of our conversation. Please tell me again what I should know.";
  const { code, session_id } = await client.until(`notification ${sentence}`);
  assertEquals([code, session_id], ["memory_lost", "mao"]);
  assertEquals((await ask(sentence)).choices[0].message.content.trim(), sentence);
});
