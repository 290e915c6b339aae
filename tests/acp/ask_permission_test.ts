import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import { Heard } from "../support/harness/turn_recorder.ts";
import { AcpHarness, PROMPT } from "../support/agents/memory_acp_agent.ts";

/** A request for a permission of this kind of tool. */
const asks = (sessionId: string, toolCall: Record<string, unknown> = {}) => ({
  sessionId,
  toolCall: { toolCallId: "t", title: "rm", kind: "execute", ...toolCall },
  options: [
    { optionId: "no", name: "No", kind: "reject_once" },
    { optionId: "yes", name: "Yes", kind: "allow_once" },
  ],
});
const ask = "session/request_permission";

Deno.test("Connection: the kind of tool may be known from its announcement only", async () => {
  const answers: unknown[] = [];
  await using house = new AcpHarness({
    "session/prompt": async ({ sessionId }, running) => {
      running.update(sessionId, { sessionUpdate: "tool_call", toolCallId: "t", title: "cat", kind: "read" });
      answers.push(await running.peer.request(ask, asks(sessionId, { kind: undefined })));
      answers.push(await running.peer.request(ask, asks(sessionId, { toolCallId: "u", kind: undefined })));
      return { stopReason: "end_turn" };
    },
  }, { permissions: "ask" });
  const heard = new Heard();
  await (await house.agent.newSession()).prompt(PROMPT, heard.reader);
  await heard.last();
  const selected = (optionId: string) => ({ outcome: { outcome: "selected", optionId } });
  assertEquals(answers, [selected("yes"), selected("no")]);
  assertEquals(heard.briefs.includes("tool rm read pending"), true);
});

Deno.test("Connection: a permission after a cancel, outside a turn, or of another session is cancelled", async () => {
  const answers: unknown[] = [];
  const heard = new Heard();
  await using house = new AcpHarness({
    "session/prompt": async ({ sessionId }, running) => {
      running.sendText(sessionId, "working");
      await running.cancelled(sessionId);
      answers.push(await running.peer.request(ask, asks(sessionId)));
      answers.push(await running.peer.request(ask, asks("another")));
      return { stopReason: "cancelled" };
    },
  });
  const session = await house.agent.newSession();
  const prompting = await session.prompt(PROMPT, heard.reader);
  await heard.untilText("working");
  prompting.cancel();
  await heard.last();
  answers.push(await house.running.peer.request(ask, asks(session.id)));
  const cancelled = { outcome: { outcome: "cancelled" } };
  assertEquals(answers, [cancelled, cancelled, cancelled]);
  assertEquals(heard.briefs, ["text working", "end cancelled"]);
});

Deno.test("Connection: a permission request that makes no sense is answered -32602", async () => {
  await using house = new AcpHarness();
  await house.agent.newSession();
  for (const params of [undefined, {}, { ...asks("s"), options: "all" }]) {
    const error: RpcError = await assertRejects(() => house.running.peer.request(ask, params), RpcError);
    assertEquals(error.code, RPC.invalidParams);
  }
});

Deno.test("Connection: an agent that stops because it was refused a permission has failed", async () => {
  const heard = new Heard();
  await using house = new AcpHarness({
    "session/prompt": async ({ sessionId }, running) => {
      await running.peer.request(ask, asks(sessionId));
      return { stopReason: "cancelled" };
    },
  }, { permissions: "deny" });
  await (await house.agent.newSession()).prompt(PROMPT, heard.reader);
  assertEquals(await heard.last(), "failure agent_cancelled");
  assertStringIncludes(heard.failure.message, "refused a permission");
});
