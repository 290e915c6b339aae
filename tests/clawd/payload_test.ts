import { assert, assertEquals, assertMatch, assertNotEquals, assertStringIncludes } from "@std/assert";
import {
  encodePermission,
  encodeState,
  MAX_STATE_BYTES,
  petSessionId,
  truncate,
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
  "lone surrogates": "\ud83d".repeat(4_000),
  "combining marks": "e" + "\u0301".repeat(4_000),
};

for (const [name, long] of Object.entries(LONG)) {
  Deno.test(`encodeState: fits long names of ${name}`, () => {
    const body = {
      state: "notification",
      event: "PostToolUseFailure",
      session_id: `${petSessionId(long)}:sub4`,
      tool_name: long,
    } as const;
    const text = encodeState(body, `/home/${long}/project`);
    assert(bytesOf(text) <= MAX_STATE_BYTES, `${bytesOf(text)} bytes`);
    const { cwd, session_id, tool_name, ...rest } = JSON.parse(text);
    assertEquals(rest, { state: "notification", event: "PostToolUseFailure", agent_id: "claude-code" });
    assertMatch(session_id, /^oab-[\w.-]{1,48}:sub4$/);
    assertMatch(cwd, /^….*\/project$/s);
    assertMatch(tool_name, /…$/);
  });
}

Deno.test("encodeState: keeps short names, and omits missing fields", () => {
  const text = encodeState({ state: "thinking", session_id: "oab-a" }, "/home/私/project");
  assertEquals(JSON.parse(text), {
    state: "thinking",
    session_id: "oab-a",
    agent_id: "claude-code",
    cwd: "/home/私/project",
  });
});

Deno.test("truncate: never splits a character", () => {
  const family = "👨‍👩‍👧‍👦";
  assertEquals(truncate(family, bytesOf(family)), family);
  assertEquals(truncate(`ab${family}cd`, bytesOf(family)), "ab…");
  assertEquals(truncate(`ab${family}cdef`, bytesOf(family) + 5), `ab${family}…`);
  assertEquals(truncate(`ab${family}cd`, bytesOf(family), "end"), "…cd");
  for (const maxBytes of Array.from({ length: 60 }, (_, at) => at + 3)) {
    for (const text of Object.values(LONG)) {
      assert(bytesOf(JSON.stringify(truncate(text, maxBytes))) - 2 <= maxBytes);
      assert(bytesOf(JSON.stringify(truncate(text, maxBytes, "end"))) - 2 <= maxBytes);
    }
  }
});

Deno.test("petSessionId: is short, of plain characters, and unique", () => {
  assertEquals(petSessionId("a1b2-c3"), "oab-a1b2-c3");
  const names = ["", "_", "私", "君", "a b", "a_b", "a:sub1", "x".repeat(48), "x".repeat(49), "x".repeat(50)];
  const ids = names.map(petSessionId);
  assertEquals(new Set(ids).size, names.length);
  for (const id of ids) assertMatch(id, /^oab-[\w.-]{0,48}$/);
  assertNotEquals(petSessionId("x".repeat(5_000)), petSessionId("x".repeat(5_001)));
});

const TOOLS: Record<string, [tool: Parameters<typeof ask>[0], name: string, input: Record<string, string>]> =
  {
    "a command": [{ tool: { kind: "execute", detail: "rm -r dist\nls" } }, "Bash", {
      command: "rm -r dist\nls",
    }],
    "a command without a detail": [
      { tool: { kind: "execute", tool_name: "npm test", detail: undefined } },
      "Bash",
      { command: "npm test" },
    ],
    "an edit": [
      { tool: { kind: "edit", detail: "src/a.ts\n- a\n+ b" } },
      "Edit",
      { file_path: "src/a.ts", change: "- a\n+ b" },
    ],
    "an edit without its change": [
      { tool: { kind: "edit", detail: "src/a.ts" } },
      "Edit",
      { file_path: "src/a.ts" },
    ],
    "a web page": [
      { tool: { kind: "fetch", detail: "Reads it\nhttps://example.com/a?b" } },
      "WebFetch",
      { url: "https://example.com/a?b" },
    ],
    "another tool": [
      { tool: { kind: "delete", tool_name: "Delete notes.md", detail: "notes.md" } },
      "Delete notes.md",
      { detail: "notes.md" },
    ],
    "a tool that the pet allows by itself": [
      { tool: { kind: "other", tool_name: "TaskCreate", detail: "x" } },
      "Tool TaskCreate",
      { detail: "x" },
    ],
    "a tool that the pet shows as a question": [
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
  Deno.test(`encodePermission: ${name}`, () => {
    const body = JSON.parse(encodePermission(ask(request), "oab-a"));
    assertEquals(body, {
      tool_name,
      tool_input,
      session_id: "oab-a",
      agent_id: "claude-code",
      permission_suggestions: [],
    });
  });
}

Deno.test('encodePermission: suggests "always" if the agent offers it', () => {
  const options = [{ option_id: "a", name: "Always", kind: "allow_always" }];
  const { permission_suggestions } = JSON.parse(encodePermission(ask({ options }), "oab-a"));
  assertEquals(permission_suggestions, [
    { type: "addRules", rules: [{ toolName: "Bash" }], behavior: "allow", destination: "session" },
  ]);
});

Deno.test("encodePermission: limits the request to 512 KiB", () => {
  for (const long of Object.values(LONG)) {
    const tool = { tool_name: long, detail: long.repeat(20), kind: "other" } as const;
    assert(bytesOf(encodePermission(ask({ tool }), "oab-a")) < 512 * 1024);
  }
  assertStringIncludes(encodePermission(ask({ tool: { detail: "測試 🚀" } }), "oab-a"), "測試 🚀");
});
