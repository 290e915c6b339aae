import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { AgentPool, type PoolMember } from "../../lib/acp/pool.ts";
import { untilAborted } from "../../lib/core/abortable.ts";
import type { AgentState } from "../../lib/turn/agent.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { AppError } from "../../lib/core/errors.ts";
import { failureOf, Heard, settled, soon } from "../support/harness/turn_recorder.ts";
import { Houses, ids, KNOWS } from "../support/agents/memory_acp_pool.ts";
import { GO, never, untilCancelled } from "../support/agents/memory_acp_agent.ts";

Deno.test("AgentPool: a session goes where the fewest are, also when they come at once", async () => {
  await using house = new Houses(3);
  const { pool } = house;
  const sessions = await Promise.all([1, 2, 3, 4].map(() => pool.newSession()));
  assertEquals(ids(sessions), ["a1", "b1", "c1", "a2"]);
  sessions[1]?.close();
  assertEquals(ids([await pool.newSession(), await pool.newSession()]), ["b2", "b3"]);
});

Deno.test("AgentPool: a session that was closed goes back where it was, one of another time where the fewest are", async () => {
  await using house = new Houses(2);
  const { pool } = house;
  const [a, b] = [await pool.newSession(), await pool.newSession()];
  b.close();
  a.close();
  await pool.newSession();
  assertEquals(ids([await pool.resumeSession(a.id), await pool.resumeSession(b.id)]), ["a1", "b1"]);
  assertEquals(ids([await pool.resumeSession("old" as SessionId)]), ["old"]);
  assertEquals(house.said("session/resume"), [["session/resume a1"], [
    "session/resume b1",
    "session/resume old",
  ]]);
});

Deno.test("AgentPool: forget tells all of them", async () => {
  await using house = new Houses(2);
  const { pool } = house;
  const session = await pool.newSession();
  await pool.newSession();
  pool.deleteSession(session.id);
  for (const { running } of house.houses) await running.until("session/delete");
  assertEquals(house.said("session/delete"), [["session/delete a1"], ["session/delete a1"]]);
  assertEquals(session.closed.aborted, true);
});

Deno.test("AgentPool: one that crashes takes no session of another with it", async () => {
  const [first, second] = [new Heard(), new Heard()];
  await using house = new Houses(2, { "session/prompt": untilCancelled });
  const [a, b] = [await house.pool.newSession(), await house.pool.newSession()];
  await a.prompt(GO, first.reader);
  const prompting = await b.prompt(GO, second.reader);
  await second.untilText("working");
  house.houses[0]?.running.die();
  assertEquals(await first.last(), "failure agent_crashed");
  await soon(untilAborted(a.closed), "its end");
  assertEquals([b.closed.aborted, house.pool.state], [false, "ready"]);
  prompting.cancel();
  assertEquals(await second.last(), "end cancelled");
});

Deno.test("AgentPool: kill ends all of them, and so does dispose", async () => {
  await using house = new Houses(2, { "session/prompt": untilCancelled });
  const heard = [new Heard(), new Heard()];
  for (const one of heard) await (await house.pool.newSession()).prompt(GO, one.reader);
  house.pool.kill();
  assertEquals(await Promise.all(heard.map((one) => one.last())), [
    "failure agent_crashed",
    "failure agent_crashed",
  ]);
  await house.pool[Symbol.asyncDispose]();
  assertEquals(house.pool.state, "closed");
  assertEquals((await failureOf(house.pool.newSession())).code, "shutting_down");
});

Deno.test("AgentPool: warms all of them, and tells the models of any", async () => {
  await using house = new Houses(2);
  assertEquals([house.pool.state, house.pool.models], ["idle", []]);
  house.houses[1]!.handlers = {
    ...KNOWS,
    "session/new": () => ({ sessionId: "b", models: { availableModels: [{ modelId: "m", name: "M" }] } }),
  };
  house.pool.warm();
  assertEquals(house.pool.state, "starting");
  await house.pool.newSession();
  await house.pool.newSession();
  assertEquals(house.pool.models, [{ id: "m", name: "M" }]);
});

/** What a member is: in a state, and if that is `unsure` or `sick`, running without being sure of new sessions. */
type Kind = AgentState | "making" | "unsure" | "sick";
const UNSURE: Partial<Record<Kind, AgentState>> = { unsure: "ready", sick: "failing" };

/** A member of this kind, which keeps what it was asked. */
function member(
  kind: Kind,
  openSessions: number,
  asked: string[],
  name: string,
  error: (what: string) => Error = (what) => new Error(what),
): PoolMember {
  const ask = (what: string) => {
    asked.push(`${name} ${what}`);
    return Promise.reject(error(what));
  };
  return {
    name: "agent",
    program: "program",
    models: [],
    state: kind === "making" ? "ready" : UNSURE[kind] ?? kind as AgentState,
    isUnsure: kind in UNSURE,
    isMaking: kind === "making",
    openSessions,
    newSession: () => ask("open"),
    resumeSession: () => ask("resume"),
    deleteSession() {},
    warm: () => void asked.push(`${name} warm`),
    kill() {},
    describe: () => ask("describe"),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

const STATES: readonly (readonly [members: [Kind, number][], state: AgentState, asked: string[]])[] = [
  [[["ready", 1], ["ready", 0]], "ready", ["1 open"]],
  [[["ready", 1], ["ready", 1]], "ready", ["0 open"]],
  [[["failing", 0], ["ready", 7]], "ready", ["0 warm", "1 open"]],
  [[["failing", 0], ["failing", 0]], "failing", ["1 warm", "0 open"]],
  [[["starting", 0], ["ready", 9]], "ready", ["1 open"]],
  [[["idle", 0], ["ready", 9]], "ready", ["0 warm", "1 open"]],
  [[["starting", 0], ["idle", 9]], "starting", ["1 open"]],
  [[["idle", 1], ["idle", 0]], "idle", ["0 warm", "1 open"]],
  [[["closed", 0], ["failing", 9]], "failing", ["1 open"]],
  [[["failing", 0], ["idle", 0]], "idle", ["0 warm", "1 open"]],
  [[["idle", 0], ["starting", 0]], "starting", ["0 open"]],
  [[["closed", 0], ["closed", 0]], "closed", ["0 open"]],
  [[["unsure", 0], ["ready", 9]], "ready", ["1 open"]],
  [[["unsure", 0], ["idle", 9]], "ready", ["1 open"]],
  [[["unsure", 1], ["starting", 0]], "ready", ["1 open"]],
  [[["unsure", 1], ["unsure", 0]], "ready", ["1 open"]],
  [[["sick", 0], ["unsure", 9]], "ready", ["0 warm", "1 open"]],
  [[["sick", 0], ["starting", 9]], "starting", ["0 warm", "1 open"]],
  [[["making", 0], ["ready", 9]], "ready", ["1 open"]],
  [[["making", 1], ["making", 0]], "ready", ["1 open"]],
  [[["idle", 0], ["making", 9]], "ready", ["0 warm", "1 open"]],
  [[["unsure", 0], ["making", 9]], "ready", ["1 open"]],
];
for (const [members, state, expected] of STATES) {
  Deno.test(`AgentPool: of ${members.map((one) => one.join(" with ")).join(" and ")}`, async () => {
    const asked: string[] = [];
    const pool = new AgentPool(
      members.map(([state, open], index) => member(state, open, asked, String(index))),
    );
    assertEquals(pool.state, state);
    await pool.newSession().catch(() => {});
    assertEquals(asked, expected);
    assertEquals([pool.name, pool.program], ["agent", "program"]);
  });
}

Deno.test("AgentPool: is not made of nothing; its first tells what they can do", async () => {
  assertThrows(() => new AgentPool([]), RangeError);
  const asked: string[] = [];
  const told = await new AgentPool([member("idle", 0, asked, "0"), member("idle", 0, asked, "1")])
    .describe().catch((error) => error);
  assertStrictEquals(told.message, "describe");
  assertEquals(asked, ["0 describe"]);
});

Deno.test("AgentPool: one that starts and starts does not hold up the others", async () => {
  await using house = new Houses(2);
  house.houses[0]!.handlers = { initialize: never };
  house.pool.warm();
  await settled();
  await house.houses[1]!.running.until("session/new");
  const { pool } = house;
  assertEquals(ids([await pool.newSession(), await pool.newSession(), await pool.newSession()]), [
    "b1",
    "b2",
    "b3",
  ]);
});

Deno.test("AgentPool: what one cannot start, the next best does", async () => {
  await using house = new Houses(3);
  house.houses[0]!.beforeStart = () => {
    throw new Error("no memory");
  };
  assertEquals(ids([await house.pool.newSession()]), ["b1"]);
});

Deno.test("AgentPool: a session whose process is down is brought back in another", async () => {
  await using house = new Houses(2);
  const [home] = house.houses;
  const session = await house.pool.newSession();
  home!.nowMs = 60_000;
  home!.beforeStart = () => {
    throw new Error("no memory");
  };
  home!.running.die();
  await settled();
  assertEquals(ids([await house.pool.resumeSession(session.id)]), ["a1"]);
  assertEquals(house.said("session/resume"), [[], ["session/resume a1"]]);
});

const gone = (what: string) => new AppError("agent_unavailable", what);
const FAILED: readonly {
  name: string;
  error: (what: string) => Error;
  aborts?: boolean;
  asked: string[];
}[] = [
  { name: "unavailable: each once, the best first", error: gone, asked: ["1", "0", "2"] },
  { name: "a log-in", error: (what) => new AppError("agent_auth_required", what), asked: ["1"] },
  { name: "a prompt that it got", error: (what) => gone(what).afterPrompt(), asked: ["1"] },
  { name: "unavailable, and nobody waits any more", error: gone, aborts: true, asked: ["1"] },
];
for (const { name, error, aborts, asked: expected } of FAILED) {
  for (const what of ["open", "resume"] as const) {
    Deno.test(`AgentPool.${what}: fails by ${name}`, async () => {
      const asked: string[] = [];
      const controller = new AbortController();
      const fails = (what: string) => {
        if (aborts) controller.abort();
        return error(`${what} of ${asked.at(-1)}`);
      };
      const states: AgentState[] = ["starting", "ready", "failing"];
      const pool = new AgentPool(states.map((state, i) => member(state, 0, asked, String(i), fails)));
      const { signal } = controller;
      const failure = await failureOf(
        what === "open" ? pool.newSession(signal) : pool.resumeSession("s" as SessionId, signal),
      );
      assertEquals(failure.message, `${what} of 1 ${what}`, "the best one's is told");
      assertEquals(asked.filter((one) => !one.endsWith("warm")), expected.map((one) => `${one} ${what}`));
    });
  }
}
