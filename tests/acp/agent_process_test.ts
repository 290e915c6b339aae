/** The agent as a child process: a turn through real pipes, and every way in which a process ends. */

import { assert, assertEquals } from "@std/assert";
import { launch } from "../../lib/acp/process.ts";
import { untilAborted } from "../../lib/core/abortable.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { AcpHarness, PROMPT } from "../support/agents/memory_acp_agent.ts";
import { replayCommand } from "../support/agents/replayed_agent.ts";
import { readEntries } from "../support/agents/agent_io.ts";
import {
  bareEnvironment,
  PATIENT,
  pidsIn,
  script,
  ScriptedAgentHarness,
  untilGone,
} from "../support/harness/agent_process_harness.ts";
import { createGate } from "../support/harness/data_dir_fixture.ts";
import { appErrorOf, nextTask, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";

const LINUX_ONLY = { ignore: Deno.build.os !== "linux" };
/** Longer than the delay of a restart. */
const A_WHILE_MS = 60_000;

Deno.test("AcpAgent: translates a whole turn of a child process", async () => {
  await using harness = new ScriptedAgentHarness({ image: true, stderr: "a warning\n" });
  assertEquals(harness.agent.state, "idle");
  const session = await harness.agent.newSession();
  assertEquals([harness.agent.state, session.promptCapabilities], ["ready", { image: true, audio: false }]);
  const turn = await harness.runTurn(
    session,
    { thought: "hm" },
    { text: "Hello " },
    { tool: { id: "t", title: "ls", kind: "search" } },
    { toolUpdate: { id: "t", status: "completed" } },
    { plan: [{ content: "a", priority: "high", status: "pending" }] },
    { update: { sessionUpdate: "usage_update", used: 1, size: 2 } },
    { text: "" },
    { update: { sessionUpdate: "novelty" } },
    { notify: { method: "_vendor/news" } },
    { notify: { method: "session/update" } },
    { notify: { method: "session/update", params: { update: "words" } } },
    { tool: { id: "open", title: "cat", kind: "read" } },
    { raw: "npm warn" },
    { split: "ä😀", cuts: [70, -8, -7, -6] },
    { text: "world" },
    { stop: "end_turn", usage: { inputTokens: 3, outputTokens: 4, totalTokens: 7 } },
  );
  assertEquals(turn.summaries, [
    "thought hm",
    "text Hello ",
    "tool ls search pending",
    "tool ls search completed",
    "plan pending",
    "context 1 of 2",
    "tool cat read pending",
    "text ä😀",
    "text world",
    "tool cat read completed",
    "usage 3+4",
    "end end_turn",
  ]);
  assertEquals(harness.recorder.matching("skipped a line of the agent").length, 1);
  assertEquals((await harness.recorder.waitFor("agent stderr")).fields.line, "a warning");
  assertEquals((await harness.recorder.waitFor("agent ready")).fields.program, "fake-agent");
});

Deno.test("AcpAgent: delivers 20,000 tokens before the end, and a chunk of 250,000 characters as one event", async () => {
  await using harness = new ScriptedAgentHarness();
  const session = await harness.agent.newSession();
  const tokens = await harness.runTurn(session, { tokens: 20_000, text: "x" });
  assertEquals(tokens.text, "x".repeat(20_000));
  tokens.assertComplete();
  const { events } = await harness.runTurn(session, { big: 250_000 });
  assertEquals(events.map((event) => event.type === "text" ? event.text.length : 0), [250_000, 0]);
});

Deno.test("AcpAgent: a killed process fails its turns, closes its sessions, and is started again", async () => {
  await using harness = new ScriptedAgentHarness();
  const [one, other] = [await harness.agent.newSession(), await harness.agent.newSession()];
  const running = await harness.startTurn(one, { text: "up" }, { hang: true });
  await running.heard.untilText("up");
  const killed = await harness.startTurn(other, { tool: { id: "t", title: "ls" } }, { kill: true });
  assertEquals(await killed.heard.lastSummary(), "failure agent_crashed");
  assertEquals(await running.heard.lastSummary(), "failure agent_crashed");
  assertEquals(killed.heard.summaries, [
    "tool ls other pending",
    "tool ls other failed",
    "failure agent_crashed",
  ]);
  assertEquals(killed.heard.failure.prompted, true);
  for (const session of [one, other]) await waitFor(untilAborted(session.closed), "the session's close");
  assertEquals((await appErrorOf(one.prompt(script({ text: "" }), () => {}))).code, "agent_unavailable");
  harness.nowMs += A_WHILE_MS;
  const next = await harness.runTurn(await harness.agent.newSession(), { text: "again" });
  assertEquals([next.text, harness.processes.length], ["again", 2]);
});

Deno.test("AcpAgent: a process that exits in a turn fails it after all of its output", async () => {
  await using harness = new ScriptedAgentHarness();
  const session = await harness.agent.newSession();
  const turn = await harness.runTurn(session, { text: "famous " }, { text: "last words" }, { exit: 3 });
  assertEquals(turn.summaries, ["text famous ", "text last words", "failure agent_crashed"]);
  const { fields } = await harness.recorder.waitFor("agent exited during start-up");
  assertEquals(fields.status, "exited with code 3");
});

Deno.test("AcpAgent: a killed process fails its turn while a child of it holds its streams", {
  ignore: Deno.build.os === "windows",
}, async () => {
  const harness = new ScriptedAgentHarness();
  const session = await harness.agent.newSession();
  await harness.runTurn(session, { text: "warm" });
  const { heard } = await harness.startTurn(session, { spawn: "sleep 60", inherit: true }, { kill: true });
  try {
    await heard.until(({ type }) => type === "text");
    await waitFor(harness.processes[0]!.exited, "the agent's end");
    assertEquals(await waitFor(heard.lastSummary(), "the turn's end", 30_000), "failure agent_crashed");
    for (const pid of pidsIn(heard.text)) await untilGone(pid);
  } finally {
    await harness[Symbol.asyncDispose]();
  }
});

Deno.test({
  name: "AcpAgent: a process that exits at rest gets no more prompts while a child of it holds its streams",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using gate = await createGate();
    await using harness = new ScriptedAgentHarness();
    const session = await harness.agent.newSession();
    const exits = { afterAnswer: [gate.step, { kill: true as const }] };
    const { text } = await harness.runTurn(session, { spawn: "sleep 60", inherit: true }, exits);
    await gate.open();
    await waitFor(harness.processes[0]!.exited, "the agent's end");
    await nextTask();
    assert(session.closed.aborted);
    harness.nowMs += A_WHILE_MS;
    const next = await harness.runTurn(await harness.agent.newSession(), { text: "again" });
    assertEquals([next.text, harness.processes.length], ["again", 2]);
    for (const pid of pidsIn(text)) await untilGone(pid);
  },
});

Deno.test("AcpAgent: dispose cancels the turns, and ends the process by the end of its input", async () => {
  const harness = new ScriptedAgentHarness();
  const sessions = [await harness.agent.newSession(), await harness.agent.newSession()];
  const turns = await Promise.all(
    sessions.map((session) => harness.startTurn(session, { text: "up" }, { hang: true })),
  );
  for (const { heard } of turns) await heard.untilText("up");
  await waitFor(harness.agent[Symbol.asyncDispose](), "the agent's end");
  for (const { heard } of turns) assertEquals(await heard.lastSummary(), "end cancelled");
  assertEquals(await harness.processes[0]!.exited, "exited with code 0");
  await harness[Symbol.asyncDispose]();
});

Deno.test(
  "AcpAgent: a process that dies by itself leaves no process that it started",
  LINUX_ONLY,
  async () => {
    await using harness = new ScriptedAgentHarness();
    const { text } = await harness.runTurn(
      await harness.agent.newSession(),
      { spawn: "sleep 60" },
      { spawn: "sleep 60", setsid: true },
      { kill: true },
    );
    for (const pid of pidsIn(text)) await untilGone(pid);
  },
);

for (const method of ["resume", "load"] as const) {
  Deno.test(`AcpAgent: a session outlives its process and its server, by session/${method}`, async () => {
    const memory = await Deno.makeTempFile();
    {
      const options = { memory, resume: method === "resume", loadSession: method === "load" };
      await using harness = new ScriptedAgentHarness(options);
      const session = await harness.agent.newSession();
      assertEquals((await harness.runTurn(session, { text: "one" })).text, "one");
      const killed = await harness.startTurn(session, { text: "two" }, { kill: true });
      assertEquals(await killed.heard.lastSummary(), "failure agent_crashed");
      await waitFor(untilAborted(session.closed), "the session's close");
      harness.nowMs += A_WHILE_MS;
      const resumed = await harness.agent.resumeSession(session.id);
      const turn = await harness.runTurn(resumed!, { recall: true });
      assertEquals(
        turn.events.filter(({ type }) => type === "text").length,
        1,
        "the history is not repeated",
      );
      assertEquals(JSON.parse(turn.text).length, 2);
      assertEquals([harness.processes.length, harness.count(`session/${method}`)], [2, 1]);
      await using next = new ScriptedAgentHarness(options);
      const later = await next.agent.resumeSession(session.id);
      assertEquals(JSON.parse((await next.runTurn(later!, { recall: true })).text).length, 3);
      assertEquals(await next.agent.resumeSession("fake-other" as SessionId), undefined);
    }
    await Deno.remove(memory);
  });
}

for (
  const [recording, model, other] of [
    ["claude-load", "claude-sonnet-4-5", "opus"],
    ["codex2-load", "gpt-5", "gpt-6-astra"],
  ] as const
) {
  Deno.test(`AcpAgent: ${recording} closes, resumes and closes a session again`, async () => {
    const log = await Deno.makeTempFile();
    const command = { ...replayCommand(recording, { log }), cwd: Deno.cwd(), env: bareEnvironment() };
    const heard = new TurnRecorder();
    {
      await using harness: AcpHarness = new AcpHarness({}, {
        launch: () => launch(command, harness.recorder.log, PATIENT),
      });
      const { agent } = harness;
      const session = await agent.newSession();
      assertEquals(session.model, model);
      assert(agent.models.some(({ id }) => id === other));
      await session.prompt(PROMPT, heard.reader);
      assertEquals(await heard.lastSummary(), "end end_turn");
      const count = heard.events.length;
      session.close();
      const resumed = await agent.resumeSession(session.id);
      assertEquals([resumed?.id, resumed?.model], [session.id, model]);
      assertEquals(heard.events.length, count);
      agent.deleteSession(session.id);
      await waitFor(untilAborted(resumed!.closed), "the session's close");
      assertEquals((await agent.newSession()).closed.aborted, false);
    }
    const methods = readEntries(Deno.readTextFileSync(log)).flatMap(({ method }) => method ? [method] : []);
    assertEquals(methods.filter((method) => method !== "session/new").slice(0, 5), [
      "initialize",
      "session/prompt",
      "session/close",
      "session/resume",
      "session/close",
    ]);
    await Deno.remove(log);
  });
}
