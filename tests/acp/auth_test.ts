import { assertEquals, assertStringIncludes } from "@std/assert";
import { authRequiredError, chooseAuthMethod } from "../../lib/acp/auth.ts";
import { type AuthMethod, parseInitializeResult } from "../../lib/acp/wire.ts";
import { isObject, type Json } from "../support/agents/scripted_agent.ts";
import { readRecording } from "../support/agents/replayed_agent.ts";

/** Methods as they come, read as they are. */
function methods(...authMethods: Json[]): readonly AuthMethod[] {
  return parseInitializeResult({ protocolVersion: 1, authMethods }).authMethods ?? [];
}

const variables = (...vars: (string | Json)[]) =>
  vars.map((variable) => typeof variable === "string" ? { name: variable } : variable);

const OAUTH = { id: "oauth-personal", name: "Log in with Google" };
const TERMINAL = { id: "claude-login", name: "Log in", type: "terminal", args: ["login"] };
const CODEX = { id: "codex-api-key", name: "Codex", type: "env_var", vars: variables("CODEX_API_KEY") };
const OPENAI = { id: "openai-api-key", name: "OpenAI", type: "env_var", vars: variables("OPENAI_API_KEY") };
const GEMINI = { id: "gemini-api-key", name: "Gemini", _meta: { "api-key": { provider: "google" } } };

const CASES: readonly {
  name: string;
  methods: readonly AuthMethod[];
  has?: readonly string[];
  chosen: string | undefined;
}[] = [
  { name: "none", methods: methods(), chosen: undefined },
  { name: "only such as need a person", methods: methods(OAUTH, TERMINAL), chosen: undefined },
  {
    name: "a variable that is there",
    methods: methods(OAUTH, CODEX),
    has: ["CODEX_API_KEY"],
    chosen: "codex-api-key",
  },
  { name: "a variable that is not there", methods: methods(CODEX), has: ["PATH"], chosen: undefined },
  {
    name: "the first whose variable is there",
    methods: methods(CODEX, OPENAI),
    has: ["OPENAI_API_KEY"],
    chosen: "openai-api-key",
  },
  {
    name: "the first of two that could",
    methods: methods(OPENAI, CODEX),
    has: ["OPENAI_API_KEY", "CODEX_API_KEY"],
    chosen: "openai-api-key",
  },
  {
    name: "all of several variables",
    methods: methods({ ...CODEX, vars: variables("A", "B") }),
    has: ["A", "B"],
    chosen: "codex-api-key",
  },
  {
    name: "one of several variables",
    methods: methods({ ...CODEX, vars: variables("A", "B") }),
    has: ["A"],
    chosen: undefined,
  },
  {
    name: "a variable that is optional",
    methods: methods({ ...CODEX, vars: variables("A", { name: "B", optional: true }) }),
    has: ["A"],
    chosen: "codex-api-key",
  },
  {
    name: "one variable by name",
    methods: methods({ id: "x", type: "env_var", varName: "A" }),
    has: ["A"],
    chosen: "x",
  },
  {
    name: "one variable by name that is not there",
    methods: methods({ id: "api-key", varName: "A" }),
    chosen: undefined,
  },
  { name: "env_var without a variable", methods: methods({ id: "x", type: "env_var" }), chosen: "x" },
  { name: "a key by _meta", methods: methods(OAUTH, GEMINI), chosen: "gemini-api-key" },
  { name: "a key by the id", methods: methods(OAUTH, { id: "api-key" }), chosen: "api-key" },
  { name: "qwen's", methods: methods(OAUTH, { id: "openai", name: "Use OpenAI API key" }), chosen: "openai" },
  { name: "an id in capitals", methods: methods({ id: "USE_API_KEY" }), chosen: "USE_API_KEY" },
  { name: "an id that only begins like a key", methods: methods({ id: "api-key-login" }), chosen: undefined },
  {
    name: "a terminal is a person's, whatever else it says",
    methods: methods({ ...TERMINAL, id: "api-key", _meta: { "api-key": {} } }),
    chosen: undefined,
  },
  {
    name: "variables that are nonsense",
    methods: methods({ id: "x", type: "env_var", vars: [7, null, { name: 7 }] }),
    chosen: "x",
  },
];
for (const { name, methods, has = [], chosen } of CASES) {
  Deno.test(`chooseAuthMethod: ${name}`, () =>
    assertEquals(chooseAuthMethod(methods, new Set(has))?.id, chosen));
}

Deno.test("chooseAuthMethod: of recorded agents", () => {
  const recorded = (name: string) => {
    const answer = readRecording(name).find(({ dir, msg }) =>
      dir === "a2c" && isObject(msg) && isObject(msg.result)
    );
    return parseInitializeResult((answer?.msg as Json).result).authMethods ?? [];
  };
  assertEquals(chooseAuthMethod(recorded("gemini-tools"), new Set())?.id, "gemini-api-key");
  assertEquals(chooseAuthMethod(recorded("codex2-tools"), new Set())?.id, "api-key");
  assertEquals(chooseAuthMethod(recorded("claude-tools"), new Set()), undefined);
});

Deno.test("loginNeeded: tells the ways, and why it failed", () => {
  const failure = authRequiredError(methods(OAUTH, { id: "api-key" }), "Wrong key");
  assertEquals([failure.code, failure.prompted], ["agent_auth_required", false]);
  for (
    const part of [
      "oauth-personal (Log in with Google), api-key.",
      "It said: Wrong key.",
      "inherit_env",
    ]
  ) {
    assertStringIncludes(failure.message, part);
  }
  assertStringIncludes(authRequiredError([]).message, "none named");
});
