import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { AniCompanion, socketUrl } from "../support/skins/anicompanion.ts";
import { lastingAddress } from "../support/harness/data_dir_fixture.ts";
import { script, startServer } from "../support/harness/server_process.ts";
import { get, withPatience, poll } from "../support/harness/event_client.ts";

const KEY = "the-secret-key-of-ani";
const TOOL_TURN = script(
  { text: "[curious] I look. " },
  { tool: { id: "t", title: "notes.txt", kind: "read", status: "pending" } },
  { toolUpdate: { id: "t", status: "in_progress" } },
  { toolUpdate: { id: "t", status: "completed" } },
  { text: "[happy] Found it." },
);

Deno.test("it finds the channel, whichever way its address was typed, and is answered its pings", async () => {
  await using server = await startServer({ env: { VTUBER_AUTH_KEY: KEY } });
  const path = (endpoint: string) => socketUrl(endpoint).replace(/^wss?:\/\/[^/]*/, "");
  const endpoints = {
    [server.url]: "//v1/vtuber/ws",
    [`${server.url}/`]: "//v1/vtuber/ws",
    [`${server.url}/v1`]: "/v1/v1/vtuber/ws",
    [`${server.url}/v1/vtuber/ws`]: "/v1/vtuber/ws",
  };
  for (const [endpoint, asked] of Object.entries(endpoints)) {
    assertEquals(path(endpoint), asked);
    await using app = new AniCompanion({ endpoint, apiKey: KEY, pingMs: 10 });
    await app.until(({ acts, pings }) => acts.length > 0 && pings.answered >= 3);
    assertEquals([app.acts, app.tries], [["stop"], { begun: 1, succeeded: 1 }]);
    assertStringIncludes(server.log(), `"path":"${asked}"`);
  }
});

Deno.test("with a wrong key it comes back every second, and no log holds the key", async () => {
  await using server = await startServer({ env: { VTUBER_AUTH_KEY: KEY, VTUBER_LOG: "info" } });
  const apiKey = "another-key-0123456789";
  await using app = new AniCompanion({ endpoint: server.url, apiKey, reconnectMs: 5 });
  await app.until(({ tries }) => tries.begun >= 50);
  assertEquals(app.tries.succeeded, 0);
  await server.logged("invalid_api_key");
  assert(!server.log().includes(apiKey) && !server.log().includes(KEY));
  assert(server.log().split("invalid_api_key").length < 10, "the same refusal is not logged again and again");
});

Deno.test("a turn with a tool: it thinks, gestures, waves and comes to rest, with the last expression", async () => {
  await using server = await startServer();
  await using app = new AniCompanion({ endpoint: server.url });
  await app.until(({ acts }) => acts.length === 1);
  await (await server.chat(TOOL_TURN)).text();
  await app.until(({ acts }) => acts.length > 1 && acts.at(-1) === "stop");
  assertEquals(app.acts, [
    "stop",
    "think",
    "curious",
    "talk_gesture",
    "think",
    "happy",
    "wave",
    "stop",
  ]);
  assertEquals(app.avatar, { clip: undefined, expression: "happy" });
  assertEquals(app.rows, ["notes.txt pending", "notes.txt done"], "a row for its start and one for its end");
});

Deno.test("turns with sub-agents, plans, permissions and whatever it does not know leave it at rest", async () => {
  await using server = await startServer();
  await using app = new AniCompanion({ endpoint: server.url });
  await app.until(({ acts }) => acts.length === 1);
  const toolCall = { toolCallId: "rm", title: "rm", kind: "delete" };
  const options = [{ optionId: "n", name: "No", kind: "reject_once" }];
  await (await server.chat(script(
    { tool: { id: "t", title: "Find it", name: "Task" } },
    { plan: [{ content: "look", priority: "low", status: "pending" }] },
    { permission: { toolCall, options } },
    { toolUpdate: { id: "rm", status: "failed" } },
    { toolUpdate: { id: "t", status: "completed" } },
    { text: "[jealous] [Smirk] Done." },
  ))).text();
  await app.until(({ acts }) => acts.length > 1 && acts.at(-1) === "stop");
  assertEquals(app.avatar, { clip: undefined, expression: "smirk" });
  assert(!app.rows.some((row) => row.startsWith(" ")), "no row without a name");
});

Deno.test("a turn that fails, that dies or that is hung up: surprised or not, it comes to rest", async () => {
  await using server = await startServer();
  const open = { tool: { id: "t", title: "build", kind: "execute", status: "in_progress" } };
  const endings = [
    { error: { code: -32603, message: "no" } },
    { kill: true as const },
  ];
  for (const ending of endings) {
    await using app = new AniCompanion({ endpoint: server.url });
    await app.until(({ acts }) => acts.length === 1);
    await (await server.chat(script({ text: "[proud] Look: " }, open, ending))).text();
    await app.until(({ acts }) => acts.length > 1 && acts.at(-1) === "stop");
    assertEquals(app.avatar, { clip: undefined, expression: "surprised" });
    assertEquals(app.rows, ["build running", "build failed"]);
  }
  await using app = new AniCompanion({ endpoint: server.url });
  await app.until(({ acts }) => acts.length === 1);
  const response = await server.chat(script({ text: "[proud] Look: " }, open, { hang: true }));
  await app.until(({ avatar }) => avatar.clip === "talk_gesture");
  await response.body!.cancel();
  await app.until(({ avatar }) => avatar.clip === undefined);
  assertEquals(app.avatar.expression, "proud");
  assert(!app.acts.includes("wave"));
});

Deno.test("two turns at once: it is busy until the last one ends", async () => {
  await using server = await startServer();
  await using app = new AniCompanion({ endpoint: server.url });
  const open = { tool: { id: "t", title: "build", kind: "execute", status: "in_progress" } };
  const long = await server.chat(script(open, { hang: true }), {}, { headers: { "x-session-id": "long" } });
  await app.until(({ avatar }) => avatar.clip === "talk_gesture");
  await (await server.chat(script({ text: "Quick." }))).text();
  await app.until(({ acts }) => acts.includes("wave"));
  await app.until(({ acts }) => acts.slice(acts.indexOf("wave")).includes("talk_gesture"));
  assertEquals(app.avatar.clip, "talk_gesture");
  await long.body!.cancel();
  await app.until(({ avatar }) => avatar.clip === undefined);
});

Deno.test("a server that goes in the middle of a turn, and comes back: it gestures no longer", async () => {
  const address = lastingAddress();
  const env = { GATEWAY_LISTEN: address };
  const open = { tool: { id: "t", title: "build", kind: "execute", status: "in_progress" } };
  await using app = new AniCompanion({ endpoint: `http://${address}`, reconnectMs: 10, pingMs: 10 });
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    await using server = await startServer({ env: { ...env, VTUBER_SHUTDOWN_GRACE_SECS: "0" } });
    const before = app.acts.length;
    const response = await server.chat(script({ text: "[shy] Hm." }, open, { hang: true }));
    await app.until(({ avatar, acts }) => avatar.clip === "talk_gesture" && acts.length > before);
    server.signal(signal);
    await response.text().catch(() => {});
    await withPatience(server.exited, () => "The server did not end.");
    const { begun } = app.tries;
    await app.until(({ tries }) => tries.begun > begun + 2);
    await using again = await startServer({ env });
    await app.until(({ avatar }) => avatar.clip === undefined);
    await poll(() => get(again, "/v1/vtuber/state"), ({ watchers }) => watchers === 1);
    assertEquals(app.avatar.expression, signal === "SIGKILL" ? "shy" : "surprised");
  }
});

Deno.test("a notification makes it ask, and it is answered what was meant, by no agent", async () => {
  await using server = await startServer();
  await using app = new AniCompanion({ endpoint: server.url, mended: true });
  await poll(() => get(server, "/v1/vtuber/state"), ({ watchers }) => watchers === 1);
  await app.until(({ acts }) => acts.length === 1);
  const post = (text: string) => server.post("/v1/vtuber/notifications", { text, urgency: "high" });
  assertEquals(await (await post("[happy] The build is done.")).json(), {
    said: "The build is done.",
    clients: 1,
  });
  await app.until(({ replies }) => replies.length === 1);
  assertEquals(app.replies, ["[happy] The build is done.\n"]);
  assertEquals(app.avatar, { clip: undefined, expression: "happy" });
  await (await post("[sad] The build is broken.")).body!.cancel();
  await app.until(({ replies }) => replies.length === 2);
  assertEquals(app.avatar.expression, "sad");
  const methods = async () => (await server.received()).map(({ method }) => method);
  assert(!(await methods()).includes("session/prompt"), "no agent was asked");
  // The conversation goes on with the agent, which is told what was said before.
  await app.sendMessage(TOOL_TURN);
  assertStringIncludes(app.replies[2]!, "Found it.");
  const prompt = JSON.stringify((await server.received()).find(({ method }) => method === "session/prompt"));
  assertStringIncludes(prompt, "The build is broken.");
  await app.until(({ acts }) => acts.at(-1) === "stop");
  assertEquals(app.avatar, { clip: undefined, expression: "happy" });
});

Deno.test("after a chat of its own it listens no more, and its tags are what moves it", async () => {
  await using server = await startServer();
  await using app = new AniCompanion({ endpoint: server.url, pingMs: 10 });
  await app.until(({ acts }) => acts.length === 1);
  await server.post("/v1/vtuber/notifications", { text: "[shy] Hello?" }).then((response) => response.text());
  await app.until(({ replies }) => replies.length === 1);
  await app.sendMessage(TOOL_TURN);
  assertEquals([app.listening, app.avatar], [false, { clip: undefined, expression: "happy" }]);
  assertEquals(app.rows, []);
  const { answered } = app.pings;
  await app.until(({ pings }) => pings.answered > answered + 2);
  assertEquals((await get(server, "/v1/vtuber/state")).watchers, 1, "its socket stays open and answers");
});
