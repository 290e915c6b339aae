import { assert, assertEquals, assertRejects } from "@std/assert";
import { isAlive, readAnswer, script, type Server, startServer } from "../support/harness/server_process.ts";
import {
  get,
  EventStreamClient,
  withPatience,
  poll,
  handshake,
  watch,
  type EventClient,
  type WatchOptions,
} from "../support/harness/event_client.ts";

const KEY = "the-secret/key+with=signs";
const KEYED = { env: { VTUBER_AUTH_KEY: KEY } };
const BEARER = { authorization: `Bearer ${KEY}` };

function base64url(text: string): string {
  return new TextEncoder().encode(text).toBase64({ alphabet: "base64url", omitPadding: true });
}

async function watchers(server: Server): Promise<number> {
  return (await get(server, "/v1/vtuber/state")).watchers;
}

/** Resident memory in MiB; 0 where it cannot be read. */
async function residentMiB({ pid }: Server): Promise<number> {
  if (Deno.build.os !== "linux") return 0;
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
}

Deno.test("the key comes in a header, in the address or as a subprotocol", async () => {
  await using server = await startServer(KEYED);
  const ways: WatchOptions[] = [
    { headers: BEARER },
    { headers: { "api-key": KEY } },
    { path: `/v1/vtuber/ws?token=${encodeURIComponent(KEY)}` },
    { protocols: ["vtuber", `bearer.${base64url(KEY)}`] },
    { protocols: [`openai-insecure-api-key.${base64url(KEY)}`, "vtuber"] },
    { headers: BEARER, protocols: ["vtuber"] },
    { headers: BEARER, path: "//v1/vtuber/ws" },
    { headers: BEARER, path: "/v1/v1/vtuber/ws" },
    { headers: BEARER, path: "/vtuber/ws" },
    { headers: BEARER, path: "/v1/vtuber/ws/" },
    { headers: { ...BEARER, origin: "https://overlay.example" } },
  ];
  for (const way of ways) {
    await using watcher = await watch(server, way);
    await watcher.ping();
    assertEquals(watcher.frames.map(({ type }) => type), ["agent_state", "pong"], JSON.stringify(way));
    assertEquals(watcher.protocol, way.protocols ? "vtuber" : "");
  }
  for (const path of ["/v1/vtuber/state", "/v1/vtuber/events"]) {
    const response = await fetch(`${server.url}${path}?token=${encodeURIComponent(KEY)}`);
    assertEquals(response.status, 200);
    await response.body?.cancel();
  }
  assert(!server.log().includes(KEY) && !server.log().includes(base64url(KEY)), "the key is in the log");
  assert(!server.log().includes(encodeURIComponent(KEY)));
});

Deno.test("a key that is a token is taken as it is, too", async () => {
  const key = "plain-key_0123456789";
  await using server = await startServer({ env: { VTUBER_AUTH_KEY: key } });
  for (const given of [key, base64url(key)]) {
    await using watcher = await watch(server, { protocols: ["vtuber", `bearer.${given}`] });
    assertEquals(watcher.protocol, "vtuber");
  }
  using shaken = await handshake(server, undefined, { "sec-websocket-protocol": `bearer.${key}` });
  assertEquals([shaken.status, shaken.headers.get("sec-websocket-protocol")], [101, null]);
  assert(!server.log().includes(key), "the key is in the log");
});

Deno.test("without the right key there is no handshake, and nothing of what was tried in the log", async () => {
  await using server = await startServer(KEYED);
  const wrong = "another-key-0123456789";
  const tries: [string, Record<string, string>][] = [
    ["/v1/vtuber/ws", {}],
    ["/v1/vtuber/ws", { authorization: `Bearer ${wrong}` }],
    ["/v1/vtuber/ws", { authorization: KEY }],
    [`/v1/vtuber/ws?token=${wrong}`, {}],
    ["/v1/vtuber/ws?token=", {}],
    ["/v1/vtuber/ws", { "sec-websocket-protocol": `vtuber, bearer.${wrong}` }],
    ["/v1/vtuber/ws", { "sec-websocket-protocol": `vtuber, bearer.${base64url(wrong)}` }],
    ["/v1/vtuber/ws", { "sec-websocket-protocol": "vtuber, bearer." }],
    ["/v1/vtuber/ws", { "sec-websocket-protocol": `vtuber, ${base64url(KEY)}` }],
    ["//v1/vtuber/ws", {}],
  ];
  for (const [path, headers] of tries) {
    using shaken = await handshake(server, path, headers);
    assertEquals([shaken.status, shaken.headers.get("www-authenticate")], [401, "Bearer"], path);
  }
  await assertRejects(() => watch(server, { headers: { authorization: `Bearer ${wrong}` } }), Error, "401");
  for (const path of ["events", "state", "permissions"]) {
    const response = await fetch(`${server.url}/v1/vtuber/${path}`);
    assertEquals(response.status, 401, path);
    await response.body?.cancel();
  }
  // Where a header can be sent, the key is not taken from the address: it would be in histories and logs.
  for (const path of ["notifications", "permissions/x"]) {
    const response = await server.post(`/v1/vtuber/${path}?token=${encodeURIComponent(KEY)}`, { text: "a" });
    assertEquals(response.status, 401, path);
    await response.body?.cancel();
  }
  await server.logged("refused");
  assert(!server.log().includes(wrong) && !server.log().includes(base64url(KEY)), "a key is in the log");
  const { watchers } = await get(server, "/v1/vtuber/state", { headers: BEARER });
  assertEquals(watchers, 0);
});

Deno.test("without a key, pages of other sites do not watch, and neither do other names of this machine", async () => {
  await using server = await startServer();
  const { port } = new URL(server.url);
  const tries: [Record<string, string>, number][] = [
    [{ origin: "https://evil.example" }, 403],
    [{ origin: "null" }, 403],
    [{ origin: "http://127.0.0.1.evil.example" }, 403],
    [{ origin: "file://" }, 403],
    [{ host: `evil.example:${port}` }, 403],
    [{ origin: "http://localhost:3000" }, 101],
    [{ origin: "http://127.0.0.1:5173" }, 101],
    [{ origin: "tauri://localhost" }, 101],
    [{}, 101],
  ];
  for (const [headers, status] of tries) {
    using shaken = await handshake(server, undefined, headers);
    assertEquals(shaken.status, status, JSON.stringify(headers));
  }
  for (const path of ["events", "state", "permissions"]) {
    const response = await fetch(`${server.url}/v1/vtuber/${path}`, {
      headers: { origin: "https://evil.example" },
    });
    assertEquals(response.status, 403, path);
    await response.body?.cancel();
  }
  await using listed = await startServer({ env: { VTUBER_ALLOWED_ORIGINS: "https://overlay.example" } });
  using shaken = await handshake(listed, undefined, { origin: "https://overlay.example" });
  assertEquals(shaken.status, 101);
});

Deno.test("a handshake that is none is refused, and harms nobody", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  const tries: [Record<string, string>, number[]][] = [
    [{ upgrade: "h2c" }, [426]],
    [{ connection: "keep-alive" }, [400, 426]],
  ];
  for (const [headers, statuses] of tries) {
    using shaken = await handshake(server, undefined, headers);
    assert(statuses.includes(shaken.status), `${JSON.stringify(headers)}: ${shaken.status}`);
  }
  await watcher.ping();
  assertEquals(await watchers(server), 1);
});

Deno.test("a watcher that does not read holds up nobody, and is disconnected", async () => {
  await using server = await startServer();
  await using healthy = await watch(server, { events: ["agent_state", "say", "notification"] });
  using stalled = await handshake(server);
  await stalled.send({ type: "subscribe", events: ["say", "notification"] });
  const unread = await fetch(`${server.url}/v1/vtuber/events?events=say,notification`);
  assertEquals([stalled.status, await watchers(server)], [101, 3]);

  const response = await server.chat(script({ tokens: 20_000, delayMs: 0.25 }));
  assertEquals(readAnswer(await response.text()).text.length, 80_001);
  await healthy.state("attention");
  assertEquals(healthy.of("say").map(({ text }) => text).join(""), "tok ".repeat(20_000));

  // What a watcher must not miss is not left out for it: it is told to come again.
  const text = "x".repeat(4_000);
  let sent = 0;
  for (let clients = 3; clients > 1; sent++) {
    assert(sent < 20_000, "they are never disconnected");
    ({ clients } = await (await server.post("/v1/vtuber/notifications", { text })).json());
  }
  await healthy.until((frames) => frames.filter(({ type }) => type === "notification").length === sent);
  assertEquals(await watchers(server), 1);
  const resident = await residentMiB(server);
  assert(resident < 400, `${resident} MiB`);
  // Whoever reads on in the end is told why it was disconnected.
  let tail = "";
  const buffer = new Uint8Array(64 * 1024);
  while (!tail.includes("too slow")) {
    const count = await withPatience(stalled.connection.read(buffer), () => tail);
    if (count === null) throw new Error("It ended without a reason.");
    tail = (tail + new TextDecoder().decode(buffer.subarray(0, count))).slice(-200);
  }
  await unread.body!.cancel();
  await (await server.chat(script({ text: "." }))).text();
  await healthy.untilTurnEnds();
});

Deno.test("a watcher that reads hears every word, however fast the agent speaks", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ["agent_state", "say"] });
  for (let turn = 0; turn < 3; turn++) {
    const from = watcher.frames.length;
    await (await server.chat(script({ tokens: 20_000 }))).text();
    await watcher.state("attention", from);
    const said = watcher.frames.slice(from).filter(({ type }) => type === "say").map(({ text }) => text);
    assertEquals(said.join("").length, 80_000, "words are missing from the middle of it");
  }
});

Deno.test("a thousand watchers hear every event of a turn", async () => {
  await using server = await startServer();
  await using stack = new AsyncDisposableStack();
  const all: EventClient[] = [];
  while (all.length < 1_000) {
    const more = await Promise.all(Array.from({ length: 100 }, () => watch(server)));
    for (const watcher of more) stack.use(watcher);
    all.push(...more);
  }
  assertEquals(await watchers(server), 1_000);
  const tool = { id: "t", title: "look", kind: "read" };
  const response = await server.chat(script(
    { text: "[happy] I look." },
    { tool },
    { toolUpdate: { id: "t", status: "completed" } },
    { text: "Done." },
  ));
  assertEquals(readAnswer(await response.text()).finish, "stop");
  const [first, ...others] = await Promise.all(all.map((watcher) => watcher.untilTurnEnds()));
  assertEquals(first!.map(({ type, state }) => state ?? type), [
    "thinking",
    "emotion",
    "tool_status",
    "working",
    "tool_status",
    "thinking",
    "attention",
    "idle",
  ]);
  for (const frames of others) assertEquals(frames, first);
  await Promise.all(all.slice(0, 500).map((watcher) => watcher.close()));
  await poll(() => watchers(server), (count) => count === 500);
});

Deno.test("after a storm of watchers that come and go the count is right, and turns were not disturbed", async () => {
  await using server = await startServer();
  await using steady = await watch(server);
  const turns = Array.from({ length: 5 }, async (_, index) => {
    const init = { headers: { "x-session-id": `talk ${index}` } };
    const response = await server.chat(script({ tokens: 300, delayMs: 2 }), {}, init);
    return readAnswer(await response.text()).text.length;
  });
  const come: (() => Promise<unknown>)[] = [
    async () => await (await watch(server, { events: ["*", "say"] })).close(),
    async () => {
      // Without a word of farewell.
      using shaken = await handshake(server);
      await shaken.send({ type: "subscribe", events: ["say"] });
    },
    async () => {
      const { hostname, port } = new URL(server.url);
      using half = await Deno.connect({ hostname, port: Number(port) });
      await half.write(new TextEncoder().encode("GET /v1/vtuber/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgr"));
    },
    async () => {
      await using _listener = await EventStreamClient.open(server, "events=say");
    },
  ];
  for (let wave = 0; wave < 10; wave++) {
    await Promise.all(Array.from({ length: 20 }, (_, index) => come[index % come.length]!()));
  }
  assertEquals(await Promise.all(turns), new Array(5).fill(1_201));
  await poll(() => watchers(server), (count) => count === 1);
  await steady.ping();
  for (let index = 0; index < 5; index++) await steady.untilTurnEnds(`talk ${index}`);
});

Deno.test("when the server ends, watchers are told so, and hold it up no longer than that", async () => {
  await using server = await startServer({ env: { VTUBER_SHUTDOWN_GRACE_SECS: "0.2" } });
  await using stack = new AsyncDisposableStack();
  const all: EventClient[] = [];
  for (let i = 0; i < 20; i++) all.push(stack.use(await watch(server)));
  await using listener = await EventStreamClient.open(server);
  using stalled = await handshake(server);
  assertEquals(stalled.status, 101);
  const unread = await fetch(`${server.url}/v1/vtuber/events`);
  const response = await server.chat(script({ text: "." }, { hang: true }));
  await all[0]!.state("thinking");
  const started = performance.now();
  server.signal("SIGTERM");
  for (const watcher of all) {
    const { code } = await withPatience(watcher.closed, () => "The socket stayed open.");
    assertEquals(code, 1001);
    assertEquals(watcher.states, ["idle", "thinking", "error"], "a turn that is broken off has failed");
  }
  await listener.closed();
  assertEquals((await withPatience(server.exited, () => "The server did not end.")).code, 0);
  assert(performance.now() - started < 30_000);
  assert(!isAlive(server.pid));
  assertEquals(readAnswer(await response.text()).finish, "error");
  await unread.body!.cancel().catch(() => {});
});

Deno.test("a server that ends at rest closes its sockets at once", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ["*", "say"] });
  server.signal("SIGTERM");
  assertEquals((await withPatience(watcher.closed, () => "The socket stayed open.")).code, 1001);
  assertEquals((await withPatience(server.exited, () => "The server did not end.")).code, 0);
});
