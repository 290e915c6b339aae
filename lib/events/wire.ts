/** The wire vocabulary of `/v1/vtuber`: the events that subscribers get, and the commands and bodies that they send. @module */

import { z } from "zod";
import { AppError, type ErrorCode } from "../core/errors.ts";
import type { PermissionOutcome, PlanEntry, ToolKind } from "../turn/event.ts";
import { DECISIONS, type PermissionAnswer } from "../turn/permission.ts";

/** The states of the agent that a character can show. */
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

/** The events that a subscriber can choose. */
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

/** How urgent a notification is. */
export const URGENCIES = ["low", "normal", "high"] as const;
/** One of {@linkcode URGENCIES}. */
export type Urgency = (typeof URGENCIES)[number];

/** The turn that an event belongs to. */
export interface TurnRef {
  /** The name of the conversation, the same as the `x-session-id` header of its chat responses. */
  readonly session_id: string;
  readonly turn_id: string;
}

/** The tool behind a state. `tool_class` uses OpenAB's classes. */
export interface StateDetail {
  readonly tool_class?: "tool" | "coding" | "web";
  readonly tool_name?: string;
  readonly subagent_count?: number;
}

/** The state of a turn; without a turn, the state of the whole program. */
export interface AgentStateEvent extends Partial<TurnRef> {
  readonly type: "agent_state";
  readonly state: AgentStateName;
  readonly detail?: StateDetail;
}

/** The start or the end of a tool call. */
export interface ToolStatusEvent extends TurnRef {
  readonly type: "tool_status";
  readonly tool_call_id: string;
  readonly tool_name: string;
  readonly kind: ToolKind;
  readonly status: "pending" | "running" | "done" | "failed";
}

/** A question of the agent that a person can answer. `expires_at` is in unix seconds. */
export interface PermissionRequestEvent extends TurnRef {
  readonly type: "permission_request";
  readonly request_id: string;
  readonly tool: {
    readonly tool_call_id: string;
    readonly tool_name: string;
    readonly kind: ToolKind;
    /** The command or the change, if the agent shows it. */
    readonly detail?: string;
  };
  readonly options: readonly { readonly option_id: string; readonly name: string; readonly kind: string }[];
  readonly expires_at: number;
}

/** An event that subscribers can choose. */
export type VtuberEvent =
  | AgentStateEvent
  | (Partial<TurnRef> & { readonly type: "emotion"; readonly tag: string; readonly intensity: number })
  | ToolStatusEvent
  | (TurnRef & { readonly type: "plan"; readonly entries: readonly PlanEntry[] })
  | { readonly type: "notification"; readonly text: string; readonly urgency: Urgency }
  | PermissionRequestEvent
  | (TurnRef & {
    readonly type: "permission_resolved";
    readonly request_id: string;
    readonly outcome: PermissionOutcome;
    readonly option_id?: string;
    readonly by: string;
  })
  | (TurnRef & { readonly type: "say"; readonly text: string });

/** The reply to a command; only its sender gets it. */
export type CommandReply =
  | { readonly type: "subscribed"; readonly events: readonly EventName[] }
  | { readonly type: "pong" }
  | { readonly type: "hello"; readonly client_id: string; readonly server: string; readonly version: string }
  | { readonly type: "interrupted"; readonly turns: number }
  | { readonly type: "error"; readonly code: ErrorCode; readonly message: string };

/** Encodes a frame as one line of JSON: `type` and `ts` (unix seconds) first. */
export function encodeFrame(event: VtuberEvent | CommandReply, nowMs: number = Date.now()): string {
  return JSON.stringify(Object.assign({ type: event.type, ts: Math.floor(nowMs / 1000) }, event));
}

/** An event or reply that is being delivered. All its recipients share one encoded frame. */
export class Message {
  #frame: string | undefined;

  constructor(readonly event: VtuberEvent | CommandReply) {}

  /** The encoded frame, made on first use. */
  get frame(): string {
    return this.#frame ??= encodeFrame(this.event);
  }
}

/** Characters of one command. */
const MAX_COMMAND_CHARS = 16 * 1024;
/** Names in one subscription. */
const MAX_SUBSCRIPTION_NAMES = 100;
/** Characters of a notification. */
const MAX_NOTIFICATION_CHARS = 4_000;
/** Characters of the name that a client gives itself. */
const MAX_CLIENT_NAME_CHARS = 100;
/** Values of `by` that say that no client answered a permission request. */
const RESERVED_NAMES: ReadonlySet<string> = new Set(["timeout", "turn", "agent"]);

/** The modes of a notification: say the text as it is, or let the agent put it in its own words. */
export const NOTIFICATION_MODES = ["text", "agent"] as const;
/** One of {@linkcode NOTIFICATION_MODES}. */
export type NotificationMode = (typeof NOTIFICATION_MODES)[number];

const clientName = z.string().trim().max(MAX_CLIENT_NAME_CHARS).nullable().default(null)
  .transform((name) => name && !RESERVED_NAMES.has(name) ? name : undefined);

const answerFields = {
  option_id: z.string().min(1).optional(),
  // OpenAI-style clients write "deny" for "reject".
  decision: z.preprocess(
    (value) => value === "deny" ? "reject" : value,
    z.enum(DECISIONS, `must be one of ${DECISIONS.join(", ")}`),
  ).optional(),
};
type AnswerFields = { readonly [Key in keyof typeof answerFields]?: z.infer<(typeof answerFields)[Key]> };
const hasOneAnswer = ({ option_id, decision }: AnswerFields) =>
  (option_id === undefined) !== (decision === undefined);
const ONE_ANSWER = { path: ["option_id"], error: 'give either "option_id" or "decision", and not both' };

function toAnswer({ option_id, decision }: AnswerFields): PermissionAnswer {
  return option_id === undefined ? { decision: decision! } : { optionId: option_id };
}

const command = z.discriminatedUnion("type", [
  z.object({ type: z.literal("hello"), client: clientName }),
  z.object({ type: z.literal("subscribe"), events: z.array(z.string()).max(MAX_SUBSCRIPTION_NAMES) }),
  z.object({ type: z.literal("ping") }),
  z.object({ type: z.literal("permission_response"), request_id: z.string().min(1), ...answerFields })
    .refine(hasOneAnswer, ONE_ANSWER)
    .transform((body) => ({ type: body.type, requestId: body.request_id, answer: toAnswer(body) })),
  z.object({ type: z.literal("interrupt"), session_id: z.string().min(1).nullish() })
    .transform(({ type, session_id }) => ({ type, sessionId: session_id ?? undefined })),
], {
  error: ({ code }) =>
    code === "invalid_union" ? "must be hello, subscribe, ping, permission_response or interrupt" : undefined,
});
/** A command that a client sends over the WebSocket. */
export type Command = z.infer<typeof command>;

/** Parses a command. @throws {AppError} `invalid_json`, `body_too_large`, `invalid_value` that names the field. */
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
  return validate(command, value);
}

const permissionAnswer = z.object({ ...answerFields, client: clientName })
  .refine(hasOneAnswer, ONE_ANSWER)
  .transform((body) => ({ answer: toAnswer(body), client: body.client }));
/** The answer to a permission request, and the name of its sender. */
export type PermissionAnswerBody = z.infer<typeof permissionAnswer>;

/** Parses the body of `POST /v1/vtuber/permissions/{id}`. @throws {AppError} `invalid_value` that names the field. */
export function parsePermissionAnswer(value: unknown): PermissionAnswerBody {
  return validate(permissionAnswer, value);
}

const notification = z.object({
  text: z.string().trim().min(1, "must not be empty").max(MAX_NOTIFICATION_CHARS),
  urgency: z.enum(URGENCIES, `must be one of ${URGENCIES.join(", ")}`).default("normal"),
  mode: z.enum(NOTIFICATION_MODES, `must be one of ${NOTIFICATION_MODES.join(", ")}`).default("text"),
});
/** A text for the character to say. */
export type NotificationBody = z.infer<typeof notification>;

/** Parses the body of `POST /v1/vtuber/notifications`. @throws {AppError} `invalid_value` that names the field. */
export function parseNotification(value: unknown): NotificationBody {
  return validate(notification, value);
}

function validate<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const param = issue?.path.join(".") || undefined;
  throw new AppError("invalid_value", `${param ? `"${param}": ` : ""}${issue?.message ?? "is wrong"}.`, {
    ...(param ? { param } : {}),
  });
}
