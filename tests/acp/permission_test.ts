import { assertEquals } from "@std/assert";
import { AlwaysDecisions, detailOf, evaluatePolicy, PERMISSION_POLICIES } from "../../lib/acp/permission.ts";
import {
  type PermissionOption,
  type PermissionQuestion,
  TOOL_KINDS,
  type ToolCallId,
  type ToolKind,
} from "../../lib/turn/event.ts";
import type { Decision } from "../../lib/turn/permission.ts";

const ASKED_KINDS: readonly ToolKind[] = ["edit", "delete", "move", "execute", "switch_mode", "other"];
for (const policy of PERMISSION_POLICIES) {
  for (const kind of TOOL_KINDS) {
    const expected =
      { allow: "allow", deny: "reject", ask: ASKED_KINDS.includes(kind) ? "ask" : "allow" }[policy];
    Deno.test(`evaluatePolicy: ${policy} of ${kind} is ${expected}`, () => {
      assertEquals(evaluatePolicy(policy, kind) as string, expected);
    });
  }
}

const option = (kind: string): PermissionOption => ({ id: kind, name: kind, kind });
const OPTIONS = ["allow_once", "allow_always", "reject_once", "reject_always"].map(option);

type QuestionFields = Partial<PermissionQuestion & { id: string; title: string; kind: ToolKind }>;

function question(
  { id = "t1", title = "npm test", kind = "execute", ...rest }: QuestionFields = {},
): PermissionQuestion {
  const tool = { id: id as ToolCallId, title, kind, status: "pending" } as const;
  return { tool, detail: "npm test", options: OPTIONS, ...rest };
}

const remember = (decisions: AlwaysDecisions, asked: PermissionQuestion, choice: string) =>
  decisions.remember(asked, option(choice), asked.detail);
const decisionOf = (decisions: AlwaysDecisions, asked: PermissionQuestion) =>
  decisions.decisionOf(asked, asked.detail);

/** Returns the decision about a question after a choice of this kind about the default question. */
function decisionAfter(choice: string, next: QuestionFields): Decision | undefined {
  const decisions = new AlwaysDecisions();
  remember(decisions, question(), choice);
  return decisionOf(decisions, question(next));
}

for (
  const [choice, decision] of [
    ["allow_always", "allow"],
    ["reject_always", "reject"],
    ["allow_once", undefined],
    ["reject_once", undefined],
    ["allow_forever", undefined],
  ] as const
) {
  Deno.test(`AlwaysDecisions: after ${choice}, the next tool call gets ${decision ?? "no decision"}`, () => {
    assertEquals(decisionAfter(choice, { id: "t2" }), decision);
  });
}

for (
  const [name, fields, decision] of [
    ["not for the same tool call, which may ask for something else", { id: "t1" }, undefined],
    ["not for another title", { title: "npm run deploy" }, undefined],
    ["not for another kind", { kind: "delete" }, undefined],
    ["not for another command", { detail: "npm test && rm -r /" }, undefined],
    ["not for other options", { options: OPTIONS.slice(1) }, undefined],
    ["not for the same ids with other kinds", {
      options: OPTIONS.map(({ id, name }, index) => ({ id, name, kind: OPTIONS[3 - index]!.kind })),
    }, undefined],
    ["for other names of options", { options: OPTIONS.map((option) => ({ ...option, name: "X" })) }, "allow"],
  ] as const
) {
  Deno.test(`AlwaysDecisions: a decision holds ${name}`, () => {
    assertEquals(decisionAfter("allow_always", { id: "t2", ...fields }), decision);
  });
}

Deno.test("AlwaysDecisions: compares everything that is shown, and remembers no very long question", () => {
  const decisions = new AlwaysDecisions();
  const shown = (end: string) => [{ command: "x".repeat(5_000) + end }];
  decisions.remember(question(), option("allow_always"), shown("a"));
  assertEquals(decisions.decisionOf(question({ id: "t2" }), shown("a")), "allow");
  assertEquals(decisions.decisionOf(question({ id: "t2" }), shown("b")), undefined);
  const long = shown("x".repeat(100_000));
  decisions.remember(question(), option("allow_always"), long);
  assertEquals(decisions.decisionOf(question({ id: "t2" }), long), undefined);
});

Deno.test("AlwaysDecisions: a decision holds until another one for always", () => {
  const decisions = new AlwaysDecisions();
  remember(decisions, question(), "allow_always");
  for (const id of ["t2", "t3"]) assertEquals(decisionOf(decisions, question({ id })), "allow");
  remember(decisions, question({ id: "t2" }), "reject_once");
  assertEquals(decisionOf(decisions, question({ id: "t3" })), "allow");
  remember(decisions, question({ id: "t3" }), "reject_always");
  assertEquals(decisionOf(decisions, question({ id: "t4" })), "reject");
});

Deno.test("AlwaysDecisions: keeps the newest 100 decisions", () => {
  const decisions = new AlwaysDecisions();
  const numbered = (number: number, id: string) => question({ id, detail: `command ${number}` });
  for (let number = 0; number <= 100; number++) remember(decisions, numbered(number, "t1"), "allow_always");
  const found = [0, 1, 100].map((number) => decisionOf(decisions, numbered(number, "t2")));
  assertEquals(found, [undefined, "allow", "allow"]);
});

const diff = (path: string | undefined, oldText: string | null, newText: string) => ({
  content: [{ type: "diff", path, oldText, newText }],
});
const content = (content: unknown) => ({ content: [{ type: "content", content }] });
const input = (rawInput: unknown) => ({ rawInput });
for (
  const [name, toolCall, detail] of [
    ["nothing", {}, ""],
    ["a command", input({ command: "rm -r x" }), "rm -r x"],
    ["a command in parts", input({ command: ["bash", "-lc", "ls"] }), "bash -lc ls"],
    ["unknown input", input({ to: "me@example.com" }), '{"to":"me@example.com"}'],
    ["empty input", input({}), ""],
    ["input in words", input("rm"), "rm"],
    ["a URL", input({ url: "https://example.com" }), "https://example.com"],
    ["a change", diff("a.txt", "one\ntwo\n", "one\n2\n"), "a.txt\n- one\n- two\n+ one\n+ 2"],
    ["a new file", diff("a.txt", null, "x"), "a.txt\n+ x"],
    ["an emptied file", diff("a.txt", "x", ""), "a.txt\n- x"],
    ["a change without a path", diff(undefined, "a", "b"), "- a\n+ b"],
    ["a text", content({ type: "text", text: "It deletes x" }), "It deletes x"],
    [
      "everything",
      {
        ...input({ command: "curl", url: "https://example.com" }),
        ...content({ type: "text", text: "gets it" }),
        locations: [{ path: "out" }],
      },
      "curl\ngets it\nout\nhttps://example.com",
    ],
    ["4000 characters", input({ command: "x".repeat(4_000) }), "x".repeat(4_000)],
    ["the first 4000 characters", input({ command: "x".repeat(4_001) }), "x".repeat(4_000) + "..."],
    ["no half of a character", input({ command: "x".repeat(3_999) + "😀" }), "x".repeat(3_999) + "\ufffd..."],
  ] as const
) {
  Deno.test(`detailOf: shows ${name}`, () => assertEquals(detailOf(toolCall), detail));
}
