/** A hostile agent and a hostile client, against the real program: it answers `/health` at once, in bounded memory. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { handshake, watch } from "../support/harness/event_client.ts";
import { HealthMonitor } from "../support/harness/health_monitor.ts";
import { cpuMicros, residentMiB } from "../support/harness/inspector.ts";
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
    // The agent is started, and code is compiled.
    await assertServes(server);
    const health = new HealthMonitor(server.url, () => {
      const micros = cpuMicros(server.pid);
      return micros === undefined ? undefined : micros / 1000;
    });
    try {
      await work(server);
    } finally {
      await health.stop();
    }
    assertEquals(health.takeFaults(), []);
    await assertServes(server);
    const peak = residentMiB(server.pid, "most") ?? 0;
    assert(peak < MAX_PEAK_MIB, `${Math.round(peak)} MiB of memory`);
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
