import { assertEquals } from "@std/assert";
import { enqueue, PetState, post, type QueuedStep, type Step } from "../../lib/clawd/pet_state.ts";
import { type ClawdEvent, isClawdEvent } from "../../lib/clawd/wire.ts";
import type { VtuberEvent } from "../../lib/events/wire.ts";
import { ask, juggling, NOTIFICATION, resolved, state, tool } from "../support/harness/clawd_fixture.ts";

// Type check: the hub's events fit the slices that the pet reads.
type Subscribed = Extract<VtuberEvent, { type: ClawdEvent["type"] }>;
const _isAssignable: (event: Subscribed) => ClawdEvent = (event) => event;

function summarize(step: Step): string {
  switch (step.type) {
    case "post": {
      const { state, event = "-", session_id, tool_name } = step.body;
      return [state, event, session_id, ...(tool_name === undefined ? [] : [`(${tool_name})`])].join(" ");
    }
    case "ask":
      return `ask ${step.request.request_id} ${step.sessionId}`;
    case "release":
      return `release ${step.requestId}`;
    default:
      return step satisfies never;
  }
}

function apply(pet: PetState, ...events: VtuberEvent[]): string[] {
  return events.flatMap((event) => isClawdEvent(event) ? pet.apply(event) : []).map(summarize);
}

const STARTED = ["idle SessionStart oab-chat", "thinking UserPromptSubmit oab-chat"];
const WORKING = [...STARTED, "working PreToolUse oab-chat (npm test)"];
const turn2 = { turn_id: "turn-2" };

const CASES: Record<string, [events: VtuberEvent[], steps: string[]]> = {
  "a turn without tools": [
    [state("thinking"), state("attention"), state("idle")],
    [...STARTED, "attention Stop oab-chat"],
  ],
  "a tool": [
    [
      state("thinking"),
      tool("pending"),
      state("working", { detail: { tool_name: "npm test" } }),
      tool("done"),
      state("thinking"),
      state("attention"),
      state("idle"),
    ],
    [...WORKING, "attention Stop oab-chat"],
  ],
  "no flicker between tools": [
    [
      ...[state("thinking"), tool("running"), state("working"), tool("done"), state("thinking")],
      ...[tool("running", { tool_call_id: "call-2" }), state("working"), tool("done"), state("thinking")],
    ],
    WORKING,
  ],
  "a state without a tool's status": [
    [state("thinking"), state("working", { detail: { tool_name: "ls" } })],
    [...STARTED, "working PreToolUse oab-chat (ls)"],
  ],
  "a tool that is announced when it has ended": [
    [state("thinking"), tool("done")],
    [...STARTED, "working PostToolUse oab-chat (npm test)"],
  ],
  "a tool that fails": [
    [state("thinking"), tool("pending"), tool("failed"), state("thinking"), state("attention")],
    [...WORKING, "error PostToolUseFailure oab-chat (npm test)", "attention Stop oab-chat"],
  ],
  "a failed turn, whose session is idle afterwards": [
    [state("thinking"), state("error"), state("idle"), state("idle")],
    [...STARTED, "error StopFailure oab-chat", "idle - oab-chat"],
  ],
  "a failed turn and the next one": [
    [state("thinking"), state("error"), state("thinking", turn2), state("attention", turn2)],
    [
      ...STARTED,
      "error StopFailure oab-chat",
      "thinking UserPromptSubmit oab-chat",
      "attention Stop oab-chat",
    ],
  ],
  "an interrupted turn goes to idle": [
    [state("thinking"), tool("pending"), state("idle")],
    [...WORKING, "idle - oab-chat"],
  ],
  "a turn that supersedes another": [
    [state("thinking"), tool("pending"), state("thinking", turn2), tool("done"), state("idle")],
    [...WORKING, "thinking UserPromptSubmit oab-chat"],
  ],
  "events of a turn after its end are ignored": [
    [
      ...[state("thinking"), state("attention"), state("idle")],
      ...[tool("pending"), tool("failed"), ask(), state("working"), juggling(2), state("attention")],
      ...[state("error"), state("notification"), resolved("cancelled"), state("idle")],
    ],
    [...STARTED, "attention Stop oab-chat"],
  ],
  "the end of an unknown turn": [
    [state("idle"), state("attention"), state("error"), tool("done")],
    [],
  ],
  "a sub-agent juggles until SubagentStop": [
    [state("thinking"), tool("pending"), juggling(1), state("thinking"), state("attention")],
    [
      ...WORKING,
      "juggling SubagentStart oab-chat",
      "working PreToolUse oab-chat:sub1",
      "sleeping SessionEnd oab-chat:sub1",
      "working SubagentStop oab-chat",
      "attention Stop oab-chat",
    ],
  ],
  "sub-agents start and end": [
    [state("thinking"), juggling(2), juggling(3), juggling(1), state("working")],
    [
      ...STARTED,
      "juggling SubagentStart oab-chat",
      "working PreToolUse oab-chat:sub1",
      "juggling SubagentStart oab-chat:sub2",
      "juggling SubagentStart oab-chat:sub3",
      "sleeping SessionEnd oab-chat:sub3",
      "sleeping SessionEnd oab-chat:sub2",
      "sleeping SessionEnd oab-chat:sub1",
      "working SubagentStop oab-chat",
    ],
  ],
  "other tools do not end juggling": [
    [state("thinking"), juggling(1), tool("pending", { tool_call_id: "call-2" }), tool("done")],
    [...STARTED, "juggling SubagentStart oab-chat", "working PreToolUse oab-chat:sub1"],
  ],
  "the end of a turn ends its sub-agents first": [
    [state("thinking"), juggling(2), state("attention")],
    [
      ...STARTED,
      "juggling SubagentStart oab-chat",
      "working PreToolUse oab-chat:sub1",
      "juggling SubagentStart oab-chat:sub2",
      "sleeping SessionEnd oab-chat:sub2",
      "sleeping SessionEnd oab-chat:sub1",
      "attention Stop oab-chat",
    ],
  ],
  "a permission": [
    [
      ...[state("thinking"), tool("pending"), state("working"), ask(), state("notification")],
      ...[resolved("allowed"), state("working"), tool("done")],
    ],
    [
      ...WORKING,
      "notification PermissionRequest oab-chat (npm test)",
      "ask ask-1 oab-chat",
      "release ask-1",
      "working PreToolUse oab-chat (npm test)",
    ],
  ],
  "the failure of a rejected tool is not shown": [
    [state("thinking"), tool("pending"), ask(), resolved("rejected"), tool("failed"), state("thinking")],
    [
      ...WORKING,
      "notification PermissionRequest oab-chat (npm test)",
      "ask ask-1 oab-chat",
      "release ask-1",
      "working PreToolUse oab-chat (npm test)",
    ],
  ],
  "no end of a tool is posted while a permission is open": [
    [
      ...[state("thinking"), tool("pending"), ask()],
      ...[tool("done", { tool_call_id: "call-2" }), tool("failed", { tool_call_id: "call-3" })],
    ],
    [...WORKING, "notification PermissionRequest oab-chat (npm test)", "ask ask-1 oab-chat"],
  ],
  "two permissions at once": [
    [
      ...[state("thinking"), tool("pending"), ask(), ask({ request_id: "ask-2" })],
      ...[resolved("allowed"), resolved("allowed", { request_id: "ask-2" })],
    ],
    [
      ...WORKING,
      "notification PermissionRequest oab-chat (npm test)",
      "ask ask-1 oab-chat",
      "ask ask-2 oab-chat",
      "release ask-1",
      "release ask-2",
      "working PreToolUse oab-chat (npm test)",
    ],
  ],
  "the end of a turn withdraws its request first": [
    [state("thinking"), ask(), state("attention")],
    [
      ...STARTED,
      "notification PermissionRequest oab-chat (npm test)",
      "ask ask-1 oab-chat",
      "release ask-1",
      "attention Stop oab-chat",
    ],
  ],
  "a permission whose request did not come": [
    [
      state("thinking"),
      state("notification"),
      state("working"),
      resolved("allowed", { request_id: "other" }),
    ],
    [
      ...STARTED,
      "notification PermissionRequest oab-chat",
      "working PreToolUse oab-chat",
    ],
  ],
  "notifications while no turn runs": [
    [
      { type: "agent_state", state: "notification" },
      NOTIFICATION,
      { type: "agent_state", state: "idle" },
      { type: "agent_state", state: "notification" },
    ],
    ["notification Notification oab", "notification Notification oab"],
  ],
  "a notification while a turn runs": [
    [state("thinking"), NOTIFICATION],
    [...STARTED, "notification Notification oab"],
  ],
  "a notification after another one and a turn": [
    [{ type: "agent_state", state: "notification" }, NOTIFICATION, state("thinking"), NOTIFICATION],
    ["notification Notification oab", ...STARTED, "notification Notification oab"],
  ],
  "two conversations": [
    [
      ...[state("thinking"), state("thinking", { session_id: "b", turn_id: "turn-b" }), state("attention")],
      state("attention", { session_id: "b", turn_id: "turn-b" }),
    ],
    [
      ...STARTED,
      "idle SessionStart oab-b",
      "thinking UserPromptSubmit oab-b",
      "attention Stop oab-chat",
      "attention Stop oab-b",
    ],
  ],
  "a repeated state": [[state("thinking"), state("thinking")], STARTED],
  "other events and unknown states": [
    [
      { type: "emotion", tag: "happy", intensity: 1 },
      { type: "plan", session_id: "chat", turn_id: "turn-1", entries: [] },
      { type: "say", session_id: "chat", turn_id: "turn-1", text: "Hello" },
      state("sweeping" as "idle"),
    ],
    [],
  ],
};

for (const [name, [events, steps]] of Object.entries(CASES)) {
  Deno.test(`PetState: ${name}`, () => assertEquals(apply(new PetState(), ...events), steps));
}

Deno.test("PetState: refreshes running turns, without an event", () => {
  const pet = new PetState();
  apply(pet, state("thinking"), juggling(1));
  for (let times = 0; times < 2; times++) {
    assertEquals(pet.refresh().map(summarize), ["juggling - oab-chat", "working - oab-chat:sub1"]);
  }
  apply(pet, state("attention"));
  assertEquals(pet.refresh(), []);
});

Deno.test("PetState: close ends every session, sub-agents first", () => {
  const pet = new PetState();
  const other = { session_id: "b", turn_id: "turn-b" };
  apply(pet, state("thinking"), juggling(1), state("thinking", other), state("attention", other));
  apply(pet, NOTIFICATION);
  assertEquals(pet.close().map(summarize), [
    "sleeping SessionEnd oab-chat:sub1",
    "sleeping SessionEnd oab-chat",
    "sleeping SessionEnd oab-b",
    "sleeping SessionEnd oab",
  ]);
});

/** Runs a turn in each of 100 other conversations. */
function runOthers(pet: PetState): void {
  for (let n = 0; n < 100; n++) {
    const ref = { session_id: `s${n}`, turn_id: `t${n}` };
    apply(pet, state("thinking", ref), state("attention", ref));
  }
}

Deno.test("PetState: limits conversations and sub-agents", () => {
  const pet = new PetState();
  runOthers(pet);
  assertEquals(pet.close().length, 12);
  assertEquals(apply(pet, state("thinking"), juggling(500)).length, 2 + 1 + 4);
});

Deno.test("PetState: evicts no conversation with a running turn for others", () => {
  const pet = new PetState();
  apply(pet, state("thinking"));
  runOthers(pet);
  assertEquals(apply(pet, tool("pending"), state("attention")), [
    "working PreToolUse oab-chat (npm test)",
    "attention Stop oab-chat",
  ]);
});

const asking = (request_id: string): Step => ({ type: "ask", request: ask({ request_id }), sessionId: "a" });

/** Enqueues the steps, and summarizes those that wait. */
function waiting(...steps: Step[]): string[] {
  return steps.reduce<readonly QueuedStep[]>(enqueue, []).map(summarize);
}

Deno.test("enqueue: keeps the order", () => {
  const steps = [post("a", "thinking"), post("b", "thinking"), post("a", "working")];
  assertEquals(waiting(...steps), ["thinking - a", "thinking - b", "working - a"]);
});

Deno.test("enqueue: a release removes its request", () => {
  assertEquals(waiting(asking("1"), asking("2"), { type: "release", requestId: "1" }), ["ask 2 a"]);
});

Deno.test("enqueue: the end of a turn removes the failures of its tools", () => {
  const failures = ["a", "b"].map((session) => post(session, "error", "PostToolUseFailure"));
  assertEquals(waiting(...failures, post("a", "idle")), ["error PostToolUseFailure b", "idle - a"]);
});

Deno.test("enqueue: keeps the newest 100 steps", () => {
  const steps = Array.from({ length: 1_000 }, (_, n) => post(`${n}`, "working"));
  const kept = waiting(...steps);
  assertEquals([kept.length, kept[0], kept.at(-1)], [100, "working - 900", "working - 999"]);
});
