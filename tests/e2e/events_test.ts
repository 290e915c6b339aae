/** Events of real turns, over the socket and as server-sent events. */

import { assert, assertEquals } from "@std/assert";
import { type EventClient, EventStreamClient, type Frame, watch } from "../support/harness/event_client.ts";
import { inConversation, replyOf, script, testServer, until } from "../support/harness/server_process.ts";

const ALL = ["*", "say"];
const OPEN_TOOL = { tool: { id: "t", title: "look", kind: "read", status: "in_progress" } };

/** Removes the fields that differ in each run. */
function withoutIds({ ts: _, session_id: __, turn_id: ___, ...rest }: Frame): Record<string, unknown> {
  return rest;
}

function statesOf(frames: readonly Frame[], session: string): string[] {
  return frames.filter(({ type, session_id }) => type === "agent_state" && session_id === session)
    .map(({ state }) => state);
}

/** Resolves once a conversation has this state. */
function stateOf(client: EventClient, session: string, state: string): Promise<Frame> {
  return client.first("agent_state", (frame) => frame.session_id === session && frame.state === state);
}

testServer("events", {}, {
  async "a turn: every frame in order, with one turn id and times in seconds"(server) {
    await using client = await watch(server, { events: ALL });
    const entries = [{ content: "look", priority: "high", status: "in_progress" }];
    const reply = await server.chat(script(
      { thought: "Hm." },
      { text: "[curious] I " },
      { text: "look.\n" },
      { plan: entries },
      { tool: { id: "a", title: "notes.txt", kind: "read", status: "pending" } },
      { toolUpdate: { id: "a", status: "in_progress" } },
      { toolUpdate: { id: "a", status: "completed", rawOutput: { text: "x" } } },
      { tool: { id: "b", title: "npm test", kind: "execute", status: "in_progress" } },
      { toolUpdate: { id: "b", status: "failed" } },
      { tool: { id: "c", title: "example.org", kind: "fetch" } },
      { toolUpdate: { id: "c", status: "completed" } },
      { text: "[happy] Done." },
    ));
    await reply.text();
    const frames = await client.untilTurnEnds();
    const tool = (tool_call_id: string, tool_name: string, kind: string) => (status: string) => ({
      type: "tool_status",
      tool_call_id,
      tool_name,
      kind,
      status,
    });
    const working = (tool_class: string, tool_name: string) => ({
      type: "agent_state",
      state: "working",
      detail: { tool_class, tool_name },
    });
    const thinking = { type: "agent_state", state: "thinking" };
    const [read, run, fetched] = [
      tool("a", "notes.txt", "read"),
      tool("b", "npm test", "execute"),
      tool("c", "example.org", "fetch"),
    ];
    assertEquals(frames.map(withoutIds), [
      thinking,
      { type: "emotion", tag: "curious", intensity: 1, at: 0 },
      { type: "say", text: " I " },
      { type: "say", text: "look.\n" },
      { type: "plan", entries },
      read("pending"),
      working("tool", "notes.txt"),
      read("done"),
      thinking,
      run("running"),
      working("coding", "npm test"),
      run("failed"),
      thinking,
      fetched("pending"),
      working("web", "example.org"),
      fetched("done"),
      thinking,
      { type: "emotion", tag: "happy", intensity: 1, at: " I look.\n".length },
      { type: "say", text: " Done." },
      { type: "agent_state", state: "attention" },
      { type: "agent_state", state: "idle" },
    ]);
    assertEquals(new Set(frames.map(({ turn_id }) => turn_id)).size, 1);
    const session = reply.headers.get("x-session-id");
    assertEquals(new Set(frames.map(({ session_id }) => session_id)), new Set([session]));
    const now = Date.now() / 1000;
    for (const { ts } of client.frames) assert(Number.isInteger(ts) && Math.abs(now - ts) < 60, `${ts}`);
  },

  async "subagents are counted, and recognized by the tool's name or input, not by its title"(server) {
    await using client = await watch(server, { events: ["agent_state"] });
    await replyOf(server.chat(
      script(
        { tool: { id: "a", title: "Find the bug", name: "Task", kind: "think" } },
        { tool: { id: "b", title: "Write", rawInput: { subagent_type: "writer" } } },
        { tool: { id: "c", title: "ls", kind: "execute" } },
        { toolUpdate: { id: "c", status: "completed" } },
        { toolUpdate: { id: "a", status: "completed" } },
        { toolUpdate: { id: "b", status: "completed" } },
        { tool: { id: "d", title: "Task", kind: "read" } },
        { toolUpdate: { id: "d", status: "completed" } },
      ),
      {},
      inConversation("subagents"),
    ));
    await stateOf(client, "subagents", "attention");
    const states = client.frames.filter(({ session_id }) => session_id === "subagents");
    assertEquals(states.map(({ state, detail }) => [state, detail?.subagent_count, detail?.tool_name]), [
      ["thinking", undefined, undefined],
      ["juggling", 1, "Find the bug"],
      ["juggling", 2, "Write"],
      ["juggling", 1, "Write"],
      ["thinking", undefined, undefined],
      ["working", undefined, "Task"],
      ["thinking", undefined, undefined],
      ["attention", undefined, undefined],
    ]);
  },

  async "events name their conversation as x-session-id does, in ASCII"(server) {
    await using client = await watch(server, { events: ["agent_state"] });
    for (const name of ["talk 1", "会話"]) {
      const response = await server.chat(script({ text: "." }), { conversation_id: name });
      await response.text();
      const session = response.headers.get("x-session-id")!;
      assertEquals(decodeURIComponent(session), name);
      await stateOf(client, session, "attention");
    }
  },

  async "server-sent events and GET /v1/vtuber/state show the same as the socket"(server) {
    await using client = await watch(server, { events: ["agent_state", "emotion"] });
    await using same = await EventStreamClient.open(server, "events=agent_state,%20emotion,unknown");
    assertEquals(same.response.headers.get("content-type"), "text/event-stream; charset=utf-8");
    await using all = await EventStreamClient.open(server);
    await using speech = await EventStreamClient.open(server, "events=say");
    await until(() => server.get("/v1/vtuber/state"), ({ watchers }) => watchers === 4);

    const response = await server.chat(
      script(
        { text: "[sad] Hm. " },
        { plan: [{ content: "look", priority: "low", status: "pending" }] },
        { text: "Wait." },
        OPEN_TOOL,
        { hang: true },
      ),
      {},
      inConversation("talk"),
    );
    await until(() => server.get("/v1/vtuber/state"), ({ state }) => state === "working");
    const state = await fetch(`${server.url}/v1/vtuber/state`);
    assertEquals(state.headers.get("cache-control"), "no-store");
    const { ts: _, ...during } = await state.json();
    const ids = { session_id: "talk", turn_id: during.sessions[0].turn_id };
    assertEquals(during, {
      state: "working",
      sessions: [{ ...ids, state: "working", detail: { tool_class: "tool", tool_name: "look" } }],
      tools: [{ ...ids, tool_call_id: "t", tool_name: "look", kind: "read", status: "running" }],
      plan: [{ content: "look", priority: "low", status: "pending" }],
      permissions: [],
      agents: [],
      questions: [],
      emotion: "sad",
      watchers: 4,
      scopes: ["chat", "audio", "embeddings", "events", "permissions", "operator", "live", "admin"],
    });
    client.send({ type: "interrupt", session_id: "talk" });
    await response.text();
    await client.untilTurnEnds("talk");
    for (const stream of [same, all]) {
      await stream.until((frames) => statesOf(frames, "talk").at(-1) === "idle");
    }
    const ofTurn = (frames: readonly Frame[]) => frames.filter(({ session_id }) => session_id === "talk");
    assertEquals(ofTurn(same.frames), ofTurn(client.frames));
    assertEquals(ofTurn(all.frames).slice(0, 6).map(({ type }) => type), [
      "agent_state",
      "emotion",
      "plan",
      "tool_status",
      "agent_state",
      "tool_status",
    ]);
    assertEquals(speech.frames.map(({ text }) => text), [" Hm. ", "Wait."]);
    assertEquals([...same.others, ...all.others, ...speech.others], []);
  },

  async "interrupt cancels the turn of one conversation, or all turns"(server) {
    await using client = await watch(server);
    const cancels = async () =>
      (await server.received()).filter(({ method }) => method === "session/cancel").length;
    const before = await cancels();
    const replies = [];
    for (const name of ["a", "b", "c"]) {
      const response = await server.chat(script({ text: name }, { hang: true }), {}, inConversation(name));
      replies.push(replyOf(response));
    }
    const interrupt = async (fields = {}) =>
      (await client.ask({ type: "interrupt", ...fields }, "interrupted")).turns;
    assertEquals(await interrupt({ session_id: "unknown" }), 0);
    assertEquals(await interrupt({ session_id: "b" }), 1);
    const { text, finish, done } = await replies[1]!;
    assertEquals([text, finish, done], ["b\n", "error", true]);
    assertEquals(await cancels() - before, 1);
    assertEquals(await interrupt(), 2);
    assertEquals((await Promise.all(replies)).map(({ finish }) => finish), ["error", "error", "error"]);
    for (const name of ["a", "b", "c"]) await client.untilTurnEnds(name);
    assertEquals(statesOf(client.frames, "b"), ["thinking", "idle"]);
    assertEquals(await cancels() - before, 3);
    assertEquals(await interrupt(), 0);
  },

  async "a turn fails with an open tool, whether the agent reports an error, exits or is killed"(server) {
    await using client = await watch(server, { events: ALL });
    const endings = {
      error: { error: { code: -32603, message: "no" } },
      killed: { kill: true as const },
      exited: { exit: 0 },
      cancelled: { stop: "cancelled" },
    };
    for (const [name, ending] of Object.entries(endings)) {
      const steps = script({ text: "Half" }, OPEN_TOOL, ending);
      assertEquals((await replyOf(server.chat(steps, {}, inConversation(name)))).finish, "error");
      await stateOf(client, name, "error");
      assertEquals(statesOf(client.frames, name), ["thinking", "working", "error"]);
      const tools = client.of("tool_status").filter(({ session_id }) => session_id === name);
      assertEquals(tools.map(({ status }) => status), ["running", "failed"]);
    }
  },

  async "every stop reason but cancelled ends in attention, also one that ACP does not define"(server) {
    await using client = await watch(server);
    for (const stop of ["max_tokens", "refusal", "max_turn_requests", "something_new"]) {
      await replyOf(server.chat(script({ text: "." }, { stop }), {}, inConversation(stop)));
      await stateOf(client, stop, "attention");
      assertEquals(statesOf(client.frames, stop), ["thinking", "attention"]);
    }
  },

  async "a superseded turn ends before the newer one of its conversation begins"(server) {
    await using client = await watch(server, { events: ["agent_state", "tool_status"] });
    const talk = inConversation("superseded");
    const older = await server.chat(script({ text: "older" }, OPEN_TOOL, { hang: true }), {}, talk);
    await stateOf(client, "superseded", "working");
    const newer = await server.chat(script({ text: "newer" }), {}, talk);
    await Promise.all([older.text(), newer.text()]);
    await stateOf(client, "superseded", "attention");
    const frames = client.frames.filter(({ session_id }) => session_id === "superseded");
    assertEquals(frames.map(({ state, status }) => state ?? status), [
      ...["thinking", "running", "working", "failed", "idle"],
      ...["thinking", "attention"],
    ]);
    assertEquals(new Set(frames.slice(0, 5).map(({ turn_id }) => turn_id)).size, 1);
  },
});
