import { assertEquals, assertThrows } from "@std/assert";
import { createAccessControl } from "../../lib/http/access.ts";
import { offeredProtocols, upgrade, wantsSocket } from "../../lib/http/websocket.ts";
import { AppError } from "../../lib/core/errors.ts";
import { EventClient, listen } from "../support/harness/event_client.ts";

const SOCKET_URL = "http://127.0.0.1:8080/v1/vtuber/ws";
const request = (headers: HeadersInit, url = SOCKET_URL) => new Request(url, { headers });

const OFFERS: readonly [header: string | undefined, protocols: readonly string[]][] = [
  [undefined, []],
  ["", []],
  ["vtuber", ["vtuber"]],
  ["vtuber, bearer.key", ["vtuber", "bearer.key"]],
  [" vtuber ,,  bearer.a,", ["vtuber", "bearer.a"]],
  [Array.from({ length: 30 }, (_, i) => `p${i}`).join(","), Array.from({ length: 20 }, (_, i) => `p${i}`)],
];
Deno.test("offeredProtocols: splits the header, up to a limit", () => {
  for (const [header, protocols] of OFFERS) {
    const headers: HeadersInit = header === undefined ? {} : { "sec-websocket-protocol": header };
    assertEquals(offeredProtocols(request(headers)), [...protocols], header);
  }
});

Deno.test("wantsSocket: reads the upgrade header in any case", () => {
  assertEquals(
    ["websocket", "WebSocket", "h2c", ""].map((upgrade) => wantsSocket(request({ upgrade }))),
    [true, true, false, false],
  );
  assertEquals(wantsSocket(request({})), false);
});

Deno.test("upgrade: refuses a request that is no handshake", () => {
  const requests: HeadersInit[] = [
    {},
    { upgrade: "h2c" },
    { upgrade: "websocket" },
    { upgrade: "websocket", connection: "upgrade" },
  ];
  for (const headers of requests) {
    assertEquals(assertThrows(() => upgrade(request(headers), "vtuber"), AppError).code, "upgrade_required");
  }
});

/** A server that upgrades every request. */
function sockets() {
  return listen((request) => {
    const { socket, response } = upgrade(request, "vtuber");
    socket.onmessage = ({ data }) => socket.send(data);
    return response;
  });
}

const PROTOCOLS: readonly [protocols: string[], chosen: string][] = [
  [[], ""],
  [["vtuber"], "vtuber"],
  [["bearer.key", "vtuber"], "vtuber"],
  [["vtuber", "bearer.key"], "vtuber"],
];
for (const [protocols, chosen] of PROTOCOLS) {
  Deno.test(`upgrade: chooses ${JSON.stringify(chosen)} of ${JSON.stringify(protocols)}`, async () => {
    await using server = sockets();
    await using socket = await EventClient.open(server.url, { protocols });
    assertEquals(socket.protocol, chosen);
    socket.send({ type: "echo" });
    assertEquals((await socket.until("echo")).type, "echo");
  });
}

const base64Url = (text: string) =>
  new TextEncoder().encode(text).toBase64({ alphabet: "base64url", omitPadding: true });

function check(key: string, headers: HeadersInit, search = "", keyInUrl = true): string {
  const access = createAccessControl({ authKey: key, allowedOrigins: [], insecure: false });
  try {
    access.check(request(headers, SOCKET_URL + search), { address: "127.0.0.1", open: false, keyInUrl });
    return "admitted";
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return error.code;
  }
}

const KEY = "s3cret-key";
/** A key that no header can carry as it is. */
const WIDE = "ключ, 鍵 / 😀";
const offer = (...protocols: string[]) => ({ "sec-websocket-protocol": protocols.join(", ") });

const GOOD: readonly [name: string, key: string, headers: HeadersInit, search?: string][] = [
  ["a bearer token", KEY, { authorization: `Bearer ${KEY}` }],
  ["the query", KEY, {}, `?token=${KEY}`],
  ["the encoded query", WIDE, {}, `?token=${encodeURIComponent(WIDE)}`],
  ["a subprotocol after ours", KEY, offer("vtuber", `bearer.${KEY}`)],
  ["a subprotocol before ours", KEY, offer(`bearer.${KEY}`, "vtuber")],
  ["the only subprotocol", KEY, offer(`bearer.${KEY}`)],
  ["a subprotocol in base64url", KEY, offer("vtuber", `bearer.${base64Url(KEY)}`)],
  [
    "a subprotocol in base64url, for a key that no header can carry",
    WIDE,
    offer(`bearer.${base64Url(WIDE)}`),
  ],
  ["a subprotocol in base64url with padding", "a", offer("vtuber", "bearer.YQ==")],
  ["a subprotocol with dots", "a.b.c", offer("vtuber", "bearer.a.b.c")],
  ["the subprotocol of OpenAI's realtime clients", KEY, offer("realtime", `openai-insecure-api-key.${KEY}`)],
  ["the query, beside a wrong bearer token", KEY, { authorization: "Bearer x" }, `?token=${KEY}`],
  ["the second of two subprotocols", KEY, offer("bearer.x", `bearer.${KEY}`)],
];
for (const [name, key, headers, search] of GOOD) {
  Deno.test(`check with keyInUrl: accepts the key in ${name}`, () => {
    assertEquals(check(key, headers, search), "admitted");
  });
}

const BAD: readonly [name: string, headers: HeadersInit, search?: string][] = [
  ["no key", {}],
  ["our subprotocol alone", offer("vtuber")],
  ["a wrong key in the query", {}, "?token=x"],
  ["an empty key in the query", {}, "?token="],
  ["another parameter of the query", {}, `?key=${KEY}`],
  ["a wrong subprotocol", offer("vtuber", "bearer.x")],
  ["an empty subprotocol", offer("vtuber", "bearer.")],
  ["the key itself as a subprotocol", offer(KEY)],
  ["the start of the key in base64url", offer(`bearer.${base64Url(KEY.slice(0, 6))}`)],
];
for (const [name, headers, search] of BAD) {
  Deno.test(`check with keyInUrl: refuses ${name}`, () => {
    assertEquals(check(KEY, headers, search), "invalid_api_key");
  });
}

Deno.test("check without keyInUrl: takes no key from the query or a subprotocol", () => {
  assertEquals(check(KEY, {}, `?token=${KEY}`, false), "invalid_api_key");
  assertEquals(check(KEY, offer("vtuber", `bearer.${KEY}`), "", false), "invalid_api_key");
  assertEquals(check(KEY, { authorization: `Bearer ${KEY}` }, "", false), "admitted");
});
