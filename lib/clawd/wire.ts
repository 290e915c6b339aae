/**
 * The wire format of clawd-on-desk, and the slice of the hub's events that drives it. The pet's answers are read
 * leniently, because its versions differ. Source: its server (0.5.10, run; 0.15.0, read), its release notes to 1.2.0.
 *
 * @module
 */

import { z } from "zod";

/** The name of the pet's program, in `runtime.json` and in the header {@linkcode IDENTITY_HEADER}. */
export const IDENTITY = "clawd-on-desk";
/** The response header that tells the pet from other programs on its ports. */
export const IDENTITY_HEADER = "x-clawd-server";

const runtime = z.looseObject({ app: z.literal(IDENTITY), port: z.int().min(1).max(65_535) });

/** Parses `~/.clawd/runtime.json`. @returns The pet's port, or `undefined` if the file names none. */
export function parseRuntime(text: string): number | undefined {
  return runtime.safeParse(parseJson(text)).data?.port;
}

/** A person's decision at the pet. `always` if the person chose the suggestion to allow the tool from now on. */
export type PetDecision = "allow" | "always" | "deny";

const decision = z.looseObject({
  hookSpecificOutput: z.looseObject({
    decision: z.looseObject({
      behavior: z.enum(["allow", "deny"]),
      message: z.string().catch(""),
      updatedPermissions: z.array(z.unknown()).catch([]),
    }),
  }),
});

/** Starts of the messages with which the pet itself denies a request, without a person's decision. */
const AUTOMATIC_DENIALS =
  /^(DND enabled|Clawd is quitting|Client disconnected|User answered in terminal|Permission request too large|Non-inter)/;

/** Parses the response to `POST /permission`. @returns `undefined` if it holds no decision of a person, as a 204. */
export function parseDecision(text: string): PetDecision | undefined {
  const answer = decision.safeParse(parseJson(text)).data?.hookSpecificOutput.decision;
  if (answer === undefined) return undefined;
  if (answer.behavior === "deny") return AUTOMATIC_DENIALS.test(answer.message) ? undefined : "deny";
  return answer.updatedPermissions.length > 0 ? "always" : "allow";
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The state of a conversation; without a session, of the whole program. */
export interface StateEvent {
  readonly type: "agent_state";
  readonly state: string;
  readonly session_id?: string;
  readonly detail?: { readonly tool_name?: string };
}

/** A question of the agent. */
export interface RequestEvent {
  readonly type: "permission_request";
  readonly session_id: string;
  readonly request_id: string;
  readonly tool: { readonly tool_name: string; readonly kind: string; readonly detail?: string };
  readonly options: readonly { readonly kind: string }[];
}

/** An event that drives the pet. */
export type ClawdEvent =
  | StateEvent
  | RequestEvent
  | { readonly type: "permission_resolved"; readonly request_id: string }
  | { readonly type: "notification" };

/** The events to subscribe to. */
export const CLAWD_EVENTS: readonly ClawdEvent["type"][] = [
  "agent_state",
  "permission_request",
  "permission_resolved",
  "notification",
];

/** Whether an event drives the pet. */
export function isClawdEvent(event: { readonly type: string }): event is ClawdEvent {
  return (CLAWD_EVENTS as readonly string[]).includes(event.type);
}

/** The pet as a subscriber of the hub. */
export interface PetTransport {
  send(message: { readonly event: { readonly type: string } }): void;
  readonly backlog: number;
  close(): void;
  readonly internal: { readonly canAnswer: boolean };
}
