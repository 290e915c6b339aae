import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { AcpAgent } from "../../lib/acp/agent.ts";
import type { PermissionPolicy } from "../../lib/acp/permission.ts";
import { launch } from "../../lib/acp/process.ts";
import { aborted } from "../../lib/turn/abort.ts";
import type { PromptBlock } from "../../lib/turn/agent.ts";
import { Failure } from "../../lib/turn/failure.ts";
import { isObject, type Json } from "../fakes/agent.ts";
import { Heard, settled, soon } from "../turn/heard.ts";
import { FakeHouse, fakeLaunch, gone, lives, pidsIn, script, SHORT } from "./children.ts";
import { Recorder } from "./ends.ts";

const WINDOWS = Deno.build.os === "windows";
/** Longer than an early death's wait. */
const A_WHILE_MS = 60_000;

async function failureOf(promise: Promise<unknown>): Promise<Failure> {
  return await assertRejects(() => soon(promise, "a failure"), Failure);
}

Deno.test("AcpAgent: a turn, from the start of the agent to its end", async () => {
  await using house = new FakeHouse({ image: true });
  assertEquals(house.agent.state, "idle");
  const session = await house.agent.open();
  assertEquals([house.agent.state, session.accepts], ["ready", { image: true, audio: false }]);
  const heard = await house.turn(
    session,
    { thought: "hm" },
    { text: "Hello " },
    { tool: { id: "t", title: "ls", kind: "search" } },
    { toolUpdate: { id: "t", status: "completed" } },
    { plan: [{ content: "a", priority: "high", status: "pending" }] },
    { usage_update: { used: 1, size: 2 } },
    { empty: true },
    { update: { sessionUpdate: "novelty" } },
    { notify: { method: "_vendor/news" } },
    { raw: "npm warn" },
    { split: "ä😀", cuts: [70, -8, -7, -6] },
    { text: "world" },
    { stop: "max_tokens", usage: { inputTokens: 3, outputTokens: 4, totalTokens: 7 } },
  );
  assertEquals(heard.briefs, [
    "thought hm",
    "text Hello ",
    "tool ls search pending",
    "tool ls search completed",
    "plan pending",
    "text ä😀",
    "text world",
    "usage 3+4",
    "end max_tokens",
  ]);
  assertEquals(house.recorder.of("skipped a line of the agent").length, 1);
});

Deno.test("AcpAgent: blocks reach the agent as they are", async () => {
  await using house = new FakeHouse({ image: true });
  const session = await house.agent.open();
  const blocks: PromptBlock[] = [
    { type: "text", text: 'two\nlines "and" \u2028 😀' },
    { type: "image", mimeType: "image/png", data: "aW1hZ2U=" },
  ];
  const heard = new Heard();
  await session.prompt(blocks, heard.reader);
  assertEquals(await heard.last(), "end end_turn");
  const prompt = house.came.find(({ method }) => method === "session/prompt");
  assertEquals(prompt?.params, { sessionId: session.id, prompt: blocks });
});

Deno.test("AcpAgent: a session that was made ahead is used, and the next is made when a turn ends", async () => {
  await using house = new FakeHouse();
  house.agent.warm();
  const first = await house.agent.open();
  assertEquals(house.count("session/new"), 1);
  await house.turn(first, { text: "done" });
  await house.agent.open();
  assertEquals([house.count("session/new"), house.count("initialize"), house.links.length], [2, 1, 1]);
});

Deno.test("AcpAgent: sessions run beside each other", async () => {
  await using house = new FakeHouse();
  const [one, other] = [await house.agent.open(), await house.agent.open()];
  const running = await house.begun(one, { text: "one" }, { hang: true });
  await running.heard.untilText("one");
  assertEquals((await house.turn(other, { text: "other" })).briefs, ["text other", "end end_turn"]);
  assertEquals(running.heard.briefs, ["text one"]);
  running.cancel();
  assertEquals(await running.heard.last(), "end cancelled");
});

Deno.test("AcpAgent: prompts of one session wait for each other", async () => {
  await using house = new FakeHouse();
  const session = await house.agent.open();
  const first = await house.begun(session, { text: "first" }, { hang: true });
  const second = house.begun(session, { text: "second" });
  await first.heard.untilText("first");
  await settled();
  assertEquals(house.count("session/prompt"), 1);
  first.cancel();
  const { heard } = await soon(second, "the second prompt");
  await heard.last();
  assertEquals([first.heard.briefs, heard.briefs], [["text first", "end cancelled"], [
    "text second",
    "end end_turn",
  ]]);
  assertEquals(house.methods, ["initialize", "session/prompt", "session/cancel", "session/prompt"]);
});

Deno.test("AcpAgent: an agent that is killed fails what runs, closes its sessions, and is started again", async () => {
  await using house = new FakeHouse();
  const [one, other] = [await house.agent.open(), await house.agent.open()];
  const running = await house.begun(one, { text: "up" }, { hang: true });
  await running.heard.untilText("up");
  const killed = await house.begun(other, { tool: { id: "t", title: "ls" } }, { kill: true });
  assertEquals(await killed.heard.last(), "failure agent_crashed");
  assertEquals(await running.heard.last(), "failure agent_crashed");
  assertEquals(killed.heard.briefs, [
    "tool ls other pending",
    "tool ls other failed",
    "failure agent_crashed",
  ]);
  assertEquals(killed.heard.failure.prompted, true);
  for (const session of [one, other]) await soon(aborted(session.closed), "the session's close");
  assertEquals((await failureOf(one.prompt(script({ text: "" }), () => {}))).code, "agent_unavailable");
  house.nowMs += A_WHILE_MS;
  const next = await house.turn(await house.agent.open(), { text: "again" });
  assertEquals([next.text, house.links.length], ["again", 2]);
});

Deno.test("AcpAgent: an agent that exits in a turn fails it after all that it said", async () => {
  await using house = new FakeHouse();
  const heard = await house.turn(await house.agent.open(), { text: "famous " }, { text: "last words" }, {
    exit: 3,
  });
  assertEquals(heard.briefs, ["text famous ", "text last words", "failure agent_crashed"]);
  const { fields } = await house.recorder.until("the agent died before it was of use");
  assertEquals(fields.how, "exited with code 3");
});

Deno.test({
  name:
    "AcpAgent: an agent that is killed fails what runs, also while a process that it started holds its streams",
  ignore: WINDOWS,
  async fn() {
    const house = new FakeHouse();
    const session = await house.agent.open();
    await house.turn(session, { text: "warm" });
    const { heard } = await house.begun(session, { spawn: "sleep 60", inherit: true }, { kill: true });
    try {
      await heard.until(({ type }) => type === "text");
      await soon(house.links[0]!.exited, "the agent's end");
      const last = await soon(heard.last(), "the turn's end", 10_000);
      assertEquals(last, "failure agent_crashed");
      for (const pid of pidsIn(heard.text)) await gone(pid);
    } finally {
      await house[Symbol.asyncDispose]();
    }
  },
});

Deno.test("AcpAgent: early deaths make the next start wait, and after three it is refused for a while", async () => {
  await using house = new FakeHouse({ dieOnStart: 7, stderr: "no licence\n" });
  for (const waitMs of [0, 500, 1_000]) {
    house.nowMs += waitMs;
    assertEquals((await failureOf(house.agent.open())).code, "agent_unavailable");
  }
  const refused = await failureOf(house.agent.open());
  assertEquals([refused.retryAfterSecs, house.agent.state, house.links.length], [2, "failing", 3]);
  const { fields } = await house.recorder.until("the agent died before it was of use");
  assertEquals([fields.how, fields.stderr], ["exited with code 7", ["no licence"]]);
  house.options = {};
  house.nowMs += A_WHILE_MS;
  assertEquals((await house.turn(await house.agent.open(), { text: "well" })).text, "well");
  assertEquals(house.agent.state, "ready");
});

Deno.test("AcpAgent: a program that is not there", async () => {
  const recorder = new Recorder();
  await using agent = new AcpAgent({
    name: "missing",
    launch: () => launch({ ...fakeLaunch(), command: "no-such-agent-program" }, recorder.log),
    cwd: Deno.cwd(),
    permissions: "ask",
    version: "1",
    variables: new Set(),
    log: recorder.log,
  });
  const failure = await failureOf(agent.open());
  assertEquals(failure.code, "agent_unavailable");
  assertStringIncludes(failure.message, '"no-such-agent-program"');
});

Deno.test("AcpAgent: another version of the protocol is refused by name, and the agent ended", async () => {
  await using house = new FakeHouse({ protocolVersion: 2 });
  const failure = await failureOf(house.agent.open());
  assertEquals(failure.code, "agent_unavailable");
  assertStringIncludes(failure.message, "version 2 ");
  assertEquals(await soon(house.links[0]!.exited, "its end"), "exited with code 0");
});

Deno.test("AcpAgent: an agent that wants a log-in by a person says which", async () => {
  await using house = new FakeHouse({ authRequired: true, authMethods: ["oauth", "device-code"] });
  const failure = await failureOf(house.agent.open());
  assertEquals(failure.code, "agent_auth_required");
  assertStringIncludes(failure.message, "oauth (oauth), device-code (device-code)");
  assertEquals([house.count("authenticate"), house.agent.state], [0, "ready"]);
});

const BY_VARIABLE = { id: "by-variable", name: "By variable", type: "env_var", vars: [{ name: "FAKE_KEY" }] };

Deno.test("AcpAgent: an agent that wants a log-in by a variable that it has is logged in to", async () => {
  await using house = new FakeHouse({ authRequired: true, authMethods: ["oauth", BY_VARIABLE] }, {
    variables: new Set(["FAKE_KEY"]),
  });
  assertEquals((await house.turn(await house.agent.open(), { text: "in" })).text, "in");
  const logins = house.came.filter(({ method }) => method === "authenticate");
  assertEquals(logins.map(({ params }) => params), [{ methodId: "by-variable" }]);
});

Deno.test("AcpAgent: a log-in that fails is said, and the agent lives on", async () => {
  await using house = new FakeHouse({ authRequired: true, authMethods: ["api-key"], authFails: true });
  for (const count of [1, 2]) {
    const failure = await failureOf(house.agent.open());
    assertEquals(failure.code, "agent_auth_required");
    assertStringIncludes(failure.message, "Authentication failed");
    assertEquals([house.count("authenticate"), house.links.length], [count, 1]);
  }
});

Deno.test("AcpAgent: a cancel is answered, and the session goes on", async () => {
  await using house = new FakeHouse();
  const session = await house.agent.open();
  const { heard, cancel } = await house.begun(
    session,
    { tool: { id: "t", title: "make", kind: "execute", status: "in_progress" } },
    { hang: true },
    { text: "never" },
  );
  await heard.until(({ type }) => type === "tool");
  cancel();
  await heard.last();
  assertEquals(heard.briefs, ["tool make execute in_progress", "tool make execute failed", "end cancelled"]);
  assertEquals((await house.turn(session, { text: "next" })).text, "next");
});

Deno.test("AcpAgent: a cancel that is not answered ends the turn with its process, and a new one serves", async () => {
  await using house = new FakeHouse({ ignoreEof: true, ignoreSigterm: true }, {
    times: { setupMs: 60_000, cancelMs: 10 },
    stopTimes: SHORT,
  });
  const session = await house.agent.open();
  const { heard, cancel } = await house.begun(session, { ignoreCancel: true }, { text: "deaf" }, {
    sleepMs: 3_600_000,
  });
  await heard.untilText("deaf");
  cancel();
  const last = await heard.last();
  assert(["end cancelled", "failure agent_crashed"].includes(last), last);
  await soon(house.links[0]!.exited, "the process's end");
  assert(session.closed.aborted);
  house.nowMs += A_WHILE_MS;
  assertEquals((await house.turn(await house.agent.open(), { text: "next" })).text, "next");
  assertEquals(house.links.length, 2);
});

Deno.test("AcpAgent: what comes after the answer is nobody's", async () => {
  await using house = new FakeHouse();
  const session = await house.agent.open();
  const first = await house.turn(session, { text: "one" }, {
    afterAnswer: [
      { text: "late" },
      { thought: "late" },
      { tool: { id: "t", title: "late" } },
      { update: { sessionUpdate: "session_info_update", title: "A talk" } },
    ],
  });
  const second = await house.turn(session, { text: "two" });
  assertEquals([first.briefs, second.briefs], [["text one", "end end_turn"], ["text two", "end end_turn"]]);
});

Deno.test("AcpAgent: every token before the answer is heard before the end", async () => {
  await using house = new FakeHouse();
  const heard = await house.turn(await house.agent.open(), { tokens: 20_000, text: "x" });
  assertEquals(heard.text, "x".repeat(20_000));
  heard.assertWhole();
});

Deno.test("AcpAgent: a chunk of megabytes is one event", async () => {
  await using house = new FakeHouse();
  const heard = await house.turn(await house.agent.open(), { big: 3_000_000 });
  assertEquals(heard.events.map((event) => event.type === "text" ? event.text.length : 0), [3_000_000, 0]);
});

Deno.test("AcpAgent: a request that is not known is answered, and the turn goes on", async () => {
  await using house = new FakeHouse();
  const session = await house.agent.open();
  for (
    const method of ["fs/read_text_file", "fs/write_text_file", "terminal/create", "craft/drainMidTurnQueue"]
  ) {
    const heard = await house.turn(session, { request: { method, params: { path: "/etc/passwd" } } });
    const { error } = JSON.parse(heard.text.replace("answer:", "")) as { error: Json };
    assertEquals(error.code, -32601);
    assertStringIncludes(String(error.message), method);
    assertEquals(await heard.last(), "end end_turn");
  }
});

const OPTIONS = [
  { optionId: "always", name: "Always", kind: "allow_always" },
  { optionId: "no", name: "No", kind: "reject_once" },
  { optionId: "yes", name: "Yes", kind: "allow_once" },
];
const GIVEN: Readonly<Record<PermissionPolicy, Readonly<Record<string, string>>>> = {
  ask: { read: "yes", fetch: "yes", execute: "no", edit: "no", other: "no", teleport: "no" },
  allow: { read: "yes", execute: "yes", teleport: "yes" },
  deny: { read: "no", execute: "no" },
};
for (const [permissions, kinds] of Object.entries(GIVEN) as [PermissionPolicy, Record<string, string>][]) {
  Deno.test(`AcpAgent: permissions, ${permissions}`, async () => {
    await using house = new FakeHouse({}, { permissions });
    const session = await house.agent.open();
    for (const [kind, optionId] of Object.entries(kinds)) {
      const toolCall = { toolCallId: kind, title: `a ${kind}`, kind };
      const heard = await house.turn(session, { permission: { toolCall, options: OPTIONS } });
      assertEquals(
        JSON.parse(heard.text.replace("permission:", "")),
        { outcome: "selected", optionId },
        kind,
      );
      const told = kind === "teleport" ? "other" : kind;
      assertEquals(heard.briefs[0], `tool a ${kind} ${told} pending`);
    }
  });
}

Deno.test("AcpAgent: a permission for which nothing fits is cancelled", async () => {
  await using house = new FakeHouse({}, { permissions: "deny" });
  const heard = await house.turn(await house.agent.open(), {
    permission: {
      toolCall: { toolCallId: "t" },
      options: OPTIONS.filter(({ kind }) => kind !== "reject_once"),
    },
  });
  assertEquals(heard.text, 'permission:{"outcome":"cancelled"}');
});

Deno.test("AcpAgent: a session that is closed is closed at the agent's too", async () => {
  await using house = new FakeHouse();
  const session = await house.agent.open();
  const { heard } = await house.begun(session, { text: "up" }, { hang: true });
  await heard.untilText("up");
  session.close();
  assertEquals(await heard.last(), "end cancelled");
  await house.turn(await house.agent.open(), { text: "after" });
  assertEquals(house.methods, [
    "initialize",
    "session/prompt",
    "session/cancel",
    "session/close",
    "session/prompt",
  ]);
  assertEquals(house.came.find(({ method }) => method === "session/close")?.params, {
    sessionId: session.id,
  });
});

Deno.test("AcpAgent: dispose ends what runs, as cancelled, and the agent by the end of its input", async () => {
  const house = new FakeHouse();
  const sessions = [await house.agent.open(), await house.agent.open()];
  const turns = await Promise.all(
    sessions.map((session) => house.begun(session, { text: "up" }, { hang: true })),
  );
  for (const { heard } of turns) await heard.untilText("up");
  await soon(house.agent[Symbol.asyncDispose](), "the agent's end");
  for (const { heard } of turns) assertEquals(await heard.last(), "end cancelled");
  assertEquals(await house.links[0]!.exited, "exited with code 0");
  assertEquals(house.agent.state, "closed");
  assertEquals((await failureOf(house.agent.open())).code, "shutting_down");
  await house[Symbol.asyncDispose]();
});

Deno.test({
  name: "AcpAgent: dispose leaves no process, whatever the agent started",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const house = new FakeHouse({ ignoreEof: true, ignoreSigterm: true }, { stopTimes: SHORT });
    const heard = await house.turn(
      await house.agent.open(),
      { spawn: "sleep 60" },
      { spawn: "sleep 60", setsid: true },
      { spawn: "sleep 60", setsid: true, inherit: true },
    );
    const pids = pidsIn(heard.text);
    assertEquals(await Promise.all(pids.map(lives)), [true, true, true]);
    await house[Symbol.asyncDispose]();
    for (const pid of pids) await gone(pid);
  },
});

Deno.test({
  name: "AcpAgent: nothing is left of an agent that died by itself",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await using house = new FakeHouse();
    const heard = await house.turn(
      await house.agent.open(),
      { spawn: "sleep 60" },
      { spawn: "sleep 60", setsid: true },
      { kill: true },
    );
    for (const pid of pidsIn(heard.text)) await gone(pid);
  },
});

Deno.test("AcpAgent: dispose while the agent starts", async () => {
  const house = new FakeHouse({ startDelayMs: 3_600_000 }, { stopTimes: { endMs: 10, termMs: 60_000 } });
  const opening = failureOf(house.agent.open());
  await settled();
  assertEquals(house.agent.state, "starting");
  await house[Symbol.asyncDispose]();
  assertEquals((await opening).code, "shutting_down");
});

Deno.test("AcpAgent: dispose while a session is opened", async () => {
  const house = new FakeHouse({ sessionDelayMs: 3_600_000 });
  const opening = failureOf(house.agent.open());
  await house.recorder.until("agent ready");
  await house[Symbol.asyncDispose]();
  assertEquals((await opening).code, "shutting_down");
});

Deno.test("AcpAgent: dispose of one that was never started", async () => {
  const house = new FakeHouse();
  await house[Symbol.asyncDispose]();
  assertEquals([house.links.length, house.agent.state], [0, "closed"]);
});

Deno.test("AcpAgent: kill ends the processes at once", async () => {
  await using house = new FakeHouse({ ignoreEof: true, ignoreSigterm: true });
  const { heard } = await house.begun(await house.agent.open(), { text: "up" }, { hang: true });
  await heard.untilText("up");
  house.agent.kill();
  assertEquals(await heard.last(), "failure agent_crashed");
  await soon(house.links[0]!.exited, "its end");
});

Deno.test("AcpAgent: what the agent says on stderr is in the log", async () => {
  await using house = new FakeHouse({ stderr: "a warning\n" });
  await house.agent.open();
  const { fields } = await house.recorder.until("agent stderr");
  assertEquals(fields.line, "a warning");
  const ready = await house.recorder.until("agent ready");
  assert(isObject(ready.fields) && ready.fields.agent === "fake-agent");
});
