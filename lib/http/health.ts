/** Health and readiness: whether the program lives, and whether it can serve. @module */

import type { Agent, AgentState } from "../turn/agent.ts";
import type { Handler, Route } from "./router.ts";

/** Whether the program can serve. */
export type Readiness = "ready" | "starting" | "draining" | "degraded";

/** The facts that readiness follows from. */
export interface ReadinessSource {
  readonly isDraining: () => boolean;
  readonly agents: readonly Pick<Agent, "name" | "state" | "warm">[];
}

/** Shortest time between two attempts to restart failing agents, in milliseconds. */
const RETRY_MS = 30_000;

/** Makes the routes `GET /health`, `GET /healthz` and `GET /readyz`. */
export function healthRoutes(source: ReadinessSource): Route[] {
  const health: Handler = () => Response.json({ status: "ok" });
  const probe = { open: true, unversioned: true } as const;
  return [
    {
      ...probe,
      path: "/health",
      GET: health,
      docs: { GET: { name: "health", summary: "Whether the program lives" } },
    },
    { ...probe, path: "/healthz", GET: health },
    {
      ...probe,
      path: "/readyz",
      GET: readyHandler(source),
      docs: { GET: { name: "ready", summary: "Whether the agents can serve; else status 503" } },
    },
  ];
}

/**
 * Answers 200 if requests can be served, else 503, and names the state of each agent. The handler asks no agent, but
 * restarts failing ones from time to time, because a load balancer may send no request that would.
 */
export function readyHandler(source: ReadinessSource, now: () => number = () => performance.now()): Handler {
  let retriedAt = -Infinity;
  return () => {
    const { status, checks } = readiness(source);
    if (status === "degraded" && now() - retriedAt >= RETRY_MS) {
      retriedAt = now();
      for (const agent of source.agents) if (agent.state === "failing") agent.warm();
    }
    return Response.json({ status, checks }, { status: status === "ready" ? 200 : 503 });
  };
}

const CHECKS: Readonly<Record<AgentState, { check: string; readiness: Readiness }>> = {
  // The next request starts an idle agent.
  idle: { check: "ok", readiness: "ready" },
  ready: { check: "ok", readiness: "ready" },
  starting: { check: "starting", readiness: "starting" },
  failing: { check: "failing", readiness: "degraded" },
  closed: { check: "closed", readiness: "draining" },
};

/** Returns the worst readiness of all agents, and the check of each. */
export function readiness(source: ReadinessSource): { status: Readiness; checks: Record<string, string> } {
  const { agents } = source;
  const checks = Object.fromEntries(agents.map(({ name, state }) => [`agent:${name}`, CHECKS[state].check]));
  const states = new Set(agents.map(({ state }) => CHECKS[state].readiness));
  const status = source.isDraining()
    ? "draining"
    : (["degraded", "draining", "starting"] as const).find((worst) => states.has(worst)) ?? "ready";
  return { status, checks };
}
