/** Sessions, processes, state and end of an agent, over agents in memory. */

import { assert, assertEquals, assertRejects, assertStrictEquals, assertStringIncludes } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import {
  AcpHarness,
  answersAfter,
  exits,
  type Handler,
  MemoryAcpAgent,
  neverAnswers,
  opensSession,
  PROMPT,
  refuses,
  RESUMES_AND_DELETES,
  Silence,
  worksUntilCancelled,
} from "../support/agents/memory_acp_agent.ts";
import { ScriptedAgentHarness } from "../support/harness/agent_process_harness.ts";
import { TEST_TIMEOUTS } from "../support/harness/json_rpc_harness.ts";
import { appErrorOf, nextTask, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";

const SHORT_CANCEL = { ...TEST_TIMEOUTS, cancelMs: 5 };

Deno.test("AcpAgent: hands out the warm session, and opens the next one when a turn ends", async () => {
  await using harness = new AcpHarness();
  assertEquals(harness.agent.state, "idle");
  harness.agent.warm();
  assertEquals(harness.agent.state, "starting");
  const first = await harness.agent.newSession();
  assertEquals([harness.agent.state, harness.running.count("session/new")], ["ready", 1]);
  await harness.runTurn(first);
  await harness.running.waitFor("session/new", 2);
  const second = await harness.agent.newSession();
  assertEquals([first.id, second.id] as string[], ["session-1", "session-2"]);
  assertEquals(harness.starts.length, 1);
});

Deno.test("AcpAgent: requests that come at once start one process", async () => {
  await using harness = new AcpHarness();
  const sessions = await Promise.all([1, 2, 3].map(() => harness.agent.newSession()));
  assertEquals([harness.starts.length, new Set(sessions.map(({ id }) => id)).size], [1, 3]);
});

Deno.test("AcpAgent: of the sessions of callers that leave, one is kept and the others are closed", async () => {
  const answer = Promise.withResolvers<void>();
  await using harness = new AcpHarness({
    "session/new": async (_params, running) => {
      const sessionId = `late-${running.nextSession++}`;
      await answer.promise;
      return { sessionId };
    },
  });
  const reason = new Error("hung up");
  const controller = new AbortController();
  const waiting = [1, 2].map(() => harness.agent.newSession(controller.signal).catch((error) => error));
  await nextTask();
  await harness.running.waitFor("session/new", 2);
  controller.abort(reason);
  for (const outcome of waiting) assertStrictEquals(await outcome, reason);
  answer.resolve();
  assertEquals((await harness.agent.newSession()).id as string, "late-1");
  await harness.running.waitFor("session/close");
  assertEquals(harness.running.summary("session/close"), ["session/close late-2"]);
  assertEquals(harness.running.count("session/new"), 2);
  await assertRejects(() => harness.agent.newSession(AbortSignal.abort(reason)), Error, "hung up");
});

Deno.test("AcpAgent: a warm session whose process exits is requested of a new process", async () => {
  let isFirst = true;
  await using harness: AcpHarness = new AcpHarness({
    "session/new": (params, running) => {
      if (!isFirst) return opensSession(params, running);
      isFirst = false;
      harness.nowMs += 60_000;
      return exits(params, running);
    },
  });
  harness.agent.warm();
  await harness.agent.newSession();
  assertEquals(harness.starts.length, 2);
});

Deno.test("AcpAgent: a warm session that times out is not requested twice, and the next comes from a new process", async () => {
  const silence = new Silence();
  await using harness = new AcpHarness({}, { timeouts: silence.timeouts });
  silence.applyTo(harness);
  silence.isSilent = true;
  harness.agent.warm();
  const failure = await appErrorOf(harness.agent.newSession());
  assertEquals([failure.code, failure.reason], ["agent_unavailable", "timeout"]);
  assertStringIncludes(failure.message, "did not answer session/new");
  assertEquals([harness.starts.length, harness.running.count("session/new")], [1, 1]);
  silence.isSilent = false;
  await harness.agent.newSession();
  assertEquals([harness.starts.length, harness.starts[0]!.process.stops > 0], [2, true]);
});

Deno.test("AcpAgent: a process that opens no session in time is retired, but finishes its turns", async () => {
  const finish = Promise.withResolvers<void>();
  const silence = new Silence();
  await using harness = new AcpHarness({ "session/prompt": answersAfter(finish.promise) }, {
    timeouts: silence.timeouts,
  });
  silence.applyTo(harness);
  const { session, heard } = await harness.startTurn();
  silence.isSilent = true;
  await appErrorOf(harness.agent.newSession());
  const [old] = harness.starts;
  assertEquals([session.closed.aborted, old!.process.stops], [false, 0]);
  silence.isSilent = false;
  harness.handlers = {};
  await harness.runTurn();
  assertEquals(harness.starts.length, 2);
  finish.resolve();
  assertEquals(await heard.lastSummary(), "end end_turn");
  assert(old!.process.stops > 0);
});

/** Starts a turn whose cancel the agent ignores, and another one, and waits until the process is retired. */
async function retireByCancel() {
  const other = Promise.withResolvers<void>();
  const harness = new AcpHarness({
    ...RESUMES_AND_DELETES,
    "session/prompt": (params, agent) =>
      answersAfter(params.sessionId === "session-1" ? new Promise(() => {}) : other.promise)(params, agent),
  }, { timeouts: SHORT_CANCEL });
  const { session: lost, heard: stuck, prompt } = await harness.startTurn();
  const { session, heard: running } = await harness.startTurn();
  const resting = await harness.agent.newSession();
  harness.handlers = RESUMES_AND_DELETES;
  prompt.cancel();
  await harness.recorder.waitFor(/does not answer a cancelled prompt/);
  return { harness, lost, stuck, session, running, resting, other, old: harness.starts[0]! };
}

Deno.test("AcpAgent: an agent that ignores a cancel loses the session, and its process takes no new turn", async () => {
  const { harness, lost, stuck, session, running, resting, other, old } = await retireByCancel();
  await using _end = harness;
  assertEquals([stuck.summaries, lost.closed.aborted], [["text working", "end cancelled"], true]);
  // Nothing that the agent still does in it counts.
  old.sendText(lost.id, "and so on");
  const request = {
    sessionId: lost.id,
    toolCall: { toolCallId: "t" },
    options: [{ optionId: "yes", name: "Yes", kind: "allow_once" }],
  };
  assertEquals(await old.peer.request("session/request_permission", request), {
    outcome: { outcome: "cancelled" },
  });
  assertEquals([stuck.events.length, old.summary("session/close")[0]], [2, `session/close ${lost.id}`]);

  // A second process serves the next session, and the idle one.
  assertEquals([resting.closed.aborted, session.closed.aborted], [true, false]);
  harness.nowMs += 60_000;
  await harness.runTurn();
  await harness.runTurn(await harness.agent.resumeSession(resting.id));
  assertEquals(await harness.agent.resumeSession(lost.id), undefined);
  assertEquals([harness.starts.length, harness.running.summary("session/resume")], [2, [
    `session/resume ${resting.id}`,
  ]]);

  // The first process ends with its last turn.
  assertEquals([running.summaries, old.process.stops], [["text working"], 0]);
  other.resolve();
  assertEquals(await running.lastSummary(), "end end_turn");
  assertEquals([session.closed.aborted, old.process.stops], [true, 1]);
  assertEquals((await harness.agent.resumeSession(session.id))?.id, session.id);
});

Deno.test("AcpAgent: a process that ignores a cancel is stopped at once if it runs no other turn", async () => {
  await using harness = new AcpHarness({ "session/prompt": answersAfter(new Promise(() => {})) }, {
    timeouts: SHORT_CANCEL,
  });
  const { session, heard, prompt } = await harness.startTurn();
  const waiting = appErrorOf(session.prompt(PROMPT, () => {}));
  prompt.cancel();
  assertEquals(await heard.lastSummary(), "end cancelled");
  assertEquals([(await waiting).code, harness.starts[0]!.count("session/prompt")], ["agent_unavailable", 1]);
  await harness.recorder.waitFor("agent exited");
  assertEquals(harness.starts[0]!.process.stops, 1);
});

Deno.test("AcpAgent: an answer of a retired process does not excuse the early exit of the next one", async () => {
  const { harness, running, other } = await retireByCancel();
  await using _end = harness;
  await harness.agent.newSession();
  other.resolve();
  assertEquals(await running.lastSummary(), "end end_turn");
  harness.starts[1]!.exit();
  await harness.recorder.waitFor(/agent exited during start-up/);
});

/** A process that reads nothing before `until` resolves, which is asked for each write. */
function heldUp(process: MemoryAcpAgent["process"], until: () => Promise<void>): MemoryAcpAgent["process"] {
  const writer = process.writable.getWriter();
  const writable = new WritableStream<Uint8Array>({
    write: async (bytes) => {
      await until();
      await writer.write(bytes);
    },
    close: () => writer.close(),
    abort: (reason) => writer.abort(reason),
  });
  return { ...process, writable };
}

Deno.test("AcpAgent: a prompt that is cancelled while it is being read ends, and its session is lost", async () => {
  const { promise: gate, resolve: openGate } = Promise.withResolvers<void>();
  let isGated = false;
  await using harness = new AcpHarness({}, {
    launch: () => {
      const { process } = new MemoryAcpAgent({ "session/prompt": answersAfter(new Promise(() => {})) });
      return heldUp(process, async () => {
        if (isGated) await gate;
      });
    },
    timeouts: SHORT_CANCEL,
  });
  const session = await harness.agent.newSession();
  isGated = true;
  const heard = new TurnRecorder();
  const prompting = session.prompt(PROMPT, heard.reader);
  await nextTask();
  session.close();
  assertEquals(await heard.lastSummary(), "end cancelled");
  openGate();
  await prompting.catch(() => {});
});

Deno.test("AcpAgent: refuses a prompt that the process does not read in time, and a new process serves the next", async () => {
  const starts: MemoryAcpAgent[] = [];
  const other = Promise.withResolvers<void>();
  /** Holds up what is written to the first process. */
  let gate: Promise<void> = Promise.resolve();
  await using harness = new AcpHarness({}, {
    launch: () => {
      const running = new MemoryAcpAgent({
        "session/prompt": (params, agent) =>
          params.sessionId === "session-1"
            ? answersAfter(other.promise)(params, agent)
            : { stopReason: "end_turn" },
      });
      starts.push(running);
      return starts.length === 1 ? heldUp(running.process, () => gate) : running.process;
    },
    timeouts: { ...TEST_TIMEOUTS, readMs: 100, cancelMs: 500 },
  });
  const { heard: running } = await harness.startTurn();
  const session = await harness.agent.newSession();
  const { promise, resolve: openGate } = Promise.withResolvers<void>();
  gate = promise;
  const heard = new TurnRecorder();
  const failure = await appErrorOf(session.prompt(PROMPT, heard.reader));
  assertEquals([failure.code, failure.prompted, session.closed.aborted], ["agent_unavailable", true, true]);
  const next = await waitFor(harness.agent.newSession(), "another session");
  assertEquals(starts.length, 2);
  // The answer to the prompt that was given up changes nothing.
  openGate();
  await starts[0]!.waitFor("session/prompt", 2);
  await nextTask();
  other.resolve();
  assertEquals([await running.lastSummary(), heard.events], ["end end_turn", []]);
  assertEquals(next.closed.aborted, false);
});

Deno.test("AcpAgent: an agent of one session is not asked for another after each turn", async () => {
  let isFull = false;
  await using harness = new AcpHarness({
    "session/new": (params, running) => {
      if (isFull) throw new RpcError(RPC.internalError, "One session only.");
      isFull = true;
      return opensSession(params, running);
    },
  });
  const { agent, recorder } = harness;
  const session = await agent.newSession();
  await harness.runTurn(session);
  await recorder.waitFor("could not open a session in advance");
  for (let count = 0; count < 3; count++) await harness.runTurn(session);
  await nextTask();
  assertEquals([harness.running.count("session/new"), agent.state], [2, "failing"]);
  isFull = false;
  await agent.newSession();
  assertEquals([agent.state, harness.starts.length], ["ready", 1]);
});

Deno.test("AcpAgent: opens a warm session after a session that could not be resumed", async () => {
  await using harness = new AcpHarness({
    ...RESUMES_AND_DELETES,
    "session/resume": refuses(RPC.internalError),
  });
  assertEquals(await harness.agent.resumeSession("old" as SessionId), undefined);
  assertEquals(harness.agent.state, "starting");
  await harness.recorder.waitFor("session opened");
  assertEquals(harness.agent.state, "ready");
});

Deno.test("AcpAgent: a line of 40 MB is skipped with a warning, and no conversation of the process notices", async () => {
  const finish = Promise.withResolvers<void>();
  await using harness = new AcpHarness({ "session/prompt": answersAfter(finish.promise) });
  const [one, other] = [await harness.startTurn(), await harness.startTurn()];
  harness.running.sendText(one.session.id, "x".repeat(40_000_000));
  harness.running.sendText(one.session.id, " on");
  await one.heard.untilText(" on");
  finish.resolve();
  for (const { heard } of [one, other]) assertEquals(await heard.lastSummary(), "end end_turn");
  assertEquals([one.heard.text, other.heard.text], ["working on", "working"]);
  const { level, fields } = await harness.recorder.waitFor("skipped a line of the agent");
  assertEquals([level, fields.why], ["warn", "longer than 33554432 characters"]);
});

Deno.test("AcpAgent: warns of a process's first five invalid lines, and once it serves tells only their length", async () => {
  await using harness = new AcpHarness();
  await harness.agent.newSession();
  for (let count = 0; count < 20; count++) harness.running.sendInvalid("what the user said");
  await nextTask();
  const logged = harness.recorder.matching("skipped a line of the agent");
  assertEquals(logged.map(({ level }) => level), [...Array(5).fill("warn"), ...Array(15).fill("debug")]);
  assertEquals(logged[0]?.fields, { why: "neither a method nor an id", characters: 58 });
});

const HEALTHY: Readonly<Record<string, Handler>> = {
  "initialize": RESUMES_AND_DELETES.initialize,
  "session/new": opensSession,
};

/** Faults of an agent, and whether its process runs with them. */
const FAILING: readonly {
  name: string;
  handlers?: Record<string, Handler>;
  isMissing?: boolean;
  isSilent?: boolean;
  runs?: boolean;
}[] = [
  { name: "its program is missing", isMissing: true },
  { name: "it exits at its start", handlers: { initialize: exits } },
  { name: "it speaks another version", handlers: { initialize: () => ({ protocolVersion: 7 }) } },
  { name: "it exits at session/new", handlers: { "session/new": exits } },
  { name: "it refuses session/new", handlers: { "session/new": refuses(RPC.internalError) }, runs: true },
  { name: "it asks for a log-in", handlers: { "session/new": refuses(RPC.authRequired) }, runs: true },
  { name: "it never answers session/new", isSilent: true },
];
for (const { name, handlers = {}, isMissing = false, isSilent = false, runs = false } of FAILING) {
  Deno.test(`AcpAgent.state: failing if ${name}, and ready after that`, async () => {
    let isFaulty = true;
    const passing = Object.entries(handlers).map(([method, faulty]): [string, Handler] => [
      method,
      (params, running) => (isFaulty ? faulty : HEALTHY[method]!)(params, running),
    ]);
    const silence = new Silence();
    await using harness = new AcpHarness(Object.fromEntries(passing), { timeouts: silence.timeouts });
    silence.applyTo(harness);
    silence.isSilent = isSilent;
    const { beforeStart } = harness;
    harness.beforeStart = () => {
      if (isMissing && isFaulty) throw new AppError("agent_unavailable", "not found");
      beforeStart();
    };
    harness.agent.warm();
    await harness.recorder.waitFor("could not open a session in advance");
    await nextTask();
    assertEquals(harness.agent.state, "failing");
    isFaulty = silence.isSilent = false;
    harness.nowMs += 60_000;
    await harness.agent.newSession();
    assertEquals(harness.agent.state, "ready");
    assertEquals(harness.starts.length, runs || isMissing ? 1 : 2);
  });
}

const WAITING:
  readonly (readonly [name: string, handlers: Readonly<Record<string, Handler>>, sent: string])[] = [
    ["the start of the process", { initialize: neverAnswers }, "initialize"],
    ["a new session", { "session/new": neverAnswers }, "session/new"],
  ];
for (const [name, handlers, sent] of WAITING) {
  Deno.test(`AcpAgent: dispose rejects a caller that waits for ${name}`, async () => {
    const harness = new AcpHarness(handlers);
    const opening = appErrorOf(harness.agent.newSession());
    await nextTask();
    await harness.running.waitFor(sent);
    assertEquals(harness.agent.state, "starting");
    await harness[Symbol.asyncDispose]();
    assertEquals((await opening).code, "shutting_down");
    assertEquals([harness.agent.state, harness.starts.length], ["closed", 1]);
    assert(harness.running.process.stops > 0);
  });
}

Deno.test("AcpAgent: dispose rejects a caller that waits for a restart", async () => {
  const harness = new AcpHarness();
  harness.beforeStart = () => {
    throw new AppError("agent_unavailable", "not found");
  };
  await appErrorOf(harness.agent.newSession());
  const opening = appErrorOf(harness.agent.newSession());
  await nextTask();
  await harness[Symbol.asyncDispose]();
  assertEquals((await opening).code, "shutting_down");
});

Deno.test("AcpAgent: after dispose nothing is started", async () => {
  const harness = new AcpHarness();
  await harness[Symbol.asyncDispose]();
  assertEquals((await appErrorOf(harness.agent.newSession())).code, "shutting_down");
  harness.agent.warm();
  await nextTask();
  assertEquals([harness.starts.length, harness.agent.state], [0, "closed"]);
});

Deno.test("AcpAgent: kill ends the running turns at once", async () => {
  await using harness = new AcpHarness({ "session/prompt": worksUntilCancelled });
  const { heard } = await harness.startTurn();
  harness.agent.kill();
  assertEquals(await heard.lastSummary(), "failure agent_crashed");
});

Deno.test("AcpAgent.describe: reports capabilities, models, modes and warnings, and ends its session", async () => {
  await using harness = new ScriptedAgentHarness({
    image: true,
    resume: true,
    loadSession: true,
    delete: true,
    mcpOverHttp: true,
    authMethods: ["key"],
    models: { ids: ["a", "b"], by: "both" },
    modes: ["ask", "code"],
  }, {
    mode: "code",
    model: "gpt-4o",
    now: () => 0,
    mcpServers: [{ type: "sse", name: "news", url: "https://news.example", headers: [] }],
  });
  assertEquals(await harness.agent.describe(), {
    agent: { name: "fake-agent", version: "1.0.0" },
    protocolVersion: 1,
    promptCapabilities: { image: true, audio: false },
    resumeMethod: "resume",
    canClose: true,
    canDelete: true,
    mcpTransports: { http: true, sse: false },
    authMethods: ["key"],
    model: "a",
    models: [{ id: "a", name: "Model a" }, { id: "b", name: "Model b" }],
    mode: "code",
    modes: ["ask", "code"],
    warnings: [
      {
        setting: "mcp_servers",
        name: "news",
        text: 'The MCP server "news" is left out: the agent does not connect to servers by sse.',
      },
      { setting: "model", name: "gpt-4o", text: 'The agent has no model "gpt-4o"; it offers a, b.' },
    ],
    startedMs: 0,
  });
  const methods = harness.received.flatMap(({ method }) => method === undefined ? [] : [method]);
  assertEquals(methods, ["initialize", "session/new", "session/set_mode", "session/close", "session/delete"]);
  assertEquals(
    (await harness.agent.describe()).warnings.length,
    2,
    "warnings that are logged already are reported too",
  );
});

Deno.test("AcpAgent.describe: an agent without any capability", async () => {
  await using harness: AcpHarness = new AcpHarness({
    "initialize": () => ({ protocolVersion: 1 }),
    "session/new": () => {
      harness.nowMs += 20;
      return { sessionId: "s" };
    },
  });
  harness.beforeStart = () => harness.nowMs += 4_000;
  const { model, models, mode, modes, warnings, startedMs } = await harness.agent.describe();
  assertEquals([model, models, mode, modes, warnings], [undefined, [], undefined, [], []]);
  assertEquals(startedMs, 4_020, "until the session is open");
});

Deno.test("AcpAgent.describe: throws as a new session does, and when the caller leaves", async () => {
  await using login = new ScriptedAgentHarness({ authRequired: true, authMethods: ["oauth"] });
  assertEquals((await appErrorOf(login.agent.describe())).code, "agent_auth_required");
  await using other = new AcpHarness({ initialize: () => ({ protocolVersion: 2 }) });
  assertEquals((await appErrorOf(other.agent.describe())).code, "agent_unavailable");
  await using slow = new AcpHarness({ "session/new": neverAnswers });
  const controller = new AbortController();
  const waiting = slow.agent.describe(controller.signal).catch((error) => error);
  await nextTask();
  await slow.running.waitFor("session/new");
  const reason = new Error("hung up");
  controller.abort(reason);
  assertStrictEquals(await waiting, reason);
  await assertRejects(() => slow.agent.describe(controller.signal), Error, "hung up");
});
