import { assertEquals, assertThrows } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { LOCAL_CALLER } from "../../lib/http/access.ts";
import type { ToolCallId, TurnEvent } from "../../lib/turn/event.ts";
import type { Turn } from "../../lib/turn/turn.ts";
import type { MemoryPrompt } from "../support/agents/memory_agent.ts";
import {
  type Frame,
  HubFixture,
  permissionEvent,
  questionEvent,
  questionResolvedEvent,
  RANDOM_ENDS,
  randomEvents,
  RecordingTransport,
  resolvedEvent,
  summarize,
} from "../support/harness/events_fixture.ts";
import { FakeClock } from "../support/harness/fake_clock.ts";
import { callerWith } from "../support/harness/key_fixture.ts";
import { Random } from "../support/harness/random.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const ENTRY = { content: "a", priority: "low", status: "pending" } as const;

for (const [how, state] of [["end_turn", "attention"], ["fail", "error"], ["cancelled", "idle"]] as const) {
  Deno.test(`EventHub: a turn that ends with ${how} is ${state}, and idle at the latest when that was shown`, async () => {
    for (const holdMs of [3_600_000, 0]) {
      using fixture = new HubFixture({ holdMs });
      const client = fixture.connect();
      const { turn, prompt } = await fixture.startTurn();
      if (how === "cancelled") turn.cancel();
      prompt.say("Hm.");
      if (how === "fail") prompt.fail(new AppError("agent_crashed", "Gone."));
      else prompt.end(how);
      const { sessions } = fixture.hub.snapshot(LOCAL_CALLER);
      assertEquals([fixture.hub.snapshot(LOCAL_CALLER).state, sessions.length], [
        state,
        state === "idle" ? 0 : 1,
      ]);
      if (holdMs === 0) await client.untilIdle();
      const last = state === "idle" || holdMs > 0 ? [] : ["state idle"];
      assertEquals(client.summaries.slice(2), [`state ${state}`, ...last]);
    }
  });
}

Deno.test("EventHub: a new turn ends the last state of the one before", async () => {
  using fixture = new HubFixture();
  const client = fixture.connect();
  const first = await fixture.startTurn("mao");
  first.prompt.say("Hm.");
  first.prompt.end();
  const second = await fixture.startTurn("mao");
  const states = ["state idle", "state thinking", "state attention", "state idle", "state thinking"];
  assertEquals(client.summaries, states);
  const [one, two] = [first.turn.id, second.turn.id];
  assertEquals(client.frames.slice(1).map((frame) => frame.turn_id), [one, one, one, two]);
  second.prompt.end();
});

Deno.test("EventHub: repeats the state of a running turn after another one has ended", async () => {
  using fixture = new HubFixture({ holdMs: 0 });
  const client = fixture.connect();
  const [one, two] = [await fixture.startTurn("one"), await fixture.startTurn("two")];
  one.prompt.tool({ id: "a" });
  client.takeSummaries();
  two.prompt.say("Hm.");
  two.prompt.end();
  await client.until(({ frames }) => frames.length === 3, "the state of the other turn");
  assertEquals(client.frames.map(({ state, session_id }) => `${session_id} ${state}`), [
    "two attention",
    "two idle",
    "one working",
  ]);
  assertEquals(fixture.hub.snapshot(LOCAL_CALLER).state, "working");
  client.takeSummaries();
  one.turn.cancel();
  one.prompt.end("cancelled");
  assertEquals(client.takeSummaries(), ["tool a failed", "state idle"]);
});

Deno.test("EventHub: an unsolicited turn has no emotion and ends idle", async () => {
  using fixture = new HubFixture();
  const { prompt } = await fixture.startTurn("private", { unsolicited: true });
  prompt.say("[happy] Psst");
  prompt.end();
  assertEquals([fixture.hub.snapshot(LOCAL_CALLER).emotion, fixture.hub.snapshot(LOCAL_CALLER).state], [
    null,
    "idle",
  ]);
});

Deno.test("EventHub: a new subscriber gets the current states and open requests", async () => {
  using fixture = new HubFixture();
  const { prompt } = await fixture.startTurn("mao");
  prompt.tool({ id: "a", title: "ls", kind: "search" });
  prompt.tool({ id: "b", status: "completed" });
  for (const event of [permissionEvent("p1"), permissionEvent("p2"), resolvedEvent("p1")]) prompt.emit(event);
  const other = await fixture.startTurn("neko");
  const client = fixture.connect();
  assertEquals(client.frames.map((frame) => `${frame.session_id} ${summarize(frame)}`), [
    "mao state notification",
    "neko state thinking",
    "mao asks p2",
  ]);
  assertEquals(fixture.connect(["emotion"]).summaries, []);
  assertEquals(fixture.connect(["permission_request"]).summaries, ["asks p2"]);
  prompt.end();
  other.prompt.end();
  assertEquals(fixture.connect(["permission_request"]).summaries, []);
});

Deno.test("EventHub: a changed subscription is confirmed, then completed with what it did not get before", async () => {
  using fixture = new HubFixture();
  const { prompt } = await fixture.startTurn();
  prompt.emit(permissionEvent("p1"));
  const client = fixture.connect();
  assertEquals(client.takeSummaries(), ["state notification", "asks p1"]);
  const subscribe = (...names: string[]) => {
    fixture.hub.changeSubscription(client.subscriber, names);
    return client.takeSummaries();
  };
  assertEquals(subscribe("*"), [
    "subscribed agent_state,agent_status,emotion,tool_status,plan,notification,permission_request,permission_resolved," +
    "question,question_resolved,usage",
  ]);
  assertEquals(subscribe("emotion", "nonsense"), ["subscribed emotion"]);
  assertEquals(subscribe("permission_request"), ["subscribed permission_request", "asks p1"]);
  assertEquals(subscribe("agent_state"), ["subscribed agent_state", "state notification"]);
  prompt.end();
});

Deno.test("EventHub: without the scope permissions, a subscriber learns that a person is asked, and not what", async () => {
  const watcher = callerWith("events");
  using fixture = new HubFixture();
  const { hub } = fixture;
  const [first, changing, owner] = [
    fixture.connect(undefined, watcher),
    fixture.connect([], watcher),
    fixture.connect(),
  ];
  const { prompt } = await fixture.startTurn();
  const tool = { id: "t" as ToolCallId, title: "SECRET", kind: "execute", status: "pending" } as const;
  prompt.emit(permissionEvent("p1", { tool, detail: "SECRET" }));
  prompt.emit(questionEvent("q1", "SECRET?"));
  const later = fixture.connect(["*", "say"], watcher);
  hub.changeSubscription(changing.subscriber, ["*"]);
  const refused = () => hub.changeSubscription(changing.subscriber, ["emotion", "question"]);
  const error: AppError = assertThrows(refused, AppError);
  assertEquals([error.code, error.message.includes('"permissions"')], ["insufficient_scope", true]);
  const snapshot = hub.snapshot(watcher);
  assertEquals([snapshot.permissions, snapshot.questions, snapshot.scopes], [[], [], ["events"]]);
  assertEquals([hub.snapshot(LOCAL_CALLER).permissions.length, hub.questions.length], [1, 1]);
  prompt.emit(questionResolvedEvent("q1"));
  prompt.emit(resolvedEvent("p1"));
  prompt.say("Hm.");
  prompt.end();
  const end = ["state thinking", "state attention"];
  assertEquals(first.takeSummaries(), ["state idle", "state thinking", "state notification", ...end]);
  const shown = "agent_state,agent_status,emotion,tool_status,plan,notification,usage";
  assertEquals(changing.takeSummaries(), [`subscribed ${shown}`, "state notification", ...end]);
  assertEquals(later.takeSummaries(), ["state notification", "state thinking", "say Hm.", "state attention"]);
  assertEquals(JSON.stringify([first, changing, later, snapshot]).includes("SECRET"), false);
  assertEquals(owner.frames.filter((frame) => JSON.stringify(frame).includes("SECRET")).map(summarize), [
    "asks p1",
    "state notification",
    "question SECRET?",
  ]);
});

const ANSWERERS = [
  [["events"], false],
  [["events", "permissions"], true],
  [["events", "operator", "chat", "admin"], false],
] as const;
for (const [scopes, answers] of ANSWERERS) {
  Deno.test(`EventHub: a subscriber with ${scopes} ${answers ? "counts" : "does not count"} as one that answers`, () => {
    using fixture = new HubFixture();
    fixture.connect(["*", "say"], callerWith(...scopes));
    assertEquals([fixture.hub.canAnswerPermissions, fixture.hub.canAnswerQuestions], [answers, answers]);
  });
}

Deno.test("EventHub: an internal subscriber gets events, is not counted, and answers only while it can", async () => {
  using fixture = new HubFixture();
  const { hub } = fixture;
  const internal = { canAnswer: false };
  const pet = Object.assign(new RecordingTransport(), { internal });
  using _subscription = hub.subscribe(pet, LOCAL_CALLER, [
    "agent_state",
    "notification",
    "permission_request",
  ]);
  assertEquals([hub.canAnswerPermissions, hub.snapshot(LOCAL_CALLER).watchers, hub.wantsNotifications], [
    false,
    0,
    false,
  ]);
  internal.canAnswer = true;
  assertEquals(hub.canAnswerPermissions, true);
  assertEquals([hub.notify("Hi", "low", { toNewest: true }), hub.notify("Hi", "low")], [[], []]);
  const { turn, prompt } = await fixture.startTurn();
  turn.cancel();
  prompt.end("cancelled");
  assertEquals(pet.takeSummaries(), [
    "state idle",
    "state notification",
    "notification Hi",
    "state idle",
    "state thinking",
    "state idle",
  ]);
});

Deno.test("EventHub: after 10 seconds of silence, a turn waits for the model; not once it has ended", async () => {
  using clock = new FakeClock();
  using fixture = new HubFixture();
  const client = fixture.connect(["agent_state"]);
  const { prompt } = await fixture.startTurn();
  const waits = async (ms: number) => {
    clock.advance(ms);
    await nextTask();
    return client.frames.filter(({ detail }) => detail?.waiting).length;
  };
  assertEquals([await waits(9_900), await waits(200)], [0, 1]);
  prompt.say("Hi");
  assertEquals([await waits(9_900), await waits(200)], [1, 2]);
  prompt.end();
  assertEquals(await waits(30_000), 2);
});

Deno.test("EventHub: tells once which agents cannot serve, and when they can again", () => {
  using fixture = new HubFixture();
  const { hub } = fixture;
  const client = fixture.connect(["agent_status"]);
  const notFound = new AppError("agent_unavailable", "No such program.", { reason: "program_not_found" });
  hub.setAgentError("ready");
  hub.setAgentError("one", notFound);
  hub.setAgentError("one", notFound);
  const error = {
    code: "agent_unavailable",
    reason: "program_not_found",
    message: "No such program.",
  } as const;
  const [{ ts: _, ...frame }] = client.frames as [Frame];
  assertEquals(frame, { type: "agent_status", agent: "one", status: "unavailable", error });
  assertEquals(hub.snapshot(LOCAL_CALLER).agents, [{ agent: "one", status: "unavailable", error }]);
  const later = fixture.connect();
  assertEquals(later.frames.map(({ type }) => type), ["agent_state", "agent_status"]);
  hub.changeSubscription(later.subscriber, ["agent_status"]);
  hub.setAgentError("one");
  hub.setAgentError("one");
  assertEquals([client.frames.length, later.frames.length, hub.snapshot(LOCAL_CALLER).agents], [2, 4, []]);
  assertEquals(client.frames.at(-1)?.status, "ready");
});

Deno.test("EventHub: the snapshot holds everything that is going on", async () => {
  using fixture = new HubFixture();
  const idle = {
    state: "idle" as const,
    sessions: [],
    tools: [],
    plan: [],
    permissions: [],
    agents: [],
    questions: [],
    emotion: null,
    watchers: 0,
    scopes: [...LOCAL_CALLER.scopes],
  };
  assertEquals(fixture.hub.snapshot(LOCAL_CALLER), idle);
  fixture.connect();
  const { turn, prompt } = await fixture.startTurn("mao");
  const ref = { session_id: "mao", turn_id: turn.id };
  prompt.say("[happy] x");
  prompt.tool({ id: "a", title: "ls", kind: "search" });
  prompt.plan(ENTRY);
  assertEquals(fixture.hub.snapshot(LOCAL_CALLER), {
    state: "working",
    sessions: [{ ...ref, state: "working", detail: { tool_class: "tool", tool_name: "ls" } }],
    tools: [{ ...ref, tool_call_id: "a", tool_name: "ls", kind: "search", status: "running" }],
    plan: [ENTRY],
    permissions: [],
    agents: [],
    questions: [],
    emotion: "happy",
    watchers: 1,
    scopes: idle.scopes,
  });
  turn.cancel();
  prompt.end("cancelled");
  assertEquals(fixture.hub.snapshot(LOCAL_CALLER), { ...idle, emotion: "happy", watchers: 1 });
});

Deno.test("EventHub: the snapshot has the last emotion though no subscriber wants emotions", async () => {
  using fixture = new HubFixture();
  fixture.connect(["agent_state"]);
  const { prompt } = await fixture.startTurn();
  assertEquals(fixture.hub.wantsSpeech, false);
  prompt.say("[happy] Hi [sad]");
  prompt.end();
  assertEquals(fixture.hub.snapshot(LOCAL_CALLER).emotion, "sad");
});

Deno.test("EventHub: wants speech while a subscriber has chosen emotion or say", () => {
  using fixture = new HubFixture();
  const { hub } = fixture;
  for (const name of ["emotion", "say"]) {
    const client = fixture.connect([name]);
    assertEquals(hub.wantsSpeech, true);
    hub.changeSubscription(client.subscriber, ["plan"]);
    assertEquals(hub.wantsSpeech, false);
    hub.changeSubscription(client.subscriber, [name]);
    assertEquals(hub.wantsSpeech, true);
    client.subscriber.detach();
    assertEquals(hub.wantsSpeech, false);
  }
});

Deno.test("EventHub: sends a late subscriber of say the rest of the speech, and nothing of an open code block", async () => {
  using fixture = new HubFixture();
  const { prompt } = await fixture.startTurn();
  prompt.say("One. ");
  const first = fixture.connect(["say"]);
  prompt.say("Two.\n```js\nlet a;\n");
  first.subscriber.detach();
  prompt.say("let b;\n");
  const second = fixture.connect();
  fixture.hub.changeSubscription(second.subscriber, ["say"]);
  second.takeSummaries();
  prompt.say("let c;\n```\nThat was it.\n");
  prompt.end();
  assertEquals(first.frames.map(({ text }) => text).join(""), "Two.\n");
  assertEquals(second.frames.map(({ text }) => text).join(""), "That was it.\n");
});

Deno.test("EventHub: a notification is shown for a while, with its emotions before the text", async () => {
  using fixture = new HubFixture({ holdMs: 0 });
  const [all, texts, emotions] = [
    fixture.connect(),
    fixture.connect(["notification"]),
    fixture.connect(["emotion"]),
  ];
  const shown = [{ tag: "happy", intensity: 0.5 }];
  const callers = fixture.hub.notify("Build done", "high", { emotions: shown });
  assertEquals([callers, fixture.hub.wantsNotifications], [Array(2).fill(LOCAL_CALLER.id), true]);
  await all.untilIdle();
  assertEquals(all.summaries, [
    "state idle",
    "state notification",
    "emotion happy 0.5",
    "notification Build done",
    "state idle",
  ]);
  assertEquals([texts.summaries, emotions.summaries], [["notification Build done"], ["emotion happy 0.5"]]);
  const { ts: _, ...frame } = texts.frames[0]!;
  assertEquals(frame, { type: "notification", text: "Build done", urgency: "high" });
});

Deno.test("EventHub: a notification for one client goes to the newest that wants notifications", () => {
  using fixture = new HubFixture();
  const [first, last, other] = [
    fixture.connect(["notification"]),
    fixture.connect(["notification"]),
    fixture.connect([]),
  ];
  const notifyNewest = () => fixture.hub.notify("Psst", "low", { toNewest: true });
  assertEquals(notifyNewest(), [LOCAL_CALLER.id]);
  assertEquals([first, last, other].map(({ summaries }) => summaries), [[], ["notification Psst"], []]);
  last.subscriber.detach();
  assertEquals(notifyNewest(), [LOCAL_CALLER.id]);
  first.subscriber.detach();
  assertEquals([notifyNewest(), fixture.hub.notify("Psst", "low")], [[], []]);
  assertEquals(first.summaries, ["notification Psst"]);
});

Deno.test("EventHub: a notification does not change the state of a running turn", async () => {
  using fixture = new HubFixture({ holdMs: 0 });
  const client = fixture.connect();
  const { prompt } = await fixture.startTurn();
  client.takeSummaries();
  fixture.hub.notify("Build done", "low");
  assertEquals(client.takeSummaries(), ["notification Build done"]);
  prompt.say("Hm.");
  prompt.end();
  await client.untilIdle();
  assertEquals(client.summaries, ["state attention", "state idle"]);
});

Deno.test("EventHub: a new turn ends the state notification, which is published once", async () => {
  using fixture = new HubFixture();
  const client = fixture.connect(["agent_state"]);
  fixture.hub.notify("One", "low");
  fixture.hub.notify("Two", "low");
  assertEquals(client.takeSummaries(), ["state idle", "state notification"]);
  const { turn, prompt } = await fixture.startTurn();
  turn.cancel();
  prompt.end("cancelled");
  assertEquals(client.summaries, ["state idle", "state thinking", "state idle"]);
});

Deno.test("EventHub: a subscriber that detaches during delivery does not affect the others", async () => {
  using fixture = new HubFixture();
  const [one, two, three] = [fixture.connect(), fixture.connect(), fixture.connect()];
  const send = two.send.bind(two);
  two.send = (message) => {
    send(message);
    two.subscriber.detach();
  };
  const { prompt } = await fixture.startTurn();
  prompt.say("Hm.");
  prompt.end();
  for (const { summaries } of [one, three]) {
    assertEquals(summaries, ["state idle", "state thinking", "state attention"]);
  }
  assertEquals(two.summaries, ["state idle", "state thinking"]);
});

Deno.test("EventHub: rejects the 5001st subscriber", () => {
  using fixture = new HubFixture();
  const transport = { send() {}, backlog: 0, close() {} };
  for (let i = 0; i < 5_000; i++) fixture.hub.subscribe(transport, LOCAL_CALLER);
  const error: AppError = assertThrows(() => fixture.hub.subscribe(transport, LOCAL_CALLER), AppError);
  assertEquals([error.code, error.retryAfterSecs], ["rate_limit_exceeded", 5]);
});

Deno.test("EventHub: closing disconnects all subscribers and publishes nothing more", async () => {
  using fixture = new HubFixture();
  const clients = [fixture.connect(), fixture.connect()];
  const { turn, prompt } = await fixture.startTurn();
  fixture.hub.close();
  for (const { closed } of clients) assertEquals(closed?.code, 1001);
  const error: AppError = assertThrows(() => fixture.connect(), AppError);
  assertEquals([fixture.hub.snapshot(LOCAL_CALLER).watchers, error.code], [0, "shutting_down"]);
  turn.cancel();
  prompt.end("cancelled");
  for (const { summaries } of clients) assertEquals(summaries, ["state idle", "state thinking"]);
});

for (const what of ["a notification", "the end of a turn"]) {
  Deno.test(`EventHub: ${what} after closing leaves no timer`, async () => {
    const fixture = new HubFixture({ holdMs: 500 });
    const { prompt } = await fixture.startTurn();
    fixture.hub.close();
    if (what === "a notification") fixture.hub.notify("Too late", "low");
    prompt.end(what === "a notification" ? "cancelled" : "end_turn");
  });
}

Deno.test("EventHub: however turns overlap, each begins with thinking and ends with one idle", async () => {
  for (let seed = 0; seed < 60; seed++) {
    const random = new Random(seed);
    using fixture = new HubFixture({ holdMs: 0 });
    const client = fixture.connect();
    const running: { turn: Turn; prompt: MemoryPrompt; events: Iterator<TurnEvent> }[] = [];
    for (let step = 0; step < 60 || running.length > 0; step++) {
      if (step < 60 && running.length < 4 && random.below(5) === 0) {
        running.push({ ...await fixture.startTurn(`c${step % 3}`), events: randomEvents(random, 10) });
      }
      const at = random.below(running.length || 1);
      const { turn, prompt, events } = running[at] ?? {};
      const next = events?.next();
      if (next?.done === false) prompt?.emit(next.value);
      if (next?.done) {
        const end = random.pick(RANDOM_ENDS);
        if (end.type === "end" && end.reason === "cancelled") turn?.cancel();
        prompt?.emit(end);
        running.splice(at, 1);
      }
      if (random.below(10) === 0) await nextTask();
    }
    while (fixture.hub.snapshot(LOCAL_CALLER).sessions.length > 0) await nextTask();
    const states = client.frames.slice(1).filter(({ type }) => type === "agent_state");
    for (const [id, own = []] of Map.groupBy(states, ({ turn_id }) => turn_id)) {
      const names = own.map(({ state }) => state);
      assertEquals([names[0], names.indexOf("idle")], ["thinking", names.length - 1], `${seed} ${id}`);
    }
    const { state, permissions } = fixture.hub.snapshot(LOCAL_CALLER);
    assertEquals([states.at(-1)?.state ?? "idle", state, permissions], ["idle", "idle", []]);
  }
});
