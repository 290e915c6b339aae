import { assertEquals } from "@std/assert";
import { UpdateTranslator } from "../../lib/acp/update.ts";
import { parseSessionUpdate } from "../../lib/acp/wire.ts";
import { TOOL_KINDS, TOOL_STATUSES, type TurnEvent } from "../../lib/turn/event.ts";
import { isObject, type Json } from "../support/agents/scripted_agent.ts";
import { readRecording } from "../support/agents/replayed_agent.ts";
import { brief } from "../support/harness/turn_recorder.ts";
import { sessionUpdateVariants } from "../support/harness/acp_schema.ts";

const text = (text: string) => ({ type: "text", text });

/** What a translator that has heard nothing makes of these. */
function eventsOf(updates: readonly unknown[], translator = new UpdateTranslator()): TurnEvent[] {
  return updates.flatMap((update) => {
    const known = parseSessionUpdate(update);
    const event = known && translator.translate(known);
    return event ? [event] : [];
  });
}

const briefsOf = (updates: readonly unknown[], translator?: UpdateTranslator) =>
  eventsOf(updates, translator).map(brief);

const said = (sessionUpdate: string, content: unknown) => ({ sessionUpdate, content });
const tool = (fields: Json) => ({ sessionUpdate: "tool_call", toolCallId: "t", title: "ls", ...fields });
const change = (fields: Json) => ({ sessionUpdate: "tool_call_update", toolCallId: "t", ...fields });
const plan = (...entries: unknown[]) => ({ sessionUpdate: "plan", entries });
const step = { content: "Look", priority: "high", status: "in_progress" };

/** Every variant of protocol version 1, odd forms of it, and what is no update: the events in brief. */
const UPDATES: readonly (readonly [string, unknown, readonly string[]])[] = [
  ["text", said("agent_message_chunk", text("Hello ")), ["text Hello "]],
  ["text that is white space", said("agent_message_chunk", text("\n")), ["text \n"]],
  ["text with more about it", {
    ...said("agent_message_chunk", { ...text("Hi"), annotations: { audience: ["user"] }, _meta: {} }),
    messageId: "m1",
    _meta: { vendor: 1 },
  }, ["text Hi"]],
  ["empty text", said("agent_message_chunk", text("")), []],
  [
    "a picture of the agent's",
    said("agent_message_chunk", {
      type: "image",
      data: "YQ==",
      mimeType: "image/png",
    }),
    [],
  ],
  [
    "a sound of the agent's",
    said("agent_message_chunk", { type: "audio", data: "YQ==", mimeType: "a/b" }),
    [],
  ],
  [
    "a link of the agent's",
    said("agent_message_chunk", { type: "resource_link", uri: "file:///a", name: "a" }),
    [],
  ],
  [
    "a resource of the agent's",
    said("agent_message_chunk", {
      type: "resource",
      resource: { uri: "file:///a", text: "not spoken" },
    }),
    [],
  ],
  ["content of a kind to come", said("agent_message_chunk", { type: "hologram", text: "x" }), []],
  ["a thought", said("agent_thought_chunk", text("hm")), ["thought hm"]],
  ["an empty thought", said("agent_thought_chunk", text("")), []],
  ["a thought that is a picture", said("agent_thought_chunk", { type: "image", data: "", mimeType: "" }), []],
  ["a tool call", tool({ kind: "search", status: "in_progress" }), ["tool ls search in_progress"]],
  [
    "a tool call with all that belongs to it",
    tool({
      kind: "edit",
      status: "pending",
      name: "write",
      content: [{ type: "diff", path: "/a", oldText: null, newText: "b" }],
      locations: [{ path: "/a", line: 1 }],
      rawInput: { a: 1 },
      rawOutput: null,
    }),
    ["tool ls edit pending"],
  ],
  ["a tool call without kind and status", tool({}), ["tool ls other pending"]],
  ["a tool call with null for kind and status", tool({ kind: null, status: null }), [
    "tool ls other pending",
  ]],
  ["a tool call of a kind to come", tool({ kind: "teleport" }), ["tool ls other pending"]],
  ["a tool call of a status to come", tool({ status: "paused" }), ["tool ls other pending"]],
  ["a tool call of a kind that is no string", tool({ kind: 7, status: {} }), ["tool ls other pending"]],
  ["a tool call without a title", tool({ title: undefined }), ["tool tool other pending"]],
  ["a tool call with an empty title", tool({ title: "" }), ["tool tool other pending"]],
  ["a tool call whose title is no string", tool({ title: 7 }), ["tool tool other pending"]],
  [
    "an update of a tool that was never announced",
    change({ title: "rm", kind: "delete", status: "failed" }),
    [
      "tool rm delete failed",
    ],
  ],
  ["an update of a tool of which nothing is known", change({}), ["tool tool other pending"]],
  ["a plan", plan(step, { content: "Leap", priority: "low", status: "pending" }), [
    "plan in_progress,pending",
  ]],
  ["an empty plan", plan(), ["plan "]],
  ["a plan with words to come", plan({ content: "Look", priority: "urgent", status: "skipped" }), [
    "plan pending",
  ]],
  ["a plan with null for its words", plan({ content: "Look", priority: null, status: null }), [
    "plan pending",
  ]],
  ["replayed history", said("user_message_chunk", text("Hi")), []],
  ["commands", { sessionUpdate: "available_commands_update", availableCommands: [{ name: "init" }] }, []],
  ["a mode", { sessionUpdate: "current_mode_update", currentModeId: "yolo" }, []],
  ["options", { sessionUpdate: "config_option_update", configOptions: [] }, []],
  ["a title", { sessionUpdate: "session_info_update", title: "A talk", updatedAt: null }, []],
  ["the context's size", { sessionUpdate: "usage_update", used: 1, size: 2, cost: null }, []],
  ["a notice", { sessionUpdate: "notice", severity: "warning", title: "Slow" }, []],
  ["a compaction", { sessionUpdate: "compaction_update", compactionId: "c", status: "completed" }, []],
  ["a compaction's summary", { ...said("compaction_summary_chunk", text("x")), compactionId: "c" }, []],
  ["an update of an unstable kind", { sessionUpdate: "plan_removed" }, []],
  ["a sub-agent's", { sessionUpdate: "subagent_update", text: "x" }, []],
  ["an update of a kind to come", said("agent_song_chunk", text("la")), []],
  ["an update without a kind", { content: text("Hi") }, []],
  ["a kind that is no string", { sessionUpdate: 7 }, []],
  ["nothing", undefined, []],
  ["null", null, []],
  ["a list", [said("agent_message_chunk", text("Hi"))], []],
  ["a word", "agent_message_chunk", []],
  ["text without content", { sessionUpdate: "agent_message_chunk" }, []],
  ["text with null for content", said("agent_message_chunk", null), []],
  ["text with words for content", said("agent_message_chunk", "Hi"), []],
  ["text with a list for content", said("agent_message_chunk", [text("Hi")]), []],
  ["text without text", said("agent_message_chunk", { type: "text" }), []],
  ["text that is a number", said("agent_message_chunk", { type: "text", text: 7 }), []],
  ["a tool without an id", { sessionUpdate: "tool_call", title: "ls" }, []],
  ["a tool with an empty id", tool({ toolCallId: "" }), []],
  ["a tool whose id is a number", tool({ toolCallId: 7 }), []],
  ["a plan without entries", { sessionUpdate: "plan" }, []],
  ["a plan of words", plan("Look"), []],
  ["a plan whose entries say nothing", plan({ priority: "low", status: "pending" }), []],
];
for (const [name, update, events] of UPDATES) {
  Deno.test(`session/update: ${name}`, () => assertEquals(briefsOf([update]), events));
}

Deno.test("session/update: the table knows every variant of the published schema", () => {
  const tried = new Set(UPDATES.map(([, update]) => (update as Json | null | undefined)?.sessionUpdate));
  assertEquals(sessionUpdateVariants().filter((variant) => !tried.has(variant)), []);
});

const RECORDINGS = [...Deno.readDirSync(`${import.meta.dirname}/../fixtures/acp`)].map(({ name }) => name)
  .sort();
for (const recording of RECORDINGS) {
  Deno.test(`session/update: every one of ${recording} is known, and its text is told whole`, () => {
    const updates = readRecording(recording).flatMap(({ dir, msg }) =>
      dir === "a2c" && isObject(msg) && msg.method === "session/update"
        ? [(msg.params as { update: Json }).update]
        : []
    );
    assertEquals(updates.filter((update) => parseSessionUpdate(update) === undefined), []);
    const translator = new UpdateTranslator();
    const events = [...eventsOf(updates, translator), ...translator.closeTools("completed")];
    for (
      const [kind, type] of [["agent_message_chunk", "text"], ["agent_thought_chunk", "thought"]] as const
    ) {
      const recorded = updates.filter(({ sessionUpdate }) => sessionUpdate === kind).map(({ content }) =>
        (content as Json).text
      );
      assertEquals(
        events.flatMap((event) => event.type === type ? [event.text] : []).join(""),
        recorded.join(""),
      );
    }
    const last = new Map(
      events.flatMap((event) => event.type === "tool" ? [[event.tool.id, event.tool]] : []),
    );
    const named = new Set(
      updates.flatMap(({ toolCallId }) => toolCallId === undefined ? [] : [String(toolCallId)]),
    );
    assertEquals(new Set(last.keys()), named);
    for (const tool of last.values()) {
      assertEquals(
        [tool.title !== "tool", ["completed", "failed"].includes(tool.status)],
        [true, true],
        tool.id,
      );
    }
  });
}

for (const kind of TOOL_KINDS) {
  Deno.test(`session/update: a tool of the kind ${kind}`, () => {
    assertEquals(briefsOf([tool({ kind })]), [`tool ls ${kind} pending`]);
  });
}
for (const status of TOOL_STATUSES) {
  Deno.test(`session/update: a tool with the status ${status}`, () => {
    assertEquals(briefsOf([tool({ status })]), [`tool ls other ${status}`]);
  });
}

Deno.test("UpdateTranslator: an update changes what it names, and the event carries the whole", () => {
  const events = eventsOf([
    tool({ kind: "execute", status: "pending" }),
    change({ status: "in_progress" }),
    change({ title: "ls -l" }),
    change({ kind: null, status: null, title: null }),
    change({ status: "completed" }),
  ]);
  assertEquals(events.map(brief), [
    "tool ls execute pending",
    "tool ls execute in_progress",
    "tool ls -l execute in_progress",
    "tool ls -l execute completed",
  ]);
  assertEquals(new Set(events.map((event) => event.type === "tool" && event.tool.id)), new Set(["t"]));
});

Deno.test("UpdateTranslator: an update that changes nothing that is told is no event", () => {
  const growing = ["a", "ab", "abc"].map((output) => change({ rawOutput: output, content: [] }));
  assertEquals(briefsOf([tool({ status: "in_progress" }), ...growing]), ["tool ls other in_progress"]);
});

Deno.test("UpdateTranslator: an update before the announcement, and the announcement", () => {
  assertEquals(briefsOf([change({ status: "in_progress" }), tool({ kind: "read", status: "in_progress" })]), [
    "tool tool other in_progress",
    "tool ls read in_progress",
  ]);
});

Deno.test("UpdateTranslator: tools are told apart by their ids", () => {
  const other = (fields: Json) => change({ toolCallId: "u", ...fields });
  assertEquals(briefsOf([tool({}), other({ title: "cat" }), change({ status: "failed" })]), [
    "tool ls other pending",
    "tool cat other pending",
    "tool ls other failed",
  ]);
});

Deno.test("UpdateTranslator: known is what the agent said last", () => {
  const translator = new UpdateTranslator();
  assertEquals(translator.known("t"), undefined);
  eventsOf([tool({ kind: "read" })], translator);
  assertEquals(translator.known("t")?.kind, "read");
  eventsOf([change({ kind: "execute" }), change({ status: "completed" })], translator);
  assertEquals(translator.known("t")?.kind, "execute");
});

for (const status of ["completed", "failed"] as const) {
  Deno.test(`UpdateTranslator: close ends as ${status} what the agent left open, and only that`, () => {
    const translator = new UpdateTranslator();
    eventsOf([
      tool({ toolCallId: "waits", title: "waits" }),
      tool({ toolCallId: "runs", title: "runs", kind: "execute", status: "in_progress" }),
      tool({ toolCallId: "done", title: "done", status: "completed" }),
      tool({ toolCallId: "broke", title: "broke", status: "failed" }),
    ], translator);
    assertEquals(translator.closeTools(status).map(brief), [
      `tool waits other ${status}`,
      `tool runs execute ${status}`,
    ]);
    assertEquals(translator.closeTools(status), []);
    assertEquals(translator.known("runs"), undefined);
  });
}

Deno.test("UpdateTranslator: of very many tools the oldest is forgotten, the newest is not", () => {
  const translator = new UpdateTranslator();
  for (let number = 0; number < 1_001; number++) {
    eventsOf([tool({ toolCallId: `${number}`, kind: "read" })], translator);
  }
  const kinds = ["0", "1", "1000"].map((id) => translator.known(id)?.kind);
  assertEquals(kinds, [undefined, "read", "read"]);
});
