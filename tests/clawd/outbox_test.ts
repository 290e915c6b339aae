import { assertEquals } from "@std/assert";
import { Outbox } from "../../lib/clawd/outbox.ts";
import { posted } from "../../lib/clawd/pet_state.ts";
import { ask } from "../support/harness/clawd_fixture.ts";

function left(queue: Outbox): string[] {
  const steps: string[] = [];
  for (let step = queue.shift(); step !== undefined; step = queue.shift()) {
    steps.push(
      step.type === "ask" ? `ask ${step.ask.request_id}` : `${step.body.state} ${step.body.session_id}`,
    );
  }
  return steps;
}

Deno.test("queue: one after the other", () => {
  const queue = new Outbox();
  queue.push(posted("a", "thinking"));
  queue.push(posted("b", "thinking"));
  queue.push(posted("a", "working"));
  assertEquals(left(queue), ["thinking a", "thinking b", "working a"]);
});

Deno.test("queue: what is taken away before it was shown is not shown", () => {
  const queue = new Outbox();
  queue.push({ type: "ask", ask: ask(), sessionId: "a" });
  queue.push({ type: "ask", ask: ask({ request_id: "ask-2" }), sessionId: "a" });
  queue.push({ type: "release", requestId: "ask-1" });
  assertEquals(left(queue), ["ask ask-2"]);
});

Deno.test("queue: tools that a turn's end closes are no failures", () => {
  const queue = new Outbox();
  for (const session of ["a", "b"]) queue.push(posted(session, "error", "PostToolUseFailure"));
  queue.push(posted("a", "idle"));
  assertEquals(left(queue), ["error b", "idle a"]);
});

Deno.test("queue: it is bounded, and keeps the newest state of each session", () => {
  const queue = new Outbox();
  queue.push(posted("quiet", "working"));
  queue.push({ type: "ask", ask: ask(), sessionId: "a" });
  for (let n = 0; n < 1_000; n++) queue.push(posted("busy", n % 2 === 0 ? "working" : "thinking"));
  assertEquals(queue.size, 100);
  const steps = left(queue);
  assertEquals([...steps.slice(0, 2), steps.at(-1)], ["working quiet", "ask ask-1", "thinking busy"]);
});
