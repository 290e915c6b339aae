import { assertEquals } from "@std/assert";
import { type ClawdEvent, isRead } from "../../lib/clawd/wire.ts";
import { PetState } from "../../lib/clawd/pet_state.ts";
import type { Step } from "../../lib/clawd/pet_state.ts";
import type { VtuberEvent } from "../../lib/events/wire.ts";
import { ask, juggling, NOTIFICATION, resolved, state, tool } from "../support/harness/clawd_fixture.ts";

/** What the driver reads of the hub's events is what the hub says. */
type Read = Extract<VtuberEvent, { type: ClawdEvent["type"] }>;
const _sameEvents: (event: Read) => ClawdEvent = (event) => event;

/** A step in brief. */
function brief(step: Step): string {
  switch (step.type) {
    case "post": {
      const { state, event = "-", session_id, tool_name } = step.body;
      return [state, event, session_id, ...(tool_name === undefined ? [] : [`(${tool_name})`])].join(" ");
    }
    case "ask":
      return `ask ${step.ask.request_id} ${step.sessionId}`;
    case "release":
      return `release ${step.requestId}`;
    default:
      return step satisfies never;
  }
}

function taken(map: PetState, ...events: VtuberEvent[]): string[] {
  return events.flatMap((event) => isRead(event) ? map.take(event) : []).map(brief);
}

const BEGUN = ["idle SessionStart oab-chat", "thinking UserPromptSubmit oab-chat"];
const WORKS = [...BEGUN, "working PreToolUse oab-chat (npm test)"];
const turn2 = { turn_id: "turn-2" };

const CASES: Record<string, [events: VtuberEvent[], steps: string[]]> = {
  "a turn without tools": [
    [state("thinking"), state("attention"), state("idle")],
    [...BEGUN, "attention Stop oab-chat"],
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
    [...WORKS, "attention Stop oab-chat"],
  ],
  "no flicker between tools": [
    [
      ...[state("thinking"), tool("running"), state("working"), tool("done"), state("thinking")],
      ...[tool("running", { tool_call_id: "call-2" }), state("working"), tool("done"), state("thinking")],
    ],
    WORKS,
  ],
  "a state without a tool's status": [
    [state("thinking"), state("working", { detail: { tool_name: "ls" } })],
    [...BEGUN, "working PreToolUse oab-chat (ls)"],
  ],
  "a tool that is told when it is over": [
    [state("thinking"), tool("done")],
    [...BEGUN, "working PostToolUse oab-chat (npm test)"],
  ],
  "a tool that fails": [
    [state("thinking"), tool("pending"), tool("failed"), state("thinking"), state("attention")],
    [...WORKS, "error PostToolUseFailure oab-chat (npm test)", "attention Stop oab-chat"],
  ],
  "a turn that fails: its error is shown, and its session is idle afterwards": [
    [state("thinking"), state("error"), state("idle"), state("idle")],
    [...BEGUN, "error StopFailure oab-chat", "idle - oab-chat"],
  ],
  "a turn that fails, and the next": [
    [state("thinking"), state("error"), state("thinking", turn2), state("attention", turn2)],
    [
      ...BEGUN,
      "error StopFailure oab-chat",
      "thinking UserPromptSubmit oab-chat",
      "attention Stop oab-chat",
    ],
  ],
  "a turn that is interrupted is not celebrated": [
    [state("thinking"), tool("pending"), state("idle")],
    [...WORKS, "idle - oab-chat"],
  ],
  "a turn that supersedes one": [
    [state("thinking"), tool("pending"), state("thinking", turn2), tool("done"), state("idle")],
    [...WORKS, "thinking UserPromptSubmit oab-chat"],
  ],
  "what comes of a turn after its end": [
    [
      ...[state("thinking"), state("attention"), state("idle")],
      ...[tool("pending"), tool("failed"), ask(), state("working"), juggling(2), state("attention")],
      ...[state("error"), state("notification"), resolved("cancelled"), state("idle")],
    ],
    [...BEGUN, "attention Stop oab-chat"],
  ],
  "the end of a turn that never began": [
    [state("idle"), state("attention"), state("error"), tool("done")],
    [],
  ],
  "a sub-agent juggles, and ends by SubagentStop": [
    [state("thinking"), tool("pending"), juggling(1), state("thinking"), state("attention")],
    [
      ...WORKS,
      "juggling SubagentStart oab-chat",
      "working PreToolUse oab-chat:sub1",
      "sleeping SessionEnd oab-chat:sub1",
      "working SubagentStop oab-chat",
      "attention Stop oab-chat",
    ],
  ],
  "sub-agents come and go": [
    [state("thinking"), juggling(2), juggling(3), juggling(1), state("working")],
    [
      ...BEGUN,
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
  "other tools do not end the juggling": [
    [state("thinking"), juggling(1), tool("pending", { tool_call_id: "call-2" }), tool("done")],
    [...BEGUN, "juggling SubagentStart oab-chat", "working PreToolUse oab-chat:sub1"],
  ],
  "the turn ends while sub-agents work: they end first": [
    [state("thinking"), juggling(2), state("attention")],
    [
      ...BEGUN,
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
      ...WORKS,
      "notification PermissionRequest oab-chat (npm test)",
      "ask ask-1 oab-chat",
      "release ask-1",
      "working PreToolUse oab-chat (npm test)",
    ],
  ],
  "a permission that is refused: the tool's failure is none": [
    [state("thinking"), tool("pending"), ask(), resolved("rejected"), tool("failed"), state("thinking")],
    [
      ...WORKS,
      "notification PermissionRequest oab-chat (npm test)",
      "ask ask-1 oab-chat",
      "release ask-1",
      "working PreToolUse oab-chat (npm test)",
    ],
  ],
  "while it is asked, no tool's end is told: the pet would take it for the answer": [
    [
      ...[state("thinking"), tool("pending"), ask()],
      ...[tool("done", { tool_call_id: "call-2" }), tool("failed", { tool_call_id: "call-3" })],
    ],
    [...WORKS, "notification PermissionRequest oab-chat (npm test)", "ask ask-1 oab-chat"],
  ],
  "two permissions at once": [
    [
      ...[state("thinking"), tool("pending"), ask(), ask({ request_id: "ask-2" })],
      ...[resolved("allowed"), resolved("allowed", { request_id: "ask-2" })],
    ],
    [
      ...WORKS,
      "notification PermissionRequest oab-chat (npm test)",
      "ask ask-1 oab-chat",
      "ask ask-2 oab-chat",
      "release ask-1",
      "release ask-2",
      "working PreToolUse oab-chat (npm test)",
    ],
  ],
  "a turn that ends while it asks: the request goes first": [
    [state("thinking"), ask(), state("attention")],
    [
      ...BEGUN,
      "notification PermissionRequest oab-chat (npm test)",
      "ask ask-1 oab-chat",
      "release ask-1",
      "attention Stop oab-chat",
    ],
  ],
  "a permission that the pet was not shown": [
    [
      state("thinking"),
      state("notification"),
      state("working"),
      resolved("allowed", { request_id: "other" }),
    ],
    [
      ...BEGUN,
      "notification PermissionRequest oab-chat",
      "working PreToolUse oab-chat",
    ],
  ],
  "a notification when nothing runs": [
    [
      { type: "agent_state", state: "notification" },
      NOTIFICATION,
      { type: "agent_state", state: "idle" },
      { type: "agent_state", state: "notification" },
    ],
    ["notification Notification oab", "notification Notification oab"],
  ],
  "a notification while a turn runs leaves its session alone": [
    [state("thinking"), NOTIFICATION],
    [...BEGUN, "notification Notification oab"],
  ],
  "a notification during another, after which a turn began": [
    [{ type: "agent_state", state: "notification" }, NOTIFICATION, state("thinking"), NOTIFICATION],
    ["notification Notification oab", ...BEGUN, "notification Notification oab"],
  ],
  "two conversations": [
    [
      ...[state("thinking"), state("thinking", { session_id: "b", turn_id: "turn-b" }), state("attention")],
      state("attention", { session_id: "b", turn_id: "turn-b" }),
    ],
    [
      ...BEGUN,
      "idle SessionStart oab-b",
      "thinking UserPromptSubmit oab-b",
      "attention Stop oab-chat",
      "attention Stop oab-b",
    ],
  ],
  "the state of a turn that was told before": [[state("thinking"), state("thinking")], BEGUN],
  "what is not for the pet": [
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
  Deno.test(`map: ${name}`, () => assertEquals(taken(new PetState(), ...events), steps));
}

Deno.test("map: a pet that is found is told what is so, and nothing of what is over", () => {
  const map = new PetState();
  const over = { session_id: "b", turn_id: "turn-b" };
  taken(map, state("thinking", over), state("error", over), state("thinking"), juggling(2), ask());
  assertEquals(map.present.map(brief), [
    "juggling SubagentStart oab-chat",
    "working PreToolUse oab-chat:sub1",
    "juggling SubagentStart oab-chat:sub2",
    "notification PermissionRequest oab-chat (npm test)",
    "ask ask-1 oab-chat",
  ]);
});

Deno.test("map: only what is due is refreshed, without an event, and not for ever", () => {
  const map = new PetState();
  taken(map, state("thinking"), juggling(1));
  assertEquals(map.refresh((id) => id === "oab-chat").map(brief), ["juggling - oab-chat"]);
  assertEquals(map.refresh(() => false), []);
  assertEquals(map.refresh(() => true).map(brief), ["juggling - oab-chat", "working - oab-chat:sub1"]);
  let refreshes = 2;
  while (map.refresh(() => true).length > 0) refreshes++;
  assertEquals(refreshes, 30);
  taken(map, tool("done"), tool("pending"));
  assertEquals(map.refresh(() => true).length, 2, "something was heard of it");
  taken(map, state("attention"));
  assertEquals(map.refresh(() => true), []);
});

Deno.test("map: the farewell ends every session, the sub-agents first", () => {
  const map = new PetState();
  const other = { session_id: "b", turn_id: "turn-b" };
  taken(map, state("thinking"), juggling(1), state("thinking", other), state("attention", other));
  taken(map, NOTIFICATION);
  assertEquals(map.farewell().map(brief), [
    "sleeping SessionEnd oab-chat:sub1",
    "sleeping SessionEnd oab-chat",
    "sleeping SessionEnd oab-b",
    "sleeping SessionEnd oab",
  ]);
  assertEquals(map.present, []);
});

Deno.test("map: many conversations, sub-agents and permissions are kept within bounds", () => {
  const map = new PetState();
  taken(map, state("thinking"));
  for (let n = 0; n < 100; n++) {
    const about = { session_id: `s${n}`, turn_id: `t${n}` };
    taken(map, state("thinking", about), state("attention", about));
  }
  assertEquals(map.farewell().length, 12);
  assertEquals(taken(map, state("thinking"), juggling(500)).length, 2 + 1 + 4);
  const asked = Array.from({ length: 50 }, (_, n) => ask({ request_id: `ask-${n}` }));
  assertEquals(taken(map, ...asked).filter((step) => step.startsWith("ask")).length, 8);
});

Deno.test("map: the conversation that runs is kept while others come and go", () => {
  const map = new PetState();
  taken(map, state("thinking"));
  for (let n = 0; n < 100; n++) {
    const about = { session_id: `s${n}`, turn_id: `t${n}` };
    taken(map, state("thinking", about), state("attention", about));
  }
  assertEquals(taken(map, tool("pending"), state("attention")), [
    "working PreToolUse oab-chat (npm test)",
    "attention Stop oab-chat",
  ]);
});
