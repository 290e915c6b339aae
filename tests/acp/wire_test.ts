import { assertEquals, assertThrows } from "@std/assert";
import {
  type Capabilities,
  parseElicitationRequest,
  parseInitializeResult,
  parseNewSessionResult,
  parsePermissionRequest,
  parsePromptResult,
  parseSessionUpdate,
} from "../../lib/acp/wire.ts";
import { STOP_REASONS } from "../../lib/turn/event.ts";
import { isObject, type Json } from "../support/agents/agent_io.ts";
import { readRecording, type RecordedLine } from "../support/agents/replayed_agent.ts";

/** Returns the results of a method in a recording. */
function resultsIn(recording: string, method: string): Json[] {
  const lines = readRecording(recording);
  const messages = (dir: RecordedLine["dir"]) =>
    lines.flatMap((line) => line.dir === dir && isObject(line.msg) ? [line.msg] : []);
  const ids = new Set(messages("c2a").flatMap((message) => message.method === method ? [message.id] : []));
  return messages("a2c").flatMap(({ id, method, result }) =>
    method === undefined && ids.has(id) && isObject(result) ? [result] : []
  );
}

const NOTHING: Capabilities = {
  agent: undefined,
  protocolVersion: 1,
  promptCapabilities: { image: false, audio: false },
  resumeMethod: undefined,
  canClose: false,
  canDelete: false,
  mcpTransports: { http: false, sse: false },
  authMethods: [],
};
const ANSWERS: readonly (readonly [name: string, answer: Json, expected: Partial<Capabilities>])[] = [
  ["the version only", {}, {}],
  ["null", { agentCapabilities: null, agentInfo: null, authMethods: null }, {}],
  ["empty capabilities", { agentCapabilities: {} }, {}],
  [
    "malformed capabilities",
    {
      agentCapabilities: {
        promptCapabilities: 7,
        mcpCapabilities: "x",
        sessionCapabilities: "all",
        loadSession: "yes",
      },
    },
    {},
  ],
  ["malformed flags", {
    agentCapabilities: {
      promptCapabilities: { image: "yes", audio: null },
      sessionCapabilities: { resume: null, close: false },
    },
  }, {}],
  ["other malformed fields", { authMethods: "none", agentInfo: "me" }, {}],
  ["malformed log-in methods among others", { authMethods: [7, { id: "key" }] }, {
    authMethods: [{ id: "key", name: "", vars: [] }],
  }],
  ["a log-in method that is too long among others", {
    authMethods: [{ id: "a", _meta: { x: "x".repeat(20_000) } }, { id: "x".repeat(501) }, { id: "key" }],
  }, { authMethods: [{ id: "key", name: "", vars: [] }] }],
  ["a long name", { agentInfo: { name: "x".repeat(1_000) } }, {
    agent: { name: "x".repeat(200) + "...", version: "" },
  }],
  ["a name", { agentInfo: { name: "pi" } }, { agent: { name: "pi", version: "" } }],
  ["load", { agentCapabilities: { loadSession: true } }, { resumeMethod: "load" }],
  ["resume, which counts before load, close and delete", {
    agentCapabilities: {
      loadSession: true,
      sessionCapabilities: { resume: {}, close: {}, delete: {}, news: {} },
    },
  }, { resumeMethod: "resume", canClose: true, canDelete: true }],
  ["MCP by http", { agentCapabilities: { mcpCapabilities: { http: true } } }, {
    mcpTransports: { http: true, sse: false },
  }],
  ["images", { agentCapabilities: { promptCapabilities: { image: true, embeddedContext: true } } }, {
    promptCapabilities: { image: true, audio: false },
  }],
];
for (const [name, answer, expected] of ANSWERS) {
  Deno.test(`parseInitializeResult: ${name}`, () => {
    assertEquals(parseInitializeResult({ protocolVersion: 1, ...answer }), { ...NOTHING, ...expected });
  });
}

const RECORDED: readonly (readonly [recording: string, agent: string, can: Json, logins: string[]])[] = [
  ["claude-load", "@agentclientprotocol/claude-agent-acp 0.100.0", {
    resumeMethod: "resume",
    canClose: true,
    canDelete: true,
    mcpTransports: { http: true, sse: true },
  }, []],
  ["codex2-load", "@agentclientprotocol/codex-acp 2.6.0", {
    resumeMethod: "resume",
    canClose: true,
    canDelete: true,
    mcpTransports: { http: true, sse: false },
  }, ["api-key", "chat-gpt"]],
  ["gemini-tools", "gemini-cli 0.61.0", {
    resumeMethod: "load",
    canClose: false,
    canDelete: false,
    mcpTransports: { http: true, sse: true },
  }, ["oauth-personal", "gemini-api-key", "vertex-ai", "gateway"]],
];
for (const [recording, agent, can, logins] of RECORDED) {
  Deno.test(`wire: parses the initialize and session/new results of ${recording}`, () => {
    const { agent: info, promptCapabilities, authMethods, protocolVersion: _, ...rest } =
      parseInitializeResult(
        resultsIn(recording, "initialize")[0],
      );
    assertEquals([`${info?.name} ${info?.version}`, promptCapabilities.image], [agent, true]);
    assertEquals(rest as Json, can);
    assertEquals(authMethods.map(({ id }) => id), logins);
    const [session] = resultsIn(recording, "session/new");
    assertEquals(parseNewSessionResult(session).sessionId, String(session?.sessionId));
  });
}

const REQUEST = {
  sessionId: "s",
  toolCall: { toolCallId: "t", title: "ls", kind: "execute" },
  options: [{ optionId: "a", name: "Allow", kind: "allow_once" }],
};
/** Values that a parser rejects, with the text that its error names. */
const REJECTED: readonly (readonly [(value: unknown) => unknown, string, readonly unknown[]])[] = [
  [parseInitializeResult, "the answer to initialize", [
    undefined,
    null,
    {},
    { protocolVersion: "1" },
    [],
    "1",
  ]],
  [parseNewSessionResult, "the answer to session/new", [
    undefined,
    null,
    {},
    { sessionId: "" },
    {
      sessionId: 7,
    },
    { sessionId: "x".repeat(501) },
    "s",
  ]],
  [parsePromptResult, "the answer to session/prompt", [undefined, null, "end_turn", []]],
  [parsePermissionRequest, "session/request_permission", [undefined]],
  [parsePermissionRequest, "sessionId", [{ ...REQUEST, sessionId: undefined }]],
  [parsePermissionRequest, "toolCall", [{ ...REQUEST, toolCall: undefined }]],
  [parsePermissionRequest, "toolCall.toolCallId", [{ ...REQUEST, toolCall: { title: "ls" } }]],
  [parsePermissionRequest, "toolCall.toolCallId", [{
    ...REQUEST,
    toolCall: { toolCallId: "x".repeat(501) },
  }]],
  [parsePermissionRequest, "options", [{ ...REQUEST, options: undefined }]],
  [parsePermissionRequest, "options.0.optionId", [{ ...REQUEST, options: [{ kind: "allow_once" }] }]],
  [parsePermissionRequest, "options.0.kind", [{ ...REQUEST, options: [{ optionId: "a" }] }]],
];
for (const [parse, message, values] of REJECTED) {
  for (const value of values) {
    Deno.test(`wire: rejects ${JSON.stringify(value)}, naming ${message}`, () => {
      assertThrows(() => parse(value), TypeError, message);
    });
  }
}

const usage = (inputTokens: number, outputTokens: number, thoughtTokens = 0, cachedTokens = 0) => ({
  inputTokens,
  outputTokens,
  thoughtTokens,
  cachedTokens,
});

/** The results of the prompts in each recording, in order. */
const PROMPT_RESULTS: Readonly<Record<string, readonly [string, ReturnType<typeof usage> | undefined][]>> = {
  "claude-tools": [["end_turn", usage(5_000, 250)]],
  "claude-cancel": [
    ["cancelled", undefined],
    ["end_turn", usage(1_000, 50)],
    ["cancelled", usage(1_000, 50)],
    ["end_turn", usage(1_000, 50)],
  ],
  "gemini-tools": [["end_turn", usage(5_000, 250)]],
  "gemini-cancel": [
    ["cancelled", undefined],
    ["end_turn", usage(1_000, 50)],
    ["cancelled", undefined],
    ["cancelled", undefined],
  ],
  "codex2-tools": [["end_turn", usage(5_000, 250)]],
  "codex2-cancel": [
    ["cancelled", undefined],
    ["end_turn", usage(1_000, 50)],
    ["cancelled", usage(1_000, 50)],
    ["cancelled", usage(1_000, 50)],
  ],
};
for (const [recording, expected] of Object.entries(PROMPT_RESULTS)) {
  Deno.test(`parsePromptResult: parses the results of ${recording}`, () => {
    const results = resultsIn(recording, "session/prompt").map(parsePromptResult);
    assertEquals(results.map(({ stopReason, usage }) => [stopReason, usage]), expected);
  });
}

for (
  const [name, result, expected] of [
    ["none", {}, undefined],
    ["null", { usage: null, _meta: null }, undefined],
    ["zeros", { usage: { inputTokens: 0, outputTokens: 0, totalTokens: 0 } }, undefined],
    ["every count", {
      usage: { totalTokens: 10, inputTokens: 1, outputTokens: 2, thoughtTokens: 3, cachedReadTokens: 4 },
    }, usage(1, 2, 3, 4)],
    ["null counts", {
      usage: { inputTokens: 1, outputTokens: 2, thoughtTokens: null, cachedReadTokens: null },
    }, usage(1, 2)],
    ["malformed counts", { usage: { inputTokens: "many", outputTokens: 2, thoughtTokens: -1 } }, usage(0, 2)],
    ["malformed", { usage: "little" }, undefined],
    ["Gemini's", { _meta: { quota: { token_count: { input_tokens: 3, output_tokens: 4 } } } }, usage(3, 4)],
    ["Gemini's with one count", { _meta: { quota: { token_count: { output_tokens: 4 } } } }, usage(0, 4)],
    ["another _meta", { _meta: { quota: "none", other: 1 } }, undefined],
    ["both, of which the standard one counts", {
      usage: { inputTokens: 1, outputTokens: 2 },
      _meta: { quota: { token_count: { input_tokens: 3, output_tokens: 4 } } },
    }, usage(1, 2)],
  ] as const
) {
  Deno.test(`parsePromptResult: usage: ${name}`, () => {
    assertEquals(parsePromptResult({ stopReason: "end_turn", ...result }).usage, expected);
  });
}

Deno.test("parsePromptResult: keeps known stop reasons, and takes others as end_turn", () => {
  for (const stopReason of STOP_REASONS) {
    assertEquals(parsePromptResult({ stopReason, _meta: {} }).stopReason, stopReason);
  }
  assertEquals(parsePromptResult({ stopReason: "bored" }).stopReason, "end_turn");
  assertEquals(parsePromptResult({}).stopReason, "end_turn");
});

Deno.test("parsePermissionRequest: parses recorded requests", () => {
  const recordings = ["claude-tools", "claude-reject", "gemini-tools", "gemini-reject", "gemini-cancel"];
  const requests = recordings.flatMap(readRecording).flatMap(({ msg }) =>
    isObject(msg) && msg.method === "session/request_permission" ? [parsePermissionRequest(msg.params)] : []
  );
  assertEquals(requests.length, 8);
  for (const { toolCall, options } of requests) {
    assertEquals(toolCall.toolCallId !== "" && typeof toolCall.title === "string", true);
    assertEquals(options.some(({ kind }) => kind === "allow_once"), true);
    assertEquals(options.some(({ kind }) => kind === "reject_once"), true);
  }
});

Deno.test("parsePermissionRequest: takes malformed optional fields as absent", () => {
  const { toolCall, options } = parsePermissionRequest({
    ...REQUEST,
    toolCall: { toolCallId: "t", title: 7, kind: "teleport", status: "paused" },
    options: [{ optionId: "a", kind: "allow_later" }, { optionId: "b", name: null, kind: "allow_once" }],
  });
  assertEquals([toolCall.title, toolCall.kind, toolCall.status], [undefined, "other", undefined]);
  assertEquals(options.map(({ optionId, name, kind }) => [optionId, name, kind]), [
    ["a", "", "allow_later"],
    ["b", "", "allow_once"],
  ]);
});

Deno.test("parsePermissionRequest: keeps 20 options, and 200 characters of each name", () => {
  // Entries that are not kept are not looked at: there may be millions.
  const options = Array(30).fill({ optionId: "a", name: "x".repeat(1_000), kind: "allow_once" }).fill(0, 20);
  const parsed = parsePermissionRequest({ ...REQUEST, options }).options;
  assertEquals([parsed.length, parsed[0]?.name.length], [20, 203]);
});

Deno.test("parseSessionUpdate: keeps 100 entries of a plan, and 500 characters of each", () => {
  const update = parseSessionUpdate({
    sessionUpdate: "plan",
    entries: Array(200).fill({ content: "x".repeat(1_000) }).fill(0, 100),
  });
  if (update?.sessionUpdate !== "plan") throw new Error("No plan");
  assertEquals([update.entries.length, update.entries[0]?.content.length], [100, 503]);
});

Deno.test("parseInitializeResult: leaves out a log-in method that is too long before it is checked", () => {
  const authMethods = [{ id: "long", args: Array(20_000).fill(0) }, { id: "short", args: [0] }];
  const { authMethods: kept } = parseInitializeResult({ protocolVersion: 1, authMethods });
  assertEquals(kept.map(({ id, args }) => [id, args]), [["short", undefined]]);
});

Deno.test("parseElicitationRequest: keeps the first 1,000 fields", () => {
  const properties = Object.fromEntries(Array.from({ length: 2_000 }, (_, at) => [`field ${at}`, {}]));
  for (const [given, kept] of [[properties, 1_000], [undefined, 0], ["no object", 0]] as const) {
    const requestedSchema = { properties: given };
    const request = parseElicitationRequest({ message: "?", mode: "form", requestedSchema });
    assertEquals(Object.keys(request.requestedSchema.properties).length, kept);
  }
});
