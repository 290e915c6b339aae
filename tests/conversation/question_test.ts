import { assertEquals } from "@std/assert";
import type { QuestionField, TurnEvent } from "../../lib/turn/event.ts";
import { QuestionBroker } from "../../lib/turn/question.ts";
import type { MemoryPrompt } from "../support/agents/memory_agent.ts";
import { ConversationHarness, type HarnessOptions } from "../support/harness/conversation_harness.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";
import { nextTask, summarize, TurnRecorder } from "../support/harness/turn_recorder.ts";

const NEVER_MS = 3_600_000;
const TEXT: QuestionField = { name: "x", title: "X", type: "text", required: true };
const CHOICE: QuestionField = {
  ...TEXT,
  type: "choice",
  options: [{ value: "main", title: "The main branch" }, { value: "next", title: "Next" }],
};
const NUMBER: QuestionField = { ...TEXT, type: "number" };
const FIRST = [system("Mao"), user("Deploy it.")];

/** A turn whose agent has said something and then asked a question. */
class Asking extends ConversationHarness {
  /** Whether a watcher shows questions. */
  isWatched = false;
  readonly broker = new QuestionBroker(NEVER_MS, () => this.isWatched);
  readonly recorder = new TurnRecorder();
  readonly #withdrawal = new AbortController();
  /** The end of the question. */
  answered: Promise<unknown> = Promise.resolve();
  asking!: MemoryPrompt;
  /** Closes the response of the first request. */
  leave: () => void = () => {};

  static async create(
    name: string | undefined,
    fields: readonly QuestionField[] = [TEXT],
    options: HarnessOptions = {},
    isWatched = false,
  ): Promise<Asking> {
    const harness = new Asking({ mode: "auto", ...options });
    harness.isWatched = isWatched;
    harness.leave = (await harness.start(name, FIRST)).read(harness.recorder.reader);
    const prompt = harness.asking = await harness.agent.nextPrompt();
    prompt.say("I will deploy it.");
    const { signal } = harness.#withdrawal;
    const reader = (event: TurnEvent) => prompt.emit(event);
    const question = { message: "Which branch?", fields, isPrivate: false };
    harness.answered = harness.broker.ask(question, reader, signal);
    return harness;
  }

  override [Symbol.dispose](): void {
    this.#withdrawal.abort("turn");
    super[Symbol.dispose]();
  }

  /** Reads the turn of the next request. */
  async next(name: string | undefined, ...words: string[]): Promise<TurnRecorder> {
    const messages = words.map((text, index) => index % 2 === 0 ? assistant(text) : user(text));
    const recorder = new TurnRecorder();
    (await this.start(name, [...FIRST, ...messages])).read(recorder.reader);
    return recorder;
  }
}

const ASKED = "I will deploy it.\n\nWhich branch?";

for (const name of [undefined, "mao"]) {
  Deno.test(`question: it ends the reply, and the next message answers it and reads on, ${name ?? "matched"}`, async () => {
    const store = new MemoryStore();
    using harness = await Asking.create(name, [TEXT], { store });
    assertEquals(harness.recorder.summaries, [
      "text I will deploy it.",
      "question Which branch?",
      "text \n\nWhich branch?",
      "end end_turn",
    ]);
    const recorder = await harness.next(name, ASKED, "main");
    assertEquals((await harness.answered as { content: unknown }).content, { x: "main" });
    const prompt = harness.asking;
    assertEquals([prompt.cancelCount, harness.agent.prompts.length, harness.running], [0, 1, 1]);
    prompt.say("Deployed, and everything works.");
    prompt.end();
    await nextTask();
    assertEquals(recorder.summaries, ["text Deployed, and everything works.", "end end_turn"]);
    const history = [...FIRST, assistant(ASKED), user("main"), assistant("Deployed, and everything works.")];
    assertEquals((await harness.run(name, [...history, user("Thanks!")])).text, "Thanks!");
    assertEquals(harness.turnCounts, [3]);
  });
}

Deno.test("question: a choice lists its options; words that are none of them supersede the turn", async () => {
  for (const [words, isAnswer] of [["next", true], ["The weather?", false]] as const) {
    using harness = await Asking.create("mao", [CHOICE]);
    assertEquals(harness.recorder.text, `${ASKED}\n- The main branch\n- Next`);
    const next = harness.next("mao", ASKED, words);
    await nextTask();
    assertEquals(harness.asking.cancelCount, isAnswer ? 0 : 1);
    harness.asking.end();
    const recorder = await next;
    if (!isAnswer) (await harness.agent.nextPrompt()).end();
    assertEquals(await recorder.lastSummary(), "end end_turn");
  }
});

Deno.test("question: its turn goes on if the client leaves, and an interrupt cancels it", async () => {
  using harness = await Asking.create("mao");
  harness.leave();
  assertEquals(harness.asking.cancelCount, 0);
  const recorder = await harness.next("mao", ASKED, "main");
  assertEquals([harness.registry.interrupt("mao"), harness.asking.cancelCount], [1, 1]);
  harness.asking.say("too late");
  harness.asking.end();
  await nextTask();
  assertEquals([recorder.summaries, harness.running], [["end cancelled"], 0]);
});

Deno.test("question: a client that leaves the answer's reply cancels the turn", async () => {
  using harness = await Asking.create("mao");
  const turn = await harness.start("mao", [...FIRST, assistant(ASKED), user("main")]);
  turn.read(() => {})();
  assertEquals([turn.isAbandoned, harness.asking.cancelCount], [true, 1]);
  harness.asking.end("cancelled");
  await nextTask();
  assertEquals(harness.running, 0);
});

Deno.test("question: while a watcher shows it, the reply stays open, and goes on if the watcher answers", async () => {
  using harness = await Asking.create("mao", [TEXT], {}, true);
  const [, question] = harness.recorder.events;
  if (question?.type !== "question") throw new Error("no question");
  harness.broker.answer(question.request.id, { action: "accept", content: { x: "main" } }, "stage");
  harness.asking.say(" Done.");
  harness.asking.end();
  assertEquals(harness.recorder.text, `${ASKED} Done.`);
});

for (const name of [undefined, "mao"]) {
  Deno.test(`question: while a watcher shows it, the next message answers it too, ${name ?? "matched"}`, async () => {
    for (const leavesBefore of [false, true]) {
      using harness = await Asking.create(name, [TEXT], {}, true);
      if (leavesBefore) harness.leave();
      const second = await harness.next(name, ASKED, "main");
      harness.leave();
      harness.asking.say("Done.");
      harness.asking.end();
      await nextTask();
      assertEquals(second.summaries, ["text Done.", "end end_turn"]);
      assertEquals([harness.recorder.text, harness.asking.cancelCount], [ASKED, 0]);
      assertEquals(
        harness.recorder.summaries.at(-1),
        leavesBefore ? "text \n\nWhich branch?" : "end end_turn",
      );
      assertEquals([harness.turnCounts, harness.running], [[2], 0]);
    }
  });
}

Deno.test("question: an agent may ask again, and each reply has its own words", async () => {
  const events: string[] = [];
  using harness = await Asking.create("mao", [TEXT], {
    observer: { wantsSpeech: false, onStart() {}, onEvent: (event) => void events.push(summarize(event)) },
  });
  const second = await harness.next("mao", ASKED, "main");
  const again = { message: "Sure?", fields: [{ ...TEXT, type: "boolean" } as const], isPrivate: false };
  harness.broker.ask(again, (event) => harness.asking.emit(event), new AbortController().signal);
  assertEquals([second.text, second.summaries.at(-1)], ["\n\nSure?", "end end_turn"]);
  const third = await harness.next("mao", ASKED, "main", "Sure?", "Yes.");
  harness.asking.say("Done.");
  harness.asking.end();
  assertEquals(third.summaries, ["text Done.", "end end_turn"]);
  assertEquals(events.filter((event) => event.startsWith("end")), ["end end_turn"]);
});

Deno.test("question: one that words cannot answer, or of a request without a conversation, does not end the reply", async () => {
  for (const [fields, mode] of [[[NUMBER], "auto"], [[TEXT], "stateless"]] as const) {
    using harness = await Asking.create(undefined, fields, { mode }, true);
    assertEquals(harness.recorder.summaries, ["text I will deploy it.", "question Which branch?"]);
    harness.asking.say(" Done.");
    harness.asking.end();
    assertEquals(harness.recorder.text, "I will deploy it. Done.");
  }
});

Deno.test("question: one that nobody sees or hears is cancelled at once", async () => {
  const isCancelled = async (answered: Promise<unknown>) => (await answered as { outcome: string }).outcome;
  using stateless = await Asking.create(undefined, [TEXT], { mode: "stateless" });
  assertEquals(await isCancelled(stateless.answered), "cancelled");
  using harness = await Asking.create("mao");
  const reader = (event: TurnEvent) => harness.asking.emit(event);
  const second = { message: "Which host?", fields: [TEXT], isPrivate: false };
  const never = new AbortController().signal;
  assertEquals(await isCancelled(harness.broker.ask(second, reader, never)), "cancelled");
  const recorder = await harness.next("mao", ASKED, "main");
  assertEquals(await isCancelled(harness.answered), "answered");
  harness.asking.say("Done.");
  harness.asking.end();
  await nextTask();
  assertEquals([harness.recorder.text, recorder.text], [ASKED, "Done."]);
});

Deno.test("question: words answer only the question that was spoken", async () => {
  using harness = await Asking.create("mao", [TEXT], {}, true);
  const reader = (event: TurnEvent) => harness.asking.emit(event);
  const second = { message: "Which host?", fields: [TEXT], isPrivate: false };
  const withdrawal = new AbortController();
  harness.broker.ask(second, reader, withdrawal.signal);
  await harness.next("mao", ASKED, "main");
  const next = harness.next("mao", ASKED, "main", "", "Never mind.");
  await nextTask();
  assertEquals(harness.asking.cancelCount, 1);
  withdrawal.abort("turn");
  harness.asking.end();
  (await harness.agent.nextPrompt()).end();
  await next;
});

Deno.test("question: after the reply has ended with one, a second one is not heard, and so cancelled", async () => {
  using harness = await Asking.create("mao");
  const first = harness.recorder.events.find((event) => event.type === "question")!;
  harness.broker.answer(first.request.id, { action: "decline" }, "me");
  const reader = (event: TurnEvent) => harness.asking.emit(event);
  const second = { message: "Which host?", fields: [TEXT], isPrivate: false };
  const resolution = await harness.broker.ask(second, reader, new AbortController().signal);
  assertEquals([harness.recorder.text, resolution?.by], [ASKED, "turn"]);
  harness.asking.end();
});

Deno.test("question: a repeated message is no answer to the question that it led to", async () => {
  using harness = await Asking.create("mao");
  const next = harness.next("mao");
  await nextTask();
  assertEquals(harness.asking.cancelCount, 1);
  harness.asking.end();
  (await harness.agent.nextPrompt()).end();
  await next;
});
