import { assertEquals, assertStringIncludes } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { AppError } from "../../lib/core/errors.ts";
import { failureOf, Heard, settled } from "../support/harness/turn_recorder.ts";
import { RESUMES_AND_DELETES, Silence } from "../support/agents/memory_acp_agent.ts";
import {
  AcpHarness,
  answersAfter,
  type Handler,
  neverAnswers,
  PROMPT,
  worksUntilCancelled,
} from "../support/agents/memory_acp_agent.ts";

const dies: Handler = (params, running) => {
  running.exit();
  return neverAnswers(params, running);
};
const refuses = (code: number): Handler => () => {
  throw new RpcError(code, "No.");
};

const WELL: Readonly<Record<string, Handler>> = {
  "initialize": RESUMES_AND_DELETES["initialize"]!,
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
    await using house = new AcpHarness(Object.fromEntries(passing), { timeouts: silence.timeouts });
    silence.applyTo(house);
    silence.isSilent = isSilent;
    const { beforeStart } = house;
    house.beforeStart = () => {
      if (isMissing && isIll) throw new AppError("agent_unavailable", "not found");
      beforeStart();
    };
    house.agent.warm();
    await house.recorder.waitFor("could not open a session in advance");
    await settled();
    assertEquals(house.agent.state, "failing");
    isIll = silence.isSilent = false;
    house.nowMs += 60_000;
    await house.agent.newSession();
    assertEquals(house.agent.state, "ready");
    assertEquals(house.starts.length, runs || isMissing ? 1 : 2);
  });
}

Deno.test("AcpAgent.state: a slow session/new is starting at first, ready for 20 seconds, then starting", async () => {
  const answers = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await using harness = new AcpHarness({
    "session/new": async (_params, running) => {
      const number = running.nextSession++;
      await answers[number - 1]?.promise;
      return { sessionId: `session-${number}` };
    },
  });
  const { agent } = harness;
  const first = agent.newSession();
  await settled();
  await harness.running.waitFor("session/new");
  harness.nowMs += 5_000;
  assertEquals(agent.state, "starting");
  answers[0]!.resolve();
  await first;
  assertEquals(agent.state, "ready");
  const second = agent.newSession();
  await harness.running.waitFor("session/new", 2);
  harness.nowMs += 20_000;
  assertEquals(agent.state, "ready");
  harness.nowMs += 1;
  assertEquals(agent.state, "starting");
  answers[1]!.resolve();
  await second;
  assertEquals([agent.state, harness.starts.length], ["ready", 1]);
});

Deno.test("AcpAgent.state: of two sessions the one that was asked for later counts", async () => {
  for (const isMade of [true, false]) {
    const first = Promise.withResolvers<void>();
    await using house = new AcpHarness({
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
  await using house = new AcpHarness({}, { timeouts: silence.timeouts });
  silence.applyTo(house);
  silence.isSilent = true;
  house.agent.warm();
  const failure = await failureOf(house.agent.newSession());
  assertEquals(failure.code, "agent_unavailable");
  assertStringIncludes(failure.message, "did not answer session/new");
  assertEquals([house.starts.length, house.running.count("session/new")], [1, 1]);
  silence.isSilent = false;
  await house.agent.newSession();
  assertEquals([house.starts.length, house.starts[0]!.process.stops > 0], [2, true]);
});

Deno.test("AcpAgent: what was asked of a process that was given up is not kept for the next", async () => {
  let setupMs = 60_000;
  const timeouts = {
    get setupMs() {
      return setupMs;
    },
    resumeMs: 60_000,
    cancelMs: 60_000,
  };
  await using house = new AcpHarness({
    "session/new": (params, running) =>
      running.nextSession++ === 1 ? { sessionId: "old" } : neverAnswers(params, running),
    "session/prompt": worksUntilCancelled,
  }, { timeouts });
  const heard = new Heard();
  await (await house.agent.newSession()).prompt(PROMPT, heard.reader);
  await heard.untilText("working");
  const controller = new AbortController();
  const leaving = house.agent.newSession(controller.signal).catch((error) => error);
  await house.running.waitFor("session/new", 2);
  setupMs = 1;
  await failureOf(house.agent.newSession());
  setupMs = 60_000;
  const reason = new Error("hung up");
  controller.abort(reason);
  assertEquals([await leaving, house.running.process.stops], [reason, 0]);
  house.handlers = {};
  assertEquals([(await house.agent.newSession()).id as string, house.starts.length], ["session-1", 2]);
});

Deno.test("AcpAgent: in one that makes no session in time, what runs may end", async () => {
  const going = Promise.withResolvers<void>();
  const [heard, next] = [new Heard(), new Heard()];
  const silence = new Silence();
  await using house = new AcpHarness({ "session/prompt": answersAfter(going.promise) }, {
    timeouts: silence.timeouts,
  });
  silence.applyTo(house);
  const session = await house.agent.newSession();
  await session.prompt(PROMPT, heard.reader);
  await heard.untilText("working");
  silence.isSilent = true;
  await failureOf(house.agent.newSession());
  const [old] = house.starts;
  assertEquals([session.closed.aborted, old!.process.stops], [false, 0]);
  silence.isSilent = false;
  house.handlers = {};
  await (await house.agent.newSession()).prompt(PROMPT, next.reader);
  assertEquals([await next.last(), house.starts.length], ["end end_turn", 2]);
  going.resolve();
  assertEquals(await heard.last(), "end end_turn");
  assertEquals(old!.process.stops > 0, true);
});

Deno.test("AcpAgent: after a session was asked for that is not known, one is made ahead", async () => {
  await using house = new AcpHarness({
    ...RESUMES_AND_DELETES,
    "session/resume": refuses(RPC.internalError),
  });
  assertEquals(await house.agent.resumeSession("old" as SessionId), undefined);
  assertEquals(house.agent.state, "starting");
  await house.recorder.waitFor("session opened");
  assertEquals(house.agent.state, "ready");
});

Deno.test("AcpAgent: one that makes no second session is not asked for it at each turn, and that is said once", async () => {
  let isFull = false;
  await using house = new AcpHarness({
    "session/new": (_params, running) => {
      if (isFull) throw new RpcError(RPC.internalError, "One session only.");
      isFull = true;
      return { sessionId: `session-${running.nextSession++}` };
    },
  });
  const { agent, recorder } = house;
  const levels = () => recorder.matching("could not open a session in advance").map(({ level }) => level);
  const turn = async () => {
    const heard = new Heard();
    await session.prompt(PROMPT, heard.reader);
    assertEquals(await heard.last(), "end end_turn");
    await settled();
  };
  const session = await agent.newSession();
  await turn();
  await recorder.waitFor("could not open a session in advance");
  for (let count = 0; count < 3; count++) await turn();
  assertEquals([house.running.count("session/new"), levels(), agent.state], [2, ["warn"], "failing"]);
  agent.warm();
  await house.running.waitFor("session/new", 3);
  await settled();
  assertEquals([levels(), agent.state], [["warn", "debug"], "failing"]);
  isFull = false;
  await agent.newSession();
  assertEquals(agent.state, "ready");
  await turn();
  await house.running.waitFor("session/new", 5);
  await settled();
  assertEquals([levels(), house.starts.length], [["warn", "debug", "warn"], 1]);
});
