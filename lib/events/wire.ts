/**
 * The wire vocabulary of `/v1/vtuber`: the events that subscribers get, and the commands and bodies that they send.
 *
 * @module
 */

import { z } from "zod";
import { AppError, type ErrorCode, type ErrorReason } from "../core/errors.ts";
import { truncate } from "../core/text.ts";
import { spaceUnsafe } from "../core/unsafe_text.ts";
import { parseWellFormed } from "../http/json_body.ts";
import type { Scope } from "../turn/caller.ts";
import type {
  ContextUsage,
  PermissionOutcome,
  PlanEntry,
  QuestionField,
  QuestionResolution,
  ToolKind,
} from "../turn/event.ts";
import { DECISIONS, type PermissionAnswer } from "../turn/permission.ts";
import type { QuestionAnswer } from "../turn/question.ts";

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

/** The events that a subscriber can choose, each with the scope that the subscriber needs. */
export const EVENT_SCOPES = {
  agent_state: "events",
  agent_status: "events",
  emotion: "events",
  tool_status: "events",
  plan: "events",
  notification: "events",
  permission_request: "permissions",
  permission_resolved: "permissions",
  question: "permissions",
  question_resolved: "permissions",
  usage: "events",
  say: "events",
} as const satisfies Readonly<Record<string, Scope>>;
/** The name of an event. */
export type EventName = keyof typeof EVENT_SCOPES;
/** The names of all events. */
export const EVENT_NAMES = Object.keys(EVENT_SCOPES) as readonly EventName[];

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

/** An error for the owner of the agent: its code, its cause if that is known, and the agent's own words. */
export interface ErrorDetail {
  readonly code: ErrorCode;
  readonly reason?: ErrorReason;
  readonly message: string;
}

/** The state of a turn; without a turn, the state of the whole program. */
export interface AgentStateEvent extends Partial<TurnRef> {
  readonly type: "agent_state";
  readonly state: (typeof AGENT_STATES)[number];
  /** The tool behind the state. `tool_class` uses OpenAB's classes. */
  readonly detail?: {
    readonly tool_class?: "tool" | "coding" | "web";
    readonly tool_name?: string;
    readonly subagent_count?: number;
    /** The agent has said nothing for 10 s and uses no tool: it waits for its model. */
    readonly waiting?: true;
    /** Why the turn failed. */
    readonly error?: ErrorDetail;
  };
}

/** Whether an agent can serve, told when that changes. An `unavailable` one did not start, or opens no session. */
export interface AgentStatusEvent {
  readonly type: "agent_status";
  readonly agent: string;
  readonly status: "ready" | "unavailable";
  readonly error?: ErrorDetail;
}

/** An emotion of a turn or a notification. `at`: UTF-16 code units of the turn's `say` events before the emotion. */
export interface EmotionEvent extends Partial<TurnRef> {
  readonly type: "emotion";
  readonly tag: string;
  readonly intensity: number;
  readonly at?: number;
}

/** The start or the end of a tool call. */
export interface ToolStatusEvent extends TurnRef {
  readonly type: "tool_status";
  readonly tool_call_id: string;
  readonly tool_name: string;
  readonly kind: ToolKind;
  readonly status: "pending" | "running" | "done" | "failed";
}

/** A permission request that a person can answer. `expires_at` is in unix seconds. */
export interface PermissionRequestEvent extends TurnRef {
  readonly type: "permission_request";
  readonly request_id: string;
  readonly tool: {
    readonly tool_call_id: string;
    readonly tool_name: string;
    readonly kind: ToolKind;
    /** The command or the change, if the agent shows it. The middle of a long one is left out. */
    readonly detail?: string;
    /** The length of a long detail. An answer that allows it has to repeat this number. */
    readonly detail_chars?: number;
  };
  readonly options: readonly { readonly option_id: string; readonly name: string; readonly kind: string }[];
  readonly expires_at: number;
}

/** Something to say that nobody asked for. */
export interface NotificationEvent {
  readonly type: "notification";
  readonly text: string;
  readonly urgency: Urgency;
  /** `memory_lost`: the agent no longer knows the conversation of this name. */
  readonly code?: "memory_lost";
  readonly session_id?: string;
}

/** A question of the agent to a person. `expires_at` is in unix seconds. */
export interface QuestionEvent extends TurnRef {
  readonly type: "question";
  readonly question_id: string;
  readonly message: string;
  /** A page to open, in place of fields. */
  readonly url?: string;
  /** The answer may be a password: hide it, and show the question to nobody else. */
  readonly is_private?: true;
  readonly fields: readonly QuestionField[];
  readonly expires_at: number;
}

/** An event that subscribers can choose. */
export type VtuberEvent =
  | AgentStateEvent
  | AgentStatusEvent
  | EmotionEvent
  | ToolStatusEvent
  | (TurnRef & { readonly type: "plan"; readonly entries: readonly PlanEntry[] })
  | NotificationEvent
  | PermissionRequestEvent
  | (TurnRef & {
    readonly type: "permission_resolved";
    readonly request_id: string;
    readonly outcome: PermissionOutcome;
    readonly option_id?: string;
    readonly by: string;
  })
  | QuestionEvent
  | (TurnRef & {
    readonly type: "question_resolved";
    readonly question_id: string;
    readonly outcome: QuestionResolution["outcome"];
    readonly by: string;
  })
  | (TurnRef & { readonly type: "usage" } & ContextUsage)
  | (TurnRef & { readonly type: "say"; readonly text: string });

/** Characters of the message of an error. */
const MAX_MESSAGE_CHARS = 1_000;

/** Describes an error for the owner of the agent. */
export function errorDetail({ code, reason, message }: AppError): ErrorDetail {
  return { code, ...(reason ? { reason } : {}), message: truncate(message, MAX_MESSAGE_CHARS) };
}

/** The reply to a command; only its sender gets it. */
export type CommandReply =
  | { readonly type: "subscribed"; readonly events: readonly EventName[] }
  | { readonly type: "pong" }
  | { readonly type: "hello"; readonly client_id: string; readonly server: string; readonly version: string }
  | { readonly type: "interrupted"; readonly turns: number }
  | { readonly type: "error"; readonly code: ErrorCode; readonly message: string };

/** An event or reply, and its frame, which all its recipients share. */
export interface Message {
  readonly event: VtuberEvent | CommandReply;
  readonly frame: string;
}

/** Encodes an event as one line of JSON: `type` and `ts` (unix seconds) first. */
export function encodeMessage(event: VtuberEvent | CommandReply): Message {
  const ts = Math.floor(Date.now() / 1000);
  return { event, frame: JSON.stringify(Object.assign({ type: event.type, ts }, event)) };
}

/** Characters of one command. */
const MAX_COMMAND_CHARS = 16 * 1024;
/** Names in one subscription. */
const MAX_SUBSCRIPTION_NAMES = 100;
/** Characters of a notification. */
const MAX_NOTIFICATION_CHARS = 4_000;
/** Characters of the name that a client gives itself. */
const MAX_CLIENT_NAME_CHARS = 100;
/** Values of `by` that say that no client answered. */
const RESERVED_NAMES: ReadonlySet<string> = new Set(["timeout", "turn", "agent", "chat"]);

const clientName = z.string().overwrite((name) => spaceUnsafe(name).trim()).max(MAX_CLIENT_NAME_CHARS)
  .nullable().default(null)
  .transform((name) => name && !RESERVED_NAMES.has(name) ? name : undefined);

const interrupt = z.object({ session_id: z.string().min(1).nullish() });

const command = z.discriminatedUnion("type", [
  z.object({ type: z.literal("hello"), client: clientName }),
  z.object({ type: z.literal("subscribe"), events: z.array(z.string()).max(MAX_SUBSCRIPTION_NAMES) }),
  z.object({ type: z.literal("ping") }),
  // The answer is parsed like the body of a request.
  z.looseObject({ type: z.literal("permission_response"), request_id: z.string().min(1) }),
  z.looseObject({ type: z.literal("question_response"), question_id: z.string().min(1) }),
  interrupt.extend({ type: z.literal("interrupt") }),
], {
  error: ({ code }) =>
    code === "invalid_union"
      ? "must be hello, subscribe, ping, permission_response, question_response or interrupt"
      : undefined,
});

/** A command that a client sends over the WebSocket. */
export type Command = z.infer<typeof command>;

/** Parses a command. @throws {AppError} that says what is wrong. */
export function parseCommand(text: string): Command {
  if (text.length > MAX_COMMAND_CHARS) {
    throw new AppError("body_too_large", `A command has at most ${MAX_COMMAND_CHARS} characters.`);
  }
  let value: unknown;
  try {
    value = parseWellFormed(text);
  } catch {
    throw new AppError("invalid_json", 'A command is a JSON object, like {"type":"ping"}.');
  }
  return validate(command, value);
}

const permissionAnswer = z.object({
  option_id: z.string().min(1).optional(),
  // OpenAI-style clients write "deny" for "reject".
  decision: z.preprocess((value) => value === "deny" ? "reject" : value, z.enum(DECISIONS, oneOf(DECISIONS)))
    .optional(),
  detail_chars: z.number().optional(),
  client: clientName,
}).refine(({ option_id, decision }) => (option_id === undefined) !== (decision === undefined), {
  path: ["option_id"],
  error: 'give either "option_id" or "decision", and not both',
});

/** Parses the answer to a permission request, and the name of its sender. @throws {AppError} that names the field. */
export function parsePermissionAnswer(
  value: unknown,
): { readonly answer: PermissionAnswer; readonly client: string | undefined } {
  const { option_id, decision, detail_chars, client } = validate(permissionAnswer, value);
  const choice = option_id === undefined ? { decision: decision! } : { optionId: option_id };
  const seen = detail_chars === undefined ? {} : { detailChars: detail_chars };
  return { answer: { ...choice, ...seen }, client };
}

/** Parses the body of `POST /v1/vtuber/interrupt`. @throws {AppError} that names the field. */
export function parseInterrupt(value: unknown): z.infer<typeof interrupt> {
  return validate(interrupt, value);
}

const questionAnswer = z.object({
  action: z.enum(["accept", "decline"], oneOf(["accept", "decline"])),
  content: z.record(z.string(), z.unknown()).nullish(),
  client: clientName,
});

/** Parses the answer to a question, and the name of its sender. @throws {AppError} that names the field. */
export function parseQuestionAnswer(
  value: unknown,
): { readonly answer: QuestionAnswer; readonly client: string | undefined } {
  const { action, content, client } = validate(questionAnswer, value);
  return { answer: action === "accept" ? { action, content: content ?? {} } : { action }, client };
}

/** The modes of a notification: say the text as it is, or let the agent put it in its own words. */
export const NOTIFICATION_MODES = ["text", "agent"] as const;

const notification = z.object({
  text: z.string().trim().min(1, "must not be empty").max(MAX_NOTIFICATION_CHARS),
  urgency: z.enum(URGENCIES, oneOf(URGENCIES)).default("normal"),
  mode: z.enum(NOTIFICATION_MODES, oneOf(NOTIFICATION_MODES)).default("text"),
});

/** Parses the body of `POST /v1/vtuber/notifications`. @throws {AppError} that names the field. */
export function parseNotification(value: unknown): z.infer<typeof notification> {
  return validate(notification, value);
}

function oneOf(values: readonly string[]): string {
  return `must be one of ${values.join(", ")}`;
}

function validate<T>(schema: z.ZodType<T>, value: unknown): T {
  const { data, error } = schema.safeParse(value);
  if (error === undefined) return data;
  const { path, message } = error.issues[0]!;
  const param = path.join(".") || undefined;
  throw new AppError("invalid_value", `${param ? `"${param}": ` : ""}${message}.`, { param });
}
