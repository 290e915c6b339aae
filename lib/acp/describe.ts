/** What an agent can do, found out by asking it. @module */

import type { AgentModel } from "../turn/agent.ts";
import type { Capabilities } from "./capabilities.ts";
import type { Connection } from "./connection.ts";

/** What an agent can do, with what it offers for a session and what of its configuration it does not take. */
export interface AgentDescription extends Omit<Capabilities, "authMethods"> {
  /** The ids of its ways to log in. */
  readonly authMethods: readonly string[];
  /** The id of the model of a new session. */
  readonly model: string | undefined;
  readonly models: readonly AgentModel[];
  /** The id of the mode of a new session. */
  readonly mode: string | undefined;
  /** The ids of its modes. */
  readonly modes: readonly string[];
  readonly warnings: readonly string[];
  /** How long it took from its launch until the session was open, in milliseconds. */
  readonly startedMs: number;
}

/**
 * Opens a session, looks at it, and ends it again.
 *
 * @param readyMs How long it took from the agent's launch until it was ready.
 * @throws {Failure} as opening a session does.
 */
export async function describe(
  connection: Connection,
  readyMs: number,
  now: () => number,
): Promise<AgentDescription> {
  const asked = now();
  const { session, warnings } = await connection.newSession();
  const startedMs = readyMs + now() - asked;
  const { id, chosen } = session;
  const { authMethods, ...capabilities } = connection.capabilities;
  const { model, models, mode } = chosen;
  await connection.forget(id);
  return {
    ...capabilities,
    authMethods: authMethods.map(({ id }) => id),
    model,
    models,
    mode,
    modes: chosen.modes.map(({ id }) => id),
    warnings,
    startedMs,
  };
}
