import { assertEquals } from "@std/assert";
import { errorOf } from "../support/harness/app_harness.ts";
import { EventClient } from "../support/harness/event_client.ts";
import { permissionQuestion } from "../support/harness/events_fixture.ts";
import { EVENTS_PATH, ServedApp } from "../support/harness/served_app.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

/** Waits until the client has so many permission requests, and returns the newest. */
function newestRequest(client: EventClient, count = 1) {
  return client.until(() => {
    const requests = client.of("permission_request");
    return requests.length >= count && requests.at(-1);
  });
}

Deno.test("permissions: the first answer counts, and a later one is an error", async () => {
  await using served = ServedApp.start();
  const one = await served.connect("*");
  const two = await served.connect("permission_request", "permission_resolved");
  one.send({ type: "hello", client: "Mao" });
  await one.sync();
  const { prompt } = await served.startChat("mao");
  prompt.tool({ id: "t1", title: "rm -r x", kind: "execute" });
  const asked = served.askPermission(prompt);
  const request = await newestRequest(one);
  assertEquals([request.session_id, request.tool, request.options], [
    "mao",
    { tool_call_id: "t1", tool_name: "rm -r x", kind: "execute", detail: "rm -r /tmp/x" },
    [
      { option_id: "yes", name: "Yes", kind: "allow_once" },
      { option_id: "no", name: "No", kind: "reject_once" },
    ],
  ]);
  assertEquals(Math.abs(request.expires_at - Date.now() / 1000 - 60) < 30, true);
  const { request_id } = request;
  one.send({ type: "permission_response", request_id, option_id: "yes" });
  assertEquals((await asked)?.option?.id, "yes");
  for (const client of [one, two]) await client.until(`${request_id} allowed by Mao`);
  await one.until("state working");
  two.takeSummaries();
  two.send({ type: "permission_response", request_id, decision: "reject" });
  const [error] = await two.sync();
  assertEquals(error?.startsWith("error permission_resolved "), true);
});

Deno.test("permissions: two requests for one tool call are answered in any order", async () => {
  await using served = ServedApp.start();
  const client = await served.connect("*");
  const { prompt } = await served.startChat();
  const first = served.askPermission(prompt);
  const firstId = (await newestRequest(client)).request_id;
  const second = served.askPermission(prompt, { options: permissionQuestion().options.toReversed() });
  const secondId = (await newestRequest(client, 2)).request_id;
  client.send({ type: "permission_response", request_id: secondId, decision: "allow" });
  assertEquals((await second)?.option?.id, "yes");
  client.send({ type: "permission_response", request_id: firstId, decision: "deny" });
  assertEquals((await first)?.option?.id, "no");
});

Deno.test("permissions: an option that the agent does not offer is an error, and the request stays open", async () => {
  await using served = ServedApp.start();
  const client = await served.connect("*");
  const { prompt } = await served.startChat();
  const asked = served.askPermission(prompt);
  const { request_id } = await newestRequest(client);
  await client.until("state notification");
  client.takeSummaries();
  client.send({ type: "permission_response", request_id, option_id: "maybe" });
  const [error] = await client.sync();
  assertEquals(error?.startsWith("error invalid_value "), true);
  assertEquals(served.app.hub.permissions.length, 1);
  client.send({ type: "permission_response", request_id, decision: "reject" });
  assertEquals((await asked)?.outcome, "rejected");
});

Deno.test("permissions: a new client gets the open request and can answer it", async () => {
  await using served = ServedApp.start();
  await served.connect("*");
  const { prompt } = await served.startChat();
  const asked = served.askPermission(prompt);
  await using late = await EventClient.open(served.url + EVENTS_PATH);
  const { request_id } = await newestRequest(late);
  late.send({ type: "permission_response", request_id, decision: "allow_always" });
  assertEquals((await asked)?.option?.id, "yes");
});

Deno.test("permissions: nothing is asked without a client that has chosen permission requests", async () => {
  await using served = ServedApp.start();
  const client = await served.connect("agent_state", "notification");
  const { prompt } = await served.startChat();
  assertEquals(await served.askPermission(prompt), undefined);
  client.send({ type: "subscribe", events: ["permission_request"] });
  await client.sync();
  await client.close();
  while (served.app.hub.clientCount > 0) await nextTask();
  assertEquals(await served.askPermission(prompt), undefined);
});

Deno.test("permissions: are listed and answered over HTTP", async () => {
  await using served = ServedApp.start();
  const client = await served.connect("*");
  const { app } = served;
  const list = async () => (await (await app.get("/v1/vtuber/permissions")).json()).permissions;
  assertEquals(await list(), []);
  const { prompt } = await served.startChat();
  const asked = served.askPermission(prompt);
  const { request_id: id } = await newestRequest(client);
  const [open] = await list();
  assertEquals([open.request_id, open.session_id, open.type], [id, "mao", undefined]);
  const answer = (id: string, body: unknown) => app.post(`/v1/vtuber/permissions/${id}`, body);
  assertEquals((await errorOf(await answer(id, {}))).status, 400);
  assertEquals((await errorOf(await answer(id, { option_id: "maybe" }))).param, "option_id");
  const response = await answer(id, { decision: "allow", client: "curl" });
  const body = { request_id: id, outcome: "allowed", option_id: "yes", by: "curl" };
  assertEquals([response.status, await response.json()], [200, body]);
  assertEquals((await asked)?.by, "curl");
  await client.until(`${id} allowed by curl`);
  const late = await errorOf(await answer(id, { decision: "allow" }));
  assertEquals([late.status, late.code, await list()], [409, "permission_resolved", []]);
  assertEquals((await errorOf(await answer("nope", { decision: "allow" }))).status, 404);
});
