import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { readAnswer, script, type Server, startServer } from "../support/harness/server_process.ts";
import { type Frame, get, EventStreamClient, poll, watch } from "../support/harness/event_client.ts";

const ALL = ["*", "say"];

/** A frame without what differs from run to run. */
function bare({ ts: _, session_id: __, turn_id: ___, ...rest }: Frame): Record<string, unknown> {
  return rest;
}

function states(frames: readonly Frame[]): string[] {
  return frames.filter(({ type }) => type === "agent_state").map(({ state }) => state);
}

/** The answer to a streamed chat request, and the conversation's name as its header tells it. */
async function say(server: Server, content: string, init: RequestInit = {}) {
  const response = await server.chat(content, {}, init);
  const session = response.headers.get("x-session-id")!;
  return { session, answer: readAnswer(await response.text()) };
}

const named = (name: string): RequestInit => ({ headers: { "x-session-id": name } });

Deno.test("a turn is told from its start to its rest, in order", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ALL });
  const entries = [{ content: "look", priority: "high", status: "in_progress" }];
  const { session } = await say(
    server,
    script(
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
    ),
  );
  const frames = await watcher.untilTurnEnds(session);
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
  assertEquals(frames.map(bare), [
    thinking,
    { type: "emotion", tag: "curious", intensity: 1 },
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
    { type: "emotion", tag: "happy", intensity: 1 },
    { type: "say", text: " Done." },
    { type: "agent_state", state: "attention" },
    { type: "agent_state", state: "idle" },
  ]);
  assertEquals(new Set(frames.map(({ turn_id }) => turn_id)).size, 1);
  const now = Date.now() / 1000;
  for (const { ts } of watcher.frames) {
    assert(Number.isInteger(ts) && Math.abs(now - ts) < 60, `${ts} are not seconds`);
  }
});

Deno.test("sub-agents are juggled, and counted", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ["agent_state"] });
  await say(
    server,
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
  );
  const frames = await watcher.untilTurnEnds();
  assertEquals(frames.map(({ state, detail }) => [state, detail?.subagent_count, detail?.tool_name]), [
    ["thinking", undefined, undefined],
    ["juggling", 1, "Find the bug"],
    ["juggling", 2, "Write"],
    ["juggling", 1, "Write"],
    ["thinking", undefined, undefined],
    ["working", undefined, "Task"],
    ["thinking", undefined, undefined],
    ["attention", undefined, undefined],
    ["idle", undefined, undefined],
  ]);
});

Deno.test("events name the conversation as x-session-id does, and each turn by one id", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ALL });
  const first = await say(server, script({ text: "one" }), named("talk 1"));
  assertEquals(first.session, "talk 1");
  await say(server, script({ text: "two" }), named("talk 1"));
  const nameless = await say(server, script({ text: "three" }));
  const body = await server.chat(script({ text: "four" }), { conversation_id: "会話" });
  const encoded = body.headers.get("x-session-id")!;
  await body.text();
  await watcher.untilTurnEnds(encoded);
  const turns = new Map<string, { session: string; said: string }>();
  for (const { turn_id, session_id, type, text } of watcher.frames) {
    if (turn_id === undefined) continue;
    const known = turns.get(turn_id) ?? { session: session_id, said: "" };
    assertEquals(known.session, session_id);
    turns.set(turn_id, { ...known, said: known.said + (type === "say" ? text : "") });
  }
  assertEquals([...turns.values()], [
    { session: "talk 1", said: "one" },
    { session: "talk 1", said: "two" },
    { session: nameless.session, said: "three" },
    { session: encoded, said: "four" },
  ]);
  assertEquals(decodeURIComponent(encoded), "会話", "a header holds ASCII only");
});

Deno.test("who comes in the middle of a turn is told what runs and what is asked", async () => {
  await using server = await startServer({ env: { VTUBER_PERMISSIONS: "ask" } });
  await using early = await watch(server, { events: ["permission_request", "permission_resolved"] });
  const ask = {
    toolCall: { toolCallId: "rm", title: "rm -r build", kind: "delete" },
    options: [{ optionId: "y", name: "Yes", kind: "allow_once" }],
  };
  const running = say(server, script({ plan: [] }, { permission: ask }, { text: "." }), named("talk"));
  const request = await early.first("permission_request");
  await using late = await watch(server);
  await late.ping();
  assertEquals(late.frames.slice(0, -1).map(bare), [
    { type: "agent_state", state: "notification", detail: { tool_name: "rm -r build" } },
    bare(request),
  ]);
  assertEquals(late.frames[1]!.session_id, "talk");
  assertEquals(late.frames[1]!.turn_id, request.turn_id);
  await using listener = await EventStreamClient.open(server, "events=permission_request");
  assertEquals((await listener.until(([first]) => first)).request_id, request.request_id);

  await using other = await watch(server, { events: ["emotion"] });
  await other.ping();
  const before = other.frames.length;
  await other.subscribe(["permission_request"]);
  await other.ping();
  assertEquals(other.frames.slice(before).map(({ type }) => type), [
    "subscribed",
    "permission_request",
    "pong",
  ], "what is open and new to it comes with the subscription");

  const { state, sessions, tools, permissions, watchers } = await get(server, "/v1/vtuber/state");
  assertEquals([state, sessions.length, sessions[0].session_id], ["notification", 1, "talk"]);
  assertEquals(tools.map(({ tool_name }: Frame) => tool_name), ["rm -r build"]);
  assertEquals(permissions.map(({ request_id }: Frame) => request_id), [request.request_id]);
  assertEquals(watchers, 4);
  early.send({ type: "permission_response", request_id: request.request_id, decision: "allow" });
  await running;
  await using after = await watch(server);
  await after.ping();
  assertEquals(after.of("permission_request"), []);
});

Deno.test("a watcher hears what it subscribed to, and `say` only by name", async () => {
  await using server = await startServer();
  await using byDefault = await watch(server);
  await using everything = await watch(server, { events: ["*"] });
  await using emotions = await watch(server);
  assertEquals(await emotions.subscribe(["emotion", "no_such_event", "emotion"]), ["emotion"]);
  await using speech = await watch(server, { events: ["say"] });
  await using nothing = await watch(server, { events: [] });
  await using changed = await watch(server, { events: ["agent_state", "say"] });
  await changed.subscribe(["tool_status"]);
  await using leaver = await watch(server, { events: ALL });

  const reply = "[happy] Hi!\n```ts\nlet a = `[sad]`;\n```\nIt is `[angry]` [link](http://x.y).";
  const response = await server.chat(
    script(
      { text: reply },
      { tool: { id: "t", title: "t", kind: "read" } },
      { toolUpdate: { id: "t", status: "completed" } },
      { hang: true },
    ),
    {},
    named("talk"),
  );
  await leaver.first("tool_status", ({ status }) => status === "done");
  await leaver.close();
  byDefault.send({ type: "interrupt" });
  await response.text();
  await byDefault.untilTurnEnds();

  const heard = (frames: readonly Frame[]) =>
    new Set(frames.filter(({ session_id }) => session_id).map(({ type }) => type));
  for (const one of [byDefault, everything]) {
    await one.ping();
    assertEquals(heard(one.frames), new Set(["agent_state", "emotion", "tool_status"]));
  }
  for (const one of [emotions, speech, nothing, changed]) await one.ping();
  assertEquals(heard(emotions.frames), new Set(["emotion"]));
  assertEquals(emotions.of("emotion").map(({ tag }) => tag), ["happy"], "code and links hold no emotion");
  assertEquals(heard(speech.frames), new Set(["say"]));
  const said = speech.of("say").map(({ text }) => text).join("");
  assertStringIncludes(said, "Hi!");
  assert(!said.includes("[happy]") && !said.includes("let a"), said);
  assertEquals(heard(nothing.frames), new Set());
  assertEquals(heard(changed.frames), new Set(["tool_status"]));
});

Deno.test("a tag that a tool follows is an emotion and not said, whatever text comes then", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ALL });
  await say(
    server,
    script(
      { text: "I look. [happy]" },
      { tool: { id: "t", title: "t", kind: "read", status: "completed" } },
      { text: "(It was easy.)" },
    ),
  );
  const frames = await watcher.untilTurnEnds();
  assertEquals(frames.filter(({ type }) => type === "emotion").map(({ tag }) => tag), ["happy"]);
  assertEquals(
    frames.filter(({ type }) => type === "say").map(({ text }) => text).join(""),
    "I look. (It was easy.)",
  );
});

Deno.test("server-sent events and the state tell the same as the socket", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ["agent_state", "emotion"] });
  await using listener = await EventStreamClient.open(server, "events=agent_state,%20emotion");
  assertEquals(listener.response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  await using everything = await EventStreamClient.open(server);
  await using spoken = await EventStreamClient.open(server, "events=say");
  const now = await get(server, "/v1/vtuber/state");
  assertEquals([now.state, now.sessions, now.emotion, now.watchers], ["idle", [], null, 4]);

  const response = await server.chat(
    script(
      { text: "[sad] Hm. " },
      { plan: [{ content: "look", priority: "low", status: "pending" }] },
      { tool: { id: "t", title: "look", kind: "read", status: "in_progress" } },
      { text: "Wait." },
      { hang: true },
    ),
    {},
    named("talk"),
  );
  await spoken.until((frames) => frames.map(({ text }) => text).join("").includes("Wait."));
  const during = await get(server, "/v1/vtuber/state");
  const about = { session_id: "talk", turn_id: during.sessions[0].turn_id };
  assertEquals(during, {
    ts: during.ts,
    state: "working",
    sessions: [{ ...about, state: "working", detail: { tool_class: "tool", tool_name: "look" } }],
    tools: [{ ...about, tool_call_id: "t", tool_name: "look", kind: "read", status: "running" }],
    plan: [{ content: "look", priority: "low", status: "pending" }],
    permissions: [],
    emotion: "sad",
    watchers: 4,
  });
  watcher.send({ type: "interrupt", session_id: "talk" });
  await response.text();
  await watcher.untilTurnEnds();
  const idle = ({ state }: Frame) => state === "idle";
  await listener.until((frames) => frames.slice(1).some(idle));
  await everything.until((frames) => frames.slice(1).some(idle));
  const events = watcher.frames.filter(({ type }) => type !== "subscribed" && type !== "interrupted");
  assertEquals(listener.frames.map(bare), events.map(bare));
  assertEquals(everything.frames.slice(0, 7).map(({ type }) => type), [
    "agent_state",
    "agent_state",
    "emotion",
    "plan",
    "tool_status",
    "agent_state",
    "tool_status",
  ]);
  assertEquals(spoken.frames.map(({ text }) => text), [" Hm. ", "Wait."]);
  assertEquals([...listener.others, ...everything.others, ...spoken.others], []);
});

Deno.test("an event stream that is left is forgotten, and is asked for by GET only", async () => {
  await using server = await startServer();
  {
    await using _listener = await EventStreamClient.open(server);
    assertEquals((await get(server, "/v1/vtuber/state")).watchers, 1);
  }
  await poll(() => get(server, "/v1/vtuber/state"), ({ watchers }) => watchers === 0);
  const head = await fetch(`${server.url}/v1/vtuber/events`, { method: "HEAD" });
  assertEquals([head.status, head.headers.get("content-type")], [200, "text/event-stream; charset=utf-8"]);
  await head.body?.cancel();
  assertEquals((await get(server, "/v1/vtuber/state")).watchers, 0);
  const post = await server.post("/v1/vtuber/events", {});
  assertEquals([post.status, post.headers.get("allow")], [405, "GET, HEAD, OPTIONS"]);
  await post.body?.cancel();
  const plain = await fetch(`${server.url}/v1/vtuber/ws`);
  assertEquals([plain.status, (await plain.json()).error.code], [426, "upgrade_required"]);
});

Deno.test("whatever a client sends, it gets one answer, and goes on", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  const cases: [unknown, string][] = [
    ["", "invalid_json"],
    ["{", "invalid_json"],
    ["null", "invalid_value"],
    ["[]", "invalid_value"],
    ['"ping"', "invalid_value"],
    ["{}", "invalid_value"],
    [{ type: "dance" }, "invalid_value"],
    [{ type: 1 }, "invalid_value"],
    [{ type: "__proto__" }, "invalid_value"],
    [{ type: "subscribe" }, "invalid_value"],
    [{ type: "subscribe", events: "all" }, "invalid_value"],
    [{ type: "subscribe", events: [1] }, "invalid_value"],
    [{ type: "interrupt", session_id: 1 }, "invalid_value"],
    [{ type: "permission_response", request_id: "x" }, "invalid_value"],
    [{ type: "permission_response", request_id: "x", decision: "perhaps" }, "invalid_value"],
    [{ type: "permission_response", request_id: "x", decision: "allow", option_id: "y" }, "invalid_value"],
    [{ type: "permission_response", request_id: "x", decision: "allow" }, "not_found"],
    [new Uint8Array([1, 2, 3]), "invalid_json"],
    [new TextEncoder().encode('{"type":"ping"}'), "invalid_json"],
    [`{"type":"ping","more":"${"x".repeat(20_000)}"}`, "body_too_large"],
  ];
  for (const [command, code] of cases) {
    const from = watcher.frames.length;
    watcher.send(command);
    await watcher.ping();
    const [error, pong, ...more] = watcher.frames.slice(from);
    assertEquals([error?.type, error?.code, pong?.type, more], ["error", code, "pong", []], `${command}`);
    assert(typeof error!.message === "string" && error!.message.length > 10);
  }
  const hello = await watcher.ask({ type: "hello", client: "overlay", version: 3 }, "hello");
  assertEquals([hello.server, typeof hello.client_id, typeof hello.version], [
    "oab-vtuber",
    "string",
    "string",
  ]);
  const pong = await watcher.ask({ type: "ping", anything: true }, "pong");
  assertEquals(Object.keys(pong).sort(), ["ts", "type"]);
});

Deno.test("too many commands are refused once and then ignored, and events still come", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  for (let i = 0; i < 500; i++) watcher.send({ type: "ping" });
  await say(server, script({ text: "." }));
  await watcher.untilTurnEnds();
  await watcher.ping();
  const errors = watcher.of("error");
  assert(errors.length >= 1 && errors.length <= 5, `${errors.length}`);
  assertEquals(new Set(errors.map(({ code }) => code)), new Set(["rate_limit_exceeded"]));
  assert(watcher.of("pong").length < 400);
});

Deno.test("`interrupt` cancels the turn of a conversation, or all of them", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  const answers = [];
  for (const name of ["a", "b", "c"]) {
    const response = await server.chat(script({ text: `I am ${name}.` }, { hang: true }), {}, named(name));
    answers.push(response.text().then(readAnswer));
  }
  const cancels = async () =>
    (await server.received()).filter(({ method }) => method === "session/cancel").length;
  assertEquals((await watcher.ask({ type: "interrupt", session_id: "nobody" }, "interrupted")).turns, 0);
  assertEquals((await watcher.ask({ type: "interrupt", session_id: "b" }, "interrupted")).turns, 1);
  const { text, finish, done } = await answers[1]!;
  assertEquals([text, finish, done], ["I am b.\n", "stop", true]);
  assertEquals(states(await watcher.untilTurnEnds("b")), ["thinking", "idle"]);
  assertEquals(await cancels(), 1);
  assertEquals((await watcher.ask({ type: "interrupt" }, "interrupted")).turns, 2);
  assertEquals((await Promise.all(answers)).map(({ finish }) => finish), ["stop", "stop", "stop"]);
  await watcher.untilTurnEnds("a");
  await watcher.untilTurnEnds("c");
  assertEquals(await cancels(), 3);
  assertEquals((await get(server, "/v1/vtuber/state")).state, "idle");
  assertEquals((await watcher.ask({ type: "interrupt" }, "interrupted")).turns, 0);
});

Deno.test("a turn that fails shows an error, and then rest; so does one whose agent dies", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ALL });
  const tool = { tool: { id: "t", title: "look", kind: "read", status: "in_progress" } };
  const endings = [
    { error: { code: -32603, message: "no" } },
    { kill: true as const },
    { exit: 0 },
    { stop: "cancelled" },
  ];
  for (const [index, ending] of endings.entries()) {
    const { answer } = await say(server, script({ text: "Half" }, tool, ending), named(`turn ${index}`));
    assertEquals(answer.finish, "error");
    const frames = await watcher.untilTurnEnds(`turn ${index}`);
    assertEquals(states(frames).slice(0, 2), ["thinking", "working"], JSON.stringify(ending));
    assertEquals(states(frames).slice(-2), ["error", "idle"]);
    assertEquals(frames.filter(({ type }) => type === "tool_status").map(({ status }) => status), [
      "running",
      "failed",
    ]);
  }
});

Deno.test("a turn that ends for another reason is the agent's last word all the same", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  for (const stop of ["max_tokens", "refusal", "max_turn_requests", "something_new"]) {
    await say(server, script({ text: "." }, { stop }), named(stop));
    assertEquals(states(await watcher.untilTurnEnds(stop)), ["thinking", "attention", "idle"]);
  }
});

Deno.test("a turn that is too slow is told as failed, and what its agent says then is told to nobody", async () => {
  await using server = await startServer({ env: { VTUBER_REPLY_TIMEOUT_SECS: "0.3" } });
  await using watcher = await watch(server, { events: ALL });
  const late = { tool: { id: "late", title: "late", kind: "read" } };
  await say(server, script({ hang: true }, { afterAnswer: [late, { text: "late" }] }), named("slow"));
  assertEquals((await watcher.untilTurnEnds("slow")).map(({ state }) => state), ["thinking", "error", "idle"]);
  await say(server, script({ text: "ok" }, { afterAnswer: [late] }), named("next"));
  await watcher.untilTurnEnds("next");
  assertEquals(watcher.of("tool_status"), []);
});

Deno.test("a turn that a newer one of its conversation supersedes is told to its end first", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ["agent_state", "tool_status"] });
  const tool = { tool: { id: "t", title: "look", kind: "read", status: "in_progress" } };
  const first = await server.chat(script({ text: "older" }, tool, { hang: true }), {}, named("talk"));
  await watcher.state("working");
  const second = await server.chat(script({ text: "newer" }), {}, named("talk"));
  await Promise.all([first.text(), second.text()]);
  const frames = await watcher.until((frames) => {
    const mine = frames.filter(({ session_id }) => session_id === "talk");
    return mine.filter(({ state }) => state === "idle").length === 2 && mine;
  });
  const ids = [...new Set(frames.map(({ turn_id }) => turn_id))];
  assertEquals(ids.length, 2);
  const ofTurn = (id: string) => frames.filter(({ turn_id }) => turn_id === id);
  const older = ofTurn(ids[0]).map(({ state, status }) => state ?? status);
  assertEquals(older.slice(0, 4), ["thinking", "running", "working", "failed"]);
  assertEquals(older.at(-1), "idle");
  assertEquals(states(ofTurn(ids[1])), ["thinking", "attention", "idle"]);
  const end = frames.findLastIndex(({ turn_id }) => turn_id === ids[0]);
  assert(end < frames.findIndex(({ turn_id }) => turn_id === ids[1]), "one after the other");
});

Deno.test("a turn that follows at once ends the greeting of the one before", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ["agent_state"] });
  for (let i = 0; i < 5; i++) await say(server, script({ text: `${i}` }), named("talk"));
  const ended = ["attention", "idle", "thinking"];
  await watcher.until((frames) =>
    states(frames).join() ===
      ["idle", "thinking", ...ended, ...ended, ...ended, ...ended, "attention", "idle"].join()
  );
  await watcher.ping();
  assertEquals(watcher.states.filter((state) => state === "thinking").length, 5);
});

Deno.test("of two conversations at once, the one that goes on is shown when the other has ended", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ["agent_state"] });
  const tool = { tool: { id: "t", title: "build", kind: "execute", status: "in_progress" } };
  const long = await server.chat(script({ text: "." }, tool, { hang: true }), {}, named("long"));
  await watcher.state("working");
  const told = [["long", "thinking"], ["long", "working"]];
  // The end of the quick one is shown for a moment: who comes too late for it has to come again.
  for (let isShown = false, tries = 0; !isShown; tries++) {
    assert(tries < 20, "its end is not shown to who comes");
    const from = watcher.frames.length;
    await say(server, script({ text: "Quick." }), named("quick"));
    await watcher.state("attention", from);
    await using late = await watch(server);
    await late.ping();
    const shown = new Set(late.of("agent_state").map(({ session_id }) => session_id));
    isShown = shown.has("quick");
    assertEquals(shown, new Set(isShown ? ["long", "quick"] : ["long"]));
    // The quick one comes to rest, and then the other is told again.
    await watcher.until((frames) => frames.length > from && frames.at(-1)!.session_id === "long");
    told.push(["quick", "thinking"], ["quick", "attention"], ["quick", "idle"], ["long", "working"]);
  }
  assertEquals(watcher.frames.slice(2).map(({ session_id, state }) => [session_id, state]), told);
  assertEquals(watcher.frames.at(-1)!.detail, { tool_class: "coding", tool_name: "build" });
  assertEquals((await get(server, "/v1/vtuber/state")).state, "working");
  // The other way round: the older one ends first.
  const other = await server.chat(script({ text: "." }, { hang: true }), {}, named("other"));
  const from = watcher.frames.length;
  watcher.send({ type: "interrupt", session_id: "long" });
  await long.text();
  await watcher.until((frames) => frames.slice(from).some(({ state }) => state === "idle"));
  await watcher.ping();
  const last = watcher.of("agent_state").at(-1)!;
  assertEquals([last.session_id, last.state], ["other", "thinking"]);
  watcher.send({ type: "interrupt" });
  await other.text();
  await watcher.untilTurnEnds("other");
});

Deno.test("a turn that ends with a tool open goes from working to its end, without a thought between", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  const tool = { tool: { id: "t", title: "look", kind: "read", status: "in_progress" } };
  await say(server, script(tool, { stop: "end_turn" }), named("ends"));
  await say(server, script(tool, { error: { code: -32603, message: "no" } }), named("fails"));
  await say(server, script(tool, { kill: true }), named("dies"));
  const hung = await server.chat(script(tool, { hang: true }), {}, named("hangs"));
  await watcher.first("tool_status", ({ session_id }) => session_id === "hangs");
  watcher.send({ type: "interrupt" });
  await hung.text();
  assertEquals(states(await watcher.untilTurnEnds("ends")), ["thinking", "working", "attention", "idle"]);
  assertEquals(states(await watcher.untilTurnEnds("fails")), ["thinking", "working", "error", "idle"]);
  assertEquals(states(await watcher.untilTurnEnds("dies")), ["thinking", "working", "error", "idle"]);
  assertEquals(states(await watcher.untilTurnEnds("hangs")), ["thinking", "working", "idle"]);
});

Deno.test("each tool is told at most once as begun and once as ended", async () => {
  await using server = await startServer();
  await using watcher = await watch(server, { events: ["tool_status"] });
  await using whole = await watch(server);
  await say(
    server,
    script(
      { tool: { id: "a", title: "a", kind: "read", status: "pending" } },
      { toolUpdate: { id: "a", title: "a longer title" } },
      { toolUpdate: { id: "a", status: "in_progress" } },
      { toolUpdate: { id: "a", kind: "edit" } },
      { toolUpdate: { id: "a", status: "completed" } },
      { toolUpdate: { id: "a", title: "what it did in the end" } },
      { toolUpdate: { id: "a", status: "completed", rawOutput: {} } },
      { toolUpdate: { id: "never announced", status: "completed" } },
      { tool: { id: "left open", title: "left open" } },
      { tool: { id: "", title: "nameless" } },
    ),
  );
  await whole.untilTurnEnds();
  await watcher.ping();
  assertEquals(watcher.of("tool_status").map(({ tool_call_id, status }) => [tool_call_id, status]), [
    ["a", "pending"],
    ["a", "done"],
    ["never announced", "done"],
    ["left open", "pending"],
    ["left open", "done"],
  ]);
});

Deno.test("a tool's name is cut where it is a whole program", async () => {
  await using server = await startServer();
  await using watcher = await watch(server);
  const title = "echo " + "👩‍💻".repeat(2_000);
  await say(server, script({ tool: { id: "t", title, kind: "execute" } }));
  const { tool_name } = await watcher.first("tool_status");
  assert(tool_name.length < 300 && tool_name.endsWith("...") && tool_name.isWellFormed(), tool_name);
});
