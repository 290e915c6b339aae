import { assert, assertEquals, assertNotStrictEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import type { SessionId } from "../../lib/turn/event.ts";
import { failureOf, Heard, settled, soon } from "../support/harness/turn_recorder.ts";
import {
  AcpHarness,
  type Handler,
  neverAnswers,
  PROMPT,
  withCapabilities,
  worksUntilCancelled,
} from "../support/agents/memory_acp_agent.ts";

const ID = "session-1" as SessionId;
const OLD = "old" as SessionId;
const RESUMES = withCapabilities({ loadSession: true, sessionCapabilities: { close: {}, resume: {} } });
const LOADS = withCapabilities({ loadSession: true, sessionCapabilities: { close: {} } });
const ONLY_LOADS = withCapabilities({ loadSession: true });
const unknown: Handler = () => Promise.reject(new RpcError(RPC.resourceNotFound, "No such session"));
/** An agent that knows every session. */
const KNOWS: Readonly<Record<string, Handler>> = { "session/resume": () => ({}), "session/load": () => ({}) };

const WAYS: readonly (readonly [name: string, initialize: Handler, method: string | undefined])[] = [
  ["resumes and loads", RESUMES, "session/resume"],
  ["resumes", withCapabilities({ sessionCapabilities: { resume: {} } }), "session/resume"],
  ["loads", LOADS, "session/load"],
  ["does neither", withCapabilities({ sessionCapabilities: { close: {} } }), undefined],
];
for (const [name, initialize, method] of WAYS) {
  Deno.test(`AcpAgent.resume: an agent that ${name}`, async () => {
    await using house = new AcpHarness({ initialize, ...KNOWS });
    const session = await house.agent.resumeSession(OLD);
    assertEquals(session?.id, method && OLD);
    const came = house.running.received.filter(({ method }) => /resume|load/.test(method));
    assertEquals(
      came as unknown,
      method ? [{ method, params: { sessionId: OLD, cwd: "/", mcpServers: [] } }] : [],
    );
    assertEquals(house.starts.length, 1, "it was started to find out");
  });
}

const USELESS: readonly (readonly [name: string, load: Handler])[] = [
  ["does not know it", unknown],
  ["cannot do it after all", () => Promise.reject(new RpcError(RPC.methodNotFound, "Method not found"))],
  ["does not answer", neverAnswers],
];
for (const [name, load] of USELESS) {
  Deno.test(`AcpAgent.resume: nothing, if the agent ${name}; it serves on`, async () => {
    await using house = new AcpHarness({ initialize: LOADS, "session/load": load }, {
      timeouts: { setupMs: 60_000, resumeMs: 10, cancelMs: 60_000 },
    });
    assertEquals(await house.agent.resumeSession(OLD), undefined);
    assertEquals(house.recorder.matching("could not resume a session").map(({ level }) => level), [
      "info",
    ]);
    assert(await house.agent.newSession());
    assertEquals(house.starts.length, 1);
  });
}

for (const answer of [null, "ok", { configOptions: 7, modes: [], models: null }]) {
  Deno.test(`AcpAgent.resume: an answer of ${JSON.stringify(answer)} brings it back`, async () => {
    const heard = new Heard();
    await using house = new AcpHarness({ initialize: LOADS, "session/load": () => answer });
    await (await house.agent.resumeSession(OLD))?.prompt(PROMPT, heard.reader);
    assertEquals(await heard.last(), "end end_turn");
  });
}

Deno.test("AcpAgent.resume: an agent that cannot start throws, as for a new session", async () => {
  await using house = new AcpHarness({ initialize: () => ({ protocolVersion: 2 }) });
  assertEquals((await failureOf(house.agent.resumeSession(OLD))).code, "agent_unavailable");
});

Deno.test("AcpAgent.resume: logs in where the agent asks for it", async () => {
  let isLoggedIn = false;
  let wrong = true;
  await using house = new AcpHarness({
    "initialize": () => ({
      protocolVersion: 1,
      agentCapabilities: { loadSession: true },
      authMethods: [{ id: "api-key" }],
    }),
    "authenticate": () => {
      if (wrong) throw new RpcError(RPC.authRequired, "Wrong key");
      isLoggedIn = true;
      return {};
    },
    "session/load": () => {
      if (!isLoggedIn) throw new RpcError(RPC.authRequired, "Authentication required");
      return {};
    },
  });
  assertEquals((await failureOf(house.agent.resumeSession(OLD))).code, "agent_auth_required");
  wrong = false;
  assert(await house.agent.resumeSession(OLD));
});

Deno.test("AcpAgent.resume: what is told again reaches nobody, and its questions are withdrawn", async () => {
  const outcomes: unknown[] = [];
  const heard = new Heard();
  await using house = new AcpHarness({
    "initialize": LOADS,
    "session/load": async ({ sessionId }, running) => {
      running.update(sessionId, {
        sessionUpdate: "user_message_chunk",
        content: { type: "text", text: "Hi" },
      });
      running.sendText(sessionId, "An earlier answer.");
      outcomes.push(
        await running.peer.request("session/request_permission", {
          sessionId,
          toolCall: { toolCallId: "t", title: "rm", kind: "execute" },
          options: [{ optionId: "yes", name: "Yes", kind: "allow_once" }],
        }),
      );
      return {};
    },
  });
  const session = await house.agent.resumeSession(OLD);
  await session?.prompt(PROMPT, heard.reader);
  assertEquals(await heard.last(), "end end_turn");
  assertEquals(heard.briefs, ["end end_turn"]);
  assertEquals(outcomes, [{ outcome: { outcome: "cancelled" } }]);
});

Deno.test("AcpAgent.resume: a session that is open is somebody's, and given to nobody else", async () => {
  await using house = new AcpHarness({ initialize: RESUMES, ...KNOWS });
  const session = await house.agent.newSession();
  assertEquals(await house.agent.resumeSession(session.id), undefined);
  const both = await Promise.all([house.agent.resumeSession(OLD), house.agent.resumeSession(OLD)]);
  assertEquals(both.map((one) => one?.id), [OLD, undefined]);
  assertEquals(house.running.summary("session/resume"), ["session/resume old"]);
});

Deno.test("AcpAgent.resume: a session that was closed comes back after the agent has closed it", async () => {
  const closing = Promise.withResolvers<void>();
  await using house = new AcpHarness({
    initialize: RESUMES,
    ...KNOWS,
    "session/close": () => closing.promise.then(() => ({})),
  });
  const first = await house.agent.newSession();
  first.close();
  const coming = house.agent.resumeSession(ID);
  await house.running.waitFor("session/close");
  await settled();
  assertEquals(house.running.count("session/resume"), 0);
  closing.resolve();
  const second = await coming;
  assert(second);
  assertNotStrictEquals(first, second);
  assertEquals([first.closed.aborted, second?.closed.aborted], [true, false]);
});

Deno.test("AcpAgent.resume: a session that was closed in the middle of a turn comes back after it", async () => {
  const cancelled = Promise.withResolvers<void>();
  const [heard, next] = [new Heard(), new Heard()];
  await using house = new AcpHarness({
    "initialize": ONLY_LOADS,
    "session/prompt": async (params, running) => {
      const answer = await worksUntilCancelled(params, running);
      await cancelled.promise;
      return answer;
    },
  });
  const session = await house.agent.newSession();
  await session.prompt(PROMPT, heard.reader);
  await heard.untilText("working");
  session.close();
  const coming = house.agent.resumeSession(ID);
  let came = false;
  coming.then(() => came = true);
  await settled();
  assertEquals(came, false);
  house.running.sendText(ID, "late");
  cancelled.resolve();
  await (await coming)?.prompt(PROMPT, next.reader);
  await next.untilText("working");
  assertEquals([heard.briefs.at(-1), next.briefs], ["end cancelled", ["text working"]]);
});

Deno.test("AcpAgent.resume: a session whose last turn does not end is not waited for, nor brought back later", async () => {
  const ending = Promise.withResolvers<void>();
  const heard = new Heard();
  await using house = new AcpHarness({
    initialize: RESUMES,
    ...KNOWS,
    "session/prompt": async ({ sessionId }, running) => {
      running.sendText(sessionId, "working");
      await ending.promise;
      return { stopReason: "cancelled" };
    },
  }, { timeouts: { setupMs: 60_000, resumeMs: 20, cancelMs: 60_000 } });
  const session = await house.agent.newSession();
  await session.prompt(PROMPT, heard.reader);
  await heard.untilText("working");
  session.close();
  assertEquals(await house.agent.resumeSession(ID), undefined);
  ending.resolve();
  await house.running.waitFor("session/close");
  await settled();
  await settled();
  assertEquals(house.running.summary("session/resume"), []);
  assert(await house.agent.resumeSession(ID));
});

Deno.test("AcpAgent.resume: where the agent closes no sessions, those of its process come back unasked", async () => {
  const models = { currentModelId: "a", availableModels: [{ modelId: "a" }, { modelId: "b" }] };
  await using house = new AcpHarness({
    "initialize": ONLY_LOADS,
    "session/load": unknown,
    "session/new": (_params, running) => ({ sessionId: `session-${running.nextSession++}`, models }),
    "session/set_model": () => ({}),
  });
  const first = await house.agent.newSession();
  await first.setModel("b");
  first.close();
  const again = await house.agent.resumeSession(first.id);
  assertEquals([again?.id, again?.model, house.running.count("session/load")], [first.id, "b", 0]);
  await again?.setModel(undefined);
  assertEquals(again?.model, "a");
  again?.close();
  house.running.exit();
  house.nowMs += 60_000;
  await settled();
  assertEquals(await house.agent.resumeSession(first.id), undefined);
  assertEquals(house.starts.map((start) => start.count("session/load")), [0, 1]);
});

Deno.test("AcpAgent.resume: no more than a hundred sessions are kept so", async () => {
  await using house = new AcpHarness({ initialize: ONLY_LOADS, "session/load": unknown });
  for (let count = 0; count <= 100; count++) (await house.agent.newSession()).close();
  await settled();
  assertEquals(await house.agent.resumeSession(ID), undefined);
  assert(await house.agent.resumeSession("session-2" as SessionId));
  assertEquals(house.running.summary("session/load"), ["session/load session-1"]);
});

Deno.test("AcpAgent.resume: who gives up is let go, and the session that comes is ended; the next gets it", async () => {
  const coming = Promise.withResolvers<void>();
  await using house = new AcpHarness({
    initialize: RESUMES,
    "session/resume": () => coming.promise.then(() => ({})),
  });
  const reason = new Error("hung up");
  const controller = new AbortController();
  const waiting = house.agent.resumeSession(OLD, controller.signal).catch((error) => error);
  await settled();
  await house.running.waitFor("session/resume");
  controller.abort(reason);
  assertStrictEquals(await waiting, reason);
  const next = house.agent.resumeSession(OLD);
  await settled();
  coming.resolve();
  assertEquals((await soon(next, "the session"))?.id, OLD);
  assertEquals(house.running.summary("session/resume", "session/close"), [
    "session/resume old",
    "session/close old",
    "session/resume old",
  ]);
  await assertRejects(() => house.agent.resumeSession(OLD, AbortSignal.abort(reason)), Error, "hung up");
});

Deno.test("AcpAgent.resume: an answer that comes too late is ended", async () => {
  const late: (() => void)[] = [];
  await using house = new AcpHarness({
    initialize: RESUMES,
    "session/resume": () => new Promise((resolve) => late.push(() => resolve({}))),
  }, { timeouts: { setupMs: 60_000, resumeMs: 20, cancelMs: 60_000 } });
  assertEquals(await house.agent.resumeSession(OLD), undefined);
  late[0]?.();
  await house.running.waitFor("session/close");
  assertEquals(house.running.summary("session/close"), ["session/close old"]);
});

Deno.test("Connection: a session/new that is answered too late is ended", async () => {
  const late = Promise.withResolvers<void>();
  const timeouts = { setupMs: 60_000, resumeMs: 60_000, cancelMs: 60_000 };
  let isSlow = false;
  await using house = new AcpHarness({
    "initialize": RESUMES,
    "session/prompt": worksUntilCancelled,
    "session/new": () => isSlow ? late.promise.then(() => ({ sessionId: "late" })) : { sessionId: "soon" },
  }, { timeouts });
  // What runs keeps the process.
  const session = await house.agent.newSession();
  await session.prompt(PROMPT, new Heard().reader);
  const { running } = house;
  isSlow = true;
  timeouts.setupMs = 1;
  await failureOf(house.agent.newSession());
  late.resolve();
  await running.waitFor("session/close");
  assertEquals(running.summary("session/close")[0], "session/close late");
});

Deno.test("AcpAgent.resume: an agent that dies meanwhile is asked again once, by its successor", async () => {
  let dies = 1;
  await using house = new AcpHarness({
    "initialize": RESUMES,
    "session/resume": (params, running) => {
      if (dies-- <= 0) return {};
      house.nowMs += 60_000;
      running.exit();
      return neverAnswers(params, running);
    },
  });
  assert(await house.agent.resumeSession(OLD));
  assertEquals(house.starts.length, 2);
  dies = 2;
  assertEquals(await house.agent.resumeSession("another" as SessionId), undefined);
});

Deno.test("AcpAgent.resume: dispose lets go who waits", async () => {
  const house = new AcpHarness({ initialize: RESUMES, "session/resume": neverAnswers });
  const waiting = failureOf(house.agent.resumeSession(OLD));
  await settled();
  await house.running.waitFor("session/resume");
  await house[Symbol.asyncDispose]();
  assertEquals((await waiting).code, "shutting_down");
});

const DELETES = withCapabilities({ sessionCapabilities: { close: {}, delete: {}, resume: {} } });
const FORGOTTEN: readonly {
  name: string;
  initialize: Handler;
  closed: boolean;
  asked: string[];
}[] = [
  {
    name: "deletes, of a session that is open",
    initialize: DELETES,
    closed: false,
    asked: ["session/close session-1", "session/delete session-1"],
  },
  {
    name: "deletes, of a session that is closed",
    initialize: DELETES,
    closed: true,
    asked: ["session/close session-1", "session/delete session-1"],
  },
  { name: "only closes", initialize: RESUMES, closed: false, asked: ["session/close session-1"] },
  { name: "does neither", initialize: ONLY_LOADS, closed: true, asked: [] },
  {
    name: "only deletes",
    initialize: withCapabilities({ sessionCapabilities: { delete: {} } }),
    closed: false,
    asked: ["session/delete session-1"],
  },
];
for (const { name, initialize, closed, asked } of FORGOTTEN) {
  Deno.test(`AcpAgent.forget: an agent that ${name}`, async () => {
    await using house = new AcpHarness({ initialize, "session/delete": () => ({}), "session/load": unknown });
    const session = await house.agent.newSession();
    if (closed) session.close();
    house.agent.deleteSession(session.id);
    assertEquals(session.closed.aborted, true);
    for (const entry of asked) await house.running.waitFor(entry.split(" ")[0]!);
    // It is not kept for later either.
    await house.agent.resumeSession(session.id);
    assertEquals(house.running.summary("session/close", "session/delete"), asked);
  });
}

Deno.test("AcpAgent.forget: an agent that does not run is not started; one that refuses harms nobody", async () => {
  await using house = new AcpHarness({ initialize: DELETES, "session/delete": unknown });
  house.agent.deleteSession(OLD);
  await settled();
  assertEquals(house.starts.length, 0);
  await house.agent.newSession();
  house.agent.deleteSession(OLD);
  assertEquals((await house.recorder.waitFor("session/delete failed")).level, "debug");
  assert(await house.agent.newSession());
});
