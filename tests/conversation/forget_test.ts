import { assertEquals } from "@std/assert";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { appErrorOf, nextTask, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

const FIRST = [system("Mao"), user("one")];
const SECOND = [...FIRST, assistant("1"), user("two")];
const ALL_OF_SECOND =
  "<system>\nMao\n</system>\n\n<user>\none\n</user>\n\n<assistant>\n1\n</assistant>\n\ntwo";

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "found by what is said" : "named";

  Deno.test(`forget: an idle conversation, ${which}: its session is closed, deleted, and not brought back`, async () => {
    const store = new MemoryStore();
    using harness = new ConversationHarness({ mode: "auto", store });
    harness.agent.resumes = true;
    await harness.run(name, FIRST);
    const [known] = harness.registry.list("");
    assertEquals(harness.registry.forget("", known!.id), 1);
    assertEquals([harness.closed, harness.agent.deleted], [[true], ["session-1"]]);
    assertEquals([harness.registry.list(""), store.records.size], [[], 0]);
    assertEquals((await harness.run(name, SECOND)).text, ALL_OF_SECOND);
    assertEquals(harness.agent.resumed, []);
    assertEquals(harness.agent.sessions.map(({ id }) => id), ["session-1", "session-2"]);
  });

  Deno.test(`forget: a closed conversation, ${which}: the agent deletes what it keeps`, async () => {
    const store = new MemoryStore();
    using harness = new ConversationHarness({ mode: "auto", store, maxSessions: 0 });
    harness.agent.resumes = true;
    await harness.run(name, FIRST);
    assertEquals(harness.closed, [true]);
    assertEquals(harness.registry.forget("", undefined), 1);
    assertEquals([harness.agent.deleted, store.records.size], [["session-1"], 0]);
    assertEquals((await harness.run(name, SECOND)).text, ALL_OF_SECOND);
  });

  Deno.test(`forget: a busy conversation, ${which}: its turn is cancelled, then its session closed and deleted`, async () => {
    const store = new MemoryStore();
    using harness = new ConversationHarness({ mode: "auto", store });
    const turn = await harness.start(name, FIRST);
    const heard = new TurnRecorder();
    turn.read(heard.reader);
    const running = await harness.agent.nextPrompt();
    assertEquals(harness.registry.forget("", undefined), 1);
    assertEquals([running.cancelCount, harness.closed, harness.agent.deleted], [1, [false], []]);
    assertEquals(harness.registry.list(""), []);
    // Nobody waits for the one that is forgotten.
    assertEquals((await harness.run(name, FIRST)).session, harness.session(1));
    running.end("cancelled");
    await nextTask();
    assertEquals(heard.summaries, ["end cancelled"]);
    assertEquals([harness.closed, harness.agent.deleted], [[true, false], ["session-1"]]);
    assertEquals(harness.turnLimiter.running, 0);
    assertEquals(store.records.size, 1);
  });
}

Deno.test("forget: those that wait in a conversation are told so", async () => {
  using harness = new ConversationHarness({ onBusy: "queue" });
  const running = await harness.prompt("mao", ...FIRST);
  const waiting = appErrorOf(harness.start("mao", SECOND));
  harness.registry.forget("", "mao");
  const failure = await waiting;
  assertEquals([failure.code, failure.message], ["turn_cancelled", "The conversation was forgotten."]);
  running.end("cancelled");
  await nextTask();
  assertEquals([harness.agent.prompts.length, harness.turnLimiter.running, harness.closed], [1, 0, [true]]);
});

Deno.test("forget: one whose session is being opened leaves none behind", async () => {
  using harness = new ConversationHarness();
  const opens = Promise.withResolvers<void>();
  harness.agent.openGate = opens.promise;
  const begins = appErrorOf(harness.start("mao", FIRST));
  await nextTask();
  harness.registry.forget("", "mao");
  assertEquals((await begins).code, "turn_cancelled");
  opens.resolve();
  await nextTask();
  assertEquals([harness.closed.every(Boolean), harness.turnLimiter.running], [true, 0]);
  assertEquals((await harness.run("mao", SECOND)).text, ALL_OF_SECOND);
});

Deno.test("forget: one whose prompt is being put is cancelled once it is taken", async () => {
  using harness = new ConversationHarness();
  const takes = Promise.withResolvers<void>();
  harness.agent.promptGate = takes.promise;
  const begins = harness.start("mao", FIRST);
  await nextTask();
  harness.registry.forget("", "mao");
  takes.resolve();
  await waitFor(begins, "the turn");
  const prompt = await harness.agent.nextPrompt();
  assertEquals(prompt.cancelCount, 1);
  prompt.end("cancelled");
  await nextTask();
  assertEquals([harness.closed, harness.agent.deleted, harness.turnLimiter.running], [
    [true],
    ["session-1"],
    0,
  ]);
});

Deno.test("forget: what another key has is not touched, also of the same name", async () => {
  using harness = new ConversationHarness();
  const mine = { owner: "mine", name: "mao" };
  const yours = { owner: "yours", name: "mao" };
  for (const whose of [mine, yours]) {
    await harness.startAs(whose, FIRST);
    (await harness.agent.nextPrompt()).end();
    await nextTask();
  }
  assertEquals(harness.agent.sessions.length, 2);
  assertEquals(harness.registry.forget("mine", "nobody"), 0);
  assertEquals(harness.registry.forget("mine", "mao"), 1);
  assertEquals(harness.closed, [true, false]);
  assertEquals(harness.registry.list("mine"), []);
  assertEquals(harness.registry.list("yours").map(({ id }) => id), ["mao"]);
  assertEquals(harness.registry.forget("yours", undefined), 1);
});

Deno.test("list: each conversation with its state, the one that was used last first", async () => {
  using harness = new ConversationHarness({ mode: "auto", maxSessions: 2 });
  await harness.run("a", FIRST);
  await harness.run("b", FIRST);
  await harness.run("a", SECOND);
  await harness.run("c", FIRST);
  await harness.prompt("d", ...FIRST);
  const list = harness.registry.list("");
  assertEquals(list.map(({ id, agent, state, turns }) => [id, agent, state, turns]), [
    ["d", "openab", "busy", 1],
    ["c", "openab", "open", 1],
    ["a", "openab", "open", 2],
    ["b", "openab", "closed", 1],
  ]);
  const now = Date.now() / 1000;
  for (const { created_at, last_used_at } of list) {
    assertEquals([Number.isInteger(created_at), Number.isInteger(last_used_at)], [true, true]);
    assertEquals(created_at <= last_used_at && last_used_at <= now, true);
  }
});

Deno.test("forget: a conversation that the store cannot remove is reported", async () => {
  const store = new MemoryStore();
  using harness = new ConversationHarness({ mode: "auto", store });
  await harness.run("mao", [user("one")]);
  store.isFull = true;
  const failure = await appErrorOf(Promise.try(() => harness.registry.forget("", undefined)));
  assertEquals([failure.code, harness.turnCounts], ["internal_error", []]);
});
