import { assertEquals, assertStrictEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { appErrorOf, nextTask, summarize, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";
import { ConversationHarness, crash } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

Deno.test("Conversations: one without a name gets a session of its own, closed when its turn has ended", async () => {
  using harness = new ConversationHarness();
  const one = await harness.prompt(undefined, system("Mao"), user("one"));
  const two = await harness.prompt(undefined, user("one"));
  assertEquals(one.text, "<system>\nMao\n</system>\n\none");
  assertEquals(two.text, "one");
  assertEquals([harness.closed, harness.turnLimiter.running, harness.registry.running.size], [
    [false, false],
    2,
    2,
  ]);
  one.end();
  await nextTask();
  assertEquals([harness.closed, harness.turnLimiter.running, harness.registry.running.size], [
    [true, false],
    1,
    1,
  ]);
  two.fail(new AppError("agent_error", "No."));
  await nextTask();
  assertEquals([harness.closed, harness.turnLimiter.running, harness.registry.running.size], [
    [true, true],
    0,
    0,
  ]);
});

Deno.test("Conversations: one with a name keeps its session, and hears only what is new", async () => {
  using harness = new ConversationHarness();
  const first = [system("Mao"), user("one")];
  await harness.run("a", first);
  const second = [...first, assistant("1"), user("two")];
  assertEquals((await harness.run("a", second)).text, "two");
  assertEquals((await harness.run("a", [...second, assistant("2"), user("three")])).text, "three");
  assertEquals((await harness.run("b", first)).text, "<system>\nMao\n</system>\n\none");
  assertEquals(harness.closed, [false, false]);
});

Deno.test("Conversations: a session takes what its agent takes", async () => {
  using harness = new ConversationHarness();
  harness.agent.promptCapabilities = { image: false, audio: false };
  const image = { type: "image", mimeType: "image/png", data: "YQ==" } as const;
  const prompt = await harness.run(undefined, [{ role: "user", parts: [image] }]);
  assertEquals(prompt.blocks.map((block) => block.type), ["text"]);
});

Deno.test("Conversations: a newer turn cancels the running one, and begins when that has really ended", async () => {
  using harness = new ConversationHarness();
  const messages = [user("one")];
  const first = await harness.start("a", messages);
  const heard = new TurnRecorder();
  first.read(heard.reader);
  const running = await harness.agent.nextPrompt();
  const next = harness.start("a", [...messages, user("two")]);
  assertEquals(running.cancelCount, 1);
  await nextTask();
  assertEquals(harness.agent.prompts.length, 1);
  running.say("too late to stop");
  await nextTask();
  assertEquals(harness.agent.prompts.length, 1);
  running.end("cancelled");
  await waitFor(next, "the next turn");
  assertEquals((await harness.agent.nextPrompt()).text, "two");
  assertEquals(heard.summaries, ["text too late to stop", "end cancelled"]);
  assertEquals(harness.agent.sessions.length, 1);
});

Deno.test("Conversations: turns of others are left alone", async () => {
  using harness = new ConversationHarness();
  const one = await harness.prompt("a", user("one"));
  const two = await harness.prompt("b", user("one"));
  await harness.prompt(undefined, user("one"));
  assertEquals([one.cancelCount, two.cancelCount], [0, 0]);
});

Deno.test("Conversations: of several that wait only the newest runs, the others are told so at once", async () => {
  using harness = new ConversationHarness();
  const running = await harness.prompt("a", user("one"));
  const waiting = ["two", "three", "four"].map((text) => harness.start("a", [user("one"), user(text)]));
  const last = harness.start("a", [user("one"), user("five")]);
  for (const refused of waiting) assertEquals((await appErrorOf(refused)).code, "turn_cancelled");
  assertEquals([harness.agent.prompts.length, harness.turnLimiter.running], [1, 2]);
  running.end("cancelled");
  await waitFor(last, "the newest turn");
  assertEquals((await harness.agent.nextPrompt()).text, "five");
  assertEquals([harness.agent.prompts.length, harness.turnLimiter.running], [2, 1]);
});

Deno.test("Conversations: a newer turn takes the place of one that still opens its session", async () => {
  using harness = new ConversationHarness();
  const opens = Promise.withResolvers<void>();
  harness.agent.openGate = opens.promise;
  const first = harness.start("a", [user("one")]);
  await nextTask();
  const second = harness.start("a", [user("two")]);
  assertEquals((await appErrorOf(first)).code, "turn_cancelled");
  opens.resolve();
  await waitFor(second, "the newer turn");
  assertEquals((await harness.agent.nextPrompt()).text, "one\n\ntwo");
  assertEquals(harness.turnLimiter.running, 1);
});

Deno.test("Conversations: a newer turn that comes while a prompt is put cancels it once it is taken", async () => {
  using harness = new ConversationHarness();
  const takes = Promise.withResolvers<void>();
  harness.agent.promptGate = takes.promise;
  const first = harness.start("a", [user("one")]);
  await nextTask();
  const second = harness.start("a", [user("one"), user("two")]);
  await nextTask();
  takes.resolve();
  const superseded = await waitFor(first, "the first turn");
  const prompt = await harness.agent.nextPrompt();
  assertEquals([prompt.text, prompt.cancelCount], ["one", 1]);
  assertEquals(harness.agent.prompts.length, 1);
  prompt.end("cancelled");
  const heard = new TurnRecorder();
  superseded.read(heard.reader);
  assertEquals(heard.summaries, ["end cancelled"]);
  await waitFor(second, "the second turn");
  assertEquals((await harness.agent.nextPrompt()).text, "two");
});

Deno.test("Conversations: a session that is lost is opened anew, and told everything", async () => {
  using harness = new ConversationHarness();
  const messages = [system("Mao"), user("one"), assistant("1"), user("two")];
  await harness.run("a", messages.slice(0, 2));
  harness.session(0).close();
  assertEquals(
    (await harness.run("a", messages)).text,
    "<system>\nMao\n</system>\n\n<user>\none\n</user>\n\n<assistant>\n1\n</assistant>\n\ntwo",
  );
  assertEquals((await harness.run("a", [...messages, assistant("2"), user("three")])).text, "three");
  assertEquals(harness.agent.sessions.length, 2);
});

Deno.test("Conversations: an agent that dies in a turn ends it, and the next turn is told everything", async () => {
  using harness = new ConversationHarness();
  const turn = await harness.start("a", [user("one")]);
  const heard = new TurnRecorder();
  turn.read(heard.reader);
  crash(harness.session(0));
  await nextTask();
  assertEquals([heard.summaries, harness.turnLimiter.running], [["failure agent_crashed"], 0]);
  await harness.agent.nextPrompt();
  const prompt = await harness.run("a", [user("one"), assistant("1"), user("two")]);
  assertEquals(prompt.text, "<user>\none\n</user>\n\n<assistant>\n1\n</assistant>\n\ntwo");
});

Deno.test("Conversations: an agent that cannot be opened is said, and tried again by the next turn", async () => {
  using harness = new ConversationHarness();
  const failure = harness.agent.openError = new AppError("agent_unavailable", "Not yet.", {
    retryAfterSecs: 2,
  });
  for (const name of ["a", undefined]) {
    assertStrictEquals(await appErrorOf(harness.start(name, [user("one")])), failure);
  }
  assertEquals([harness.turnLimiter.running, harness.registry.running.size], [0, 0]);
  harness.agent.openError = undefined;
  assertEquals((await harness.run("a", [user("one")])).text, "one");
});

Deno.test("Conversations: a prompt that is not taken is said, and what was to be told is told by the next", async () => {
  using harness = new ConversationHarness();
  await harness.run("a", [user("one")]);
  harness.agent.promptError = new AppError("agent_unavailable", "Gone.", { retryAfterSecs: 1 });
  const second = [user("one"), assistant("1"), user("two")];
  assertEquals((await appErrorOf(harness.start("a", second))).code, "agent_unavailable");
  assertEquals(harness.turnLimiter.running, 0);
  harness.agent.promptError = undefined;
  assertEquals((await harness.run("a", [...second, user("three")])).text, "two\n\nthree");
  assertEquals(harness.agent.sessions.length, 1);
});

Deno.test("Conversations: a one-off whose prompt is not taken leaves no session behind", async () => {
  using harness = new ConversationHarness();
  harness.agent.promptError = new AppError("agent_unavailable", "Gone.");
  await appErrorOf(harness.start(undefined, [user("one")]));
  assertEquals([harness.closed, harness.turnLimiter.running], [[true], 0]);
});

Deno.test("Conversations: who observes hears every turn", async () => {
  const heard: [string, string][] = [];
  using harness = new ConversationHarness({
    observer: {
      wantsSpeech: false,
      onStart: (turn) => heard.push([turn.id, "begun"]),
      onEvent: (event, turn) => heard.push([turn.id, summarize(event)]),
    },
  });
  const turn = await harness.start("a", [user("one")]);
  const prompt = await harness.agent.nextPrompt();
  prompt.say("hi");
  prompt.end();
  assertEquals(heard, [[turn.id, "begun"], [turn.id, "text hi"], [turn.id, "end end_turn"]]);
});

Deno.test("Conversations: a recorded turn can be read twice", async () => {
  using harness = new ConversationHarness();
  const messages = [user("one")];
  const turn = await harness.registry.startTurn({ conversation: undefined, messages, record: true });
  (await harness.agent.nextPrompt()).end();
  for (const heard of [new TurnRecorder(), new TurnRecorder()]) {
    turn.read(heard.reader);
    assertEquals(heard.summaries, ["end end_turn"]);
  }
});

Deno.test("Conversations: what was not told of a history that nobody knows is told with the next turn", async () => {
  using harness = new ConversationHarness();
  await harness.run("a", [user("one")]);
  const other = [user("another"), assistant("1"), user("two")];
  harness.agent.promptError = new AppError("agent_unavailable", "Gone.");
  await appErrorOf(harness.start("a", other));
  harness.agent.promptError = undefined;
  assertEquals((await harness.run("a", [...other, user("three")])).text, "two\n\nthree");
});
