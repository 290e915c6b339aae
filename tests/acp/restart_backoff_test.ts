import { assertEquals, assertStrictEquals, assertStringIncludes } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { failureOf, Heard, settled, soon } from "../support/harness/turn_recorder.ts";
import { AcpHouse, GO, never, untilCancelled } from "../support/agents/memory_acp_agent.ts";

Deno.test("AcpAgent: early deaths make the next start wait, and after three it is refused for a while", async () => {
  await using house = new AcpHouse({
    initialize: (_params, running) => {
      running.die();
      return never(_params, running);
    },
  });
  const { agent } = house;
  for (const waitMs of [0, 500, 1_000]) {
    house.nowMs += waitMs;
    assertEquals((await failureOf(agent.newSession())).code, "agent_unavailable");
  }
  assertEquals([house.starts.length, agent.state], [3, "failing"]);
  const refused = await failureOf(agent.newSession());
  assertEquals([refused.code, refused.retryAfterSecs, refused.prompted], ["agent_unavailable", 2, false]);
  assertStringIncludes(refused.message, "died 3 times");
  house.nowMs += 1_500;
  assertEquals((await failureOf(agent.newSession())).retryAfterSecs, 1);
  assertEquals(house.starts.length, 3);
  for (
    const [waitMs, retryAfterSecs] of [[500, 4], [4_000, 8], [8_000, 16], [16_000, 30], [30_000, 30]] as const
  ) {
    house.nowMs += waitMs;
    await failureOf(agent.newSession());
    assertEquals((await failureOf(agent.newSession())).retryAfterSecs, retryAfterSecs);
  }
  assertEquals(house.starts.length, 8);
  assertEquals(house.recorder.matching("the agent died before it was of use").length, 8);
  house.handlers = {};
  house.nowMs += 30_000;
  const heard = new Heard();
  await (await agent.newSession()).prompt(GO, heard.reader);
  assertEquals(await heard.last(), "end end_turn");
  assertEquals(agent.state, "ready");
});

Deno.test("AcpAgent: an answered prompt makes the deaths before it forgotten", async () => {
  await using house = new AcpHouse({ initialize: () => ({ protocolVersion: 7 }) });
  for (const waitMs of [0, 500]) {
    house.nowMs += waitMs;
    await failureOf(house.agent.newSession());
  }
  house.handlers = {};
  house.nowMs += 1_000;
  const heard = new Heard();
  await (await house.agent.newSession()).prompt(GO, heard.reader);
  await heard.last();
  house.running.die();
  await house.recorder.waitFor("the agent ended");
  house.handlers = { initialize: () => ({ protocolVersion: 7 }) };
  await failureOf(house.agent.newSession());
  const deaths = house.recorder.matching("the agent died before it was of use").map(({ fields }) =>
    fields.deaths
  );
  assertEquals([house.starts.length, deaths], [4, [1, 2, 1]]);
});

Deno.test("AcpAgent: the wait before a start is waited, not refused, while the deaths are few", async () => {
  await using house = new AcpHouse();
  house.beforeStart = () => {
    throw new AppError("agent_unavailable", "not found");
  };
  await failureOf(house.agent.newSession());
  house.beforeStart = () => {};
  house.nowMs = 497;
  const opening = house.agent.newSession();
  await settled();
  assertEquals(house.starts.length, 0);
  await soon(opening, "the session");
  assertEquals(house.starts.length, 1);
});

Deno.test("AcpAgent: an agent that lived for a while is started again at once, and what ran in it fails", async () => {
  const heard = new Heard();
  await using house = new AcpHouse({ "session/prompt": untilCancelled });
  await (await house.agent.newSession()).prompt(GO, heard.reader);
  await heard.untilText("working");
  house.nowMs += 60_000;
  house.running.die();
  assertEquals(await heard.last(), "failure agent_crashed");
  await house.agent.newSession();
  assertEquals([house.starts.length, house.agent.state], [2, "ready"]);
});

Deno.test("AcpAgent: a program that cannot be started is said in its own words", async () => {
  await using house = new AcpHouse();
  const failure = new AppError("agent_unavailable", 'The agent\'s program "x" was not found.');
  house.beforeStart = () => {
    throw failure;
  };
  assertStrictEquals(await failureOf(house.agent.newSession()), failure);
});
