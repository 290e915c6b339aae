import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import type { Turn, TurnMeter } from "../../lib/turn/turn.ts";
import { ConversationHarness, type HarnessOptions } from "../support/harness/conversation_harness.ts";
import { user } from "../support/harness/message_fixture.ts";
import { isLast, nextTask, summarize } from "../support/harness/turn_recorder.ts";

/** Lists what the meters of a harness are told: one list for each request. */
function metered(options: HarnessOptions = {}) {
  const meters: string[][] = [];
  const measure = (agent: string): TurnMeter => {
    const calls = [agent];
    meters.push(calls);
    return {
      onStart: () => void calls.push("start"),
      onEvent: (event, turn) =>
        void calls.push(isLast(event) ? `${summarize(event)} by ${turn.cancelledBy}` : summarize(event)),
      onRejected: (error) => void calls.push(error instanceof AppError ? error.code : `${error}`),
    };
  };
  return { harness: new ConversationHarness({ measure, ...options }), meters };
}

Deno.test("meter: gets the events of a turn, of a side job too, but for a reply that is known", async () => {
  const { harness, meters } = metered({ mode: "auto" });
  using _ = harness;
  await harness.run("mao", [user("one")], "Hi");
  await harness.run("mao", [user("### Task:\nWrite a title.\n<chat_history>\nUSER: one\n</chat_history>")]);
  await harness.registry.startTurn({ messages: [user("Look!")], cannedReply: "Oh", record: false });
  assertEquals(meters, [
    ["openab", "start", "text Hi", "end end_turn by undefined"],
    ["openab", "start", "end end_turn by undefined"],
    ["openab"],
  ]);
});

/** Ends a turn of the conversation `mao`. */
type Cancel = (harness: ConversationHarness, turn: Turn) => void;
const CANCELS: Readonly<Record<string, Cancel>> = {
  disconnect: (_, turn) => turn.read(() => {})(),
  api: ({ registry }) => void registry.interrupt("mao"),
  barge_in: (harness) => void harness.start("mao", [user("two")]).catch(() => {}),
  stop: (_, turn) => turn.endReply("stop"),
};
for (const [cause, cancel] of Object.entries(CANCELS)) {
  Deno.test(`meter: is told the cause of a cancel: ${cause}`, async () => {
    const { harness, meters } = metered();
    using _ = harness;
    const turn = await harness.start("mao", [user("one")]);
    const prompt = await harness.agent.nextPrompt();
    cancel(harness, turn);
    await nextTask();
    prompt.end("cancelled");
    await nextTask();
    assertEquals(meters[0], ["openab", "start", `end cancelled by ${cause}`]);
  });
}

Deno.test("meter: a turn that is superseded while its prompt is being sent is cancelled by the newer one", async () => {
  const { harness, meters } = metered();
  using _ = harness;
  const release = harness.blockPrompts();
  const first = harness.start("mao", [user("one")]);
  await nextTask();
  harness.start("mao", [user("two")]).catch(() => {});
  release();
  await first;
  const prompt = await harness.agent.nextPrompt();
  prompt.end("cancelled");
  await nextTask();
  assertEquals(meters[0], ["openab", "start", "end cancelled by barge_in"]);
});

Deno.test("meter: is told of each request whose turn does not start", async () => {
  const { harness, meters } = metered({ maxTurns: 1, onBusy: "reject" });
  using _ = harness;
  const running = await harness.prompt("mao", user("one"));
  const aborted = AbortSignal.abort("hung up");
  await Promise.allSettled([
    harness.start("mao", [user("two")]),
    harness.start("other", [user("three")]),
    harness.start("third", [user("four")], aborted),
  ]);
  running.end();
  await nextTask();
  harness.agent.promptError = new AppError("agent_unavailable", "It is gone.");
  await harness.start("mao", [user("five")]).catch(() => {});
  await harness.registry.drain();
  await harness.start("mao", [user("six")]).catch(() => {});
  assertEquals(meters.map((calls) => calls.slice(1)), [
    ["start", "end end_turn by undefined"],
    ["session_busy"],
    ["rate_limit_exceeded"],
    ["hung up"],
    ["agent_unavailable"],
    ["shutting_down"],
  ]);
});

Deno.test("registry: counts the requests that wait, and the open sessions", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const { registry } = harness;
  const counts = () => [registry.runningCount, registry.waitingCount, registry.sessionCount];
  assertEquals(counts(), [0, 0, 0]);
  const first = await harness.prompt("mao", user("one"));
  const second = harness.start("mao", [user("two")]);
  await nextTask();
  assertEquals(counts(), [1, 1, 1]);
  first.end();
  await second;
  assertEquals(counts(), [1, 0, 1]);
  (await harness.agent.nextPrompt()).end();
  await nextTask();
  assertEquals(counts(), [0, 0, 1]);
  registry.close();
  assertEquals(counts(), [0, 0, 0]);
});
