import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { AcpAgent } from "../../lib/acp/agent.ts";
import { launch } from "../../lib/acp/process.ts";
import { untilAborted } from "../../lib/core/abortable.ts";
import { failureOf, settled, soon } from "../support/harness/turn_recorder.ts";
import {
  isRunning,
  pidsIn,
  script,
  ScriptedAgentHarness,
  scriptedLaunch,
  SHORT,
  untilGone,
} from "../support/harness/agent_process_harness.ts";
import { LogRecorder } from "../support/harness/json_rpc_harness.ts";
import { NO_BROKER } from "../support/harness/no_broker.ts";

const WINDOWS = Deno.build.os === "windows";
/** Longer than an early death's wait. */
const A_WHILE_MS = 60_000;

Deno.test("AcpAgent: an agent that is killed fails what runs, closes its sessions, and is started again", async () => {
  await using house = new ScriptedAgentHarness();
  const [one, other] = [await house.agent.newSession(), await house.agent.newSession()];
  const running = await house.startTurn(one, { text: "up" }, { hang: true });
  await running.heard.untilText("up");
  const killed = await house.startTurn(other, { tool: { id: "t", title: "ls" } }, { kill: true });
  assertEquals(await killed.heard.last(), "failure agent_crashed");
  assertEquals(await running.heard.last(), "failure agent_crashed");
  assertEquals(killed.heard.briefs, [
    "tool ls other pending",
    "tool ls other failed",
    "failure agent_crashed",
  ]);
  assertEquals(killed.heard.failure.prompted, true);
  for (const session of [one, other]) await soon(untilAborted(session.closed), "the session's close");
  assertEquals((await failureOf(one.prompt(script({ text: "" }), () => {}))).code, "agent_unavailable");
  house.nowMs += A_WHILE_MS;
  const next = await house.runTurn(await house.agent.newSession(), { text: "again" });
  assertEquals([next.text, house.processes.length], ["again", 2]);
});

Deno.test("AcpAgent: an agent that exits in a turn fails it after all that it said", async () => {
  await using house = new ScriptedAgentHarness();
  const heard = await house.runTurn(
    await house.agent.newSession(),
    { text: "famous " },
    { text: "last words" },
    {
      exit: 3,
    },
  );
  assertEquals(heard.briefs, ["text famous ", "text last words", "failure agent_crashed"]);
  const { fields } = await house.recorder.waitFor("agent exited during start-up");
  assertEquals(fields.status, "exited with code 3");
});

Deno.test({
  name:
    "AcpAgent: an agent that is killed fails what runs, also while a process that it started holds its streams",
  ignore: WINDOWS,
  async fn() {
    const house = new ScriptedAgentHarness();
    const session = await house.agent.newSession();
    await house.runTurn(session, { text: "warm" });
    const { heard } = await house.startTurn(session, { spawn: "sleep 60", inherit: true }, { kill: true });
    try {
      await heard.until(({ type }) => type === "text");
      await soon(house.processes[0]!.exited, "the agent's end");
      const last = await soon(heard.last(), "the turn's end", 30_000);
      assertEquals(last, "failure agent_crashed");
      for (const pid of pidsIn(heard.text)) await untilGone(pid);
    } finally {
      await house[Symbol.asyncDispose]();
    }
  },
});

Deno.test("AcpAgent: early deaths make the next start wait, and after three it is refused for a while", async () => {
  await using house = new ScriptedAgentHarness({ dieOnStart: 7, stderr: "no licence\n" });
  for (const waitMs of [0, 500, 1_000]) {
    house.nowMs += waitMs;
    assertEquals((await failureOf(house.agent.newSession())).code, "agent_unavailable");
  }
  const refused = await failureOf(house.agent.newSession());
  assertEquals([refused.retryAfterSecs, house.agent.state, house.processes.length], [2, "failing", 3]);
  const { fields } = await house.recorder.waitFor("agent exited during start-up");
  assertEquals([fields.status, fields.stderr], ["exited with code 7", ["no licence"]]);
  house.options = {};
  house.nowMs += A_WHILE_MS;
  assertEquals((await house.runTurn(await house.agent.newSession(), { text: "well" })).text, "well");
  assertEquals(house.agent.state, "ready");
});

Deno.test("AcpAgent: a program that is not there", async () => {
  const recorder = new LogRecorder();
  await using agent = new AcpAgent({
    name: "missing",
    program: "agent",
    launch: () => launch({ ...scriptedLaunch(), command: "no-such-agent-program" }, recorder.log),
    cwd: Deno.cwd(),
    permissions: "ask",
    broker: NO_BROKER,
    version: "1",
    variables: new Set(),
    log: recorder.log,
  });
  const failure = await failureOf(agent.newSession());
  assertEquals(failure.code, "agent_unavailable");
  assertStringIncludes(failure.message, '"no-such-agent-program"');
});

Deno.test("AcpAgent: a cancel that is not answered ends the turn with its process, and a new one serves", async () => {
  await using house = new ScriptedAgentHarness({ ignoreEof: true, ignoreSigterm: true }, {
    timeouts: { setupMs: 60_000, resumeMs: 60_000, cancelMs: 10 },
    stopTimes: SHORT,
  });
  const session = await house.agent.newSession();
  const { heard, cancel } = await house.startTurn(session, { ignoreCancel: true }, { text: "deaf" }, {
    sleepMs: 3_600_000,
  });
  await heard.untilText("deaf");
  cancel();
  const last = await heard.last();
  assert(["end cancelled", "failure agent_crashed"].includes(last), last);
  await soon(house.processes[0]!.exited, "the process's end");
  assert(session.closed.aborted);
  house.nowMs += A_WHILE_MS;
  assertEquals((await house.runTurn(await house.agent.newSession(), { text: "next" })).text, "next");
  assertEquals(house.processes.length, 2);
});

Deno.test("AcpAgent: dispose ends what runs, as cancelled, and the agent by the end of its input", async () => {
  const house = new ScriptedAgentHarness();
  const sessions = [await house.agent.newSession(), await house.agent.newSession()];
  const turns = await Promise.all(
    sessions.map((session) => house.startTurn(session, { text: "up" }, { hang: true })),
  );
  for (const { heard } of turns) await heard.untilText("up");
  await soon(house.agent[Symbol.asyncDispose](), "the agent's end");
  for (const { heard } of turns) assertEquals(await heard.last(), "end cancelled");
  assertEquals(await house.processes[0]!.exited, "exited with code 0");
  assertEquals(house.agent.state, "closed");
  assertEquals((await failureOf(house.agent.newSession())).code, "shutting_down");
  await house[Symbol.asyncDispose]();
});

Deno.test({
  name: "AcpAgent: dispose leaves no process, whatever the agent started",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const house = new ScriptedAgentHarness({ ignoreEof: true, ignoreSigterm: true }, { stopTimes: SHORT });
    const heard = await house.runTurn(
      await house.agent.newSession(),
      { spawn: "sleep 60" },
      { spawn: "sleep 60", setsid: true },
      { spawn: "sleep 60", setsid: true, inherit: true },
    );
    const pids = pidsIn(heard.text);
    assertEquals(await Promise.all(pids.map(isRunning)), [true, true, true]);
    await house[Symbol.asyncDispose]();
    for (const pid of pids) await untilGone(pid);
  },
});

Deno.test({
  name: "AcpAgent: nothing is left of an agent that died by itself",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using house = new ScriptedAgentHarness();
    const heard = await house.runTurn(
      await house.agent.newSession(),
      { spawn: "sleep 60" },
      { spawn: "sleep 60", setsid: true },
      { kill: true },
    );
    for (const pid of pidsIn(heard.text)) await untilGone(pid);
  },
});

Deno.test("AcpAgent: dispose while the agent starts", async () => {
  const house = new ScriptedAgentHarness({ startDelayMs: 3_600_000 }, {
    stopTimes: { endMs: 10, termMs: 60_000 },
  });
  const opening = failureOf(house.agent.newSession());
  await settled();
  assertEquals(house.agent.state, "starting");
  await house[Symbol.asyncDispose]();
  assertEquals((await opening).code, "shutting_down");
});

Deno.test("AcpAgent: dispose while a session is opened", async () => {
  const house = new ScriptedAgentHarness({ sessionDelayMs: 3_600_000 });
  const opening = failureOf(house.agent.newSession());
  await house.recorder.waitFor("agent ready");
  await house[Symbol.asyncDispose]();
  assertEquals((await opening).code, "shutting_down");
});

Deno.test("AcpAgent: dispose of one that was never started", async () => {
  const house = new ScriptedAgentHarness();
  await house[Symbol.asyncDispose]();
  assertEquals([house.processes.length, house.agent.state], [0, "closed"]);
});

Deno.test("AcpAgent: kill ends the processes at once", async () => {
  await using house = new ScriptedAgentHarness({ ignoreEof: true, ignoreSigterm: true });
  const { heard } = await house.startTurn(await house.agent.newSession(), { text: "up" }, { hang: true });
  await heard.untilText("up");
  house.agent.kill();
  assertEquals(await heard.last(), "failure agent_crashed");
  await soon(house.processes[0]!.exited, "its end");
});
