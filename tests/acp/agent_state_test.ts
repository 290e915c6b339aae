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

Deno.test("AcpAgent.state: a slow session/new is starting at first, ready for 20 seconds, then starting", async () => {
  const answers = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await using harness = new AcpHarness({
    "session/new": async (_params, running) => {
      const number = running.nextSession++;
      await answers[number - 1]?.promise;
      return { sessionId: `session-${number}` };
    },
  });
  const { agent } = harness;
  const first = agent.newSession();
  await nextTask();
  await harness.running.waitFor("session/new");
  harness.nowMs += 5_000;
  assertEquals(agent.state, "starting");
  answers[0]!.resolve();
  await first;
  assertEquals(agent.state, "ready");
  const second = agent.newSession();
  await harness.running.waitFor("session/new", 2);
  harness.nowMs += 20_000;
  assertEquals(agent.state, "ready");
  harness.nowMs += 1;
  assertEquals(agent.state, "starting");
  answers[1]!.resolve();
  await second;
  assertEquals([agent.state, harness.starts.length], ["ready", 1]);
});

Deno.test("AcpAgent.state: of two sessions the later request counts", async () => {
  for (const isMade of [true, false]) {
    const first = Promise.withResolvers<void>();
    await using harness = new AcpHarness({
      "session/new": async (_params, running) => {
        const isFirst = running.nextSession++ === 1;
        if (isFirst) await first.promise;
        if (isFirst === isMade) throw new RpcError(RPC.internalError, "No.");
        return { sessionId: "s" };
      },
    });
    const opening = [harness.agent.newSession(), harness.agent.newSession()].map((session) =>
      session.catch(() => {})
    );
    await opening[1];
    first.resolve();
    await opening[0];
    assertEquals(harness.agent.state, isMade ? "ready" : "failing");
  }
});
