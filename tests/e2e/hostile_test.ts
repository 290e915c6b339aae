/** A hostile agent and a hostile client, against the real program: it answers `/health` at once, in bounded memory. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { handshake, watch } from "../support/harness/event_client.ts";
import { assertHealthyDuring } from "../support/harness/health_monitor.ts";
import { residentMiB } from "../support/harness/inspector.ts";
import {
  inConversation,
  replyOf,
  script,
  type ServerProcess,
  startServer,
  until,
} from "../support/harness/server_process.ts";

/** Most memory of a server at any time, in MiB: about 80 at rest, and what the collector leaves lying about. */
const MAX_PEAK_MIB = 600;
/** Longest text of a turn, in characters. */
const MAX_TURN_CHARS = 8 * 1024 * 1024;
const MAX_LOG_CHARS = 500_000;

/** Declares a test of a server that stays healthy and small, and serves a turn afterwards. */
function testHostile(
  name: string,
  work: (server: ServerProcess) => Promise<void>,
  env: Record<string, string> = {},
): void {
  Deno.test(`hostile: ${name}`, async () => {
    await using server = await startServer({ env: { VTUBER_LOG: "info", ...env } });
    // The agent is started, and code is compiled, that of the schema worker too.
    await assertServes(server);
    await (await askFor(server, "{}", { type: "object" })).body?.cancel();
    await assertHealthyDuring(server, () => work(server));
    await assertServes(server);
    const peak = residentMiB(server.pid, "most") ?? 0;
    assert(peak < MAX_PEAK_MIB, `${Math.round(peak)} MiB of memory`);
  });
}

/** Asks for JSON that fits a schema; the agent answers with this text. */
function askFor(server: ServerProcess, text: string, schema: unknown): Promise<Response> {
  return server.chat(script({ text }), {
    stream: false,
    response_format: { type: "json_schema", json_schema: { name: "a", schema } },
  });
}

async function assertServes(server: ServerProcess): Promise<void> {
  assertEquals((await replyOf(server.chat(script({ text: "Fine." })))).text, "Fine.\n");
}

testHostile("an agent's line of 40 MB is skipped, and other conversations do not notice", async (server) => {
  const other = await server.chat(
    script({ text: "One, " }, { sleepMs: 500 }, { text: "two." }),
    {},
    inConversation("other"),
  );
  const { text, finish } = await replyOf(server.chat(script({ big: 40_000_000 }, { text: "Still here." })));
  assertEquals([text, finish], ["Still here.\n", "stop"]);
  assertEquals((await replyOf(other)).text, "One, two.\n");
  await server.logged('"level":"warn"');
  assertStringIncludes(server.log(), "longer than");
});

testHostile("an agent's lines of ten million and of 150,000 values", async (server) => {
  const steps = [{ planValues: 10_000_000 }, { planValues: 150_000 }, { text: "Still here." }];
  const { text } = await replyOf(server.chat(script(...steps)));
  assertEquals(text, "Still here.\n");
});

testHostile("an agent's text of millions of emotions in one line", async (server) => {
  await using client = await watch(server, { events: ["*", "say"] });
  const response = await server.chat(script({ big: 8_000_000, of: "[happy] \n[" }), { stream: false });
  assertEquals((await response.json()).choices[0].finish_reason, "stop");
  await client.untilTurnEnds();
});

testHostile("an agent's flood of a whole reply is cut", async (server) => {
  const flood = script({ tokens: 600_000, text: "x".repeat(100) });
  const response = await server.chat(flood, { stream: false });
  const { choices: [{ message, finish_reason }] } = await response.json();
  assertEquals([response.status, finish_reason], [200, "length"]);
  // The reply ends with a line break.
  assert(message.content.length <= MAX_TURN_CHARS + 1, `${message.content.length} characters`);
});

testHostile("150 tools with titles of 10 MB", async (server) => {
  await using client = await watch(server, { events: ["*"] });
  const { text } = await replyOf(
    server.chat(script({ tools: 150, titleChars: 10_000_000 }, { text: "Done." })),
  );
  assertEquals(text, "Done.\n");
  await client.untilTurnEnds();
  const longest = Math.max(...client.frames.map((frame) => JSON.stringify(frame).length));
  assert(longest < 100_000, `a frame of ${longest} characters`);
});

testHostile(
  "150 permission requests of one turn are refused but for ten; another turn still asks",
  async (server) => {
    await using client = await watch(server, { events: ["permission_request"] });
    const flood = await server.chat(script({ permissions: 150 }), {}, inConversation("flood"));
    await client.until((frames) => frames.filter(({ type }) => type === "permission_request").length >= 10);
    const toolCall = { toolCallId: "one", title: "rm one", kind: "delete" };
    const options = [{ optionId: "yes", name: "Yes", kind: "allow_once" }];
    const other = replyOf(
      server.chat(script({ permission: { toolCall, options } }), {}, inConversation("other")),
    );
    const { request_id } = await client.first(
      "permission_request",
      ({ tool }) => tool.tool_name === "rm one",
    );
    client.send({ type: "permission_response", request_id, decision: "allow" });
    assertStringIncludes((await other).text, '"optionId":"yes"');
    assertEquals(client.of("permission_request").length, 11);
    for (const { request_id } of client.of("permission_request")) {
      client.send({ type: "permission_response", request_id, decision: "allow" });
    }
    const outcomes = /\{.*\}/.exec((await replyOf(flood)).text)?.[0] ?? "{}";
    assertEquals(JSON.parse(outcomes), { yes: 10, no: 140 });
  },
);

testHostile("20,000 lines on an agent's stderr do not fill the log", async (server) => {
  await replyOf(server.chat(script({ stderrLines: 20_000 }, { text: "Done." })));
  assert(server.log().length < MAX_LOG_CHARS, `${server.log().length} characters`);
}, { VTUBER_LOG: "debug" });

testHostile("WebSocket handshakes whose clients reset the connection are not counted", async (server) => {
  for (let round = 0; round < 20; round++) {
    const sockets = await Promise.all(Array.from({ length: 50 }, () => handshake(server)));
    // With unread frames, a close resets the connection.
    for (const socket of sockets) socket[Symbol.dispose]();
  }
  await until(async () => (await server.get("/v1/vtuber/state")).watchers === 0);
  await using client = await watch(server);
  await client.ping();
});

/** Nested `oneOf`s, each with the next one twice: 2 to the power of 22 ways. */
function nestedSchema(): unknown {
  const names = Array.from({ length: 22 }, (_, index) => `s${index}`);
  const refTo = (name: string | undefined) =>
    name === undefined ? { type: "string" } : { $ref: `#/$defs/${name}` };
  const $defs = Object.fromEntries(names.map((name, index) => {
    const next = refTo(names[index + 1]);
    return [name, { oneOf: [next, next] }];
  }));
  return { $defs, type: "object", properties: { a: { $ref: "#/$defs/s0" } } };
}

const SCHEMAS: Readonly<Record<string, unknown>> = {
  "a pattern that takes exponential time": {
    type: "object",
    properties: { a: { type: "string", pattern: "^(a+)+$" } },
  },
  "22 nested oneOf": nestedSchema(),
};
for (const [what, schema] of Object.entries(SCHEMAS)) {
  testHostile(`a JSON schema with ${what}`, async (server) => {
    const response = await askFor(server, JSON.stringify({ a: `${"a".repeat(40)}!` }), schema);
    await response.body?.cancel();
    assert(response.status < 500 && response.status !== 200, `${response.status}`);
  });
}

const BODIES: Readonly<Record<string, () => unknown>> = {
  "18 MB of 600,000 unknown keys": () => ({
    messages: [{ role: "user", content: script({ text: "Fine." }) }],
    ...Object.fromEntries(Array.from({ length: 600_000 }, (_, index) => [`unknown key ${index}`, 12345678])),
  }),
  "400,000 parts": () => ({
    messages: [{ role: "user", content: Array(400_000).fill({ type: "text", text: "part of it" }) }],
  }),
};
for (const [what, body] of Object.entries(BODIES)) {
  testHostile(`a body with ${what}`, async (server) => {
    const response = await server.post("/v1/chat/completions", body());
    await response.body?.cancel();
    assert([200, 400, 413].includes(response.status), `${response.status}`);
  });
}

testHostile("20 bodies of 19 MiB at once", async (server) => {
  const size = 19 * 1024 * 1024;
  const { hostname, port } = new URL(server.url);
  const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n` +
    `content-length: ${size + 1}\r\n\r\n`;
  const piece = new TextEncoder().encode(" ".repeat(1024 * 1024));
  using stack = new DisposableStack();
  await Promise.all(Array.from({ length: 20 }, async () => {
    const connection = stack.use(await Deno.connect({ hostname, port: Number(port) }));
    const send = async (bytes: Uint8Array) => {
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    };
    // The server may refuse a body before it has all of it.
    const sending = (async () => {
      await send(new TextEncoder().encode(head));
      for (let sent = 0; sent < size; sent += piece.length) await send(piece);
    })().catch(() => {});
    const answered = connection.read(new Uint8Array(1024)).catch(() => null);
    await Promise.race([sending, answered]);
  }));
});
