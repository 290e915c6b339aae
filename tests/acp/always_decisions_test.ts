import { assertEquals } from "@std/assert";
import { AlwaysDecisions, detailOf } from "../../lib/acp/permission.ts";
import type { ToolCall, ToolCallId, ToolKind } from "../../lib/turn/event.ts";
import type { PermissionOption, PermissionQuestion } from "../../lib/turn/permission.ts";

const option = (kind: string, id = kind): PermissionOption => ({ id, name: kind, kind });
const OPTIONS = ["allow_once", "allow_always", "reject_once", "reject_always"].map((kind) => option(kind));

interface Changed {
  id?: string;
  title?: string;
  kind?: ToolKind;
  detail?: string;
  options?: readonly PermissionOption[];
}

function question(
  { id = "t1", title = "npm test", kind = "execute", ...rest }: Changed = {},
): PermissionQuestion {
  const tool: ToolCall = { id: id as ToolCallId, title, kind, status: "pending" };
  return { tool, detail: "npm test", options: OPTIONS, ...rest };
}

/** What is decided of a question, after another was answered so. */
function decided(chosen: string, next: PermissionQuestion, before = question()): string | undefined {
  const remembered = new AlwaysDecisions();
  remembered.remember(before, option(chosen));
  return remembered.decisionOf(next);
}

const CHOSEN: readonly [kind: string, decision: string | undefined][] = [
  ["allow_always", "allow"],
  ["reject_always", "reject"],
  ["allow_once", undefined],
  ["reject_once", undefined],
  ["allow_forever", undefined],
];
for (const [kind, decision] of CHOSEN) {
  Deno.test(`Remembered: ${kind}: of the next tool call ${decision ?? "nothing"} is decided`, () => {
    assertEquals(decided(kind, question({ id: "t2" })), decision);
  });
}

const OTHERS: readonly [name: string, changed: Changed][] = [
  ["the same tool call: it may ask for something else", { id: "t1" }],
  ["another title", { title: "npm run deploy" }],
  ["another kind", { kind: "delete" }],
  ["another command", { detail: "npm test && rm -r /" }],
  ["other options", { options: OPTIONS.slice(1) }],
  ["options whose ids mean something else", {
    options: OPTIONS.map(({ id, name }, i) => ({ id, name, kind: OPTIONS[3 - i]!.kind })),
  }],
];
for (const [name, changed] of OTHERS) {
  Deno.test(`Remembered: nothing is decided of ${name}`, () => {
    assertEquals(decided("allow_always", question({ id: "t2", ...changed })), undefined);
  });
}

Deno.test("Remembered: the same question is one in which the agent shows the very same, also where people see less", () => {
  const remembered = new AlwaysDecisions();
  const shown = (end: string) => [{ command: "x".repeat(5_000) + end }];
  remembered.remember(question(), option("allow_always"), shown("a"));
  assertEquals(remembered.decisionOf(question({ id: "t2" }), shown("a")), "allow");
  assertEquals(remembered.decisionOf(question({ id: "t2" }), shown("b")), undefined);
  const long = shown("x".repeat(100_000));
  remembered.remember(question(), option("allow_always"), long);
  assertEquals(remembered.decisionOf(question({ id: "t2" }), long), undefined);
});

Deno.test("Remembered: it holds for every later tool call", () => {
  const remembered = new AlwaysDecisions();
  remembered.remember(question(), option("allow_always"));
  for (const id of ["t2", "t3", "t4"]) assertEquals(remembered.decisionOf(question({ id })), "allow");
});

Deno.test("Remembered: the names of options do not matter", () => {
  const options = OPTIONS.map((option) => ({ ...option, name: `${option.name} (2)` }));
  assertEquals(decided("allow_always", question({ id: "t2", options })), "allow");
});

Deno.test("Remembered: a later choice takes the place of an earlier one; one for once does not", () => {
  const remembered = new AlwaysDecisions();
  remembered.remember(question(), option("allow_always"));
  remembered.remember(question({ id: "t2" }), option("reject_once"));
  assertEquals(remembered.decisionOf(question({ id: "t3" })), "allow");
  remembered.remember(question({ id: "t3" }), option("reject_always"));
  assertEquals(remembered.decisionOf(question({ id: "t4" })), "reject");
});

Deno.test("Remembered: of more than 100 choices the oldest is forgotten", () => {
  const remembered = new AlwaysDecisions();
  const of = (i: number, id = "t1") => question({ id, detail: `command ${i}` });
  for (let i = 0; i <= 100; i++) remembered.remember(of(i), option("allow_always"));
  assertEquals([0, 1, 100].map((i) => remembered.decisionOf(of(i, "t2"))), [undefined, "allow", "allow"]);
});

const DETAILS: readonly [name: string, toolCall: Record<string, unknown>, detail: string][] = [
  ["nothing", {}, ""],
  ["a command", { rawInput: { command: "rm -r x" } }, "rm -r x"],
  ["a command in parts", { rawInput: { command: ["bash", "-lc", "ls"] } }, "bash -lc ls"],
  ["a command that is none", { rawInput: { command: 1 } }, '{"command":1}'],
  ["input that only this tool knows", { rawInput: { to: "me@example.com" } }, '{"to":"me@example.com"}'],
  ["no fields", { rawInput: {} }, ""],
  ["input in words", { rawInput: "rm" }, "rm"],
  ["no input", { rawInput: null, content: null, locations: null }, ""],
  ["an address", { rawInput: { url: "https://example.com" } }, "https://example.com"],
  [
    "a change",
    { content: [{ type: "diff", path: "a.txt", oldText: "one\ntwo\n", newText: "one\n2\n" }] },
    "a.txt\n- one\n- two\n+ one\n+ 2",
  ],
  ["a new file", { content: [{ type: "diff", path: "a.txt", oldText: null, newText: "x" }] }, "a.txt\n+ x"],
  [
    "an emptied file",
    { content: [{ type: "diff", path: "a.txt", oldText: "x", newText: "" }] },
    "a.txt\n- x",
  ],
  [
    "an empty line in a change",
    { content: [{ type: "diff", path: "a", oldText: "", newText: "x\n\ny" }] },
    "a\n+ x\n+ \n+ y",
  ],
  [
    "words",
    { content: [{ type: "content", content: { type: "text", text: "It deletes x" } }] },
    "It deletes x",
  ],
  ["a picture", { content: [{ type: "content", content: { type: "image", data: "" } }] }, ""],
  ["a terminal", { content: [{ type: "terminal", terminalId: "1" }] }, ""],
  ["content that is none", { content: [null, 1, "x", {}] }, ""],
  ["content that is no list", { content: "x" }, ""],
  ["files", { locations: [{ path: "a.txt", line: 3 }, { path: "b.txt" }] }, "a.txt\nb.txt"],
  ["files that are none", { locations: [null, {}, { path: 1 }, "x"] }, ""],
  [
    "the file of a change, which is told once",
    {
      content: [{ type: "diff", path: "a.txt", oldText: "", newText: "x" }],
      locations: [{ path: "a.txt" }, { path: "b.txt" }],
    },
    "a.txt\n+ x\nb.txt",
  ],
  [
    "everything",
    {
      rawInput: { command: "curl", url: "https://example.com" },
      content: [{ type: "content", content: { type: "text", text: "gets it" } }],
      locations: [{ path: "out" }],
    },
    "curl\ngets it\nout\nhttps://example.com",
  ],
  ["4000 characters", { rawInput: { command: "x".repeat(4_000) } }, "x".repeat(4_000)],
  ["more than 4000 characters", { rawInput: { command: "x".repeat(4_001) } }, "x".repeat(4_000) + "..."],
];
for (const [name, toolCall, detail] of DETAILS) {
  Deno.test(`detailOf: ${name}`, () => assertEquals(detailOf(toolCall), detail));
}

Deno.test("detailOf: what is cut inside a character is well-formed", () => {
  const detail = detailOf({ rawInput: { command: "x".repeat(3_999) + "😀" } });
  assertEquals([detail.isWellFormed(), detail.endsWith("\ufffd...")], [true, true]);
});

Deno.test("detailOf: a change that names no file", () => {
  assertEquals(detailOf({ content: [{ type: "diff", oldText: "a", newText: "b" }] }), "- a\n+ b");
});
