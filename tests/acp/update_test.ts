import { assertEquals } from "@std/assert";
import { UpdateTranslator } from "../../lib/acp/update.ts";
import { parseSessionUpdate } from "../../lib/acp/wire.ts";
import { TOOL_KINDS, TOOL_STATUSES, type ToolCallId, type TurnEvent } from "../../lib/turn/event.ts";
import { isObject, type Json } from "../support/agents/agent_io.ts";
import { readRecording } from "../support/agents/replayed_agent.ts";
import { sessionUpdateVariants } from "../support/harness/acp_schema.ts";
import { summarize } from "../support/harness/turn_recorder.ts";

/** Translates these updates, by default with a new translator. */
function translate(updates: readonly unknown[], translator = new UpdateTranslator()): TurnEvent[] {
  const events: TurnEvent[] = [];
  for (const update of updates) {
    const known = parseSessionUpdate(update);
    if (known) translator.translate(known, (event) => void events.push(event));
  }
  return events;
}

const briefs = (updates: readonly unknown[], translator?: UpdateTranslator) =>
  translate(updates, translator).map(summarize);

/** The texts of a turn, and whether a line break is put between them. */
const SEPARATED: readonly (readonly [name: string, updates: readonly unknown[], reply: string])[] = [
  ["around a tool", ["I will look.", "tool", "Now I know."], "I will look.\nNow I know."],
  ["of two messages", [["One.", "m1"], ["Two.", "m2"]], "One.\nTwo."],
  ["of one message", [["O", "m1"], ["ne.", "m1"]], "One."],
  ["after white space", ["Look: ", "tool", "done", "tool", "\n\nyes"], "Look: done\n\nyes"],
  ["after an update of a tool that runs on", ["tool", "Wai", "update", "ting"], "Waiting"],
  ["before a first text", ["tool", "Done."], "Done."],
  ["around a tool and a thought", ["One.", "tool", "thought", "Two."], "One.\nTwo."],
  ["without a message's id behind one that has it", [["On", "m1"], "e"], "One"],
];
for (const [name, updates, reply] of SEPARATED) {
  Deno.test(`UpdateTranslator: separates texts ${name}: ${JSON.stringify(reply)}`, () => {
    let tools = 0;
    const events = translate(updates.map((update) => {
      if (update === "tool") return tool({ toolCallId: `t${++tools}` });
      if (update === "update") return change({ toolCallId: `t${tools}`, status: "completed" });
      if (update === "thought") return { ...thought(text("hm")), messageId: "other" };
      const [words, messageId] = typeof update === "string" ? [update] : update as [string, string];
      return { ...chunk(text(words)), messageId };
    }));
    assertEquals(events.map((event) => event.type === "text" ? event.text : "").join(""), reply);
  });
}

Deno.test("UpdateTranslator: cuts a text that would stop the event loop", () => {
  const long = "[happy] ".repeat(100_000);
  for (const update of [chunk(text(long)), thought(text(long))]) {
    const [event] = translate([update]);
    assertEquals(event && "text" in event && event.text, long.slice(0, 256 * 1024) + "...");
  }
});

const text = (text: string) => ({ type: "text", text });
const chunk = (content: unknown) => ({ sessionUpdate: "agent_message_chunk", content });
const thought = (content: unknown) => ({ sessionUpdate: "agent_thought_chunk", content });
const tool = (fields: Json) => ({ sessionUpdate: "tool_call", toolCallId: "t", title: "ls", ...fields });
const change = (fields: Json) => ({ sessionUpdate: "tool_call_update", toolCallId: "t", ...fields });
const plan = (...entries: unknown[]) => ({ sessionUpdate: "plan", entries });
const STEP = { content: "Look", priority: "high", status: "in_progress" };
const PENDING = ["tool ls other pending"];

Deno.test("parseSessionUpdate: a messageId that is null, empty, too long or no text counts as absent", () => {
  const idOf = (messageId: unknown) => {
    const update = parseSessionUpdate({ ...chunk(text("a")), messageId });
    return update?.sessionUpdate === "agent_message_chunk" ? update.messageId : "no chunk";
  };
  for (const absent of [null, "", "x".repeat(501), 7, undefined]) assertEquals(idOf(absent), undefined);
  assertEquals(["m", "x".repeat(500)].map(idOf), ["m", "x".repeat(500)]);
});

/** Every variant of protocol version 1, malformed ones and unknown ones, with their events. */
const UPDATES: readonly (readonly [string, unknown, readonly string[]])[] = [
  ["text", chunk(text("Hello ")), ["text Hello "]],
  ["text with further fields", {
    ...chunk({ ...text("Hi"), annotations: { audience: ["user"] }, _meta: {} }),
    messageId: "m1",
    _meta: { vendor: 1 },
  }, ["text Hi"]],
  ["empty text", chunk(text("")), []],
  ["an image", chunk({ type: "image", data: "YQ==", mimeType: "image/png" }), []],
  ["audio", chunk({ type: "audio", data: "YQ==", mimeType: "a/b" }), []],
  ["a link", chunk({ type: "resource_link", uri: "file:///a", name: "a" }), []],
  ["a resource", chunk({ type: "resource", resource: { uri: "file:///a", text: "not spoken" } }), []],
  ["unknown content", chunk({ type: "hologram", text: "x" }), []],
  ["a thought", thought(text("hm")), ["thought hm"]],
  ["an empty thought", thought(text("")), []],
  ["a tool call", tool({ kind: "search", status: "in_progress" }), ["tool ls search in_progress"]],
  [
    "a tool call with every field",
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
  ["a tool call without kind and status", tool({}), PENDING],
  ["a tool call of an unknown kind", tool({ kind: "teleport" }), PENDING],
  ["a tool call with an unknown status", tool({ status: "paused" }), PENDING],
  ["a tool call without a title", tool({ title: undefined }), ["tool tool other pending"]],
  ["an update of an unannounced tool", change({ title: "rm", kind: "delete", status: "failed" }), [
    "tool rm delete failed",
  ]],
  ["an empty update of an unannounced tool", change({}), ["tool tool other pending"]],
  ["a plan", plan(STEP, { content: "Leap", priority: "low", status: "pending" }), [
    "plan in_progress,pending",
  ]],
  ["an empty plan", plan(), ["plan "]],
  ["a plan with unknown values", plan({ content: "Look", priority: "urgent", status: "skipped" }), [
    "plan pending",
  ]],
  ["replayed history", { sessionUpdate: "user_message_chunk", content: text("Hi") }, []],
  ["commands", { sessionUpdate: "available_commands_update", availableCommands: [{ name: "init" }] }, []],
  ["a mode", { sessionUpdate: "current_mode_update", currentModeId: "yolo" }, []],
  ["options", { sessionUpdate: "config_option_update", configOptions: [] }, []],
  ["a title", { sessionUpdate: "session_info_update", title: "A talk", updatedAt: null }, []],
  ["the context size", { sessionUpdate: "usage_update", used: 1, size: 2, cost: null }, ["context 1 of 2"]],
  ["the cost", { sessionUpdate: "usage_update", used: 1, size: 2, cost: { amount: 0.5, currency: "USD" } }, [
    "context 1 of 2, 0.5 USD",
  ]],
  ["a malformed cost", { sessionUpdate: "usage_update", used: 1, size: 2, cost: "much" }, ["context 1 of 2"]],
  ["a notice", { sessionUpdate: "notice", severity: "warning", title: "Slow" }, []],
  ["a compaction", { sessionUpdate: "compaction_update", compactionId: "c", status: "completed" }, []],
  ["a summary", { sessionUpdate: "compaction_summary_chunk", content: text("x"), compactionId: "c" }, []],
  ["an unstable variant", { sessionUpdate: "plan_removed" }, []],
  ["an unknown variant", { sessionUpdate: "agent_song_chunk", content: text("la") }, []],
  ["no variant", { content: text("Hi") }, []],
  ["undefined", undefined, []],
  ["null", null, []],
  ["a string", "agent_message_chunk", []],
  ["a chunk without content", { sessionUpdate: "agent_message_chunk" }, []],
  ["a chunk with null as content", chunk(null), []],
  ["text without text", chunk({ type: "text" }), []],
  ["text that is a number", chunk({ type: "text", text: 7 }), []],
  ["a tool call without an id", { sessionUpdate: "tool_call", title: "ls" }, []],
  ["a tool call with an empty id", tool({ toolCallId: "" }), []],
  ["a tool call with a long id", tool({ toolCallId: "x".repeat(501) }), []],
  ["a tool call with a number as id", tool({ toolCallId: 7 }), []],
  ["a plan without entries", { sessionUpdate: "plan" }, []],
  ["a plan without contents", plan({ priority: "low", status: "pending" }), []],
  ...TOOL_KINDS.map((kind) =>
    [`a tool of kind ${kind}`, tool({ kind }), [`tool ls ${kind} pending`]] as const
  ),
  ...TOOL_STATUSES.map((status) =>
    [`a tool with status ${status}`, tool({ status }), [`tool ls other ${status}`]] as const
  ),
];
for (const [name, update, events] of UPDATES) {
  Deno.test(`session/update: translates ${name}`, () => assertEquals(briefs([update]), events));
}

Deno.test("session/update: the table has every variant of the published schema", () => {
  const tried = new Set(UPDATES.map(([, update]) => (update as Json | null | undefined)?.sessionUpdate));
  assertEquals(sessionUpdateVariants().filter((variant) => !tried.has(variant)), []);
});

/** Variants that mean nothing to a turn. */
const UNUSED: ReadonlySet<unknown> = new Set([
  "user_message_chunk",
  "current_mode_update",
  "session_info_update",
]);
const RECORDINGS = [...Deno.readDirSync(`${import.meta.dirname}/../fixtures/acp`)].map(({ name }) => name)
  .sort();
for (const recording of RECORDINGS) {
  Deno.test(`session/update: every update of ${recording} is parsed, its text complete and its tools closed`, () => {
    const updates = readRecording(recording).flatMap(({ dir, msg }) =>
      dir === "a2c" && isObject(msg) && msg.method === "session/update"
        ? [(msg.params as { update: Json }).update]
        : []
    );
    const isUnused = ({ sessionUpdate }: Json) => UNUSED.has(sessionUpdate);
    assertEquals(
      updates.filter((update) => parseSessionUpdate(update) === undefined && !isUnused(update)),
      [],
    );
    const translator = new UpdateTranslator();
    const events = [...translate(updates, translator), ...translator.closeTools("completed")];
    const variants = [["agent_message_chunk", "text"], ["agent_thought_chunk", "thought"]] as const;
    for (const [variant, type] of variants) {
      const recorded = updates.filter(({ sessionUpdate }) => sessionUpdate === variant);
      assertEquals(
        events.map((event) => event.type === type ? event.text : "").join(""),
        recorded.map(({ content }) => (content as Json).text).join(""),
      );
    }
    const tools = new Map(
      events.flatMap((event) => event.type === "tool" ? [[event.tool.id, event.tool]] : []),
    );
    const ids = updates.flatMap(({ toolCallId }) => toolCallId === undefined ? [] : [String(toolCallId)]);
    assertEquals(new Set<string>(tools.keys()), new Set(ids));
    for (const { id, title, status } of tools.values()) {
      assertEquals([title !== "tool", ["completed", "failed"].includes(status)], [true, true], id);
    }
  });
}

Deno.test("UpdateTranslator: merges what an update names into the tool call", () => {
  const events = translate([
    tool({ kind: "execute", status: "pending" }),
    change({ status: "in_progress" }),
    change({ title: "ls -l" }),
    change({ kind: null, status: null, title: null }),
    change({ status: "completed" }),
  ]);
  assertEquals(events.map(summarize), [
    "tool ls execute pending",
    "tool ls execute in_progress",
    "tool ls -l execute in_progress",
    "tool ls -l execute completed",
  ]);
  assertEquals(new Set(events.map((event) => event.type === "tool" && event.tool.id)), new Set(["t"]));
});

for (
  const [name, updates, expected] of [
    [
      "no event for an update without a visible change",
      [tool({ status: "in_progress" }), change({ rawOutput: "a" }), change({ rawOutput: "ab", content: [] })],
      ["tool ls other in_progress"],
    ],
    [
      "an announcement after the first update",
      [change({ status: "in_progress" }), tool({ kind: "read", status: "in_progress" })],
      ["tool tool other in_progress", "tool ls read in_progress"],
    ],
    [
      "each tool call by its id",
      [tool({}), change({ toolCallId: "u", title: "cat" }), change({ status: "failed" })],
      ["tool ls other pending", "tool cat other pending", "tool ls other failed"],
    ],
  ] as const
) {
  Deno.test(`UpdateTranslator: translates ${name}`, () => assertEquals(briefs(updates), [...expected]));
}

for (const status of ["completed", "failed"] as const) {
  Deno.test(`closeTools: closes open tool calls as ${status}, and refused ones as failed`, () => {
    const translator = new UpdateTranslator();
    translate([
      tool({ toolCallId: "waits", title: "waits" }),
      tool({ toolCallId: "runs", title: "runs", kind: "execute", status: "in_progress" }),
      tool({ toolCallId: "done", title: "done", status: "completed" }),
      tool({ toolCallId: "broke", title: "broke", status: "failed" }),
      tool({ toolCallId: "refused", title: "refused" }),
    ], translator);
    translator.markRefused("refused" as ToolCallId);
    assertEquals(translator.closeTools(status).map(summarize), [
      `tool waits other ${status}`,
      `tool runs execute ${status}`,
      "tool refused other failed",
    ]);
    assertEquals(translator.closeTools(status), []);
  });
}

Deno.test("UpdateTranslator: when the agent speaks on, running and refused tool calls end; they do not start again", () => {
  const translator = new UpdateTranslator();
  translate([
    tool({ toolCallId: "runs", title: "runs", status: "in_progress" }),
    tool({ toolCallId: "waits", title: "waits", status: "pending" }),
    tool({ toolCallId: "refused", title: "refused", status: "pending" }),
    { ...tool({ toolCallId: "sub", title: "sub", status: "in_progress" }), name: "Task" },
  ], translator);
  translator.markRefused("refused" as ToolCallId);
  assertEquals(briefs([thought(text("hm")), chunk(text(""))], translator), ["thought hm"]);
  assertEquals(briefs([chunk(text("Now"))], translator).toSorted(), [
    "text Now",
    "tool refused other failed",
    "tool runs other completed",
  ]);
  assertEquals(
    briefs([change({ toolCallId: "runs", status: "in_progress" }), chunk(text(" I know"))], translator),
    [
      "text  I know",
    ],
  );
  assertEquals(briefs([change({ toolCallId: "runs", status: "failed" })], translator), [
    "tool runs other failed",
  ]);
  assertEquals(translator.closeTools("completed").map(summarize), [
    "tool waits other completed",
    "tool sub other completed",
  ]);
});

Deno.test("UpdateTranslator: cuts titles, and keeps no text of a tool call that is longer", () => {
  const translator = new UpdateTranslator();
  const huge = "x".repeat(100_000);
  const rawInput = { command: huge, other: [huge] };
  translate([tool({ title: huge, kind: "execute", rawInput })], translator);
  const kept = JSON.stringify(translator.find("t"));
  assertEquals([translator.find("t")?.tool.title.length, kept.length < 6_000], [1_003, true]);
});

Deno.test("UpdateTranslator: of two kinds that the agent names, the more dangerous one counts", () => {
  assertEquals(briefs([tool({ kind: "execute" }), change({ kind: "think", title: "hm" })]), [
    "tool ls execute pending",
    "tool hm execute pending",
  ]);
  assertEquals(briefs([tool({ kind: "read" }), change({ kind: "edit" })]).at(-1), "tool ls edit pending");
});

Deno.test("UpdateTranslator: remembers the newest 1000 tool calls", () => {
  const translator = new UpdateTranslator();
  for (let number = 0; number <= 1_000; number++) {
    translate([tool({ toolCallId: `${number}`, kind: "read" })], translator);
  }
  const kindOf = (toolCallId: string) =>
    briefs([change({ toolCallId, status: "in_progress" })], translator).join("");
  assertEquals(["1", "1000", "0"].map(kindOf), [
    "tool ls read in_progress",
    "tool ls read in_progress",
    "tool tool other in_progress",
  ]);
});
