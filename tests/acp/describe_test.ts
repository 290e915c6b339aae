import { assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { failureOf, settled } from "../support/harness/turn_recorder.ts";
import { ScriptedAgentHarness } from "../support/harness/agent_process_harness.ts";
import { AcpHarness, neverAnswers } from "../support/agents/memory_acp_agent.ts";

Deno.test("AcpAgent.describe: what the agent can do and offers; the session of it is gone again", async () => {
  await using house = new ScriptedAgentHarness({
    image: true,
    resume: true,
    loadSession: true,
    delete: true,
    mcp: { http: true },
    authMethods: ["key"],
    models: { ids: ["a", "b"], by: "both" },
    modes: ["ask", "code"],
  }, {
    mode: "code",
    model: "gpt-4o",
    now: () => 0,
    mcpServers: [{ type: "sse", name: "news", url: "https://news.example", headers: [] }],
  });
  assertEquals(await house.agent.describe(), {
    agent: { name: "fake-agent", version: "1.0.0" },
    protocolVersion: 1,
    promptCapabilities: { image: true, audio: false },
    resumeMethod: "resume",
    canClose: true,
    canDelete: true,
    mcpTransports: { http: true, sse: false },
    authMethods: ["key"],
    model: "a",
    models: [{ id: "a", name: "Model a" }, { id: "b", name: "Model b" }],
    mode: "code",
    modes: ["ask", "code"],
    warnings: [
      {
        setting: "mcp_servers",
        name: "news",
        text: 'The MCP server "news" is left out: the agent does not connect to servers by sse.',
      },
      { setting: "model", name: "gpt-4o", text: 'The agent has no model "gpt-4o"; it offers a, b.' },
    ],
    startedMs: 0,
  });
  assertEquals(house.methods, ["initialize", "session/set_mode", "session/close", "session/delete"]);
  assertEquals(house.count("session/new"), 1);
  assertEquals((await house.agent.describe()).warnings.length, 2, "also those that were logged before");
});

Deno.test("AcpAgent.describe: an agent that can do nothing more", async () => {
  await using house = new AcpHarness({ initialize: () => ({ protocolVersion: 1 }) });
  assertEquals(await house.agent.describe(), {
    agent: undefined,
    protocolVersion: 1,
    promptCapabilities: { image: false, audio: false },
    resumeMethod: undefined,
    canClose: false,
    canDelete: false,
    mcpTransports: { http: false, sse: false },
    authMethods: [],
    model: undefined,
    models: [],
    mode: undefined,
    modes: [],
    warnings: [],
    startedMs: 0,
  });
});

Deno.test("AcpAgent.describe: throws as opening a session does, and when nobody waits any more", async () => {
  await using login = new ScriptedAgentHarness({ authRequired: true, authMethods: ["oauth"] });
  assertEquals((await failureOf(login.agent.describe())).code, "agent_auth_required");
  await using other = new AcpHarness({ initialize: () => ({ protocolVersion: 2 }) });
  assertEquals((await failureOf(other.agent.describe())).code, "agent_unavailable");
  await using slow = new AcpHarness({ "session/new": neverAnswers });
  const controller = new AbortController();
  const waiting = slow.agent.describe(controller.signal).catch((error) => error);
  await settled();
  await slow.running.waitFor("session/new");
  const reason = new Error("hung up");
  controller.abort(reason);
  assertStrictEquals(await waiting, reason);
  await assertRejects(() => slow.agent.describe(controller.signal), Error, "hung up");
});

Deno.test("AcpAgent.describe: how long it took from its launch until the session was open, without its end", async () => {
  const house: AcpHarness = new AcpHarness({
    "initialize": () => {
      house.nowMs += 100;
      return { protocolVersion: 1, agentCapabilities: { sessionCapabilities: { close: {} } } };
    },
    "session/new": () => {
      house.nowMs += 20;
      return { sessionId: "s" };
    },
    "session/close": () => {
      house.nowMs += 3;
      return {};
    },
  });
  await using _end = house;
  house.beforeStart = () => house.nowMs += 4_000;
  assertEquals((await house.agent.describe()).startedMs, 4_120);
  house.nowMs += 50_000;
  assertEquals((await house.agent.describe()).startedMs, 4_120, "also of one that runs for long");
});
