/** The caller of a request: what its API key allows, or its address where no key is configured. @module */

import { AppError } from "../core/errors.ts";
import type { PermissionPolicy } from "./permission.ts";

/** The rights that a key can have. */
export const SCOPES = [
  "chat",
  "audio",
  "embeddings",
  "events",
  "permissions",
  "operator",
  "live",
  "commands",
  "admin",
] as const;
/** One of {@linkcode SCOPES}. */
export type Scope = (typeof SCOPES)[number];

/** The maker of a request, with its rights and limits. */
export interface Caller {
  /** The owner of the caller's conversations. Reveals no key; empty for this machine where no key is configured. */
  readonly id: string;
  readonly scopes: ReadonlySet<Scope>;
  /** Requests that the caller can make in a minute. */
  readonly requestsPerMinute?: number | undefined;
  /** Prompts that agents can get from the caller in a day (UTC). */
  readonly turnsPerDay?: number | undefined;
  /** Turns of the caller that can run at once. */
  readonly concurrentTurns?: number | undefined;
  /** The permission policy of the caller's turns, in place of the agent's. */
  readonly permissions?: PermissionPolicy | undefined;
  /** The name of the only agent that answers the caller. */
  readonly agent?: string | undefined;
}

/**
 * Checks that a caller has every required scope.
 *
 * @param subject The beginning of the error's sentence: the thing that needs the scopes.
 * @throws {AppError} `insufficient_scope`, naming the missing scope.
 */
export function requireScopes({ scopes }: Caller, required: readonly Scope[], subject: string): void {
  const missing = required.find((scope) => !scopes.has(scope));
  if (missing === undefined) return;
  throw new AppError(
    "insufficient_scope",
    `${subject} needs the scope "${missing}". Use a key whose scopes in config.toml list it.`,
  );
}
