import { assertEquals } from "@std/assert";
import type { DeliveryState } from "../../lib/conversation/record.ts";
import { deliveryState } from "../../lib/conversation/start_turn.ts";
import { AppError, type ErrorCode } from "../../lib/core/errors.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { user } from "../support/harness/message_fixture.ts";

const ENDS:
  readonly (readonly [reply: string, reason: "end_turn" | "refusal" | "cancelled", DeliveryState])[] = [
    ["Hello", "end_turn", "answered"],
    ["Hello", "refusal", "answered"],
    ["Hello", "cancelled", "delivered"],
    // A skin keeps neither the question nor a reply that says nothing.
    ["[silent]", "end_turn", "delivered"],
  ];
/** The state after a failure as the first event of a turn, and later. */
const FAILURES: readonly (readonly [ErrorCode, first: DeliveryState, later: DeliveryState])[] = [
  ["agent_crashed", "pending", "pending"],
  // After any sign of the agent, a refusal came too late to be one.
  ["agent_error", "pending", "delivered"],
  ["agent_auth_required", "pending", "delivered"],
  ["agent_timeout", "delivered", "delivered"],
  ["shutting_down", "delivered", "delivered"],
];
Deno.test("deliveryState: of each end and failure of a turn", () => {
  for (const [reply, reason, state] of ENDS) {
    assertEquals(deliveryState({ type: "end", reason }, reply, false), state, `${reply} ${reason}`);
  }
  for (const [code, ...states] of FAILURES) {
    const event = { type: "failure", failure: new AppError(code, "No.") } as const;
    assertEquals([true, false].map((isFirst) => deliveryState(event, "", isFirst)), states, code);
  }
});

Deno.test("startTurn: no conversation is written before the turn starts, and it is saved before its end is read", async () => {
  const store = new MemoryStore();
  using harness = new ConversationHarness({ store });
  const turn = await harness.start("mao", [user("one")]);
  assertEquals(store.calls, ["save soon mao"]);
  turn.read((event) => {
    if (event.type === "end") store.calls.push("end");
  });
  const prompt = await harness.agent.nextPrompt();
  prompt.say("Yes.");
  prompt.end();
  assertEquals(store.calls.slice(1).toSorted(), ["end", "save mao"]);
});
