/** What watchers send: commands of a socket, and bodies of requests. Checked where they come in. @module */

import { AppError, type ErrorCode } from "../core/errors.ts";
import type { PlanEntry, ToolKind } from "../turn/event.ts";
import {
  type Decision,
  DECISIONS,
  type PermissionAnswer,
  type PermissionOutcome,
} from "../turn/permission.ts";
import { z } from "zod";

/** What a character can be seen doing. */
export const AGENT_STATES = [
  "idle",
  "thinking",
  "working",
  "juggling",
  "attention",
  "error",
  "notification",
] as const;
/** One of {@linkcode AGENT_STATES}. */
export type AgentStateName = (typeof AGENT_STATES)[number];

/** The events that a watcher can subscribe to. */
export const EVENT_NAMES = [
  "agent_state",
  "emotion",
  "tool_status",
  "plan",
  "notification",
  "permission_request",
  "permission_resolved",
  "say",
] as const;
/** One of {@linkcode EVENT_NAMES}. */
export type EventName = (typeof EVENT_NAMES)[number];

/** How pressing a notification is. */
export const URGENCIES = ["low", "normal", "high"] as const;
/** One of {@linkcode URGENCIES}. */
export type Urgency = (typeof URGENCIES)[number];

/** The turn that an event is about. */
export interface TurnRef {
  /** The conversation, as `x-session-id` of its chat responses names it. */
  readonly session_id: string;
  readonly turn_id: string;
}

/** More about a state. */
export interface StateDetail {
  readonly tool_class?: "tool" | "coding" | "web";
  readonly tool_name?: string;
  readonly subagent_count?: number;
}

/** What the agent does now. */
export interface AgentStateEvent extends Partial<TurnRef> {
  readonly type: "agent_state";
  readonly state: AgentStateName;
  readonly detail?: StateDetail;
}

/** The agent asks for leave. `expires_at` is in unix seconds. */
export interface PermissionRequestEvent extends TurnRef {
  readonly type: "permission_request";
  readonly request_id: string;
  readonly tool: {
    readonly tool_call_id: string;
    readonly tool_name: string;
    readonly kind: ToolKind;
    /** What it would do: the command, the change. Left out if the agent does not show it. */
    readonly detail?: string;
  };
  readonly options: readonly { readonly option_id: string; readonly name: string; readonly kind: string }[];
  readonly expires_at: number;
}

/** An event for those who subscribed to it; `ts` is added as it goes out. */
export type VtuberEvent =
  | AgentStateEvent
  | PermissionRequestEvent
  | (Partial<TurnRef> & { readonly type: "emotion"; readonly tag: string; readonly intensity: number })
  | (TurnRef & {
    readonly type: "tool_status";
    readonly tool_call_id: string;
    readonly tool_name: string;
    readonly kind: ToolKind;
    readonly status: "pending" | "running" | "done" | "failed";
  })
  | (TurnRef & { readonly type: "plan"; readonly entries: readonly PlanEntry[] })
  | { readonly type: "notification"; readonly text: string; readonly urgency: Urgency }
  | (TurnRef & {
    readonly type: "permission_resolved";
    readonly request_id: string;
    readonly outcome: PermissionOutcome;
    readonly option_id?: string;
    readonly by: string;
  })
  | (TurnRef & { readonly type: "say"; readonly text: string });

/** What one client is told in answer to what it sent. */
export type CommandReply =
  | { readonly type: "subscribed"; readonly events: readonly EventName[] }
  | { readonly type: "pong" }
  | { readonly type: "hello"; readonly client_id: string; readonly server: string; readonly version: string }
  | { readonly type: "interrupted"; readonly turns: number }
  | { readonly type: "error"; readonly code: ErrorCode; readonly message: string };

/** The text that goes over the wire: `type` and `ts` (unix seconds) first. */
export function frameOf(event: VtuberEvent | CommandReply, nowMs: number = Date.now()): string {
  const head = { type: event.type, ts: Math.floor(nowMs / 1000) };
  return JSON.stringify(Object.assign(head, event));
}

/** Characters of one command; the longest that means anything is far shorter. */
const MAX_COMMAND_CHARS = 16 * 1024;
/** Characters of a notification. */
const MAX_NOTIFICATION_CHARS = 4_000;
/** Characters of a name that a client gives itself. */
const MAX_NAME_CHARS = 100;

/** What a notification is made of: its text as it is, or what the agent makes of it. */
export const NOTIFICATION_MODES = ["text", "agent"] as const;
/** One of {@linkcode NOTIFICATION_MODES}. */
export type NotificationMode = (typeof NOTIFICATION_MODES)[number];

/** A command of a client. */
export type Command =
  | { readonly type: "hello"; readonly client: string | undefined }
  | { readonly type: "subscribe"; readonly events: readonly string[] }
  | { readonly type: "ping" }
  | { readonly type: "permission_response"; readonly requestId: string; readonly answer: PermissionAnswer }
  | { readonly type: "interrupt"; readonly sessionId: string | undefined };

/** What a permission was resolved by when it was no client: nobody may call itself that. */
const RESERVED_NAMES: ReadonlySet<string> = new Set(["timeout", "turn", "agent"]);

const name = z.string().trim().max(MAX_NAME_CHARS)
  .transform((name) => name === "" || RESERVED_NAMES.has(name) ? undefined : name);
/** `deny` is what most people write. */
const decision = z.preprocess(
  (value) => value === "deny" ? "reject" : value,
  z.enum(DECISIONS, `must be one of ${DECISIONS.join(", ")}`),
);
const answer = {
  option_id: z.string().min(1).optional(),
  decision: decision.optional(),
};
const command = z.discriminatedUnion("type", [
  z.looseObject({ type: z.literal("hello"), client: name.nullish() }),
  z.looseObject({ type: z.literal("subscribe"), events: z.array(z.string()).max(100) }),
  z.looseObject({ type: z.literal("ping") }),
  z.looseObject({ type: z.literal("permission_response"), request_id: z.string().min(1), ...answer }),
  z.looseObject({ type: z.literal("interrupt"), session_id: z.string().min(1).nullish() }),
], {
  error: (issue) =>
    issue.code === "invalid_union"
      ? "must be hello, subscribe, ping, permission_response or interrupt"
      : undefined,
});

/** Reads a command. @throws {AppError} `invalid_json`, `invalid_value` that names the field, `body_too_large`. */
export function parseCommand(text: string): Command {
  if (text.length > MAX_COMMAND_CHARS) {
    throw new AppError("body_too_large", `A command has at most ${MAX_COMMAND_CHARS} characters.`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new AppError("invalid_json", 'A command is a JSON object, like {"type":"ping"}.');
  }
  const read = check(command, value);
  switch (read.type) {
    case "hello":
      return { type: "hello", client: read.client ?? undefined };
    case "subscribe":
    case "ping":
      return read;
    case "permission_response":
      return { type: read.type, requestId: read.request_id, answer: answerOf(read) };
    case "interrupt":
      return { type: "interrupt", sessionId: read.session_id ?? undefined };
    default:
      return read satisfies never;
  }
}

/** The answer to a permission request, and who gives it. */
export interface PermissionAnswerBody {
  readonly answer: PermissionAnswer;
  readonly client: string | undefined;
}

/** Reads the body of `POST /v1/vtuber/permissions/{id}`. @throws {AppError} that names the field. */
export function parsePermissionAnswer(value: unknown): PermissionAnswerBody {
  const body = check(z.looseObject({ ...answer, client: name.nullish() }), value);
  return { answer: answerOf(body), client: body.client ?? undefined };
}

/** What is to be said through the character. */
export interface NotificationBody {
  readonly text: string;
  readonly urgency: Urgency;
  readonly mode: NotificationMode;
}

const notification = z.looseObject({
  text: z.string().trim().min(1, "must not be empty").max(MAX_NOTIFICATION_CHARS),
  urgency: z.enum(URGENCIES, `must be one of ${URGENCIES.join(", ")}`).default("normal"),
  mode: z.enum(NOTIFICATION_MODES, `must be one of ${NOTIFICATION_MODES.join(", ")}`).default("text"),
});

/** Reads the body of `POST /v1/vtuber/notifications`. @throws {AppError} that names the field. */
export function parseNotification(value: unknown): NotificationBody {
  const { text, urgency, mode } = check(notification, value);
  return { text, urgency, mode };
}

/** Exactly one of the two ways to answer. */
function answerOf(
  { option_id: optionId, decision }: {
    option_id?: string | undefined;
    decision?: Decision | undefined;
  },
): PermissionAnswer {
  if (optionId !== undefined && decision === undefined) return { optionId };
  if (decision !== undefined && optionId === undefined) return { decision };
  throw new AppError("invalid_value", 'Give either "option_id" or "decision", and not both.', {
    param: "option_id",
  });
}

function check<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const param = issue?.path.join(".") || undefined;
  throw new AppError("invalid_value", `${param ? `"${param}": ` : ""}${issue?.message ?? "is wrong"}.`, {
    ...(param ? { param } : {}),
  });
}
