import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { user } from "../support/harness/message_fixture.ts";
import { nextTask, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";

interface Cause {
  readonly name: string;
  readonly cancel: (harness: ConversationHarness, hangUp: AbortController) => unknown;
  /** The error of a request that has not reached the agent. */
  readonly error: string;
  /** The end of a turn whose prompt was being sent. */
  readonly end: string;
  /** The prompt of the next request, if there can be one. */
  readonly next?: string;
}
const CAUSES: readonly Cause[] = [
  {
    name: "superseded",
    cancel: (harness) => harness.start("a", [user("newer")]).catch(() => {}),
    error: "A newer request of the same conversation superseded this one.",
    end: "end cancelled",
    next: "one\n\nnewer\n\ntwo",
  },
  {
    name: "interrupted",
    cancel: ({ registry }) => assertEquals(registry.interrupt("a"), 1),
    error: "The turn was interrupted.",
    end: "end cancelled",
    next: "two",
  },
  {
    name: "forgotten",
    cancel: ({ registry }) => assertEquals(registry.forget("", "a"), 1),
    error: "The conversation was forgotten.",
    end: "end cancelled",
    next: "two",
  },
  {
    name: "failed",
    cancel: ({ registry }) => registry.fail(new AppError("shutting_down", "Bye.")),
    error: "Bye.",
    end: "failure shutting_down",
  },
  {
    name: "left by its caller",
    cancel: (_harness, hangUp) => hangUp.abort(new Error("Hung up.")),
    error: "Hung up.",
    end: "end cancelled",
    next: "two",
  },
];

for (const { name, cancel, error, end, next } of CAUSES) {
  Deno.test(`a request that is ${name} while its session is being opened fails, and reaches no agent`, async () => {
    using harness = new ConversationHarness();
    const open = harness.blockOpening();
    const hangUp = new AbortController();
    const failing = harness.start("a", [user("one")], hangUp.signal).catch((error) => error);
    await nextTask();
    cancel(harness, hangUp);
    assertEquals((await failing).message, error);
    const later = next === undefined ? undefined : harness.start("a", [user("two")]);
    open();
    await later;
    await nextTask();
    assertEquals(harness.agent.prompts.map(({ text }) => text), next === undefined ? [] : [next]);
    assertEquals(harness.running, harness.agent.prompts.length);
  });

  Deno.test(`a turn that is ${name} while its prompt is being sent ends once the agent took it`, async () => {
    using harness = new ConversationHarness();
    const take = harness.blockPrompts();
    const hangUp = new AbortController();
    const starting = harness.start("a", [user("one")], hangUp.signal);
    await nextTask();
    cancel(harness, hangUp);
    take();
    const recorder = new TurnRecorder();
    const leave = (await waitFor(starting, "the turn")).read(recorder.reader);
    if (hangUp.signal.aborted) leave();
    const [prompt] = harness.agent.prompts;
    assertEquals(prompt!.cancelCount, 1);
    prompt!.end("cancelled");
    await nextTask();
    assertEquals(recorder.summaries, hangUp.signal.aborted ? [] : [end]);
  });
}
