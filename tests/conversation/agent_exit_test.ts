import { assertEquals, assertStrictEquals } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import { AppError } from "../../lib/core/errors.ts";
import { MemoryAgent } from "../support/agents/memory_agent.ts";
import { ConversationHarness, crash, type HarnessOptions } from "../support/harness/conversation_harness.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";
import { appErrorOf, nextTask, waitFor } from "../support/harness/turn_recorder.ts";

const MAO = system("You are Mao.");
const FIRST = [MAO, user("one")];
const SECOND = [...FIRST, assistant("Answer one, which is a long one."), user("two")];
const THIRD = [...SECOND, assistant("Answer two, which is a long one."), user("three")];
/** The prompt of a new session for the second request. */
const ALL_OF_SECOND = [
  "<system>\nYou are Mao.\n</system>",
  "<user>\none\n</user>",
  "<assistant>\nAnswer one, which is a long one.\n</assistant>",
  "two",
].join("\n\n");

/** Makes a registry that matches messages, over an agent that can resume sessions or not. */
function harnessOf(resumes: boolean, options: HarnessOptions = {}): ConversationHarness {
  const harness = new ConversationHarness({ mode: "auto", ...options });
  harness.agent.resumes = resumes;
  return harness;
}

/** Runs a turn with a distinctive reply, and returns its prompt. */
async function answer(
  harness: ConversationHarness,
  messages: readonly Message[],
  name?: string,
): Promise<string> {
  const last = messages.at(-1)?.parts[0];
  const words = last?.type === "text" ? last.text : "";
  return (await harness.run(name, messages, `Answer ${words}, which is a long one.`)).text;
}

/** Makes a harness whose second turn ended in the agent's exit. */
async function exitInSecondTurn(resumes: boolean): Promise<ConversationHarness> {
  const harness = harnessOf(resumes);
  await answer(harness, FIRST);
  await harness.runUntilCrash(undefined, SECOND);
  return harness;
}

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "matched" : "named";

  Deno.test(`exit between turns, ${which}: a resumed session gets only what is new`, async () => {
    using harness = harnessOf(true);
    await answer(harness, FIRST, name);
    crash(harness.session(0));
    assertEquals(await answer(harness, SECOND, name), "two");
    assertEquals(await answer(harness, THIRD, name), "three");
    assertEquals(harness.agent.resumed, [harness.session(0).id]);
    assertEquals(harness.agent.sessions.map(({ id }) => id), ["session-1", "session-1"]);
  });

  Deno.test(`exit between turns, ${which}: a new session gets everything`, async () => {
    using harness = harnessOf(false);
    await answer(harness, FIRST, name);
    crash(harness.session(0));
    assertEquals(await answer(harness, SECOND, name), ALL_OF_SECOND);
    assertEquals(await answer(harness, THIRD, name), "three");
    assertEquals(harness.agent.sessions.map(({ id }) => id), ["session-1", "session-2"]);
  });

  Deno.test(`restart, ${which}: the session is resumed`, async () => {
    const store = new MemoryStore();
    {
      using harness = harnessOf(true, { store });
      await answer(harness, FIRST, name);
      assertEquals(harness.agent.deleted, []);
    }
    using harness = harnessOf(true, { store });
    assertEquals(await answer(harness, SECOND, name), "two");
    assertEquals([harness.agent.resumed, harness.session(0).id], [["session-1"], "session-1"]);
    assertEquals(harness.registry.list("").map(({ turns, state }) => [turns, state]), [[2, "open"]]);
  });

  Deno.test(`restart with another program, ${which}: its sessions are not resumed`, async () => {
    const store = new MemoryStore();
    {
      using harness = harnessOf(true, { store });
      await answer(harness, FIRST, name);
    }
    const agent = new MemoryAgent();
    agent.program = "another";
    using harness = harnessOf(true, { store, agent });
    assertEquals(await answer(harness, SECOND, name), ALL_OF_SECOND);
    assertEquals(agent.resumed, []);
    crash(harness.session(0));
    assertEquals(await answer(harness, THIRD, name), "three");
    assertEquals(agent.resumed.length, 1);
  });

  Deno.test(`a new session that did not take its first prompt, ${which}: the next gets everything`, async () => {
    using harness = harnessOf(false);
    await answer(harness, FIRST, name);
    crash(harness.session(0));
    const error = harness.agent.promptError = new AppError("agent_unavailable", "Busy.");
    assertEquals((await appErrorOf(harness.start(name, SECOND))).message, error.message);
    harness.agent.promptError = undefined;
    assertEquals(await answer(harness, SECOND, name), ALL_OF_SECOND);
  });
}

Deno.test("exit: of two clients in one conversation, a new session gets the history of each", async () => {
  using harness = harnessOf(false);
  const other = [MAO, user("other")];
  await answer(harness, FIRST, "mao");
  await answer(harness, other, "mao");
  crash(harness.session(0));
  await answer(harness, SECOND, "mao");
  const next = [...other, assistant("Answer other, which is a long one."), user("four")];
  const history = "<user>\nother\n</user>\n\n<assistant>\nAnswer other, which is a long one.\n</assistant>";
  assertEquals(await answer(harness, next, "mao"), `${history}\n\nfour`);
  assertEquals(await answer(harness, THIRD, "mao"), "three");
});

const AFTER_EXIT:
  readonly (readonly [what: string, resumes: boolean, next: readonly Message[], prompt: string])[] = [
    ["a resumed session gets the message again", true, SECOND, "two"],
    [
      "a resumed session gets the message before the next one",
      true,
      [...SECOND, user("three")],
      "two\n\nthree",
    ],
    ["a new session gets everything", false, SECOND, ALL_OF_SECOND],
  ];
for (const [what, resumes, next, prompt] of AFTER_EXIT) {
  Deno.test(`exit in a turn: ${what}`, async () => {
    using harness = await exitInSecondTurn(resumes);
    assertEquals(await answer(harness, next), prompt);
  });
}

Deno.test("restart in the first turn: the session is resumed", async () => {
  const store = new MemoryStore();
  using before = harnessOf(true, { store });
  await before.prompt(undefined, ...FIRST);
  using harness = harnessOf(true, { store });
  assertEquals(await answer(harness, [...FIRST, user("two")]), "two");
  assertEquals(harness.agent.resumed, [before.session(0).id]);
});

Deno.test("restart after a cancelled turn: the agent has its message", async () => {
  const store = new MemoryStore();
  {
    using harness = harnessOf(true, { store });
    await answer(harness, FIRST);
    (await harness.prompt(undefined, ...SECOND)).end("cancelled");
    await nextTask();
  }
  using harness = harnessOf(true, { store });
  assertEquals(await answer(harness, [...SECOND, user("three")]), "three");
});

Deno.test("restart after a prompt that was not taken: its message is sent with the next", async () => {
  const store = new MemoryStore();
  {
    using harness = harnessOf(true, { store });
    await answer(harness, FIRST);
    harness.agent.promptError = new AppError("agent_unavailable", "Gone.");
    await appErrorOf(harness.start(undefined, SECOND));
  }
  using harness = harnessOf(true, { store });
  assertEquals(await answer(harness, [...SECOND, user("three")]), "two\n\nthree");
});

Deno.test("an agent that cannot be started: the session is resumed by the next request", async () => {
  using harness = harnessOf(true);
  await answer(harness, FIRST);
  crash(harness.session(0));
  harness.agent.openError = new AppError("agent_unavailable", "Not yet.");
  assertEquals((await appErrorOf(harness.start(undefined, SECOND))).code, "agent_unavailable");
  harness.agent.openError = undefined;
  assertEquals(await answer(harness, SECOND), "two");
  assertEquals(harness.agent.sessions.map(({ id }) => id), ["session-1", "session-1"]);
});

Deno.test("a caller that hangs up during a resume: the session is resumed by the next request", async () => {
  using harness = harnessOf(true);
  await answer(harness, FIRST);
  crash(harness.session(0));
  const open = harness.blockOpening();
  const hangUp = new AbortController();
  const waiting = harness.start(undefined, SECOND, hangUp.signal);
  await nextTask();
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await waiting.catch((error) => error), reason);
  assertEquals(harness.running, 0);
  open();
  assertEquals(await answer(harness, SECOND), "two");
});

Deno.test("a caller that hangs up before the delivery: its conversation continues for a waiting request", async () => {
  using harness = harnessOf(true, { onBusy: "queue" });
  const open = harness.blockOpening();
  const hangUp = new AbortController();
  const first = harness.start(undefined, FIRST, hangUp.signal).catch((error) => error);
  const second = harness.start(undefined, [...FIRST, user("two")]);
  await nextTask();
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await first, reason);
  open();
  await waitFor(second, "the turn after it");
  assertEquals((await harness.agent.nextPrompt()).text, "<system>\nYou are Mao.\n</system>\n\none\n\ntwo");
  assertEquals(harness.turnCounts, [2]);
});

Deno.test("a conversation without a session is neither listed nor stored, unless it is named", async () => {
  const store = new MemoryStore();
  using harness = harnessOf(true, { store });
  harness.agent.openError = new AppError("agent_unavailable", "Not yet.");
  for (const name of [undefined, "mao"]) await appErrorOf(harness.start(name, FIRST));
  assertEquals(harness.registry.list("").map(({ id, state }) => [id, state]), [["mao", "closed"]]);
  assertEquals([...store.records.values()].filter(({ isNamed }) => !isNamed), []);
});
