import { assertEquals, assertMatch } from "@std/assert";
import { describeUnaskedMode } from "../../lib/acp/unasked_modes.ts";
import type { PermissionPolicy } from "../../lib/turn/permission.ts";
import { AcpHarness } from "../support/agents/memory_acp_agent.ts";

const CASES: [agent: string | undefined, mode: string | undefined, text?: RegExp][] = [
  [
    "@agentclientprotocol/codex-acp",
    "agent",
    /codex-acp may act without asking in its mode "agent".*"read-only" it asks\.$/,
  ],
  ["@agentclientprotocol/codex-acp", "read-only"],
  ["@agentclientprotocol/claude-agent-acp", "bypassPermissions", /In the mode "default" it asks\.$/],
  ["@agentclientprotocol/claude-agent-acp", "default"],
  ["gemini-cli", "yolo", /mode "yolo"/],
  ["qwen-code", "plan"],
  ["pi-acp", undefined, /^pi-acp never asks for permissions/],
  ["pilot", undefined],
  ["codex-acp", undefined],
  ["oab-vtuber-demo", "yolo"],
  [undefined, "agent"],
];

for (const [agent, mode, text] of CASES) {
  Deno.test(`describeUnaskedMode: ${agent} in ${mode}`, () => {
    const found = describeUnaskedMode(agent, mode);
    if (text) assertMatch(found!, text);
    else assertEquals(found, undefined);
  });
}

const POLICIES: [permissions: PermissionPolicy, keys: PermissionPolicy[] | undefined, warnings: number][] = [
  ["ask", undefined, 1],
  ["deny", undefined, 1],
  ["allow", undefined, 0],
  ["allow", [], 0],
  ["allow", ["allow"], 0],
  ["allow", ["allow", "deny"], 1],
  ["allow", ["ask"], 1],
  ["ask", ["allow"], 1],
];
const modes = { currentModeId: "agent", availableModes: [{ id: "agent", name: "Auto review" }] };

for (const [permissions, keyPermissions, warnings] of POLICIES) {
  Deno.test(`AcpAgent: with ${permissions}, and ${keyPermissions} of keys, ${warnings} warning of a mode in which the agent does not ask`, async () => {
    const handlers = {
      "initialize": () => ({ protocolVersion: 1, agentInfo: { name: "codex-acp", version: "2.6.0" } }),
      "session/new": () => ({ sessionId: crypto.randomUUID(), modes }),
    };
    await using harness = new AcpHarness(handlers, { permissions, keyPermissions });
    await harness.agent.newSession();
    await harness.agent.newSession();
    const logged = harness.recorder.entries.filter(({ message }) => message.includes("without asking"));
    assertEquals(logged.map(({ level }) => level), Array(warnings).fill("warn"));
    const description = await harness.agent.describe();
    assertEquals(
      description.warnings.map(({ setting, name }) => [setting, name]),
      Array(warnings).fill(["mode", "agent"]),
    );
  });
}
