import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Capabilities, toCapabilities, usableServers } from "../../lib/acp/handshake.ts";
import { RPC } from "../../lib/acp/json_rpc.ts";
import { type McpServer, parseInitializeResult } from "../../lib/acp/wire.ts";
import type { ErrorReason } from "../../lib/core/errors.ts";
import {
  AcpHarness,
  exits,
  type Handler,
  neverAnswers,
  refuses,
} from "../support/agents/memory_acp_agent.ts";
import { readRecording } from "../support/agents/replayed_agent.ts";
import { isObject, type Json } from "../support/agents/scripted_agent.ts";
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
  ...[null, {}, { sessionId: "" }, { sessionId: 7 }].map((answer) => ({
    name: `session/new is answered with ${JSON.stringify(answer)}`,
    method: "session/new" as const,
    handler: () => answer,
    message: "session/new",
  })),
  {
    name: "session/new is refused, in the agent's words",
    method: "session/new",
    handler: refuses(RPC.internalError, "No disk left."),
    message: "No disk left.",
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
    const timeouts = { setupMs: reason === "timeout" ? 20 : 60_000, resumeMs: 60_000, cancelMs: 60_000 };
    await using harness = new AcpHarness({ [method]: handler }, { timeouts });
    const failure = await appErrorOf(harness.agent.newSession());
    assertEquals([failure.code, failure.reason], ["agent_unavailable", reason]);
    assertStringIncludes(failure.message, message);
    assertEquals(harness.starts.length, 1);
    if (method === "initialize") assert(harness.running.process.stops > 0, "the process is stopped");
  });
}

const NONE: Capabilities = {
  agent: undefined,
  protocolVersion: 1,
  promptCapabilities: { image: false, audio: false },
  resumeMethod: undefined,
  canClose: false,
  canDelete: false,
  mcpTransports: { http: false, sse: false },
  authMethods: [],
};
const ANSWERS: readonly (readonly [name: string, answer: Json, expected: Partial<Capabilities>])[] = [
  ["nothing", {}, {}],
  ["null", { agentCapabilities: null, agentInfo: null, authMethods: null }, {}],
  [
    "nonsense",
    { agentCapabilities: { mcpCapabilities: 7, sessionCapabilities: "all", loadSession: "yes" } },
    {},
  ],
  ["a name", { agentInfo: { name: "pi" } }, { agent: { name: "pi", version: "" } }],
  ["load", { agentCapabilities: { loadSession: true } }, { resumeMethod: "load" }],
  ["resume", { agentCapabilities: { sessionCapabilities: { resume: {} } } }, { resumeMethod: "resume" }],
  ["both", {
    agentCapabilities: { loadSession: true, sessionCapabilities: { resume: {}, close: {}, delete: {} } },
  }, { resumeMethod: "resume", canClose: true, canDelete: true }],
  ["capabilities that are off", {
    agentCapabilities: { sessionCapabilities: { resume: null, close: false } },
  }, {}],
  ["MCP by http", { agentCapabilities: { mcpCapabilities: { http: true } } }, {
    mcpTransports: { http: true, sse: false },
  }],
  ["pictures", { agentCapabilities: { promptCapabilities: { image: true } } }, {
    promptCapabilities: { image: true, audio: false },
  }],
];
for (const [name, answer, expected] of ANSWERS) {
  Deno.test(`toCapabilities: ${name}`, () => {
    const result = parseInitializeResult({ protocolVersion: 1, ...answer });
    assertEquals(toCapabilities(result), { ...NONE, ...expected });
  });
}

const RECORDED: readonly (readonly [string, string, Partial<Capabilities>])[] = [
  ["claude-load", "@agentclientprotocol/claude-agent-acp 0.100.0", {
    resumeMethod: "resume",
    canClose: true,
    canDelete: true,
    mcpTransports: { http: true, sse: true },
  }],
  ["codex2-load", "@agentclientprotocol/codex-acp 2.6.0", {
    resumeMethod: "resume",
    canClose: true,
    canDelete: true,
    mcpTransports: { http: true, sse: false },
  }],
  ["gemini-tools", "gemini-cli 0.61.0", {
    resumeMethod: "load",
    canClose: false,
    canDelete: false,
    mcpTransports: { http: true, sse: true },
  }],
];
for (const [recording, agent, expected] of RECORDED) {
  Deno.test(`toCapabilities: ${recording}`, () => {
    const answer = readRecording(recording).find(({ dir, msg }) =>
      dir === "a2c" && isObject(msg) && isObject(msg.result)
    );
    const capabilities = toCapabilities(parseInitializeResult((answer?.msg as Json).result));
    const { resumeMethod, canClose, canDelete, mcpTransports } = capabilities;
    assertEquals({ resumeMethod, canClose, canDelete, mcpTransports }, expected as Json);
    assertEquals(`${capabilities.agent?.name} ${capabilities.agent?.version}`, agent);
  });
}

Deno.test("usableServers: selects the servers that the agent can use, and names the others", () => {
  const program: McpServer = { name: "files", command: "files", args: [], env: [] };
  const web: McpServer = { type: "http", name: "web", url: "https://x.example/?key=1", headers: [] };
  const none = { http: false, sse: false };
  assertEquals(usableServers([program, web], none).usable, [program]);
  assertEquals(usableServers([program, web], none).warnings.map(({ text }) => text), [
    'The MCP server "web" is left out: the agent does not connect to servers by http.',
  ]);
  assertEquals(usableServers([web], { ...none, http: true }), { usable: [web], warnings: [] });
});
