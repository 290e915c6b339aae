import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { RPC } from "../../lib/acp/json_rpc.ts";
import type { ErrorReason } from "../../lib/core/errors.ts";
import {
  AcpHarness,
  exits,
  type Handler,
  neverAnswers,
  refuses,
} from "../support/agents/memory_acp_agent.ts";
import { TEST_TIMEOUTS } from "../support/harness/json_rpc_harness.ts";
import { appErrorOf } from "../support/harness/turn_recorder.ts";

const FAILURES: readonly {
  name: string;
  method: "initialize" | "session/new";
  handler: Handler;
  message: string;
  reason?: ErrorReason;
}[] = [
  ...[["null", null], ["a text", "1"], ["an object without a version", {}]].map(([name, answer]) => ({
    name: `initialize is answered with ${name}`,
    method: "initialize" as const,
    handler: () => answer,
    message: "the answer to initialize",
  })),
  ...[0, 2, 99].map((protocolVersion) => ({
    name: `the agent speaks protocol version ${protocolVersion}`,
    method: "initialize" as const,
    handler: () => ({ protocolVersion }),
    message: `version ${protocolVersion} `,
    reason: "protocol_version" as const,
  })),
  ...[null, {}, { sessionId: "" }, { sessionId: 7 }, { sessionId: "x".repeat(501) }].map((answer) => ({
    name: `session/new is answered with ${JSON.stringify(answer)?.slice(0, 40)}`,
    method: "session/new" as const,
    handler: () => answer,
    message: "session/new",
  })),
  {
    name: "session/new is refused, in the agent's words",
    method: "session/new",
    handler: refuses(RPC.internalError, "No secret disk left."),
    message: "No *** disk left.",
    reason: "unknown",
  },
  ...(["initialize", "session/new"] as const).map((method) => ({
    name: `${method} is not answered in time`,
    method,
    handler: neverAnswers,
    message: method,
    reason: "timeout" as const,
  })),
  {
    name: "the process exits at initialize",
    method: "initialize",
    handler: exits,
    message: "ended before it was ready",
    reason: "exited",
  },
];
for (const { name, method, handler, message, reason } of FAILURES) {
  Deno.test(`AcpAgent: no session, because ${name}`, async () => {
    const timeouts = { ...TEST_TIMEOUTS, setupMs: reason === "timeout" ? 20 : 60_000 };
    const redact = (text: string) => text.replace("secret", "***");
    await using harness = new AcpHarness({ [method]: handler }, { timeouts, redact });
    const failure = await appErrorOf(harness.agent.newSession());
    assertEquals([failure.code, failure.reason], ["agent_unavailable", reason]);
    assertStringIncludes(failure.message, message);
    assertEquals(harness.starts.length, 1);
    if (method === "initialize") assert(harness.running.process.stops > 0, "the process is stopped");
  });
}
