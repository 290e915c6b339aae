import { assertEquals, assertStrictEquals } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import { MemoryStore } from "../support/harness/memory_store.ts";
import { settled, soon } from "../support/harness/turn_recorder.ts";
import { gate, House, type HouseOptions } from "../support/harness/conversation_harness.ts";
import { assistant, system, user } from "../support/harness/message_fixture.ts";

const MAO = system("You are Mao.");
const FIRST = [MAO, user("one")];
const FIRST_ANSWER = "Answer one, which is a long one.";
const SECOND = [...FIRST, assistant(FIRST_ANSWER), user("two")];

/** A registry that finds conversations by what is said, over an agent that brings sessions back. */
function houseOf(options: HouseOptions = {}): House {
  const house = new House({ mode: "auto", ...options });
  house.agent.resumes = true;
  return house;
}

/** Runs a whole turn, and gives what the agent was told. */
async function answered(house: House, messages: readonly Message[], answer = "Yes."): Promise<string> {
  const prompt = await house.prompted(undefined, ...messages);
  prompt.say(answer);
  prompt.end();
  await settled();
  return prompt.text;
}

Deno.test("survive: a restart in the middle of the first turn: the conversation goes on in its session", async () => {
  const store = new MemoryStore();
  using before = houseOf({ store });
  await before.prompted(undefined, ...FIRST);
  using house = houseOf({ store });
  assertEquals(await answered(house, [...FIRST, user("two")]), "two");
  assertEquals(house.agent.resumed, [before.session(0).id]);
});

const GIVEN = '{"answer":"This is the one that was asked for."}';
for (const given of [GIVEN, undefined]) {
  Deno.test(`survive: a restart after turns whose caller was given ${given ? "the last answer" : "none"}: it goes on from there`, async () => {
    const store = new MemoryStore();
    {
      using house = houseOf({ store });
      await answered(house, FIRST, FIRST_ANSWER);
      using hold = house.conversations.hold();
      const asked = { conversation: { owner: "" }, hold, messages: SECOND, record: false };
      const turn = await house.conversations.startTurn(asked);
      const prompt = await house.agent.nextPrompt();
      prompt.say("This is not the one that was asked for.");
      prompt.end();
      await soon(turn.ended, "the end of the turn");
      hold.gave(given);
    }
    using house = houseOf({ store });
    const [last, words] = given ? [given, "three"] : [FIRST_ANSWER, "two"];
    assertEquals(await answered(house, [MAO, assistant(last), user(words)]), words);
    assertEquals(house.conversations.list("").map(({ turns }) => turns), [given ? 3 : 2]);
  });
}

Deno.test("survive: one that waits for what never reached its agent is not forgotten with it", async () => {
  using house = houseOf({ onBusy: "queue" });
  const opens = gate();
  house.agent.opens = opens.promise;
  const hangUp = new AbortController();
  const first = house.begin(undefined, FIRST, hangUp.signal);
  const second = house.begin(undefined, [...FIRST, user("two")]);
  await settled();
  const reason = new Error("hung up");
  hangUp.abort(reason);
  assertStrictEquals(await first.catch((error) => error), reason);
  opens.open();
  await soon(second, "the turn after it");
  const prompt = await house.agent.nextPrompt();
  assertEquals(prompt.text, "<system>\nYou are Mao.\n</system>\n\none\n\ntwo");
  assertEquals(house.conversations.list("").map(({ turns }) => turns), [2]);
});
