import { assertEquals, assertThrows } from "@std/assert";
import { offeredProtocols, upgrade } from "../../lib/http/websocket.ts";
import { AppError } from "../../lib/core/errors.ts";
import { EventClient, listen } from "../support/harness/event_client.ts";

const request = (headers: HeadersInit) => new Request("http://127.0.0.1:8080/v1/vtuber/ws", { headers });

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

const HANDSHAKE = {
  ...{ upgrade: "websocket", connection: "upgrade" },
  ...{ "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" },
};
const REFUSED: readonly [name: string, init: RequestInit, code: string][] = [
  ["no handshake", {}, "upgrade_required"],
  ["another upgrade", { headers: { ...HANDSHAKE, upgrade: "h2c" } }, "upgrade_required"],
  ["no connection", { headers: { ...HANDSHAKE, connection: "" } }, "upgrade_required"],
  ["HEAD", { headers: HANDSHAKE, method: "HEAD" }, "upgrade_required"],
  ["another version", { headers: { ...HANDSHAKE, "sec-websocket-version": "12" } }, "upgrade_required"],
  ["an empty key", { headers: { ...HANDSHAKE, "sec-websocket-key": "" } }, "invalid_value"],
  ["a short key", { headers: { ...HANDSHAKE, "sec-websocket-key": "YQ==" } }, "invalid_value"],
];
for (const [name, init, code] of REFUSED) {
  Deno.test(`upgrade: refuses ${name}`, () => {
    const request = new Request("http://127.0.0.1/v1/vtuber/ws", init);
    assertEquals(assertThrows(() => upgrade(request, "vtuber"), AppError).code, code);
  });
}

Deno.test("upgrade: refuses a client that has hung up", () => {
  const request = new Request("http://127.0.0.1/", { headers: HANDSHAKE, signal: AbortSignal.abort() });
  assertThrows(() => upgrade(request, "vtuber"), DOMException);
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
