import { assertEquals, assertStrictEquals, assertStringIncludes } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { failureOf, Heard, settled, soon } from "../support/harness/turn_recorder.ts";
import { AcpHarness, neverAnswers, PROMPT, worksUntilCancelled } from "../support/agents/memory_acp_agent.ts";

Deno.test("AcpAgent: early deaths make the next start wait, and after three it is refused for a while", async () => {
  await using house = new AcpHarness({
    initialize: (_params, running) => {
      running.exit();
      return neverAnswers(_params, running);
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
  assertStringIncludes(refused.message, "exited 3 times");
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
  assertEquals(house.recorder.matching("agent exited during start-up").length, 8);
  house.handlers = {};
  house.nowMs += 30_000;
  const heard = new Heard();
  await (await agent.newSession()).prompt(PROMPT, heard.reader);
  assertEquals(await heard.last(), "end end_turn");
  assertEquals(agent.state, "ready");
});

Deno.test("AcpAgent: an answered prompt makes the deaths before it forgotten", async () => {
  await using house = new AcpHarness({ initialize: () => ({ protocolVersion: 7 }) });
  for (const waitMs of [0, 500]) {
    house.nowMs += waitMs;
    await failureOf(house.agent.newSession());
  }
  house.handlers = {};
  house.nowMs += 1_000;
  const heard = new Heard();
  await (await house.agent.newSession()).prompt(PROMPT, heard.reader);
  await heard.last();
  house.running.exit();
  await house.recorder.waitFor("agent exited");
  house.handlers = { initialize: () => ({ protocolVersion: 7 }) };
  await failureOf(house.agent.newSession());
  const deaths = house.recorder.matching("agent exited during start-up").map(({ fields }) => fields.exits);
  assertEquals([house.starts.length, deaths], [4, [1, 2, 1]]);
});

Deno.test("AcpAgent: the wait before a start is waited, not refused, while the deaths are few", async () => {
  await using house = new AcpHarness();
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
  await using house = new AcpHarness({ "session/prompt": worksUntilCancelled });
  await (await house.agent.newSession()).prompt(PROMPT, heard.reader);
  await heard.untilText("working");
  house.nowMs += 60_000;
  house.running.exit();
  assertEquals(await heard.last(), "failure agent_crashed");
  await house.agent.newSession();
  assertEquals([house.starts.length, house.agent.state], [2, "ready"]);
});

Deno.test("AcpAgent: a program that cannot be started is said in its own words", async () => {
  await using house = new AcpHarness();
  const failure = new AppError("agent_unavailable", 'The agent\'s program "x" was not found.');
  house.beforeStart = () => {
    throw failure;
  };
  assertStrictEquals(await failureOf(house.agent.newSession()), failure);
});
