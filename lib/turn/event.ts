/**
 * The one vocabulary: everything that can happen in a turn, in the same words for every agent. A north side is a
 * function from these events to its own frames; no code guesses state from text.
 *
 * @module
 */

import type { AppError } from "../core/errors.ts";

/** Identifies a turn: one prompt and everything that the agent does in answer to it. */
export type TurnId = string & { readonly brand: "TurnId" };
/** Identifies a session of the agent, as the agent named it (ACP `sessionId`). */
export type SessionId = string & { readonly brand: "SessionId" };
/** Identifies a tool call within its session (ACP `toolCallId`). */
export type ToolCallId = string & { readonly brand: "ToolCallId" };
/** Identifies a permission request. */
export type PermissionId = string & { readonly brand: "PermissionId" };

/** Kinds of tools (ACP `ToolKind`); `other` stands for every kind that is newer than this list. */
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

/** Progress of a tool call (ACP `ToolCallStatus`). */
export const TOOL_STATUSES = ["pending", "in_progress", "completed", "failed"] as const;
/** One of {@linkcode TOOL_STATUSES}. */
export type ToolStatus = (typeof TOOL_STATUSES)[number];

/** Reasons for the end of a turn (ACP `StopReason`). */
export const STOP_REASONS = ["end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"] as const;
/** One of {@linkcode STOP_REASONS}. */
export type StopReason = (typeof STOP_REASONS)[number];

/** A tool call. Each event carries all that the agent has reported so far. */
export interface ToolCall {
  readonly id: ToolCallId;
  readonly title: string;
  readonly kind: ToolKind;
  readonly status: ToolStatus;
  /** The tool is another agent that works for this one. */
  readonly isSubagent?: boolean;
}

/** Whether a tool call runs or is about to run. */
export function isOpen({ status }: Pick<ToolCall, "status">): boolean {
  return status === "pending" || status === "in_progress";
}

/** One entry of the agent's plan (ACP `PlanEntry`). */
export interface PlanEntry {
  readonly content: string;
  readonly priority: "high" | "medium" | "low";
  readonly status: "pending" | "in_progress" | "completed";
}

/**
 * An answer that the agent offers. `kind` is ACP's `PermissionOptionKind`, or a word that is newer than this program.
 */
export interface PermissionOption {
  readonly id: string;
  readonly name: string;
  readonly kind: string;
}

/** The agent's request that a tool may run. */
export interface PermissionQuestion {
  readonly tool: ToolCall;
  /** The command, the change or the files, as far as the agent shows them; may be empty. */
  readonly detail: string;
  readonly options: readonly PermissionOption[];
}

/** A permission request that waits for an answer. */
export interface PermissionRequest extends PermissionQuestion {
  readonly id: PermissionId;
  /** Time at which the request counts as refused, in milliseconds since 1970. */
  readonly expiresAt: number;
}

/** Outcome of a permission request. Nobody answered `expired` and `cancelled` ones. */
export type PermissionOutcome = "allowed" | "rejected" | "expired" | "cancelled";

/** The end of a permission request. */
export interface PermissionResolution {
  readonly id: PermissionId;
  readonly outcome: PermissionOutcome;
  /** The option that was chosen, if any. */
  readonly option?: PermissionOption;
  /** The answer counts once, although the agent offers this option for always only. */
  readonly isOnce?: true;
  /**
   * The name of the client that answered; else `timeout`, `turn` (the turn ended) or `agent` (the agent withdrew it).
   */
  readonly by: string;
}

/** Identifies a question. */
export type QuestionId = string & { readonly brand: "QuestionId" };

/** One value that the agent asks for. */
export interface QuestionField {
  readonly name: string;
  readonly title: string;
  /** `choice` takes one of the options, `choices` any number of them. */
  readonly type: "text" | "number" | "integer" | "boolean" | "choice" | "choices";
  readonly description?: string;
  readonly required: boolean;
  /** The values to choose from, for `choice` and `choices`. */
  readonly options?: readonly { readonly value: string; readonly title: string }[];
  readonly default?: unknown;
  /** Smallest and largest number, or number of characters or choices. */
  readonly min?: number;
  readonly max?: number;
}

/**
 * The agent's question to a person (ACP elicitation), which asks for values of the fields, or for a visit to a page.
 */
export interface Question {
  readonly message: string;
  readonly fields: readonly QuestionField[];
  /** The page that the person should open. Such a question has no fields. */
  readonly url?: string;
  /** A field looks like a password, which nobody else should see. */
  readonly isPrivate: boolean;
}

/** A question that waits for an answer. */
export interface QuestionRequest extends Question {
  readonly id: QuestionId;
  /** Time at which the question counts as cancelled, in milliseconds since 1970. */
  readonly expiresAt: number;
  /** A watcher shows the question, and may answer it while the reply goes on. */
  readonly isShown: boolean;
  /**
   * Answers the question in words, as the next message of a chat. Missing if words cannot answer it.
   *
   * @returns Whether the words were an answer, and the question was open.
   */
  readonly answerInWords?: (words: string) => boolean;
  /** Ends the question without an answer. */
  readonly cancel: () => void;
}

/** The end of a question. Nobody answered `expired` and `cancelled` ones. */
export interface QuestionResolution {
  readonly id: QuestionId;
  readonly outcome: "answered" | "declined" | "expired" | "cancelled";
  /** The values by the names of the fields, if it was answered. */
  readonly content?: Readonly<Record<string, unknown>>;
  /** The name of the client that answered, or `chat`; else `timeout`, `turn` or `agent` as for a permission. */
  readonly by: string;
}

/** The agent's context in tokens, and what its session has cost so far. */
export interface ContextUsage {
  readonly used: number;
  readonly size: number;
  /** `currency` is an ISO 4217 code, or another unit such as `credits`. */
  readonly cost?: { readonly amount: number; readonly currency: string };
}

/** Tokens of one turn, as the agent counted them. */
export interface Usage {
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly thoughtTokens: number;
  readonly cachedTokens: number;
}

/** An event of a turn. The last event is one `end` or one `failure`. */
export type TurnEvent =
  /** A piece of the reply, verbatim: `[emotion]` tags stay in it. Never empty. */
  | { readonly type: "text"; readonly text: string }
  /**
   * A piece of the reply as a voice says it: without tags, Markdown, code blocks, tables, addresses and emoji. Comes
   * before the text that completed it, unless it may be the start of a mark, and only while the observer wants speech.
   * Never recorded.
   */
  | { readonly type: "speech"; readonly text: string }
  /** A piece of the agent's reasoning, which is never part of the reply. Never empty. */
  | { readonly type: "thought"; readonly text: string }
  /**
   * A complete emotion tag of the reply. Comes before the text that completed the tag if the observer wants speech.
   * `at` counts the UTF-16 code units of this turn's speech before the tag, so that a face can move with the voice.
   */
  | { readonly type: "emotion"; readonly tag: string; readonly intensity: number; readonly at: number }
  /** A tool call was announced or changed. With `closing`, the turn ends and closes a call that the agent left open. */
  | { readonly type: "tool"; readonly tool: ToolCall; readonly closing?: true }
  /** The whole plan; replaces the earlier one. */
  | { readonly type: "plan"; readonly entries: readonly PlanEntry[] }
  /** The agent waits for a permission. */
  | { readonly type: "permission"; readonly request: PermissionRequest }
  /** The agent stops waiting. Comes for every `permission`, before the turn's last event. */
  | { readonly type: "permission_resolved"; readonly resolution: PermissionResolution }
  /** The agent waits for an answer to a question. */
  | { readonly type: "question"; readonly request: QuestionRequest }
  /** The agent stops waiting. Comes for every `question`, before the turn's last event. */
  | { readonly type: "question_resolved"; readonly resolution: QuestionResolution }
  /** The agent's context and cost have changed. */
  | { readonly type: "context"; readonly context: ContextUsage }
  /** Tokens of the turn. Comes before `end`, and only from agents that count tokens. */
  | { readonly type: "usage"; readonly usage: Usage }
  /** The agent answered the prompt. The reply of a `cancelled` turn is not complete. */
  | {
    readonly type: "end";
    readonly reason: StopReason;
    /** The agent ended the turn by itself, without any text, tool or question. */
    readonly isEmpty?: true;
    /** The turn waits for the readers' answer to this request: see `Turn.resumeReply`. */
    readonly asks?: PermissionRequest;
  }
  /** The turn ended without an answer. */
  | { readonly type: "failure"; readonly failure: AppError };

/** The last event of a turn. */
export type LastEvent = Extract<TurnEvent, { type: "end" | "failure" }>;

/** Takes the events of a turn, in order and synchronously. It must not throw. */
export interface TurnReader {
  (event: TurnEvent): void;
  /** Returns whether the readers of the reply can answer a permission request, as watchers can. */
  readonly answersPermissions?: () => boolean;
}

/** Whether an event is the last of its turn. */
export function isLast(event: TurnEvent): event is LastEvent {
  return event.type === "end" || event.type === "failure";
}
