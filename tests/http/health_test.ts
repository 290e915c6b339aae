import { assertEquals } from "@std/assert";
import { LOCAL_CALLER } from "../../lib/http/access.ts";
import { readyHandler } from "../../lib/http/health.ts";
import type { AgentState } from "../../lib/turn/agent.ts";
import { MemoryAgent } from "../support/agents/memory_agent.ts";

const CONTEXT = { requestId: "", rest: "", caller: LOCAL_CALLER };
const REQUEST = new Request("http://127.0.0.1/readyz");

const READINESS: readonly [agents: Record<string, AgentState>, isDraining: boolean, status: string][] = [
  [{}, false, "ready"],
  [{ a: "closed" }, false, "draining"],
  [{ a: "failing" }, true, "draining"],
  [{ a: "ready", b: "starting" }, false, "starting"],
  [{ a: "starting", b: "failing" }, false, "degraded"],
  [{ a: "idle", b: "ready" }, false, "ready"],
];
for (const [states, isDraining, status] of READINESS) {
  Deno.test(`readyHandler: ${JSON.stringify(states)}${isDraining ? ", draining" : ""} is ${status}`, async () => {
    const agents = Object.entries(states).map(([name, state]) => ({ name, state, warm() {} }));
    const response = await readyHandler(agents, () => isDraining)(REQUEST, CONTEXT);
    const checks = agents.map((
      { name, state },
    ) => [`agent:${name}`, state === "idle" || state === "ready" ? "ok" : state]);
    assertEquals(await response.json(), { status, checks: Object.fromEntries(checks) });
    assertEquals(response.status, status === "ready" ? 200 : 503);
  });
}

Deno.test("readyHandler: restarts failing agents, at most every 30 seconds, but not while draining", async () => {
  const agents = (["failing", "ready", "failing", "idle"] as const).map((state) =>
    Object.assign(new MemoryAgent(), { state: state as AgentState })
  );
  let [now, isDraining] = [0, false];
  const handler = readyHandler(agents, () => isDraining, () => now);
  const warmCalls = async () => {
    await handler(REQUEST, CONTEXT);
    return agents.map((agent) => agent.warmCalls);
  };
  assertEquals(await warmCalls(), [1, 0, 1, 0]);
  now = 29_999;
  assertEquals(await warmCalls(), [1, 0, 1, 0]);
  now = 30_000;
  agents[0]!.state = "ready";
  assertEquals(await warmCalls(), [1, 0, 2, 0]);
  [now, isDraining] = [60_000, true];
  assertEquals(await warmCalls(), [1, 0, 2, 0]);
});
