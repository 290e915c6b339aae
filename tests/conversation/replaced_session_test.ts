import { assert, assertEquals } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import { AppError, type ErrorReason } from "../../lib/core/errors.ts";
import { NO_LOG } from "../../lib/core/log.ts";
import type { Turn } from "../../lib/turn/turn.ts";
import type { MemoryPrompt } from "../support/agents/memory_agent.ts";
import { ConversationHarness, crash, type HarnessOptions } from "../support/harness/conversation_harness.ts";
import { assistant, image, system, user } from "../support/harness/message_fixture.ts";
import { appErrorOf, nextTask, TurnRecorder } from "../support/harness/turn_recorder.ts";

const FIRST = [system("Mao"), user("one")];
const SECOND = [...FIRST, assistant("Answer one, which is a long one."), user("two")];
const THIRD = [...SECOND, assistant("Answer two, which is a long one."), user("three")];
/** The second turn got no reply. */
const THIRD_UNANSWERED = [...SECOND, user("three")];
const ALL_OF_SECOND = "<system>\nMao\n</system>\n\n<user>\none\n</user>\n\n" +
  "<assistant>\nAnswer one, which is a long one.\n</assistant>\n\ntwo";

/** Ends of a prompt without output, for which its session is to blame. */
const FAULTS: Readonly<Record<string, (prompt: MemoryPrompt) => void>> = {
  refusal: (prompt) => prompt.end("refusal"),
  "an error": (prompt) => prompt.fail(new AppError("agent_error", "-32002", { prompted: true })),
  "the agent's exit": (prompt) => crash(prompt.session),
};
const refuse = FAULTS.refusal!;

/** A harness whose agent can resume, and that counts the conversations whose memory is lost, and the warnings. */
class Fixture extends ConversationHarness {
  readonly lost: string[];
  readonly warnings: string[];

  constructor(options: HarnessOptions = {}) {
    const lost: string[] = [];
    const warnings: string[] = [];
    super({
      mode: "auto",
      onMemoryLost: (conversation) => void lost.push(conversation),
      log: { ...NO_LOG, warn: (message, fields) => void warnings.push(`${message} ${fields?.reason ?? ""}`) },
      ...options,
    });
    this.lost = lost;
    this.warnings = warnings;
    this.agent.resumes = true;
  }

  /** Runs the first turn, and ends its session. */
  async beginAndClose(name: string | undefined): Promise<void> {
    await this.run(name, FIRST, "Answer one, which is a long one.");
    this.session(0).close();
  }

  /** Starts a turn, and ends its prompts like this, one after the other. */
  async turn(
    name: string | undefined,
    messages: readonly Message[],
    ...ends: ((prompt: MemoryPrompt) => void)[]
  ): Promise<{ turn: Turn; recorder: TurnRecorder; texts: string[] }> {
    const turn = await this.start(name, messages);
    const recorder = new TurnRecorder();
    turn.read(recorder.reader);
    const texts: string[] = [];
    for (const end of ends) {
      const prompt = await this.agent.nextPrompt();
      texts.push(prompt.text);
      end(prompt);
    }
    await recorder.lastSummary();
    await nextTask();
    return { turn, recorder, texts };
  }
}

const answer = (text: string) => (prompt: MemoryPrompt) => {
  prompt.say(text);
  prompt.end();
};

for (const [what, end] of Object.entries(FAULTS)) {
  for (const name of [undefined, "mao"]) {
    Deno.test(`replaced: ${what} right after a resume, ${name ?? "matched"}: the prompt runs again in a new session`, async () => {
      using harness = new Fixture();
      await harness.beginAndClose(name);
      const { turn, recorder, texts } = await harness.turn(
        name,
        SECOND,
        end,
        answer("Answer two, which is a long one."),
      );
      assertEquals(texts, ["two", ALL_OF_SECOND]);
      assertEquals(recorder.summaries, ["text Answer two, which is a long one.", "end end_turn"]);
      assertEquals([turn.sessionId, harness.closed], [harness.session(2).id, [true, true, false]]);
      assertEquals((await harness.run(name, THIRD)).text, "three");
      assertEquals([harness.turnCounts, harness.lost, harness.running], [[3], [], 0]);
      assert(harness.warnings[0]!.startsWith("a session cannot serve"), harness.warnings[0]);
    });
  }
}

Deno.test("replaced: after two faults in a row the second prompt runs again; a turn with text between makes them none", async () => {
  for (const isBroken of [true, false]) {
    using harness = new Fixture();
    await harness.run("mao", FIRST, "Answer one, which is a long one.");
    await harness.turn("mao", SECOND, refuse);
    if (!isBroken) await harness.run("mao", THIRD, "Answer three.");
    const next = [...THIRD, assistant("Answer three."), user("four")];
    const { recorder } = await harness.turn("mao", next, refuse, ...isBroken ? [answer("Four.")] : []);
    assertEquals(recorder.summaries, isBroken ? ["text Four.", "end end_turn"] : ["end refusal"]);
    assertEquals(harness.agent.sessions.length, isBroken ? 2 : 1);
  }
});

Deno.test("replaced: a prompt runs again once only, and not if text or a tool call came of it", async () => {
  using harness = new Fixture();
  await harness.beginAndClose("mao");
  const { recorder } = await harness.turn("mao", SECOND, refuse, refuse);
  assertEquals(recorder.summaries, ["end refusal"]);

  using other = new Fixture();
  await other.beginAndClose("mao");
  const withTool = await other.turn("mao", SECOND, (prompt) => {
    prompt.tool({ title: "ls", status: "completed" });
    refuse(prompt);
  });
  assertEquals(withTool.recorder.summaries, ["tool ls read completed", "end refusal"]);
  // The new session starts with the next request.
  const { text, session } = await other.run("mao", THIRD);
  assertEquals([text.endsWith("three"), text.startsWith("<system>"), session], [
    true,
    true,
    other.session(2),
  ]);

  using third = new Fixture();
  await third.beginAndClose("mao");
  await third.turn("mao", SECOND, (prompt) => {
    prompt.say("I cannot");
    refuse(prompt);
  });
  assertEquals((await third.run("mao", THIRD)).text, "three");
});

Deno.test("replaced: log-in, quota, model and provider errors and cancels keep the session", async () => {
  const reasons: (ErrorReason | undefined)[] = ["login", "quota", "model", "provider"];
  const ends = reasons.map((reason) => (prompt: MemoryPrompt) =>
    prompt.fail(new AppError("agent_error", "No.", { prompted: true, reason }))
  );
  const login = (prompt: MemoryPrompt) => prompt.fail(new AppError("agent_auth_required", "Log in."));
  for (const end of [...ends, login]) {
    using harness = new Fixture();
    await harness.beginAndClose("mao");
    for (let times = 0; times < 3; times++) await harness.turn("mao", SECOND, end);
    assertEquals([harness.agent.sessions.length, harness.warnings], [2, []]);
    assertEquals((await harness.run("mao", SECOND)).text, "two");
  }
  using harness = new Fixture();
  await harness.beginAndClose("mao");
  const turn = await harness.start("mao", SECOND);
  turn.cancel();
  refuse(await harness.agent.nextPrompt());
  await turn.ended;
  await nextTask();
  assertEquals((await harness.run("mao", THIRD_UNANSWERED)).text, "three");
  assertEquals(harness.agent.sessions.length, 2);
});

Deno.test("replaced: an agent that stays silent loses its session with the next request, but not if a tool was at work", async () => {
  for (const isWorking of [false, true]) {
    using harness = new Fixture({ limits: { replyTimeoutMs: 300, turnTimeoutMs: 0 } });
    await harness.beginAndClose("mao");
    const { recorder } = await harness.turn("mao", SECOND, (prompt) => {
      if (isWorking) prompt.tool();
    });
    assertEquals(recorder.summaries.at(-1), "failure agent_timeout");
    harness.agent.prompts.at(-1)!.end("cancelled");
    await nextTask();
    const { text } = await harness.run("mao", THIRD_UNANSWERED);
    assertEquals([text === "three", harness.agent.sessions.length], [isWorking, isWorking ? 2 : 3]);
  }
});

Deno.test("replaced: images of earlier messages become notes in the new session", async () => {
  using harness = new Fixture();
  const withImage = [user("Look!", image()), assistant("A cat, as far as I can see."), user("And?", image())];
  await harness.run("mao", withImage.slice(0, 1), "A cat, as far as I can see.");
  harness.session(0).close();
  await harness.turn("mao", withImage, refuse, answer("Yes."));
  const { blocks } = harness.agent.prompts.at(-1)!;
  assertEquals(blocks.map((block) => block.type === "text" ? block.text : block.type), [
    "<user>\nLook!\n[an image was left out]\n</user>\n\n" +
    "<assistant>\nA cat, as far as I can see.\n</assistant>\n\nAnd?",
    "image",
  ]);
});

Deno.test("replaced: an agent whose every prompt after an image fails goes on without the image", async () => {
  using harness = new Fixture();
  const poisoned = new Set<unknown>();
  harness.agent.script = (prompt) => {
    if (poisoned.has(prompt.session)) {
      return prompt.fail(new AppError("agent_error", "400", { prompted: true }));
    }
    if (prompt.blocks.some(({ type }) => type === "image")) poisoned.add(prompt.session);
    prompt.say(`Answer ${harness.agent.prompts.length}, which is a long one.`);
    prompt.end();
  };
  const history: Message[] = [];
  const ends: string[] = [];
  for (const message of [user("Look!", image()), user("two"), user("three"), user("four")]) {
    history.push(message);
    const recorder = new TurnRecorder();
    (await harness.start(undefined, history)).read(recorder.reader);
    ends.push(await recorder.lastSummary());
    if (recorder.text !== "") history.push(assistant(recorder.text));
  }
  assertEquals(ends, ["end end_turn", "failure agent_error", "end end_turn", "end end_turn"]);
  assertEquals([harness.turnCounts, harness.closed.filter((isClosed) => !isClosed).length], [[4], 1]);
});

Deno.test("replaced: a request without history starts with an empty session, which is told", async () => {
  using harness = new Fixture();
  await harness.beginAndClose("mao");
  const { texts } = await harness.turn("mao", [user("two")], refuse, answer("Two."));
  assertEquals([texts, harness.lost], [["two", "two"], ["mao"]]);
  assertEquals(harness.warnings.map((warning) => warning.split(":")[0]!.split(",")[0]), [
    "a session cannot serve",
    "the agent has lost its memory of a conversation",
  ]);
  assertEquals((await harness.run("mao", [user("three")])).text, "three");
  assertEquals(harness.lost.length, 1);
});

Deno.test("memory: a session that cannot be resumed is told too, but not if the request has the history", async () => {
  for (const [messages, lost] of [[[user("two")], ["mao"]], [SECOND, []]] as const) {
    using harness = new Fixture();
    harness.agent.resumes = false;
    await harness.beginAndClose("mao");
    await harness.run("mao", messages);
    assertEquals(harness.lost, lost);
  }
});

Deno.test("replaced: if no new session can be opened, the turn ends as the first prompt did", async () => {
  using harness = new Fixture();
  await harness.beginAndClose("mao");
  const { recorder } = await harness.turn("mao", SECOND, (prompt) => {
    harness.agent.openError = new AppError("agent_unavailable", "Not now.");
    refuse(prompt);
  });
  assertEquals([recorder.summaries, harness.running], [["end refusal"], 0]);
  harness.agent.openError = undefined;
  assert((await harness.run("mao", THIRD)).text.endsWith("three"));
});

Deno.test("replaced: a cancel while the new session is being opened ends the turn, and nothing is sent to it", async () => {
  using harness = new Fixture();
  await harness.beginAndClose("mao");
  const turn = await harness.start("mao", SECOND);
  const recorder = new TurnRecorder();
  turn.read(recorder.reader);
  const prompt = await harness.agent.nextPrompt();
  harness.blockOpening();
  refuse(prompt);
  await nextTask();
  turn.cancel();
  assertEquals(await recorder.lastSummary(), "end cancelled");
  await nextTask();
  assertEquals([harness.running, harness.agent.prompts.length], [0, 2]);
});

Deno.test("deaths: a message on which the agent died twice is left out, in an open session and in a new one", async () => {
  for (const resumes of [true, false]) {
    using harness = new Fixture();
    harness.agent.resumes = resumes;
    await harness.run("mao", [user("one")], "One.");
    await harness.runUntilCrash("mao", [user("boom")]);
    await harness.runUntilCrash("mao", [user("two")]);
    const { text } = await harness.run("mao", [user("three")], "Three.");
    assertEquals(text, "[a message was left out]\n\ntwo\n\nthree");
    assertEquals((await harness.run("mao", [user("four")])).text, "four");
    const booms = harness.agent.prompts.filter(({ text }) => text.includes("boom"));
    assertEquals([booms.length, harness.agent.sessions.length], [2, 3]);
  }
});

Deno.test("deaths: an agent that dies before the prompt counts as taken has died on it too", async () => {
  using harness = new Fixture();
  await harness.run("mao", [user("one")], "One.");
  for (let times = 0; times < 2; times++) {
    const starting = harness.start("mao", [user("boom")]);
    harness.agent.promptError = new AppError("agent_crashed", "Gone.", { prompted: true });
    harness.agent.sessions.at(-1)!.close();
    assertEquals((await appErrorOf(starting)).code, "agent_crashed");
  }
  harness.agent.promptError = undefined;
  assertEquals((await harness.run("mao", [user("two")])).text, "[a message was left out]\n\ntwo");
});

Deno.test("deaths: a history has the note too, and a message that is sent for the third time", async () => {
  using harness = new Fixture();
  harness.agent.resumes = false;
  const fatal = [...FIRST, assistant("Answer one, which is a long one."), user("boom")];
  await harness.run(undefined, FIRST, "Answer one, which is a long one.");
  for (let times = 0; times < 2; times++) await harness.runUntilCrash(undefined, fatal);
  const { text } = await harness.run(undefined, [...fatal, user("three")], "Three.");
  assertEquals(text, ALL_OF_SECOND.replace(/two$/, "[a message was left out]\n\nthree"));

  using named = new Fixture();
  await named.run("mao", [user("one")], "One.");
  for (let times = 0; times < 2; times++) await named.runUntilCrash("mao", [user("boom")]);
  assertEquals((await named.run("mao", [user("boom")], "Well.")).text, "[a message was left out]");
});

Deno.test("lost: an agent that ignored a cancel loses the session; the interrupted message is never sent again", async () => {
  using harness = new Fixture();
  await harness.run("mao", [user("one")], "One.");
  const running = await harness.prompt("mao", user("two"));
  running.say("Well");
  const next = harness.start("mao", [user("three")]);
  // What the agent port does after the grace: the prompt ends as cancelled, and the session cannot be resumed.
  harness.agent.deleteSession(running.session.id);
  running.session.close();
  running.end("cancelled");
  await next;
  const prompt = await harness.agent.nextPrompt();
  assertEquals([prompt.text, prompt.session, harness.lost], ["three", harness.session(1), ["mao"]]);
  prompt.end();
  await nextTask();
  assertEquals((await harness.run("mao", [user("four")])).text, "four");
});
