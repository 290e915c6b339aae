import { assertEquals, assertThrows } from "@std/assert";
import { createAccessControl } from "../../lib/http/access.ts";
import { offeredProtocols, upgrade, wantsSocket } from "../../lib/http/websocket.ts";
import { AppError } from "../../lib/core/errors.ts";
import { EventClient, listen } from "../support/harness/event_client.ts";

const URL_HERE = "http://127.0.0.1:8080/v1/vtuber/ws";
const request = (headers: HeadersInit, url = URL_HERE) => new Request(url, { headers });

const OFFERS: readonly [header: string | undefined, protocols: readonly string[]][] = [
  [undefined, []],
  ["", []],
  ["vtuber", ["vtuber"]],
  ["vtuber, bearer.key", ["vtuber", "bearer.key"]],
  [" vtuber ,,  bearer.a,", ["vtuber", "bearer.a"]],
  [Array.from({ length: 30 }, (_, i) => `p${i}`).join(","), Array.from({ length: 20 }, (_, i) => `p${i}`)],
];
for (const [header, protocols] of OFFERS) {
  Deno.test(`offeredProtocols: ${JSON.stringify(header)?.slice(0, 40)}`, () => {
    assertEquals(
      offeredProtocols(request(header === undefined ? {} : { "sec-websocket-protocol": header })),
      [
        ...protocols,
      ],
    );
  });
}

Deno.test("wantsSocket: by the header, in any case", () => {
  assertEquals(
    ["websocket", "WebSocket", "h2c", ""].map((upgrade) => wantsSocket(request({ upgrade }))),
    [true, true, false, false],
  );
  assertEquals(wantsSocket(request({})), false);
});

const NO_HANDSHAKES: readonly Record<string, string>[] = [
  {},
  { upgrade: "h2c" },
  { upgrade: "websocket" },
  { upgrade: "websocket", connection: "upgrade" },
];
for (const headers of NO_HANDSHAKES) {
  Deno.test(`upgrade: ${JSON.stringify(headers)} is no handshake`, () => {
    assertEquals(assertThrows(() => upgrade(request(headers), "vtuber"), AppError).code, "upgrade_required");
  });
}

/** A server that makes a socket of every request. */
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
  Deno.test(`upgrade: of ${JSON.stringify(protocols)} ${JSON.stringify(chosen)} is chosen`, async () => {
    await using server = sockets();
    await using socket = await EventClient.open(server.url, { protocols });
    assertEquals(socket.protocol, chosen);
    socket.send({ type: "echo" });
    assertEquals((await socket.until("echo")).type, "echo");
  });
}

const base64Url = (text: string) =>
  new TextEncoder().encode(text).toBase64({ alphabet: "base64url", omitPadding: true });

function verdict(key: string, headers: HeadersInit, search = "", keyInUrl = true): string {
  const guard = createAccessControl({ authKey: key, allowedOrigins: [], insecure: false });
  try {
    guard.check(request(headers, URL_HERE + search), { address: "127.0.0.1", open: false, keyInUrl });
    return "admitted";
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return error.code;
  }
}

const KEY = "s3cret-key";
/** What no header can carry as it is. */
const WIDE = "ключ, 鍵 / 😀";
const offer = (...protocols: string[]) => ({ "sec-websocket-protocol": protocols.join(", ") });

const KEYS: readonly [name: string, key: string, headers: HeadersInit, search: string, verdict: string][] = [
  ["a bearer", KEY, { authorization: `Bearer ${KEY}` }, "", "admitted"],
  ["in the address", KEY, {}, `?token=${KEY}`, "admitted"],
  ["in the address, encoded", WIDE, {}, `?token=${encodeURIComponent(WIDE)}`, "admitted"],
  ["as a subprotocol beside ours", KEY, offer("vtuber", `bearer.${KEY}`), "", "admitted"],
  ["as a subprotocol before ours", KEY, offer(`bearer.${KEY}`, "vtuber"), "", "admitted"],
  ["as a subprotocol alone", KEY, offer(`bearer.${KEY}`), "", "admitted"],
  ["as a subprotocol in base64url", KEY, offer("vtuber", `bearer.${base64Url(KEY)}`), "", "admitted"],
  ["one that only base64url can carry", WIDE, offer("vtuber", `bearer.${base64Url(WIDE)}`), "", "admitted"],
  ["in base64url with padding", "a", offer("vtuber", "bearer.YQ=="), "", "admitted"],
  ["one with dots", "a.b.c", offer("vtuber", "bearer.a.b.c"), "", "admitted"],
  [
    "as OpenAI's realtime clients do",
    KEY,
    offer("realtime", `openai-insecure-api-key.${KEY}`),
    "",
    "admitted",
  ],
  ["a wrong bearer and the right address", KEY, { authorization: "Bearer x" }, `?token=${KEY}`, "admitted"],
  ["the right one of two subprotocols", KEY, offer("bearer.x", `bearer.${KEY}`), "", "admitted"],
  ["none", KEY, {}, "", "invalid_api_key"],
  ["none, but ours is offered", KEY, offer("vtuber"), "", "invalid_api_key"],
  ["a wrong one in the address", KEY, {}, "?token=x", "invalid_api_key"],
  ["an empty one in the address", KEY, {}, "?token=", "invalid_api_key"],
  ["by another name in the address", KEY, {}, `?key=${KEY}`, "invalid_api_key"],
  ["a wrong subprotocol", KEY, offer("vtuber", "bearer.x"), "", "invalid_api_key"],
  ["an empty subprotocol", KEY, offer("vtuber", "bearer."), "", "invalid_api_key"],
  ["the key itself as a subprotocol", KEY, offer(KEY), "", "invalid_api_key"],
  ["the start of it in base64url", KEY, offer(`bearer.${base64Url(KEY.slice(0, 6))}`), "", "invalid_api_key"],
];
for (const [name, key, headers, search, expected] of KEYS) {
  Deno.test(`guard of a socket: the key ${name}: ${expected}`, () => {
    assertEquals(verdict(key, headers, search), expected);
  });
}

Deno.test("guard: where a header can be sent, no key is taken from the address or a subprotocol", () => {
  assertEquals(verdict(KEY, {}, `?token=${KEY}`, false), "invalid_api_key");
  assertEquals(verdict(KEY, offer("vtuber", `bearer.${KEY}`), "", false), "invalid_api_key");
  assertEquals(verdict(KEY, { authorization: `Bearer ${KEY}` }, "", false), "admitted");
});
