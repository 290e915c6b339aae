import { assertEquals } from "@std/assert";
import {
  evaluatePolicy,
  PERMISSION_POLICIES,
  type PermissionPolicy,
  toOutcome,
} from "../../lib/acp/permission.ts";
import { TOOL_KINDS, type ToolKind } from "../../lib/turn/event.ts";
import { chooseOption, type Decision, type PermissionOption } from "../../lib/turn/permission.ts";

type Judgement = "allow" | "reject" | "ask";

const JUDGEMENTS: Readonly<Record<ToolKind, Readonly<Record<PermissionPolicy, Judgement>>>> = {
  read: { ask: "allow", allow: "allow", deny: "reject" },
  search: { ask: "allow", allow: "allow", deny: "reject" },
  think: { ask: "allow", allow: "allow", deny: "reject" },
  fetch: { ask: "allow", allow: "allow", deny: "reject" },
  edit: { ask: "ask", allow: "allow", deny: "reject" },
  delete: { ask: "ask", allow: "allow", deny: "reject" },
  move: { ask: "ask", allow: "allow", deny: "reject" },
  execute: { ask: "ask", allow: "allow", deny: "reject" },
  switch_mode: { ask: "ask", allow: "allow", deny: "reject" },
  other: { ask: "ask", allow: "allow", deny: "reject" },
};
for (const kind of TOOL_KINDS) {
  for (const policy of PERMISSION_POLICIES) {
    Deno.test(`judge: ${policy}, ${kind}`, () =>
      assertEquals(evaluatePolicy(policy, kind), JUDGEMENTS[kind][policy]));
  }
}

/** An option whose id says its kind; a second one of a kind has another id. */
const option = (kind: string, id = kind): PermissionOption => ({ id, name: kind, kind });
const selected = (optionId: string) => ({ outcome: "selected", optionId });
const CANCELLED = { outcome: "cancelled" };

const CHOICES: readonly (readonly [string, readonly PermissionOption[], unknown, unknown])[] = [
  ["no options", [], CANCELLED, CANCELLED],
  [
    "once and always",
    [option("allow_once"), option("allow_always"), option("reject_once"), option("reject_always")],
    selected("allow_once"),
    selected("reject_once"),
  ],
  [
    "allow always only",
    [option("allow_always"), option("reject_once")],
    selected("allow_always"),
    selected("reject_once"),
  ],
  [
    "reject always only",
    [option("reject_always"), option("allow_once")],
    selected("allow_once"),
    selected("reject_always"),
  ],
  [
    "nothing to refuse with",
    [option("allow_once"), option("allow_always")],
    selected("allow_once"),
    CANCELLED,
  ],
  ["nothing to allow with", [option("reject_once")], CANCELLED, selected("reject_once")],
  ["kinds to come", [option("allow_later"), option("")], CANCELLED, CANCELLED],
  [
    "allow always twice, as qwen asks",
    [
      option("allow_always", "project"),
      option("allow_always", "user"),
      option("allow_once", "once"),
      option("reject_once", "no"),
    ],
    selected("once"),
    selected("no"),
  ],
  [
    "two of a kind: the first",
    [option("allow_once", "a"), option("allow_once", "b")],
    selected("a"),
    CANCELLED,
  ],
  [
    "ids that look like other kinds",
    [option("reject_once", "allow_once"), option("allow_once", "reject")],
    selected("reject"),
    selected("allow_once"),
  ],
];
const chosen = (options: readonly PermissionOption[], decision: Decision) =>
  toOutcome(chooseOption(options, decision));
for (const [name, options, allow, refuse] of CHOICES) {
  Deno.test(`chooseOption: ${name}`, () => {
    assertEquals(chosen(options, "allow"), allow);
    assertEquals(chosen(options, "reject"), refuse);
  });
}

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, index) =>
    permutations(items.toSpliced(index, 1)).map((rest) => [item, ...rest])
  );
}

Deno.test("chooseOption: the order of the options does not matter", () => {
  const kinds = ["allow_once", "allow_always", "reject_once", "reject_always", "allow_later"];
  for (const options of permutations(kinds.map((kind) => option(kind)))) {
    assertEquals(chosen(options, "allow"), selected("allow_once"));
    assertEquals(chosen(options, "reject"), selected("reject_once"));
  }
});
