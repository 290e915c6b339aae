import { assert, assertEquals, assertMatch } from "@std/assert";
import { encodePermission, MAX_SHOWN_CHARS, MAX_STATE_BYTES, PetStates } from "../../lib/clawd/payload.ts";
import type { ClawdEvent } from "../../lib/clawd/wire.ts";
import type { VtuberEvent } from "../../lib/events/wire.ts";
import { ask, state } from "../support/harness/clawd_fixture.ts";

// Type check: the hub's events fit the slices that the pet reads.
type Subscribed = Extract<VtuberEvent, { type: ClawdEvent["type"] }>;
const _isAssignable: (event: Subscribed) => ClawdEvent = (event) => event;

const named = { detail: { tool_name: "npm test" } };
const turn2 = { turn_id: "turn-2" };
const other = { session_id: "b", turn_id: "turn-b" };
const STATES: [name: string, states: Parameters<typeof state>[], posts: string[]][] = [
  ["a turn without tools", [["thinking"], ["thinking"], ["attention"], ["idle"]], [
    "thinking UserPromptSubmit chat",
    "attention Stop chat",
    "idle - chat",
  ]],
  ["no flicker between tools", [["thinking"], ["working", named], ["thinking"], ["working"], ["thinking"]], [
    "thinking UserPromptSubmit chat",
    "working PreToolUse chat npm test",
  ]],
  ["a failed turn and the next one", [["thinking"], ["error"], ["thinking", turn2], ["idle", turn2]], [
    "thinking UserPromptSubmit chat",
    "error StopFailure chat",
    "thinking UserPromptSubmit chat",
    "idle - chat",
  ]],
  ["juggling until SubagentStop", [["thinking"], ["juggling"], ["juggling"], ["thinking"], ["attention"]], [
    "thinking UserPromptSubmit chat",
    "juggling SubagentStart chat",
    "working SubagentStop chat",
    "attention Stop chat",
  ]],
  ["a permission", [["working"], ["notification"], ["thinking"]], [
    "working PreToolUse chat",
    "notification PermissionRequest chat",
    "working PreToolUse chat",
  ]],
  ["two conversations", [["thinking"], ["thinking", other], ["attention"], ["attention", other]], [
    "thinking UserPromptSubmit chat",
    "thinking UserPromptSubmit b",
    "attention Stop chat",
    "attention Stop b",
  ]],
  ["states of the whole program, and unknown ones", [
    ["notification", { session_id: undefined }],
    ["sweeping" as "idle"],
    ["idle"],
  ], []],
];

for (const [name, states, posts] of STATES) {
  Deno.test(`PetStates: ${name}`, () => {
    const pet = new PetStates("/project");
    const bodies = states.flatMap((args) => pet.encode(state(...args)) ?? []).map((text) => JSON.parse(text));
    assertEquals(
      bodies.map(({ state, event = "-", session_id, tool_name = "" }) =>
        `${state} ${event} ${session_id.replace("oab-", "")} ${tool_name}`.trim()
      ),
      posts,
    );
  });
}

const LONG: Record<string, string> = {
  "letters": "x".repeat(5_000),
  "Chinese": "测试工具的名字".repeat(700),
  "emoji": "👩🏽‍🚀🇯🇵👍🏿".repeat(500),
  "quotes and backslashes": '"\\'.repeat(2_500),
  "control characters": "\u0000\u001f\n".repeat(1_500),
  "lone surrogates": "\ud83d".repeat(4_000),
};

for (const [name, long] of Object.entries(LONG)) {
  Deno.test(`payload: fits long names of ${name}`, () => {
    const pet = new PetStates(`/home/${long}/project`);
    const text = pet.encode(state("notification", { session_id: long, detail: { tool_name: long } }))!;
    const bytes = new TextEncoder().encode(text).length;
    assert(bytes <= MAX_STATE_BYTES, `${bytes} bytes`);
    assertMatch(JSON.parse(text).cwd, /\/project$/);
    const request = encodePermission(
      ask({ tool_name: long, detail: long.slice(0, MAX_SHOWN_CHARS), kind: "other" }),
    );
    assert(new TextEncoder().encode(request).length < 512 * 1024);
  });
}

const TOOLS: [tool: Parameters<typeof ask>[0], name: string, input: Record<string, string>][] = [
  [{ kind: "execute", detail: "rm -r dist\nls" }, "Bash", { command: "rm -r dist\nls" }],
  [{ kind: "execute", detail: undefined }, "Bash", { command: "npm test" }],
  [{ kind: "edit", detail: "src/a.ts\n- a\n+ b" }, "Edit", { file_path: "src/a.ts", change: "- a\n+ b" }],
  [{ kind: "fetch", detail: "https://example.com/a?b" }, "WebFetch", { url: "https://example.com/a?b" }],
  // The pet allows this name by itself.
  [{ kind: "other", tool_name: "TaskCreate", detail: "測試 🚀" }, "Tool TaskCreate", { detail: "測試 🚀" }],
];

for (const [tool, tool_name, tool_input] of TOOLS) {
  Deno.test(`encodePermission: ${tool_name} ${JSON.stringify(tool_input)}`, () => {
    assertEquals(JSON.parse(encodePermission(ask(tool))), {
      tool_name,
      tool_input,
      session_id: "oab-chat",
      agent_id: "claude-code",
      permission_suggestions: [],
    });
  });
}

Deno.test('encodePermission: suggests "always" if the agent offers it', () => {
  const options = [{ option_id: "a", name: "Always", kind: "allow_always" as const }];
  const { permission_suggestions } = JSON.parse(encodePermission(ask({}, { options })));
  assertEquals(permission_suggestions, [
    { type: "addRules", rules: [{ toolName: "Bash" }], behavior: "allow", destination: "session" },
  ]);
});
