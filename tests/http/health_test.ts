import { assertEquals } from "@std/assert";
import { type Readiness, readiness, readyHandler } from "../../lib/http/health.ts";
import type { AgentState } from "../../lib/turn/agent.ts";
import { MemoryAgent } from "../support/agents/memory_agent.ts";

const READINESS: readonly [agents: Record<string, AgentState>, isDraining: boolean, status: Readiness][] = [
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
for (const [agents, isDraining, status] of READINESS) {
  Deno.test(`readiness: ${JSON.stringify(agents)}${isDraining ? ", draining" : ""} is ${status}`, () => {
    const states = Object.entries(agents);
    const result = readiness({
      isDraining: () => isDraining,
      agents: states.map(([name, state]) => ({ name, state, warm() {} })),
    });
    const checks = states.map((
      [name, state],
    ) => [`agent:${name}`, state === "idle" || state === "ready" ? "ok" : state]);
    assertEquals(result, { status, checks: Object.fromEntries(checks) });
  });
}

Deno.test("readyHandler: restarts failing agents, at most every 30 seconds, but not while draining", async () => {
  const agents = (["failing", "ready", "failing", "idle"] as const).map((state) =>
    Object.assign(new MemoryAgent(), { state: state as AgentState })
  );
  let [now, isDraining] = [0, false];
  const handler = readyHandler({ isDraining: () => isDraining, agents }, () => now);
  const probe = async () => {
    const { status } = await handler(new Request("http://127.0.0.1/readyz"), { requestId: "", rest: "" });
    return [status, ...agents.map((agent) => agent.warmCalls)];
  };
  assertEquals(await probe(), [503, 1, 0, 1, 0]);
  now = 29_999;
  assertEquals(await probe(), [503, 1, 0, 1, 0]);
  now = 30_000;
  agents[0]!.state = "ready";
  assertEquals(await probe(), [503, 1, 0, 2, 0]);
  [now, isDraining] = [60_000, true];
  assertEquals(await probe(), [503, 1, 0, 2, 0]);
  agents[2]!.state = "ready";
  isDraining = false;
  assertEquals(await probe(), [200, 1, 0, 2, 0]);
});
