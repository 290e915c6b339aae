import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { AgentCommands } from "../../lib/acp/command_guard.ts";
import { JsonRpcPeer, type PeerStreams, RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import { AcpSession } from "../../lib/acp/session.ts";
import { SessionConfig } from "../../lib/acp/session_config.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import {
  AcpHarness,
  answersAfter,
  exits,
  type Handler,
  PROMPT,
  refuses,
  runTurn,
  worksUntilCancelled,
} from "../support/agents/memory_acp_agent.ts";
import { LogRecorder, RawPeer, streamPair, TEST_TIMEOUTS } from "../support/harness/json_rpc_harness.ts";
import { NO_BROKER } from "../support/harness/no_broker.ts";
import { appErrorOf, nextTask, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";

const TOOL = { sessionUpdate: "tool_call", toolCallId: "t", title: "ls" };
const THOUGHT = { sessionUpdate: "agent_thought_chunk" };

// Updates

Deno.test("AcpSession: ignores updates of other sessions and outside a prompt", async () => {
  const events = new TurnRecorder();
  await using harness = new AcpHarness({
    "session/prompt": ({ sessionId }, running) => {
      running.sendText("another", "other session");
      running.peer.notify("session/update", {
        update: { sessionUpdate: "agent_message_chunk", content: { type: "text", text: "no session" } },
      });
      running.sendText(sessionId, "mine");
      return { stopReason: "end_turn" };
    },
  });
  const session = await harness.agent.newSession();
  harness.running.sendText(session.id, "too early");
  await nextTask();
  await session.prompt(PROMPT, events.reader);
  await events.lastSummary();
  harness.running.sendText(session.id, "too late");
  await nextTask();
  assertEquals(events.summaries, ["text mine", "end end_turn"]);
});

// Results and errors

for (const stopReason of ["max_tokens", "max_turn_requests", "refusal"]) {
  Deno.test(`AcpSession: open tools have failed if the turn ends with ${stopReason}`, async () => {
    const events = await runTurn(({ sessionId }, running) => {
      running.update(sessionId, TOOL);
      return { stopReason };
    });
    assertEquals(events.summaries, ["tool ls other pending", "tool ls other failed", `end ${stopReason}`]);
  });
}

Deno.test("AcpSession: a turn fails in the agent's words and its details", async () => {
  const events = await runTurn(({ sessionId }, running) => {
    running.update(sessionId, TOOL);
    throw new RpcError(RPC.internalError, "Internal error", { details: "model not found" });
  });
  assertEquals(events.summaries.slice(1), ["tool ls other failed", "failure agent_error"]);
  assert(events.failure.prompted);
  assertStringIncludes(events.failure.message, "Internal error: model not found");
});

for (
  const [name, error, code, reason] of [
    ["a log-in by its code", new RpcError(RPC.authRequired, "No."), "agent_auth_required", "login"],
    ["a log-in in words", new RpcError(RPC.internalError, "sign in again"), "agent_auth_required", "login"],
    [
      "a quota",
      new RpcError(RPC.internalError, "quota exceeded: try again tomorrow"),
      "agent_error",
      "quota",
    ],
    [
      "a quota with the code of a log-in",
      new RpcError(RPC.authRequired, "quota exceeded"),
      "agent_error",
      "quota",
    ],
    [
      "a model",
      new RpcError(RPC.internalError, "Internal error", { message: "unknown model x" }),
      "agent_error",
      "model",
    ],
    ["anything else", new RpcError(RPC.internalError, "Oops"), "agent_error", "unknown"],
  ] as const
) {
  Deno.test(`AcpSession: the failure of a turn has the reason ${reason} for ${name}`, async () => {
    const { failure } = await runTurn(() => Promise.reject(error));
    assertEquals([failure.code, failure.reason, failure.prompted], [code, reason, true]);
  });
}

/** Creates a session of its own over these streams. */
function sessionOver(streams: PeerStreams): { session: AcpSession; peer: JsonRpcPeer } {
  const peer = new JsonRpcPeer(streams, {
    onInvalidLine() {},
    onNotification() {},
    onRequest: () => Promise.resolve({}),
  });
  const session = new AcpSession("s" as SessionId, new SessionConfig("s", [], () => Promise.resolve()), {
    peer,
    promptCapabilities: { image: false, audio: false },
    permissions: "allow",
    broker: NO_BROKER,
    log: new LogRecorder().log,
    timeouts: TEST_TIMEOUTS,
    cwd: "/",
    commands: new AgentCommands(),
    authRequired: (why) => new AppError("agent_auth_required", why),
    onUnresponsive() {},
    onPromptEnd() {},
    onClose() {},
  });
  return { session, peer };
}

for (const result of [null, "done", []]) {
  Deno.test(`AcpSession: the malformed result ${JSON.stringify(result)} ends the turn`, async () => {
    const [events, next] = [new TurnRecorder(), new TurnRecorder()];
    const [mine, theirs] = streamPair();
    const { session, peer } = sessionOver(mine);
    const remote = new RawPeer(theirs);
    const prompt = session.prompt(PROMPT, events.reader);
    await remote.send({ id: (await remote.receive())?.id, result });
    await prompt;
    await events.lastSummary();
    events.assertComplete();
    const again = session.prompt(PROMPT, next.reader);
    await remote.send({ id: (await remote.receive())?.id, result: { stopReason: "end_turn" } });
    await again;
    assertEquals(await next.lastSummary(), "end end_turn");
    await peer.close();
  });
}

Deno.test("AcpSession: if the connection closes while a prompt is written, either prompt() or the turn fails", async () => {
  // Tries every order of the end of the write and the end of the connection, in microtasks.
  for (let writeTick = 0; writeTick < 24; writeTick++) {
    for (let endTick = 0; endTick < 24; endTick++) {
      const written = Promise.withResolvers<void>();
      const writing = Promise.withResolvers<void>();
      let close = () => {};
      const readable = new ReadableStream({
        type: "bytes",
        start(controller) {
          close = () => {
            controller.close();
            controller.byobRequest?.respond(0);
          };
        },
      });
      const writable = new WritableStream<Uint8Array>({
        write() {
          writing.resolve();
          return written.promise;
        },
      });
      const { session, peer } = sessionOver({ readable, writable });
      const events = new TurnRecorder();
      const outcome = session.prompt(PROMPT, events.reader).then(() => "taken", () => "rejected");
      await writing.promise;
      for (let tick = 0; tick <= Math.max(writeTick, endTick); tick++) {
        if (tick === writeTick) written.resolve();
        if (tick === endTick) close();
        await Promise.resolve();
      }
      const expected = await waitFor(outcome, "an outcome") === "taken" ? ["failure agent_crashed"] : [];
      await nextTask();
      assertEquals(events.summaries, expected, `written at tick ${writeTick}, ended at tick ${endTick}`);
      await peer.close();
    }
  }
});

// Cancelling

const CANCELLED_ENDS: readonly (readonly [name: string, end: Handler])[] = [
  ...["cancelled", "end_turn", "refusal", "max_tokens"].map((stopReason) =>
    [stopReason, () => ({ stopReason })] as const
  ),
  ["an error", refuses(RPC.internalError, "Aborted")],
  ["its exit", exits],
];
for (const [name, end] of CANCELLED_ENDS) {
  Deno.test(`AcpSession: a cancelled prompt that the agent ends with ${name} is cancelled, and later text is dropped`, async () => {
    await using harness = new AcpHarness({
      "session/prompt": async (params, running) => {
        const { sessionId } = params;
        running.update(sessionId, TOOL);
        running.sendText(sessionId, "working");
        await running.cancelled(sessionId);
        running.sendText(sessionId, "stopped");
        running.update(sessionId, { ...THOUGHT, content: { type: "text", text: "hm" } });
        running.update(sessionId, { ...TOOL, sessionUpdate: "tool_call_update", title: "late" });
        await nextTask();
        return await end(params, running);
      },
    });
    const { heard, prompt } = await harness.startTurn();
    prompt.cancel();
    await heard.lastSummary();
    assertEquals(heard.summaries.slice(2), [
      "tool late other pending",
      "tool late other failed",
      "end cancelled",
    ]);
  });
}

Deno.test("AcpSession: a prompt is cancelled once, and never the next one", async () => {
  let prompts = 0;
  await using harness = new AcpHarness({
    "session/prompt": (params, running) =>
      ++prompts === 1 ? { stopReason: "end_turn" } : worksUntilCancelled(params, running),
  });
  const session = await harness.agent.newSession();
  const first = new TurnRecorder();
  const ended = await session.prompt(PROMPT, first.reader);
  await first.lastSummary();
  const second = await harness.startTurn(session);
  ended.cancel();
  await nextTask();
  assertEquals(second.heard.summaries, ["text working"]);
  second.prompt.cancel();
  second.prompt.cancel();
  await second.heard.lastSummary();
  second.prompt.cancel();
  const third = await harness.startTurn(session);
  second.prompt.cancel();
  await nextTask();
  assertEquals(harness.running.count("session/cancel"), 1);
  assertEquals(third.heard.summaries, ["text working"]);
  third.prompt.cancel();
  await third.heard.lastSummary();
});

// Order and end

Deno.test("AcpSession: prompts run one after the other, in order", async () => {
  const gates = [1, 2, 3].map(() => Promise.withResolvers<void>());
  let started = 0;
  await using harness = new AcpHarness({
    "session/prompt": (params, running) =>
      answersAfter(gates[started++]?.promise ?? Promise.resolve())(params, running),
  });
  const session = await harness.agent.newSession();
  const turns = gates.map(() => new TurnRecorder());
  const taken: number[] = [];
  const prompts = turns.map(({ reader }, index) =>
    session.prompt(PROMPT, reader).then(() => taken.push(index))
  );
  for (const [index, gate] of gates.entries()) {
    await turns[index]?.untilText("working");
    await nextTask();
    const expected = [[0, 1, 2].slice(0, index + 1), index + 1];
    assertEquals([taken, harness.running.count("session/prompt")], expected);
    gate.resolve();
    await turns[index]?.lastSummary();
  }
  await Promise.all(prompts);
});

Deno.test("AcpSession: if the agent exits, the running prompt fails and waiting ones are rejected", async () => {
  await using harness = new AcpHarness({ "session/prompt": worksUntilCancelled });
  const { session, heard: events } = await harness.startTurn();
  const waiting = [session.prompt(PROMPT, () => {}), session.prompt(PROMPT, () => {})];
  const rejections = Promise.all(waiting.map(appErrorOf));
  harness.running.exit();
  assertEquals(await events.lastSummary(), "failure agent_crashed");
  for (const { code, prompted } of await rejections) {
    assertEquals([code, prompted], ["agent_unavailable", false]);
  }
  await nextTask();
  events.assertComplete();
});

Deno.test("AcpSession: close cancels the running prompt, and closes the session after it", async () => {
  await using harness = new AcpHarness({ "session/prompt": worksUntilCancelled });
  const { session, heard: events } = await harness.startTurn();
  session.close();
  session.close();
  assertEquals(await events.lastSummary(), "end cancelled");
  await harness.running.waitFor("session/close");
  const methods = harness.running.received.map(({ method }) => method).filter((method) =>
    method !== "session/new"
  );
  assertEquals(methods, ["initialize", "session/prompt", "session/cancel", "session/close"]);
  assertEquals((await appErrorOf(session.prompt(PROMPT, () => {}))).code, "agent_unavailable");
  assertEquals(harness.running.count("session/prompt"), 1);
});

Deno.test("Connection: a failed session/close affects no other session", async () => {
  await using harness = new AcpHarness({
    "session/close": () => Promise.reject(new RpcError(RPC.internalError, "No.")),
  });
  (await harness.agent.newSession()).close();
  await harness.recorder.waitFor("session/close failed");
  assertEquals((await harness.runTurn()).summaries, ["end end_turn"]);
});
