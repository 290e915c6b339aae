import { assertEquals } from "@std/assert";
import type { DeliveryState } from "../../lib/conversation/record.ts";
import { watchTurn } from "../../lib/conversation/start_turn.ts";
import { REPLY_CHARS } from "../../lib/conversation/fingerprint.ts";
import type { StopReason, TurnEvent } from "../../lib/turn/event.ts";
import { AppError, type ErrorCode } from "../../lib/core/errors.ts";
import type { Turn } from "../../lib/turn/turn.ts";

const TURN = {} as Turn;
const say = (text: string): TurnEvent => ({ type: "text", text });
const end = (reason: StopReason = "end_turn"): TurnEvent => ({ type: "end", reason });
const fail = (code: ErrorCode): TurnEvent => ({ type: "failure", failure: new AppError(code, "No.") });

/** What is told of a turn with these events. */
function outcomes(...events: TurnEvent[]): (readonly [DeliveryState, string])[] {
  const told: (readonly [DeliveryState, string])[] = [];
  const watcher = watchTurn(undefined, {
    begun() {},
    ended: (state, reply) => told.push([state, reply]),
  });
  watcher.onStart(TURN);
  for (const event of events) watcher.onEvent(event, TURN);
  return told;
}

const ENDINGS: readonly (readonly [name: string, last: TurnEvent, state: DeliveryState])[] = [
  ["an end", end(), "answered"],
  ["an end at a limit", end("max_tokens"), "answered"],
  ["an end by requests", end("max_turn_requests"), "answered"],
  ["a refusal", end("refusal"), "answered"],
  ["a cancel", end("cancelled"), "delivered"],
  ["a crash", fail("agent_crashed"), "pending"],
  ["silence", fail("agent_timeout"), "delivered"],
  ["an error of the agent", fail("agent_error"), "delivered"],
  ["a cancel of the agent's own", fail("agent_cancelled"), "delivered"],
];
for (const [name, last, state] of ENDINGS) {
  Deno.test(`outcome: ${name} is ${state}`, () => {
    assertEquals(outcomes(say("Hel"), { type: "thought", text: "hm" }, say("lo"), last), [[state, "Hello"]]);
  });
}

const REFUSALS: readonly (readonly [code: ErrorCode, state: DeliveryState])[] = [
  ["agent_error", "pending"],
  ["agent_auth_required", "pending"],
  ["agent_crashed", "pending"],
  ["agent_timeout", "delivered"],
  ["agent_cancelled", "delivered"],
  ["shutting_down", "delivered"],
];
for (const [code, state] of REFUSALS) {
  Deno.test(`outcome: ${code} before anything was heard is ${state}`, () => {
    assertEquals(outcomes(fail(code)), [[state, ""]]);
  });
}

Deno.test("outcome: an agent that was silent for too long may be dying, no other", () => {
  for (const [name, last] of ENDINGS) {
    let mayDie: boolean | undefined;
    const watcher = watchTurn(undefined, {
      begun() {},
      ended: (_state, _reply, isSilent) => mayDie = isSilent,
    });
    watcher.onEvent(last, TURN);
    assertEquals(mayDie, name === "silence", name);
  }
});

Deno.test("outcome: a refusal after any sign of the agent is told", () => {
  for (const code of ["agent_error", "agent_auth_required"] as const) {
    for (const sign of [say("Well"), say(""), { type: "thought", text: "hm" } as const]) {
      const [[state] = []] = outcomes(sign, fail(code));
      assertEquals(state, "delivered", `${code} after a ${sign.type}`);
    }
  }
});

/** Answers for which a skin keeps neither the question nor the answer. */
const SILENT = ["", "[silent]", " [silent]\n", "()", "(says nothing)", "[neutral] (...)", "[happy]"];
Deno.test("outcome: an answer that says nothing is none", () => {
  for (const reply of SILENT) assertEquals(outcomes(say(reply), end()), [["delivered", reply]], reply);
  assertEquals(outcomes(end()), [["delivered", ""]]);
});

Deno.test("outcome: an answer in which something is said is one", () => {
  for (const reply of ["ok", "[silent] No.", "(smiles) Hi", "Hi (smiles)", "(a) (b)", "1", "🙂"]) {
    assertEquals(outcomes(say(reply), end()), [["answered", reply]], reply);
  }
});

Deno.test("outcome: nothing is told before the end", () => {
  assertEquals(outcomes(say("Hello"), { type: "thought", text: "hm" }), []);
});

Deno.test("outcome: of a long answer the beginning is kept", () => {
  const pieces = Array.from({ length: 1_000 }, () => say("0123456789"));
  const [[state, reply] = []] = outcomes(...pieces, end());
  assertEquals([state, reply?.length], ["answered", REPLY_CHARS]);
});

Deno.test("outcome: another observer is told everything, after the outcome", () => {
  const order: string[] = [];
  const watcher = watchTurn({
    onStart: (turn) => order.push(`begun ${turn === TURN}`),
    onEvent: (event, turn) => order.push(`${event.type} ${turn === TURN}`),
  }, {
    begun: () => order.push("told of the begin"),
    ended: (state) => order.push(`told of the end: ${state}`),
  });
  watcher.onStart(TURN);
  for (const event of [say("Hi"), end()]) watcher.onEvent(event, TURN);
  assertEquals(order, [
    "told of the begin",
    "begun true",
    "text true",
    "told of the end: answered",
    "end true",
  ]);
});
