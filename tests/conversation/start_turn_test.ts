import { assertEquals } from "@std/assert";
import { REPLY_CHARS } from "../../lib/conversation/fingerprint.ts";
import type { DeliveryState } from "../../lib/conversation/record.ts";
import { OutcomeReader } from "../../lib/conversation/start_turn.ts";
import { AppError, type ErrorCode } from "../../lib/core/errors.ts";
import type { StopReason, TurnEvent } from "../../lib/turn/event.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { user } from "../support/harness/message_fixture.ts";

const say = (text: string): TurnEvent => ({ type: "text", text });
const THINK: TurnEvent = { type: "thought", text: "hm" };
const end = (reason: StopReason = "end_turn"): TurnEvent => ({ type: "end", reason });
const fail = (code: ErrorCode): TurnEvent => ({ type: "failure", failure: new AppError(code, "No.") });

/** Returns the state after each event, and the reply. */
function read(...events: TurnEvent[]) {
  const reader = new OutcomeReader();
  return { states: events.map((event) => reader.push(event)), reply: reader.reply };
}

const ENDS: readonly (readonly [events: readonly TurnEvent[], state: DeliveryState])[] = [
  [[say("Hel"), THINK, say("lo"), end()], "answered"],
  [[say("Hello"), end("max_tokens")], "answered"],
  [[say("Hello"), end("max_turn_requests")], "answered"],
  [[say("Hello"), end("refusal")], "answered"],
  [[say("Hello"), end("cancelled")], "delivered"],
  [[say("Hello"), fail("agent_crashed")], "pending"],
  [[say("Hello"), fail("agent_timeout")], "delivered"],
  [[say("Hello"), fail("agent_cancelled")], "delivered"],
  // After any sign of the agent, a refusal came too late to be one.
  [[say("Hello"), fail("agent_error")], "delivered"],
  [[say(""), fail("agent_auth_required")], "delivered"],
  [[THINK, fail("agent_error")], "delivered"],
  [[fail("agent_error")], "pending"],
  [[fail("agent_auth_required")], "pending"],
  [[fail("agent_crashed")], "pending"],
  [[fail("agent_timeout")], "delivered"],
  [[fail("shutting_down")], "delivered"],
  // A skin keeps neither the question nor a reply that says nothing.
  [[end()], "delivered"],
  [[say("[silent]"), end()], "delivered"],
  [[say("[neutral] (...)"), end()], "delivered"],
  [[say("[silent] No."), end()], "answered"],
];
for (const [events, state] of ENDS) {
  const what = events.map((event) =>
    event.type === "failure" ? event.failure.code : Object.values(event).join(" ")
  );
  Deno.test(`OutcomeReader: ${what.join(", ")} is ${state}`, () => {
    assertEquals(read(...events).states, [...events.slice(1).map(() => undefined), state]);
  });
}

Deno.test("OutcomeReader: the start of the reply is kept", () => {
  assertEquals(read(say("Hel"), THINK, say("lo"), end()).reply, "Hello");
  assertEquals(read(...Array.from({ length: 1_000 }, () => say("0123456789"))).reply.length, REPLY_CHARS);
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
