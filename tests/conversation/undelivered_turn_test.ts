import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import type { Session } from "../../lib/turn/agent.ts";
import { AppError, type ErrorCode } from "../../lib/core/errors.ts";
import { MemoryAgent, type MemorySession } from "../support/agents/memory_agent.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { appErrorOf, nextTask, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";
import { ConversationHarness, crash } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

const FIRST = [system("You are Mao."), user("one")];
const SECOND = [...FIRST, assistant("Answer one, which is a long one."), user("two")];
const THIRD = [...SECOND, user("three")];
const told = (...last: string[]) =>
  [
    "<system>\nYou are Mao.\n</system>",
    "<user>\none\n</user>",
    "<assistant>\nAnswer one, which is a long one.\n</assistant>",
    ...last,
  ].join("\n\n");

/** Runs a whole turn with an answer that can be known again. */
async function answered(harness: ConversationHarness, name: string | undefined): Promise<void> {
  const prompt = await harness.prompt(name, ...FIRST);
  prompt.say("Answer one, which is a long one.");
  prompt.end();
  await nextTask();
}

/** The agent takes a prompt and refuses it, before it does anything. */
async function refused(
  harness: ConversationHarness,
  name: string | undefined,
  code: ErrorCode,
): Promise<void> {
  const turn = await harness.start(name, SECOND);
  const heard = new TurnRecorder();
  turn.read(heard.reader);
  (await harness.agent.nextPrompt()).fail(new AppError(code, "No.", { prompted: true }));
  await waitFor(turn.ended, "the end of the turn");
  await nextTask();
  assertEquals(heard.summaries, [`failure ${code}`]);
}

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "found by what is said" : "named";
  for (const code of ["agent_error", "agent_auth_required"] as const) {
    Deno.test(`refused: a fresh session with ${code}, ${which}: the next request tells persona and whole history`, async () => {
      for (const [next, text] of [[SECOND, told("two")], [THIRD, told("two", "three")]] as const) {
        using harness = new ConversationHarness({ mode: "auto" });
        await answered(harness, name);
        crash(harness.session(0));
        for (let times = 0; times < 2; times++) await refused(harness, name, code);
        const prompt = await harness.run(name, next);
        assertEquals([prompt.text, prompt.session === harness.session(1)], [text, true]);
        assertEquals((await harness.run(name, [...next, assistant("2"), user("four")])).text, "four");
        assertEquals(harness.registry.list("").length, 1);
      }
    });

    Deno.test(`refused: a session that heard the rest with ${code}, ${which}: the next request tells what was refused`, async () => {
      using harness = new ConversationHarness({ mode: "auto" });
      await answered(harness, name);
      await refused(harness, name, code);
      assertEquals((await harness.run(name, THIRD)).text, "two\n\nthree");
      assertEquals(harness.agent.sessions.length, 1);
    });
  }
}

Deno.test("refused: the very first prompt of a conversation: the next request tells persona and question", async () => {
  for (const name of [undefined, "mao"]) {
    using harness = new ConversationHarness({ mode: "auto" });
    const turn = await harness.start(name, FIRST);
    (await harness.agent.nextPrompt()).fail(
      new AppError("agent_auth_required", "Log in.", { prompted: true }),
    );
    await waitFor(turn.ended, "the end of the turn");
    await nextTask();
    const prompt = await harness.run(name, FIRST);
    assertEquals(prompt.text, "<system>\nYou are Mao.\n</system>\n\none");
    // What nobody named and no agent heard is not there to come back to.
    assertEquals(prompt.session === harness.session(0), name === "mao");
    assertEquals(harness.registry.list("").length, 1);
  }
});

Deno.test("refused: a fresh session after it said something heard all, and hears only what is new", async () => {
  using harness = new ConversationHarness({ mode: "auto" });
  await answered(harness, "mao");
  crash(harness.session(0));
  const turn = await harness.start("mao", SECOND);
  const prompt = await harness.agent.nextPrompt();
  prompt.think("hm");
  prompt.fail(new AppError("agent_error", "No.", { prompted: true }));
  await waitFor(turn.ended, "the end of the turn");
  assertEquals((await harness.run("mao", THIRD)).text, "three");
});

const GONE = new AppError("agent_unavailable", "The agent has just ended.");

/** An agent whose sessions take no prompt any more: they notice only then that they have ended. */
class LateAgent extends MemoryAgent {
  /** How many prompts find that out; what the others are refused with otherwise. */
  gone = 1;
  failure = GONE;
  notices = true;
  /** Those that were put, in vain or not. */
  puts = 0;

  override async newSession(signal?: AbortSignal): Promise<MemorySession> {
    return this.#late(await super.newSession(signal));
  }

  #late(session: MemorySession): MemorySession {
    const prompt: Session["prompt"] = session.prompt.bind(session);
    session.prompt = (blocks, reader) => {
      if (this.puts++ >= this.gone) return prompt(blocks, reader);
      if (this.notices) session.close();
      return Promise.reject(this.failure);
    };
    return session;
  }
}

/** A harness in which a talk is under way, and its agent has just ended without being noticed. */
async function lateHouse(
  name: string | undefined,
  gone: number,
): Promise<{ harness: ConversationHarness; agent: LateAgent }> {
  const agent = new LateAgent();
  agent.gone = 0;
  const harness = new ConversationHarness({ mode: "auto", agent, store: new MemoryStore() });
  await answered(harness, name);
  agent.puts = 0;
  agent.gone = gone;
  return { harness, agent };
}

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "found by what is said" : "named";
  Deno.test(`an agent that had just ended, ${which}: the prompt is put once more, and all of it to a fresh session`, async () => {
    const { harness, agent } = await lateHouse(name, 1);
    using _house = harness;
    const prompt = await harness.run(name, SECOND);
    assertEquals([prompt.text, prompt.session === harness.session(1)], [told("two"), true]);
    assertEquals([agent.puts, agent.sessions.length, harness.turnLimiter.running], [2, 2, 0]);
    assertEquals(harness.registry.list("").map(({ turns }) => turns), [2]);
  });
}

Deno.test("an agent that had just ended: a one-off is put once more as well", async () => {
  const agent = new LateAgent();
  using harness = new ConversationHarness({ agent });
  assertEquals((await harness.run(undefined, FIRST)).text, "<system>\nYou are Mao.\n</system>\n\none");
  assertEquals([agent.puts, harness.closed], [2, [true, true]]);
});

Deno.test("an agent that ends whenever it is prompted is tried once more and not again", async () => {
  const { harness, agent } = await lateHouse("mao", Infinity);
  using _house = harness;
  assertStrictEquals(await appErrorOf(harness.start("mao", SECOND)), GONE);
  assertEquals([agent.puts, agent.sessions.length, harness.turnLimiter.running], [2, 2, 0]);
  agent.gone = 0;
  assertEquals((await harness.run("mao", THIRD)).text, told("two", "three"));
});

Deno.test("an agent that cannot be started again is not tried once more", async () => {
  const { harness, agent } = await lateHouse("mao", Infinity);
  using _house = harness;
  agent.openError = new AppError("agent_unavailable", "It does not start.");
  assertStrictEquals(await appErrorOf(harness.start("mao", SECOND)), agent.openError);
  assertEquals([agent.puts, agent.sessions.length, harness.turnLimiter.running], [1, 1, 0]);
});

const FINAL: readonly [name: string, change: (agent: LateAgent) => void][] = [
  ["whose session still serves", (agent) => agent.notices = false],
  [
    "that may have begun its work",
    (agent) => agent.failure = new AppError("agent_unavailable", "Gone.", { prompted: true }),
  ],
  ["that failed otherwise", (agent) => agent.failure = new AppError("agent_error", "No.")],
];
for (const [name, change] of FINAL) {
  Deno.test(`an agent ${name} is not prompted once more`, async () => {
    const { harness, agent } = await lateHouse("mao", Infinity);
    using _house = harness;
    change(agent);
    assertStrictEquals(await appErrorOf(harness.start("mao", SECOND)), agent.failure);
    assert(agent.puts === 1 && harness.turnLimiter.running === 0);
  });
}

Deno.test("an agent that had just ended: who has hung up meanwhile is not put once more", async () => {
  const { harness, agent } = await lateHouse("mao", 1);
  using _house = harness;
  const hangUp = new AbortController();
  const [session] = agent.sessions;
  const prompt = session!.prompt;
  session!.prompt = (blocks, reader) => {
    hangUp.abort(new Error("hung up"));
    return prompt(blocks, reader);
  };
  const error = await harness.start("mao", SECOND, hangUp.signal).catch((error) => error);
  assertStrictEquals(error, hangUp.signal.reason);
  assertEquals([agent.puts, agent.prompts.length, harness.turnLimiter.running], [1, 1, 0]);
});
