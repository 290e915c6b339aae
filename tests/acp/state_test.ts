import { assertEquals, assertStringIncludes } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { AgentState } from "../../lib/turn/agent.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { AppError } from "../../lib/core/errors.ts";
import { failureOf, Heard, settled } from "../support/harness/turn_recorder.ts";
import { KNOWS, Silence } from "../support/agents/memory_acp_pool.ts";
import {
  AcpHouse,
  GO,
  type Handler,
  never,
  untilCancelled,
  when,
} from "../support/agents/memory_acp_agent.ts";

const dies: Handler = (params, running) => {
  running.die();
  return never(params, running);
};
const refuses = (code: number): Handler => () => {
  throw new RpcError(code, "No.");
};

const WELL: Readonly<Record<string, Handler>> = {
  "initialize": KNOWS["initialize"]!,
  "session/new": (_params, running) => ({ sessionId: `session-${running.nextSession++}` }),
};

/** How an agent may be ill, and whether it runs nevertheless. */
const FAILING: readonly {
  name: string;
  handlers?: Record<string, Handler>;
  isMissing?: boolean;
  isSilent?: boolean;
  runs?: boolean;
}[] = [
  { name: "its program is missing", isMissing: true },
  { name: "it dies at its start", handlers: { initialize: dies } },
  { name: "it speaks another version", handlers: { initialize: () => ({ protocolVersion: 7 }) } },
  { name: "it dies of session/new", handlers: { "session/new": dies } },
  { name: "it refuses session/new", handlers: { "session/new": refuses(RPC.internalError) }, runs: true },
  { name: "it asks for a log-in", handlers: { "session/new": refuses(RPC.authRequired) }, runs: true },
  { name: "it never answers session/new", isSilent: true },
];
for (const { name, handlers = {}, isMissing = false, isSilent = false, runs = false } of FAILING) {
  Deno.test(`AcpAgent.state: failing where ${name}, and ready where that passes`, async () => {
    let isIll = true;
    const passing = Object.entries(handlers).map(([method, ill]): [string, Handler] => [
      method,
      (params, running) => (isIll ? ill : WELL[method]!)(params, running),
    ]);
    const silence = new Silence();
    await using house = new AcpHouse(Object.fromEntries(passing), { times: silence.times });
    silence.comesOver(house);
    silence.isSilent = isSilent;
    const { beforeStart } = house;
    house.beforeStart = () => {
      if (isMissing && isIll) throw new AppError("agent_unavailable", "not found");
      beforeStart();
    };
    house.agent.warm();
    await house.recorder.waitFor("no session could be made ahead");
    await settled();
    assertEquals([house.agent.state, house.agent.isUnsure], ["failing", runs]);
    isIll = silence.isSilent = false;
    house.nowMs += 60_000;
    await house.agent.newSession();
    assertEquals([house.agent.state, house.agent.isUnsure], ["ready", false]);
    assertEquals(house.starts.length, runs || isMissing ? 1 : 2);
  });
}

Deno.test("AcpAgent.state: one that is slow to make a session is no worse for it", async () => {
  const coming = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await using house = new AcpHouse({
    "session/new": async (_params, running) => {
      const number = running.nextSession++;
      await coming[number - 1]?.promise;
      return { sessionId: `session-${number}` };
    },
  });
  const { agent } = house;
  const now = () => [agent.state, agent.isUnsure] as [AgentState, boolean];
  // A cold start.
  const opening = agent.newSession();
  await settled();
  await house.running.until("session/new");
  house.nowMs += 5_000;
  assertEquals(now(), ["starting", true]);
  coming[0]!.resolve();
  await opening;
  assertEquals(now(), ["ready", false]);
  const next = agent.newSession();
  await house.running.until("session/new", 2);
  const seen: [number, AgentState, boolean][] = [
    [2_000, "ready", false],
    [1, "ready", true],
    [17_999, "ready", true],
    [1, "starting", true],
  ];
  for (const [ms, ...expected] of seen) {
    house.nowMs += ms;
    assertEquals(now(), expected);
  }
  coming[1]!.resolve();
  await next;
  assertEquals([...now(), house.starts.length], ["ready", false, 1]);
});

Deno.test("AcpAgent.state: of two sessions the one that was asked for later counts", async () => {
  for (const isMade of [true, false]) {
    const first = Promise.withResolvers<void>();
    await using house = new AcpHouse({
      "session/new": async (_params, running) => {
        const isFirst = running.nextSession++ === 1;
        if (isFirst) await first.promise;
        if (isFirst === isMade) throw new RpcError(RPC.internalError, "No.");
        return { sessionId: "s" };
      },
    });
    const opening = [house.agent.newSession(), house.agent.newSession()].map((session) =>
      session.catch(() => {})
    );
    await opening[1];
    first.resolve();
    await opening[0];
    assertEquals(house.agent.state, isMade ? "ready" : "failing");
  }
});

Deno.test("AcpAgent: a spare that is late is not asked for twice, and the next comes from a new process", async () => {
  const silence = new Silence();
  await using house = new AcpHouse({}, { times: silence.times });
  silence.comesOver(house);
  silence.isSilent = true;
  house.agent.warm();
  const failure = await failureOf(house.agent.newSession());
  assertEquals(failure.code, "agent_unavailable");
  assertStringIncludes(failure.message, "did not answer session/new");
  assertEquals([house.starts.length, house.running.count("session/new")], [1, 1]);
  silence.isSilent = false;
  await house.agent.newSession();
  assertEquals([house.starts.length, house.starts[0]!.link.stops > 0], [2, true]);
});

Deno.test("AcpAgent: what was asked of a process that was given up is not kept for the next", async () => {
  let setupMs = 60_000;
  const times = {
    get setupMs() {
      return setupMs;
    },
    resumeMs: 60_000,
    cancelMs: 60_000,
  };
  await using house = new AcpHouse({
    "session/new": (params, running) =>
      running.nextSession++ === 1 ? { sessionId: "old" } : never(params, running),
    "session/prompt": untilCancelled,
  }, { times });
  const heard = new Heard();
  await (await house.agent.newSession()).prompt(GO, heard.reader);
  await heard.untilText("working");
  const controller = new AbortController();
  const leaving = house.agent.newSession(controller.signal).catch((error) => error);
  await house.running.until("session/new", 2);
  setupMs = 1;
  await failureOf(house.agent.newSession());
  setupMs = 60_000;
  const reason = new Error("hung up");
  controller.abort(reason);
  assertEquals([await leaving, house.running.link.stops], [reason, 0]);
  house.handlers = {};
  assertEquals([(await house.agent.newSession()).id as string, house.starts.length], ["session-1", 2]);
});

Deno.test("AcpAgent: in one that makes no session in time, what runs may end", async () => {
  const going = Promise.withResolvers<void>();
  const [heard, next] = [new Heard(), new Heard()];
  const silence = new Silence();
  await using house = new AcpHouse({ "session/prompt": when(going.promise) }, { times: silence.times });
  silence.comesOver(house);
  const session = await house.agent.newSession();
  await session.prompt(GO, heard.reader);
  await heard.untilText("working");
  silence.isSilent = true;
  await failureOf(house.agent.newSession());
  const [old] = house.starts;
  assertEquals([session.closed.aborted, old!.link.stops], [false, 0]);
  silence.isSilent = false;
  house.handlers = {};
  await (await house.agent.newSession()).prompt(GO, next.reader);
  assertEquals([await next.last(), house.starts.length], ["end end_turn", 2]);
  going.resolve();
  assertEquals(await heard.last(), "end end_turn");
  assertEquals(old!.link.stops > 0, true);
});

Deno.test("AcpAgent: after a session was asked for that is not known, one is made ahead", async () => {
  await using house = new AcpHouse({ ...KNOWS, "session/resume": refuses(RPC.internalError) });
  assertEquals(await house.agent.resumeSession("old" as SessionId), undefined);
  assertEquals(house.agent.state, "starting");
  await house.recorder.waitFor("a session was made");
  assertEquals(house.agent.state, "ready");
});

Deno.test("AcpAgent: one that makes no second session is not asked for it at each turn, and that is said once", async () => {
  let isFull = false;
  await using house = new AcpHouse({
    "session/new": (_params, running) => {
      if (isFull) throw new RpcError(RPC.internalError, "One session only.");
      isFull = true;
      return { sessionId: `session-${running.nextSession++}` };
    },
  });
  const { agent, recorder } = house;
  const levels = () => recorder.matching("no session could be made ahead").map(({ level }) => level);
  const turn = async () => {
    const heard = new Heard();
    await session.prompt(GO, heard.reader);
    assertEquals(await heard.last(), "end end_turn");
    await settled();
  };
  const session = await agent.newSession();
  await turn();
  await recorder.waitFor("no session could be made ahead");
  for (let count = 0; count < 3; count++) await turn();
  assertEquals([house.running.count("session/new"), levels(), agent.state], [2, ["warn"], "failing"]);
  agent.warm();
  await house.running.until("session/new", 3);
  await settled();
  assertEquals([levels(), agent.state], [["warn", "debug"], "failing"]);
  isFull = false;
  await agent.newSession();
  assertEquals(agent.state, "ready");
  await turn();
  await house.running.until("session/new", 5);
  await settled();
  assertEquals([levels(), house.starts.length], [["warn", "debug", "warn"], 1]);
});
