import { assertEquals, assertMatch } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { TurnState } from "../../lib/events/turn_state.ts";
import {
  TOOL_KINDS,
  type ToolCall,
  type ToolCallId,
  type ToolKind,
  type TurnEvent,
} from "../../lib/turn/event.ts";
import {
  permissionEvent,
  RANDOM_ENDS,
  randomEvents,
  resolvedEvent,
  summarize,
} from "../support/harness/events_fixture.ts";
import { Random } from "../support/harness/random.ts";

const REF = { session_id: "mao", turn_id: "turn-1" };
const END = { type: "end", reason: "end_turn" } as const;
const CANCELLED = { type: "end", reason: "cancelled" } as const;
const FAILED = { type: "failure", failure: new AppError("agent_crashed", "Gone.") } as const;
const PLAN = { type: "plan", entries: [{ content: "a", priority: "low", status: "pending" }] } as const;
const EMOTION = { type: "emotion", tag: "happy", intensity: 0.5, at: 7 } as const;
const SPEECH = { type: "speech", text: "Hi" } as const;

function tool(
  id: string,
  status: ToolCall["status"] = "in_progress",
  more: Partial<ToolCall> = {},
): Extract<TurnEvent, { type: "tool" }> {
  return { type: "tool", tool: { id: id as ToolCallId, title: "ls", kind: "search", status, ...more } };
}
const subagent = (id: string, status: ToolCall["status"] = "in_progress") =>
  tool(id, status, { title: "Task", kind: "think", isSubagent: true });
const asks = permissionEvent;
const answered = resolvedEvent;
const withdrawn = (id: string) => resolvedEvent(id, "cancelled", "turn");

/** Summarizes the wire events of a turn of these events; states by their names alone. */
function run(events: readonly TurnEvent[], unsolicited = false): string {
  const turn = new TurnState(REF, unsolicited);
  const published = [...turn.start(), ...events.flatMap((event) => turn.apply(event)), ...turn.retire()];
  return published.map((event) => summarize(event).replace(/^state /, "")).join("; ");
}

type Row = readonly [name: string, events: readonly TurnEvent[], published: string];

const TURNS: readonly Row[] = [
  [
    "text, thoughts and usage are not published",
    [
      { type: "text", text: "Hi" },
      { type: "thought", text: "hm" },
      { type: "usage", usage: { inputTokens: 1, outputTokens: 1, thoughtTokens: 0, cachedTokens: 0 } },
      END,
    ],
    "thinking; attention; idle",
  ],
  ["an emotion", [EMOTION, END], "thinking; emotion happy 0.5; attention; idle"],
  ["speech", [SPEECH, END], "thinking; say Hi; attention; idle"],
  [
    "a tool has one start and one end",
    [tool("a", "pending"), tool("a", "in_progress"), tool("a", "in_progress"), tool("a", "completed"), END],
    "thinking; tool a pending; working; tool a done; thinking; attention; idle",
  ],
  [
    "tools that are announced when they have ended",
    [tool("a", "completed"), tool("b", "failed"), END],
    "thinking; tool a done; tool b failed; attention; idle",
  ],
  [
    "two tools: working until both have ended",
    [tool("a"), tool("b"), tool("a", "completed"), tool("b", "failed"), END],
    "thinking; tool a running; working; tool b running; tool a done; tool b failed; thinking; attention; idle",
  ],
  [
    "sub-agents: juggling, published again for each other number of them",
    [
      ...[subagent("a"), subagent("b"), tool("c"), subagent("a", "completed"), subagent("b", "completed")],
      ...[tool("c", "completed"), END],
    ],
    "thinking; tool a running; juggling; tool b running; juggling; tool c running; tool a done; juggling; " +
    "tool b done; working; tool c done; thinking; attention; idle",
  ],
  [
    "an allowed permission",
    [tool("t1"), asks("p1"), answered("p1"), tool("t1", "completed"), END],
    "thinking; tool t1 running; working; asks p1; notification; p1 allowed by me; working; tool t1 done; " +
    "thinking; attention; idle",
  ],
  [
    "two permissions: notification until both are resolved",
    [asks("p1"), asks("p2"), answered("p1", "rejected"), answered("p2"), END],
    "thinking; asks p1; notification; asks p2; p1 rejected by me; p2 allowed by me; thinking; attention; idle",
  ],
  [
    "open tools at the end are done",
    [tool("a"), subagent("b"), END],
    "thinking; tool a running; working; tool b running; juggling; tool a done; tool b done; attention; idle",
  ],
  [
    "open tools at a failure failed",
    [tool("a"), FAILED],
    "thinking; tool a running; working; say \nSorry, my agent stopped unexpectedly. Please try again.\n; tool a failed; " +
    "error; idle",
  ],
  [
    "a cancelled turn is idle at once",
    [tool("a"), CANCELLED],
    "thinking; tool a running; working; tool a failed; idle",
  ],
  [
    "a request and a tool that close because the turn ends",
    [asks("p1"), tool("a"), withdrawn("p1"), { ...tool("a", "failed"), closing: true }, CANCELLED],
    "thinking; asks p1; notification; tool a running; p1 cancelled by turn; tool a failed; idle",
  ],
  ["a refusal", [{ type: "end", reason: "refusal" }], "thinking; attention; idle"],
  [
    "updates of a tool after its end are ignored",
    [
      tool("a"),
      tool("a", "completed"),
      tool("a", "in_progress", { title: "ls -l" }),
      tool("a", "failed"),
      END,
    ],
    "thinking; tool a running; working; tool a done; thinking; attention; idle",
  ],
];
for (const [name, events, published] of TURNS) {
  Deno.test(`TurnState: ${name}`, () => assertEquals(run(events), published));
}

const UNSOLICITED: readonly Row[] = [
  ["its failure is idle", [FAILED], "thinking; idle"],
  ["its emotions and speech are not published", [EMOTION, SPEECH, END], "thinking; idle"],
  ["its tools are published", [tool("a"), END], "thinking; tool a running; working; tool a done; idle"],
];
for (const [name, events, published] of UNSOLICITED) {
  Deno.test(`TurnState: an unsolicited turn: ${name}`, () => assertEquals(run(events, true), published));
}

const CLASSES: Readonly<Record<ToolKind, string>> = {
  read: "tool",
  search: "tool",
  think: "tool",
  switch_mode: "tool",
  other: "tool",
  edit: "coding",
  delete: "coding",
  move: "coding",
  execute: "coding",
  fetch: "web",
};
Deno.test("TurnState: each kind of tool has a class", () => {
  for (const kind of TOOL_KINDS) {
    const turn = new TurnState(REF);
    turn.apply(tool("a", "in_progress", { kind, title: "x" }));
    assertEquals(turn.state.detail, { tool_class: CLASSES[kind] as "tool", tool_name: "x" }, kind);
  }
});

Deno.test("TurnState: a silent agent without an open tool waits for its model, until the next event", () => {
  const turn = new TurnState(REF);
  turn.start();
  const state = { type: "agent_state", ...REF, state: "thinking" } as const;
  assertEquals(turn.wait(), [{ ...state, detail: { waiting: true } }]);
  assertEquals(turn.wait(), []);
  assertEquals(turn.apply({ type: "text", text: "Hi" }), [state]);
  turn.apply(tool("a"));
  assertEquals(turn.wait(), []);
  assertEquals(turn.apply(tool("a", "completed")).map(summarize), ["tool a done", "state thinking"]);
  assertEquals(turn.wait().map(summarize), ["state thinking"]);
  assertEquals(turn.apply(END).map(summarize), ["state attention"]);
});

Deno.test("TurnState: every event has the turn and all its fields", () => {
  const turn = new TurnState(REF);
  assertEquals(turn.start(), [{ type: "agent_state", ...REF, state: "thinking" }]);
  assertEquals(turn.apply(EMOTION), [{ ...EMOTION, ...REF }]);
  assertEquals(turn.apply(SPEECH), [{ type: "say", ...REF, text: "Hi" }]);
  assertEquals(turn.apply(PLAN), [{ type: "plan", ...REF, entries: PLAN.entries }]);
  assertEquals(turn.apply(subagent("a"))[0], {
    type: "tool_status",
    ...REF,
    tool_call_id: "a",
    tool_name: "Task",
    kind: "think",
    status: "running",
  });
  assertEquals(turn.state, {
    type: "agent_state",
    ...REF,
    state: "juggling",
    detail: { tool_class: "tool", tool_name: "Task", subagent_count: 1 },
  });
  assertEquals(turn.apply(asks("p1")), [{
    type: "permission_request",
    ...REF,
    request_id: "p1",
    tool: { tool_call_id: "t1", tool_name: "rm -r x", kind: "execute", detail: "rm -r /tmp/x" },
    options: [
      { option_id: "yes", name: "Yes", kind: "allow_once" },
      { option_id: "no", name: "No", kind: "reject_once" },
    ],
    expires_at: 1_000,
  }, { type: "agent_state", ...REF, state: "notification", detail: { tool_name: "rm -r x" } }]);
  const option = { id: "yes", name: "Yes", kind: "allow_once" };
  const { resolution } = answered("p1");
  assertEquals(turn.apply({ type: "permission_resolved", resolution: { ...resolution, option } })[0], {
    type: "permission_resolved",
    ...REF,
    request_id: "p1",
    outcome: "allowed",
    option_id: "yes",
    by: "me",
  });
});

Deno.test("TurnState: a long detail is cut in its middle, and can only be rejected until it was seen whole", () => {
  const detail = `cd /tmp ${"x".repeat(5_000)} && rm -rf ~`;
  const state = new TurnState(REF);
  const [request] = state.apply(asks("p1", { detail }));
  if (request?.type !== "permission_request") throw new Error("No request");
  const { detail: shown = "", detail_chars } = request.tool;
  assertEquals(detail_chars, detail.length);
  assertMatch(shown, /^cd \/tmp x+\n\[1020 characters left out\]\nx+ && rm -rf ~$/);
  assertEquals(request.options.map(({ kind }) => kind), ["reject_once"]);
  const whole = state.wholePermission("p1");
  assertEquals([whole?.tool.detail, whole?.tool.detail_chars], [detail, detail.length]);
  assertEquals(whole?.options.map(({ kind }) => kind), ["allow_once", "reject_once"]);
  assertEquals(state.wholePermission("p2"), undefined);
});

Deno.test("TurnState: a permission request without a detail has no such field", () => {
  const [request] = new TurnState(REF).apply(asks("p1", { detail: "" }));
  assertEquals(request?.type === "permission_request" && "detail" in request.tool, false);
});

Deno.test("TurnState: long titles are cut, never inside a character", () => {
  const nameOf = (title: string) => {
    const [status] = new TurnState(REF).apply(tool("a", "in_progress", { title }));
    return status?.type === "tool_status" ? status.tool_name : "";
  };
  assertEquals(nameOf("x".repeat(200)), "x".repeat(200));
  assertEquals(nameOf("x".repeat(201)), "x".repeat(200) + "...");
  assertEquals(nameOf("x".repeat(199) + "😀").isWellFormed(), true);
});

Deno.test("TurnState: open tools, requests and the plan are kept until the end", () => {
  const turn = new TurnState(REF);
  const events = [tool("a"), tool("b"), tool("a", "completed"), PLAN, asks("p1"), asks("p2"), answered("p1")];
  for (const event of events) turn.apply(event);
  assertEquals(turn.tools.map(summarize), ["tool b running"]);
  assertEquals(turn.permissions.map(summarize), ["asks p2"]);
  assertEquals([turn.plan, turn.hasEnded], [PLAN.entries, false]);
  turn.apply(answered("p2"));
  turn.apply(END);
  assertEquals([turn.tools, turn.permissions, turn.hasEnded, turn.state.state], [[], [], true, "attention"]);
  turn.retire();
  assertEquals([turn.hasEnded, turn.state.state, turn.retire()], [true, "idle", []]);
});

Deno.test("TurnState: the 1001st tool is ignored", () => {
  const turn = new TurnState(REF);
  for (let i = 0; i < 1_000; i++) turn.apply(tool(`t${i}`));
  assertEquals([turn.apply(tool("beyond")), turn.tools.length], [[], 1_000]);
});

Deno.test("TurnState: whatever an agent does, no state repeats, and each tool starts once and ends once", () => {
  for (let seed = 0; seed < 60; seed++) {
    const random = new Random(seed);
    const turn = new TurnState(REF);
    const events = [...randomEvents(random, 40), random.pick(RANDOM_ENDS)];
    const published = [...turn.start(), ...events.flatMap((event) => turn.apply(event)), ...turn.retire()];
    const states = published.flatMap((event) =>
      event.type === "agent_state" ? [`${event.state} ${event.detail?.subagent_count ?? 0}`] : []
    );
    assertEquals([states[0], states.at(-1)], ["thinking 0", "idle 0"], `seed ${seed}`);
    const repeated = states.filter((state, i) => state === states[i - 1] || state === "idle 0");
    assertEquals(repeated.length, 1, `seed ${seed}`);
    const tools = published.flatMap((event) => event.type === "tool_status" ? [event] : []);
    const isStart = ({ status }: typeof tools[number]) => status === "pending" || status === "running";
    const started = tools.filter(isStart).map(({ tool_call_id }) => tool_call_id);
    const ended = tools.filter((tool) => !isStart(tool)).map(({ tool_call_id }) => tool_call_id);
    assertEquals(
      [new Set(started).size, new Set(ended).size],
      [started.length, ended.length],
      `seed ${seed}`,
    );
    assertEquals(started.toSorted(), ended.toSorted(), `seed ${seed}`);
  }
});

Deno.test("TurnState: a failed turn tells the code, the cause and the agent's own words", () => {
  const fails = (unsolicited: boolean) => {
    const state = new TurnState(REF, unsolicited);
    const failure = new AppError("agent_error", "quota exceeded".padEnd(2_000), { reason: "quota" });
    state.apply({ type: "failure", failure });
    return state.state;
  };
  const { state, detail } = fails(false);
  assertEquals([state, detail?.error?.code, detail?.error?.reason], ["error", "agent_error", "quota"]);
  assertEquals(detail?.error?.message, "quota exceeded".padEnd(1_000) + "...");
  assertEquals([fails(true).state, fails(true).detail], ["idle", undefined]);
});

Deno.test("TurnState: a turn that the agent ended without a word is an error", () => {
  const state = new TurnState(REF);
  state.apply({ type: "end", reason: "end_turn", isEmpty: true });
  assertEquals([state.state.state, state.state.detail?.error?.reason], ["error", "provider"]);
});
