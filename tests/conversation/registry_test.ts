import { assertEquals, assertStrictEquals } from "@std/assert";
import { aborted } from "../../lib/turn/abort.ts";
import { BUSY_MODES } from "../../lib/conversation/policy.ts";
import { Failure } from "../../lib/turn/failure.ts";
import { brief, failureOf, Heard, settled, soon } from "../turn/heard.ts";
import { crash, gate, House } from "./house.ts";
import { assistant, system, user } from "./said.ts";

const MAO = system("You are Mao.");

Deno.test("Conversations: one without a name gets a session of its own, closed when its turn has ended", async () => {
  using house = new House();
  const one = await house.prompted(undefined, system("Mao"), user("one"));
  const two = await house.prompted(undefined, user("one"));
  assertEquals(one.text, "<system>\nMao\n</system>\n\none");
  assertEquals(two.text, "one");
  assertEquals([house.closed, house.slots.used, house.conversations.running.size], [[false, false], 2, 2]);
  one.end();
  await settled();
  assertEquals([house.closed, house.slots.used, house.conversations.running.size], [[true, false], 1, 1]);
  two.fail(new Failure("agent_error", "No."));
  await settled();
  assertEquals([house.closed, house.slots.used, house.conversations.running.size], [[true, true], 0, 0]);
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
  assertEquals([house.agent.prompts.length, house.slots.used], [1, 2]);
  running.end("cancelled");
  await soon(last, "the newest turn");
  assertEquals((await house.agent.nextPrompt()).text, "five");
  assertEquals([house.agent.prompts.length, house.slots.used], [2, 1]);
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
  assertEquals(house.slots.used, 1);
});

for (const onBusy of BUSY_MODES) {
  Deno.test(`Conversations: ${onBusy}: nobody's turn comes between those of a holder`, async () => {
    using house = new House({ onBusy, limit: 2 });
    using hold = house.conversations.hold();
    const conversation = { owner: "", name: "a" };
    await house.conversations.begin({ conversation, hold, messages: [user("one")], record: false });
    const first = await house.agent.nextPrompt();
    const other = house.begin("a", [user("one"), assistant("1"), user("two")]);
    other.catch(() => {});
    await settled();
    first.end(first.cancels > 0 ? "cancelled" : "end_turn");
    await settled();
    const again = house.conversations.begin({
      conversation: hold,
      hold,
      messages: [user("again")],
      record: false,
    });
    if (onBusy === "supersede") {
      const failure = await failureOf(again);
      assertEquals([failure.code, failure.prompted, failure.conversation], ["turn_cancelled", true, "a"]);
    } else {
      await soon(again, "the holder's second turn");
      const second = await house.agent.nextPrompt();
      assertEquals([second.text, second.session], ["again", first.session]);
      second.end();
      await settled();
      assertEquals(house.slots.used, 1);
    }
    hold[Symbol.dispose]();
    if (onBusy === "reject") {
      assertEquals((await failureOf(other)).code, "session_busy");
      assertEquals(house.slots.used, 0);
    } else {
      await soon(other, "the other turn");
      assertEquals((await house.agent.nextPrompt()).text, "two");
      assertEquals(house.slots.used, 1);
    }
  });
}

Deno.test("Conversations: a holder that was interrupted or forgotten between its turns has no second one", async () => {
  for (const end of ["interrupt", "forget"] as const) {
    using house = new House();
    using hold = house.conversations.hold();
    const conversation = { owner: "", name: "a" };
    await house.conversations.begin({ conversation, hold, messages: [user("one")], record: false });
    const first = await house.agent.nextPrompt();
    if (end === "interrupt") house.conversations.interrupt("a");
    else house.conversations.forget("", "a");
    first.end("cancelled");
    await settled();
    const again = house.conversations.begin({
      conversation: hold,
      hold,
      messages: [user("again")],
      record: false,
    });
    assertEquals((await failureOf(again)).code, "turn_cancelled");
    assertEquals([house.agent.prompts.length, house.slots.used], [1, 0]);
  }
});

Deno.test("Conversations: an interrupt cancels what runs, of one conversation or of all, and tells how many", async () => {
  using house = new House();
  const [one, two] = [await house.prompted("a", user("one")), await house.prompted("b", user("two"))];
  const alone = await house.prompted(undefined, user("three"));
  assertEquals([house.conversations.interrupt("nobody"), house.conversations.interrupt("b")], [0, 1]);
  assertEquals([one.cancels, two.cancels, alone.cancels], [0, 1, 0]);
  assertEquals([house.conversations.interrupt(alone.session.id), alone.cancels], [1, 1]);
  for (const prompt of [two, alone]) prompt.end("cancelled");
  await settled();
  assertEquals([house.conversations.interrupt(undefined), one.cancels], [1, 1]);
  one.end("cancelled");
  await settled();
  assertEquals([house.conversations.interrupt(undefined), house.slots.used], [0, 0]);
});

Deno.test("Conversations: an interrupt refuses a turn that waits for its agent, and the next one begins", async () => {
  using house = new House();
  const opens = gate();
  house.agent.opens = opens.promise;
  for (const [name, meant] of [["a", "a"], ["a", undefined], [undefined, undefined]] as const) {
    const first = house.begin(name, [user("one")]);
    const refused = failureOf(first);
    await settled();
    assertEquals(house.conversations.interrupt(meant), 1);
    const failure = await refused;
    assertEquals([failure.code, failure.message], ["turn_cancelled", "The turn was interrupted."]);
    assertEquals([house.slots.used, house.conversations.interrupt(undefined)], [0, 0]);
  }
  opens.open();
  assertEquals((await house.prompted("a", user("two"))).text, "two");
});

Deno.test("Conversations: an interrupt while a prompt is put cancels it once it is taken", async () => {
  using house = new House();
  const takes = gate();
  house.agent.takes = takes.promise;
  const begins = house.begin("a", [user("one")]);
  await settled();
  assertEquals(house.conversations.interrupt("a"), 1);
  takes.open();
  await soon(begins, "the turn");
  assertEquals((await house.agent.nextPrompt()).cancels, 1);
});

Deno.test("Conversations: an interrupt refuses one that took the place of a turn that has not ended yet", async () => {
  using house = new House();
  const running = await house.prompted("a", user("one"));
  const next = failureOf(house.begin("a", [user("one"), user("two")]));
  await settled();
  assertEquals(house.conversations.interrupt("a"), 2);
  assertEquals((await next).message, "The turn was interrupted.");
  running.end("cancelled");
  await settled();
  assertEquals([house.agent.prompts.length, house.slots.used], [1, 0]);
});

Deno.test("Conversations: an interrupt leaves alone what waits for another turn, which comes next", async () => {
  using house = new House({ onBusy: "queue" });
  const running = await house.prompted("a", user("one"));
  const next = house.begin("a", [user("one"), user("two")]);
  await settled();
  assertEquals([house.conversations.interrupt("a"), running.cancels], [1, 1]);
  running.end("cancelled");
  await soon(next, "the next turn");
  assertEquals((await house.agent.nextPrompt()).text, "two");
});

for (const isCold of [true, false]) {
  Deno.test(`Conversations: what was superseded before the agent got it is told for who sends only the newest message, ${isCold ? "cold" : "warm"}`, async () => {
    using house = new House();
    const running = isCold ? undefined : await house.prompted("a", user("one"));
    const opens = gate();
    house.agent.opens = opens.promise;
    for (const text of ["two", "three"]) {
      const passed = house.begin("a", [MAO, user(text)]);
      passed.catch(() => {});
      await settled();
    }
    const last = house.begin("a", [MAO, user("four")]);
    await settled();
    opens.open();
    running?.end("cancelled");
    await soon(last, "the newest turn");
    const { text } = await house.agent.nextPrompt();
    const told = [...text.matchAll(/Mao|two|three|four/g)].map(([word]) => word);
    assertEquals(told, ["Mao", "two", "three", "four"]);
    house.agent.prompts.at(-1)!.end();
    await settled();
    assertEquals((await house.prompted("a", user("five"))).text, "five");
  });
}

Deno.test("Conversations: what was superseded is not told twice, to who sends it again or goes on without it", async () => {
  for (
    const [messages, told] of [
      [[user("two"), user("three")], "two\n\nthree"],
      [[user("two")], "two"],
      [[user("one"), assistant("1"), user("three")], "three"],
    ] as const
  ) {
    using house = new House();
    const running = await house.prompted("a", user("one"));
    running.end();
    await settled();
    const takes = gate();
    house.agent.opens = takes.promise;
    house.session(0).close();
    house.agent.resumes = true;
    const passed = house.begin("a", [user("two")]);
    passed.catch(() => {});
    await settled();
    const last = house.begin("a", messages);
    takes.open();
    await soon(last, "the newest turn");
    assertEquals((await house.agent.nextPrompt()).text, told);
  }
});

Deno.test("Conversations: what was superseded is kept in nobody's way: eight turns, none of them endless", async () => {
  using house = new House();
  const opens = gate();
  house.agent.opens = opens.promise;
  const endless = "x".repeat(256 * 1024 + 1);
  const texts = [...Array.from({ length: 10 }, (_, index) => `turn ${index}`), endless];
  for (const text of texts) house.begin("a", [user(text)]).catch(() => {});
  const last = house.begin("a", [user("last")]);
  opens.open();
  await soon(last, "the newest turn");
  const { text } = await house.agent.nextPrompt();
  // That of the one that was too long is gone; so are those of the oldest.
  assertEquals(text, [2, 3, 4, 5, 6, 7, 8, 9].map((index) => `turn ${index}\n\n`).join("") + "last");
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
  assertEquals([heard.briefs, house.slots.used], [["failure agent_crashed"], 0]);
  await house.agent.nextPrompt();
  const prompt = await house.told("a", user("one"), assistant("1"), user("two"));
  assertEquals(prompt.text, "<user>\none\n</user>\n\n<assistant>\n1\n</assistant>\n\ntwo");
});

Deno.test("Conversations: an agent that cannot be opened is said, and tried again by the next turn", async () => {
  using house = new House();
  const failure = house.agent.openFailure = new Failure("agent_unavailable", "Not yet.", {
    retryAfterSecs: 2,
  });
  for (const name of ["a", undefined]) {
    assertStrictEquals(await failureOf(house.begin(name, [user("one")])), failure);
  }
  assertEquals([house.slots.used, house.conversations.running.size], [0, 0]);
  house.agent.openFailure = undefined;
  assertEquals((await house.told("a", user("one"))).text, "one");
});

Deno.test("Conversations: a prompt that is not taken is said, and what was to be told is told by the next", async () => {
  using house = new House();
  await house.told("a", user("one"));
  house.agent.promptFailure = new Failure("agent_unavailable", "Gone.", { retryAfterSecs: 1 });
  const second = [user("one"), assistant("1"), user("two")];
  assertEquals((await failureOf(house.begin("a", second))).code, "agent_unavailable");
  assertEquals(house.slots.used, 0);
  house.agent.promptFailure = undefined;
  assertEquals((await house.told("a", ...second, user("three"))).text, "two\n\nthree");
  assertEquals(house.agent.sessions.length, 1);
});

Deno.test("Conversations: a one-off whose prompt is not taken leaves no session behind", async () => {
  using house = new House();
  house.agent.promptFailure = new Failure("agent_unavailable", "Gone.");
  await failureOf(house.begin(undefined, [user("one")]));
  assertEquals([house.closed, house.slots.used], [[true], 0]);
});

Deno.test("Conversations: an aside keeps its session for its owner until it is disposed of", async () => {
  using house = new House({ maxSessions: 0 });
  const aside = house.conversations.hold();
  await house.beginAs(aside, [user("one")]);
  (await house.agent.nextPrompt()).end();
  await settled();
  await house.told("another", user("one"));
  await house.beginAs(aside, [user("one"), assistant("1"), user("two")]);
  const second = house.agent.prompts.at(-1);
  assertEquals([second?.text, second?.session], ["two", house.session(0)]);
  aside[Symbol.dispose]();
  assertEquals(house.session(0).closed.aborted, false);
  second?.end();
  await settled();
  assertEquals([house.session(0).closed.aborted, house.slots.used], [true, 0]);
});

Deno.test("Conversations: an aside without a turn is disposed of without a session", () => {
  using house = new House();
  house.conversations.hold()[Symbol.dispose]();
  assertEquals(house.agent.sessions.length, 0);
});

Deno.test("Conversations: who observes hears every turn", async () => {
  const heard: [string, string][] = [];
  using house = new House({
    observer: {
      begun: (turn) => heard.push([turn.id, "begun"]),
      heard: (event, turn) => heard.push([turn.id, brief(event)]),
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
  const turn = await house.conversations.begin({ conversation: undefined, messages, record: true });
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
  house.agent.promptFailure = new Failure("agent_unavailable", "Gone.");
  await failureOf(house.begin("a", other));
  house.agent.promptFailure = undefined;
  assertEquals((await house.told("a", ...other, user("three"))).text, "two\n\nthree");
});

Deno.test("Conversations: a fresh session that was told less than all of it is told all by the next turn", async () => {
  using house = new House();
  using hold = house.conversations.hold();
  const first = [system("Mao"), user("one")];
  const conversation = { owner: "", name: "a" };
  await house.conversations.begin({ conversation, hold, messages: first, record: false });
  (await house.agent.nextPrompt()).end();
  await settled();
  crash(house.session(0));
  const asked = { conversation: hold, hold, messages: [user("once more")], record: false };
  await house.conversations.begin(asked);
  const held = await house.agent.nextPrompt();
  assertEquals([held.session, held.text], [house.session(1), "once more"]);
  held.end();
  await settled();
  hold[Symbol.dispose]();
  const next = await house.told("a", ...first, assistant("1"), user("two"));
  assertEquals(next.session, house.session(1));
  assertEquals(["Mao", "one", "two"].filter((word) => !next.text.includes(word)), []);
});

Deno.test("Conversations: one that is held is not closed, however long it is idle or how many there are", async () => {
  using house = new House({ maxSessions: 0, idleMs: 0 });
  const hold = house.conversations.hold();
  const conversation = { owner: "", name: "a" };
  await house.conversations.begin({ conversation, hold, messages: [user("one")], record: false });
  (await house.agent.nextPrompt()).end();
  await settled();
  await house.told("b", user("one"));
  for (let rounds = 0; rounds < 3; rounds++) await settled();
  assertEquals(house.closed, [false, true]);
  await house.beginAs(hold, [user("one"), assistant("1"), user("two")]);
  const held = await house.agent.nextPrompt();
  assertEquals([held.text, held.session], ["two", house.session(0)]);
  held.end();
  await settled();
  hold[Symbol.dispose]();
  hold[Symbol.dispose]();
  await soon(aborted(house.session(0).closed), "the close of the one that is held no more");
});
