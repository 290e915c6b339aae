import { assertEquals } from "@std/assert";
import { frameOf } from "../../lib/events/wire.ts";
import { TurnState } from "../../lib/events/turn_state.ts";
import {
  TOOL_KINDS,
  type ToolCall,
  type ToolCallId,
  type ToolKind,
  type TurnEvent,
} from "../../lib/turn/event.ts";
import { AppError } from "../../lib/core/errors.ts";
import { answered, asks, briefOf } from "../support/harness/events_fixture.ts";

const ABOUT = { session_id: "mao", turn_id: "turn-1" };
const END = { type: "end", reason: "end_turn" } as const;
const FAILED = { type: "failure", failure: new AppError("agent_crashed", "Gone.") } as const;
const PLAN = { type: "plan", entries: [{ content: "a", priority: "low", status: "pending" }] } as const;

function tool(
  id: string,
  status: ToolCall["status"] = "in_progress",
  more: Partial<ToolCall> = {},
): TurnEvent {
  return { type: "tool", tool: { id: id as ToolCallId, title: "ls", kind: "search", status, ...more } };
}
const agent = (id: string, status: ToolCall["status"] = "in_progress") =>
  tool(id, status, { title: "Task", kind: "think", isSubagent: true });

/** All that watchers are told of a turn of these events, in brief. */
function told(events: readonly TurnEvent[], unasked = false): string[] {
  const watch = new TurnState(ABOUT, unasked);
  return [...watch.begun(), ...events.flatMap((event) => watch.heard(event)), ...watch.rest()].map(briefOf);
}

const TURNS: readonly [name: string, events: readonly TurnEvent[], told: readonly string[]][] = [
  ["nothing but its end", [END], ["state thinking", "state attention", "state idle"]],
  [
    "words, thoughts and usage, which are not their business",
    [
      { type: "text", text: "Hi" },
      { type: "thought", text: "hm" },
      { type: "usage", usage: { inputTokens: 1, outputTokens: 1, thoughtTokens: 0, cachedTokens: 0 } },
      END,
    ],
    ["state thinking", "state attention", "state idle"],
  ],
  [
    "an emotion",
    [{ type: "emotion", tag: "happy", intensity: 0.5 }, END],
    ["state thinking", "emotion happy 0.5", "state attention", "state idle"],
  ],
  ["a plan", [PLAN, PLAN, END], ["state thinking", "plan 1", "plan 1", "state attention", "state idle"]],
  [
    "a tool: a start and an end",
    [tool("a", "pending"), tool("a", "in_progress"), tool("a", "in_progress"), tool("a", "completed"), END],
    [
      "state thinking",
      "tool a pending",
      "state working",
      "tool a done",
      "state thinking",
      "state attention",
      "state idle",
    ],
  ],
  [
    "a tool that is over when it is told of",
    [tool("a", "completed"), tool("b", "failed"), END],
    ["state thinking", "tool a done", "tool b failed", "state attention", "state idle"],
  ],
  [
    "two tools at once: working until both are done",
    [tool("a"), tool("b"), tool("a", "completed"), tool("b", "failed"), END],
    [
      "state thinking",
      "tool a running",
      "state working",
      "tool b running",
      "tool a done",
      "tool b failed",
      "state thinking",
      "state attention",
      "state idle",
    ],
  ],
  [
    "sub-agents: juggling, and told again when there are more or fewer",
    [
      agent("a"),
      agent("b"),
      tool("c"),
      agent("a", "completed"),
      agent("b", "completed"),
      tool("c", "completed"),
      END,
    ],
    [
      "state thinking",
      "tool a running",
      "state juggling",
      "tool b running",
      "state juggling",
      "tool c running",
      "tool a done",
      "state juggling",
      "tool b done",
      "state working",
      "tool c done",
      "state thinking",
      "state attention",
      "state idle",
    ],
  ],
  [
    "a permission that is given",
    [tool("t1"), asks("p1"), answered("p1"), tool("t1", "completed"), END],
    [
      "state thinking",
      "tool t1 running",
      "state working",
      "asks p1",
      "state notification",
      "p1 allowed by me",
      "state working",
      "tool t1 done",
      "state thinking",
      "state attention",
      "state idle",
    ],
  ],
  [
    "two permissions at once",
    [asks("p1"), asks("p2"), answered("p1", "rejected"), answered("p2"), END],
    [
      "state thinking",
      "asks p1",
      "state notification",
      "asks p2",
      "p1 rejected by me",
      "p2 allowed by me",
      "state thinking",
      "state attention",
      "state idle",
    ],
  ],
  [
    "tools that were left open: done",
    [tool("a"), agent("b"), END],
    [
      "state thinking",
      "tool a running",
      "state working",
      "tool b running",
      "state juggling",
      "tool a done",
      "tool b done",
      "state attention",
      "state idle",
    ],
  ],
  [
    "a failure: what was left open failed",
    [tool("a"), FAILED],
    ["state thinking", "tool a running", "state working", "tool a failed", "state error", "state idle"],
  ],
  [
    "a cancel: idle at once",
    [tool("a"), { type: "end", reason: "cancelled" }],
    ["state thinking", "tool a running", "state working", "tool a failed", "state idle"],
  ],
  ["a refusal", [{ type: "end", reason: "refusal" }], ["state thinking", "state attention", "state idle"]],
  ["too many tokens", [{ type: "end", reason: "max_tokens" }], [
    "state thinking",
    "state attention",
    "state idle",
  ]],
];

for (const [name, events, expected] of TURNS) {
  Deno.test(`TurnWatch: ${name}`, () => assertEquals(told(events), expected));
}

Deno.test("TurnWatch: no state is told twice in a row, but for another number of sub-agents", () => {
  for (const [name, events] of TURNS) {
    const states = told(events).filter((brief) => brief.startsWith("state ") && brief !== "state juggling");
    assertEquals(states.filter((state, i) => state === states[i - 1]), [], name);
  }
});

const UNASKED: readonly [name: string, events: readonly TurnEvent[], told: readonly string[]][] = [
  ["its end is not celebrated", [END], ["state thinking", "state idle"]],
  ["nor is its failure", [FAILED], ["state thinking", "state idle"]],
  ["its emotions are not shown", [{ type: "emotion", tag: "happy", intensity: 1 }, END], [
    "state thinking",
    "state idle",
  ]],
  ["its tools are", [tool("a"), END], [
    "state thinking",
    "tool a running",
    "state working",
    "tool a done",
    "state idle",
  ]],
  ["what it asks is", [asks("p1"), answered("p1"), END], [
    "state thinking",
    "asks p1",
    "state notification",
    "p1 allowed by me",
    "state thinking",
    "state idle",
  ]],
];
for (const [name, events, expected] of UNASKED) {
  Deno.test(`TurnWatch, a turn that nobody asked for: ${name}`, () =>
    assertEquals(told(events, true), expected));
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
for (const kind of TOOL_KINDS) {
  Deno.test(`TurnWatch: a tool of the kind ${kind} is of the class ${CLASSES[kind]}`, () => {
    const watch = new TurnState(ABOUT);
    watch.begun();
    assertEquals(watch.heard(tool("a", "in_progress", { kind, title: "x" }))[1], {
      type: "agent_state",
      ...ABOUT,
      state: "working",
      detail: { tool_class: CLASSES[kind] as "tool", tool_name: "x" },
    });
  });
}

Deno.test("TurnWatch: every event says what turn it is about, with all its fields", () => {
  const watch = new TurnState(ABOUT);
  const heard = (event: TurnEvent) => watch.heard(event);
  assertEquals(watch.begun(), [{ type: "agent_state", ...ABOUT, state: "thinking" }]);
  assertEquals(heard({ type: "emotion", tag: "sad", intensity: 0.2 }), [
    { type: "emotion", ...ABOUT, tag: "sad", intensity: 0.2 },
  ]);
  assertEquals(heard(PLAN), [{ type: "plan", ...ABOUT, entries: PLAN.entries }]);
  assertEquals(heard(agent("a"))[0], {
    type: "tool_status",
    ...ABOUT,
    tool_call_id: "a",
    tool_name: "Task",
    kind: "think",
    status: "running",
  });
  assertEquals(watch.state, {
    type: "agent_state",
    ...ABOUT,
    state: "juggling",
    detail: { tool_class: "tool", tool_name: "Task", subagent_count: 1 },
  });
  assertEquals(heard(asks("p1")), [{
    type: "permission_request",
    ...ABOUT,
    request_id: "p1",
    tool: { tool_call_id: "t1", tool_name: "rm -r x", kind: "execute", detail: "rm -r /tmp/x" },
    options: [
      { option_id: "yes", name: "Yes", kind: "allow_once" },
      { option_id: "no", name: "No", kind: "reject_once" },
    ],
    expires_at: 1_000,
  }, { type: "agent_state", ...ABOUT, state: "notification", detail: { tool_name: "rm -r x" } }]);
  const { resolution } = answered("p1");
  const chosen = { ...resolution, option: { id: "yes", name: "Yes", kind: "allow_once" } };
  assertEquals(heard({ type: "permission_resolved", resolution: chosen })[0], {
    type: "permission_resolved",
    ...ABOUT,
    request_id: "p1",
    outcome: "allowed",
    option_id: "yes",
    by: "me",
  });
});

Deno.test("TurnWatch: what the agent does not show of a tool is left out", () => {
  const [request] = new TurnState(ABOUT).heard(asks("p1", { detail: "" }));
  assertEquals(request?.type === "permission_request" && "detail" in request.tool, false);
});

Deno.test("TurnWatch: the long title of a tool is cut, in a whole character", () => {
  const named = (title: string) => {
    const [status] = new TurnState(ABOUT).heard(tool("a", "in_progress", { title }));
    return status?.type === "tool_status" ? status.tool_name : "";
  };
  assertEquals(named("x".repeat(200)), "x".repeat(200));
  assertEquals(named("x".repeat(201)), "x".repeat(200) + "...");
  assertEquals(named("x".repeat(199) + "😀").isWellFormed(), true);
});

Deno.test("TurnWatch: what is open, planned and asked is there for newcomers, and gone at the end", () => {
  const watch = new TurnState(ABOUT);
  for (
    const event of [
      tool("a"),
      tool("b"),
      tool("a", "completed"),
      PLAN,
      asks("p1"),
      asks("p2"),
      answered("p1"),
    ]
  ) {
    watch.heard(event);
  }
  assertEquals(watch.tools.map(briefOf), ["tool b running"]);
  assertEquals(watch.permissions.map(briefOf), ["asks p2"]);
  assertEquals([watch.plan, watch.ended], [PLAN.entries, false]);
  watch.heard(answered("p2"));
  watch.heard(END);
  assertEquals([watch.tools, watch.permissions, watch.ended, watch.state.state], [[], [], true, "attention"]);
  watch.rest();
  assertEquals([watch.ended, watch.state.state, watch.rest()], [true, "idle", []]);
});

Deno.test("TurnWatch: of more than 1000 tools at once no more are told of", () => {
  const watch = new TurnState(ABOUT);
  for (let i = 0; i < 1_000; i++) watch.heard(tool(`t${i}`));
  assertEquals(watch.heard(tool("beyond")), []);
  assertEquals(watch.tools.length, 1_000);
});

const ENDS: readonly [name: string, events: readonly TurnEvent[], told: readonly string[]][] = [
  [
    "a tool whose title changes after its end has one end",
    [tool("a"), tool("a", "completed"), tool("a", "completed", { title: "ls -l" })],
    ["tool a running", "tool a done"],
  ],
  [
    "a tool that fails after its end has one end",
    [tool("a"), tool("a", "completed"), tool("a", "failed")],
    ["tool a running", "tool a done"],
  ],
  [
    "a tool that is over when it is told of, twice, has one end",
    [tool("a", "completed"), tool("a", "completed", { title: "ls -l" })],
    ["tool a done"],
  ],
  [
    "a tool that goes on after its end has one start",
    [tool("a"), tool("a", "completed"), tool("a", "in_progress"), tool("a", "completed")],
    ["tool a running", "tool a done"],
  ],
];
for (const [name, events, expected] of ENDS) {
  Deno.test(`TurnWatch: ${name}`, () => {
    assertEquals(told([...events, END]).filter((brief) => brief.startsWith("tool ")), expected);
  });
}

Deno.test("frameOf: type and time first, then the fields, as one line", () => {
  assertEquals(
    frameOf({ type: "agent_state", state: "idle" }, 1_700_000_000_999),
    '{"type":"agent_state","ts":1700000000,"state":"idle"}',
  );
  assertEquals(frameOf({ type: "pong" }, 0), '{"type":"pong","ts":0}');
  const frame = frameOf({ type: "notification", text: "a\nb\u2028c", urgency: "low" });
  assertEquals(frame.includes("\n"), false);
  assertEquals(Math.abs(JSON.parse(frame).ts - Date.now() / 1000) < 60, true);
});

Deno.test("TurnWatch: of a long plan the first lines are told, each in bounds", () => {
  const entries = Array.from(
    { length: 200 },
    (_, at) => ({ content: `${at} ${"x".repeat(600)}`, priority: "low", status: "pending" } as const),
  );
  const watch = new TurnState(ABOUT);
  watch.heard({ type: "plan", entries });
  assertEquals([watch.plan?.length, watch.plan?.[99]?.content.length], [100, 503]);
});
