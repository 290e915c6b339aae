import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { AcpAgent } from "../../lib/acp/agent.ts";
import { untilAborted } from "../../lib/core/abortable.ts";
import type { Session } from "../../lib/turn/agent.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { Json } from "../support/agents/scripted_agent.ts";
import { failureOf, Heard, settled, soon } from "../support/harness/turn_recorder.ts";
import { LogRecorder, memoryProcess, RawPeer, streamPair } from "../support/harness/json_rpc_harness.ts";
import {
  AcpHarness,
  answersAfter,
  neverAnswers,
  PROMPT,
  worksUntilCancelled,
} from "../support/agents/memory_acp_agent.ts";
import { NO_BROKER } from "../support/harness/no_broker.ts";

Deno.test("Connection: the end of one turn at shutdown is not the end of another's", async () => {
  const heard = [new Heard(), new Heard(), new Heard()];
  const [mine, theirs] = streamPair();
  const end = new RawPeer(theirs);
  const exited = Promise.withResolvers<string>();
  const agent = new AcpAgent({
    name: "raw",
    program: "agent",
    launch: () => ({
      ...memoryProcess(mine, () => {}),
      exited: exited.promise,
      stop(endInput) {
        endInput?.();
        return exited.promise.then(() => {});
      },
    }),
    cwd: "/",
    permissions: "allow",
    broker: NO_BROKER,
    version: "1",
    variables: new Set(),
    log: new LogRecorder().log,
  });
  const asked: unknown[] = [];
  const answers: Readonly<Record<string, Json>> = {
    "initialize": { protocolVersion: 1, agentCapabilities: { sessionCapabilities: { close: {} } } },
    "session/new": {},
  };
  /** Answers what comes until something of this method did. */
  const serveUntil = async (last: string) => {
    for (let message = await end.receive(); message !== undefined; message = await end.receive()) {
      const { id, method } = message;
      if (method === "session/prompt") asked.push(id);
      const result = answers[String(method)];
      if (result) await end.send({ id, result: { sessionId: `session-${id}`, ...result } });
      if (method === last) return;
    }
  };
  const sessions: Session[] = [];
  for (const _ of heard) {
    const opening = agent.newSession();
    await serveUntil("session/new");
    sessions.push(await opening);
  }
  for (const [index, session] of sessions.entries()) {
    const prompting = session.prompt(PROMPT, heard[index]!.reader);
    await serveUntil("session/prompt");
    await prompting;
  }
  const disposing = agent[Symbol.asyncDispose]();
  await serveUntil("the end of its input");
  // It was told to cancel, and its input has ended: it answers as long as it lives.
  for (const id of asked) {
    await end.send({ id, result: { stopReason: "cancelled" } });
    await settled();
  }
  exited.resolve("exited with code 0");
  await soon(disposing, "the agent's end");
  assertEquals(heard.map((one) => one.briefs), [["end cancelled"], ["end cancelled"], ["end cancelled"]]);
});

Deno.test("Connection: every session of an agent that dies is closed, and every turn fails once", async () => {
  const heard = [new Heard(), new Heard()];
  await using house = new AcpHarness({ "session/prompt": worksUntilCancelled });
  const sessions = await Promise.all(heard.map(() => house.agent.newSession()));
  for (const [index, session] of sessions.entries()) await session.prompt(PROMPT, heard[index]!.reader);
  for (const one of heard) await one.untilText("working");
  house.running.exit();
  for (const one of heard) assertEquals(await one.last(), "failure agent_crashed");
  for (const session of sessions) await soon(untilAborted(session.closed), "the session's close");
  await settled();
  for (const one of heard) one.assertWhole();
});

Deno.test("AcpAgent: a session that was made ahead is used, and the next is made when a turn ends", async () => {
  await using house = new AcpHarness();
  assertEquals(house.agent.state, "idle");
  house.agent.warm();
  assertEquals(house.agent.state, "starting");
  const first = await house.agent.newSession();
  assertEquals([house.agent.state, house.running.count("session/new"), first.id as string], [
    "ready",
    1,
    "session-1",
  ]);
  const heard = new Heard();
  await first.prompt(PROMPT, heard.reader);
  await heard.last();
  await house.running.waitFor("session/new", 2);
  assertEquals((await house.agent.newSession()).id as string, "session-2");
  assertEquals(house.starts.length, 1);
});

Deno.test("AcpAgent: opens that come at once start one agent", async () => {
  await using house = new AcpHarness();
  const sessions = await Promise.all([1, 2, 3].map(() => house.agent.newSession()));
  assertEquals([house.starts.length, new Set(sessions.map(({ id }) => id)).size], [1, 3]);
});

Deno.test("AcpAgent: who gives up is let go; one session that comes of it is kept for the next, others are closed", async () => {
  const opening = Promise.withResolvers<void>();
  await using house = new AcpHarness({
    "session/new": async (_params, running) => {
      const sessionId = `late-${running.nextSession++}`;
      await opening.promise;
      return { sessionId };
    },
  });
  const reason = new Error("hung up");
  const controller = new AbortController();
  const waiting = [1, 2].map(() => house.agent.newSession(controller.signal).catch((error) => error));
  await settled();
  await house.running.waitFor("session/new", 2);
  controller.abort(reason);
  for (const one of waiting) assertStrictEquals(await one, reason);
  opening.resolve();
  assertEquals((await house.agent.newSession()).id as string, "late-1");
  await house.running.waitFor("session/close");
  assertEquals(house.running.summary("session/close"), ["session/close late-2"]);
  assertEquals(house.running.count("session/new"), 2);
});

Deno.test("AcpAgent: who has given up already gets no session", async () => {
  await using house = new AcpHarness();
  await house.agent.newSession();
  await assertRejects(
    () => house.agent.newSession(AbortSignal.abort(new Error("hung up"))),
    Error,
    "hung up",
  );
});

Deno.test("AcpAgent: an agent that does not answer a cancel serves no more, but what runs in it may end", async () => {
  const other = Promise.withResolvers<void>();
  const [stuck, running, next] = [new Heard(), new Heard(), new Heard()];
  await using house = new AcpHarness({
    "session/prompt": (params, acp) =>
      params.sessionId === "session-1"
        ? answersAfter(new Promise(() => {}))(params, acp)
        : answersAfter(other.promise)(params, acp),
  }, { timeouts: { setupMs: 60_000, resumeMs: 60_000, cancelMs: 5 } });
  const [first, second] = [await house.agent.newSession(), await house.agent.newSession()];
  const prompting = await first.prompt(PROMPT, stuck.reader);
  await second.prompt(PROMPT, running.reader);
  await running.untilText("working");
  prompting.cancel();
  await house.recorder.waitFor(/does not answer a cancelled prompt/);
  const [old] = house.starts;
  house.handlers = {};
  house.nowMs += 60_000;
  await (await house.agent.newSession()).prompt(PROMPT, next.reader);
  assertEquals(await next.last(), "end end_turn");
  assertEquals([house.starts.length, old?.process.stops], [2, 0]);
  assertEquals([stuck.briefs, running.briefs], [["text working"], ["text working"]]);
  other.resolve();
  assertEquals(await running.last(), "end end_turn");
  const ending = await stuck.last();
  assert(["end cancelled", "failure agent_crashed"].includes(ending), ending);
  assert(old !== undefined && old.process.stops > 0);
  stuck.assertWhole();
});

Deno.test("AcpAgent: a cancel that is answered late, but answered, keeps the agent until what runs has ended", async () => {
  const late = Promise.withResolvers<void>();
  const heard = new Heard();
  await using house = new AcpHarness({
    "session/prompt": async ({ sessionId }, running) => {
      running.sendText(sessionId, "working");
      await late.promise;
      return { stopReason: "cancelled" };
    },
  }, { timeouts: { setupMs: 60_000, resumeMs: 60_000, cancelMs: 5 } });
  // Another turn holds the process while the first one is late.
  const [session, other] = [await house.agent.newSession(), await house.agent.newSession()];
  await other.prompt(PROMPT, new Heard().reader);
  const prompting = await session.prompt(PROMPT, heard.reader);
  await heard.untilText("working");
  prompting.cancel();
  await house.recorder.waitFor(/does not answer a cancelled prompt/);
  late.resolve();
  assertEquals(await heard.last(), "end cancelled");
});

Deno.test("AcpAgent: dispose lets go who waits for a start, however long that would take", async () => {
  const house = new AcpHarness({ initialize: neverAnswers });
  const opening = failureOf(house.agent.newSession());
  await settled();
  assertEquals(house.agent.state, "starting");
  await house[Symbol.asyncDispose]();
  assertEquals((await opening).code, "shutting_down");
  assertEquals([house.agent.state, house.starts.length], ["closed", 1]);
  assert(house.running.process.stops > 0);
});

Deno.test("AcpAgent: dispose lets go who waits after an early death", async () => {
  const house = new AcpHarness();
  house.beforeStart = () => {
    throw new AppError("agent_unavailable", "not found");
  };
  await failureOf(house.agent.newSession());
  const opening = failureOf(house.agent.newSession());
  await settled();
  await house[Symbol.asyncDispose]();
  assertEquals((await opening).code, "shutting_down");
});

Deno.test("AcpAgent: after dispose nothing is opened or started", async () => {
  const house = new AcpHarness();
  await house[Symbol.asyncDispose]();
  assertEquals((await failureOf(house.agent.newSession())).code, "shutting_down");
  house.agent.warm();
  await settled();
  assertEquals([house.starts.length, house.agent.state], [0, "closed"]);
});

Deno.test("AcpAgent: kill ends what runs at once", async () => {
  const heard = new Heard();
  await using house = new AcpHarness({ "session/prompt": worksUntilCancelled });
  await (await house.agent.newSession()).prompt(PROMPT, heard.reader);
  await heard.untilText("working");
  house.agent.kill();
  assertEquals(await heard.last(), "failure agent_crashed");
});
