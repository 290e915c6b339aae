import { assertEquals, assertRejects } from "@std/assert";
import { type AgentConfig, createAgent } from "../../lib/acp/create_agent.ts";
import type { AgentLifecycleEvent } from "../../lib/acp/lifecycle.ts";
import type { ErrorReason } from "../../lib/core/errors.ts";
import { agentCommand, type ScriptedAgentOptions } from "../support/agents/scripted_agent.ts";
import { bareEnvironment, evalCommand } from "../support/harness/agent_process_harness.ts";
import { LogRecorder } from "../support/harness/json_rpc_harness.ts";
import { NO_BROKER } from "../support/harness/no_broker.ts";
import { appErrorOf, waitFor } from "../support/harness/turn_recorder.ts";

const own = bareEnvironment();

/** Creates an agent that runs this command, and records its lifecycle events. */
async function create(config: Pick<AgentConfig, "command" | "args"> & Partial<AgentConfig>) {
  const events: AgentLifecycleEvent[] = [];
  const { log } = new LogRecorder();
  const defaults = {
    name: "a",
    workingDir: ".",
    env: {},
    inheritEnv: Object.keys(own),
    mcpServers: [],
    mode: undefined,
    model: undefined,
    permissions: "deny",
    startMs: 60_000,
    isSessionLimitSet: false,
  } as const;
  const agent = await createAgent({ ...defaults, ...config }, {
    own,
    windows: Deno.build.os === "windows",
    broker: NO_BROKER,
    version: "1",
    log,
    onLifecycle: (event) => events.push(event),
    redact: (text) => text.replaceAll("secret", "***"),
  });
  return { agent, events };
}

const scripted = (options: ScriptedAgentOptions) => agentCommand(options);
const READY = { type: "ready" } as const;
const EVENTS: readonly {
  name: string;
  command: Pick<AgentConfig, "command" | "args">;
  expected: (
    | Exclude<AgentLifecycleEvent, { type: "ready" | "unavailable" }>
    | typeof READY
    | { type: "unavailable"; reason: ErrorReason | undefined }
  )[];
}[] = [
  { name: "ready and serving", command: scripted({}), expected: [READY, { type: "serving" }] },
  {
    name: "authenticating, ready and serving",
    command: scripted({ authRequired: true, authMethods: ["oauth", "api-key"] }),
    expected: [{ type: "authenticating", methodId: "api-key" }, READY, { type: "serving" }],
  },
  {
    name: "invalid_line and stderr, redacted, exited, and unavailable",
    command: evalCommand('console.log("secret 1"); console.error("secret 2"); Deno.exit(7)'),
    expected: [
      { type: "exited", status: "exited with code 7" },
      { type: "invalid_line", line: "*** 1" },
      { type: "stderr", line: "*** 2" },
      { type: "unavailable", reason: "not_acp" },
    ],
  },
  {
    name: "unavailable only, if this program ends the process",
    command: scripted({ protocolVersion: 2 }),
    expected: [{ type: "unavailable", reason: "protocol_version" }],
  },
  {
    name: "unavailable only, if its program is missing",
    command: { command: "no-such-agent", args: [] },
    expected: [{ type: "unavailable", reason: "program_not_found" }],
  },
  {
    name: "ready and unavailable, if it opens no session",
    command: scripted({ authRequired: true, authMethods: ["oauth"] }),
    expected: [READY, { type: "unavailable", reason: "login" }],
  },
];
for (const { name, command, expected } of EVENTS) {
  Deno.test(`createAgent: the agent emits ${name}`, async () => {
    const { agent, events } = await create(command);
    await waitFor(agent.newSession().catch(() => {}), "a session or its failure");
    await waitFor(agent[Symbol.asyncDispose](), "the agent's end");
    const found = events.toSorted((a, b) => a.type.localeCompare(b.type)).map((event) => {
      if (event.type === "unavailable") return { type: event.type, reason: event.error.reason };
      return event.type === "ready" ? READY : event;
    });
    assertEquals(found, expected);
  });
}

Deno.test("createAgent: the agent has its configured time to start", async () => {
  const silent = evalCommand("for await (const _ of Deno.stdin.readable);");
  const { agent } = await create({ ...silent, startMs: 30 });
  const { reason, message } = await appErrorOf(agent.newSession());
  assertEquals([reason, message.includes("initialize within 0.03 seconds")], ["timeout", true]);
  await waitFor(agent[Symbol.asyncDispose](), "the agent's end");
});

Deno.test("createAgent: rejects a working directory that does not exist", async () => {
  await assertRejects(
    () => create({ ...scripted({}), workingDir: "/no/such/folder" }),
    Error,
    "The working directory of the agent a does not exist: /no/such/folder",
  );
});

Deno.test("createAgent: redacts a line before it is cut, because the cut may fall within a secret", async () => {
  const { agent, events } = await create(evalCommand('console.log("x".repeat(150) + "secret".repeat(20))'));
  await waitFor(agent.newSession().catch(() => {}), "its failure");
  await waitFor(agent[Symbol.asyncDispose](), "the agent's end");
  assertEquals(events.filter(({ type }) => type === "invalid_line").length, 1);
  assertEquals(JSON.stringify(events).includes("secret"), false);
});
