/** An agent that no longer reads: what is put to it may not wait for ever. */

import { assertEquals, assertRejects } from "@std/assert";
import { AcpAgent } from "../../lib/acp/agent.ts";
import { AppError } from "../../lib/core/errors.ts";
import { soon } from "../support/harness/turn_recorder.ts";
import { LogRecorder } from "../support/harness/json_rpc_harness.ts";
import { MemoryAcpAgent } from "../support/agents/memory_acp_agent.ts";
import { NO_BROKER } from "../support/harness/no_broker.ts";

Deno.test("a prompt that the agent does not read is refused, and a new agent serves the next", async () => {
  const starts: MemoryAcpAgent[] = [];
  let reads = true;
  await using agent = new AcpAgent({
    name: "memory",
    program: "agent",
    launch: () => {
      const running = new MemoryAcpAgent({});
      starts.push(running);
      const writer = running.process.writable.getWriter();
      const first = starts.length === 1;
      const writable = new WritableStream<Uint8Array>({
        write: (bytes) => first && !reads ? new Promise(() => {}) : writer.write(bytes),
        close: () => writer.close(),
        abort: (reason) => writer.abort(reason),
      });
      return { ...running.process, writable };
    },
    cwd: "/",
    permissions: "allow",
    broker: NO_BROKER,
    version: "1",
    variables: new Set(),
    log: new LogRecorder().log,
    timeouts: { setupMs: 1_500, resumeMs: 60_000, cancelMs: 500 },
  });
  const session = await agent.newSession();
  reads = false;
  const events: string[] = [];
  const failure = await assertRejects(
    () =>
      soon(
        session.prompt([{ type: "text", text: "hello?" }], ({ type }) => events.push(type)),
        "the refusal",
      ),
    AppError,
  );
  assertEquals([failure.code, failure.prompted], ["agent_unavailable", false]);
  const next = await soon(agent.newSession(), "another session");
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  await next.prompt([{ type: "text", text: "hello!" }], ({ type }) => type === "end" && resolve());
  await soon(ended, "the end of its turn");
  assertEquals([starts.length, events], [2, []]);
});
