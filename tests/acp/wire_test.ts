import { assertEquals, assertThrows } from "@std/assert";
import {
  parseInitializeResult,
  parseNewSessionResult,
  parsePermissionRequest,
  parsePromptResult,
} from "../../lib/acp/wire.ts";
import { STOP_REASONS } from "../../lib/turn/event.ts";
import { isObject, type Json } from "../support/agents/scripted_agent.ts";
import { readRecording, type RecordedLine } from "../support/agents/replayed_agent.ts";

/** The answers that an agent gave to a method in a recording. */
function answers(recording: string, method: string): Json[] {
  const lines = readRecording(recording);
  const messages = (dir: RecordedLine["dir"]) =>
    lines.flatMap((line) => line.dir === dir && isObject(line.msg) ? [line.msg] : []);
  const asked = new Set(messages("c2a").flatMap((message) => message.method === method ? [message.id] : []));
  return messages("a2c").flatMap((message) =>
    message.method === undefined && asked.has(message.id) && isObject(message.result) ? [message.result] : []
  );
}

const AGENTS: readonly { recording: string; name: string | undefined; closes: boolean; logins: string[] }[] =
  [
    { recording: "claude-tools", name: "@agentclientprotocol/claude-agent-acp", closes: true, logins: [] },
    {
      recording: "gemini-tools",
      name: "gemini-cli",
      closes: false,
      logins: ["oauth-personal", "gemini-api-key", "vertex-ai", "gateway"],
    },
    {
      recording: "codex2-tools",
      name: "@agentclientprotocol/codex-acp",
      closes: true,
      logins: ["api-key", "chat-gpt"],
    },
  ];
for (const { recording, name, closes, logins } of AGENTS) {
  Deno.test(`parseInitializeResult: ${recording}`, () => {
    const result = parseInitializeResult(answers(recording, "initialize")[0]);
    assertEquals(result.protocolVersion, 1);
    assertEquals(result.agentInfo?.name, name);
    assertEquals(result.agentCapabilities?.promptCapabilities.image, true);
    assertEquals(result.agentCapabilities?.sessionCapabilities.close, closes);
    assertEquals(result.authMethods?.map((method) => method.id), logins);
  });
}

const NO_CAPABILITIES = { image: false, audio: false, close: false };
const INITIALIZED: readonly (readonly [string, unknown, typeof NO_CAPABILITIES])[] = [
  ["nothing but the version", {}, NO_CAPABILITIES],
  ["null for the capabilities", { agentCapabilities: null }, NO_CAPABILITIES],
  ["empty capabilities", { agentCapabilities: {} }, NO_CAPABILITIES],
  ["all of them", {
    agentCapabilities: {
      promptCapabilities: { image: true, audio: true, embeddedContext: true },
      sessionCapabilities: { close: {}, list: {}, toBeInvented: {} },
    },
  }, { image: true, audio: true, close: true }],
  ["words for flags", {
    agentCapabilities: {
      promptCapabilities: { image: "yes", audio: null },
      sessionCapabilities: { close: null },
    },
  }, NO_CAPABILITIES],
  [
    "close that is refused in so many words",
    { agentCapabilities: { sessionCapabilities: { close: false } } },
    NO_CAPABILITIES,
  ],
  ["nonsense for the capabilities of prompts and sessions", {
    agentCapabilities: { promptCapabilities: 7, sessionCapabilities: "all" },
  }, NO_CAPABILITIES],
  ["nonsense beside", { authMethods: "none", agentInfo: "me" }, NO_CAPABILITIES],
];
for (const [name, rest, expected] of INITIALIZED) {
  Deno.test(`parseInitializeResult: ${name}`, () => {
    const { agentCapabilities } = parseInitializeResult({ protocolVersion: 1, ...rest as Json });
    const { promptCapabilities, sessionCapabilities } = agentCapabilities ?? {};
    assertEquals({
      image: promptCapabilities?.image ?? false,
      audio: promptCapabilities?.audio ?? false,
      close: sessionCapabilities?.close ?? false,
    }, expected);
  });
}

for (const value of [undefined, null, {}, { protocolVersion: "1" }, [], "1"]) {
  Deno.test(`parseInitializeResult: ${JSON.stringify(value)} is refused, and what is wrong is named`, () => {
    assertThrows(() => parseInitializeResult(value), TypeError, "the answer to initialize");
  });
}

Deno.test("parseNewSessionResult: recorded ones, with all that agents add", () => {
  for (const { recording } of AGENTS) {
    const [result] = answers(recording, "session/new");
    assertEquals(parseNewSessionResult(result).sessionId, String(result?.sessionId));
  }
});

for (const value of [undefined, null, {}, { sessionId: "" }, { sessionId: 7 }, "s"]) {
  Deno.test(`parseNewSessionResult: ${JSON.stringify(value)} is refused`, () => {
    assertThrows(() => parseNewSessionResult(value), TypeError, "the answer to session/new");
  });
}

const counted = (inputTokens: number, outputTokens: number, thoughtTokens = 0, cachedTokens = 0) => ({
  inputTokens,
  outputTokens,
  thoughtTokens,
  cachedTokens,
});

/** The answers to the prompts of the recordings, in their order. */
const RECORDED: Readonly<Record<string, readonly [string, ReturnType<typeof counted> | undefined][]>> = {
  "claude-tools": [["end_turn", counted(5_000, 250)]],
  "claude-cancel": [
    ["cancelled", undefined],
    ["end_turn", counted(1_000, 50)],
    ["cancelled", counted(1_000, 50)],
    ["end_turn", counted(1_000, 50)],
  ],
  "gemini-tools": [["end_turn", counted(5_000, 250)]],
  "gemini-cancel": [
    ["cancelled", undefined],
    ["end_turn", counted(1_000, 50)],
    ["cancelled", undefined],
    ["cancelled", undefined],
  ],
  "codex2-tools": [["end_turn", counted(5_000, 250)]],
  "codex2-cancel": [
    ["cancelled", undefined],
    ["end_turn", counted(1_000, 50)],
    ["cancelled", counted(1_000, 50)],
    ["cancelled", counted(1_000, 50)],
  ],
};
for (const [recording, expected] of Object.entries(RECORDED)) {
  Deno.test(`parsePromptResult: ${recording}`, () => {
    const results = answers(recording, "session/prompt").map(parsePromptResult);
    assertEquals(results.map(({ stopReason, usage }) => [stopReason, usage]), expected);
  });
}

const USAGES: readonly (readonly [string, Json, ReturnType<typeof counted> | undefined])[] = [
  ["none", {}, undefined],
  ["null", { usage: null, _meta: null }, undefined],
  ["zeros", { usage: { inputTokens: 0, outputTokens: 0, totalTokens: 0 } }, undefined],
  ["every count", {
    usage: { totalTokens: 10, inputTokens: 1, outputTokens: 2, thoughtTokens: 3, cachedReadTokens: 4 },
  }, counted(1, 2, 3, 4)],
  ["counts that are null", {
    usage: { inputTokens: 1, outputTokens: 2, thoughtTokens: null, cachedReadTokens: null },
  }, counted(1, 2)],
  [
    "counts that are nonsense",
    { usage: { inputTokens: "many", outputTokens: 2, thoughtTokens: -1 } },
    counted(0, 2),
  ],
  ["nonsense", { usage: "little" }, undefined],
  ["Gemini's", { _meta: { quota: { token_count: { input_tokens: 3, output_tokens: 4 } } } }, counted(3, 4)],
  ["Gemini's, half of it", { _meta: { quota: { token_count: { output_tokens: 4 } } } }, counted(0, 4)],
  ["another's _meta", { _meta: { quota: "none", other: 1 } }, undefined],
  ["both: the standard one counts", {
    usage: { inputTokens: 1, outputTokens: 2 },
    _meta: { quota: { token_count: { input_tokens: 3, output_tokens: 4 } } },
  }, counted(1, 2)],
];
for (const [name, result, expected] of USAGES) {
  Deno.test(`parsePromptResult: usage: ${name}`, () => {
    assertEquals(parsePromptResult({ stopReason: "end_turn", ...result }).usage, expected);
  });
}

for (const stopReason of STOP_REASONS) {
  Deno.test(`parsePromptResult: ${stopReason}`, () => {
    assertEquals(parsePromptResult({ stopReason, _meta: {} }).stopReason, stopReason);
  });
}

Deno.test("parsePromptResult: a reason to come is an end", () => {
  assertEquals(parsePromptResult({ stopReason: "bored" }).stopReason, "end_turn");
  assertEquals(parsePromptResult({}).stopReason, "end_turn");
});

for (const value of [undefined, null, "end_turn", []]) {
  Deno.test(`parsePromptResult: ${JSON.stringify(value)} is refused`, () => {
    assertThrows(() => parsePromptResult(value), TypeError, "the answer to session/prompt");
  });
}

Deno.test("parsePermissionRequest: recorded ones", () => {
  const asked = ["claude-tools", "claude-reject", "gemini-tools", "gemini-reject", "gemini-cancel"].flatMap((
    name,
  ) =>
    readRecording(name).flatMap(({ msg }) =>
      isObject(msg) && msg.method === "session/request_permission" ? [parsePermissionRequest(msg.params)] : []
    )
  );
  assertEquals(asked.length, 8);
  for (const { toolCall, options } of asked) {
    assertEquals(toolCall.toolCallId !== "" && typeof toolCall.title === "string", true);
    assertEquals(options.some(({ kind }) => kind === "allow_once"), true);
    assertEquals(options.some(({ kind }) => kind === "reject_once"), true);
  }
});

const ASKED = {
  sessionId: "s",
  toolCall: { toolCallId: "t", title: "ls", kind: "execute" },
  options: [{ optionId: "a", name: "Allow", kind: "allow_once" }],
};

Deno.test("parsePermissionRequest: what is odd in it is passed over", () => {
  const { toolCall, options } = parsePermissionRequest({
    ...ASKED,
    toolCall: { toolCallId: "t", title: 7, kind: "teleport", status: "paused" },
    options: [{ optionId: "a", kind: "allow_later" }, { optionId: "b", name: null, kind: "allow_once" }],
  });
  assertEquals([toolCall.title, toolCall.kind, toolCall.status], [undefined, "other", undefined]);
  assertEquals(options.map(({ optionId, name, kind }) => [optionId, name, kind]), [
    ["a", "", "allow_later"],
    ["b", "", "allow_once"],
  ]);
});

const REFUSED: readonly (readonly [string, unknown, string])[] = [
  ["nothing", undefined, "session/request_permission"],
  ["no session", { ...ASKED, sessionId: undefined }, "sessionId"],
  ["no tool", { ...ASKED, toolCall: undefined }, "toolCall"],
  ["a tool without an id", { ...ASKED, toolCall: { title: "ls" } }, "toolCall.toolCallId"],
  ["no options", { ...ASKED, options: undefined }, "options"],
  ["an option without an id", { ...ASKED, options: [{ kind: "allow_once" }] }, "options.0.optionId"],
  ["an option without a kind", { ...ASKED, options: [{ optionId: "a" }] }, "options.0.kind"],
];
for (const [name, value, field] of REFUSED) {
  Deno.test(`parsePermissionRequest: ${name} is refused, and the field is named`, () => {
    assertThrows(() => parsePermissionRequest(value), TypeError, field);
  });
}
