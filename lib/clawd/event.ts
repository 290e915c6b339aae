/** The slice of the hub's events that the pet is driven by; sides do not import each other. @module */

/** What the agent does now; without a session, what the program as a whole shows. */
export interface StateEvent {
  readonly type: "agent_state";
  readonly state: string;
  readonly session_id?: string;
  readonly turn_id?: string;
  readonly detail?: { readonly tool_name?: string; readonly subagent_count?: number };
}

/** A tool began or ended. */
export interface ToolEvent {
  readonly type: "tool_status";
  readonly session_id: string;
  readonly turn_id: string;
  readonly tool_call_id: string;
  readonly tool_name: string;
  readonly status: "pending" | "running" | "done" | "failed";
}

/** The agent asks for leave. `expires_at` is in unix seconds. */
export interface AskEvent {
  readonly type: "permission_request";
  readonly session_id: string;
  readonly turn_id: string;
  readonly request_id: string;
  readonly tool: {
    readonly tool_call_id: string;
    readonly tool_name: string;
    readonly kind: string;
    readonly detail?: string;
  };
  readonly options: readonly { readonly kind: string }[];
  readonly expires_at: number;
}

/** It asks no longer. */
export interface ResolvedEvent {
  readonly type: "permission_resolved";
  readonly session_id: string;
  readonly request_id: string;
  readonly outcome: string;
}

/** Something is said that no turn is about. */
export interface NoticeEvent {
  readonly type: "notification";
}

/** The events that are read. */
export type ClawdEvent = StateEvent | ToolEvent | AskEvent | ResolvedEvent | NoticeEvent;

const READ: ReadonlySet<string> = new Set<ClawdEvent["type"]>([
  "agent_state",
  "tool_status",
  "permission_request",
  "permission_resolved",
  "notification",
]);

/** Whether an event of the hub is one that is read. */
export function isRead(event: { readonly type: string }): event is ClawdEvent {
  return READ.has(event.type);
}
