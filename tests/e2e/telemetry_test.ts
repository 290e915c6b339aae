/** Metrics and traces of the program with a real agent process. */

import { assert, assertEquals } from "@std/assert";
import { parseSamples, sampleTable } from "../support/harness/metrics_fixture.ts";
import { replyOf, script, startServer, until } from "../support/harness/server_process.ts";

Deno.test("GET /metrics: agents that exit, permission requests, tools and the event loop", async () => {
  await using server = await startServer();
  const scrape = async () => sampleTable(parseSamples(await (await fetch(`${server.url}/metrics`)).text()));
  const options = [{ optionId: "y", name: "Yes", kind: "allow_once" }];
  const steps = ["execute", "think"].map((kind) => ({
    permission: { toolCall: { toolCallId: kind, title: "ls", kind }, options },
  }));
  await replyOf(
    server.chat(script(...steps, { tool: { id: "t", kind: "edit", title: "x", status: "in_progress" } })),
  );
  const kill = { kill: true } as const;
  await replyOf(server.chat(script({ text: "Hi" }, kill)));
  const all = await until(
    scrape,
    (all) => all.get("agent_restarts_total openab") === 1 && all.get("agent_process_up openab") === 1,
  );
  for (
    const name of [
      "permission_requests_total no_client",
      "permission_requests_total allowed_by_policy",
      "gen_ai_execute_tool_duration_seconds_count edit ",
      "gen_ai_invoke_agent_duration_seconds_count openab agent_crashed",
    ]
  ) assertEquals(all.get(name), 1, name);
  await until(scrape, (all) => (all.get("event_loop_lag_seconds_count") ?? 0) > 0);
  assert(all.get("process_start_time_seconds")! * 1000 <= Date.now());
});
