import { assertEquals } from "@std/assert";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";
import { appErrorOf, nextTask, TurnRecorder } from "../support/harness/turn_recorder.ts";

const FIRST = [system("Mao"), user("one")];
const SECOND = [...FIRST, assistant("1"), user("two")];
const ALL_OF_SECOND =
  "<system>\nMao\n</system>\n\n<user>\none\n</user>\n\n<assistant>\n1\n</assistant>\n\ntwo";

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "matched" : "named";

  for (const maxSessions of [100, 0]) {
    Deno.test(`forget: ${maxSessions ? "an idle" : "a closed"} conversation, ${which}: its session is deleted, not resumed`, async () => {
      const store = new MemoryStore();
      using harness = new ConversationHarness({ mode: "auto", store, maxSessions });
      harness.agent.resumes = true;
      await harness.run(name, FIRST);
      const [listed] = harness.registry.list("");
      assertEquals(harness.registry.forget("", listed!.id), 1);
      assertEquals([harness.closed, harness.agent.deleted], [[true], ["session-1"]]);
      assertEquals([harness.turnCounts, store.records.size], [[], 0]);
      assertEquals((await harness.run(name, SECOND)).text, ALL_OF_SECOND);
      assertEquals(harness.agent.resumed, []);
      assertEquals(harness.agent.sessions.map(({ id }) => id), ["session-1", "session-2"]);
    });
  }

  Deno.test(`forget: a busy conversation, ${which}: its turn is cancelled, its session deleted, and it is not saved again`, async () => {
    const store = new MemoryStore();
    using harness = new ConversationHarness({ mode: "auto", store });
    const recorder = new TurnRecorder();
    (await harness.start(name, FIRST)).read(recorder.reader);
    const running = await harness.agent.nextPrompt();
    assertEquals(harness.registry.forget("", undefined), 1);
    assertEquals([running.cancelCount, harness.closed, harness.agent.deleted], [1, [false], []]);
    assertEquals(harness.registry.list(""), []);
    running.say("Too late.");
    running.end("cancelled");
    await nextTask();
    assertEquals(recorder.summaries, ["end cancelled"]);
    assertEquals([harness.closed, harness.agent.deleted, harness.running], [[true], ["session-1"], 0]);
    assertEquals(store.records.size, 0);
  });

  Deno.test(`forget: a request after it does not wait for the cancelled turn, ${which}`, async () => {
    using harness = new ConversationHarness({ mode: "auto" });
    await harness.prompt(name, ...FIRST);
    harness.registry.forget("", undefined);
    assertEquals((await harness.run(name, FIRST)).session, harness.session(1));
  });
}

Deno.test("forget: a session that was replaced is deleted too", async () => {
  using harness = new ConversationHarness();
  for (const text of ["one", "two"]) (await harness.prompt("mao", user(text))).end("refusal");
  await harness.agent.nextPrompt().then((prompt) => prompt.end());
  await nextTask();
  assertEquals(harness.registry.forget("", undefined), 1);
  assertEquals(harness.agent.deleted, ["session-1", "session-2"]);
});

Deno.test("forget: the conversations of another key stay, also one of the same name", async () => {
  using harness = new ConversationHarness();
  for (const owner of ["mine", "yours"]) {
    await harness.startAs({ owner, name: "mao" }, FIRST);
    (await harness.agent.nextPrompt()).end();
    await nextTask();
  }
  assertEquals(harness.agent.sessions.length, 2);
  assertEquals(harness.registry.forget("mine", "unknown"), 0);
  assertEquals(harness.registry.forget("mine", "mao"), 1);
  assertEquals([harness.closed, harness.registry.list("mine")], [[true, false], []]);
  assertEquals(harness.registry.list("yours").map(({ id }) => id), ["mao"]);
  assertEquals(harness.registry.forget("yours", undefined), 1);
});

Deno.test("forget: a conversation that the store cannot remove is reported", async () => {
  const store = new MemoryStore();
  using harness = new ConversationHarness({ mode: "auto", store });
  await harness.run("mao", FIRST);
  store.isFull = true;
  const failure = await appErrorOf(Promise.try(() => harness.registry.forget("", undefined)));
  assertEquals([failure.code, harness.turnCounts], ["internal_error", []]);
});
