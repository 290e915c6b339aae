import { assertEquals, assertThrows } from "@std/assert";
import { type ChatRequest, parseChatRequest, parseTextRequest } from "../../lib/openai/wire.ts";

const PNG = "iVBORw0KGgo=";
const HI = { role: "user", content: "Hi" };
const DATA_URL = `data:image/png;base64,${PNG}`;

/** A body with one message of these parts. */
function parts(...content: unknown[]): unknown {
  return { messages: [{ role: "user", content }] };
}

/** What the shortest body is read as. */
const PLAIN: ChatRequest = {
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
};

const FIELDS: [name: string, body: Record<string, unknown>, expected: Partial<ChatRequest>][] = [
  ["nothing but messages", {}, {}],
  ["a model", { model: "gpt-4o" }, { model: "gpt-4o" }],
  ["an empty model", { model: "" }, { model: "" }],
  ["stream true", { stream: true }, { stream: true }],
  ["stream false", { stream: false }, { stream: false }],
  ["every optional field null", {
    model: null,
    stream: null,
    stream_options: null,
    stop: null,
    max_tokens: null,
    max_completion_tokens: null,
    n: null,
    temperature: null,
    top_p: null,
    presence_penalty: null,
    frequency_penalty: null,
    seed: null,
    logprobs: null,
    tool_choice: null,
    modalities: null,
    response_format: null,
    conversation_id: null,
    conversation: null,
    metadata: null,
    threadId: null,
  }, {}],
  ["usage in the stream", { stream: true, stream_options: { include_usage: true } }, {
    stream: true,
    includeUsage: true,
  }],
  ["stream options that say no", { stream: true, stream_options: { include_usage: false, x: 1 } }, {
    stream: true,
  }],
  ["agent events in the stream", { stream: true, stream_options: { include_agent_events: true } }, {
    stream: true,
    includeAgentEvents: true,
  }],
  ["one stop", { stop: "\n\n" }, { stop: ["\n\n"] }],
  ["four stops", { stop: ["a", "b", "c", "d"] }, { stop: ["a", "b", "c", "d"] }],
  ["no stops", { stop: [] }, {}],
  ["empty stops", { stop: ["", "a", ""] }, { stop: ["a"] }],
  ["an empty stop", { stop: "" }, {}],
  ["a stop of 1000 characters", { stop: "x".repeat(1000) }, { stop: ["x".repeat(1000)] }],
  ["max_tokens", { max_tokens: 200 }, { maxTokens: 200 }],
  ["max_completion_tokens", { max_completion_tokens: 1 }, { maxTokens: 1 }],
  ["both, of which the newer wins", { max_completion_tokens: 5, max_tokens: 9 }, { maxTokens: 5 }],
  ["n of 1", { n: 1 }, {}],
  ["logprobs false", { logprobs: false, top_logprobs: 5 }, {}],
  [
    "tools to choose from",
    { tools: [{ type: "function", function: { name: "f" } }], tool_choice: "auto" },
    {},
  ],
  ["no tools", { tool_choice: "none" }, {}],
  ["text only", { modalities: ["text"] }, {}],
  ["plain text format", { response_format: { type: "text" } }, {}],
  ["a thread", { threadId: "5f0c" }, { hasThread: true, conversation: "5f0c" }],
  ["a thread that is a number", { threadId: 7 }, { hasThread: true, conversation: "7" }],
  ["a thread without a name", { threadId: "" }, { hasThread: true }],
  ["a conversation", { conversation_id: "mao" }, { conversation: "mao" }],
  ["a conversation with space around it", { conversation_id: " mao " }, { conversation: "mao" }],
  ["OpenAI's conversation", { conversation: "mao" }, { conversation: "mao" }],
  ["OpenAI's conversation as an object", { conversation: { id: "mao", x: 1 } }, { conversation: "mao" }],
  ["a session in the metadata", { metadata: { session_id: "mao", x: 1 } }, { conversation: "mao" }],
  ["metadata without a session", { metadata: {} }, {}],
  ["a session that is null", { metadata: { session_id: null } }, {}],
  ["a conversation without a name", { conversation_id: "" }, {}],
  ["a conversation of nothing but space", { conversation: "  " }, {}],
  ["the bare user is no conversation", { user: "mao" }, {}],
  ["several, of which the first counts", {
    threadId: "d",
    metadata: { session_id: "c" },
    conversation: "b",
    conversation_id: "a",
  }, { conversation: "a", hasThread: true }],
  ["several, of which some have no name", {
    conversation_id: " ",
    conversation: "",
    metadata: { session_id: "c" },
    threadId: "d",
  }, { conversation: "c", hasThread: true }],
  ["a conversation of 256 characters", { conversation_id: "x".repeat(256) }, {
    conversation: "x".repeat(256),
  }],
  ["what only a raw model could honour", {
    temperature: 0.5,
    top_p: 0.9,
    presence_penalty: -1,
    frequency_penalty: 1,
    seed: 7,
    logit_bias: { "50256": -100 },
    reasoning_effort: "high",
    verbosity: "low",
    store: true,
    metadata: { a: "b" },
    service_tier: "auto",
    prompt_cache_key: "x",
    safety_identifier: "y",
    user: "u",
    parallel_tool_calls: false,
    functions: [],
    audio: { voice: "alloy", format: "wav" },
    prediction: null,
  }, {}],
  ["fields that nobody knows", { foo: { bar: [1, 2] }, "": 1, "🙂": null, custom_params: "x" }, {}],
  ["fields by the names of an object's own", { constructor: 1, toString: null, hasOwnProperty: "x" }, {}],
];

for (const [name, body, expected] of FIELDS) {
  Deno.test(`parseChatRequest: ${name}`, () => {
    const sent = JSON.parse(JSON.stringify({ messages: [HI], ...body }));
    assertEquals(parseChatRequest(sent), { ...PLAIN, ...expected });
  });
}

Deno.test("parseChatRequest: __proto__ is a field that nobody knows", () => {
  const sent = '{"__proto__":{"stream":true,"polluted":1},"messages":[{"role":"user","content":"Hi",' +
    '"__proto__":{"role":"system","polluted":1}}],"stream_options":null}';
  assertEquals(parseChatRequest(JSON.parse(sent)), PLAIN);
  assertEquals(({} as { polluted?: unknown }).polluted, undefined);
  assertThrows(() =>
    parseChatRequest(JSON.parse('{"__proto__":{"messages":[{"role":"user","content":"Hi"}]}}'))
  );
});

const MESSAGES: [name: string, message: Record<string, unknown>, expected: unknown][] = [
  ["text", HI, { role: "user", parts: [{ type: "text", text: "Hi" }] }],
  ["a name", { ...HI, name: "Mao" }, { role: "user", name: "Mao", parts: [{ type: "text", text: "Hi" }] }],
  ["an empty name", { ...HI, name: "" }, { role: "user", parts: [{ type: "text", text: "Hi" }] }],
  ["an avatar, as Open-LLM-VTuber's", { ...HI, name: null, avatar: "a.png" }, {
    role: "user",
    parts: [{ type: "text", text: "Hi" }],
  }],
  ["a system message", { role: "system", content: "Be kind." }, {
    role: "system",
    parts: [{ type: "text", text: "Be kind." }],
  }],
  ["a developer message", { role: "developer", content: "Be kind." }, {
    role: "system",
    parts: [{ type: "text", text: "Be kind." }],
  }],
  ["an assistant message", { role: "assistant", content: "[happy] Hi" }, {
    role: "assistant",
    parts: [{ type: "text", text: "[happy] Hi" }],
  }],
  ["an assistant message that only called a tool", {
    role: "assistant",
    content: null,
    tool_calls: [{ id: "c1", type: "function", function: { name: "look", arguments: '{"at":"<sky>"}' } }],
  }, {
    role: "assistant",
    parts: [{ type: "text", text: '<tool_call name="look">{"at":"<sky>"}</tool_call>' }],
  }],
  ["tool calls that are none", { role: "assistant", content: "Hi", tool_calls: "none" }, {
    role: "assistant",
    parts: [{ type: "text", text: "Hi" }],
  }],
  ["an assistant message that refused", { role: "assistant", content: null, refusal: "No." }, {
    role: "assistant",
    parts: [{ type: "text", text: "No." }],
  }],
  ["an assistant message with nothing in it", { role: "assistant", content: null }, {
    role: "assistant",
    parts: [],
  }],
  ["a tool's answer", { role: "tool", tool_call_id: "c1", content: "blue" }, {
    role: "tool",
    name: "c1",
    parts: [{ type: "text", text: "blue" }],
  }],
  ["a tool's answer with a name", { role: "tool", name: "look", tool_call_id: "c1", content: "blue" }, {
    role: "tool",
    name: "look",
    parts: [{ type: "text", text: "blue" }],
  }],
  ["a function's answer", { role: "function", name: "look", content: "blue" }, {
    role: "tool",
    name: "look",
    parts: [{ type: "text", text: "blue" }],
  }],
  ["no content", { role: "user" }, { role: "user", parts: [] }],
  ["null content", { role: "user", content: null }, { role: "user", parts: [] }],
  ["empty content", { role: "user", content: "" }, { role: "user", parts: [] }],
  ["no parts", { role: "user", content: [] }, { role: "user", parts: [] }],
];

for (const [name, message, expected] of MESSAGES) {
  Deno.test(`parseChatRequest: a message of ${name}`, () => {
    assertEquals(parseChatRequest({ messages: [message, HI] }).messages[0], expected);
  });
}

const PARTS: [name: string, part: unknown, expected: unknown][] = [
  ["text", { type: "text", text: "a" }, { type: "text", text: "a" }],
  ["empty text", { type: "text", text: "" }, { type: "text", text: "" }],
  ["input_text", { type: "input_text", text: "a" }, { type: "text", text: "a" }],
  ["output_text", { type: "output_text", text: "a", annotations: [] }, { type: "text", text: "a" }],
  ["refusal", { type: "refusal", refusal: "no" }, { type: "text", text: "no" }],
  ["image_url", { type: "image_url", image_url: { url: DATA_URL, detail: "low" } }, {
    type: "image",
    mimeType: "image/png",
    data: PNG,
  }],
  ["image_url that is a string", { type: "image_url", image_url: DATA_URL }, {
    type: "image",
    mimeType: "image/png",
    data: PNG,
  }],
  ["input_image", { type: "input_image", image_url: DATA_URL }, {
    type: "image",
    mimeType: "image/png",
    data: PNG,
  }],
  ["AITuber-kit's image", { type: "image", image: DATA_URL }, {
    type: "image",
    mimeType: "image/png",
    data: PNG,
  }],
  ["a type in capitals", { type: "image", image: `DATA:IMAGE/JPEG;BASE64,${PNG}` }, {
    type: "image",
    mimeType: "image/jpeg",
    data: PNG,
  }],
  ["a type with parameters", { type: "image", image: `data:image/svg+xml;charset=utf-8;base64,${PNG}` }, {
    type: "image",
    mimeType: "image/svg+xml",
    data: PNG,
  }],
  ["base64 without padding", { type: "image", image: "data:image/png;base64,aGk" }, {
    type: "image",
    mimeType: "image/png",
    data: "aGk",
  }],
  ["a wav", { type: "input_audio", input_audio: { data: "UklGRg==", format: "wav" } }, {
    type: "audio",
    mimeType: "audio/wav",
    data: "UklGRg==",
  }],
  ["an mp3", { type: "input_audio", input_audio: { data: "SUQz", format: "mp3" } }, {
    type: "audio",
    mimeType: "audio/mpeg",
    data: "SUQz",
  }],
];

for (const [name, part, expected] of PARTS) {
  Deno.test(`parseChatRequest: a part: ${name}`, () => {
    const request = parseChatRequest(parts({ type: "text", text: "first" }, part));
    assertEquals(request.messages[0]?.parts, [{ type: "text", text: "first" }, expected]);
  });
}

Deno.test("parseChatRequest: a large picture is read in one go", () => {
  const data = "QUJD".repeat(1_000_000);
  const request = parseChatRequest(
    parts({ type: "image_url", image_url: { url: `data:image/png;base64,${data}` } }),
  );
  assertEquals(request.messages[0]?.parts.length, 1);
});

Deno.test("parseChatRequest: messages keep their order, and none is merged or dropped", () => {
  const roles = ["system", "user", "user", "assistant", "system", "user"];
  const { messages } = parseChatRequest({ messages: roles.map((role, at) => ({ role, content: `${at}` })) });
  assertEquals(messages.map(({ role, parts: [part] }) => [role, part]), [
    ["system", { type: "text", text: "0" }],
    ["user", { type: "text", text: "1" }],
    ["user", { type: "text", text: "2" }],
    ["assistant", { type: "text", text: "3" }],
    ["system", { type: "text", text: "4" }],
    ["user", { type: "text", text: "5" }],
  ]);
});

const TEXTS: [name: string, body: Record<string, unknown>, prompt: string][] = [
  ["a prompt", { prompt: "Once" }, "Once"],
  ["a list of one prompt", { prompt: ["Once"] }, "Once"],
  [
    "what changes nothing",
    { prompt: "Once", echo: false, suffix: "", best_of: 1, logprobs: 0, n: 1 },
    "Once",
  ],
  ["nulls", { prompt: "Once", echo: null, suffix: null, best_of: null, logprobs: null }, "Once"],
];

for (const [name, body, prompt] of TEXTS) {
  Deno.test(`parseTextRequest: ${name}`, () => assertEquals(parseTextRequest(body).prompt, prompt));
}

Deno.test("parseTextRequest: what it shares with chat", () => {
  const body = {
    prompt: "Once",
    model: "m",
    stream: true,
    stream_options: { include_usage: true },
    stop: "x",
    max_tokens: 7,
    conversation_id: "mao",
  };
  assertEquals(parseTextRequest(body), {
    prompt: "Once",
    model: "m",
    stream: true,
    includeUsage: true,
    includeAgentEvents: false,
    stop: ["x"],
    maxTokens: 7,
    conversation: "mao",
  });
});
