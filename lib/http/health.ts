/** Probes: whether the program lives, and whether it can serve. @module */

import type { Agent, AgentState } from "../turn/agent.ts";
import type { Handler } from "./router.ts";

/** Whether the program can serve, in a word. */
export type Readiness = "ready" | "starting" | "draining" | "degraded";

/** What readiness is made of. */
export interface ReadinessSource {
  draining(): boolean;
  readonly agents: readonly Pick<Agent, "name" | "state" | "warm">[];
}

/** How soon agents that fail are tried again for whoever asks, in milliseconds. */
const RETRY_MS = 30_000;

/** Answers `{"status":"ok"}` while the program lives. */
export const healthHandler: Handler = () => Response.json({ status: "ok" });

/**
 * Answers 200 when requests can be served, else 503; says which agent stands in the way. No agent is asked: what became
 * of its last start and its newest session is what counts. One that fails is tried again now and then, since who is
 * told so may send no request that would.
 */
export function readyHandler(source: ReadinessSource, now: () => number = () => performance.now()): Handler {
  let triedAt = -Infinity;
  return () => {
    const { status, checks } = readiness(source);
    if (status === "degraded" && now() - triedAt >= RETRY_MS) {
      triedAt = now();
      for (const agent of source.agents) if (agent.state === "failing") agent.warm();
    }
    return Response.json({ status, checks }, { status: status === "ready" ? 200 : 503 });
  };
}

const CHECKS: Readonly<Record<AgentState, { check: string; readiness: Readiness }>> = {
  // An agent that is not running is started by the next request.
  idle: { check: "ok", readiness: "ready" },
  ready: { check: "ok", readiness: "ready" },
  starting: { check: "starting", readiness: "starting" },
  failing: { check: "failing", readiness: "degraded" },
  closed: { check: "closed", readiness: "draining" },
};

/** The status and what it is made of. */
export function readiness(source: ReadinessSource): { status: Readiness; checks: Record<string, string> } {
  const { agents } = source;
  const checks = Object.fromEntries(agents.map(({ name, state }) => [`agent:${name}`, CHECKS[state].check]));
  const states = new Set(agents.map(({ state }) => CHECKS[state].readiness));
  const status = source.draining()
    ? "draining"
    : (["degraded", "draining", "starting"] as const).find((worst) => states.has(worst)) ?? "ready";
  return { status, checks };
}
