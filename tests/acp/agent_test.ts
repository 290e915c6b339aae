import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { PermissionPolicy } from "../../lib/acp/permission.ts";
import type { PromptBlock } from "../../lib/turn/agent.ts";
import { isObject, type Json } from "../support/agents/scripted_agent.ts";
import { failureOf, Heard, settled, soon } from "../support/harness/turn_recorder.ts";
import { ScriptedAgentHarness } from "../support/harness/agent_process_harness.ts";

Deno.test("AcpAgent: a turn, from the start of the agent to its end", async () => {
  await using house = new ScriptedAgentHarness({ image: true });
  assertEquals(house.agent.state, "idle");
  const session = await house.agent.newSession();
  assertEquals([house.agent.state, session.promptCapabilities], ["ready", { image: true, audio: false }]);
  const heard = await house.runTurn(
    session,
    { thought: "hm" },
    { text: "Hello " },
    { tool: { id: "t", title: "ls", kind: "search" } },
    { toolUpdate: { id: "t", status: "completed" } },
    { plan: [{ content: "a", priority: "high", status: "pending" }] },
    { usage_update: { used: 1, size: 2 } },
    { empty: true },
    { update: { sessionUpdate: "novelty" } },
    { notify: { method: "_vendor/news" } },
    { raw: "npm warn" },
    { split: "ä😀", cuts: [70, -8, -7, -6] },
    { text: "world" },
    { stop: "max_tokens", usage: { inputTokens: 3, outputTokens: 4, totalTokens: 7 } },
  );
  assertEquals(heard.briefs, [
    "thought hm",
    "text Hello ",
    "tool ls search pending",
    "tool ls search completed",
    "plan pending",
    "text ä😀",
    "text world",
    "usage 3+4",
    "end max_tokens",
  ]);
  assertEquals(house.recorder.matching("skipped a line of the agent").length, 1);
});

Deno.test("AcpAgent: blocks reach the agent as they are", async () => {
  await using house = new ScriptedAgentHarness({ image: true });
  const session = await house.agent.newSession();
  const blocks: PromptBlock[] = [
    { type: "text", text: 'two\nlines "and" \u2028 😀' },
    { type: "image", mimeType: "image/png", data: "aW1hZ2U=" },
  ];
  const heard = new Heard();
  await session.prompt(blocks, heard.reader);
  assertEquals(await heard.last(), "end end_turn");
  const prompt = house.received.find(({ method }) => method === "session/prompt");
  assertEquals(prompt?.params, { sessionId: session.id, prompt: blocks });
});

Deno.test("AcpAgent: a session that was made ahead is used, and the next is made when a turn ends", async () => {
  await using house = new ScriptedAgentHarness();
  house.agent.warm();
  const first = await house.agent.newSession();
  assertEquals(house.count("session/new"), 1);
  await house.runTurn(first, { text: "done" });
  await house.agent.newSession();
  assertEquals([house.count("session/new"), house.count("initialize"), house.processes.length], [2, 1, 1]);
});

Deno.test("AcpAgent: sessions run beside each other", async () => {
  await using house = new ScriptedAgentHarness();
  const [one, other] = [await house.agent.newSession(), await house.agent.newSession()];
  const running = await house.startTurn(one, { text: "one" }, { hang: true });
  await running.heard.untilText("one");
  assertEquals((await house.runTurn(other, { text: "other" })).briefs, ["text other", "end end_turn"]);
  assertEquals(running.heard.briefs, ["text one"]);
  running.cancel();
  assertEquals(await running.heard.last(), "end cancelled");
});

Deno.test("AcpAgent: prompts of one session wait for each other", async () => {
  await using house = new ScriptedAgentHarness();
  const session = await house.agent.newSession();
  const first = await house.startTurn(session, { text: "first" }, { hang: true });
  const second = house.startTurn(session, { text: "second" });
  await first.heard.untilText("first");
  await settled();
  assertEquals(house.count("session/prompt"), 1);
  first.cancel();
  const { heard } = await soon(second, "the second prompt");
  await heard.last();
  assertEquals([first.heard.briefs, heard.briefs], [["text first", "end cancelled"], [
    "text second",
    "end end_turn",
  ]]);
  assertEquals(house.methods, ["initialize", "session/prompt", "session/cancel", "session/prompt"]);
});

Deno.test("AcpAgent: another version of the protocol is refused by name, and the agent ended", async () => {
  await using house = new ScriptedAgentHarness({ protocolVersion: 2 });
  const failure = await failureOf(house.agent.newSession());
  assertEquals(failure.code, "agent_unavailable");
  assertStringIncludes(failure.message, "version 2 ");
  assertEquals(await soon(house.processes[0]!.exited, "its end"), "exited with code 0");
});

Deno.test("AcpAgent: an agent that wants a log-in by a person says which", async () => {
  await using house = new ScriptedAgentHarness({ authRequired: true, authMethods: ["oauth", "device-code"] });
  const failure = await failureOf(house.agent.newSession());
  assertEquals(failure.code, "agent_auth_required");
  assertStringIncludes(failure.message, "oauth (oauth), device-code (device-code)");
  assertEquals([house.count("authenticate"), house.agent.state], [0, "failing"]);
});

const BY_VARIABLE = { id: "by-variable", name: "By variable", type: "env_var", vars: [{ name: "FAKE_KEY" }] };

Deno.test("AcpAgent: an agent that wants a log-in by a variable that it has is logged in to", async () => {
  await using house = new ScriptedAgentHarness({ authRequired: true, authMethods: ["oauth", BY_VARIABLE] }, {
    variables: new Set(["FAKE_KEY"]),
  });
  assertEquals((await house.runTurn(await house.agent.newSession(), { text: "in" })).text, "in");
  const logins = house.received.filter(({ method }) => method === "authenticate");
  assertEquals(logins.map(({ params }) => params), [{ methodId: "by-variable" }]);
});

Deno.test("AcpAgent: a log-in that fails is said, and the agent lives on", async () => {
  await using house = new ScriptedAgentHarness({
    authRequired: true,
    authMethods: ["api-key"],
    authFails: true,
  });
  for (const count of [1, 2]) {
    const failure = await failureOf(house.agent.newSession());
    assertEquals(failure.code, "agent_auth_required");
    assertStringIncludes(failure.message, "Authentication failed");
    assertEquals([house.count("authenticate"), house.processes.length], [count, 1]);
  }
});

Deno.test("AcpAgent: a cancel is answered, and the session goes on", async () => {
  await using house = new ScriptedAgentHarness();
  const session = await house.agent.newSession();
  const { heard, cancel } = await house.startTurn(
    session,
    { tool: { id: "t", title: "make", kind: "execute", status: "in_progress" } },
    { hang: true },
    { text: "never" },
  );
  await heard.until(({ type }) => type === "tool");
  cancel();
  await heard.last();
  assertEquals(heard.briefs, ["tool make execute in_progress", "tool make execute failed", "end cancelled"]);
  assertEquals((await house.runTurn(session, { text: "next" })).text, "next");
});

Deno.test("AcpAgent: what comes after the answer is nobody's", async () => {
  await using house = new ScriptedAgentHarness();
  const session = await house.agent.newSession();
  const first = await house.runTurn(session, { text: "one" }, {
    afterAnswer: [
      { text: "late" },
      { thought: "late" },
      { tool: { id: "t", title: "late" } },
      { update: { sessionUpdate: "session_info_update", title: "A talk" } },
    ],
  });
  const second = await house.runTurn(session, { text: "two" });
  assertEquals([first.briefs, second.briefs], [["text one", "end end_turn"], ["text two", "end end_turn"]]);
});

Deno.test("AcpAgent: every token before the answer is heard before the end", async () => {
  await using house = new ScriptedAgentHarness();
  const heard = await house.runTurn(await house.agent.newSession(), { tokens: 20_000, text: "x" });
  assertEquals(heard.text, "x".repeat(20_000));
  heard.assertWhole();
});

Deno.test("AcpAgent: a chunk of megabytes is one event", async () => {
  await using house = new ScriptedAgentHarness();
  const heard = await house.runTurn(await house.agent.newSession(), { big: 3_000_000 });
  assertEquals(heard.events.map((event) => event.type === "text" ? event.text.length : 0), [3_000_000, 0]);
});

Deno.test("AcpAgent: a request that is not known is answered, and the turn goes on", async () => {
  await using house = new ScriptedAgentHarness();
  const session = await house.agent.newSession();
  for (
    const method of ["fs/read_text_file", "fs/write_text_file", "terminal/create", "craft/drainMidTurnQueue"]
  ) {
    const heard = await house.runTurn(session, { request: { method, params: { path: "/etc/passwd" } } });
    const { error } = JSON.parse(heard.text.replace("answer:", "")) as { error: Json };
    assertEquals(error.code, -32601);
    assertStringIncludes(String(error.message), method);
    assertEquals(await heard.last(), "end end_turn");
  }
});

const OPTIONS = [
  { optionId: "always", name: "Always", kind: "allow_always" },
  { optionId: "no", name: "No", kind: "reject_once" },
  { optionId: "yes", name: "Yes", kind: "allow_once" },
];
const GIVEN: Readonly<Record<PermissionPolicy, Readonly<Record<string, string>>>> = {
  ask: { read: "yes", fetch: "yes", execute: "no", edit: "no", other: "no", teleport: "no" },
  allow: { read: "yes", execute: "yes", teleport: "yes" },
  deny: { read: "no", execute: "no" },
};
for (const [permissions, kinds] of Object.entries(GIVEN) as [PermissionPolicy, Record<string, string>][]) {
  Deno.test(`AcpAgent: permissions, ${permissions}`, async () => {
    await using house = new ScriptedAgentHarness({}, { permissions });
    const session = await house.agent.newSession();
    for (const [kind, optionId] of Object.entries(kinds)) {
      const toolCall = { toolCallId: kind, title: `a ${kind}`, kind };
      const heard = await house.runTurn(session, { permission: { toolCall, options: OPTIONS } });
      assertEquals(
        JSON.parse(heard.text.replace("permission:", "")),
        { outcome: "selected", optionId },
        kind,
      );
      const told = kind === "teleport" ? "other" : kind;
      assertEquals(heard.briefs[0], `tool a ${kind} ${told} pending`);
    }
  });
}

Deno.test("AcpAgent: a permission for which nothing fits is cancelled", async () => {
  await using house = new ScriptedAgentHarness({}, { permissions: "deny" });
  const heard = await house.runTurn(await house.agent.newSession(), {
    permission: {
      toolCall: { toolCallId: "t" },
      options: OPTIONS.filter(({ kind }) => kind !== "reject_once"),
    },
  });
  assertEquals(heard.text, 'permission:{"outcome":"cancelled"}');
});

Deno.test("AcpAgent: a session that is closed is closed at the agent's too", async () => {
  await using house = new ScriptedAgentHarness();
  const session = await house.agent.newSession();
  const { heard } = await house.startTurn(session, { text: "up" }, { hang: true });
  await heard.untilText("up");
  session.close();
  assertEquals(await heard.last(), "end cancelled");
  await house.runTurn(await house.agent.newSession(), { text: "after" });
  assertEquals(house.methods, [
    "initialize",
    "session/prompt",
    "session/cancel",
    "session/close",
    "session/prompt",
  ]);
  assertEquals(house.received.find(({ method }) => method === "session/close")?.params, {
    sessionId: session.id,
  });
});

Deno.test("AcpAgent: what the agent says on stderr is in the log", async () => {
  await using house = new ScriptedAgentHarness({ stderr: "a warning\n" });
  await house.agent.newSession();
  const { fields } = await house.recorder.waitFor("agent stderr");
  assertEquals(fields.line, "a warning");
  const ready = await house.recorder.waitFor("agent ready");
  assert(isObject(ready.fields) && ready.fields.program === "fake-agent");
});
