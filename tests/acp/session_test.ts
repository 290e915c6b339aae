import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { AgentCommands } from "../../lib/acp/command_guard.ts";
import { JsonRpcPeer, type PeerStreams, RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import { AcpSession } from "../../lib/acp/session.ts";
import { SessionConfig } from "../../lib/acp/session_config.ts";
import { AppError } from "../../lib/core/errors.ts";
import type { PermissionId, PermissionQuestion, SessionId } from "../../lib/turn/event.ts";
import { PERMISSION_POLICIES } from "../../lib/turn/permission.ts";
import {
  AcpHarness,
  answersAfter,
  exits,
  type Handler,
  type MemoryAcpAgent,
  PROMPT,
  refuses,
  worksUntilCancelled,
} from "../support/agents/memory_acp_agent.ts";
import { LogRecorder, RawPeer, streamPair, TEST_TIMEOUTS } from "../support/harness/json_rpc_harness.ts";
import { NO_BROKER } from "../support/harness/no_broker.ts";
import { appErrorOf, nextTask, TurnRecorder, waitFor } from "../support/harness/turn_recorder.ts";

type Options = ConstructorParameters<typeof AcpHarness>[1];

/** Runs a whole turn in which the agent handles `session/prompt` like this. */
async function runTurn(handler: Handler, options?: Options): Promise<TurnRecorder> {
  await using harness = new AcpHarness({ "session/prompt": handler }, options);
  return await harness.runTurn();
}

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

// Late updates

const QUIET = { ...TEST_TIMEOUTS, afterPrompt: { silenceMs: 30, maxMs: 60_000 } };
const chunk = (text: string, messageId?: string) => ({
  sessionUpdate: "agent_message_chunk",
  content: { type: "text", text },
  messageId,
});

Deno.test("AcpSession: a turn has the updates behind its answer, and the next prompt waits for them", async () => {
  await using harness: AcpHarness = new AcpHarness({
    "session/prompt": ({ sessionId }, running) => {
      running.update(sessionId, TOOL);
      queueMicrotask(async () => {
        await nextTask();
        running.update(sessionId, { ...TOOL, sessionUpdate: "tool_call_update", status: "completed" });
        running.sendText(sessionId, "late");
      });
      return { stopReason: "end_turn" };
    },
  }, { timeouts: QUIET });
  const session = await harness.agent.newSession();
  const first = new TurnRecorder();
  await session.prompt(PROMPT, first.reader);
  const next = harness.runTurn(session);
  await first.until(({ type }) => type === "text");
  assertEquals(harness.running.count("session/prompt"), 1);
  await first.lastSummary();
  assertEquals(first.summaries, [
    "tool ls other pending",
    "tool ls other completed",
    "text late",
    "end end_turn",
  ]);
  await next;
  first.assertComplete();
});

Deno.test("AcpSession: an agent that is never quiet ends its turn all the same", async () => {
  let isOver = false;
  let talking: Promise<void> | undefined;
  const talk = async (sessionId: string, running: MemoryAcpAgent) => {
    while (!isOver) {
      running.sendText(sessionId, "on ");
      await nextTask();
    }
  };
  await using harness = new AcpHarness({
    "session/prompt": ({ sessionId }, running) => {
      talking = talk(sessionId, running);
      return { stopReason: "end_turn" };
    },
  }, { timeouts: { ...QUIET, afterPrompt: { silenceMs: 60_000, maxMs: 40 } } });
  const heard = await harness.runTurn();
  isOver = true;
  await talking;
  assertEquals(heard.summaries.at(-1), "end end_turn");
});

Deno.test("AcpSession: drops text with the messageId of an earlier turn, and text outside of a turn", async () => {
  await using harness = new AcpHarness({
    "session/prompt": ({ sessionId }, running) => {
      const number = running.count("session/prompt");
      if (number > 1) running.update(sessionId, chunk("of the first turn", "m1"));
      if (number > 1) running.update(sessionId, { ...THOUGHT, ...chunk("of the first turn", "m1") });
      running.update(sessionId, chunk("a ", `m${number}`));
      running.update(sessionId, chunk("b ", `n${number}`));
      running.update(sessionId, chunk("c", `m${number}`));
      return { stopReason: "end_turn" };
    },
  });
  const session = await harness.agent.newSession();
  assertEquals((await harness.runTurn(session)).text, "a b c");
  harness.running.update(session.id, chunk("between the turns", "o"));
  await nextTask();
  assertEquals((await harness.runTurn(session)).text, "a b c");
});

Deno.test("AcpSession: an agent that gives every message the same id is heard all the same", async () => {
  await using harness = new AcpHarness({
    "session/prompt": ({ sessionId }, running) => {
      for (const text of ["a ", "b"]) running.update(sessionId, chunk(text, "always the same"));
      return { stopReason: "end_turn" };
    },
  });
  const session = await harness.agent.newSession();
  for (let turn = 1; turn <= 3; turn++) {
    assertEquals((await harness.runTurn(session)).summaries, ["text a ", "text b", "end end_turn"]);
  }
});

Deno.test("AcpSession: a long reply whose every piece has the same id is heard to its end", async () => {
  const pieces = Array.from({ length: 1_500 }, (_, index) => `${index} `);
  await using harness = new AcpHarness({
    "session/prompt": ({ sessionId }, running) => {
      for (const text of pieces) running.update(sessionId, chunk(text, "always the same"));
      return { stopReason: "end_turn" };
    },
  });
  const session = await harness.agent.newSession();
  for (let turn = 1; turn <= 2; turn++) assertEquals((await harness.runTurn(session)).text, pieces.join(""));
});

Deno.test("AcpSession: a cancel behind the answer ends the turn at once, as the agent ended it", async () => {
  await using harness = new AcpHarness({ "session/prompt": answersAfter(Promise.resolve()) }, {
    timeouts: { ...QUIET, afterPrompt: { silenceMs: 60_000, maxMs: 60_000 } },
  });
  const { session, heard, prompt } = await harness.startTurn();
  await nextTask();
  prompt.cancel();
  assertEquals(heard.summaries, ["text working", "end end_turn"]);
  assertEquals([session.closed.aborted, harness.running.count("session/cancel")], [false, 0]);
});

// Cancelling

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

// Permission requests

const REQUEST = "session/request_permission";
type Answer = { readonly outcome: { readonly optionId: string } };
const CANCELLED = { outcome: { outcome: "cancelled" } };

function permissionRequest(sessionId: string, toolCall: Record<string, unknown> = {}) {
  return {
    sessionId,
    toolCall: { toolCallId: "t", title: "rm", kind: "execute", ...toolCall },
    options: [
      { optionId: "no", name: "No", kind: "reject_once" },
      { optionId: "yes", name: "Yes", kind: "allow_once" },
    ],
  };
}

Deno.test("AcpSession: takes the kind of an announced tool for a permission request without a kind", async () => {
  const answers: unknown[] = [];
  const events = await runTurn(async ({ sessionId }, running) => {
    const ask = async (toolCallId: string) => {
      const request = permissionRequest(sessionId, { toolCallId, kind: undefined });
      answers.push(await running.peer.request(REQUEST, request));
    };
    running.update(sessionId, { ...TOOL, title: "cat", kind: "think" });
    await ask("t");
    await ask("unannounced");
    return { stopReason: "end_turn" };
  }, { permissions: "ask" });
  const selected = (optionId: string) => ({ outcome: { outcome: "selected", optionId } });
  assertEquals(answers, [selected("yes"), selected("no")]);
  assertEquals(events.summaries.includes("tool rm think pending"), true);
});

Deno.test("AcpSession: cancels a permission request after a cancel, outside a turn, or of another session", async () => {
  const answers: unknown[] = [];
  await using harness = new AcpHarness({
    "session/prompt": async ({ sessionId }, running) => {
      running.sendText(sessionId, "working");
      await running.cancelled(sessionId);
      answers.push(await running.peer.request(REQUEST, permissionRequest(sessionId)));
      answers.push(await running.peer.request(REQUEST, permissionRequest("another")));
      return { stopReason: "cancelled" };
    },
  });
  const { session, heard: events, prompt } = await harness.startTurn();
  prompt.cancel();
  await events.lastSummary();
  answers.push(await harness.running.peer.request(REQUEST, permissionRequest(session.id)));
  assertEquals(answers, [CANCELLED, CANCELLED, CANCELLED]);
  assertEquals(events.summaries, ["text working", "end cancelled"]);
});

for (const setting of PERMISSION_POLICIES) {
  Deno.test(`AcpSession: the policy of a prompt counts, for that prompt only; the agent's is ${setting}`, async () => {
    const decided: string[] = [];
    const ask = ({ options }: PermissionQuestion) => {
      decided.push("a person");
      const option = options.find(({ kind }) => kind === "reject_once")!;
      return Promise.resolve({ id: "p" as PermissionId, outcome: "rejected", option, by: "Mao" } as const);
    };
    await using harness = new AcpHarness({
      "session/prompt": async ({ sessionId }, running) => {
        const { outcome } = await running.peer.request(REQUEST, permissionRequest(sessionId)) as Answer;
        decided.push(outcome.optionId);
        return { stopReason: "end_turn" };
      },
    }, { permissions: setting, broker: { ask } });
    const session = await harness.agent.newSession();
    const policies = [undefined, ...PERMISSION_POLICIES, undefined];
    for (const policy of policies) {
      const events = new TurnRecorder();
      await session.prompt(PROMPT, events.reader, policy);
      await events.lastSummary();
    }
    const expected = { allow: ["yes"], deny: ["no"], ask: ["a person", "no"] };
    assertEquals(decided, policies.flatMap((policy = setting) => expected[policy]));
  });
}

Deno.test("Connection: answers a malformed permission request with -32602", async () => {
  await using harness = new AcpHarness();
  await harness.agent.newSession();
  for (const params of [undefined, {}, { ...permissionRequest("s"), options: "all" }]) {
    const error: RpcError = await assertRejects(
      () => harness.running.peer.request(REQUEST, params),
      RpcError,
    );
    assertEquals(error.code, RPC.invalidParams);
  }
});

Deno.test("AcpSession: a turn fails if the agent stops because of a refused permission", async () => {
  const events = await runTurn(async ({ sessionId }, running) => {
    await running.peer.request(REQUEST, permissionRequest(sessionId));
    return { stopReason: "cancelled" };
  }, { permissions: "deny" });
  assertEquals(events.summaries.at(-1), "failure agent_cancelled");
  assertStringIncludes(events.failure.message, "refused a permission");
});
