import { assertEquals, assertStrictEquals } from "@std/assert";
import { untilAborted } from "../../lib/core/abortable.ts";
import type { Message } from "../../lib/conversation/message.ts";
import { AppError } from "../../lib/core/errors.ts";
import { MemoryAgent } from "../support/agents/memory_agent.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { appErrorOf, nextTask, waitFor } from "../support/harness/turn_recorder.ts";
import { ConversationHarness, crash, type HarnessOptions } from "../support/harness/conversation_harness.ts";
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
function houseOf(resumes: boolean, options: HarnessOptions = {}): ConversationHarness {
  const harness = new ConversationHarness({ mode: "auto", ...options });
  harness.agent.resumes = resumes;
  return harness;
}

/** Runs a whole turn with an answer that can be known again, and gives what the agent was told. */
async function answered(
  harness: ConversationHarness,
  messages: readonly Message[],
  name?: string,
): Promise<string> {
  const prompt = await harness.prompt(name, ...messages);
  const last = messages.at(-1)?.parts[0];
  prompt.say(`Answer ${last?.type === "text" ? last.text : ""}, which is a long one.`);
  prompt.end();
  await nextTask();
  return prompt.text;
}

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "found by what is said" : "named";

  Deno.test(`survive: a crash between turns, ${which}: a session that comes back hears only what is new`, async () => {
    using harness = houseOf(true);
    await answered(harness, FIRST, name);
    crash(harness.session(0));
    assertEquals(await answered(harness, SECOND, name), "two");
    assertEquals(await answered(harness, THIRD, name), "three");
    assertEquals(harness.agent.resumed, [harness.session(0).id]);
    assertEquals(harness.agent.sessions.map(({ id }) => id), ["session-1", "session-1"]);
  });

  Deno.test(`survive: a crash between turns, ${which}: one that does not is opened anew and told everything`, async () => {
    using harness = houseOf(false);
    await answered(harness, FIRST, name);
    crash(harness.session(0));
    assertEquals(await answered(harness, SECOND, name), ALL_OF_SECOND);
    assertEquals(await answered(harness, THIRD, name), "three");
    assertEquals(harness.agent.sessions.map(({ id }) => id), ["session-1", "session-2"]);
  });

  Deno.test(`survive: a restart, ${which}: the conversation goes on in its session`, async () => {
    const store = new MemoryStore();
    {
      using harness = houseOf(true, { store });
      await answered(harness, FIRST, name);
      assertEquals(harness.agent.deleted, []);
    }
    using harness = houseOf(true, { store });
    assertEquals(await answered(harness, SECOND, name), "two");
    assertEquals([harness.agent.resumed, harness.session(0).id], [["session-1"], "session-1"]);
    assertEquals(harness.registry.list("").map(({ turns, state }) => [turns, state]), [[2, "open"]]);
  });

  Deno.test(`survive: a restart with another program, ${which}: its sessions are not asked for`, async () => {
    const store = new MemoryStore();
    {
      using harness = houseOf(true, { store });
      await answered(harness, FIRST, name);
    }
    const agent = new MemoryAgent();
    agent.program = "another";
    using harness = houseOf(true, { store, agent });
    assertEquals(await answered(harness, SECOND, name), ALL_OF_SECOND);
    assertEquals(agent.resumed, []);
    crash(harness.session(0));
    assertEquals(await answered(harness, THIRD, name), "three");
    assertEquals(agent.resumed.length, 1);
  });
}

Deno.test("survive: two talk in one conversation: a session in place of a lost one hears of each what it says", async () => {
  using harness = houseOf(false);
  await answered(harness, FIRST, "mao");
  const other = [MAO, user("other")];
  await answered(harness, other, "mao");
  crash(harness.session(0));
  await answered(harness, SECOND, "mao");
  const next = [...other, assistant("Answer other, which is a long one."), user("four")];
  const told = "<user>\nother\n</user>\n\n<assistant>\nAnswer other, which is a long one.\n</assistant>";
  assertEquals(await answered(harness, next, "mao"), `${told}\n\nfour`);
  assertEquals(await answered(harness, THIRD, "mao"), "three");
});

Deno.test("survive: a crash in a turn: what was asked is asked again of the session that comes back", async () => {
  using harness = houseOf(true);
  await answered(harness, FIRST);
  const turn = await harness.start(undefined, SECOND);
  crash((await harness.agent.nextPrompt()).session);
  await waitFor(turn.ended, "the end of the turn");
  await nextTask();
  assertEquals(await answered(harness, SECOND), "two");
  assertEquals(await answered(harness, THIRD), "three");
  assertEquals(harness.agent.resumed, ["session-1"]);
});

Deno.test("survive: a crash in a turn: what was asked is told before what is asked next", async () => {
  using harness = houseOf(true);
  await answered(harness, FIRST);
  const turn = await harness.start(undefined, SECOND);
  crash((await harness.agent.nextPrompt()).session);
  await waitFor(turn.ended, "the end of the turn");
  assertEquals(await answered(harness, [...SECOND, user("three")]), "two\n\nthree");
});

for (const dies of [true, false]) {
  Deno.test(`survive: an agent that was silent for too long ${dies ? "and dies: what it was asked is told again" : "but lives: it was told"}`, async () => {
    using harness = houseOf(true);
    await answered(harness, FIRST);
    const turn = await harness.start(undefined, SECOND);
    const prompt = await harness.agent.nextPrompt();
    turn.fail(new AppError("agent_timeout", "Silent.", { prompted: true }));
    const next = harness.start(undefined, [...SECOND, user("three")]);
    if (dies) crash(harness.session(0));
    else prompt.end("cancelled");
    await waitFor(next, "the next turn");
    const { text } = await harness.agent.nextPrompt();
    assertEquals(text, dies ? "two\n\nthree" : "three");
  });
}

Deno.test("survive: a crash in a turn, of a session that does not come back: everything is told", async () => {
  using harness = houseOf(false);
  await answered(harness, FIRST);
  const turn = await harness.start(undefined, SECOND);
  crash((await harness.agent.nextPrompt()).session);
  await waitFor(turn.ended, "the end of the turn");
  assertEquals(await answered(harness, SECOND), ALL_OF_SECOND);
});

Deno.test("survive: a restart after a turn that was cancelled: it counts as heard, and is not asked for again", async () => {
  const store = new MemoryStore();
  {
    using harness = houseOf(true, { store });
    await answered(harness, FIRST);
    (await harness.prompt(undefined, ...SECOND)).end("cancelled");
    await nextTask();
  }
  using harness = houseOf(true, { store });
  assertEquals(await answered(harness, [...SECOND, user("three")]), "three");
});

Deno.test("survive: a restart before the agent was asked: what was to be told is told by the next", async () => {
  const store = new MemoryStore();
  {
    using harness = houseOf(true, { store });
    await answered(harness, FIRST);
    harness.agent.promptError = new AppError("agent_unavailable", "Gone.");
    await appErrorOf(harness.start(undefined, SECOND));
  }
  using harness = houseOf(true, { store });
  assertEquals(await answered(harness, [...SECOND, user("three")]), "two\n\nthree");
});

Deno.test("survive: a fresh session that did not take its first prompt is told everything by the next", async () => {
  for (const name of [undefined, "mao"]) {
    using harness = houseOf(false);
    await answered(harness, FIRST, name);
    crash(harness.session(0));
    const failure = harness.agent.promptError = new AppError("agent_unavailable", "Busy.");
    assertStrictEquals(await appErrorOf(harness.start(name, SECOND)), failure);
    harness.agent.promptError = undefined;
    assertEquals(await answered(harness, SECOND, name), ALL_OF_SECOND);
  }
});

Deno.test("survive: a fresh session whose first caller hung up is told everything by the next", async () => {
  using harness = houseOf(false);
  await answered(harness, FIRST, "mao");
  crash(harness.session(0));
  const takes = Promise.withResolvers<void>();
  harness.agent.promptGate = takes.promise;
  harness.agent.promptError = new AppError("agent_unavailable", "Busy.");
  const first = appErrorOf(harness.start("mao", SECOND));
  await nextTask();
  const second = harness.start("mao", [...SECOND, user("three")]);
  takes.resolve();
  await first;
  harness.agent.promptError = undefined;
  await waitFor(second, "the next turn");
  const prompt = await harness.agent.nextPrompt();
  assertEquals(prompt.text, `${ALL_OF_SECOND}\n\nthree`);
});

Deno.test("survive: an agent that cannot be started is tried again, and the session still comes back", async () => {
  using harness = houseOf(true);
  await answered(harness, FIRST);
  crash(harness.session(0));
  harness.agent.openError = new AppError("agent_unavailable", "Not yet.");
  assertEquals((await appErrorOf(harness.start(undefined, SECOND))).code, "agent_unavailable");
  harness.agent.openError = undefined;
  assertEquals(await answered(harness, SECOND), "two");
  assertEquals(harness.agent.sessions.map(({ id }) => id), ["session-1", "session-1"]);
});

Deno.test("survive: who hangs up while a session is brought back is let go, and it comes back for the next", async () => {
  using harness = houseOf(true);
  await answered(harness, FIRST);
  crash(harness.session(0));
  const opens = Promise.withResolvers<void>();
  harness.agent.openGate = opens.promise;
  const hangUp = new AbortController();
  const waiting = harness.start(undefined, SECOND, hangUp.signal);
  await nextTask();
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await waiting.catch((error) => error), reason);
  assertEquals(harness.turnLimiter.running, 0);
  opens.resolve();
  assertEquals(await answered(harness, SECOND), "two");
});

Deno.test("survive: one that was closed as the longest idle comes back", async () => {
  using harness = houseOf(true, { maxSessions: 1 });
  await answered(harness, FIRST, "a");
  await answered(harness, FIRST, "b");
  assertEquals(harness.closed, [true, false]);
  assertEquals(harness.registry.list("").map(({ id, state }) => [id, state]), [["b", "open"], [
    "a",
    "closed",
  ]]);
  assertEquals(await answered(harness, SECOND, "a"), "two");
  assertEquals([harness.agent.resumed, harness.closed], [["session-1"], [true, true, false]]);
  assertEquals(harness.agent.deleted, []);
});

Deno.test("survive: one that was closed after a while comes back", async () => {
  using harness = houseOf(true, { idleMs: 2 });
  await answered(harness, FIRST);
  await waitFor(untilAborted(harness.session(0).closed), "the idle session's close");
  assertEquals(await answered(harness, SECOND), "two");
  assertEquals(harness.agent.resumed, ["session-1"]);
});

Deno.test("survive: a conversation whose agent never heard of it is not listed or kept, unless it is named", async () => {
  const store = new MemoryStore();
  using harness = houseOf(true, { store });
  harness.agent.openError = new AppError("agent_unavailable", "Not yet.");
  for (const name of [undefined, "mao"]) await appErrorOf(harness.start(name, FIRST));
  assertEquals(harness.registry.list("").map(({ id, state }) => [id, state]), [["mao", "closed"]]);
  assertEquals([...store.records.values()].filter(({ isNamed }) => !isNamed), []);
});

Deno.test("survive: who hung up before the agent heard of it goes on with a conversation of its own, whoever began alike", async () => {
  using harness = houseOf(true);
  const opening = [MAO, user("Hello!")];
  await answered(harness, opening);
  const opens = Promise.withResolvers<void>();
  harness.agent.openGate = opens.promise;
  const hangUp = new AbortController();
  const left = harness.start(undefined, opening, hangUp.signal);
  await nextTask();
  hangUp.abort();
  await left.catch(() => {});
  opens.resolve();
  const prompt = await harness.prompt(undefined, ...opening, user("It is Bob."));
  assertEquals([prompt.session.id, prompt.text.includes("Hello!")], ["session-2", true]);
});

Deno.test("survive: a conversation that is answered elsewhere after it was forgotten is not kept again", async () => {
  const store = new MemoryStore();
  using harness = houseOf(true, { store });
  const running = await harness.prompt("mao", ...FIRST);
  assertEquals(harness.registry.forget("", "mao"), 1);
  running.say("Too late.");
  running.end();
  await nextTask();
  assertEquals([[...store.records.keys()], harness.registry.list("")], [[], []]);
});
