import { assertEquals, assertThrows } from "@std/assert";
import { textOf } from "../../lib/conversation/message.ts";
import { AppError, type ErrorCode } from "../../lib/core/errors.ts";
import { type CompletionRequest, parseChatRequest, parseTextRequest } from "../../lib/openai/wire.ts";
import { SKIN_REQUESTS } from "../support/skins/skin_requests.ts";

const HI = { role: "user", content: "Hi" };
const text = (text: string) => ({ type: "text", text });

/** The shortest request, parsed. */
const PLAIN: CompletionRequest = {
  model: "",
  stream: undefined,
  includeUsage: false,
  includeAgentEvents: false,
  stop: [],
  maxTokens: undefined,
  conversation: undefined,
  messages: [{ role: "user", parts: [{ type: "text", text: "Hi" }] }],
  format: undefined,
  hasThread: false,
  ignored: [],
};
const OPTIONAL = "model stream stream_options stop max_tokens max_completion_tokens n temperature top_p " +
  "presence_penalty frequency_penalty seed logprobs tool_choice modalities response_format conversation_id " +
  "conversation metadata threadId";

const FIELDS: [name: string, body: Record<string, unknown>, expected: Partial<CompletionRequest>][] = [
  ["messages alone", {}, {}],
  ["a model", { model: "gpt-4o" }, { model: "gpt-4o" }],
  ["stream true", { stream: true }, { stream: true }],
  ["every optional field null", Object.fromEntries(OPTIONAL.split(" ").map((name) => [name, null])), {}],
  [
    "usage and agent events in the stream",
    { stream: true, stream_options: { include_usage: true, include_agent_events: true } },
    { stream: true, includeUsage: true, includeAgentEvents: true },
  ],
  ["one stop sequence", { stop: "\n\n" }, { stop: ["\n\n"] }],
  ["empty stop sequences among others", { stop: ["", "a", ""] }, { stop: ["a"] }],
  ["the longest stop sequence", { stop: "x".repeat(1000) }, { stop: ["x".repeat(1000)] }],
  ["max_tokens", { max_tokens: 200 }, { maxTokens: 200 }],
  ["max_completion_tokens", { max_completion_tokens: 1 }, { maxTokens: 1 }],
  ["max_completion_tokens before max_tokens", { max_completion_tokens: 5, max_tokens: 9 }, { maxTokens: 5 }],
  ["a limit of 0 or less, which is none", { max_tokens: 0, max_completion_tokens: -1 }, {}],
  ["a limit as text", { max_tokens: "200" }, { maxTokens: 200 }],
  ["an empty limit", { max_tokens: "", max_completion_tokens: 1.5 }, { maxTokens: 1 }],
  ["values that change nothing", {
    ...{ n: 1, logprobs: false, top_logprobs: 0, modalities: ["text"], tools: [], tool_choice: "auto" },
    ...{ temperature: 1, top_p: 1, presence_penalty: 0, frequency_penalty: 0, seed: "", logit_bias: {} },
  }, {}],
  ["values that ask for something that an agent cannot do", {
    ...{ n: 2, logprobs: true, modalities: ["text", "audio"], tool_choice: "required", temperature: "0.7" },
    ...{ tools: [{ type: "function", function: { name: "f" } }], seed: 7, logit_bias: { "50256": -100 } },
  }, { ignored: "n logprobs modalities tool_choice temperature tools seed logit_bias".split(" ") }],
  ["options of a stream without a stream", { stream_options: { include_usage: true } }, {
    includeUsage: true,
  }],
  ["metadata of another kind", { metadata: "mao" }, {}],
  ["a thread", { threadId: "5f0c" }, { hasThread: true, conversation: "5f0c" }],
  ["a numeric thread", { threadId: 7 }, { hasThread: true, conversation: "7" }],
  ["a numeric conversation_id", { conversation_id: 7 }, { conversation: "7" }],
  ["a numeric conversation", { conversation: 7 }, { conversation: "7" }],
  ["a numeric session_id", { metadata: { session_id: 7 } }, { conversation: "7" }],
  ["a thread without a name", { threadId: "" }, { hasThread: true }],
  ["conversation as an object", { conversation: { id: "mao", x: 1 } }, { conversation: "mao" }],
  ["user, which names no conversation", { user: "mao" }, {}],
  [
    "empty conversation names before others",
    { conversation_id: " ", conversation: "", metadata: { session_id: "c" }, threadId: "d" },
    { conversation: "c", hasThread: true },
  ],
  ["unknown fields", {
    ...{ store: true, metadata: { a: "b" }, service_tier: "auto", prompt_cache_key: "x", user: "u" },
    ...{ foo: { bar: [1] }, "": 1, constructor: 1, toString: null },
  }, {}],
];

for (const [name, body, expected] of FIELDS) {
  Deno.test(`parseChatRequest: ${name}`, () => {
    const sent = JSON.parse(JSON.stringify({ messages: [HI], ...body }));
    assertEquals(parseChatRequest(sent), { ...PLAIN, ...expected });
  });
}

Deno.test("parseChatRequest: __proto__ is an unknown field", () => {
  const sent = '{"__proto__":{"stream":true,"polluted":1},"messages":[{"role":"user","content":"Hi",' +
    '"__proto__":{"role":"system","polluted":1}}],"stream_options":null}';
  assertEquals(parseChatRequest(JSON.parse(sent)), PLAIN);
  assertEquals(({} as { polluted?: unknown }).polluted, undefined);
  const inherited = '{"__proto__":{"messages":[{"role":"user","content":"Hi"}]}}';
  assertThrows(() => parseChatRequest(JSON.parse(inherited)), AppError);
});

const CALL = { id: "c1", type: "function", function: { name: "look", arguments: '{"at":"<sky>"}' } };
const MESSAGES: [
  name: string,
  message: Record<string, unknown>,
  role: string,
  text?: string,
  name?: string,
][] = [
  ["text", HI, "user", "Hi"],
  ["a name", { ...HI, name: "Mao" }, "user", "Hi", "Mao"],
  ["Open-LLM-VTuber's avatar", { ...HI, name: null, avatar: "a.png" }, "user", "Hi"],
  ["role system", { role: "system", content: "Be kind." }, "system", "Be kind."],
  ["role developer", { role: "developer", content: "Be kind." }, "system", "Be kind."],
  ["role assistant", { role: "assistant", content: "[happy] Hi" }, "assistant", "[happy] Hi"],
  [
    "a tool call",
    { role: "assistant", content: null, tool_calls: [CALL] },
    "assistant",
    '<tool_call name="look">{"at":"<sky>"}</tool_call>',
  ],
  ["invalid tool calls", { role: "assistant", content: "Hi", tool_calls: "none" }, "assistant", "Hi"],
  ["a refusal", { role: "assistant", content: null, refusal: "No." }, "assistant", "No."],
  ["role tool", { role: "tool", tool_call_id: "c1", content: "blue" }, "tool", "blue", "c1"],
  [
    "a named tool",
    { role: "tool", name: "look", tool_call_id: "c1", content: "blue" },
    "tool",
    "blue",
    "look",
  ],
  ["role function", { role: "function", name: "look", content: "blue" }, "tool", "blue", "look"],
  ["no content", { role: "user" }, "user"],
  ["a name of another kind", { ...HI, name: 7 }, "user", "Hi"],
  ["one part", { role: "user", content: text("Hi") }, "user", "Hi"],
  ["a part that is a string", { role: "user", content: ["Hi"] }, "user", "Hi"],
  ...[{ type: "file" }, { type: "thinking", thinking: "Hm." }, {
    type: "image_url",
    image_url: { url: "https://a" },
  }]
    .map((part): typeof MESSAGES[number] => [
      `an old ${part.type}`,
      { role: "user", content: [part] },
      "user",
      `[A part of this message was left out: ${part.type}.]`,
    ]),
  [
    "an old part of no type",
    { role: "user", content: [7] },
    "user",
    "[A part of this message was left out: undefined.]",
  ],
];

for (const [title, message, role, content, name] of MESSAGES) {
  Deno.test(`parseChatRequest: a message with ${title}`, () => {
    const parts = content === undefined ? [] : [text(content)];
    const isToolCall = Array.isArray(message.tool_calls);
    const expected = { role, parts, ...(name ? { name } : {}), ...(isToolCall ? { isToolCall } : {}) };
    assertEquals(parseChatRequest({ messages: [message, HI] }).messages[0] as unknown, expected);
  });
}

for (const { name, body, says } of SKIN_REQUESTS) {
  Deno.test(`parseChatRequest: the request of ${name}`, () => {
    const request = parseChatRequest(JSON.parse(JSON.stringify(body)));
    assertEquals(request.messages.length, (body.messages as unknown[]).length);
    assertEquals([textOf(request.messages.at(-1)!), request.model], [says, body.model ?? ""]);
  });
}

type Refusal = [code: ErrorCode, param: string | undefined, ...bodies: unknown[]];
const message = (fields: Record<string, unknown>) => ({ messages: [fields] });
const content = (content: unknown) => message({ role: "user", content });
const empty = (content: unknown) => ({
  messages: [HI, { role: "assistant", content: "x" }, { role: "user", content }],
});
const REFUSED: Refusal[] = [
  ["invalid_type", undefined, null, "messages", 1, [HI]],
  ["missing_required_parameter", "messages", {}, { messages: null }],
  ["invalid_type", "messages", { messages: "Hi" }, { messages: { 0: HI } }],
  ["invalid_value", "messages", { messages: [] }, { messages: Array(10_001).fill(HI) }],
  ["invalid_value", "messages", content(null), content(""), content([]), content([text(" \n")])],
  ["invalid_value", "messages", ...["", null, " ", [], [text("")]].map(empty)],
  ["invalid_value", "messages", message({ role: "system", content: "" })],
  ["invalid_value", "messages", content(Array(10_001).fill("x"))],
  ["invalid_value", "messages", message({ role: "assistant", content: "x" })],
  ["invalid_type", "messages[0]", { messages: ["Hi"] }],
  ["missing_required_parameter", "messages[1]", { messages: [HI, null] }],
  ["missing_required_parameter", "messages[0].role", message({ content: "Hi" })],
  ["invalid_value", "messages[0].role", message({ role: 1, content: "x" })],
  ["invalid_value", "messages[1].role", { messages: [HI, { role: "narrator", content: "x" }] }],
  [
    "missing_required_parameter",
    "messages[0].content[0].type",
    ...[7, true, { a: 1 }, [{ text: "Hi" }]].map(content),
  ],
  ["invalid_type", "messages[0].content[0].type", content({ type: 7 })],
  ["unsupported_content_type", "messages[0].content[1]", content([text("x"), { type: "video_url" }])],
];
/** Fields that are refused beside valid messages. */
const REFUSED_FIELDS: Refusal[] = [
  ["invalid_type", "model", { model: 4 }],
  ["invalid_value", "model", { model: "x".repeat(257) }],
  ["invalid_type", "stream", { stream: "true" }, { stream: 1 }],
  ["invalid_type", "stream_options", { stream: true, stream_options: true }],
  ["invalid_type", "stream_options.include_usage", {
    stream: true,
    stream_options: { include_usage: "yes" },
  }],
  ["invalid_type", "stop", { stop: 1 }, { stop: [1] }],
  ["invalid_value", "stop", { stop: ["a", "b", "c", "d", "e", 6] }, { stop: "x".repeat(1001) }],
  ["invalid_type", "max_tokens", { max_tokens: "many" }, { max_tokens: {} }],
  ["invalid_type", "conversation_id", { conversation_id: {} }],
  ["invalid_type", "conversation", { conversation: {} }],
  ["invalid_type", "threadId", { threadId: {} }],
  ["unsupported_value", "response_format.type", { response_format: { type: "xml" } }],
];
/** Characters of text in one request. */
const MAX_TEXT_CHARS = 4 * 1024 * 1024;
const REFUSED_TEXTS: Refusal[] = [
  ["invalid_type", undefined, "Once"],
  ["missing_required_parameter", "prompt", {}, { prompt: null }],
  ["invalid_value", "prompt", { prompt: "" }, { prompt: " \n" }, { prompt: "x".repeat(MAX_TEXT_CHARS + 1) }],
  ["invalid_type", "prompt", { prompt: 7 }],
  [
    "unsupported_value",
    "prompt",
    ...[[1, 2, 3], [[1, 2], [3]], ["a", "b"], []].map((prompt) => ({ prompt })),
  ],
];

function testRefusals(parse: (body: unknown) => unknown, refusals: Refusal[]): void {
  for (const [code, param, ...bodies] of refusals) {
    const first = JSON.stringify(bodies[0]).slice(0, 60);
    Deno.test(`${parse.name}: ${code}${param ? ` names ${param}` : ""}, as of ${first}`, () => {
      for (const body of bodies) {
        const error = assertThrows(() => parse(body), AppError);
        assertEquals([error.code, error.param, error.prompted], [code, param, false], error.message);
        if (param) assertEquals(error.message.includes(`"${param}"`), true, error.message);
      }
    });
  }
}
const withHi: Refusal[] = REFUSED_FIELDS.map((
  [code, param, ...fields],
) => [code, param, ...fields.map((fields) => ({ messages: [HI], ...fields as object }))]);
testRefusals(parseChatRequest, [...REFUSED, ...withHi]);
testRefusals(parseTextRequest, REFUSED_TEXTS);

Deno.test("parseTextRequest: one prompt, and the fields that it shares with chat", () => {
  const neutral = { echo: false, suffix: "", best_of: 1, logprobs: 0, n: 1 };
  const nulls = { echo: null, suffix: null, best_of: null, logprobs: null };
  const asking = { prompt: "Hi", echo: true, suffix: "y", best_of: 2, logprobs: 5 };
  assertEquals(parseTextRequest(asking).ignored, ["echo", "suffix", "best_of", "logprobs"]);
  const shared = {
    stream: true,
    stream_options: { include_usage: true },
    stop: "x",
    max_tokens: 7,
    threadId: "mao",
  };
  for (const body of [{ prompt: "Hi" }, { prompt: ["Hi"], ...neutral }, { prompt: "Hi", ...nulls }]) {
    assertEquals(parseTextRequest(body), PLAIN);
    assertEquals(parseTextRequest({ ...body, ...shared }), parseChatRequest({ messages: [HI], ...shared }));
  }
});
