/**
 * What watchers are told: the events of `/v1/vtuber/ws`, in the form in which they go out. The names and fields of
 * `agent_state`, `emotion`, `tool_status` and `notification` are those of OpenAB's VTuber adapter, which AniCompanion
 * reads.
 *
 * @module
 */

import type { PermissionOutcome } from "../turn/permission.ts";
import type { FailureCode } from "../turn/failure.ts";
import type { PlanEntry, ToolKind } from "../turn/event.ts";

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
export interface About {
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
export interface AgentStateEvent extends Partial<About> {
  readonly type: "agent_state";
  readonly state: AgentStateName;
  readonly detail?: StateDetail;
}

/** The agent asks for leave. `expires_at` is in unix seconds. */
export interface PermissionRequestEvent extends About {
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
  | (Partial<About> & { readonly type: "emotion"; readonly tag: string; readonly intensity: number })
  | (About & {
    readonly type: "tool_status";
    readonly tool_call_id: string;
    readonly tool_name: string;
    readonly kind: ToolKind;
    readonly status: "pending" | "running" | "done" | "failed";
  })
  | (About & { readonly type: "plan"; readonly entries: readonly PlanEntry[] })
  | { readonly type: "notification"; readonly text: string; readonly urgency: Urgency }
  | (About & {
    readonly type: "permission_resolved";
    readonly request_id: string;
    readonly outcome: PermissionOutcome;
    readonly option_id?: string;
    readonly by: string;
  })
  | (About & { readonly type: "say"; readonly text: string });

/** What one client is told in answer to what it sent. */
export type Answer =
  | { readonly type: "subscribed"; readonly events: readonly EventName[] }
  | { readonly type: "pong" }
  | { readonly type: "hello"; readonly client_id: string; readonly server: string; readonly version: string }
  | { readonly type: "interrupted"; readonly turns: number }
  | { readonly type: "error"; readonly code: FailureCode; readonly message: string };

/** The text that goes over the wire: `type` and `ts` (unix seconds) first. */
export function frameOf(event: VtuberEvent | Answer, nowMs: number = Date.now()): string {
  const head = { type: event.type, ts: Math.floor(nowMs / 1000) };
  return JSON.stringify(Object.assign(head, event));
}
