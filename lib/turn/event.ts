/**
 * The one vocabulary: everything that can happen in a turn, said the same way whichever agent did it. A north side is
 * a function from these events to its own frames; nothing guesses state from text.
 *
 * @module
 */

import type { AppError } from "../core/errors.ts";
import type { PermissionRequest, PermissionResolution } from "./permission.ts";

/** Identifies one turn: one prompt and all that the agent did in answer to it. */
export type TurnId = string & { readonly brand: "TurnId" };
/** Identifies a session of the agent, as the agent named it (ACP `sessionId`). */
export type SessionId = string & { readonly brand: "SessionId" };
/** Identifies a tool call within its session (ACP `toolCallId`). */
export type ToolCallId = string & { readonly brand: "ToolCallId" };

/** What a tool does, in ACP's words (`ToolKind`); `other` stands for whatever a newer agent may call it. */
export const TOOL_KINDS = [
  "read",
  "edit",
  "delete",
  "move",
  "search",
  "execute",
  "think",
  "fetch",
  "switch_mode",
  "other",
] as const;
/** One of {@linkcode TOOL_KINDS}. */
export type ToolKind = (typeof TOOL_KINDS)[number];

/** How far a tool call is, in ACP's words (`ToolCallStatus`). */
export const TOOL_STATUSES = ["pending", "in_progress", "completed", "failed"] as const;
/** One of {@linkcode TOOL_STATUSES}. */
export type ToolStatus = (typeof TOOL_STATUSES)[number];

/** Why a turn ended, in ACP's words (`StopReason`). */
export const STOP_REASONS = ["end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"] as const;
/** One of {@linkcode STOP_REASONS}. */
export type StopReason = (typeof STOP_REASONS)[number];

/** A tool call as far as it is known; each event carries the whole of it, keyed by `id`. */
export interface ToolCall {
  readonly id: ToolCallId;
  readonly title: string;
  readonly kind: ToolKind;
  readonly status: ToolStatus;
  /** The tool is another agent, which works for this one. */
  readonly isSubagent?: boolean;
}

/** Whether a tool call still runs, or is about to. */
export function isOpen({ status }: Pick<ToolCall, "status">): boolean {
  return status === "pending" || status === "in_progress";
}

/** One line of the agent's plan (ACP `PlanEntry`). */
export interface PlanEntry {
  readonly content: string;
  readonly priority: "high" | "medium" | "low";
  readonly status: "pending" | "in_progress" | "completed";
}

/** Tokens of one turn, as the agent counted them. */
export interface Usage {
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly thoughtTokens: number;
  readonly cachedTokens: number;
}

/** Something that happened in a turn. `end` and `failure` are the last event of their turn; exactly one comes. */
export type TurnEvent =
  /** The reply, verbatim, as it is made: `[emotion]` tags stay in it. Never empty. */
  | { readonly type: "text"; readonly text: string }
  /** What the agent thinks. Never part of the reply. Never empty. */
  | { readonly type: "thought"; readonly text: string }
  /** A tag of the reply, once it is whole and known to be one; comes before the text that completed it. */
  | { readonly type: "emotion"; readonly tag: string; readonly intensity: number }
  /** A tool call was announced or changed; or it is closed for the agent, which left it open, as the turn ends. */
  | { readonly type: "tool"; readonly tool: ToolCall; readonly closing?: true }
  /** The agent's plan, whole: it replaces the one before. */
  | { readonly type: "plan"; readonly entries: readonly PlanEntry[] }
  /** The agent waits for a person's leave to go on. */
  | { readonly type: "permission"; readonly request: PermissionRequest }
  /** It waits no longer. Comes for every `permission`, before the turn's last event. */
  | { readonly type: "permission_resolved"; readonly resolution: PermissionResolution }
  /** What the turn cost; comes before `end`, and only from agents that count. */
  | { readonly type: "usage"; readonly usage: Usage }
  /** The agent answered the prompt. */
  | { readonly type: "end"; readonly reason: StopReason }
  /** The turn ended without an answer. */
  | { readonly type: "failure"; readonly failure: AppError };

/** Takes the events of a turn, in order and synchronously. It must not throw. */
export type TurnReader = (event: TurnEvent) => void;
