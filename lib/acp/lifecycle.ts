/** The life of an agent as typed events, which the start of the program, its metrics and the doctor read. @module */

import type { AppError } from "../core/errors.ts";
import type { PermissionOutcome } from "../turn/event.ts";
import type { Capabilities } from "./wire.ts";

/** An event in the life of an agent. Texts are redacted. */
export type AgentLifecycleEvent =
  /** The process answered `initialize`. */
  | { readonly type: "ready"; readonly capabilities: Capabilities }
  /** A session was opened. */
  | { readonly type: "serving" }
  /** The agent could not be started, or opened no session. */
  | { readonly type: "unavailable"; readonly error: AppError }
  /** The agent asked for a log-in, and this `authMethods` id is tried. */
  | { readonly type: "authenticating"; readonly methodId: string }
  /** A line on stderr. */
  | { readonly type: "stderr"; readonly line: string }
  /** A line on stdout that is not a JSON-RPC message. */
  | { readonly type: "invalid_line"; readonly line: string }
  /** The process ended by itself: `exited with code 1`. */
  | { readonly type: "exited"; readonly status: string }
  /** A permission request was decided. */
  | { readonly type: "permission"; readonly decision: PermissionDecision };

/** How a permission request was decided: by a person, by nobody, or by the policy or an earlier decision. */
export type PermissionDecision =
  | PermissionOutcome
  | "no_client"
  | "allowed_by_policy"
  | "rejected_by_policy";
