/** Permission requests of a real agent, answered by real clients. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Step } from "../support/agents/agent_steps.ts";
import { agentPids, killProcess } from "../support/harness/data_dir_fixture.ts";
import { type EventClient, EventStreamClient, type Frame, watch } from "../support/harness/event_client.ts";
import {
  inConversation,
  readAnswer,
  replyOf,
  script,
  type ServerProcess,
  startServer,
  testServer,
} from "../support/harness/server_process.ts";

type Json = Record<string, unknown>;

/** Options in an order that means nothing. */
const OPTIONS = [
  { optionId: "a", name: "Always", kind: "allow_always" },
  { optionId: "n", name: "No", kind: "reject_once" },
  { optionId: "y", name: "Yes", kind: "allow_once" },
  { optionId: "x", name: "Never", kind: "reject_always" },
];
const EVENTS = ["agent_state", "permission_request", "permission_resolved"];

/** The agent asks for permission to run a command. */
function ask(command = "rm -r build", options: Json[] = OPTIONS, toolCallId = "t"): Step {
  const toolCall = { toolCallId, title: command, kind: "execute", rawInput: { command } };
  return { permission: { toolCall, options } };
}

/** Reads the outcomes that the agent received, from its reply. */
function outcomesOf({ text }: { text: string }): Json[] {
  return [...text.matchAll(/permission:(\{.*?\})/g)].map((match) => JSON.parse(match[1]!));
}

function respond(client: EventClient, { request_id }: Frame, answer: Json): void {
  client.send({ type: "permission_response", request_id, ...answer });
}

/** The next permission request from this frame on. */
function requestFrom(client: EventClient, from = 0): Promise<Frame> {
  return client.first("permission_request", () => true, from);
}

Deno.test("VTUBER_PERMISSIONS decides by the kind of the tool, and the answer by the kind of the option", async () => {
  const read: Step = {
    permission: {
      toolCall: { toolCallId: "r", title: "r", kind: "read", locations: [{ path: "a.txt" }] },
      options: OPTIONS,
    },
  };
  const expected = { ask: ["y", "n"], allow: ["y", "y"], deny: ["n", "n"] };
  for (const [policy, optionIds] of Object.entries(expected)) {
    await using server = await startServer({ env: { VTUBER_PERMISSIONS: policy } });
    // These clients watch, but no person can answer there.
    await using client = await watch(server);
    await using _stream = await EventStreamClient.open(server);
    await using unsubscribed = await watch(server, { events: ["permission_request"] });
    await unsubscribed.subscribe(["agent_state"]);
    const outcomes = outcomesOf(await replyOf(server.chat(script(read, ask()))));
    assertEquals(outcomes.map(({ optionId }) => optionId), optionIds, policy);
    await client.ping();
    assertEquals([client.of("permission_request"), client.of("permission_resolved")], [[], []]);
    assertEquals(client.states.includes("notification"), false);
  }
});

testServer("permissions", { env: { VTUBER_PERMISSIONS: "ask" } }, {
  async "a request shows everything, and is answered with an option or a decision"(server) {
    await using client = await watch(server, { events: [...EVENTS, "tool_status"] });
    await client.ask({ type: "hello", client: "overlay" }, "hello");
    const cases: [Json, string, string][] = [
      [{ option_id: "y" }, "y", "allowed"],
      [{ option_id: "x" }, "x", "rejected"],
      [{ decision: "allow" }, "y", "allowed"],
      [{ decision: "reject" }, "n", "rejected"],
      [{ decision: "deny" }, "n", "rejected"],
      [{ decision: "reject_always" }, "x", "rejected"],
      [{ decision: "allow_always" }, "a", "allowed"],
    ];
    for (const [answer, option_id, outcome] of cases) {
      const from = client.frames.length;
      const before = Math.floor(Date.now() / 1000);
      const response = await server.chat(script(ask()), {}, inConversation(JSON.stringify(answer)));
      const request = await requestFrom(client, from);
      const { request_id, session_id, turn_id, tool, options, expires_at } = request;
      assertEquals(session_id, response.headers.get("x-session-id"));
      const command = "rm -r build";
      assertEquals(tool, { tool_call_id: "t", tool_name: command, kind: "execute", detail: command });
      assertEquals(options, OPTIONS.map(({ optionId, name, kind }) => ({ option_id: optionId, name, kind })));
      const now = Date.now() / 1000;
      assert(Number.isInteger(expires_at) && expires_at >= before + 59 && expires_at <= now + 61);
      respond(client, request, answer);
      const { type: _, ts: __, ...resolved } = await client.first("permission_resolved", () => true, from);
      assertEquals(resolved, { session_id, turn_id, request_id, outcome, option_id, by: "overlay" });
      assertEquals(outcomesOf(await replyOf(response)), [{ outcome: "selected", optionId: option_id }]);
      await client.state("attention", from);
      // The request is the first message about the tool, which then continues.
      const frames = client.frames.slice(from).filter((frame) => frame.turn_id === turn_id);
      assertEquals(frames.slice(0, 7).map(({ type, state, status }) => state ?? status ?? type), [
        ...["thinking", "pending", "working", "permission_request", "notification"],
        ...["permission_resolved", "working"],
      ]);
    }
  },

  async "requests of two conversations are listed side by side, and answered over HTTP"(server) {
    // A client that listens to server-sent events counts as somebody who can answer.
    await using stream = await EventStreamClient.open(server, "events=permission_request");
    const replies = [];
    for (const name of ["one", "two"]) {
      replies.push(await server.chat(script(ask(name)), {}, inConversation(name)));
    }
    const requests = await stream.until((frames) => frames.length === 2 && [...frames]);
    const { permissions } = await server.get("/v1/vtuber/permissions");
    assertEquals(permissions, requests.map(({ type: _, ts: __, ...request }) => request));
    const answer = async (name: string, body: Json) => {
      const { request_id } = requests.find(({ session_id }) => session_id === name)!;
      return await (await server.post(`/v1/vtuber/permissions/${request_id}`, body)).json();
    };
    const { outcome, option_id, by } = await answer("two", { option_id: "n" });
    assertEquals([outcome, option_id, by], ["rejected", "n", "http"]);
    assertEquals((await answer("one", { decision: "allow", client: "phone" })).by, "phone");
    const outcomes = await Promise.all(replies.map(replyOf));
    assertEquals(outcomes.flatMap(outcomesOf).map(({ optionId }) => optionId), ["y", "n"]);
  },

  async "a client that comes later gets an open request and can answer it, also if the first has left"(
    server,
  ) {
    const early = await watch(server, { events: EVENTS });
    const reply = replyOf(server.chat(script(ask()), {}, inConversation("late")));
    const { request_id } = await requestFrom(early);
    await early.close();
    await using late = await watch(server);
    // Only the events that the client chose by name reach it before its subscription.
    await late.subscribe(EVENTS);
    const request = await requestFrom(late);
    assertEquals(request.request_id, request_id);
    respond(late, request, { option_id: "y" });
    assertEquals(outcomesOf(await reply).map(({ optionId }) => optionId), ["y"]);
  },

  async "a decision for always holds in its conversation, and in no other"(server) {
    await using client = await watch(server, { events: EVENTS });
    const turn = async (session: string, command: string, answer?: Json) => {
      const from = client.frames.length;
      const step = ask(command, OPTIONS, crypto.randomUUID());
      const response = await server.chat(script(step), {}, inConversation(session));
      if (answer) respond(client, await requestFrom(client, from), answer);
      const [outcome] = outcomesOf(await replyOf(response));
      await client.ping();
      const requests = client.frames.slice(from).filter(({ type }) => type === "permission_request");
      return [requests.length, outcome?.optionId];
    };
    assertEquals(await turn("talk", "make", { decision: "allow_always" }), [1, "a"]);
    assertEquals(await turn("talk", "make"), [0, "y"]);
    assertEquals(await turn("talk", "make install", { decision: "reject_always" }), [1, "x"]);
    assertEquals(await turn("talk", "make install"), [0, "n"]);
    assertEquals(await turn("talk", "make"), [0, "y"]);
    assertEquals(await turn("talk", "make all", { decision: "allow" }), [1, "y"]);
    assertEquals(await turn("talk", "make all", { decision: "reject" }), [1, "n"]);
    assertEquals(await turn("other", "make", { decision: "reject" }), [1, "n"]);
  },

  async "a tool call that is announced as more dangerous than it is asked for needs a person"(server) {
    await using client = await watch(server, { events: EVENTS });
    const announced: Step = { tool: { id: "t", title: "rm -rf ~", kind: "execute" } };
    const asked: Step = {
      permission: { toolCall: { toolCallId: "t", title: "Think", kind: "think" }, options: OPTIONS },
    };
    const reply = replyOf(server.chat(script(announced, asked)));
    const request = await requestFrom(client);
    assertEquals([request.tool.kind, request.tool.detail], ["execute", "rm -rf ~"]);
    respond(client, request, { decision: "reject" });
    assertEquals(outcomesOf(await reply).map(({ optionId }) => optionId), ["n"]);
  },

  async "a command of 5,000 characters is allowed only by a client that has shown all of it"(server) {
    await using client = await watch(server, { events: EVENTS });
    const command = `make ${"x".repeat(5_000)} && rm -rf ~`;
    const reply = replyOf(server.chat(script(ask(command))));
    const request = await requestFrom(client);
    const { request_id, tool, options } = request;
    assertStringIncludes(tool.detail, "characters left out]");
    assert(tool.detail.endsWith(" && rm -rf ~"));
    assertEquals(options.map(({ option_id }: Json) => option_id), ["n", "x"]);
    const blind = await client.ask({ type: "permission_response", request_id, decision: "allow" }, "error");
    assertEquals(blind.code, "invalid_value");
    const whole = await server.get(`/v1/vtuber/permissions/${request_id}`);
    assertEquals([whole.tool.detail, whole.options.length], [command, OPTIONS.length]);
    respond(client, request, { decision: "allow", detail_chars: whole.tool.detail_chars });
    assertEquals(outcomesOf(await reply).map(({ optionId }) => optionId), ["y"]);
  },

  async "a rejected tool that the agent does not mention again has failed"(server) {
    await using client = await watch(server, { events: [...EVENTS, "tool_status"] });
    const reply = replyOf(server.chat(script(ask(), { text: " Then not." })));
    const from = client.frames.indexOf(await requestFrom(client));
    respond(client, client.frames[from]!, { decision: "reject" });
    await reply;
    await client.state("attention", from);
    assertEquals(client.of("tool_status").map(({ status }) => status), ["pending", "failed"]);
  },

  async "a cancelled turn withdraws its request, and the agent first learns of the cancel"(server) {
    await using client = await watch(server, { events: EVENTS });
    const ways: Record<string, (request: AbortController) => unknown> = {
      "hang-up": (request) => request.abort(),
      interrupt: () => client.send({ type: "interrupt" }),
      superseded: () => replyOf(server.chat(script({ text: "newer" }), {}, inConversation("superseded"))),
    };
    for (const [name, cancel] of Object.entries(ways)) {
      const request = new AbortController();
      const from = client.frames.length;
      const messagesBefore = (await server.received()).length;
      const init = { ...inConversation(name), signal: request.signal };
      const response = await server.chat(script(ask(name), { text: "never" }), {}, init);
      const reply = response.text().catch(() => "hung up");
      const { request_id } = await requestFrom(client, from);
      await cancel(request);
      const resolved = await client.first("permission_resolved", () => true, from);
      assertEquals([resolved.request_id, resolved.outcome, resolved.by], [request_id, "cancelled", "turn"]);
      await client.state("idle", from);
      const isAnswer = ({ id, method }: Json) => `${id}`.startsWith("fake-request-") && !method;
      const all = await server.receivedUntil((all) => all.slice(messagesBefore).some(isAnswer));
      const messages = all.slice(messagesBefore);
      assertEquals(messages.find(isAnswer)!.result, { outcome: { outcome: "cancelled" } }, name);
      const cancelled = messages.findIndex(({ method }) => method === "session/cancel");
      assert(cancelled >= 0 && cancelled < messages.findIndex(isAnswer), name);
      assert(!(await reply).includes("never"));
      const late = await client.ask({ type: "permission_response", request_id, decision: "allow" }, "error");
      assertEquals(late.code, "permission_resolved");
    }
  },

  async "an agent that dies withdraws its request and fails its turn"(server) {
    await using client = await watch(server, { events: EVENTS });
    const reply = replyOf(server.chat(script(ask())));
    await requestFrom(client);
    const [pid] = await agentPids(server, 1);
    await killProcess(pid!);
    const { outcome, by } = await client.first("permission_resolved");
    assertEquals([outcome, by], ["cancelled", "turn"]);
    const { finish, done } = await reply;
    assertEquals([finish, done], ["error", true]);
    await client.state("error");
  },
});

Deno.test("VTUBER_PERMISSION_TIMEOUT_SECS: a request without an answer expires as a rejection, and the turn goes on", async () => {
  await using server = await startServer({
    env: { VTUBER_PERMISSIONS: "ask", VTUBER_PERMISSION_TIMEOUT_SECS: "1" },
  });
  await using client = await watch(server, { events: EVENTS });
  const reply = await replyOf(server.chat(script(ask(), { text: " and on" })));
  assertEquals([outcomesOf(reply), reply.finish], [[{ outcome: "selected", optionId: "n" }], "stop"]);
  assertStringIncludes(reply.text, "and on");
  const { request_id, outcome, by, option_id } = await client.first("permission_resolved");
  assertEquals([outcome, by, option_id], ["expired", "timeout", undefined]);
  const late = await client.ask({ type: "permission_response", request_id, decision: "allow" }, "error");
  assertEquals(late.code, "permission_resolved");
  await client.state("attention");
});

Deno.test("an open request: the stream has heartbeats, and the agent is not timed out", async () => {
  const timeoutSecs = 1;
  const heartbeatSecs = 0.05;
  await using server: ServerProcess = await startServer({
    env: {
      VTUBER_PERMISSIONS: "ask",
      VTUBER_HEARTBEAT_SECS: `${heartbeatSecs}`,
      VTUBER_REPLY_TIMEOUT_SECS: `${timeoutSecs}`,
    },
  });
  await using client = await watch(server, { events: EVENTS });
  const response = await server.chat(script(ask(), { text: " and on" }));
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let stream = "";
  // Twice as long as the agent may be silent.
  while (stream.split('"delta":{}').length <= 2 * timeoutSecs / heartbeatSecs) {
    const { done, value } = await reader.read();
    assert(!done, stream);
    stream += value;
  }
  respond(client, await requestFrom(client), { decision: "allow" });
  for (let next = await reader.read(); !next.done; next = await reader.read()) stream += next.value;
  const reply = readAnswer(stream);
  assertEquals([outcomesOf(reply).length, reply.text.includes("and on"), reply.finish], [1, true, "stop"]);

  // After the answer, the agent's silence counts again.
  const from = client.frames.length;
  const silent = replyOf(server.chat(script(ask("ls"), { hang: true })));
  respond(client, await requestFrom(client, from), { decision: "allow" });
  assertEquals((await silent).finish, "error");
});
