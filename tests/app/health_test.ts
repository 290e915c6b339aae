import { assertEquals } from "@std/assert";
import { type Readiness, readiness, readyHandler } from "../../lib/http/health.ts";
import type { AgentState } from "../../lib/turn/agent.ts";
import { MemoryAgent } from "../support/agents/memory_agent.ts";

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
    const all = Object.entries(agents).map(([name, state]) => ({ name, state, warm() {} }));
    assertEquals(readiness({ isDraining: () => draining, agents: all }), { status, checks });
  });
}

Deno.test("readiness: agents that fail are tried again, every half minute at most", async () => {
  const agents = (["failing", "ready", "failing", "idle"] as const).map((state) => {
    const agent = new MemoryAgent();
    agent.state = state;
    return agent;
  });
  let [now, draining] = [0, false];
  const handler = readyHandler({ isDraining: () => draining, agents }, () => now);
  const ask = async () => {
    const { status } = await handler(new Request("http://127.0.0.1/readyz"), { requestId: "", rest: "" });
    return [status, ...agents.map(({ warmCalls: warmed }) => warmed)];
  };
  assertEquals(await ask(), [503, 1, 0, 1, 0]);
  now = 29_999;
  assertEquals(await ask(), [503, 1, 0, 1, 0]);
  now = 30_000;
  agents[0]!.state = "ready";
  assertEquals(await ask(), [503, 1, 0, 2, 0]);
  [now, draining] = [60_000, true];
  assertEquals(await ask(), [503, 1, 0, 2, 0]);
  agents[2]!.state = "ready";
  draining = false;
  assertEquals(await ask(), [200, 1, 0, 2, 0]);
});
