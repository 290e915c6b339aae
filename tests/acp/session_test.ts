import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { JsonRpcPeer } from "../../lib/acp/json_rpc.ts";
import { AgentCommands } from "../../lib/acp/command_guard.ts";
import { SessionConfig } from "../../lib/acp/session_config.ts";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import { AcpSession } from "../../lib/acp/session.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { AppError } from "../../lib/core/errors.ts";
import { failureOf, Heard, settled, soon } from "../support/harness/turn_recorder.ts";
import { LogRecorder, RawPeer, RecordingHandlers, streamPair } from "../support/harness/json_rpc_harness.ts";
import { AcpHarness, answersAfter, PROMPT, worksUntilCancelled } from "../support/agents/memory_acp_agent.ts";
import { NO_BROKER } from "../support/harness/no_broker.ts";

Deno.test("Connection: a prompt goes to its session as it is, and its events come back in order", async () => {
  const heard = new Heard();
  await using house = new AcpHarness({
    "session/prompt": ({ sessionId }, running) => {
      running.update(sessionId, {
        sessionUpdate: "agent_thought_chunk",
        content: { type: "text", text: "hm" },
      });
      running.update(sessionId, { sessionUpdate: "tool_call", toolCallId: "t", title: "ls", kind: "read" });
      running.sendText(sessionId, "a");
      running.update(sessionId, {
        sessionUpdate: "agent_message_chunk",
        content: { type: "text", text: "" },
      });
      running.update(sessionId, { sessionUpdate: "novelty", content: { type: "text", text: "x" } });
      running.peer.notify("_vendor/news", { sessionId });
      running.peer.notify("session/update", undefined);
      running.peer.notify("session/update", { sessionId, update: "words" });
      running.sendText(sessionId, "b");
      return { stopReason: "end_turn", usage: { inputTokens: 5, outputTokens: 7 } };
    },
  });
  const session = await house.agent.newSession();
  await session.prompt([...PROMPT, { type: "text", text: "again" }], heard.reader);
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
  assertEquals(house.running.received.at(-1)?.params.prompt, [...PROMPT, { type: "text", text: "again" }]);
});

for (const reason of ["max_tokens", "max_turn_requests", "refusal"]) {
  Deno.test(`Connection: tools that are open at the end ${reason} have failed`, async () => {
    const heard = new Heard();
    await using house = new AcpHarness({
      "session/prompt": ({ sessionId }, running) => {
        running.update(sessionId, { sessionUpdate: "tool_call", toolCallId: "t", title: "ls" });
        return { stopReason: reason };
      },
    });
    await (await house.agent.newSession()).prompt(PROMPT, heard.reader);
    await heard.last();
    assertEquals(heard.briefs, ["tool ls other pending", "tool ls other failed", `end ${reason}`]);
  });
}

Deno.test("Connection: updates of another session, of none, and before any prompt, are nobody's", async () => {
  const heard = new Heard();
  await using house = new AcpHarness({
    "session/prompt": ({ sessionId }, running) => {
      running.sendText("another", "not mine");
      running.peer.notify("session/update", {
        update: { sessionUpdate: "agent_message_chunk", content: { type: "text", text: "whose?" } },
      });
      running.sendText(sessionId, "mine");
      return { stopReason: "end_turn" };
    },
  });
  const session = await house.agent.newSession();
  house.running.sendText(session.id, "too early");
  await settled();
  await session.prompt(PROMPT, heard.reader);
  await heard.last();
  house.running.sendText(session.id, "too late");
  await settled();
  assertEquals(heard.briefs, ["text mine", "end end_turn"]);
});

Deno.test("Connection: an error is the turn's failure, in the agent's words", async () => {
  const heard = new Heard();
  await using house = new AcpHarness({
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
  const session = await house.agent.newSession();
  await session.prompt(PROMPT, heard.reader);
  await heard.last();
  assertEquals(heard.briefs.slice(1), ["tool ls other failed", "failure agent_error"]);
  assert(heard.failure.prompted);
  assertStringIncludes(heard.failure.message, "API Error: 400 fake failure");
  assertEquals(session.closed.aborted, false);
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
    await using house = new AcpHarness({
      "session/prompt": () => Promise.reject(new RpcError(RPC.internalError, "Internal error", data)),
    });
    await (await house.agent.newSession()).prompt(PROMPT, heard.reader);
    assertEquals(await heard.last(), "failure agent_error");
    assertStringIncludes(heard.failure.message, "Internal error");
    assertStringIncludes(heard.failure.message, told);
  });
}

for (const [name, answer] of [["nothing", null], ["words", "done"], ["a list", []]] as const) {
  Deno.test(`Connection: a prompt that is answered with ${name} ends all the same`, async () => {
    const [heard, next] = [new Heard(), new Heard()];
    const [mine, theirs] = streamPair();
    const { session } = sessionOver(mine);
    const end = new RawPeer(theirs);
    const prompting = session.prompt(PROMPT, heard.reader);
    await end.send({ id: (await end.receive())?.id, result: answer });
    await prompting;
    await heard.last();
    heard.assertWhole();
    const again = session.prompt(PROMPT, next.reader);
    await end.send({ id: (await end.receive())?.id, result: { stopReason: "end_turn" } });
    await again;
    assertEquals(await next.last(), "end end_turn");
    await peerOf(session).close();
  });
}

const peers = new WeakMap<AcpSession, JsonRpcPeer>();

/** A session alone, over these streams. */
function sessionOver(
  streams: ReturnType<typeof streamPair>[0],
): { session: AcpSession; recorder: LogRecorder } {
  const recorder = new LogRecorder();
  const peer = new JsonRpcPeer(streams, {
    ...new RecordingHandlers(),
    onInvalidLine() {},
    onNotification: (_method, params) => session.onUpdate((params as { update: unknown }).update),
    onRequest: () => Promise.resolve({}),
  });
  const chosen = new SessionConfig("s", [], () => Promise.resolve());
  const session = new AcpSession("s" as SessionId, chosen, {
    peer,
    promptCapabilities: { image: false, audio: false },
    permissions: "allow",
    broker: NO_BROKER,
    log: recorder.log,
    commands: new AgentCommands(),
    pathExists: () => false,
    promptTimeoutMs: 60_000,
    cancelGraceMs: 60_000,
    authRequired: (why) => new AppError("agent_auth_required", why),
    onUnresponsive() {},
    onPromptEnd() {},
    onClose() {},
  });
  peers.set(session, peer);
  return { session, recorder };
}

function peerOf(session: AcpSession): JsonRpcPeer {
  const peer = peers.get(session);
  if (peer === undefined) throw new Error("Not a session of this test");
  return peer;
}

Deno.test("AcpSession: a connection that goes just as the prompt is written: it is refused, or the turn ends", async () => {
  // The end of the other end comes after so many ticks, the end of the write in between: every order is tried.
  for (let writeTick = 0; writeTick < 24; writeTick++) {
    for (let endTick = 0; endTick < 24; endTick++) {
      const written = Promise.withResolvers<void>();
      const writing = Promise.withResolvers<void>();
      let close = () => {};
      const readable = new ReadableStream<Uint8Array>({
        start: (controller) => void (close = () => controller.close()),
      });
      const writable = new WritableStream<Uint8Array>({
        write() {
          writing.resolve();
          return written.promise;
        },
      });
      const { session } = sessionOver({ readable, writable });
      const heard = new Heard();
      const outcome = session.prompt(PROMPT, heard.reader).then(() => "taken", () => "refused");
      await writing.promise;
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
  await using house = new AcpHarness({
    "session/prompt": async ({ sessionId }, running) => {
      running.sendText(sessionId, "working");
      await running.cancelled(sessionId);
      throw new RpcError(RPC.internalError, "Aborted");
    },
  });
  const prompting = await (await house.agent.newSession()).prompt(PROMPT, heard.reader);
  await heard.untilText("working");
  prompting.cancel();
  assertEquals(await heard.last(), "end cancelled");
});

Deno.test("Connection: one cancel is sent, however often it is asked, and none once the turn has ended", async () => {
  const [first, second] = [new Heard(), new Heard()];
  await using house = new AcpHarness({ "session/prompt": worksUntilCancelled });
  const session = await house.agent.newSession();
  const prompting = await session.prompt(PROMPT, first.reader);
  await first.untilText("working");
  prompting.cancel();
  prompting.cancel();
  await first.last();
  prompting.cancel();
  const next = await session.prompt(PROMPT, second.reader);
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
  await using house = new AcpHarness({
    "session/prompt": (params, running) =>
      prompts++ === 0 ? { stopReason: "end_turn" } : answersAfter(ends.promise)(params, running),
  });
  const [first, second] = [new Heard(), new Heard()];
  const session = await house.agent.newSession();
  const prompting = await session.prompt(PROMPT, first.reader);
  await first.last();
  await session.prompt(PROMPT, second.reader);
  await second.untilText("working");
  prompting.cancel();
  await settled();
  ends.resolve();
  assertEquals(await second.last(), "end end_turn");
  assertEquals(house.running.count("session/cancel"), 0);
});

Deno.test("Connection: what an agent says after a cancel is still heard, its tools fail at the end", async () => {
  const heard = new Heard();
  await using house = new AcpHarness({
    "session/prompt": async ({ sessionId }, running) => {
      running.update(sessionId, {
        sessionUpdate: "tool_call",
        toolCallId: "t",
        title: "ls",
        status: "in_progress",
      });
      await running.cancelled(sessionId);
      running.sendText(sessionId, "stopped");
      return { stopReason: "cancelled" };
    },
  });
  const prompting = await (await house.agent.newSession()).prompt(PROMPT, heard.reader);
  await heard.until((event) => event.type === "tool");
  prompting.cancel();
  await heard.last();
  assertEquals(heard.briefs.slice(1), ["text stopped", "tool ls other failed", "end cancelled"]);
});

Deno.test("Connection: prompts of one session wait for each other, in order", async () => {
  const gates = [1, 2, 3].map(() => Promise.withResolvers<void>());
  let started = 0;
  await using house = new AcpHarness({
    "session/prompt": (params, running) =>
      answersAfter(gates[started++]?.promise ?? Promise.resolve())(params, running),
  });
  const session = await house.agent.newSession();
  const heard = gates.map(() => new Heard());
  const taken: number[] = [];
  const prompts = heard.map(({ reader }, index) =>
    session.prompt(PROMPT, reader).then(() => taken.push(index))
  );
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
  await using house = new AcpHarness({ "session/prompt": worksUntilCancelled });
  const session = await house.agent.newSession();
  await session.prompt(PROMPT, heard.reader);
  await heard.untilText("working");
  const waiting = [session.prompt(PROMPT, () => {}), session.prompt(PROMPT, () => {})];
  const refused = Promise.all(waiting.map(failureOf));
  house.running.exit();
  assertEquals(await heard.last(), "failure agent_crashed");
  for (const failure of await refused) {
    assertEquals([failure.code, failure.prompted], ["agent_unavailable", false]);
  }
  await settled();
  heard.assertWhole();
});

Deno.test("Connection: a session that is closed in a turn cancels it, and closes when it has ended", async () => {
  const heard = new Heard();
  await using house = new AcpHarness({ "session/prompt": worksUntilCancelled });
  const session = await house.agent.newSession();
  await session.prompt(PROMPT, heard.reader);
  await heard.untilText("working");
  session.close();
  session.close();
  assertEquals(await heard.last(), "end cancelled");
  await house.running.waitFor("session/close");
  const came = house.running.received.map(({ method }) => method).filter((method) =>
    method !== "session/new"
  );
  assertEquals(came, ["initialize", "session/prompt", "session/cancel", "session/close"]);
  assertEquals((await failureOf(session.prompt(PROMPT, () => {}))).code, "agent_unavailable");
  assertEquals(house.running.count("session/prompt"), 1);
});

Deno.test("Connection: an agent that cannot close sessions is not asked to", async () => {
  await using house = new AcpHarness({ initialize: () => ({ protocolVersion: 1 }) });
  const session = await house.agent.newSession();
  session.close();
  await (await house.agent.newSession()).prompt(PROMPT, () => {});
  assertEquals(house.running.count("session/close"), 0);
});

Deno.test("Connection: a session/close that fails harms nobody", async () => {
  const heard = new Heard();
  await using house = new AcpHarness({
    "session/close": () => Promise.reject(new RpcError(RPC.internalError, "No.")),
  });
  (await house.agent.newSession()).close();
  await house.recorder.waitFor("session/close failed");
  await (await house.agent.newSession()).prompt(PROMPT, heard.reader);
  assertEquals(await heard.last(), "end end_turn");
});
