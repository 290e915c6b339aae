/** Which permissions are given: policy as a table, chosen by an option's kind and never by its position. @module */

import type { ToolCall, ToolKind } from "../turn/event.ts";
import type { Decision, PermissionOption, PermissionQuestion } from "../turn/permission.ts";
import type { PermissionRequest } from "./wire.ts";

/** What is done when an agent asks before it uses a tool (`VTUBER_PERMISSIONS`). */
export const PERMISSION_POLICIES = ["ask", "allow", "deny"] as const;
/** One of {@linkcode PERMISSION_POLICIES}. */
export type PermissionPolicy = (typeof PERMISSION_POLICIES)[number];

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

/** What the policy says of a kind of tool; `ask` needs someone to ask. */
export function evaluatePolicy(policy: PermissionPolicy, kind: ToolKind): "allow" | "reject" | "ask" {
  switch (policy) {
    case "allow":
      return "allow";
    case "deny":
      return "reject";
    case "ask":
      return SAFE[kind] ? "allow" : "ask";
    default:
      return policy satisfies never;
  }
}

/** What is asked of a person about a tool. */
export function toQuestion({ toolCall, options }: PermissionRequest, tool: ToolCall): PermissionQuestion {
  return {
    tool,
    detail: detailOf(toolCall),
    options: options.map(({ optionId, name, kind }) => ({ id: optionId, name, kind })),
  };
}

/** The answer that chooses this option; `cancelled` if the agent offers none that fits. */
export function toOutcome(option: PermissionOption | undefined): PermissionOutcome {
  return option ? { outcome: "selected", optionId: option.id } : { outcome: "cancelled" };
}

/** Choices of one session that are remembered; beyond it the oldest is forgotten. */
const MAX_REMEMBERED = 100;
/** Characters of a question that can be remembered; a longer one is asked each time. */
const MAX_KEY_CHARS = 64 * 1024;

/**
 * What a person decided for always, for as long as a session lasts. Agents remember that themselves; this is for those
 * that ask again. It holds for the very same question only (kind, title and options), and not for another question
 * about the tool call that it was decided for: an agent may ask twice for one call, each time for something else.
 */
export class AlwaysDecisions {
  readonly #decisions = new Map<string, { readonly decision: Decision; readonly toolCallId: string }>();

  /**
   * What was decided of this for always.
   *
   * @param shown All that the agent shows of the tool: the question is the same only if that is, to the last character.
   */
  decisionOf(question: PermissionQuestion, shown: unknown = question.detail): Decision | undefined {
    const known = this.#decisions.get(questionKey(question, shown));
    return known && known.toolCallId !== question.tool.id ? known.decision : undefined;
  }

  /** Takes a choice; one that is not for always changes nothing. */
  remember(
    question: PermissionQuestion,
    { kind }: PermissionOption,
    shown: unknown = question.detail,
  ): void {
    if (kind !== "allow_always" && kind !== "reject_always") return;
    const key = questionKey(question, shown);
    if (key.length > MAX_KEY_CHARS) return;
    this.#decisions.delete(key);
    this.#decisions.set(key, {
      decision: kind === "allow_always" ? "allow" : "reject",
      toolCallId: question.tool.id,
    });
    for (const oldest of this.#decisions.keys()) {
      if (this.#decisions.size <= MAX_REMEMBERED) break;
      this.#decisions.delete(oldest);
    }
  }
}

function questionKey({ tool, options }: PermissionQuestion, shown: unknown): string {
  return JSON.stringify([tool.kind, tool.title, shown, options.map(({ id, kind }) => [id, kind])]);
}

/** Characters of what a permission request shows of its tool. */
const MAX_DETAIL_CHARS = 4_000;

/**
 * What a tool would do, as far as the agent shows it: its command, its changes, the files it is about; each where
 * agents put it (`rawInput`, `content` of type `diff` or `content`, `locations`).
 */
export function detailOf(toolCall: Readonly<Record<string, unknown>>): string {
  const { rawInput, content, locations } = toolCall;
  const lines: string[] = [];
  const command = field(rawInput, "command");
  if (typeof command === "string") lines.push(command);
  else if (Array.isArray(command)) lines.push(command.join(" "));
  for (const item of Array.isArray(content) ? content : []) {
    if (field(item, "type") === "diff") {
      lines.push(
        textOf(field(item, "path")),
        changed("-", field(item, "oldText")),
        changed("+", field(item, "newText")),
      );
    } else {
      const text = field(field(item, "content"), "text");
      if (typeof text === "string") lines.push(text);
    }
  }
  for (const location of Array.isArray(locations) ? locations : []) {
    const path = field(location, "path");
    if (typeof path === "string" && !lines.includes(path)) lines.push(path);
  }
  const url = field(rawInput, "url");
  if (typeof url === "string") lines.push(url);
  if (lines.length === 0 && hasContent(rawInput)) {
    lines.push(typeof rawInput === "string" ? rawInput : JSON.stringify(rawInput));
  }
  const detail = lines.filter((line) => line !== "").join("\n");
  return detail.length > MAX_DETAIL_CHARS ? detail.slice(0, MAX_DETAIL_CHARS).toWellFormed() + "..." : detail;
}

function hasContent(value: unknown): boolean {
  if (typeof value === "object" && value !== null) return Object.keys(value).length > 0;
  return value !== undefined && value !== null && value !== "";
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** Lines of a change, each with its sign. */
function changed(sign: string, text: unknown): string {
  if (typeof text !== "string" || text === "") return "";
  return text.replace(/\n$/, "").split("\n").map((line) => `${sign} ${line}`).join("\n");
}
