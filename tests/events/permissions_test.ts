import { assertEquals } from "@std/assert";
import { errorOf } from "../support/harness/app_harness.ts";
import { settled } from "../support/harness/turn_recorder.ts";
import { Served, WATCH } from "../support/harness/served_app.ts";
import { Socket } from "../support/harness/websocket_harness.ts";
import { question } from "../support/harness/events_fixture.ts";

/** The id of the request that a watcher was told of last. */
async function requestId(socket: Socket): Promise<string> {
  await socket.until("state notification");
  return String(socket.frames.findLast(({ type }) => type === "permission_request")?.request_id);
}

Deno.test("permissions: a permission is given by who answers first; the second is told that it is too late", async () => {
  await using served = Served.start();
  const [one, two] = [
    await served.watch("*"),
    await served.watch("permission_request", "permission_resolved"),
  ];
  one.send({ type: "hello", client: "Mao" });
  await one.answered();
  const { prompt } = await served.chat("mao");
  prompt.tool({ id: "t1", title: "rm -r x", kind: "execute" });
  const asked = served.ask(prompt);
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
  two.news();
  two.send({ type: "permission_response", request_id: id, decision: "reject" });
  const [error] = await two.answered();
  assertEquals(error?.startsWith("error permission_resolved "), true);
});

Deno.test("permissions: two permissions for one tool call are two, and answered in any order", async () => {
  await using served = Served.start();
  const socket = await served.watch("*");
  const { prompt } = await served.chat();
  const first = served.ask(prompt);
  const firstId = await requestId(socket);
  const options = question().options.toReversed();
  const second = served.ask(prompt, { options });
  while (socket.frames.filter(({ type }) => type === "permission_request").length < 2) await socket.more();
  const secondId = await requestId(socket);
  socket.send({ type: "permission_response", request_id: secondId, decision: "allow" });
  assertEquals((await second)?.option?.id, "yes");
  socket.send({ type: "permission_response", request_id: firstId, decision: "deny" });
  assertEquals((await first)?.option?.id, "no");
});

Deno.test("permissions: an answer that the agent does not offer is an error, and the request stays open", async () => {
  await using served = Served.start();
  const socket = await served.watch("*");
  const { prompt } = await served.chat();
  const asked = served.ask(prompt);
  const request_id = await requestId(socket);
  socket.news();
  socket.send({ type: "permission_response", request_id, option_id: "maybe" });
  const [error] = await socket.answered();
  assertEquals(error?.startsWith("error invalid_value "), true);
  assertEquals(served.app.hub.permissions.length, 1);
  socket.send({ type: "permission_response", request_id, decision: "reject" });
  assertEquals((await asked)?.outcome, "rejected");
});

Deno.test("permissions: a newcomer is asked what is open, and may answer it", async () => {
  await using served = Served.start();
  await served.watch("*");
  const { prompt } = await served.chat();
  const asked = served.ask(prompt);
  await using late = await Socket.open(served.url + WATCH);
  late.send({ type: "permission_response", request_id: await requestIdOf(late), decision: "allow_always" });
  assertEquals((await asked)?.option?.id, "yes");
});

/** The id of the request that a newcomer is told of. */
async function requestIdOf(socket: Socket): Promise<string> {
  while (!socket.frames.some(({ type }) => type === "permission_request")) await socket.more();
  return await requestId(socket);
}

Deno.test("permissions: nobody who answers permissions is there: nobody is asked", async () => {
  await using served = Served.start();
  const socket = await served.watch("agent_state", "notification");
  const { prompt } = await served.chat();
  assertEquals(await served.ask(prompt), undefined);
  socket.send({ type: "subscribe", events: ["permission_request"] });
  await socket.answered();
  await socket.close();
  while (served.app.hub.clientCount > 0) await settled();
  assertEquals(await served.ask(prompt), undefined);
});

Deno.test("permissions: permissions are listed and answered by plain requests too", async () => {
  await using served = Served.start();
  const socket = await served.watch("*");
  const { app } = served;
  const list = async () => (await (await app.get("/v1/vtuber/permissions")).json()).permissions;
  assertEquals(await list(), []);
  const { prompt } = await served.chat();
  const asked = served.ask(prompt);
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
