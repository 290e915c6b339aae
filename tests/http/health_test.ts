import { assertEquals } from "@std/assert";
import { type Readiness, readiness } from "../../lib/http/health.ts";
import type { AgentState } from "../../lib/turn/agent.ts";

const TABLE: [agents: Record<string, AgentState>, draining: boolean, status: Readiness][] = [
  [{}, false, "ready"],
  [{ a: "idle" }, false, "ready"],
  [{ a: "ready" }, false, "ready"],
  [{ a: "starting" }, false, "starting"],
  [{ a: "failing" }, false, "degraded"],
  [{ a: "closed" }, false, "draining"],
  [{ a: "ready" }, true, "draining"],
  [{ a: "failing" }, true, "draining"],
  [{ a: "ready", b: "starting" }, false, "starting"],
  [{ a: "ready", b: "failing" }, false, "degraded"],
  [{ a: "starting", b: "failing" }, false, "degraded"],
  [{ a: "idle", b: "ready" }, false, "ready"],
];
const CHECKS: Record<AgentState, string> = {
  idle: "ok",
  ready: "ok",
  starting: "starting",
  failing: "failing",
  closed: "closed",
};

for (const [agents, draining, status] of TABLE) {
  Deno.test(`readiness: ${JSON.stringify(agents)}${draining ? ", draining" : ""} is ${status}`, () => {
    const checks = Object.fromEntries(
      Object.entries(agents).map(([name, state]) => [`agent:${name}`, CHECKS[state]]),
    );
    assertEquals(readiness({ draining: () => draining, agents: () => agents }), { status, checks });
  });
}
