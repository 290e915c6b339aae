import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import { failureOf, Heard, settled } from "../support/harness/turn_recorder.ts";
import { LogRecorder, rawAgent } from "../support/harness/json_rpc_harness.ts";
import { AcpHarness, type Handler, neverAnswers, PROMPT } from "../support/agents/memory_acp_agent.ts";

for (
  const [name, answer] of [
    ["none", null],
    ["without an id", {}],
    ["with an empty id", { sessionId: "" }],
    ["of a number", { sessionId: 7 }],
  ] as const
) {
  Deno.test(`Connection: an answer to session/new ${name} is the agent's failure`, async () => {
    await using house = new AcpHarness({ "session/new": () => answer });
    const failure = await failureOf(house.agent.newSession());
    assertEquals(failure.code, "agent_unavailable");
    assertStringIncludes(failure.message, "session/new");
  });
}

for (const [name, answer] of [["none", null], ["words", "1"], ["without a version", {}]] as const) {
  Deno.test(`Connection: an answer to initialize that is ${name} is the agent's failure`, async () => {
    await using house = new AcpHarness({ initialize: () => answer });
    const failure = await failureOf(house.agent.newSession());
    assertEquals(failure.code, "agent_unavailable");
    assertStringIncludes(failure.message, "initialize");
  });
}

for (const protocolVersion of [0, 2, 99]) {
  Deno.test(`Connection: protocol version ${protocolVersion} is refused by name, and the agent ended`, async () => {
    await using house = new AcpHarness({ initialize: () => ({ protocolVersion }) });
    const failure = await failureOf(house.agent.newSession());
    assertEquals(failure.code, "agent_unavailable");
    assertStringIncludes(failure.message, `version ${protocolVersion} `);
    assert(house.running.process.stops > 0);
  });
}

Deno.test("Connection: an error for session/new is told in the agent's words", async () => {
  await using house = new AcpHarness({
    "session/new": () => Promise.reject(new RpcError(RPC.internalError, "No disk left.")),
  });
  const failure = await failureOf(house.agent.newSession());
  assertEquals(failure.code, "agent_unavailable");
  assertStringIncludes(failure.message, "No disk left.");
  assertEquals(house.starts.length, 1);
});

for (const method of ["initialize", "session/new"]) {
  Deno.test(`Connection: an agent that does not answer ${method} is given up`, async () => {
    await using house = new AcpHarness({ [method]: neverAnswers }, {
      timeouts: { setupMs: 20, resumeMs: 60_000, cancelMs: 60_000 },
    });
    const failure = await failureOf(house.agent.newSession());
    assertEquals(failure.code, "agent_unavailable");
    assertStringIncludes(failure.message, method);
  });
}

Deno.test("Connection: an agent that dies before it is ready is said to have", async () => {
  await using house = new AcpHarness({
    initialize: (_params, running) => {
      running.exit();
      return neverAnswers(_params, running);
    },
  });
  const failure = await failureOf(house.agent.newSession());
  assertEquals(failure.code, "agent_unavailable");
  assertStringIncludes(failure.message, "ended before it was ready");
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
  await using house = new AcpHarness(wantsLogin(AUTH_METHODS, () => settled()));
  await Promise.all([1, 2, 3].map(() => house.agent.newSession()));
  assertEquals([house.running.count("authenticate"), house.starts.length], [1, 1]);
  const { params } = house.running.received.find(({ method }) => method === "authenticate") ?? {};
  assertEquals(params as unknown, { methodId: "api-key" });
});

Deno.test("Connection: a log-in that fails is said, and tried again by the next", async () => {
  let fails = true;
  await using house = new AcpHarness(wantsLogin(AUTH_METHODS, () => {
    if (fails) throw new RpcError(RPC.authRequired, "Wrong key");
  }));
  const failure = await failureOf(house.agent.newSession());
  assertEquals([failure.code, failure.prompted], ["agent_auth_required", false]);
  for (const part of ["Wrong key", "oauth (Log in with a browser)", "api-key"]) {
    assertStringIncludes(failure.message, part);
  }
  fails = false;
  await house.agent.newSession();
  assertEquals([house.running.count("authenticate"), house.starts.length], [2, 1]);
});

Deno.test("Connection: a log-in that only a person can make is said, with the ways", async () => {
  await using house = new AcpHarness(wantsLogin(AUTH_METHODS.slice(0, 1), () => {}));
  const failure = await failureOf(house.agent.newSession());
  assertEquals(failure.code, "agent_auth_required");
  assertStringIncludes(failure.message, "oauth (Log in with a browser)");
  assertEquals(house.running.count("authenticate"), 0);
});

Deno.test("Connection: an agent that wants a log-in after it was made is said so", async () => {
  await using house = new AcpHarness({
    ...wantsLogin(AUTH_METHODS, () => {}),
    "session/new": () => Promise.reject(new RpcError(RPC.authRequired, "Authentication required")),
  });
  assertEquals((await failureOf(house.agent.newSession())).code, "agent_auth_required");
  assertEquals([house.running.count("authenticate"), house.running.count("session/new")], [1, 2]);
});

Deno.test("Connection: a prompt that is answered with a log-in to make says how", async () => {
  const heard = new Heard();
  await using house = new AcpHarness({
    "initialize": () => ({ protocolVersion: 1, authMethods: AUTH_METHODS }),
    "session/prompt": () => Promise.reject(new RpcError(RPC.authRequired, "Token expired")),
  });
  await (await house.agent.newSession()).prompt(PROMPT, heard.reader);
  assertEquals(await heard.last(), "failure agent_auth_required");
  assertEquals(heard.failure.prompted, true);
  for (const part of ["Token expired", "oauth (Log in with a browser)"]) {
    assertStringIncludes(heard.failure.message, part);
  }
});

Deno.test("Connection: lines that are no messages are logged, cut, and nothing more", async () => {
  const recorder = new LogRecorder();
  const { agent, end } = rawAgent(recorder);
  const opening = agent.newSession();
  await end.send("npm warn", "x".repeat(10_000), {
    id: (await end.receive())?.id,
    result: { protocolVersion: 1 },
  });
  await end.send({ id: (await end.receive())?.id, result: { sessionId: "s" } });
  await opening;
  const lines = recorder.matching("skipped a line of the agent").map(({ fields }) => String(fields.line));
  assertEquals(lines.map((line) => [line.slice(0, 8), line.length]), [["npm warn", 8], ["xxxxxxxx", 200]]);
  await agent[Symbol.asyncDispose]();
});
