import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import type { Session } from "../../lib/turn/agent.ts";
import { AppError, type ErrorCode } from "../../lib/core/errors.ts";
import { MemoryAgent, type MemorySession } from "../support/agents/memory_agent.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { failureOf, Heard, settled, soon } from "../support/harness/turn_recorder.ts";
import { crash, House } from "../support/harness/conversation_harness.ts";
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
async function answered(house: House, name: string | undefined): Promise<void> {
  const prompt = await house.prompted(name, ...FIRST);
  prompt.say("Answer one, which is a long one.");
  prompt.end();
  await settled();
}

/** The agent takes a prompt and refuses it, before it does anything. */
async function refused(house: House, name: string | undefined, code: ErrorCode): Promise<void> {
  const turn = await house.begin(name, SECOND);
  const heard = new Heard();
  turn.read(heard.reader);
  (await house.agent.nextPrompt()).fail(new AppError(code, "No.", { prompted: true }));
  await soon(turn.ended, "the end of the turn");
  await settled();
  assertEquals(heard.briefs, [`failure ${code}`]);
}

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "found by what is said" : "named";
  for (const code of ["agent_error", "agent_auth_required"] as const) {
    Deno.test(`refused: a fresh session with ${code}, ${which}: the next request tells persona and whole history`, async () => {
      for (const [next, text] of [[SECOND, told("two")], [THIRD, told("two", "three")]] as const) {
        using house = new House({ mode: "auto" });
        await answered(house, name);
        crash(house.session(0));
        for (let times = 0; times < 2; times++) await refused(house, name, code);
        const prompt = await house.told(name, ...next);
        assertEquals([prompt.text, prompt.session === house.session(1)], [text, true]);
        assertEquals((await house.told(name, ...next, assistant("2"), user("four"))).text, "four");
        assertEquals(house.conversations.list("").length, 1);
      }
    });

    Deno.test(`refused: a session that heard the rest with ${code}, ${which}: the next request tells what was refused`, async () => {
      using house = new House({ mode: "auto" });
      await answered(house, name);
      await refused(house, name, code);
      assertEquals((await house.told(name, ...THIRD)).text, "two\n\nthree");
      assertEquals(house.agent.sessions.length, 1);
    });
  }
}

Deno.test("refused: the very first prompt of a conversation: the next request tells persona and question", async () => {
  for (const name of [undefined, "mao"]) {
    using house = new House({ mode: "auto" });
    const turn = await house.begin(name, FIRST);
    (await house.agent.nextPrompt()).fail(new AppError("agent_auth_required", "Log in.", { prompted: true }));
    await soon(turn.ended, "the end of the turn");
    await settled();
    const prompt = await house.told(name, ...FIRST);
    assertEquals(prompt.text, "<system>\nYou are Mao.\n</system>\n\none");
    // What nobody named and no agent heard is not there to come back to.
    assertEquals(prompt.session === house.session(0), name === "mao");
    assertEquals(house.conversations.list("").length, 1);
  }
});

Deno.test("refused: a fresh session after it said something heard all, and hears only what is new", async () => {
  using house = new House({ mode: "auto" });
  await answered(house, "mao");
  crash(house.session(0));
  const turn = await house.begin("mao", SECOND);
  const prompt = await house.agent.nextPrompt();
  prompt.think("hm");
  prompt.fail(new AppError("agent_error", "No.", { prompted: true }));
  await soon(turn.ended, "the end of the turn");
  assertEquals((await house.told("mao", ...THIRD)).text, "three");
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

/** A house in which a talk is under way, and its agent has just ended without being noticed. */
async function lateHouse(
  name: string | undefined,
  gone: number,
): Promise<{ house: House; agent: LateAgent }> {
  const agent = new LateAgent();
  agent.gone = 0;
  const house = new House({ mode: "auto", agent, store: new MemoryStore() });
  await answered(house, name);
  agent.puts = 0;
  agent.gone = gone;
  return { house, agent };
}

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "found by what is said" : "named";
  Deno.test(`an agent that had just ended, ${which}: the prompt is put once more, and all of it to a fresh session`, async () => {
    const { house, agent } = await lateHouse(name, 1);
    using _house = house;
    const prompt = await house.told(name, ...SECOND);
    assertEquals([prompt.text, prompt.session === house.session(1)], [told("two"), true]);
    assertEquals([agent.puts, agent.sessions.length, house.slots.running], [2, 2, 0]);
    assertEquals(house.conversations.list("").map(({ turns }) => turns), [2]);
  });
}

Deno.test("an agent that had just ended: a one-off is put once more as well", async () => {
  const agent = new LateAgent();
  using house = new House({ agent });
  assertEquals((await house.told(undefined, ...FIRST)).text, "<system>\nYou are Mao.\n</system>\n\none");
  assertEquals([agent.puts, house.closed], [2, [true, true]]);
});

Deno.test("an agent that ends whenever it is prompted is tried once more and not again", async () => {
  const { house, agent } = await lateHouse("mao", Infinity);
  using _house = house;
  assertStrictEquals(await failureOf(house.begin("mao", SECOND)), GONE);
  assertEquals([agent.puts, agent.sessions.length, house.slots.running], [2, 2, 0]);
  agent.gone = 0;
  assertEquals((await house.told("mao", ...THIRD)).text, told("two", "three"));
});

Deno.test("an agent that cannot be started again is not tried once more", async () => {
  const { house, agent } = await lateHouse("mao", Infinity);
  using _house = house;
  agent.openFailure = new AppError("agent_unavailable", "It does not start.");
  assertStrictEquals(await failureOf(house.begin("mao", SECOND)), agent.openFailure);
  assertEquals([agent.puts, agent.sessions.length, house.slots.running], [1, 1, 0]);
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
    const { house, agent } = await lateHouse("mao", Infinity);
    using _house = house;
    change(agent);
    assertStrictEquals(await failureOf(house.begin("mao", SECOND)), agent.failure);
    assert(agent.puts === 1 && house.slots.running === 0);
  });
}

Deno.test("an agent that had just ended: who has hung up meanwhile is not put once more", async () => {
  const { house, agent } = await lateHouse("mao", 1);
  using _house = house;
  const hangUp = new AbortController();
  const [session] = agent.sessions;
  const prompt = session!.prompt;
  session!.prompt = (blocks, reader) => {
    hangUp.abort(new Error("hung up"));
    return prompt(blocks, reader);
  };
  const error = await house.begin("mao", SECOND, hangUp.signal).catch((error) => error);
  assertStrictEquals(error, hangUp.signal.reason);
  assertEquals([agent.puts, agent.prompts.length, house.slots.running], [1, 1, 0]);
});
