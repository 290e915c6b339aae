import { assertEquals, assertStrictEquals } from "@std/assert";
import { untilAborted } from "../../lib/core/abortable.ts";
import type { Message } from "../../lib/conversation/message.ts";
import { AppError } from "../../lib/core/errors.ts";
import { MemoryAgent } from "../support/agents/memory_agent.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { failureOf, settled, soon } from "../support/harness/turn_recorder.ts";
import { crash, gate, House, type HouseOptions } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

const MAO = system("You are Mao.");
const FIRST = [MAO, user("one")];
const SECOND = [...FIRST, assistant("Answer one, which is a long one."), user("two")];
const THIRD = [...SECOND, assistant("Answer two, which is a long one."), user("three")];
/** The whole of a transcript as a fresh session is told it. */
const ALL_OF_SECOND = [
  "<system>\nYou are Mao.\n</system>",
  "<user>\none\n</user>",
  "<assistant>\nAnswer one, which is a long one.\n</assistant>",
  "two",
].join("\n\n");

/** A registry that finds conversations by what is said, over an agent that brings sessions back or does not. */
function houseOf(resumes: boolean, options: HouseOptions = {}): House {
  const house = new House({ mode: "auto", ...options });
  house.agent.resumes = resumes;
  return house;
}

/** Runs a whole turn with an answer that can be known again, and gives what the agent was told. */
async function answered(house: House, messages: readonly Message[], name?: string): Promise<string> {
  const prompt = await house.prompted(name, ...messages);
  const last = messages.at(-1)?.parts[0];
  prompt.say(`Answer ${last?.type === "text" ? last.text : ""}, which is a long one.`);
  prompt.end();
  await settled();
  return prompt.text;
}

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "found by what is said" : "named";

  Deno.test(`survive: a crash between turns, ${which}: a session that comes back hears only what is new`, async () => {
    using house = houseOf(true);
    await answered(house, FIRST, name);
    crash(house.session(0));
    assertEquals(await answered(house, SECOND, name), "two");
    assertEquals(await answered(house, THIRD, name), "three");
    assertEquals(house.agent.resumed, [house.session(0).id]);
    assertEquals(house.agent.sessions.map(({ id }) => id), ["session-1", "session-1"]);
  });

  Deno.test(`survive: a crash between turns, ${which}: one that does not is opened anew and told everything`, async () => {
    using house = houseOf(false);
    await answered(house, FIRST, name);
    crash(house.session(0));
    assertEquals(await answered(house, SECOND, name), ALL_OF_SECOND);
    assertEquals(await answered(house, THIRD, name), "three");
    assertEquals(house.agent.sessions.map(({ id }) => id), ["session-1", "session-2"]);
  });

  Deno.test(`survive: a restart, ${which}: the conversation goes on in its session`, async () => {
    const store = new MemoryStore();
    {
      using house = houseOf(true, { store });
      await answered(house, FIRST, name);
      assertEquals(house.agent.forgotten, []);
    }
    using house = houseOf(true, { store });
    assertEquals(await answered(house, SECOND, name), "two");
    assertEquals([house.agent.resumed, house.session(0).id], [["session-1"], "session-1"]);
    assertEquals(house.conversations.list("").map(({ turns, state }) => [turns, state]), [[2, "open"]]);
  });

  Deno.test(`survive: a restart with another program, ${which}: its sessions are not asked for`, async () => {
    const store = new MemoryStore();
    {
      using house = houseOf(true, { store });
      await answered(house, FIRST, name);
    }
    const agent = new MemoryAgent();
    agent.program = "another";
    using house = houseOf(true, { store, agent });
    assertEquals(await answered(house, SECOND, name), ALL_OF_SECOND);
    assertEquals(agent.resumed, []);
    crash(house.session(0));
    assertEquals(await answered(house, THIRD, name), "three");
    assertEquals(agent.resumed.length, 1);
  });
}

Deno.test("survive: two talk in one conversation: a session in place of a lost one hears of each what it says", async () => {
  using house = houseOf(false);
  await answered(house, FIRST, "mao");
  const other = [MAO, user("other")];
  await answered(house, other, "mao");
  crash(house.session(0));
  await answered(house, SECOND, "mao");
  const next = [...other, assistant("Answer other, which is a long one."), user("four")];
  const told = "<user>\nother\n</user>\n\n<assistant>\nAnswer other, which is a long one.\n</assistant>";
  assertEquals(await answered(house, next, "mao"), `${told}\n\nfour`);
  assertEquals(await answered(house, THIRD, "mao"), "three");
});

Deno.test("survive: a crash in a turn: what was asked is asked again of the session that comes back", async () => {
  using house = houseOf(true);
  await answered(house, FIRST);
  const turn = await house.begin(undefined, SECOND);
  crash((await house.agent.nextPrompt()).session);
  await soon(turn.ended, "the end of the turn");
  await settled();
  assertEquals(await answered(house, SECOND), "two");
  assertEquals(await answered(house, THIRD), "three");
  assertEquals(house.agent.resumed, ["session-1"]);
});

Deno.test("survive: a crash in a turn: what was asked is told before what is asked next", async () => {
  using house = houseOf(true);
  await answered(house, FIRST);
  const turn = await house.begin(undefined, SECOND);
  crash((await house.agent.nextPrompt()).session);
  await soon(turn.ended, "the end of the turn");
  assertEquals(await answered(house, [...SECOND, user("three")]), "two\n\nthree");
});

for (const dies of [true, false]) {
  Deno.test(`survive: an agent that was silent for too long ${dies ? "and dies: what it was asked is told again" : "but lives: it was told"}`, async () => {
    using house = houseOf(true);
    await answered(house, FIRST);
    const turn = await house.begin(undefined, SECOND);
    const prompt = await house.agent.nextPrompt();
    turn.fail(new AppError("agent_timeout", "Silent.", { prompted: true }));
    const next = house.begin(undefined, [...SECOND, user("three")]);
    if (dies) crash(house.session(0));
    else prompt.end("cancelled");
    await soon(next, "the next turn");
    const { text } = await house.agent.nextPrompt();
    assertEquals(text, dies ? "two\n\nthree" : "three");
  });
}

Deno.test("survive: a crash in a turn, of a session that does not come back: everything is told", async () => {
  using house = houseOf(false);
  await answered(house, FIRST);
  const turn = await house.begin(undefined, SECOND);
  crash((await house.agent.nextPrompt()).session);
  await soon(turn.ended, "the end of the turn");
  assertEquals(await answered(house, SECOND), ALL_OF_SECOND);
});

Deno.test("survive: a restart after a turn that was cancelled: it counts as heard, and is not asked for again", async () => {
  const store = new MemoryStore();
  {
    using house = houseOf(true, { store });
    await answered(house, FIRST);
    (await house.prompted(undefined, ...SECOND)).end("cancelled");
    await settled();
  }
  using house = houseOf(true, { store });
  assertEquals(await answered(house, [...SECOND, user("three")]), "three");
});

Deno.test("survive: a restart before the agent was asked: what was to be told is told by the next", async () => {
  const store = new MemoryStore();
  {
    using house = houseOf(true, { store });
    await answered(house, FIRST);
    house.agent.promptFailure = new AppError("agent_unavailable", "Gone.");
    await failureOf(house.begin(undefined, SECOND));
  }
  using house = houseOf(true, { store });
  assertEquals(await answered(house, [...SECOND, user("three")]), "two\n\nthree");
});

Deno.test("survive: a fresh session that did not take its first prompt is told everything by the next", async () => {
  for (const name of [undefined, "mao"]) {
    using house = houseOf(false);
    await answered(house, FIRST, name);
    crash(house.session(0));
    const failure = house.agent.promptFailure = new AppError("agent_unavailable", "Busy.");
    assertStrictEquals(await failureOf(house.begin(name, SECOND)), failure);
    house.agent.promptFailure = undefined;
    assertEquals(await answered(house, SECOND, name), ALL_OF_SECOND);
  }
});

Deno.test("survive: a fresh session whose first caller hung up is told everything by the next", async () => {
  using house = houseOf(false);
  await answered(house, FIRST, "mao");
  crash(house.session(0));
  const takes = gate();
  house.agent.takes = takes.promise;
  house.agent.promptFailure = new AppError("agent_unavailable", "Busy.");
  const first = failureOf(house.begin("mao", SECOND));
  await settled();
  const second = house.begin("mao", [...SECOND, user("three")]);
  takes.open();
  await first;
  house.agent.promptFailure = undefined;
  await soon(second, "the next turn");
  const prompt = await house.agent.nextPrompt();
  assertEquals(prompt.text, `${ALL_OF_SECOND}\n\nthree`);
});

Deno.test("survive: an agent that cannot be started is tried again, and the session still comes back", async () => {
  using house = houseOf(true);
  await answered(house, FIRST);
  crash(house.session(0));
  house.agent.openFailure = new AppError("agent_unavailable", "Not yet.");
  assertEquals((await failureOf(house.begin(undefined, SECOND))).code, "agent_unavailable");
  house.agent.openFailure = undefined;
  assertEquals(await answered(house, SECOND), "two");
  assertEquals(house.agent.sessions.map(({ id }) => id), ["session-1", "session-1"]);
});

Deno.test("survive: who hangs up while a session is brought back is let go, and it comes back for the next", async () => {
  using house = houseOf(true);
  await answered(house, FIRST);
  crash(house.session(0));
  const opens = gate();
  house.agent.opens = opens.promise;
  const hangUp = new AbortController();
  const waiting = house.begin(undefined, SECOND, hangUp.signal);
  await settled();
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await waiting.catch((error) => error), reason);
  assertEquals(house.slots.running, 0);
  opens.open();
  assertEquals(await answered(house, SECOND), "two");
});

Deno.test("survive: one that was closed as the longest idle comes back", async () => {
  using house = houseOf(true, { maxSessions: 1 });
  await answered(house, FIRST, "a");
  await answered(house, FIRST, "b");
  assertEquals(house.closed, [true, false]);
  assertEquals(house.conversations.list("").map(({ id, state }) => [id, state]), [["b", "open"], [
    "a",
    "closed",
  ]]);
  assertEquals(await answered(house, SECOND, "a"), "two");
  assertEquals([house.agent.resumed, house.closed], [["session-1"], [true, true, false]]);
  assertEquals(house.agent.forgotten, []);
});

Deno.test("survive: one that was closed after a while comes back", async () => {
  using house = houseOf(true, { idleMs: 2 });
  await answered(house, FIRST);
  await soon(untilAborted(house.session(0).closed), "the idle session's close");
  assertEquals(await answered(house, SECOND), "two");
  assertEquals(house.agent.resumed, ["session-1"]);
});

Deno.test("survive: a conversation whose agent never heard of it is not listed or kept, unless it is named", async () => {
  const store = new MemoryStore();
  using house = houseOf(true, { store });
  house.agent.openFailure = new AppError("agent_unavailable", "Not yet.");
  for (const name of [undefined, "mao"]) await failureOf(house.begin(name, FIRST));
  assertEquals(house.conversations.list("").map(({ id, state }) => [id, state]), [["mao", "closed"]]);
  assertEquals([...store.kept.values()].filter(({ isNamed }) => !isNamed), []);
});

Deno.test("survive: who hung up before the agent heard of it goes on with a conversation of its own, whoever began alike", async () => {
  using house = houseOf(true);
  const opening = [MAO, user("Hello!")];
  await answered(house, opening);
  const opens = gate();
  house.agent.opens = opens.promise;
  const hangUp = new AbortController();
  const left = house.begin(undefined, opening, hangUp.signal);
  await settled();
  hangUp.abort();
  await left.catch(() => {});
  opens.open();
  const prompt = await house.prompted(undefined, ...opening, user("It is Bob."));
  assertEquals([prompt.session.id, prompt.text.includes("Hello!")], ["session-2", true]);
});

Deno.test("survive: a conversation that is answered elsewhere after it was forgotten is not kept again", async () => {
  const store = new MemoryStore();
  using house = houseOf(true, { store });
  const running = await house.prompted("mao", ...FIRST);
  assertEquals(house.conversations.forget("", "mao"), 1);
  running.say("Too late.");
  running.end();
  await settled();
  assertEquals([[...store.kept.keys()], house.conversations.list("")], [[], []]);
});
