import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { ConversationHarness } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";
import { appErrorOf, nextTask, summarize } from "../support/harness/turn_recorder.ts";

const FIRST = [system("Mao"), user("one")];
const SECOND = [...FIRST, assistant("1"), user("two")];
const THIRD = [...SECOND, assistant("2"), user("three")];

Deno.test("registry: a request without a conversation gets its own session, closed after the turn", async () => {
  using harness = new ConversationHarness();
  const one = await harness.prompt(undefined, ...FIRST);
  const two = await harness.prompt(undefined, user("one"));
  const state = () => [...harness.closed, harness.running, harness.registry.running.size];
  assertEquals([one.text, two.text], ["<system>\nMao\n</system>\n\none", "one"]);
  assertEquals(state(), [false, false, 2, 2]);
  one.end();
  await nextTask();
  assertEquals(state(), [true, false, 1, 1]);
  two.fail(new AppError("agent_error", "No."));
  await nextTask();
  assertEquals(state(), [true, true, 0, 0]);
});

Deno.test("registry: a named conversation keeps its session, which gets only what is new", async () => {
  using harness = new ConversationHarness();
  const prompts = [];
  for (const messages of [FIRST, SECOND, THIRD]) prompts.push((await harness.run("a", messages)).text);
  assertEquals(prompts, ["<system>\nMao\n</system>\n\none", "two", "three"]);
  assertEquals((await harness.run("b", FIRST)).text, "<system>\nMao\n</system>\n\none");
  assertEquals(harness.closed, [false, false]);
});

Deno.test("registry: an agent that cannot be opened fails the request, and is tried again by the next", async () => {
  using harness = new ConversationHarness();
  const error = harness.agent.openError = new AppError("agent_unavailable", "Not yet.", {
    retryAfterSecs: 2,
  });
  for (const name of ["a", undefined]) {
    const { message, retryAfterSecs } = await appErrorOf(harness.start(name, [user("one")]));
    assertEquals([message, retryAfterSecs], [error.message, error.retryAfterSecs]);
  }
  assertEquals([harness.running, harness.registry.running.size], [0, 0]);
  harness.agent.openError = undefined;
  assertEquals((await harness.run("a", [user("one")])).text, "one");
});

Deno.test("registry: a request without a conversation leaves no session if its prompt is not taken", async () => {
  using harness = new ConversationHarness();
  harness.agent.promptError = new AppError("agent_unavailable", "Gone.");
  await appErrorOf(harness.start(undefined, [user("one")]));
  assertEquals([harness.closed, harness.running], [[true], 0]);
});

Deno.test("registry: the observer gets every event", async () => {
  const events: [string, string][] = [];
  using harness = new ConversationHarness({
    observer: {
      wantsSpeech: false,
      onStart: (turn) => events.push([turn.id, "start"]),
      onEvent: (event, turn) => void events.push([turn.id, summarize(event)]),
    },
  });
  const turn = await harness.start("a", [user("one")]);
  const prompt = await harness.agent.nextPrompt();
  prompt.say("hi");
  prompt.end();
  assertEquals(events, [[turn.id, "start"], [turn.id, "text hi"], [turn.id, "end end_turn"]]);
});

Deno.test("registry: the sessions of one key close none of another's, however many it opens", async () => {
  using harness = new ConversationHarness({ mode: "auto", maxSessions: 3 });
  await harness.run("mine", FIRST);
  for (let number = 0; number < 5; number++) {
    await harness.startAs({ owner: "other", name: `${number}` }, FIRST);
    (await harness.agent.nextPrompt()).end();
    await nextTask();
  }
  const states = (key: string) => harness.registry.list(key).map(({ state }) => state);
  assertEquals([states(""), states("other")], [["open"], ["open", "open", "closed", "closed", "closed"]]);
});

Deno.test("registry: conversations are listed with their state, the last used one first", async () => {
  using harness = new ConversationHarness({ mode: "auto", maxSessions: 2 });
  for (const [name, messages] of [["a", FIRST], ["b", FIRST], ["a", SECOND], ["c", FIRST]] as const) {
    await harness.run(name, messages);
  }
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
