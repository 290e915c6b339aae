import { assertEquals, assertStrictEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { brief, failureOf, Heard, settled, soon } from "../support/harness/turn_recorder.ts";
import { crash, gate, House } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

Deno.test("Conversations: one without a name gets a session of its own, closed when its turn has ended", async () => {
  using house = new House();
  const one = await house.prompted(undefined, system("Mao"), user("one"));
  const two = await house.prompted(undefined, user("one"));
  assertEquals(one.text, "<system>\nMao\n</system>\n\none");
  assertEquals(two.text, "one");
  assertEquals([house.closed, house.slots.running, house.conversations.running.size], [[false, false], 2, 2]);
  one.end();
  await settled();
  assertEquals([house.closed, house.slots.running, house.conversations.running.size], [[true, false], 1, 1]);
  two.fail(new AppError("agent_error", "No."));
  await settled();
  assertEquals([house.closed, house.slots.running, house.conversations.running.size], [[true, true], 0, 0]);
});

Deno.test("Conversations: one with a name keeps its session, and hears only what is new", async () => {
  using house = new House();
  const first = [system("Mao"), user("one")];
  await house.told("a", ...first);
  const second = [...first, assistant("1"), user("two")];
  assertEquals((await house.told("a", ...second)).text, "two");
  assertEquals((await house.told("a", ...second, assistant("2"), user("three"))).text, "three");
  assertEquals((await house.told("b", ...first)).text, "<system>\nMao\n</system>\n\none");
  assertEquals(house.closed, [false, false]);
});

Deno.test("Conversations: a session takes what its agent takes", async () => {
  using house = new House();
  house.agent.accepts = { image: false, audio: false };
  const image = { type: "image", mimeType: "image/png", data: "YQ==" } as const;
  const prompt = await house.told(undefined, { role: "user", parts: [image] });
  assertEquals(prompt.blocks.map((block) => block.type), ["text"]);
});

Deno.test("Conversations: a newer turn cancels the running one, and begins when that has really ended", async () => {
  using house = new House();
  const messages = [user("one")];
  const first = await house.begin("a", messages);
  const heard = new Heard();
  first.read(heard.reader);
  const running = await house.agent.nextPrompt();
  const next = house.begin("a", [...messages, user("two")]);
  assertEquals(running.cancels, 1);
  await settled();
  assertEquals(house.agent.prompts.length, 1);
  running.say("too late to stop");
  await settled();
  assertEquals(house.agent.prompts.length, 1);
  running.end("cancelled");
  await soon(next, "the next turn");
  assertEquals((await house.agent.nextPrompt()).text, "two");
  assertEquals(heard.briefs, ["text too late to stop", "end cancelled"]);
  assertEquals(house.agent.sessions.length, 1);
});

Deno.test("Conversations: turns of others are left alone", async () => {
  using house = new House();
  const one = await house.prompted("a", user("one"));
  const two = await house.prompted("b", user("one"));
  await house.prompted(undefined, user("one"));
  assertEquals([one.cancels, two.cancels], [0, 0]);
});

Deno.test("Conversations: of several that wait only the newest runs, the others are told so at once", async () => {
  using house = new House();
  const running = await house.prompted("a", user("one"));
  const waiting = ["two", "three", "four"].map((text) => house.begin("a", [user("one"), user(text)]));
  const last = house.begin("a", [user("one"), user("five")]);
  for (const refused of waiting) assertEquals((await failureOf(refused)).code, "turn_cancelled");
  assertEquals([house.agent.prompts.length, house.slots.running], [1, 2]);
  running.end("cancelled");
  await soon(last, "the newest turn");
  assertEquals((await house.agent.nextPrompt()).text, "five");
  assertEquals([house.agent.prompts.length, house.slots.running], [2, 1]);
});

Deno.test("Conversations: a newer turn takes the place of one that still opens its session", async () => {
  using house = new House();
  const opens = gate();
  house.agent.opens = opens.promise;
  const first = house.begin("a", [user("one")]);
  await settled();
  const second = house.begin("a", [user("two")]);
  assertEquals((await failureOf(first)).code, "turn_cancelled");
  opens.open();
  await soon(second, "the newer turn");
  assertEquals((await house.agent.nextPrompt()).text, "one\n\ntwo");
  assertEquals(house.slots.running, 1);
});

Deno.test("Conversations: a newer turn that comes while a prompt is put cancels it once it is taken", async () => {
  using house = new House();
  const takes = gate();
  house.agent.takes = takes.promise;
  const first = house.begin("a", [user("one")]);
  await settled();
  const second = house.begin("a", [user("one"), user("two")]);
  await settled();
  takes.open();
  const superseded = await soon(first, "the first turn");
  const prompt = await house.agent.nextPrompt();
  assertEquals([prompt.text, prompt.cancels], ["one", 1]);
  assertEquals(house.agent.prompts.length, 1);
  prompt.end("cancelled");
  const heard = new Heard();
  superseded.read(heard.reader);
  assertEquals(heard.briefs, ["end cancelled"]);
  await soon(second, "the second turn");
  assertEquals((await house.agent.nextPrompt()).text, "two");
});

Deno.test("Conversations: a session that is lost is opened anew, and told everything", async () => {
  using house = new House();
  const messages = [system("Mao"), user("one"), assistant("1"), user("two")];
  await house.told("a", ...messages.slice(0, 2));
  house.session(0).close();
  assertEquals(
    (await house.told("a", ...messages)).text,
    "<system>\nMao\n</system>\n\n<user>\none\n</user>\n\n<assistant>\n1\n</assistant>\n\ntwo",
  );
  assertEquals((await house.told("a", ...messages, assistant("2"), user("three"))).text, "three");
  assertEquals(house.agent.sessions.length, 2);
});

Deno.test("Conversations: an agent that dies in a turn ends it, and the next turn is told everything", async () => {
  using house = new House();
  const turn = await house.begin("a", [user("one")]);
  const heard = new Heard();
  turn.read(heard.reader);
  crash(house.session(0));
  await settled();
  assertEquals([heard.briefs, house.slots.running], [["failure agent_crashed"], 0]);
  await house.agent.nextPrompt();
  const prompt = await house.told("a", user("one"), assistant("1"), user("two"));
  assertEquals(prompt.text, "<user>\none\n</user>\n\n<assistant>\n1\n</assistant>\n\ntwo");
});

Deno.test("Conversations: an agent that cannot be opened is said, and tried again by the next turn", async () => {
  using house = new House();
  const failure = house.agent.openFailure = new AppError("agent_unavailable", "Not yet.", {
    retryAfterSecs: 2,
  });
  for (const name of ["a", undefined]) {
    assertStrictEquals(await failureOf(house.begin(name, [user("one")])), failure);
  }
  assertEquals([house.slots.running, house.conversations.running.size], [0, 0]);
  house.agent.openFailure = undefined;
  assertEquals((await house.told("a", user("one"))).text, "one");
});

Deno.test("Conversations: a prompt that is not taken is said, and what was to be told is told by the next", async () => {
  using house = new House();
  await house.told("a", user("one"));
  house.agent.promptFailure = new AppError("agent_unavailable", "Gone.", { retryAfterSecs: 1 });
  const second = [user("one"), assistant("1"), user("two")];
  assertEquals((await failureOf(house.begin("a", second))).code, "agent_unavailable");
  assertEquals(house.slots.running, 0);
  house.agent.promptFailure = undefined;
  assertEquals((await house.told("a", ...second, user("three"))).text, "two\n\nthree");
  assertEquals(house.agent.sessions.length, 1);
});

Deno.test("Conversations: a one-off whose prompt is not taken leaves no session behind", async () => {
  using house = new House();
  house.agent.promptFailure = new AppError("agent_unavailable", "Gone.");
  await failureOf(house.begin(undefined, [user("one")]));
  assertEquals([house.closed, house.slots.running], [[true], 0]);
});

Deno.test("Conversations: who observes hears every turn", async () => {
  const heard: [string, string][] = [];
  using house = new House({
    observer: {
      onStart: (turn) => heard.push([turn.id, "begun"]),
      onEvent: (event, turn) => heard.push([turn.id, brief(event)]),
    },
  });
  const turn = await house.begin("a", [user("one")]);
  const prompt = await house.agent.nextPrompt();
  prompt.say("hi");
  prompt.end();
  assertEquals(heard, [[turn.id, "begun"], [turn.id, "text hi"], [turn.id, "end end_turn"]]);
});

Deno.test("Conversations: a recorded turn can be read twice", async () => {
  using house = new House();
  const messages = [user("one")];
  const turn = await house.conversations.startTurn({ conversation: undefined, messages, record: true });
  (await house.agent.nextPrompt()).end();
  for (const heard of [new Heard(), new Heard()]) {
    turn.read(heard.reader);
    assertEquals(heard.briefs, ["end end_turn"]);
  }
});

Deno.test("Conversations: what was not told of a history that nobody knows is told with the next turn", async () => {
  using house = new House();
  await house.told("a", user("one"));
  const other = [user("another"), assistant("1"), user("two")];
  house.agent.promptFailure = new AppError("agent_unavailable", "Gone.");
  await failureOf(house.begin("a", other));
  house.agent.promptFailure = undefined;
  assertEquals((await house.told("a", ...other, user("three"))).text, "two\n\nthree");
});
