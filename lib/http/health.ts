/** Health and readiness: whether the program lives, and whether it can serve. @module */

import type { Agent, AgentState } from "../turn/agent.ts";
import type { Handler, Route } from "./router.ts";

/** Shortest time between two attempts to restart failing agents, in milliseconds. */
const RETRY_MS = 30_000;

/** Readiness of the program with an agent in a state. The next request starts an idle agent. */
const READINESS = {
  idle: "ready",
  ready: "ready",
  starting: "starting",
  failing: "degraded",
  closed: "draining",
} as const satisfies Record<AgentState, string>;
const WORST_FIRST = ["degraded", "draining", "starting"] as const;

type ProbedAgent = Pick<Agent, "name" | "state" | "warm">;

/** Makes the routes `GET /health`, `GET /healthz` and `GET /readyz`. */
export function healthRoutes(agents: readonly ProbedAgent[], isDraining: () => boolean): Route[] {
  const health: Handler = () => Response.json({ status: "ok" });
  return [
    {
      path: "/health",
      unversioned: true,
      GET: health,
      docs: { GET: { name: "health", summary: "Whether the program lives" } },
    },
    { path: "/healthz", unversioned: true, GET: health },
    {
      path: "/readyz",
      unversioned: true,
      GET: readyHandler(agents, isDraining),
      docs: { GET: { name: "ready", summary: "Whether the agents can serve; else status 503" } },
    },
  ];
}

/**
 * Answers 200 if requests can be served, else 503, and names the state of each agent. The handler asks no agent, but
 * restarts failing ones from time to time, because a load balancer may send no request that would.
 */
export function readyHandler(
  agents: readonly ProbedAgent[],
  isDraining: () => boolean,
  now: () => number = () => performance.now(),
): Handler {
  let retriedAt = -Infinity;
  return () => {
    const found = new Set(agents.map(({ state }) => READINESS[state]));
    const status = isDraining() ? "draining" : WORST_FIRST.find((worst) => found.has(worst)) ?? "ready";
    if (status === "degraded" && now() - retriedAt >= RETRY_MS) {
      retriedAt = now();
      for (const agent of agents) if (agent.state === "failing") agent.warm();
    }
    const checks = Object.fromEntries(
      agents.map(({ name, state }) => [`agent:${name}`, READINESS[state] === "ready" ? "ok" : state]),
    );
    return Response.json({ status, checks }, { status: status === "ready" ? 200 : 503 });
  };
}
