import { assertEquals } from "@std/assert";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { failureOf, Heard, settled, soon } from "../support/harness/turn_recorder.ts";
import { gate, House } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

const FIRST = [system("Mao"), user("one")];
const SECOND = [...FIRST, assistant("1"), user("two")];
const ALL_OF_SECOND =
  "<system>\nMao\n</system>\n\n<user>\none\n</user>\n\n<assistant>\n1\n</assistant>\n\ntwo";

for (const name of [undefined, "mao"]) {
  const which = name === undefined ? "found by what is said" : "named";

  Deno.test(`forget: an idle conversation, ${which}: its session is closed, deleted, and not brought back`, async () => {
    const store = new MemoryStore();
    using house = new House({ mode: "auto", store });
    house.agent.resumes = true;
    await house.told(name, ...FIRST);
    const [known] = house.conversations.list("");
    assertEquals(house.conversations.forget("", known!.id), 1);
    assertEquals([house.closed, house.agent.forgotten], [[true], ["session-1"]]);
    assertEquals([house.conversations.list(""), store.kept.size], [[], 0]);
    assertEquals((await house.told(name, ...SECOND)).text, ALL_OF_SECOND);
    assertEquals(house.agent.resumed, []);
    assertEquals(house.agent.sessions.map(({ id }) => id), ["session-1", "session-2"]);
  });

  Deno.test(`forget: a closed conversation, ${which}: the agent deletes what it keeps`, async () => {
    const store = new MemoryStore();
    using house = new House({ mode: "auto", store, maxSessions: 0 });
    house.agent.resumes = true;
    await house.told(name, ...FIRST);
    assertEquals(house.closed, [true]);
    assertEquals(house.conversations.forget("", undefined), 1);
    assertEquals([house.agent.forgotten, store.kept.size], [["session-1"], 0]);
    assertEquals((await house.told(name, ...SECOND)).text, ALL_OF_SECOND);
  });

  Deno.test(`forget: a busy conversation, ${which}: its turn is cancelled, then its session closed and deleted`, async () => {
    const store = new MemoryStore();
    using house = new House({ mode: "auto", store });
    const turn = await house.begin(name, FIRST);
    const heard = new Heard();
    turn.read(heard.reader);
    const running = await house.agent.nextPrompt();
    assertEquals(house.conversations.forget("", undefined), 1);
    assertEquals([running.cancels, house.closed, house.agent.forgotten], [1, [false], []]);
    assertEquals(house.conversations.list(""), []);
    // Nobody waits for the one that is forgotten.
    assertEquals((await house.told(name, ...FIRST)).session, house.session(1));
    running.end("cancelled");
    await settled();
    assertEquals(heard.briefs, ["end cancelled"]);
    assertEquals([house.closed, house.agent.forgotten], [[true, false], ["session-1"]]);
    assertEquals(house.slots.running, 0);
    assertEquals(store.kept.size, 1);
  });
}

Deno.test("forget: those that wait in a conversation are told so", async () => {
  using house = new House({ onBusy: "queue" });
  const running = await house.prompted("mao", ...FIRST);
  const waiting = failureOf(house.begin("mao", SECOND));
  house.conversations.forget("", "mao");
  const failure = await waiting;
  assertEquals([failure.code, failure.message], ["turn_cancelled", "The conversation was forgotten."]);
  running.end("cancelled");
  await settled();
  assertEquals([house.agent.prompts.length, house.slots.running, house.closed], [1, 0, [true]]);
});

Deno.test("forget: one whose session is being opened leaves none behind", async () => {
  using house = new House();
  const opens = gate();
  house.agent.opens = opens.promise;
  const begins = failureOf(house.begin("mao", FIRST));
  await settled();
  house.conversations.forget("", "mao");
  assertEquals((await begins).code, "turn_cancelled");
  opens.open();
  await settled();
  assertEquals([house.closed.every(Boolean), house.slots.running], [true, 0]);
  assertEquals((await house.told("mao", ...SECOND)).text, ALL_OF_SECOND);
});

Deno.test("forget: one whose prompt is being put is cancelled once it is taken", async () => {
  using house = new House();
  const takes = gate();
  house.agent.takes = takes.promise;
  const begins = house.begin("mao", FIRST);
  await settled();
  house.conversations.forget("", "mao");
  takes.open();
  await soon(begins, "the turn");
  const prompt = await house.agent.nextPrompt();
  assertEquals(prompt.cancels, 1);
  prompt.end("cancelled");
  await settled();
  assertEquals([house.closed, house.agent.forgotten, house.slots.running], [[true], ["session-1"], 0]);
});

Deno.test("forget: what another key has is not touched, also of the same name", async () => {
  using house = new House();
  const mine = { owner: "mine", name: "mao" };
  const yours = { owner: "yours", name: "mao" };
  for (const whose of [mine, yours]) {
    await house.beginAs(whose, FIRST);
    (await house.agent.nextPrompt()).end();
    await settled();
  }
  assertEquals(house.agent.sessions.length, 2);
  assertEquals(house.conversations.forget("mine", "nobody"), 0);
  assertEquals(house.conversations.forget("mine", "mao"), 1);
  assertEquals(house.closed, [true, false]);
  assertEquals(house.conversations.list("mine"), []);
  assertEquals(house.conversations.list("yours").map(({ id }) => id), ["mao"]);
  assertEquals(house.conversations.forget("yours", undefined), 1);
});

Deno.test("list: each conversation with its state, the one that was used last first", async () => {
  using house = new House({ mode: "auto", maxSessions: 2 });
  await house.told("a", ...FIRST);
  await house.told("b", ...FIRST);
  await house.told("a", ...SECOND);
  await house.told("c", ...FIRST);
  await house.prompted("d", ...FIRST);
  const list = house.conversations.list("");
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

Deno.test("forget: what another server forgot is forgotten here when its turn has ended, and not kept again", async () => {
  const store = new MemoryStore();
  using house = new House({ mode: "auto", store });
  await house.told("mao", user("one"));
  store.kept.clear();
  const prompt = await house.prompted("mao", user("one"), assistant("1"), user("two"));
  assertEquals([prompt.cancels, prompt.session.closed.aborted], [0, false]);
  prompt.end();
  await settled();
  assertEquals([prompt.session.closed.aborted, house.agent.forgotten], [true, [prompt.session.id]]);
  assertEquals([house.conversations.list("").length, store.kept.size], [0, 0]);
  assertEquals((await house.told("mao", user("three"))).session, house.session(1));
  assertEquals([house.conversations.list("").length, store.kept.size], [1, 1]);
});

Deno.test("forget: all of a key are forgotten, also those that another server keeps in the same place, and nobody else's", async () => {
  const store = new MemoryStore();
  using here = new House({ mode: "auto", store });
  using there = new House({ mode: "auto", store });
  await here.told("mao", user("one"));
  await there.told("zoe", user("one"));
  await there.beginAs({ owner: "another", name: "zoe" }, [user("one")]);
  assertEquals([here.conversations.forget("", undefined), store.kept.size], [1, 1]);
  await there.told("zoe", user("one"), assistant("1"), user("two"));
  assertEquals([there.conversations.list("").length, there.conversations.list("another").length], [0, 1]);
  store.isFull = true;
  assertEquals(
    (await failureOf(Promise.try(() => here.conversations.forget("", undefined)))).code,
    "internal_error",
  );
});
