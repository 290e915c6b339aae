import { assertEquals } from "@std/assert";
import { type Capabilities, toCapabilities, usableServers } from "../../lib/acp/handshake.ts";
import type { McpServer } from "../../lib/acp/wire.ts";
import { parseInitializeResult } from "../../lib/acp/wire.ts";
import { isObject, type Json } from "../support/agents/scripted_agent.ts";
import { readRecording } from "../support/agents/replayed_agent.ts";

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
const TOLD: readonly (readonly [name: string, told: Json, expected: Partial<Capabilities>])[] = [
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
  ["what it has not", { agentCapabilities: { sessionCapabilities: { resume: null, close: false } } }, {}],
  ["MCP by http", { agentCapabilities: { mcpCapabilities: { http: true } } }, {
    mcpTransports: { http: true, sse: false },
  }],
  ["pictures", { agentCapabilities: { promptCapabilities: { image: true } } }, {
    promptCapabilities: { image: true, audio: false },
  }],
];
for (const [name, told, expected] of TOLD) {
  Deno.test(`toCapabilities: ${name}`, () => {
    const result = parseInitializeResult({ protocolVersion: 1, ...told });
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
    const told = toCapabilities(parseInitializeResult((answer?.msg as Json).result));
    const { resumeMethod, canClose, canDelete, mcpTransports } = told;
    assertEquals({ resumeMethod, canClose, canDelete, mcpTransports }, expected as Json);
    assertEquals(`${told.agent?.name} ${told.agent?.version}`, agent);
  });
}

Deno.test("usableServers: what the agent can use, and the names of the others", () => {
  const program: McpServer = { name: "files", command: "files", args: [], env: [] };
  const web: McpServer = { type: "http", name: "web", url: "https://x.example/?key=1", headers: [] };
  const none = { http: false, sse: false };
  assertEquals(usableServers([program, web], none).usable, [program]);
  assertEquals(usableServers([program, web], none).warnings.map(({ text }) => text), [
    'The MCP server "web" is left out: the agent does not connect to servers by http.',
  ]);
  assertEquals(usableServers([web], { ...none, http: true }), { usable: [web], warnings: [] });
});
