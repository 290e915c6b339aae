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
