/** Which permissions are given: policy as a table, chosen by an option's kind and never by its position. @module */

import type { ToolKind } from "../turn/event.ts";

/** What is done when an agent asks before it uses a tool (`VTUBER_PERMISSIONS`). */
export const PERMISSION_POLICIES = ["ask", "allow", "deny"] as const;
/** One of {@linkcode PERMISSION_POLICIES}. */
export type PermissionPolicy = (typeof PERMISSION_POLICIES)[number];

/** What was decided. */
export type Verdict = "allow" | "refuse";

/** An option of a permission request, as far as the choice looks at it. */
export interface PermissionOption {
  readonly optionId: string;
  readonly kind: string;
}

/** The `outcome` of the answer to `session/request_permission`. */
export type PermissionOutcome =
  | { readonly outcome: "selected"; readonly optionId: string }
  | { readonly outcome: "cancelled" };

/** Kinds of tools that change nothing and tell nobody. */
const SAFE: Readonly<Record<ToolKind, boolean>> = {
  read: true,
  search: true,
  think: true,
  fetch: true,
  edit: false,
  delete: false,
  move: false,
  execute: false,
  switch_mode: false,
  other: false,
};

/** The option kinds to choose for a verdict, best first (ACP `PermissionOptionKind`). */
const CHOICES: Readonly<Record<Verdict, readonly string[]>> = {
  allow: ["allow_once", "allow_always"],
  refuse: ["reject_once", "reject_always"],
};

/** What the policy says of a kind of tool; `ask` needs someone to ask. */
export function judge(policy: PermissionPolicy, kind: ToolKind): Verdict | "ask" {
  switch (policy) {
    case "allow":
      return "allow";
    case "deny":
      return "refuse";
    case "ask":
      return SAFE[kind] ? "allow" : "ask";
    default:
      return policy satisfies never;
  }
}

/** The answer that gives the verdict, `cancelled` if the agent offers no option for it. */
export function chooseOption(options: readonly PermissionOption[], verdict: Verdict): PermissionOutcome {
  for (const kind of CHOICES[verdict]) {
    const option = options.find((option) => option.kind === kind);
    if (option) return { outcome: "selected", optionId: option.optionId };
  }
  return { outcome: "cancelled" };
}
