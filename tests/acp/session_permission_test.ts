import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { PermissionId, PermissionQuestion } from "../../lib/turn/event.ts";
import { PERMISSION_POLICIES } from "../../lib/turn/permission.ts";
import { AcpHarness, PROMPT, runTurn } from "../support/agents/memory_acp_agent.ts";
import { TurnRecorder } from "../support/harness/turn_recorder.ts";

const TOOL = { sessionUpdate: "tool_call", toolCallId: "t", title: "ls" };
const REQUEST = "session/request_permission";
type Answer = { readonly outcome: { readonly optionId: string } };
const CANCELLED = { outcome: { outcome: "cancelled" } };

function permissionRequest(sessionId: string, toolCall: Record<string, unknown> = {}) {
  return {
    sessionId,
    toolCall: { toolCallId: "t", title: "rm", kind: "execute", ...toolCall },
    options: [
      { optionId: "no", name: "No", kind: "reject_once" },
      { optionId: "yes", name: "Yes", kind: "allow_once" },
    ],
  };
}

Deno.test("AcpSession: takes the kind of an announced tool for a permission request without a kind", async () => {
  const answers: unknown[] = [];
  const events = await runTurn(async ({ sessionId }, running) => {
    const ask = async (toolCallId: string) => {
      const request = permissionRequest(sessionId, { toolCallId, kind: undefined });
      answers.push(await running.peer.request(REQUEST, request));
    };
    running.update(sessionId, { ...TOOL, title: "cat", kind: "think" });
    await ask("t");
    await ask("unannounced");
    return { stopReason: "end_turn" };
  }, { permissions: "ask" });
  const selected = (optionId: string) => ({ outcome: { outcome: "selected", optionId } });
  assertEquals(answers, [selected("yes"), selected("no")]);
  assertEquals(events.summaries.includes("tool rm think pending"), true);
});

Deno.test("AcpSession: cancels a permission request after a cancel, outside a turn, or of another session", async () => {
  const answers: unknown[] = [];
  await using harness = new AcpHarness({
    "session/prompt": async ({ sessionId }, running) => {
      running.sendText(sessionId, "working");
      await running.cancelled(sessionId);
      answers.push(await running.peer.request(REQUEST, permissionRequest(sessionId)));
      answers.push(await running.peer.request(REQUEST, permissionRequest("another")));
      return { stopReason: "cancelled" };
    },
  });
  const { session, heard: events, prompt } = await harness.startTurn();
  prompt.cancel();
  await events.lastSummary();
  answers.push(await harness.running.peer.request(REQUEST, permissionRequest(session.id)));
  assertEquals(answers, [CANCELLED, CANCELLED, CANCELLED]);
  assertEquals(events.summaries, ["text working", "end cancelled"]);
});

for (const setting of PERMISSION_POLICIES) {
  Deno.test(`AcpSession: the policy of a prompt counts, for that prompt only; the agent's is ${setting}`, async () => {
    const decided: string[] = [];
    const ask = ({ options }: PermissionQuestion) => {
      decided.push("a person");
      const option = options.find(({ kind }) => kind === "reject_once")!;
      return Promise.resolve({ id: "p" as PermissionId, outcome: "rejected", option, by: "Mao" } as const);
    };
    await using harness = new AcpHarness({
      "session/prompt": async ({ sessionId }, running) => {
        const { outcome } = await running.peer.request(REQUEST, permissionRequest(sessionId)) as Answer;
        decided.push(outcome.optionId);
        return { stopReason: "end_turn" };
      },
    }, { permissions: setting, broker: { ask } });
    const session = await harness.agent.newSession();
    const policies = [undefined, ...PERMISSION_POLICIES, undefined];
    for (const policy of policies) {
      const events = new TurnRecorder();
      await session.prompt(PROMPT, events.reader, policy);
      await events.lastSummary();
    }
    const expected = { allow: ["yes"], deny: ["no"], ask: ["a person", "no"] };
    assertEquals(decided, policies.flatMap((policy = setting) => expected[policy]));
  });
}

Deno.test("Connection: answers a malformed permission request with -32602", async () => {
  await using harness = new AcpHarness();
  await harness.agent.newSession();
  for (const params of [undefined, {}, { ...permissionRequest("s"), options: "all" }]) {
    const error: RpcError = await assertRejects(
      () => harness.running.peer.request(REQUEST, params),
      RpcError,
    );
    assertEquals(error.code, RPC.invalidParams);
  }
});

Deno.test("AcpSession: a turn fails if the agent stops because of a refused permission", async () => {
  const events = await runTurn(async ({ sessionId }, running) => {
    await running.peer.request(REQUEST, permissionRequest(sessionId));
    return { stopReason: "cancelled" };
  }, { permissions: "deny" });
  assertEquals(events.summaries.at(-1), "failure agent_cancelled");
  assertStringIncludes(events.failure.message, "refused a permission");
});
