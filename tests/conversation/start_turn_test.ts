import { assertEquals } from "@std/assert";
import type { DeliveryState } from "../../lib/conversation/record.ts";
import { deliveryState } from "../../lib/conversation/start_turn.ts";
import { AppError, type ErrorCode } from "../../lib/core/errors.ts";
import type { Session } from "../../lib/turn/agent.ts";
import { MemoryAgent, type MemorySession } from "../support/agents/memory_agent.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { assistant, user } from "../support/harness/message_fixture.ts";
import { appErrorOf, nextTask, TurnRecorder } from "../support/harness/turn_recorder.ts";

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
  await nextTask();
  assertEquals(store.calls.slice(1), ["save mao", "end"]);
});

Deno.test("startTurn: a slow disk delays the end of the reply, and nothing before it", async () => {
  const store = new MemoryStore();
  const { promise, resolve } = Promise.withResolvers<void>();
  store.save = () => promise;
  using harness = new ConversationHarness({ store });
  const recorder = new TurnRecorder();
  (await harness.start("mao", [user("one")])).read(recorder.reader);
  const prompt = await harness.agent.nextPrompt();
  prompt.say("Yes.");
  prompt.end();
  const next = await harness.prompt("mao", user("two"));
  assertEquals([recorder.summaries, next.text], [["text Yes."], "two"]);
  resolve();
  assertEquals(await recorder.lastSummary(), "end end_turn");
});

/** An agent whose sessions fail their next prompts with an error, and have ended or not. */
class LateAgent extends MemoryAgent {
  failing = 0;
  error = new AppError("agent_unavailable", "The agent has just ended.");
  hasEnded = true;

  override async newSession(signal?: AbortSignal): Promise<MemorySession> {
    const session = await super.newSession(signal);
    const prompt: Session["prompt"] = session.prompt.bind(session);
    session.prompt = (blocks, reader) => {
      if (this.failing === 0) return prompt(blocks, reader);
      this.failing--;
      if (this.hasEnded) session.close();
      return Promise.reject(this.error);
    };
    return session;
  }
}

const FIRST = [user("one")];
const SECOND = [...FIRST, assistant("1"), user("two")];

Deno.test("startTurn: the prompt of a session that had ended unnoticed is sent again, all of it to a new session", async () => {
  const agent = new LateAgent();
  using harness = new ConversationHarness({ agent });
  await harness.run("mao", FIRST);
  agent.failing = 1;
  const { text, session } = await harness.run("mao", SECOND);
  assertEquals(text, "<user>\none\n</user>\n\n<assistant>\n1\n</assistant>\n\ntwo");
  assertEquals([session, agent.sessions.length, harness.running], [harness.session(1), 2, 0]);
});

const FINAL: readonly (readonly [name: string, failing: number, change: (agent: LateAgent) => void])[] = [
  ["that failed twice", 2, () => {}],
  ["of a session that still serves", 1, (agent) => agent.hasEnded = false],
  ["that may have been started", 1, (agent) => agent.error = agent.error.afterPrompt()],
  ["that failed otherwise", 1, (agent) => agent.error = new AppError("agent_error", "No.")],
];
for (const [name, failing, change] of FINAL) {
  Deno.test(`startTurn: a prompt ${name} is not sent again`, async () => {
    const agent = new LateAgent();
    using harness = new ConversationHarness({ agent });
    await harness.run("mao", FIRST);
    agent.failing = failing;
    change(agent);
    const { message, conversation } = await appErrorOf(harness.start("mao", SECOND));
    assertEquals([message, conversation], [agent.error.message, "mao"]);
    assertEquals([agent.failing, agent.prompts.length, harness.running], [0, 1, 0]);
  });
}
