import { assertEquals, assertThrows } from "@std/assert";
import type { VtuberEvent } from "../../lib/events/wire.ts";
import { EventHub } from "../../lib/events/hub.ts";
import type { ToolCallId } from "../../lib/turn/event.ts";
import { AppError } from "../../lib/core/errors.ts";
import { settled } from "../support/harness/turn_recorder.ts";
import { answered, asks, briefOf, EMOTIONS, Stage, type Watcher } from "../support/harness/events_fixture.ts";

const until = (watcher: Watcher, brief: string) =>
  watcher.until(({ briefs }) => briefs.includes(brief), brief);
const untilIdle = (watcher: Watcher) => watcher.until(({ briefs }) => briefs.at(-1) === "state idle", "idle");
const notice = (text: string) => ({ text, urgency: "normal" as const });

Deno.test("Hub: a turn from its prompt to idle, as a client is told", async () => {
  using stage = new Stage({ holdMs: 0 });
  const watcher = stage.join();
  const { turn, prompt } = await stage.begin("mao");
  prompt.say("[happy] I look.");
  prompt.tool({ id: "t1" });
  prompt.tool({ id: "t1", status: "completed" });
  prompt.plan({ content: "a", priority: "low", status: "pending" });
  prompt.say("Done [sad]");
  prompt.end();
  await untilIdle(watcher);
  assertEquals(watcher.briefs, [
    "state idle",
    "state thinking",
    "emotion happy 1",
    "tool t1 running",
    "state working",
    "tool t1 done",
    "state thinking",
    "plan 1",
    "emotion sad 1",
    "state attention",
    "state idle",
  ]);
  for (const frame of watcher.frames) assertEquals(Number.isInteger(frame.ts), true);
  for (const { session_id, turn_id } of watcher.frames.slice(1)) {
    assertEquals([session_id, turn_id], ["mao", turn.id]);
  }
});

Deno.test("Hub: thinking begins when the agent has the prompt, and not before", async () => {
  using stage = new Stage();
  const watcher = stage.join();
  const { promise, resolve } = Promise.withResolvers<void>();
  stage.agent.takes = promise;
  const beginning = stage.begin();
  await settled();
  assertEquals(watcher.briefs, ["state idle"]);
  resolve();
  const { prompt } = await beginning;
  assertEquals(watcher.news(), ["state idle", "state thinking"]);
  prompt.end();
});

Deno.test("Hub: a prompt that the agent does not take is not shown", async () => {
  using stage = new Stage();
  const watcher = stage.join();
  stage.agent.promptFailure = new AppError("agent_unavailable", "Gone.");
  await stage.begin().catch(() => {});
  assertEquals([watcher.briefs, stage.hub.snapshot.sessions], [["state idle"], []]);
});

Deno.test("Hub: attention and error are held before idle, a cancel is not", async () => {
  for (const [how, state] of [["end_turn", "attention"], ["fail", "error"], ["cancelled", "idle"]] as const) {
    using stage = new Stage();
    const watcher = stage.join();
    const { turn, prompt } = await stage.begin();
    if (how === "cancelled") turn.cancel();
    if (how === "fail") prompt.fail(new AppError("agent_crashed", "Gone."));
    else prompt.end(how);
    assertEquals(watcher.briefs.slice(2), [`state ${state}`]);
    assertEquals([stage.hub.snapshot.state, stage.hub.snapshot.sessions.length], [
      state,
      state === "idle" ? 0 : 1,
    ]);
  }
});

Deno.test("Hub: an error ends in idle too, after it was held", async () => {
  using stage = new Stage({ holdMs: 0 });
  const watcher = stage.join();
  const { prompt } = await stage.begin();
  prompt.fail(new AppError("agent_crashed", "Gone."));
  await until(watcher, "state error");
  await untilIdle(watcher);
  assertEquals(watcher.briefs, ["state idle", "state thinking", "state error", "state idle"]);
});

Deno.test("Hub: a state that passes is held no longer than 2 seconds", async () => {
  const real = globalThis.setTimeout;
  const delays: unknown[] = [];
  globalThis.setTimeout = ((handler: () => void, ms?: number) => {
    delays.push(ms);
    return real(handler, 0);
  }) as typeof setTimeout;
  try {
    const hub = new EventHub({ emotions: EMOTIONS });
    using stage = new Stage();
    await stage.begin("mao", { observer: hub }).then(({ prompt }) => {
      delays.length = 0;
      prompt.end();
    });
    hub.notify(notice("x"));
    hub.close();
  } finally {
    globalThis.setTimeout = real;
  }
  assertEquals(delays.length, 2);
  for (const ms of delays) assertEquals(typeof ms === "number" && ms > 0 && ms <= 2_000, true, `${ms}`);
});

Deno.test("Hub: a turn that begins while another's end is shown ends that first", async () => {
  using stage = new Stage();
  const watcher = stage.join();
  const first = await stage.begin("mao");
  first.prompt.end();
  const second = await stage.begin("mao");
  assertEquals(watcher.briefs, [
    "state idle",
    "state thinking",
    "state attention",
    "state idle",
    "state thinking",
  ]);
  assertEquals(watcher.frames.slice(1).map((frame) => frame.turn_id), [
    first.turn.id,
    first.turn.id,
    first.turn.id,
    second.turn.id,
  ]);
  second.prompt.end();
});

Deno.test("Hub: when one of two turns has ended, what the other does is told again", async () => {
  using stage = new Stage({ holdMs: 0 });
  const watcher = stage.join();
  const [one, two] = [await stage.begin("one"), await stage.begin("two")];
  one.prompt.tool({ id: "a" });
  watcher.news();
  two.prompt.end();
  await watcher.until(({ frames }) => frames.length === 3, "the other's state");
  assertEquals(watcher.frames.map(({ state, session_id }) => `${session_id} ${state}`), [
    "two attention",
    "two idle",
    "one working",
  ]);
  assertEquals(stage.hub.snapshot.state, "working");
  watcher.news();
  one.turn.cancel();
  one.prompt.end("cancelled");
  assertEquals(watcher.news(), ["tool a failed", "state idle"]);
});

Deno.test("Hub: a turn that nobody asked for shows what it does, but not what it says nor its end", async () => {
  using stage = new Stage();
  const watcher = stage.join(["*", "say"]);
  const { prompt } = await stage.begin("aside", { unsolicited: true });
  prompt.say("[happy] Psst");
  prompt.tool({ id: "a", status: "completed" });
  prompt.end();
  assertEquals(watcher.briefs, ["state idle", "state thinking", "tool a done", "state idle"]);
  assertEquals(stage.hub.snapshot.emotion, null);
});

Deno.test("Hub: a newcomer is told what the agent does now and what it asks, and nothing that is over", async () => {
  using stage = new Stage();
  const { prompt } = await stage.begin("mao");
  prompt.tool({ id: "a", title: "ls", kind: "search" });
  prompt.tool({ id: "b", status: "completed" });
  prompt.emit(asks("p1"));
  prompt.emit(asks("p2"));
  prompt.emit(answered("p1"));
  const other = await stage.begin("neko");
  const watcher = stage.join();
  assertEquals(watcher.frames.map((frame) => `${frame.session_id} ${briefOf(frame)}`), [
    "mao state notification",
    "neko state thinking",
    "mao asks p2",
  ]);
  assertEquals(stage.join(["emotion"]).briefs, []);
  assertEquals(stage.join(["permission_request"]).briefs, ["asks p2"]);
  prompt.end();
  other.prompt.end();
  assertEquals(stage.join(["permission_request"]).briefs, []);
});

Deno.test("Hub: a newcomer after the last turn is told that it is idle, one while its end is shown is told that", async () => {
  using stage = new Stage({ holdMs: 0 });
  const watcher = stage.join();
  const { prompt } = await stage.begin("mao");
  prompt.end();
  assertEquals(stage.join().briefs, ["state attention"]);
  await untilIdle(watcher);
  assertEquals(stage.join().briefs, ["state idle"]);
});

Deno.test("Hub: who subscribes is told so, and then what is asked if that is new to it", async () => {
  using stage = new Stage();
  const { prompt } = await stage.begin();
  prompt.emit(asks("p1"));
  const watcher = stage.join();
  assertEquals(watcher.news(), ["state notification", "asks p1"]);
  const subscribe = (...names: string[]) => {
    stage.hub.changeSubscription(watcher.client, names);
    return watcher.news();
  };
  assertEquals(subscribe("*"), [
    "subscribed agent_state,emotion,tool_status,plan,notification,permission_request,permission_resolved",
  ]);
  assertEquals(subscribe("emotion", "nonsense"), ["subscribed emotion"]);
  assertEquals(subscribe("permission_request"), ["subscribed permission_request", "asks p1"]);
  prompt.end();
});

Deno.test("Hub: each is told what it subscribed to, and no more", async () => {
  using stage = new Stage();
  const states = stage.join(["agent_state"]);
  const tools = stage.join(["tool_status", "emotion"]);
  const nothing = stage.join([]);
  const { prompt } = await stage.begin();
  prompt.say("[happy] x");
  prompt.tool({ id: "a", status: "completed" });
  prompt.emit(asks("p1"));
  prompt.end();
  assertEquals([...new Set(states.briefs)], [
    "state idle",
    "state thinking",
    "state notification",
    "state attention",
  ]);
  assertEquals(tools.briefs, ["emotion happy 1", "tool a done"]);
  assertEquals(nothing.briefs, []);
});

Deno.test("Hub: a permission is told of, asked for by a newcomer, and resolved", async () => {
  using stage = new Stage();
  const watcher = stage.join();
  const { prompt } = await stage.begin("mao");
  watcher.news();
  prompt.emit(asks("p1"));
  assertEquals(stage.hub.permissions.map(briefOf), ["asks p1"]);
  assertEquals(stage.hub.snapshot.permissions.map(({ request_id }) => request_id), ["p1"]);
  prompt.emit(answered("p1", "rejected", "Mao"));
  assertEquals(watcher.news(), ["asks p1", "state notification", "p1 rejected by Mao", "state thinking"]);
  assertEquals(stage.hub.permissions, []);
  prompt.end();
});

Deno.test("Hub: a turn that ends withdraws what it asks, before its last state", async () => {
  using stage = new Stage();
  const watcher = stage.join();
  const { turn, prompt } = await stage.begin();
  prompt.emit(asks("p1"));
  turn.cancel();
  watcher.news();
  prompt.end("cancelled");
  const news = watcher.news();
  assertEquals([news[0], news.at(-1)], ["p1 cancelled by turn", "state idle"]);
  assertEquals(stage.hub.permissions, []);
});

Deno.test("Hub: a cancelled turn that asks, or that runs a tool, goes to idle and does not think first", async () => {
  using stage = new Stage();
  const { turn, prompt } = await stage.begin();
  prompt.tool({ id: "t1" });
  prompt.emit(asks("p1"));
  const watcher = stage.join(["agent_state"]);
  turn.cancel();
  // As a session does it: what is open ends before the turn.
  prompt.emit({
    type: "permission_resolved",
    resolution: { ...answered("p1").resolution, outcome: "cancelled", by: "turn" },
  });
  const tool = { id: "t1" as ToolCallId, title: "Read file", kind: "read", status: "failed" } as const;
  prompt.emit({ type: "tool", tool, closing: true });
  prompt.end("cancelled");
  assertEquals(watcher.briefs, ["state notification", "state idle"]);
});

Deno.test("Hub: permissions can be answered when somebody subscribed to them, or a listener can", () => {
  using stage = new Stage();
  const { hub } = stage;
  assertEquals(hub.canAnswerPermissions, false);
  const anybody = stage.join();
  assertEquals(hub.canAnswerPermissions, false);
  hub.changeSubscription(anybody.client, ["permission_request"]);
  assertEquals(hub.canAnswerPermissions, true);
  anybody.client.detach();
  assertEquals(hub.canAnswerPermissions, false);
  const listener = { onEvent() {}, answersPermissions: false };
  const listening = hub.addListener(listener);
  assertEquals(hub.canAnswerPermissions, false);
  listener.answersPermissions = true;
  assertEquals(hub.canAnswerPermissions, true);
  listening[Symbol.dispose]();
  assertEquals(hub.canAnswerPermissions, false);
});

Deno.test("Hub: a listener inside the program hears every event until it is disposed of", async () => {
  using stage = new Stage();
  const heard: VtuberEvent[] = [];
  const listening = stage.hub.addListener({
    onEvent: (event) => void heard.push(event),
    answersPermissions: false,
  });
  const { prompt } = await stage.begin();
  prompt.say("[happy] x");
  listening[Symbol.dispose]();
  prompt.end();
  assertEquals(heard.map(briefOf), ["state thinking", "emotion happy 1"]);
});

Deno.test("Hub: the snapshot tells all that is now", async () => {
  using stage = new Stage();
  assertEquals(stage.hub.snapshot, {
    state: "idle",
    sessions: [],
    tools: [],
    plan: [],
    permissions: [],
    emotion: null,
    watchers: 0,
  });
  stage.join();
  const { turn, prompt } = await stage.begin("mao");
  const about = { session_id: "mao", turn_id: turn.id };
  prompt.say("[happy] x");
  prompt.tool({ id: "a", title: "ls", kind: "search" });
  prompt.plan({ content: "a", priority: "low", status: "pending" });
  assertEquals(stage.hub.snapshot, {
    state: "working",
    sessions: [{ ...about, state: "working", detail: { tool_class: "tool", tool_name: "ls" } }],
    tools: [{ ...about, tool_call_id: "a", tool_name: "ls", kind: "search", status: "running" }],
    plan: [{ content: "a", priority: "low", status: "pending" }],
    permissions: [],
    emotion: "happy",
    watchers: 1,
  });
  turn.cancel();
  prompt.end("cancelled");
  assertEquals(stage.hub.snapshot, {
    state: "idle",
    sessions: [],
    tools: [],
    plan: [],
    permissions: [],
    emotion: "happy",
    watchers: 1,
  });
});

Deno.test("Hub: who has gone is not told anything, and not counted", async () => {
  using stage = new Stage();
  const watcher = stage.join();
  watcher.client.detach();
  watcher.news();
  const { prompt } = await stage.begin();
  prompt.end();
  assertEquals([watcher.briefs, stage.hub.clientCount, stage.hub.audienceSize], [[], 0, 0]);
});

Deno.test("Hub: one that goes while all are told does not keep the others from it", async () => {
  using stage = new Stage();
  const [one, two, three] = [stage.join(), stage.join(), stage.join()];
  const send = two.send.bind(two);
  two.send = (frame) => {
    send(frame);
    two.client.detach();
  };
  const { prompt } = await stage.begin();
  prompt.end();
  for (const { briefs } of [one, three]) {
    assertEquals(briefs, ["state idle", "state thinking", "state attention"]);
  }
  assertEquals(two.briefs, ["state idle", "state thinking"]);
});

Deno.test("Hub: no more than 5000 watch; others are told to come back", () => {
  using stage = new Stage();
  const transport = { send() {}, backlog: 0, close() {} };
  for (let i = 0; i < 5_000; i++) stage.hub.subscribe(transport);
  const failure: AppError = assertThrows(() => stage.hub.subscribe(transport), AppError);
  assertEquals([failure.code, failure.retryAfterSecs], ["rate_limit_exceeded", 5]);
});

Deno.test("Hub: it closes: all are disconnected, nobody comes in, and turns that go on are told to nobody", async () => {
  using stage = new Stage();
  const heard: VtuberEvent[] = [];
  stage.hub.addListener({ onEvent: (event) => void heard.push(event), answersPermissions: false });
  const watchers = [stage.join(), stage.join()];
  const { turn, prompt } = await stage.begin();
  stage.hub.close();
  for (const { closed } of watchers) assertEquals(closed?.code, 1001);
  assertEquals([stage.hub.clientCount, assertThrows(() => stage.join(), AppError).code], [0, "shutting_down"]);
  turn.cancel();
  prompt.end("cancelled");
  assertEquals(heard.map(briefOf), ["state thinking"]);
});

for (const what of ["a notification", "the end of a turn"]) {
  Deno.test(`Hub: ${what} after it closed leaves no timer`, async () => {
    const stage = new Stage({ holdMs: 500 });
    const { prompt } = await stage.begin();
    stage.hub.close();
    if (what === "a notification") stage.hub.notify(notice("Too late"));
    prompt.end(what === "a notification" ? "cancelled" : "end_turn");
  });
}

Deno.test("Hub: who adds the state later is told it then", async () => {
  using stage = new Stage();
  const { prompt } = await stage.begin();
  const watcher = stage.join(["notification"]);
  stage.hub.changeSubscription(watcher.client, ["notification", "agent_state"]);
  assertEquals(watcher.briefs.at(-1), "state thinking");
  prompt.end();
});
