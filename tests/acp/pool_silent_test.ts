import { assertEquals, assertStringIncludes } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { failureOf, settled } from "../support/harness/turn_recorder.ts";
import { Houses, ids, KNOWS, Silence } from "../support/agents/memory_acp_pool.ts";
import { never } from "../support/agents/memory_acp_agent.ts";

/** Two agents in memory that may fall silent. */
function two(): { house: Houses; silences: readonly Silence[] } {
  const silences = [new Silence(), new Silence()];
  const house = new Houses(2, {}, (index) => ({ times: silences[index]!.times }));
  for (const [index, silence] of silences.entries()) silence.comesOver(house.houses[index]!);
  return { house, silences };
}

Deno.test("AgentPool: one that never made a session is not asked while another makes them", async () => {
  await using house = new Houses(2);
  const { pool, houses: [first, second] } = house;
  first!.handlers = { ...KNOWS, "session/new": never };
  pool.warm();
  await second!.recorder.waitFor("a session was made");
  await first!.running.until("session/new");
  assertEquals([first!.agent.isUnsure, second!.agent.isUnsure], [true, false]);
  assertEquals(ids([await pool.newSession(), await pool.newSession(), await pool.newSession()]), [
    "b1",
    "b2",
    "b3",
  ]);
  assertEquals([first!.running.count("session/new"), pool.state], [1, "ready"]);
});

Deno.test("AgentPool: one that lets a session wait is asked last, and no more often", async () => {
  const coming = Promise.withResolvers<void>();
  await using house = new Houses(2);
  const { pool, houses: [first, second] } = house;
  let count = 0;
  first!.handlers = {
    ...KNOWS,
    "session/new": async () => {
      if (++count > 1) await coming.promise;
      return { sessionId: `a${count}` };
    },
  };
  assertEquals(ids([await pool.newSession()]), ["a1"]);
  await second!.recorder.waitFor("a session was made");
  first!.agent.warm();
  await first!.running.until("session/new", 2);
  first!.nowMs += 2_001;
  assertEquals(ids([await pool.newSession(), await pool.newSession(), await pool.newSession()]), [
    "b1",
    "b2",
    "b3",
  ]);
  assertEquals(first!.running.count("session/new"), 2);
  coming.resolve();
  await settled();
  assertEquals(ids([await pool.newSession()]), ["a2"]);
  assertEquals(first!.starts.length, 1, "it was only slow");
});

Deno.test("AgentPool: one that is making a session is asked after those that are not, from the first moment", async () => {
  await using house = new Houses(2);
  const { pool, houses: [first, second] } = house;
  let count = 0;
  first!.handlers = {
    ...KNOWS,
    "session/new": (params, running) => ++count > 1 ? never(params, running) : { sessionId: `a${count}` },
  };
  assertEquals(ids([await pool.newSession(), await pool.newSession()]), ["a1", "b1"]);
  first!.agent.warm();
  await first!.running.until("session/new", 2);
  assertEquals([first!.agent.isMaking, second!.agent.isMaking], [true, false]);
  assertEquals([first!.agent.isUnsure, first!.agent.state], [false, "ready"]);
  assertEquals(ids([await pool.newSession(), await pool.newSession()]), ["b2", "b3"]);
});

Deno.test("AgentPool: beside one that is slow the next is asked; what the slow one makes is kept for who comes", async () => {
  const coming = Promise.withResolvers<void>();
  await using house = new Houses(2, {}, () => ({}), 1);
  const { pool, houses: [first, second] } = house;
  first!.handlers = { ...KNOWS, "session/new": () => coming.promise.then(() => ({ sessionId: "a1" })) };
  second!.handlers = { ...KNOWS, "session/new": () => ({ sessionId: "b1" }) };
  assertEquals(ids([await pool.newSession()]), ["b1"]);
  await first!.running.until("session/new");
  await settled();
  assertEquals([first!.agent.openSessions, second!.agent.openSessions], [0, 1]);
  coming.resolve();
  await first!.recorder.waitFor("a session was made");
  assertEquals(ids([await first!.agent.newSession()]), ["a1"]);
  assertEquals([first!.running.count("session/new"), first!.running.count("session/close")], [1, 0]);
});

Deno.test("AgentPool: no two are asked for one session that is to be brought back", async () => {
  const coming = Promise.withResolvers<void>();
  await using house = new Houses(
    2,
    { "session/resume": () => coming.promise.then(() => ({})) },
    () => ({}),
    0,
  );
  const resuming = house.pool.resumeSession("old" as SessionId);
  // A timer of the pool's would have been set before.
  await settled();
  await house.houses[0]!.running.until("session/resume");
  coming.resolve();
  assertEquals([ids([await resuming]), house.said("session/resume")], [["old"], [
    ["session/resume old"],
    [],
  ]]);
});

Deno.test("AgentPool: one that falls silent is given up in time, and started anew", async () => {
  const { house, silences: [silence] } = two();
  await using _ = house;
  const { pool, houses: [first, second] } = house;
  await pool.newSession();
  await second!.recorder.waitFor("a session was made");
  silence!.isSilent = true;
  first!.agent.warm();
  await first!.recorder.waitFor("no session could be made ahead");
  assertEquals([first!.agent.state, pool.state], ["failing", "ready"]);
  silence!.isSilent = false;
  // It is let try again, beside the one that is asked.
  assertEquals(ids([await pool.newSession()]), ["b1"]);
  await settled();
  await first!.running.until("session/new");
  await settled();
  assertEquals([first!.agent.state, first!.starts.length], ["ready", 2]);
  assertEquals(ids([await pool.newSession()]), ["a1"]);
});

Deno.test("AgentPool: where all are silent each is asked once, and the first failure is told", async () => {
  const { house, silences } = two();
  await using _ = house;
  for (const silence of silences) silence.isSilent = true;
  const failure = await failureOf(house.pool.newSession());
  assertEquals([failure.code, house.pool.state], ["agent_unavailable", "failing"]);
  assertStringIncludes(failure.message, "did not answer session/new");
  assertEquals(house.said("session/new")[0], ["session/new"]);
});

Deno.test("AgentPool: a session goes back where it was, also if no new one can be made there", async () => {
  await using house = new Houses(2);
  const { pool, houses: [first, second] } = house;
  let isFull = false;
  first!.handlers = {
    ...KNOWS,
    "session/new": () => {
      if (isFull) throw new RpcError(RPC.internalError, "Too many sessions.");
      return { sessionId: "a1" };
    },
  };
  const session = await pool.newSession();
  await second!.recorder.waitFor("a session was made");
  isFull = true;
  first!.agent.warm();
  await first!.recorder.waitFor("no session could be made ahead");
  session.close();
  assertEquals([first!.agent.state, ids([await pool.resumeSession(session.id)])], ["failing", ["a1"]]);
  assertEquals(house.said("session/resume"), [["session/resume a1"], []]);
  assertEquals(ids([await pool.newSession()]), ["b1"]);
});
