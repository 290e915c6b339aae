import { assertEquals } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import { AppError } from "../../lib/core/errors.ts";
import {
  AcpHarness,
  exits,
  type Handler,
  opensSession,
  refuses,
  RESUMES_AND_DELETES,
  Silence,
} from "../support/agents/memory_acp_agent.ts";
import { nextTask } from "../support/harness/turn_recorder.ts";

const HEALTHY: Readonly<Record<string, Handler>> = {
  "initialize": RESUMES_AND_DELETES.initialize,
  "session/new": opensSession,
};

/** Faults of an agent, and whether its process runs with them. */
const FAILING: readonly {
  name: string;
  handlers?: Record<string, Handler>;
  isMissing?: boolean;
  isSilent?: boolean;
  runs?: boolean;
}[] = [
  { name: "its program is missing", isMissing: true },
  { name: "it exits at its start", handlers: { initialize: exits } },
  { name: "it speaks another version", handlers: { initialize: () => ({ protocolVersion: 7 }) } },
  { name: "it exits at session/new", handlers: { "session/new": exits } },
  { name: "it refuses session/new", handlers: { "session/new": refuses(RPC.internalError) }, runs: true },
  { name: "it asks for a log-in", handlers: { "session/new": refuses(RPC.authRequired) }, runs: true },
  { name: "it never answers session/new", isSilent: true },
];
for (const { name, handlers = {}, isMissing = false, isSilent = false, runs = false } of FAILING) {
  Deno.test(`AcpAgent.state: failing if ${name}, and ready after that`, async () => {
    let isFaulty = true;
    const passing = Object.entries(handlers).map(([method, faulty]): [string, Handler] => [
      method,
      (params, running) => (isFaulty ? faulty : HEALTHY[method]!)(params, running),
    ]);
    const silence = new Silence();
    await using harness = new AcpHarness(Object.fromEntries(passing), { timeouts: silence.timeouts });
    silence.applyTo(harness);
    silence.isSilent = isSilent;
    const { beforeStart } = harness;
    harness.beforeStart = () => {
      if (isMissing && isFaulty) throw new AppError("agent_unavailable", "not found");
      beforeStart();
    };
    harness.agent.warm();
    await harness.recorder.waitFor("could not open a session in advance");
    await nextTask();
    assertEquals(harness.agent.state, "failing");
    isFaulty = silence.isSilent = false;
    harness.nowMs += 60_000;
    await harness.agent.newSession();
    assertEquals(harness.agent.state, "ready");
    assertEquals(harness.starts.length, runs || isMissing ? 1 : 2);
  });
}
