import { assert, assertEquals, assertRejects, assertStrictEquals, assertStringIncludes } from "@std/assert";
import { AcpAgent } from "../../lib/acp/agent.ts";
import { Peer, RPC, RpcError } from "../../lib/acp/peer.ts";
import { AcpSession } from "../../lib/acp/session.ts";
import { aborted } from "../../lib/turn/abort.ts";
import type { PromptBlock, Session } from "../../lib/turn/agent.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { Failure } from "../../lib/turn/failure.ts";
import type { Json } from "../fakes/agent.ts";
import { Heard, settled, soon } from "../turn/heard.ts";
import { crossed, memoryLink, RawEnd, Recorder, Told } from "./ends.ts";
import { AcpHouse, type Handler } from "./memory_acp.ts";

const GO: readonly PromptBlock[] = [{ type: "text", text: "Go" }];

/** Says that it works, and waits to be cancelled. */
const untilCancelled: Handler = async ({ sessionId }, running) => {
  running.say(sessionId, "working");
  await running.cancelled(sessionId);
  return { stopReason: "cancelled" };
};
const never: Handler = () => new Promise(() => {});
/** Says that it works, and ends when the test says so. */
function when(promise: Promise<unknown>): Handler {
  return async ({ sessionId }, running) => {
    running.say(sessionId, "working");
    await promise;
    return { stopReason: "end_turn" };
  };
}

async function failureOf(promise: Promise<unknown>): Promise<Failure> {
  return await assertRejects(() => soon(promise, "a failure"), Failure);
}

for (
  const [name, answer] of [
    ["none", null],
    ["without an id", {}],
    ["with an empty id", { sessionId: "" }],
    ["of a number", { sessionId: 7 }],
  ] as const
) {
  Deno.test(`Connection: an answer to session/new ${name} is the agent's failure`, async () => {
    await using house = new AcpHouse({ "session/new": () => answer });
    const failure = await failureOf(house.agent.open());
    assertEquals(failure.code, "agent_unavailable");
    assertStringIncludes(failure.message, "session/new");
  });
}

for (const [name, answer] of [["none", null], ["words", "1"], ["without a version", {}]] as const) {
  Deno.test(`Connection: an answer to initialize that is ${name} is the agent's failure`, async () => {
    await using house = new AcpHouse({ initialize: () => answer });
    const failure = await failureOf(house.agent.open());
    assertEquals(failure.code, "agent_unavailable");
    assertStringIncludes(failure.message, "initialize");
  });
}

for (const protocolVersion of [0, 2, 99]) {
  Deno.test(`Connection: protocol version ${protocolVersion} is refused by name, and the agent ended`, async () => {
    await using house = new AcpHouse({ initialize: () => ({ protocolVersion }) });
    const failure = await failureOf(house.agent.open());
    assertEquals(failure.code, "agent_unavailable");
    assertStringIncludes(failure.message, `version ${protocolVersion} `);
    assert(house.running.link.stops > 0);
  });
}

Deno.test("Connection: an error for session/new is told in the agent's words", async () => {
  await using house = new AcpHouse({
    "session/new": () => Promise.reject(new RpcError(RPC.internalError, "No disk left.")),
  });
  const failure = await failureOf(house.agent.open());
  assertEquals(failure.code, "agent_unavailable");
  assertStringIncludes(failure.message, "No disk left.");
  assertEquals(house.starts.length, 1);
});

for (const method of ["initialize", "session/new"]) {
  Deno.test(`Connection: an agent that does not answer ${method} is given up`, async () => {
    await using house = new AcpHouse({ [method]: never }, { times: { setupMs: 20, cancelMs: 60_000 } });
    const failure = await failureOf(house.agent.open());
    assertEquals(failure.code, "agent_unavailable");
    assertStringIncludes(failure.message, method);
  });
}

Deno.test("Connection: an agent that dies before it is ready is said to have", async () => {
  await using house = new AcpHouse({
    initialize: (_params, running) => {
      running.die();
      return never(_params, running);
    },
  });
  const failure = await failureOf(house.agent.open());
  assertEquals(failure.code, "agent_unavailable");
  assertStringIncludes(failure.message, "ended before it was ready");
});

Deno.test("Connection: a prompt goes to its session as it is, and its events come back in order", async () => {
  const heard = new Heard();
  await using house = new AcpHouse({
    "session/prompt": ({ sessionId }, running) => {
      running.update(sessionId, {
        sessionUpdate: "agent_thought_chunk",
        content: { type: "text", text: "hm" },
      });
      running.update(sessionId, { sessionUpdate: "tool_call", toolCallId: "t", title: "ls", kind: "read" });
      running.say(sessionId, "a");
      running.update(sessionId, {
        sessionUpdate: "agent_message_chunk",
        content: { type: "text", text: "" },
      });
      running.update(sessionId, { sessionUpdate: "novelty", content: { type: "text", text: "x" } });
      running.peer.notify("_vendor/news", { sessionId });
      running.peer.notify("session/update", undefined);
      running.peer.notify("session/update", { sessionId, update: "words" });
      running.say(sessionId, "b");
      return { stopReason: "end_turn", usage: { inputTokens: 5, outputTokens: 7 } };
    },
  });
  const session = await house.agent.open();
  await session.prompt([...GO, { type: "text", text: "again" }], heard.reader);
  await heard.last();
  assertEquals(heard.briefs, [
    "thought hm",
    "tool ls read pending",
    "text a",
    "text b",
    "tool ls read completed",
    "usage 5+7",
    "end end_turn",
  ]);
  assertEquals(house.running.came.at(-1)?.params.prompt, [...GO, { type: "text", text: "again" }]);
});

for (const reason of ["max_tokens", "max_turn_requests", "refusal"]) {
  Deno.test(`Connection: tools that are open at the end ${reason} have failed`, async () => {
    const heard = new Heard();
    await using house = new AcpHouse({
      "session/prompt": ({ sessionId }, running) => {
        running.update(sessionId, { sessionUpdate: "tool_call", toolCallId: "t", title: "ls" });
        return { stopReason: reason };
      },
    });
    await (await house.agent.open()).prompt(GO, heard.reader);
    await heard.last();
    assertEquals(heard.briefs, ["tool ls other pending", "tool ls other failed", `end ${reason}`]);
  });
}

Deno.test("Connection: updates of another session, of none, and before any prompt, are nobody's", async () => {
  const heard = new Heard();
  await using house = new AcpHouse({
    "session/prompt": ({ sessionId }, running) => {
      running.say("another", "not mine");
      running.peer.notify("session/update", {
        update: { sessionUpdate: "agent_message_chunk", content: { type: "text", text: "whose?" } },
      });
      running.say(sessionId, "mine");
      return { stopReason: "end_turn" };
    },
  });
  const session = await house.agent.open();
  house.running.say(session.id, "too early");
  await settled();
  await session.prompt(GO, heard.reader);
  await heard.last();
  house.running.say(session.id, "too late");
  await settled();
  assertEquals(heard.briefs, ["text mine", "end end_turn"]);
});

Deno.test("Connection: an error is the turn's failure, in the agent's words", async () => {
  const heard = new Heard();
  await using house = new AcpHouse({
    "session/prompt": ({ sessionId }, running) => {
      running.update(sessionId, {
        sessionUpdate: "tool_call",
        toolCallId: "t",
        title: "ls",
        status: "in_progress",
      });
      throw new RpcError(400, "API Error: 400 fake failure");
    },
  });
  const session = await house.agent.open();
  await session.prompt(GO, heard.reader);
  await heard.last();
  assertEquals(heard.briefs.slice(1), ["tool ls other failed", "failure agent_error"]);
  assert(heard.failure.prompted);
  assertStringIncludes(heard.failure.message, "API Error: 400 fake failure");
  assertEquals(session.closed.aborted, false);
});

for (const [name, answer] of [["nothing", null], ["words", "done"], ["a list", []]] as const) {
  Deno.test(`Connection: a prompt that is answered with ${name} ends all the same`, async () => {
    const [heard, next] = [new Heard(), new Heard()];
    const [mine, theirs] = crossed();
    const { session } = sessionOver(mine);
    const end = new RawEnd(theirs);
    const prompting = session.prompt(GO, heard.reader);
    await end.say({ id: (await end.next())?.id, result: answer });
    await prompting;
    await heard.last();
    heard.assertWhole();
    const again = session.prompt(GO, next.reader);
    await end.say({ id: (await end.next())?.id, result: { stopReason: "end_turn" } });
    await again;
    assertEquals(await next.last(), "end end_turn");
    await peerOf(session).close();
  });
}

const peers = new WeakMap<AcpSession, Peer>();

/** A session alone, over these streams. */
function sessionOver(streams: ReturnType<typeof crossed>[0]): { session: AcpSession; recorder: Recorder } {
  const recorder = new Recorder();
  const peer = new Peer(streams, {
    ...new Told(),
    garbage() {},
    notification: (_method, params) => session.update((params as { update: unknown }).update),
    request: () => Promise.resolve({}),
  });
  const session = new AcpSession("s" as SessionId, {
    peer,
    accepts: { image: false, audio: false },
    permissions: "allow",
    log: recorder.log,
    cancelGraceMs: 60_000,
    loginNeeded: (why) => new Failure("agent_auth_required", why),
    stuck() {},
    promptEnded() {},
    closed() {},
  });
  peers.set(session, peer);
  return { session, recorder };
}

function peerOf(session: AcpSession): Peer {
  const peer = peers.get(session);
  if (peer === undefined) throw new Error("Not a session of this test");
  return peer;
}

Deno.test("AcpSession: a connection that goes just as the prompt is written: it is refused, or the turn ends", async () => {
  // The end of the other end comes after so many ticks, the end of the write in between: every order is tried.
  for (let writeTick = 0; writeTick < 24; writeTick++) {
    for (let endTick = 0; endTick < 24; endTick++) {
      const written = Promise.withResolvers<void>();
      const written2 = Promise.withResolvers<void>();
      let close = () => {};
      const readable = new ReadableStream<Uint8Array>({
        start: (controller) => void (close = () => controller.close()),
      });
      const writable = new WritableStream<Uint8Array>({
        write() {
          written2.resolve();
          return written.promise;
        },
      });
      const { session } = sessionOver({ readable, writable });
      const heard = new Heard();
      const outcome = session.prompt(GO, heard.reader).then(() => "taken", () => "refused");
      await written2.promise;
      for (let tick = 0; tick <= Math.max(writeTick, endTick); tick++) {
        if (tick === writeTick) written.resolve();
        if (tick === endTick) close();
        await Promise.resolve();
      }
      const taken = await soon(outcome, "an outcome");
      await settled();
      const events = taken === "taken" ? ["failure agent_crashed"] : [];
      assertEquals(heard.briefs, events, `${taken}; written at tick ${writeTick}, ended at tick ${endTick}`);
      await peerOf(session).close();
    }
  }
});

Deno.test("Connection: an error after a cancel counts as cancelled", async () => {
  const heard = new Heard();
  await using house = new AcpHouse({
    "session/prompt": async ({ sessionId }, running) => {
      running.say(sessionId, "working");
      await running.cancelled(sessionId);
      throw new RpcError(RPC.internalError, "Aborted");
    },
  });
  const prompting = await (await house.agent.open()).prompt(GO, heard.reader);
  await heard.untilText("working");
  prompting.cancel();
  assertEquals(await heard.last(), "end cancelled");
});

Deno.test("Connection: one cancel is sent, however often it is asked, and none once the turn has ended", async () => {
  const [first, second] = [new Heard(), new Heard()];
  await using house = new AcpHouse({ "session/prompt": untilCancelled });
  const session = await house.agent.open();
  const prompting = await session.prompt(GO, first.reader);
  await first.untilText("working");
  prompting.cancel();
  prompting.cancel();
  await first.last();
  prompting.cancel();
  const next = await session.prompt(GO, second.reader);
  await second.untilText("working");
  prompting.cancel();
  await settled();
  assertEquals(house.running.count("session/cancel"), 1);
  assertEquals(second.briefs, ["text working"]);
  next.cancel();
  await second.last();
});

Deno.test("Connection: a cancel that comes after the end is not the next turn's", async () => {
  const ends = Promise.withResolvers<void>();
  let prompts = 0;
  await using house = new AcpHouse({
    "session/prompt": (params, running) =>
      prompts++ === 0 ? { stopReason: "end_turn" } : when(ends.promise)(params, running),
  });
  const [first, second] = [new Heard(), new Heard()];
  const session = await house.agent.open();
  const prompting = await session.prompt(GO, first.reader);
  await first.last();
  await session.prompt(GO, second.reader);
  await second.untilText("working");
  prompting.cancel();
  await settled();
  ends.resolve();
  assertEquals(await second.last(), "end end_turn");
  assertEquals(house.running.count("session/cancel"), 0);
});

Deno.test("Connection: what an agent says after a cancel is still heard, its tools fail at the end", async () => {
  const heard = new Heard();
  await using house = new AcpHouse({
    "session/prompt": async ({ sessionId }, running) => {
      running.update(sessionId, {
        sessionUpdate: "tool_call",
        toolCallId: "t",
        title: "ls",
        status: "in_progress",
      });
      await running.cancelled(sessionId);
      running.say(sessionId, "stopped");
      return { stopReason: "cancelled" };
    },
  });
  const prompting = await (await house.agent.open()).prompt(GO, heard.reader);
  await heard.until((event) => event.type === "tool");
  prompting.cancel();
  await heard.last();
  assertEquals(heard.briefs.slice(1), ["text stopped", "tool ls other failed", "end cancelled"]);
});

Deno.test("Connection: prompts of one session wait for each other, in order", async () => {
  const gates = [1, 2, 3].map(() => Promise.withResolvers<void>());
  let started = 0;
  await using house = new AcpHouse({
    "session/prompt": (params, running) =>
      when(gates[started++]?.promise ?? Promise.resolve())(params, running),
  });
  const session = await house.agent.open();
  const heard = gates.map(() => new Heard());
  const taken: number[] = [];
  const prompts = heard.map(({ reader }, index) => session.prompt(GO, reader).then(() => taken.push(index)));
  for (const [index, gate] of gates.entries()) {
    await heard[index]?.untilText("working");
    await settled();
    assertEquals([taken, house.running.count("session/prompt")], [[0, 1, 2].slice(0, index + 1), index + 1]);
    gate.resolve();
    await heard[index]?.last();
  }
  await Promise.all(prompts);
});

Deno.test("Connection: prompts that wait are refused when the agent dies; the running one fails", async () => {
  const heard = new Heard();
  await using house = new AcpHouse({ "session/prompt": untilCancelled });
  const session = await house.agent.open();
  await session.prompt(GO, heard.reader);
  await heard.untilText("working");
  const waiting = [session.prompt(GO, () => {}), session.prompt(GO, () => {})];
  const refused = Promise.all(waiting.map(failureOf));
  house.running.die();
  assertEquals(await heard.last(), "failure agent_crashed");
  for (const failure of await refused) {
    assertEquals([failure.code, failure.prompted], ["agent_unavailable", false]);
  }
  await settled();
  heard.assertWhole();
});

Deno.test("Connection: a session that is closed in a turn cancels it, and closes when it has ended", async () => {
  const heard = new Heard();
  await using house = new AcpHouse({ "session/prompt": untilCancelled });
  const session = await house.agent.open();
  await session.prompt(GO, heard.reader);
  await heard.untilText("working");
  session.close();
  session.close();
  assertEquals(await heard.last(), "end cancelled");
  await house.running.until("session/close");
  const came = house.running.came.map(({ method }) => method).filter((method) => method !== "session/new");
  assertEquals(came, ["initialize", "session/prompt", "session/cancel", "session/close"]);
  assertEquals((await failureOf(session.prompt(GO, () => {}))).code, "agent_unavailable");
  assertEquals(house.running.count("session/prompt"), 1);
});

Deno.test("Connection: an agent that cannot close sessions is not asked to", async () => {
  await using house = new AcpHouse({ initialize: () => ({ protocolVersion: 1 }) });
  const session = await house.agent.open();
  session.close();
  await (await house.agent.open()).prompt(GO, () => {});
  assertEquals(house.running.count("session/close"), 0);
});

Deno.test("Connection: a session/close that fails harms nobody", async () => {
  const heard = new Heard();
  await using house = new AcpHouse({
    "session/close": () => Promise.reject(new RpcError(RPC.internalError, "No.")),
  });
  (await house.agent.open()).close();
  await house.recorder.until("closing a session failed");
  await (await house.agent.open()).prompt(GO, heard.reader);
  assertEquals(await heard.last(), "end end_turn");
});

/** A request for a permission of this kind of tool. */
const asks = (sessionId: string, toolCall: Record<string, unknown> = {}) => ({
  sessionId,
  toolCall: { toolCallId: "t", title: "rm", kind: "execute", ...toolCall },
  options: [
    { optionId: "no", name: "No", kind: "reject_once" },
    { optionId: "yes", name: "Yes", kind: "allow_once" },
  ],
});
const ask = "session/request_permission";

Deno.test("Connection: the kind of tool may be known from its announcement only", async () => {
  const answers: unknown[] = [];
  await using house = new AcpHouse({
    "session/prompt": async ({ sessionId }, running) => {
      running.update(sessionId, { sessionUpdate: "tool_call", toolCallId: "t", title: "cat", kind: "read" });
      answers.push(await running.peer.request(ask, asks(sessionId, { kind: undefined })));
      answers.push(await running.peer.request(ask, asks(sessionId, { toolCallId: "u", kind: undefined })));
      return { stopReason: "end_turn" };
    },
  }, { permissions: "ask" });
  const heard = new Heard();
  await (await house.agent.open()).prompt(GO, heard.reader);
  await heard.last();
  const selected = (optionId: string) => ({ outcome: { outcome: "selected", optionId } });
  assertEquals(answers, [selected("yes"), selected("no")]);
  assertEquals(heard.briefs.includes("tool rm read pending"), true);
});

Deno.test("Connection: a permission after a cancel, outside a turn, or of another session is cancelled", async () => {
  const answers: unknown[] = [];
  const heard = new Heard();
  await using house = new AcpHouse({
    "session/prompt": async ({ sessionId }, running) => {
      running.say(sessionId, "working");
      await running.cancelled(sessionId);
      answers.push(await running.peer.request(ask, asks(sessionId)));
      answers.push(await running.peer.request(ask, asks("another")));
      return { stopReason: "cancelled" };
    },
  });
  const session = await house.agent.open();
  const prompting = await session.prompt(GO, heard.reader);
  await heard.untilText("working");
  prompting.cancel();
  await heard.last();
  answers.push(await house.running.peer.request(ask, asks(session.id)));
  const cancelled = { outcome: { outcome: "cancelled" } };
  assertEquals(answers, [cancelled, cancelled, cancelled]);
  assertEquals(heard.briefs, ["text working", "end cancelled"]);
});

Deno.test("Connection: a permission request that makes no sense is answered -32602", async () => {
  await using house = new AcpHouse();
  await house.agent.open();
  for (const params of [undefined, {}, { ...asks("s"), options: "all" }]) {
    const error: RpcError = await assertRejects(() => house.running.peer.request(ask, params), RpcError);
    assertEquals(error.code, RPC.invalidParams);
  }
});

Deno.test("Connection: an agent that stops because it was refused a permission has failed", async () => {
  const heard = new Heard();
  await using house = new AcpHouse({
    "session/prompt": async ({ sessionId }, running) => {
      await running.peer.request(ask, asks(sessionId));
      return { stopReason: "cancelled" };
    },
  }, { permissions: "deny" });
  await (await house.agent.open()).prompt(GO, heard.reader);
  assertEquals(await heard.last(), "failure agent_cancelled");
  assertStringIncludes(heard.failure.message, "refused a permission");
});

Deno.test("Connection: the end of one turn at shutdown is not the end of another's", async () => {
  const heard = [new Heard(), new Heard(), new Heard()];
  const [mine, theirs] = crossed();
  const end = new RawEnd(theirs);
  const exited = Promise.withResolvers<string>();
  const agent = new AcpAgent({
    name: "raw",
    launch: () => ({
      ...memoryLink(mine, () => {}),
      exited: exited.promise,
      stop: () => exited.promise.then(() => {}),
    }),
    cwd: "/",
    permissions: "allow",
    version: "1",
    variables: new Set(),
    log: new Recorder().log,
  });
  const asked: unknown[] = [];
  const answers: Readonly<Record<string, Json>> = {
    "initialize": { protocolVersion: 1, agentCapabilities: { sessionCapabilities: { close: {} } } },
    "session/new": {},
  };
  /** Answers what comes until something of this method did. */
  const serveUntil = async (last: string) => {
    for (let message = await end.next(); message !== undefined; message = await end.next()) {
      const { id, method } = message;
      if (method === "session/prompt") asked.push(id);
      const result = answers[String(method)];
      if (result) await end.say({ id, result: { sessionId: `session-${id}`, ...result } });
      if (method === last) return;
    }
  };
  const sessions: Session[] = [];
  for (const _ of heard) {
    const opening = agent.open();
    await serveUntil("session/new");
    sessions.push(await opening);
  }
  for (const [index, session] of sessions.entries()) {
    const prompting = session.prompt(GO, heard[index]!.reader);
    await serveUntil("session/prompt");
    await prompting;
  }
  const disposing = agent[Symbol.asyncDispose]();
  await serveUntil("the end of its input");
  // It was told to cancel, and its input has ended: it answers as long as it lives.
  for (const id of asked) {
    await end.say({ id, result: { stopReason: "cancelled" } });
    await settled();
  }
  exited.resolve("exited with code 0");
  await soon(disposing, "the agent's end");
  assertEquals(heard.map((one) => one.briefs), [["end cancelled"], ["end cancelled"], ["end cancelled"]]);
});

Deno.test("Connection: every session of an agent that dies is closed, and every turn fails once", async () => {
  const heard = [new Heard(), new Heard()];
  await using house = new AcpHouse({ "session/prompt": untilCancelled });
  const sessions = await Promise.all(heard.map(() => house.agent.open()));
  for (const [index, session] of sessions.entries()) await session.prompt(GO, heard[index]!.reader);
  for (const one of heard) await one.untilText("working");
  house.running.die();
  for (const one of heard) assertEquals(await one.last(), "failure agent_crashed");
  for (const session of sessions) await soon(aborted(session.closed), "the session's close");
  await settled();
  for (const one of heard) one.assertWhole();
});

Deno.test("AcpAgent: a session that was made ahead is used, and the next is made when a turn ends", async () => {
  await using house = new AcpHouse();
  assertEquals(house.agent.state, "idle");
  house.agent.warm();
  assertEquals(house.agent.state, "starting");
  const first = await house.agent.open();
  assertEquals([house.agent.state, house.running.count("session/new"), first.id as string], [
    "ready",
    1,
    "session-1",
  ]);
  const heard = new Heard();
  await first.prompt(GO, heard.reader);
  await heard.last();
  await house.running.until("session/new", 2);
  assertEquals((await house.agent.open()).id as string, "session-2");
  assertEquals(house.starts.length, 1);
});

Deno.test("AcpAgent: opens that come at once start one agent", async () => {
  await using house = new AcpHouse();
  const sessions = await Promise.all([1, 2, 3].map(() => house.agent.open()));
  assertEquals([house.starts.length, new Set(sessions.map(({ id }) => id)).size], [1, 3]);
});

Deno.test("AcpAgent: who gives up is let go, and the session that came of it is closed", async () => {
  const opening = Promise.withResolvers<void>();
  await using house = new AcpHouse({
    "session/new": async () => {
      await opening.promise;
      return { sessionId: "late" };
    },
  });
  const reason = new Error("hung up");
  const controller = new AbortController();
  const waiting = house.agent.open(controller.signal).catch((error) => error);
  await settled();
  await house.running.until("session/new");
  controller.abort(reason);
  assertStrictEquals(await waiting, reason);
  opening.resolve();
  await house.running.until("session/close");
  assertEquals(house.running.came.at(-1)?.params.sessionId, "late");
});

Deno.test("AcpAgent: who has given up already gets no session", async () => {
  await using house = new AcpHouse();
  await house.agent.open();
  await assertRejects(() => house.agent.open(AbortSignal.abort(new Error("hung up"))), Error, "hung up");
});

Deno.test("AcpAgent: an agent that does not answer a cancel serves no more, but what runs in it may end", async () => {
  const other = Promise.withResolvers<void>();
  const [stuck, running, next] = [new Heard(), new Heard(), new Heard()];
  await using house = new AcpHouse({
    "session/prompt": (params, acp) =>
      params.sessionId === "session-1"
        ? when(new Promise(() => {}))(params, acp)
        : when(other.promise)(params, acp),
  }, { times: { setupMs: 60_000, cancelMs: 5 } });
  const [first, second] = [await house.agent.open(), await house.agent.open()];
  const prompting = await first.prompt(GO, stuck.reader);
  await second.prompt(GO, running.reader);
  await running.untilText("working");
  prompting.cancel();
  await house.recorder.until("the agent does not answer a cancelled prompt");
  const [old] = house.starts;
  house.handlers = {};
  house.nowMs += 60_000;
  await (await house.agent.open()).prompt(GO, next.reader);
  assertEquals(await next.last(), "end end_turn");
  assertEquals([house.starts.length, old?.link.stops], [2, 0]);
  assertEquals([stuck.briefs, running.briefs], [["text working"], ["text working"]]);
  other.resolve();
  assertEquals(await running.last(), "end end_turn");
  const ending = await stuck.last();
  assert(["end cancelled", "failure agent_crashed"].includes(ending), ending);
  assert(old !== undefined && old.link.stops > 0);
  stuck.assertWhole();
});

Deno.test("AcpAgent: a cancel that is answered late, but answered, keeps the agent until what runs has ended", async () => {
  const late = Promise.withResolvers<void>();
  const heard = new Heard();
  await using house = new AcpHouse({
    "session/prompt": async ({ sessionId }, running) => {
      running.say(sessionId, "working");
      await late.promise;
      return { stopReason: "cancelled" };
    },
  }, { times: { setupMs: 60_000, cancelMs: 5 } });
  // Another turn holds the process while the first one is late.
  const [session, other] = [await house.agent.open(), await house.agent.open()];
  await other.prompt(GO, new Heard().reader);
  const prompting = await session.prompt(GO, heard.reader);
  await heard.untilText("working");
  prompting.cancel();
  await house.recorder.until("the agent does not answer a cancelled prompt");
  late.resolve();
  assertEquals(await heard.last(), "end cancelled");
});

Deno.test("AcpAgent: early deaths make the next start wait, and after three it is refused for a while", async () => {
  await using house = new AcpHouse({
    initialize: (_params, running) => {
      running.die();
      return never(_params, running);
    },
  });
  const { agent } = house;
  for (const waitMs of [0, 500, 1_000]) {
    house.nowMs += waitMs;
    assertEquals((await failureOf(agent.open())).code, "agent_unavailable");
  }
  assertEquals([house.starts.length, agent.state], [3, "failing"]);
  const refused = await failureOf(agent.open());
  assertEquals([refused.code, refused.retryAfterSecs, refused.prompted], ["agent_unavailable", 2, false]);
  assertStringIncludes(refused.message, "died 3 times");
  house.nowMs += 1_500;
  assertEquals((await failureOf(agent.open())).retryAfterSecs, 1);
  assertEquals(house.starts.length, 3);
  for (
    const [waitMs, retryAfterSecs] of [[500, 4], [4_000, 8], [8_000, 16], [16_000, 30], [30_000, 30]] as const
  ) {
    house.nowMs += waitMs;
    await failureOf(agent.open());
    assertEquals((await failureOf(agent.open())).retryAfterSecs, retryAfterSecs);
  }
  assertEquals(house.starts.length, 8);
  assertEquals(house.recorder.of("the agent died before it was of use").length, 8);
  house.handlers = {};
  house.nowMs += 30_000;
  const heard = new Heard();
  await (await agent.open()).prompt(GO, heard.reader);
  assertEquals(await heard.last(), "end end_turn");
  assertEquals(agent.state, "ready");
});

Deno.test("AcpAgent: an answered prompt makes the deaths before it forgotten", async () => {
  await using house = new AcpHouse({ initialize: () => ({ protocolVersion: 7 }) });
  for (const waitMs of [0, 500]) {
    house.nowMs += waitMs;
    await failureOf(house.agent.open());
  }
  house.handlers = {};
  house.nowMs += 1_000;
  const heard = new Heard();
  await (await house.agent.open()).prompt(GO, heard.reader);
  await heard.last();
  house.running.die();
  await house.recorder.until("the agent ended");
  house.handlers = { initialize: () => ({ protocolVersion: 7 }) };
  await failureOf(house.agent.open());
  const deaths = house.recorder.of("the agent died before it was of use").map(({ fields }) => fields.deaths);
  assertEquals([house.starts.length, deaths], [4, [1, 2, 1]]);
});

Deno.test("AcpAgent: the wait before a start is waited, not refused, while the deaths are few", async () => {
  await using house = new AcpHouse();
  house.beforeStart = () => {
    throw new Failure("agent_unavailable", "not found");
  };
  await failureOf(house.agent.open());
  house.beforeStart = () => {};
  house.nowMs = 497;
  const opening = house.agent.open();
  await settled();
  assertEquals(house.starts.length, 0);
  await soon(opening, "the session");
  assertEquals(house.starts.length, 1);
});

Deno.test("AcpAgent: an agent that lived for a while is started again at once, and what ran in it fails", async () => {
  const heard = new Heard();
  await using house = new AcpHouse({ "session/prompt": untilCancelled });
  await (await house.agent.open()).prompt(GO, heard.reader);
  await heard.untilText("working");
  house.nowMs += 60_000;
  house.running.die();
  assertEquals(await heard.last(), "failure agent_crashed");
  await house.agent.open();
  assertEquals([house.starts.length, house.agent.state], [2, "ready"]);
});

Deno.test("AcpAgent: a program that cannot be started is said in its own words", async () => {
  await using house = new AcpHouse();
  const failure = new Failure("agent_unavailable", 'The agent\'s program "x" was not found.');
  house.beforeStart = () => {
    throw failure;
  };
  assertStrictEquals(await failureOf(house.agent.open()), failure);
});

Deno.test("AcpAgent: dispose lets go who waits for a start, however long that would take", async () => {
  const house = new AcpHouse({ initialize: never });
  const opening = failureOf(house.agent.open());
  await settled();
  assertEquals(house.agent.state, "starting");
  await house[Symbol.asyncDispose]();
  assertEquals((await opening).code, "shutting_down");
  assertEquals([house.agent.state, house.starts.length], ["closed", 1]);
  assert(house.running.link.stops > 0);
});

Deno.test("AcpAgent: dispose lets go who waits after an early death", async () => {
  const house = new AcpHouse();
  house.beforeStart = () => {
    throw new Failure("agent_unavailable", "not found");
  };
  await failureOf(house.agent.open());
  const opening = failureOf(house.agent.open());
  await settled();
  await house[Symbol.asyncDispose]();
  assertEquals((await opening).code, "shutting_down");
});

Deno.test("AcpAgent: after dispose nothing is opened or started", async () => {
  const house = new AcpHouse();
  await house[Symbol.asyncDispose]();
  assertEquals((await failureOf(house.agent.open())).code, "shutting_down");
  house.agent.warm();
  await settled();
  assertEquals([house.starts.length, house.agent.state], [0, "closed"]);
});

Deno.test("AcpAgent: kill ends what runs at once", async () => {
  const heard = new Heard();
  await using house = new AcpHouse({ "session/prompt": untilCancelled });
  await (await house.agent.open()).prompt(GO, heard.reader);
  await heard.untilText("working");
  house.agent.kill();
  assertEquals(await heard.last(), "failure agent_crashed");
});

const AUTH_METHODS = [{ id: "oauth", name: "Log in with a browser" }, { id: "api-key", name: "API key" }];

/** An agent that wants a log-in: of these methods, `authenticate` does so. */
function wantsLogin(authMethods: readonly unknown[], authenticate: () => unknown): Record<string, Handler> {
  let loggedIn = false;
  return {
    "initialize": () => ({ protocolVersion: 1, authMethods }),
    "authenticate": async () => {
      await authenticate();
      loggedIn = true;
      return {};
    },
    "session/new": () => {
      if (!loggedIn) throw new RpcError(RPC.authRequired, "Authentication required");
      return { sessionId: crypto.randomUUID() };
    },
  };
}

Deno.test("Connection: a log-in that needs no person is made once, for all that wait for it", async () => {
  await using house = new AcpHouse(wantsLogin(AUTH_METHODS, () => settled()));
  await Promise.all([1, 2, 3].map(() => house.agent.open()));
  assertEquals([house.running.count("authenticate"), house.starts.length], [1, 1]);
  const { params } = house.running.came.find(({ method }) => method === "authenticate") ?? {};
  assertEquals(params as unknown, { methodId: "api-key" });
});

Deno.test("Connection: a log-in that fails is said, and tried again by the next", async () => {
  let fails = true;
  await using house = new AcpHouse(wantsLogin(AUTH_METHODS, () => {
    if (fails) throw new RpcError(RPC.authRequired, "Wrong key");
  }));
  const failure = await failureOf(house.agent.open());
  assertEquals([failure.code, failure.prompted], ["agent_auth_required", false]);
  for (const part of ["Wrong key", "oauth (Log in with a browser)", "api-key"]) {
    assertStringIncludes(failure.message, part);
  }
  fails = false;
  await house.agent.open();
  assertEquals([house.running.count("authenticate"), house.starts.length], [2, 1]);
});

Deno.test("Connection: a log-in that only a person can make is said, with the ways", async () => {
  await using house = new AcpHouse(wantsLogin(AUTH_METHODS.slice(0, 1), () => {}));
  const failure = await failureOf(house.agent.open());
  assertEquals(failure.code, "agent_auth_required");
  assertStringIncludes(failure.message, "oauth (Log in with a browser)");
  assertEquals(house.running.count("authenticate"), 0);
});

Deno.test("Connection: an agent that wants a log-in after it was made is said so", async () => {
  await using house = new AcpHouse({
    ...wantsLogin(AUTH_METHODS, () => {}),
    "session/new": () => Promise.reject(new RpcError(RPC.authRequired, "Authentication required")),
  });
  assertEquals((await failureOf(house.agent.open())).code, "agent_auth_required");
  assertEquals([house.running.count("authenticate"), house.running.count("session/new")], [1, 2]);
});

Deno.test("Connection: a prompt that is answered with a log-in to make says how", async () => {
  const heard = new Heard();
  await using house = new AcpHouse({
    "initialize": () => ({ protocolVersion: 1, authMethods: AUTH_METHODS }),
    "session/prompt": () => Promise.reject(new RpcError(RPC.authRequired, "Token expired")),
  });
  await (await house.agent.open()).prompt(GO, heard.reader);
  assertEquals(await heard.last(), "failure agent_auth_required");
  assertEquals(heard.failure.prompted, true);
  for (const part of ["Token expired", "oauth (Log in with a browser)"]) {
    assertStringIncludes(heard.failure.message, part);
  }
});

for (
  const [name, data, told] of [
    ["in data.details", { details: "model not found" }, "model not found"],
    ["in data", "model not found", "model not found"],
    ["of another kind", { errorKind: "unknown" }, "Internal error"],
    ["that the message has already", { details: "error" }, "Internal error"],
  ] as const
) {
  Deno.test(`Connection: an error with details ${name}`, async () => {
    const heard = new Heard();
    await using house = new AcpHouse({
      "session/prompt": () => Promise.reject(new RpcError(RPC.internalError, "Internal error", data)),
    });
    await (await house.agent.open()).prompt(GO, heard.reader);
    assertEquals(await heard.last(), "failure agent_error");
    assertStringIncludes(heard.failure.message, "Internal error");
    assertStringIncludes(heard.failure.message, told);
  });
}

Deno.test("Connection: lines that are no messages are logged, cut, and nothing more", async () => {
  const [mine, theirs] = crossed();
  const end = new RawEnd(theirs);
  const recorder = new Recorder();
  const agent = new AcpAgent({
    name: "raw",
    launch: () => memoryLink(mine, () => end.end()),
    cwd: "/",
    permissions: "allow",
    version: "1",
    variables: new Set(),
    log: recorder.log,
  });
  const opening = agent.open();
  await end.say("npm warn", "x".repeat(10_000), {
    id: (await end.next())?.id,
    result: { protocolVersion: 1 },
  });
  await end.say({ id: (await end.next())?.id, result: { sessionId: "s" } });
  await opening;
  const lines = recorder.of("skipped a line of the agent").map(({ fields }) => String(fields.line));
  assertEquals(lines.map((line) => [line.slice(0, 8), line.length]), [["npm warn", 8], ["xxxxxxxx", 200]]);
  await agent[Symbol.asyncDispose]();
});
