import { assertEquals, assertRejects } from "@std/assert";
import { type Log, LOG_LEVELS } from "../../lib/core/log.ts";
import { AppError } from "../../lib/core/errors.ts";
import { ServedApp, EVENTS_PATH } from "../support/harness/served_app.ts";
import { EventClient } from "../support/harness/event_client.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp, WriteReader } from "../support/harness/app_harness.ts";

const KEY = "s3cret-key";

/** A log that keeps every word. */
function keepingLog(): { log: Log; text: () => string } {
  const lines: string[] = [];
  const keep = (message: string, fields?: unknown) => void lines.push(`${message} ${JSON.stringify(fields)}`);
  return {
    log: Object.fromEntries(LOG_LEVELS.map((level) => [level, keep])) as Log,
    text: () => lines.join("\n"),
  };
}

for (const path of [EVENTS_PATH, "//v1/vtuber/ws", "/v1/v1/vtuber/ws", "/vtuber/ws", "/v1/vtuber/ws/"]) {
  Deno.test(`events: ${path} is the socket; who comes is told that it is idle`, async () => {
    await using served = ServedApp.start();
    await using socket = await EventClient.open(served.url + path);
    await socket.until("state idle");
    assertEquals(socket.frames.length, 1);
  });
}

const base64Url = (text: string) =>
  new TextEncoder().encode(text).toBase64({ alphabet: "base64url", omitPadding: true });
const KEYS: readonly [
  name: string,
  search: string,
  options: { protocols?: string[]; headers?: HeadersInit },
][] = [
  ["a bearer", "", { headers: { authorization: `Bearer ${KEY}` } }],
  ["the address", `?token=${KEY}`, {}],
  ["a subprotocol", "", { protocols: ["vtuber", `bearer.${KEY}`] }],
  ["a subprotocol in base64url", "", { protocols: ["vtuber", `bearer.${base64Url(KEY)}`] }],
];
for (const [name, search, options] of KEYS) {
  Deno.test(`events: the key by ${name} opens the socket, and is in no log`, async () => {
    const { log, text } = keepingLog();
    await using served = ServedApp.start({ access: { authKey: KEY }, log });
    await using socket = await EventClient.open(served.url + EVENTS_PATH + search, options);
    await socket.until("state idle");
    assertEquals(socket.protocol, options.protocols ? "vtuber" : "");
    await socket.close();
    assertEquals([text().includes(KEY), text().includes(base64Url(KEY))], [false, false]);
    assertEquals(text().includes("/v1/vtuber/ws"), true);
  });
}

Deno.test("events: without the key, or with a wrong one, nobody watches, and it is in no log", async () => {
  const { log, text } = keepingLog();
  await using served = ServedApp.start({ access: { authKey: KEY }, log });
  for (
    const [search, options] of [
      ["", {}],
      ["?token=wr0ng", {}],
      ["", { protocols: ["vtuber", "bearer.wr0ng"] }],
      ["", { headers: { authorization: "Bearer wr0ng" } }],
    ] as const
  ) {
    await assertRejects(
      () => EventClient.open(served.url + EVENTS_PATH + search, options as object),
      Error,
      "refused",
    );
  }
  for (const path of [EVENTS_PATH, "/v1/vtuber/events", "/v1/vtuber/state", "/v1/vtuber/permissions"]) {
    assertEquals((await errorOf(await served.app.get(path))).status, 401, path);
  }
  assertEquals((await errorOf(await served.app.post("/v1/vtuber/notifications", { text: "x" }))).status, 401);
  assertEquals((await errorOf(await served.app.post("/v1/vtuber/permissions/p", {}))).status, 401);
  assertEquals([served.app.hub.clientCount, text().includes("wr0ng")], [0, false]);
});

Deno.test("events: the key in the address opens what watches, and nothing that does", async () => {
  await using app = startApp({ access: { authKey: KEY } });
  for (const path of ["/v1/vtuber/state", "/v1/vtuber/events"]) {
    const response = await app.get(`${path}?token=${KEY}`);
    assertEquals(response.status, 200, path);
    await response.body?.cancel();
  }
  for (const path of ["/v1/models", "/v1/vtuber/permissions"]) {
    assertEquals((await errorOf(await app.get(`${path}?token=${KEY}`))).status, 401, path);
  }
  for (const path of ["/v1/vtuber/permissions/p", "/v1/vtuber/notifications", "/v1/chat/completions"]) {
    assertEquals((await errorOf(await app.post(`${path}?token=${KEY}`, {}))).status, 401, path);
  }
});

Deno.test("events: a page of another site does not watch", async () => {
  await using served = ServedApp.start();
  const open = (origin: string) => EventClient.open(served.url + EVENTS_PATH, { headers: { origin } });
  await assertRejects(() => open("https://evil.example"), Error, "refused");
  await using socket = await open("http://localhost:5173");
  await socket.until("state idle");
  const foreign = await served.app.get("/v1/vtuber/events", { headers: { origin: "https://evil.example" } });
  assertEquals((await errorOf(foreign)).code, "origin_not_allowed");
});

Deno.test("events: a request that is no handshake is told what this is", async () => {
  await using app = startApp();
  const { status, code } = await errorOf(await app.get(EVENTS_PATH));
  assertEquals([status, code], [426, "upgrade_required"]);
});

Deno.test("events: AniCompanion's commands", async () => {
  await using served = ServedApp.start();
  await using socket = await EventClient.open(served.url + "//v1/vtuber/ws");
  socket.send({ type: "subscribe", events: ["agent_state", "emotion", "notification", "tool_status"] });
  socket.send({ type: "ping" });
  const { ts } = await socket.until("pong");
  assertEquals(socket.summaries, [
    "state idle",
    "subscribed agent_state,emotion,tool_status,notification",
    "pong",
  ]);
  assertEquals(Math.abs(ts - Date.now() / 1000) < 60, true);
});

Deno.test("events: a hello is answered with who is who", async () => {
  await using served = ServedApp.start();
  await using socket = await served.connect();
  socket.send({ type: "hello", client: "Mao" });
  const [client] = await socket.sync();
  assertEquals(client?.startsWith("hello "), true);
  assertEquals(client?.endsWith(" oab-vtuber 1.2.3"), true);
});

const NONSENSE: readonly [name: string, command: unknown, code: string][] = [
  ["an unknown command", { type: "dance" }, "invalid_value"],
  ["no command", {}, "invalid_value"],
  ["a list", [], "invalid_value"],
  ["broken JSON", '{"type":"pin', "invalid_json"],
  ["nothing", "", "invalid_json"],
  ["bytes", new TextEncoder().encode('{"type":"ping"}'), "invalid_json"],
  ["17 KiB", { type: "ping", x: "x".repeat(17 * 1024) }, "body_too_large"],
  ["an answer to nothing that was asked", {
    type: "permission_response",
    request_id: "nope",
    decision: "allow",
  }, "not_found"],
];
for (const [name, command, code] of NONSENSE) {
  Deno.test(`events: ${name} gets one error, and is otherwise ignored`, async () => {
    await using served = ServedApp.start();
    const socket = await served.connect();
    socket.send(command);
    socket.send({ type: "ping" });
    await socket.until("pong");
    assertEquals(socket.frames.map(({ type }) => type), ["error", "pong"]);
    const { code: told, message } = socket.frames[0]!;
    assertEquals([told, typeof message], [code, "string"]);
  });
}

Deno.test("events: of too many commands in a second the first beyond is refused and the rest ignored", async () => {
  await using served = ServedApp.start();
  const socket = await served.connect();
  for (let i = 0; i < 2_000; i++) socket.send({ type: "ping" });
  socket.send({ type: "subscribe", events: [] });
  while (socket.frames.at(-1)?.code !== "rate_limit_exceeded") await socket.nextFrame();
  const pongs = socket.frames.filter(({ type }) => type === "pong").length;
  assertEquals(pongs >= 40 && pongs <= 100, true, `${pongs} pongs`);
});

Deno.test("events: a turn is watched as it runs, under the name of its conversation; the reply is verbatim", async () => {
  await using served = ServedApp.start();
  const socket = await served.connect("*", "say");
  const { prompt, reply, session } = await served.startChat("mao");
  prompt.say("[happy] Hel");
  prompt.tool({ id: "t1", title: "npm test", kind: "execute" });
  prompt.tool({ id: "t1", title: "npm test", kind: "execute", status: "completed" });
  prompt.say("lo [1].\n");
  prompt.end();
  await socket.until("state attention");
  await socket.until("state idle");
  assertEquals(socket.summaries, [
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
  assertEquals(session, "mao");
  assertEquals(new Set(socket.frames.map(({ session_id }) => session_id)), new Set(["mao"]));
  assertEquals(new Set(socket.frames.map(({ turn_id }) => typeof turn_id)), new Set(["string"]));
  const text = [...(await reply.rest()).matchAll(/"content":("(?:[^"\\]|\\.)*")/g)]
    .map(([, content]) => JSON.parse(content!)).join("");
  assertEquals(text, "[happy] Hello [1].\n");
});

Deno.test("events: a chat that names no conversation is called as its answer calls it", async () => {
  await using served = ServedApp.start({ script: saying("Hi") });
  const socket = await served.connect("agent_state");
  const response = await served.app.chat();
  await response.text();
  const { session_id } = await socket.until("state thinking");
  assertEquals(session_id, response.headers.get("x-session-id"));
});

Deno.test("events: a failure is shown, and ends in idle", async () => {
  await using served = ServedApp.start();
  const socket = await served.connect("agent_state");
  const { prompt } = await served.startChat();
  prompt.fail(new AppError("agent_crashed", "Gone.", { prompted: true }));
  await socket.until("state idle");
  assertEquals(socket.summaries, ["state thinking", "state error", "state idle"]);
});

Deno.test("events: who hangs up cancels the turn, which is idle at once", async () => {
  await using served = ServedApp.start();
  const socket = await served.connect("agent_state");
  const { reply } = await served.startChat();
  await reply.cancel();
  await socket.until("state idle");
  assertEquals(socket.summaries, ["state thinking", "state idle"]);
});

Deno.test("events: an interrupt ends the turns of a conversation, or all", async () => {
  await using served = ServedApp.start();
  const socket = await served.connect("agent_state");
  const replies = [await served.startChat("one"), await served.startChat("two"), await served.startChat("three")];
  socket.takeSummaries();
  const interrupt = async (command: object, turns: number) => {
    socket.send({ type: "interrupt", ...command });
    await socket.until(`interrupted ${turns}`);
    return socket.sync();
  };
  await interrupt({ session_id: "nobody" }, 0);
  await interrupt({ session_id: "two" }, 1);
  await replies[1]!.prompt.cancelled;
  assertEquals(replies.map(({ prompt }) => prompt.cancelCount), [0, 1, 0]);
  await replies[1]!.reply.rest();
  await interrupt({}, 2);
  for (const { prompt, reply } of replies) {
    await reply.rest();
    assertEquals(prompt.cancelCount, 1);
  }
  assertEquals(served.app.hub.snapshot.state, "idle");
});

Deno.test("events: an interrupt reaches a turn that waits for its agent, whose request is told so", async () => {
  await using served = ServedApp.start();
  const socket = await served.connect("agent_state");
  served.app.agent.openGate = new Promise(() => {});
  for (const stream of [true, false]) {
    const answer = served.app.chat({ conversation_id: "mao", stream });
    // Until the request has arrived there is nothing to interrupt.
    while (!(await socket.sync()).includes("interrupted 1")) {
      socket.send({ type: "interrupt", session_id: "mao" });
    }
    const error = await errorOf(await answer);
    assertEquals([error.status, error.code, error.message], [
      409,
      "turn_cancelled",
      "The turn was interrupted.",
    ]);
  }
});

Deno.test("events: the state for those who poll", async () => {
  await using served = ServedApp.start();
  const state = async () => {
    const response = await served.app.get("/v1/vtuber/state");
    assertEquals(response.headers.get("cache-control"), "no-store");
    return await response.json();
  };
  const { ts, ...idle } = await state();
  assertEquals(Number.isInteger(ts), true);
  assertEquals(idle, {
    state: "idle",
    sessions: [],
    tools: [],
    plan: [],
    permissions: [],
    emotion: null,
    watchers: 0,
  });
  const { prompt } = await served.startChat("mao");
  prompt.tool({ id: "t1", title: "ls" });
  const { state: name, sessions, tools } = await state();
  assertEquals([name, sessions[0].session_id, tools[0].tool_name], ["working", "mao", "ls"]);
});

/** The frames of an event stream, without comments. */
function framesOf(text: string): string[] {
  return text.split("\n\n").filter((event) => event.startsWith("data: ")).map((event) => {
    const { type, state, tag } = JSON.parse(event.slice("data: ".length));
    return `${type} ${state ?? tag}`;
  });
}

Deno.test("events: the same as server-sent events, for those who chose some", async () => {
  await using app = startApp({ script: saying("[happy] Hi") });
  const all = await app.get("/v1/vtuber/events");
  const some = await app.get("/v1/vtuber/events?events=agent_state,%20nonsense");
  assertEquals(all.headers.get("content-type"), "text/event-stream; charset=utf-8");
  assertEquals(app.hub.clientCount, 2);
  await (await app.chat()).text();
  await using others = new WriteReader(some);
  let text = "";
  while (!/"idle"[^]*"idle"/.test(text)) text += await others.next();
  app.hub.close();
  const states = ["agent_state idle", "agent_state thinking", "agent_state attention", "agent_state idle"];
  assertEquals(framesOf(text), states);
  assertEquals(framesOf(await all.text()), [...states.slice(0, 2), "emotion happy", ...states.slice(2)]);
  assertEquals(app.hub.clientCount, 0);
});

Deno.test("events: who hangs up a stream of events is gone", async () => {
  await using app = startApp();
  const response = await app.get("/v1/vtuber/events");
  assertEquals(app.hub.clientCount, 1);
  await response.body?.cancel();
  assertEquals(app.hub.clientCount, 0);
  const head = await app.send("/v1/vtuber/events", { method: "HEAD" });
  assertEquals([head.status, head.body, app.hub.clientCount], [200, null, 0]);
});

Deno.test("events: the server ends: watchers are told so, and nobody else comes in", async () => {
  await using served = ServedApp.start();
  const socket = await served.connect();
  served.app.hub.close();
  assertEquals((await socket.closed).code, 1001);
  assertEquals((await errorOf(await served.app.get("/v1/vtuber/events"))).code, "shutting_down");
  await assertRejects(() => EventClient.open(served.url + EVENTS_PATH), Error, "refused");
});

Deno.test("events: who has gone is no longer counted", async () => {
  await using served = ServedApp.start();
  const [one, two] = [await served.connect(), await served.connect()];
  assertEquals(served.app.hub.clientCount, 2);
  await one.close();
  while (served.app.hub.clientCount > 1) await nextTask();
  assertEquals(await two.sync(), []);
});
