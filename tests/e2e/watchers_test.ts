/** Clients of the event channel: how they connect, many of them, slow ones, and the end of the server. */

import { assert, assertEquals } from "@std/assert";
import {
  type EventClient,
  EventStreamClient,
  handshake,
  watch,
  type WatchOptions,
} from "../support/harness/event_client.ts";
import {
  assertBoundedMemory,
  inConversation,
  isAlive,
  replyOf,
  script,
  type ServerProcess,
  startServer,
  until,
} from "../support/harness/server_process.ts";
import { waitFor } from "../support/harness/turn_recorder.ts";

const KEY = "the-secret/key+with=signs";
const BEARER = { authorization: `Bearer ${KEY}` };

function base64Url(text: string): string {
  return new TextEncoder().encode(text).toBase64({ alphabet: "base64url", omitPadding: true });
}

async function watchersOf(server: ServerProcess): Promise<number> {
  return (await server.get("/v1/vtuber/state")).watchers;
}

Deno.test("keys: accepted in a header, the query and a subprotocol, refused when wrong, and never in the log", async () => {
  await using server = await startServer({ env: { VTUBER_AUTH_KEY: KEY } });
  const accepted: WatchOptions[] = [
    { headers: { ...BEARER, origin: "https://overlay.example" }, path: "//v1/vtuber/ws" },
    { path: `/v1/vtuber/ws?token=${encodeURIComponent(KEY)}` },
    { protocols: ["vtuber", `bearer.${base64Url(KEY)}`] },
  ];
  for (const options of accepted) {
    await using client = await watch(server, options);
    await client.ping();
    assertEquals(client.frames.map(({ type }) => type), ["agent_state", "pong"], JSON.stringify(options));
    assertEquals(client.protocol, options.protocols ? "vtuber" : "");
  }
  {
    using connection = await handshake(server, undefined, {
      "sec-websocket-protocol": `bearer.${base64Url(KEY)}`,
    });
    assertEquals([connection.status, connection.headers.get("sec-websocket-protocol")], [101, null]);
  }
  const wrong = "another-key-0123456789";
  const refused: [string, Record<string, string>][] = [
    ["//v1/vtuber/ws", {}],
    [`/v1/vtuber/ws?token=${wrong}`, {}],
    ["/v1/vtuber/ws", { "sec-websocket-protocol": `vtuber, bearer.${base64Url(wrong)}` }],
  ];
  for (const [path, headers] of refused) {
    using connection = await handshake(server, path, headers);
    assertEquals([connection.status, connection.headers.get("www-authenticate")], [401, "Bearer"], path);
  }
  await server.logged("invalid_api_key");
  for (const key of [KEY, wrong]) {
    for (const form of [key, base64Url(key), encodeURIComponent(key)]) assert(!server.log().includes(form));
  }
  assertEquals((await server.get("/v1/vtuber/state", { headers: BEARER })).watchers, 0);
});

Deno.test("without a key: handshakes are checked for Host, Origin and Upgrade", async () => {
  await using server = await startServer({ env: { VTUBER_ALLOWED_ORIGINS: "https://overlay.example" } });
  const cases: [Record<string, string>, number][] = [
    [{ origin: "https://evil.example" }, 403],
    [{ host: `evil.example:${new URL(server.url).port}` }, 403],
    [{ origin: "https://overlay.example" }, 101],
    [{ origin: "http://localhost:3000" }, 101],
    [{}, 101],
    [{ upgrade: "h2c" }, 426],
  ];
  for (const [headers, status] of cases) {
    using connection = await handshake(server, undefined, headers);
    assertEquals(connection.status, status, JSON.stringify(headers));
  }
});

Deno.test("a client that does not read does not delay others, and is disconnected", async () => {
  await using server = await startServer();
  await using healthy = await watch(server, { events: ["agent_state", "say", "notification"] });
  using stalled = await handshake(server);
  await stalled.send({ type: "subscribe", events: ["say", "notification"] });
  const unread = await fetch(`${server.url}/v1/vtuber/events?events=say,notification`);
  assertEquals([stalled.status, await watchersOf(server)], [101, 3]);

  const { text: reply } = await replyOf(server.chat(script({ tokens: 20_000, delayMs: 0.1 })));
  assertEquals(reply.length, 80_001);
  await healthy.state("attention");
  assertEquals(healthy.of("say").map(({ text }) => text).join(""), "tok ".repeat(20_000));

  // Notifications are not dropped: a client for which too many wait is disconnected.
  const text = "x".repeat(4_000);
  let sent = 0;
  for (let clients = 3; clients > 1; sent++) {
    assert(sent < 20_000, "slow clients are never disconnected");
    ({ clients } = await (await server.post("/v1/vtuber/notifications", { text })).json());
  }
  await healthy.until((frames) => frames.filter(({ type }) => type === "notification").length === sent);
  assertEquals(await watchersOf(server), 1);
  assertBoundedMemory(server);
  // The close frame, behind everything unread, holds the reason.
  let tail = "";
  const buffer = new Uint8Array(64 * 1024);
  while (!tail.includes("too slow")) {
    const count = await waitFor(stalled.connection.read(buffer), "the reason");
    if (count === null) throw new Error("The connection ended without a reason.");
    tail = (tail + new TextDecoder().decode(buffer.subarray(0, count))).slice(-200);
  }
  await unread.body!.cancel();
});

Deno.test("a client that reads gets every word, however fast the agent writes", async () => {
  await using server = await startServer();
  await using client = await watch(server, { events: ["agent_state", "say"] });
  for (let turn = 0; turn < 3; turn++) {
    const from = client.frames.length;
    await replyOf(server.chat(script({ tokens: 20_000 })));
    await client.state("attention", from);
    const speech = client.frames.slice(from).filter(({ type }) => type === "say").map(({ text }) => text);
    assertEquals(speech.join("").length, 80_000);
  }
});

Deno.test("a thousand clients get every event of a turn", async () => {
  await using server = await startServer();
  await using stack = new AsyncDisposableStack();
  const clients: EventClient[] = [];
  while (clients.length < 1_000) {
    const more = await Promise.all(Array.from({ length: 100 }, () => watch(server)));
    for (const client of more) stack.use(client);
    clients.push(...more);
  }
  assertEquals(await watchersOf(server), 1_000);
  const { finish } = await replyOf(server.chat(script(
    { text: "[happy] I look." },
    { tool: { id: "t", title: "look", kind: "read" } },
    { toolUpdate: { id: "t", status: "completed" } },
    { text: "Done." },
  )));
  assertEquals(finish, "stop");
  const [first, ...others] = await Promise.all(clients.map((client) => client.untilTurnEnds()));
  assertEquals(first!.map(({ type, state }) => state ?? type), [
    ...["thinking", "emotion", "tool_status", "working", "tool_status", "thinking", "attention", "idle"],
  ]);
  for (const frames of others) assertEquals(frames, first);
  await Promise.all(clients.slice(0, 500).map((client) => client.close()));
  await until(() => watchersOf(server), (count) => count === 500);
});

Deno.test("clients that connect and leave in every way do not disturb turns, and are not counted any more", async () => {
  await using server = await startServer();
  await using steady = await watch(server);
  const turns = Array.from({ length: 5 }, async (_, index) => {
    const response = server.chat(script({ tokens: 300, delayMs: 2 }), {}, inConversation(`talk ${index}`));
    return (await replyOf(response)).text.length;
  });
  const visits: (() => Promise<unknown>)[] = [
    async () => await (await watch(server, { events: ["*", "say"] })).close(),
    async () => {
      // Closes the connection without a close frame.
      using connection = await handshake(server);
      await connection.send({ type: "subscribe", events: ["say"] });
    },
    async () => {
      const { hostname, port } = new URL(server.url);
      using connection = await Deno.connect({ hostname, port: Number(port) });
      await connection.write(
        new TextEncoder().encode("GET /v1/vtuber/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgr"),
      );
    },
    async () => {
      await using _stream = await EventStreamClient.open(server, "events=say");
    },
  ];
  for (let wave = 0; wave < 10; wave++) {
    await Promise.all(Array.from({ length: 20 }, (_, index) => visits[index % visits.length]!()));
  }
  assertEquals(await Promise.all(turns), new Array(5).fill(1_201));
  await until(() => watchersOf(server), (count) => count === 1);
  for (let index = 0; index < 5; index++) await steady.untilTurnEnds(`talk ${index}`);
});

Deno.test("shutdown: clients see a running turn fail and are closed with 1001; slow ones delay nothing", async () => {
  await using server = await startServer({ env: { VTUBER_SHUTDOWN_GRACE_SECS: "0.2" } });
  await using stack = new AsyncDisposableStack();
  const clients: EventClient[] = [];
  for (let i = 0; i < 20; i++) clients.push(stack.use(await watch(server)));
  await using stream = await EventStreamClient.open(server);
  using stalled = await handshake(server);
  assertEquals(stalled.status, 101);
  const unread = await fetch(`${server.url}/v1/vtuber/events`);
  const response = await server.chat(script({ text: "." }, { hang: true }));
  await clients[0]!.state("thinking");
  server.signal("SIGTERM");
  for (const client of clients) {
    assertEquals((await waitFor(client.closed, "the end of the socket")).code, 1001);
    assertEquals(client.states, ["idle", "thinking", "error"]);
  }
  await stream.closed();
  assertEquals((await waitFor(server.exited, "the end of the server")).code, 0);
  assert(!isAlive(server.pid));
  assertEquals((await replyOf(response)).finish, "error");
  await unread.body!.cancel().catch(() => {});
});
