/** Probes: whether the program lives, and whether it can serve. @module */

import type { AgentState } from "../turn/agent.ts";
import type { Handler } from "./router.ts";

/** Whether the program can serve, in a word. */
export type Readiness = "ready" | "starting" | "draining" | "degraded";

/** What readiness is made of. */
export interface ReadinessSource {
  draining(): boolean;
  /** The agents, by name. */
  agents(): Readonly<Record<string, AgentState>>;
}

/** Answers `{"status":"ok"}` while the program lives. */
export const healthHandler: Handler = () => Response.json({ status: "ok" });

/** Answers 200 when requests can be served, else 503; says which agent stands in the way. No agent is asked. */
export function readyHandler(source: ReadinessSource): Handler {
  return () => {
    const { status, checks } = readiness(source);
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
  const agents = Object.entries(source.agents());
  const checks = Object.fromEntries(agents.map(([name, state]) => [`agent:${name}`, CHECKS[state].check]));
  const states = new Set(agents.map(([, state]) => CHECKS[state].readiness));
  const status = source.draining()
    ? "draining"
    : (["degraded", "draining", "starting"] as const).find((worst) => states.has(worst)) ?? "ready";
  return { status, checks };
}
