import { assert, assertEquals, assertMatch, assertNotEquals, assertStringIncludes } from "@std/assert";
import {
  clip,
  clipStart,
  MAX_STATE_BYTES,
  permissionText,
  sessionIdOf,
  stateText,
} from "../../lib/clawd/payload.ts";
import { ask } from "../support/harness/clawd_fixture.ts";

function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}

const LONG: Record<string, string> = {
  "letters": "x".repeat(5_000),
  "Chinese": "测试工具的名字".repeat(700),
  "emoji": "👩🏽‍🚀🇯🇵👍🏿".repeat(500),
  "quotes and backslashes": '"\\'.repeat(2_500),
  "control characters": "\u0000\u001f\n".repeat(1_500),
  "halves of characters": "\ud83d".repeat(4_000),
  "marks upon marks": "e" + "\u0301".repeat(4_000),
};

for (const [name, long] of Object.entries(LONG)) {
  Deno.test(`stateText: long names of ${name} fit`, () => {
    const body = {
      state: "notification",
      event: "PostToolUseFailure",
      session_id: `${sessionIdOf(long)}:sub4`,
      tool_name: long,
    } as const;
    const text = stateText(body, `/home/${long}/project`);
    assert(bytesOf(text) <= MAX_STATE_BYTES, `${bytesOf(text)} bytes`);
    const { cwd, session_id, tool_name, ...rest } = JSON.parse(text);
    assertEquals(rest, { state: "notification", event: "PostToolUseFailure", agent_id: "claude-code" });
    assertMatch(session_id, /^oab-[\w.-]{1,48}:sub4$/);
    assertMatch(cwd, /^….*\/project$/s);
    assertMatch(tool_name, /…$/);
  });
}

Deno.test("stateText: short names are as they are, and what is unknown is left out", () => {
  const text = stateText({ state: "thinking", session_id: "oab-a" }, "/home/私/project");
  assertEquals(JSON.parse(text), {
    state: "thinking",
    session_id: "oab-a",
    agent_id: "claude-code",
    cwd: "/home/私/project",
  });
});

Deno.test("clip: never half of a character", () => {
  const family = "👨‍👩‍👧‍👦";
  assertEquals(clip(family, bytesOf(family)), family);
  assertEquals(clip(`ab${family}cd`, bytesOf(family)), "ab…");
  assertEquals(clip(`ab${family}cdef`, bytesOf(family) + 5), `ab${family}…`);
  assertEquals(clipStart(`ab${family}cd`, bytesOf(family)), "…cd");
  for (const maxBytes of Array.from({ length: 60 }, (_, at) => at + 3)) {
    for (const text of Object.values(LONG)) {
      assert(bytesOf(JSON.stringify(clip(text, maxBytes))) - 2 <= maxBytes);
      assert(bytesOf(JSON.stringify(clipStart(text, maxBytes))) - 2 <= maxBytes);
    }
  }
});

Deno.test("sessionIdOf: plain, short, and one for each conversation", () => {
  assertEquals(sessionIdOf("a1b2-c3"), "oab-a1b2-c3");
  const names = ["", "_", "私", "君", "a b", "a_b", "a:sub1", "x".repeat(48), "x".repeat(49), "x".repeat(50)];
  const ids = names.map(sessionIdOf);
  assertEquals(new Set(ids).size, names.length);
  for (const id of ids) assertMatch(id, /^oab-[\w.-]{0,48}$/);
  assertNotEquals(sessionIdOf("x".repeat(5_000)), sessionIdOf("x".repeat(5_001)));
});

const TOOLS: Record<string, [tool: Parameters<typeof ask>[0], name: string, input: Record<string, string>]> =
  {
    "a command": [{ tool: { kind: "execute", detail: "rm -r dist\nls" } }, "Bash", {
      command: "rm -r dist\nls",
    }],
    "a command that is not shown": [
      { tool: { kind: "execute", tool_name: "npm test", detail: undefined } },
      "Bash",
      { command: "npm test" },
    ],
    "an edit": [
      { tool: { kind: "edit", detail: "src/a.ts\n- a\n+ b" } },
      "Edit",
      { file_path: "src/a.ts", change: "- a\n+ b" },
    ],
    "an edit of which only the file is shown": [
      { tool: { kind: "edit", detail: "src/a.ts" } },
      "Edit",
      { file_path: "src/a.ts" },
    ],
    "a page": [
      { tool: { kind: "fetch", detail: "Reads it\nhttps://example.com/a?b" } },
      "WebFetch",
      { url: "https://example.com/a?b" },
    ],
    "another tool": [
      { tool: { kind: "delete", tool_name: "Delete notes.md", detail: "notes.md" } },
      "Delete notes.md",
      { detail: "notes.md" },
    ],
    "a tool that the pet would allow by itself": [
      { tool: { kind: "other", tool_name: "TaskCreate", detail: "x" } },
      "Tool TaskCreate",
      { detail: "x" },
    ],
    "a tool that the pet would show as a question": [
      { tool: { kind: "other", tool_name: " AskUserQuestion ", detail: "x" } },
      "Tool AskUserQuestion",
      { detail: "x" },
    ],
    "a tool of an MCP server": [
      { tool: { kind: "other", tool_name: "mcp__github__merge", detail: "x" } },
      "mcp__github__merge",
      { detail: "x" },
    ],
    "a tool without a name": [{ tool: { kind: "other", tool_name: " ", detail: "x" } }, "a tool", {
      detail: "x",
    }],
  };

for (const [name, [request, tool_name, tool_input]] of Object.entries(TOOLS)) {
  Deno.test(`permissionText: ${name}`, () => {
    const body = JSON.parse(permissionText(ask(request), "oab-a"));
    assertEquals(body, {
      tool_name,
      tool_input,
      session_id: "oab-a",
      agent_id: "claude-code",
      permission_suggestions: [],
    });
  });
}

Deno.test('permissionText: "always" is suggested where the agent offers it', () => {
  const options = [{ option_id: "a", name: "Always", kind: "allow_always" }];
  const { permission_suggestions } = JSON.parse(permissionText(ask({ options }), "oab-a"));
  assertEquals(permission_suggestions, [
    { type: "addRules", rules: [{ toolName: "Bash" }], behavior: "allow", destination: "session" },
  ]);
});

Deno.test("permissionText: what is asked is bounded", () => {
  for (const long of Object.values(LONG)) {
    const tool = { tool_name: long, detail: long.repeat(20), kind: "other" } as const;
    assert(bytesOf(permissionText(ask({ tool }), "oab-a")) < 512 * 1024);
  }
  assertStringIncludes(permissionText(ask({ tool: { detail: "測試 🚀" } }), "oab-a"), "測試 🚀");
});
