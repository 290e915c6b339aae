import { assertEquals, assertStringIncludes } from "@std/assert";
import { RPC, RpcError } from "../../lib/acp/json_rpc.ts";
import { AcpHarness, type Handler, PROMPT, refuses } from "../support/agents/memory_acp_agent.ts";
import { appErrorOf, nextTask, TurnRecorder } from "../support/harness/turn_recorder.ts";
import { chooseAuthMethod } from "../../lib/acp/auth.ts";
import { type AuthMethod, parseInitializeResult } from "../../lib/acp/wire.ts";
import { isObject, type Json } from "../support/agents/agent_io.ts";
import { readRecording } from "../support/agents/replayed_agent.ts";

/** Parses methods of an answer to `initialize`. */
function methods(...authMethods: Json[]): readonly AuthMethod[] {
  return parseInitializeResult({ protocolVersion: 1, authMethods }).authMethods;
}

const variables = (...vars: (string | Json)[]) =>
  vars.map((variable) => typeof variable === "string" ? { name: variable } : variable);

const OAUTH = { id: "oauth-personal", name: "Log in with Google" };
const TERMINAL = { id: "claude-login", name: "Log in", type: "terminal", args: ["login"] };
const CODEX = { id: "codex-api-key", name: "Codex", type: "env_var", vars: variables("CODEX_API_KEY") };
const OPENAI = { id: "openai-api-key", name: "OpenAI", type: "env_var", vars: variables("OPENAI_API_KEY") };
const GEMINI = { id: "gemini-api-key", name: "Gemini", _meta: { "api-key": { provider: "google" } } };

const A_AND_B = { ...CODEX, vars: variables("A", "B") };
const KEYS = ["OPENAI_API_KEY", "CODEX_API_KEY"];
const CASES: readonly (readonly [string, offered: Json[], has: string[], chosen: string | undefined])[] = [
  ["none", [], [], undefined],
  ["methods that need a person", [OAUTH, TERMINAL], [], undefined],
  ["a variable that is there", [OAUTH, CODEX], ["CODEX_API_KEY"], "codex-api-key"],
  ["a variable that is not there", [CODEX], ["PATH"], undefined],
  ["the first whose variable is there", [CODEX, OPENAI], ["OPENAI_API_KEY"], "openai-api-key"],
  ["the first of two that could", [OPENAI, CODEX], KEYS, "openai-api-key"],
  ["all of several variables", [A_AND_B], ["A", "B"], "codex-api-key"],
  ["one of several variables", [A_AND_B], ["A"], undefined],
  [
    "an optional variable",
    [{ ...CODEX, vars: variables("A", { name: "B", optional: true }) }],
    ["A"],
    "codex-api-key",
  ],
  ["one variable by name", [{ id: "x", type: "env_var", varName: "A" }], ["A"], "x"],
  ["one variable by name that is not there", [{ id: "api-key", varName: "A" }], [], undefined],
  ["env_var without a variable", [{ id: "x", type: "env_var" }], [], "x"],
  ["a key by _meta", [OAUTH, GEMINI], [], "gemini-api-key"],
  ["a key by the id", [OAUTH, { id: "api-key" }], [], "api-key"],
  ["qwen's", [OAUTH, { id: "openai", name: "Use OpenAI API key" }], [], "openai"],
  ["an id in capitals", [{ id: "USE_API_KEY" }], [], "USE_API_KEY"],
  ["an id that only begins like a key", [{ id: "api-key-login" }], [], undefined],
  [
    "a terminal, whatever else it says",
    [{ ...TERMINAL, id: "api-key", _meta: { "api-key": {} } }],
    [],
    undefined,
  ],
  ["malformed variables", [{ id: "x", type: "env_var", vars: [7, null, { name: 7 }] }], [], "x"],
];
for (const [name, offered, has, chosen] of CASES) {
  Deno.test(`chooseAuthMethod: ${name}`, () =>
    assertEquals(chooseAuthMethod(methods(...offered), new Set(has))?.id, chosen));
}

Deno.test("chooseAuthMethod: of recorded agents", () => {
  const recorded = (name: string) => {
    const answer = readRecording(name).find(({ dir, msg }) =>
      dir === "a2c" && isObject(msg) && isObject(msg.result)
    );
    return parseInitializeResult((answer?.msg as Json).result).authMethods;
  };
  assertEquals(chooseAuthMethod(recorded("gemini-tools"), new Set())?.id, "gemini-api-key");
  assertEquals(chooseAuthMethod(recorded("codex2-tools"), new Set())?.id, "api-key");
  assertEquals(chooseAuthMethod(recorded("claude-tools"), new Set()), undefined);
});

const AUTH_METHODS = [{ id: "oauth", name: "Log in with a browser" }, { id: "api-key", name: "API key" }];

/** Handlers of an agent that requires a log-in by one of these methods; `authenticate` may throw. */
function requiresLogin(
  authMethods: readonly unknown[],
  authenticate: () => unknown,
): Record<string, Handler> {
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

Deno.test("AgentAuth: logs in once for all waiting requests, if that needs no person", async () => {
  await using harness = new AcpHarness(requiresLogin(AUTH_METHODS, () => nextTask()));
  await Promise.all([1, 2, 3].map(() => harness.agent.newSession()));
  assertEquals([harness.running.count("authenticate"), harness.starts.length], [1, 1]);
  const { params } = harness.running.received.find(({ method }) => method === "authenticate") ?? {};
  assertEquals(params as unknown, { methodId: "api-key" });
});

Deno.test("AgentAuth: a failed log-in is reported, and the next request tries again", async () => {
  let fails = true;
  await using harness = new AcpHarness(requiresLogin(AUTH_METHODS, () => {
    if (fails) throw new RpcError(RPC.authRequired, "Wrong key");
  }));
  const failure = await appErrorOf(harness.agent.newSession());
  assertEquals([failure.code, failure.prompted], ["agent_auth_required", false]);
  for (
    const part of ["It said: Wrong key.", "oauth (Log in with a browser), api-key (API key).", "inherit_env"]
  ) {
    assertStringIncludes(failure.message, part);
  }
  fails = false;
  await harness.agent.newSession();
  assertEquals([harness.running.count("authenticate"), harness.starts.length], [2, 1]);
});

Deno.test("AgentAuth: requests only one log-in if the agent still requires one", async () => {
  await using harness = new AcpHarness({
    ...requiresLogin(AUTH_METHODS, () => {}),
    "session/new": refuses(RPC.authRequired),
  });
  assertEquals((await appErrorOf(harness.agent.newSession())).code, "agent_auth_required");
  assertEquals([harness.running.count("authenticate"), harness.running.count("session/new")], [1, 2]);
});

Deno.test("AgentAuth: an agent without methods is said to name none", async () => {
  await using harness = new AcpHarness({ "session/new": refuses(RPC.authRequired) });
  assertStringIncludes((await appErrorOf(harness.agent.newSession())).message, "none named");
});

Deno.test("AgentAuth: an agent that asks for a log-in in words only is unavailable for that reason", async () => {
  await using harness = new AcpHarness({ "session/new": refuses(RPC.internalError, "Please sign in again") });
  const failure = await appErrorOf(harness.agent.newSession());
  assertEquals([failure.code, failure.reason], ["agent_unavailable", "login"]);
});

Deno.test("AgentAuth: a prompt that requires a log-in fails with the methods", async () => {
  const heard = new TurnRecorder();
  await using harness = new AcpHarness({
    "initialize": () => ({ protocolVersion: 1, authMethods: AUTH_METHODS }),
    "session/prompt": refuses(RPC.authRequired, "Token expired"),
  });
  await (await harness.agent.newSession()).prompt(PROMPT, heard.reader);
  assertEquals(await heard.lastSummary(), "failure agent_auth_required");
  assertEquals(heard.failure.prompted, true);
  for (const part of ["Token expired", "oauth (Log in with a browser)"]) {
    assertStringIncludes(heard.failure.message, part);
  }
});
