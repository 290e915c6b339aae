/**
 * What is read of clawd-on-desk: the file in which it tells its port, and how its user decided. Leniently, since its
 * versions differ. Source: its server, `src/server.js` and `src/permission.js` of 0.5.10, run.
 *
 * @module
 */

import { z } from "zod";

/** Who it is, in `runtime.json` and in the header {@linkcode IDENTITY_HEADER} of its answers. */
export const IDENTITY = "clawd-on-desk";
/** The header that tells its server from whatever else may listen on a port. */
export const IDENTITY_HEADER = "x-clawd-server";

const runtime = z.looseObject({ app: z.literal(IDENTITY), port: z.int().min(1).max(65_535) });

/** The port that `~/.clawd/runtime.json` names; `undefined` if it names none, or is another program's. */
export function parseRuntime(text: string): number | undefined {
  return runtime.safeParse(parsed(text)).data?.port;
}

/** What the user of the pet decided; `always` if they chose the suggestion to allow it from now on. */
export interface PetDecision {
  readonly behavior: "allow" | "deny";
  readonly always: boolean;
}

const decision = z.looseObject({
  hookSpecificOutput: z.looseObject({
    decision: z.looseObject({
      behavior: z.enum(["allow", "deny"]),
      message: z.string().optional().catch(undefined),
      updatedPermissions: z.array(z.unknown()).optional().catch(undefined),
    }),
  }),
});

/**
 * Refusals that the pet makes by itself, by the start of their message: it is told not to disturb, ends, or believes
 * that somebody else was asked. Nobody decided anything then.
 */
const OWN_REFUSALS = [
  "DND enabled",
  "Clawd is quitting",
  "Client disconnected",
  "User answered in terminal",
  "Permission request too large",
  "Non-interactive session",
] as const;

/** Reads the answer to `POST /permission`; `undefined` if it holds no decision of a person. */
export function parseDecision(text: string): PetDecision | undefined {
  const answer = decision.safeParse(parsed(text)).data?.hookSpecificOutput.decision;
  if (answer === undefined) return undefined;
  const { behavior, message = "", updatedPermissions = [] } = answer;
  if (behavior === "deny" && OWN_REFUSALS.some((refusal) => message.startsWith(refusal))) return undefined;
  return { behavior, always: behavior === "allow" && updatedPermissions.length > 0 };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

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
