import { assertEquals } from "@std/assert";
import { Outbox } from "../../lib/clawd/outbox.ts";
import { post, type Step } from "../../lib/clawd/pet_state.ts";
import { ask } from "../support/harness/clawd_fixture.ts";

const asking = (request_id: string): Step => ({ type: "ask", request: ask({ request_id }), sessionId: "a" });

/** Pushes the steps, and summarizes those that remain. */
function remaining(...steps: Step[]): string[] {
  const outbox = new Outbox();
  for (const step of steps) outbox.push(step);
  return Array.from({ length: outbox.size }, () => {
    const step = outbox.shift()!;
    return step.type === "ask"
      ? `ask ${step.request.request_id}`
      : `${step.body.state} ${step.body.session_id}`;
  });
}

Deno.test("Outbox: keeps the order", () => {
  const steps = [post("a", "thinking"), post("b", "thinking"), post("a", "working")];
  assertEquals(remaining(...steps), ["thinking a", "thinking b", "working a"]);
});

Deno.test("Outbox: a release removes its request", () => {
  assertEquals(remaining(asking("1"), asking("2"), { type: "release", requestId: "1" }), ["ask 2"]);
});

Deno.test("Outbox: the end of a turn removes the failures of its tools", () => {
  const failures = ["a", "b"].map((session) => post(session, "error", "PostToolUseFailure"));
  assertEquals(remaining(...failures, post("a", "idle")), ["error b", "idle a"]);
});

Deno.test("Outbox: holds 100 steps, and keeps the newest state of each session", () => {
  const busy = Array.from({ length: 1_000 }, (_, n) => post("busy", n % 2 === 0 ? "working" : "thinking"));
  const steps = remaining(post("quiet", "working"), asking("1"), ...busy);
  assertEquals([steps.length, ...steps.slice(0, 2)], [100, "working quiet", "ask 1"]);
  assertEquals(steps.at(-1), "thinking busy");
});
