import { assertEquals } from "@std/assert";
import { errorOf } from "../support/harness/app_harness.ts";
import { settled } from "../support/harness/turn_recorder.ts";
import { EVENTS_PATH, ServedApp } from "../support/harness/served_app.ts";
import { WebSocketClient } from "../support/harness/websocket_harness.ts";
import { permissionQuestion } from "../support/harness/events_fixture.ts";

/** The id of the request that a watcher was told of last. */
async function requestId(socket: WebSocketClient): Promise<string> {
  await socket.until("state notification");
  return String(socket.frames.findLast(({ type }) => type === "permission_request")?.request_id);
}

Deno.test("permissions: a permission is given by who answers first; the second is told that it is too late", async () => {
  await using served = ServedApp.start();
  const [one, two] = [
    await served.connect("*"),
    await served.connect("permission_request", "permission_resolved"),
  ];
  one.send({ type: "hello", client: "Mao" });
  await one.sync();
  const { prompt } = await served.startChat("mao");
  prompt.tool({ id: "t1", title: "rm -r x", kind: "execute" });
  const asked = served.askPermission(prompt);
  const id = await requestId(one);
  const request = one.frames.findLast(({ type }) => type === "permission_request")!;
  assertEquals([request.session_id, request.tool, request.options], [
    "mao",
    { tool_call_id: "t1", tool_name: "rm -r x", kind: "execute", detail: "rm -r /tmp/x" },
    [
      { option_id: "yes", name: "Yes", kind: "allow_once" },
      { option_id: "no", name: "No", kind: "reject_once" },
    ],
  ]);
  assertEquals(Math.abs(Number(request.expires_at) - Date.now() / 1000 - 60) < 30, true);
  one.send({ type: "permission_response", request_id: id, option_id: "yes" });
  assertEquals((await asked)?.option?.id, "yes");
  for (const socket of [one, two]) await socket.until(`${id} allowed by Mao`);
  await one.until("state working");
  two.takeSummaries();
  two.send({ type: "permission_response", request_id: id, decision: "reject" });
  const [error] = await two.sync();
  assertEquals(error?.startsWith("error permission_resolved "), true);
});

Deno.test("permissions: two permissions for one tool call are two, and answered in any order", async () => {
  await using served = ServedApp.start();
  const socket = await served.connect("*");
  const { prompt } = await served.startChat();
  const first = served.askPermission(prompt);
  const firstId = await requestId(socket);
  const options = permissionQuestion().options.toReversed();
  const second = served.askPermission(prompt, { options });
  while (socket.frames.filter(({ type }) => type === "permission_request").length < 2) {
    await socket.nextFrame();
  }
  const secondId = await requestId(socket);
  socket.send({ type: "permission_response", request_id: secondId, decision: "allow" });
  assertEquals((await second)?.option?.id, "yes");
  socket.send({ type: "permission_response", request_id: firstId, decision: "deny" });
  assertEquals((await first)?.option?.id, "no");
});

Deno.test("permissions: an answer that the agent does not offer is an error, and the request stays open", async () => {
  await using served = ServedApp.start();
  const socket = await served.connect("*");
  const { prompt } = await served.startChat();
  const asked = served.askPermission(prompt);
  const request_id = await requestId(socket);
  socket.takeSummaries();
  socket.send({ type: "permission_response", request_id, option_id: "maybe" });
  const [error] = await socket.sync();
  assertEquals(error?.startsWith("error invalid_value "), true);
  assertEquals(served.app.hub.permissions.length, 1);
  socket.send({ type: "permission_response", request_id, decision: "reject" });
  assertEquals((await asked)?.outcome, "rejected");
});

Deno.test("permissions: a newcomer is asked what is open, and may answer it", async () => {
  await using served = ServedApp.start();
  await served.connect("*");
  const { prompt } = await served.startChat();
  const asked = served.askPermission(prompt);
  await using late = await WebSocketClient.open(served.url + EVENTS_PATH);
  late.send({ type: "permission_response", request_id: await requestIdOf(late), decision: "allow_always" });
  assertEquals((await asked)?.option?.id, "yes");
});

/** The id of the request that a newcomer is told of. */
async function requestIdOf(socket: WebSocketClient): Promise<string> {
  while (!socket.frames.some(({ type }) => type === "permission_request")) await socket.nextFrame();
  return await requestId(socket);
}

Deno.test("permissions: nobody who answers permissions is there: nobody is asked", async () => {
  await using served = ServedApp.start();
  const socket = await served.connect("agent_state", "notification");
  const { prompt } = await served.startChat();
  assertEquals(await served.askPermission(prompt), undefined);
  socket.send({ type: "subscribe", events: ["permission_request"] });
  await socket.sync();
  await socket.close();
  while (served.app.hub.clientCount > 0) await settled();
  assertEquals(await served.askPermission(prompt), undefined);
});

Deno.test("permissions: permissions are listed and answered by plain requests too", async () => {
  await using served = ServedApp.start();
  const socket = await served.connect("*");
  const { app } = served;
  const list = async () => (await (await app.get("/v1/vtuber/permissions")).json()).permissions;
  assertEquals(await list(), []);
  const { prompt } = await served.startChat();
  const asked = served.askPermission(prompt);
  const id = await requestId(socket);
  const [open] = await list();
  assertEquals([open.request_id, open.session_id, open.type], [id, "mao", undefined]);
  const answer = (id: string, body: unknown) => app.post(`/v1/vtuber/permissions/${id}`, body);
  assertEquals((await errorOf(await answer(id, {}))).status, 400);
  assertEquals((await errorOf(await answer(id, { option_id: "maybe" }))).param, "option_id");
  const response = await answer(id, { decision: "allow", client: "curl" });
  assertEquals([response.status, await response.json()], [200, {
    request_id: id,
    outcome: "allowed",
    option_id: "yes",
    by: "curl",
  }]);
  assertEquals((await asked)?.by, "curl");
  await socket.until(`${id} allowed by curl`);
  const late = await errorOf(await answer(id, { decision: "allow" }));
  assertEquals([late.status, late.code, await list()], [409, "permission_resolved", []]);
  assertEquals((await errorOf(await answer("nope", { decision: "allow" }))).status, 404);
});
