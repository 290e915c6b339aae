/** AniCompanion's socket client, with the mistakes of the real one, in front of a real server. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { reusableAddress } from "../support/harness/data_dir_fixture.ts";
import {
  inConversation,
  replyOf,
  script,
  type ServerProcess,
  startServer,
  testServer,
  until,
} from "../support/harness/server_process.ts";
import { waitFor } from "../support/harness/turn_recorder.ts";
import { AniCompanion, type AniCompanionOptions, socketUrl } from "../support/skins/anicompanion.ts";

const KEY = "the-secret-key-of-ani";
const OPEN_TOOL = { tool: { id: "t", title: "build", kind: "execute", status: "in_progress" } };
const TOOL_TURN = script(
  { text: "[curious] I look. " },
  { tool: { id: "t", title: "notes.txt", kind: "read", status: "pending" } },
  { toolUpdate: { id: "t", status: "in_progress" } },
  { toolUpdate: { id: "t", status: "completed" } },
  { text: "[happy] Found it." },
);

/** Connects the app and waits until it has its first state. */
async function connect(
  server: ServerProcess,
  options: Partial<AniCompanionOptions> = {},
): Promise<AniCompanion> {
  const app = new AniCompanion({ endpoint: server.url, ...options });
  await app.until(({ acts }) => acts.at(-1) === "stop");
  app.acts.length = 0;
  return app;
}

const watchersOf = async (server: ServerProcess) => (await server.get("/v1/vtuber/state")).watchers;
/** Whether the avatar has moved and rests again. */
const rests = ({ acts }: AniCompanion) => acts.length > 0 && acts.at(-1) === "stop";

Deno.test("anicompanion: finds the channel for every spelling of its address, and gets pongs", async () => {
  await using server = await startServer({ env: { VTUBER_AUTH_KEY: KEY } });
  const endpoints = {
    [server.url]: "//v1/vtuber/ws",
    [`${server.url}/`]: "//v1/vtuber/ws",
    [`${server.url}/v1`]: "/v1/v1/vtuber/ws",
    [`${server.url}/v1/vtuber/ws`]: "/v1/vtuber/ws",
  };
  for (const [endpoint, path] of Object.entries(endpoints)) {
    assertEquals(socketUrl(endpoint).replace(/^wss?:\/\/[^/]*/, ""), path);
    await using app = await connect(server, { endpoint, apiKey: KEY, pingMs: 10 });
    await app.until(({ pings }) => pings.answered >= 3);
    assertEquals(app.connections, { attempted: 1, opened: 1 });
    assertStringIncludes(server.log(), `"path":"${path}"`);
  }
});

Deno.test("anicompanion: with a wrong key it reconnects for ever; the log holds no key and few refusals", async () => {
  await using server = await startServer({ env: { VTUBER_AUTH_KEY: KEY, VTUBER_LOG: "info" } });
  const apiKey = "another-key-0123456789";
  await using app = new AniCompanion({ endpoint: server.url, apiKey, reconnectMs: 5 });
  await app.until(({ connections }) => connections.attempted >= 12);
  assertEquals(app.connections.opened, 0);
  await server.logged("invalid_api_key");
  assert(!server.log().includes(apiKey) && !server.log().includes(KEY));
  assert(server.log().split("invalid_api_key").length <= 3);
});

testServer("anicompanion", {}, {
  async "a turn with a tool: it thinks, gestures, waves and rests with the last expression"(server) {
    await using app = await connect(server);
    await replyOf(server.chat(TOOL_TURN));
    await app.until(rests);
    assertEquals(app.acts, ["think", "curious", "talk_gesture", "think", "happy", "wave", "stop"]);
    assertEquals(app.avatar, { clip: undefined, expression: "happy" });
    assertEquals(app.rows, ["notes.txt pending", "notes.txt done"]);
  },

  async "a turn with subagents, plans, permissions and unknown tags: it rests, without nameless rows"(
    server,
  ) {
    await using app = await connect(server);
    const toolCall = { toolCallId: "rm", title: "rm", kind: "delete" };
    const options = [{ optionId: "n", name: "No", kind: "reject_once" }];
    await replyOf(server.chat(script(
      { tool: { id: "t", title: "Find it", name: "Task" } },
      { plan: [{ content: "look", priority: "low", status: "pending" }] },
      { permission: { toolCall, options } },
      { toolUpdate: { id: "rm", status: "failed" } },
      { toolUpdate: { id: "t", status: "completed" } },
      { text: "[jealous] [Smirk] Done." },
    )));
    await app.until(rests);
    assertEquals(app.avatar, { clip: undefined, expression: "smirk" });
    assert(!app.rows.some((row) => row.startsWith(" ")));
  },

  async "a turn that fails or whose agent dies: it is surprised and rests"(server) {
    for (const ending of [{ error: { code: -32603, message: "no" } }, { kill: true as const }]) {
      await using app = await connect(server);
      await replyOf(server.chat(script({ text: "[proud] Look: " }, OPEN_TOOL, ending)));
      await app.until(rests);
      assertEquals(app.avatar, { clip: undefined, expression: "surprised" });
      assertEquals(app.rows, ["build running", "build failed"]);
    }
  },

  async "a turn that is hung up: it rests without a wave"(server) {
    await using app = await connect(server);
    const response = await server.chat(script({ text: "[proud] Look: " }, OPEN_TOOL, { hang: true }));
    await app.until(({ avatar }) => avatar.clip === "talk_gesture");
    await response.body!.cancel();
    await app.until(({ avatar }) => avatar.clip === undefined);
    assertEquals(app.avatar.expression, "proud");
    assert(!app.acts.includes("wave"));
  },

  async "two turns at once: it is busy until the last one ends"(server) {
    await using app = await connect(server);
    const long = await server.chat(script(OPEN_TOOL, { hang: true }), {}, inConversation("long"));
    await app.until(({ avatar }) => avatar.clip === "talk_gesture");
    await replyOf(server.chat(script({ text: "Quick." })));
    await app.until(({ acts }) => acts.includes("wave"));
    await app.until(({ acts }) => acts.slice(acts.indexOf("wave")).includes("talk_gesture"));
    assertEquals(app.avatar.clip, "talk_gesture");
    await long.body!.cancel();
    await app.until(({ avatar }) => avatar.clip === undefined);
  },

  async "a notification makes it chat, which is answered with what was meant, by no agent"(server) {
    await using app = await connect(server, { keepsListening: true });
    const prompts = (await server.prompts()).length;
    const notify = async (text: string) =>
      await (await server.post("/v1/vtuber/notifications", { text, urgency: "high" })).json();
    await until(async () => await watchersOf(server) === 1);
    assertEquals(await notify("[happy] The build is done."), { said: "The build is done.", clients: 1 });
    await app.until(({ replies }) => replies.length === 1);
    assertEquals(app.replies, ["[happy] The build is done.\n"]);
    assertEquals(app.avatar, { clip: undefined, expression: "happy" });
    await notify("[sad] The build is broken.");
    await app.until(({ replies }) => replies.length === 2);
    assertEquals(app.avatar.expression, "sad");
    assertEquals((await server.prompts()).length, prompts);
    // The conversation continues with the agent, which gets the earlier replies.
    await app.sendMessage(TOOL_TURN);
    assertStringIncludes(app.replies[2]!, "Found it.");
    assertStringIncludes((await server.prompts()).at(-1)!.text, "The build is broken.");
    await app.until(({ acts }) => acts.at(-1) === "stop");
    assertEquals(app.avatar, { clip: undefined, expression: "happy" });
  },

  async "after a chat of its own it ignores events, and the tags of its reply move it"(server) {
    await until(async () => await watchersOf(server) === 0);
    await using app = await connect(server, { pingMs: 10 });
    await (await server.post("/v1/vtuber/notifications", { text: "[shy] Hello?" })).body?.cancel();
    await app.until(({ replies }) => replies.length === 1);
    await app.sendMessage(TOOL_TURN);
    assertEquals([app.isListening, app.avatar], [false, { clip: undefined, expression: "happy" }]);
    assertEquals(app.rows, []);
    const { answered } = app.pings;
    await app.until(({ pings }) => pings.answered > answered + 2);
    assertEquals(await watchersOf(server), 1);
  },
});

Deno.test("anicompanion: a server that ends inside a turn and starts again: the gesture ends", async () => {
  const env = { GATEWAY_LISTEN: reusableAddress() };
  await using app = new AniCompanion({
    endpoint: `http://${env.GATEWAY_LISTEN}`,
    reconnectMs: 10,
    pingMs: 10,
  });
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    await using server = await startServer({ env: { ...env, VTUBER_SHUTDOWN_GRACE_SECS: "0" } });
    const before = app.acts.length;
    const response = await server.chat(script({ text: "[shy] Hm." }, OPEN_TOOL, { hang: true }));
    await app.until(({ avatar, acts }) => avatar.clip === "talk_gesture" && acts.length > before);
    server.signal(signal);
    await response.text().catch(() => {});
    await waitFor(server.exited, "the end of the server");
    const { attempted } = app.connections;
    await app.until(({ connections }) => connections.attempted > attempted + 2);
    await using restarted = await startServer({ env });
    await app.until(({ avatar }) => avatar.clip === undefined);
    await until(async () => await watchersOf(restarted) === 1);
    assertEquals(app.avatar.expression, signal === "SIGKILL" ? "shy" : "surprised");
  }
});
