import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { type ChatRequest, parseChatRequest, parseTextRequest } from "../../lib/openai/wire.ts";
import { Failure } from "../../lib/turn/failure.ts";

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

type Refusal = [name: string, body: unknown, code: string, param: string | undefined, says?: RegExp];

const at = "messages[0].content[0]";
const audio = (input_audio: unknown) => parts({ type: "input_audio", input_audio });
const image = (url: unknown) => parts({ type: "image_url", image_url: { url } });
const withHi = (fields: Record<string, unknown>) => ({ messages: [HI], ...fields });

const REFUSED: Refusal[] = [
  ["no object: null", null, "invalid_type", undefined, /must be a JSON object/],
  ["no object: a string", "messages", "invalid_type", undefined, /must be a JSON object/],
  ["no object: a number", 1, "invalid_type", undefined, /must be a JSON object/],
  ["no object: an array", [HI], "invalid_type", undefined, /must be a JSON object/],
  ["no messages", {}, "missing_required_parameter", "messages", /"messages" is required/],
  ["messages null", { messages: null }, "missing_required_parameter", "messages"],
  ["messages a string", { messages: "Hi" }, "invalid_type", "messages"],
  ["messages an object", { messages: { 0: HI } }, "invalid_type", "messages"],
  ["messages empty", { messages: [] }, "invalid_value", "messages"],
  ["too many messages", { messages: Array(10_001).fill(HI) }, "invalid_value", "messages"],
  ["a message that is a string", { messages: ["Hi"] }, "invalid_type", "messages[0]"],
  ["a message that is null", { messages: [HI, null] }, "missing_required_parameter", "messages[1]"],
  [
    "a message without a role",
    { messages: [{ content: "Hi" }] },
    "missing_required_parameter",
    "messages[0].role",
  ],
  [
    "a role that nobody knows",
    { messages: [HI, { role: "narrator", content: "x" }] },
    "invalid_value",
    "messages[1].role",
  ],
  ["a role that is a number", { messages: [{ role: 1, content: "x" }] }, "invalid_value", "messages[0].role"],
  [
    "content that is a number",
    { messages: [{ role: "user", content: 7 }] },
    "invalid_type",
    "messages[0].content",
    /a string, null or an array of parts/,
  ],
  [
    "content that is an object",
    { messages: [HI, { role: "user", content: { type: "text", text: "Hi" } }] },
    "invalid_type",
    "messages[1].content",
  ],
  [
    "content that is true",
    { messages: [{ role: "user", content: true }] },
    "invalid_type",
    "messages[0].content",
  ],
  ["parts that are strings", parts("Hi"), "invalid_type", "messages[0].content"],
  ["a part without a type", parts({ text: "Hi" }), "invalid_type", "messages[0].content"],
  ["a name that is a number", { messages: [{ ...HI, name: 7 }] }, "invalid_type", "messages[0].name"],
  [
    "nothing that the user said: null",
    { messages: [{ role: "user", content: null }] },
    "invalid_value",
    "messages",
  ],
  [
    "nothing that the user said: empty",
    { messages: [{ role: "user", content: "" }] },
    "invalid_value",
    "messages",
  ],
  ["nothing that the user said: no parts", parts(), "invalid_value", "messages"],
  ["nothing that the user said: a space", parts({ type: "text", text: " \n" }), "invalid_value", "messages"],
  ...["", null, " ", [], [{ type: "text", text: "" }]].map((content): Refusal => [
    `nothing since the last answer but ${JSON.stringify(content)}`,
    { messages: [HI, { role: "assistant", content: "Hello." }, { role: "user", content }] },
    "invalid_value",
    "messages",
  ]),
  ["nothing but a persona", { messages: [{ role: "system", content: "x" }] }, "invalid_value", "messages"],
  ["nothing but an answer", { messages: [{ role: "assistant", content: "x" }] }, "invalid_value", "messages"],
  ["text without text", parts({ type: "text" }), "missing_required_parameter", `${at}.text`],
  ["text that is a number", parts({ type: "text", text: 7 }), "invalid_type", `${at}.text`],
  ["text that is null", parts({ type: "text", text: null }), "invalid_type", `${at}.text`],
  ["a file", parts({ type: "file", file: { file_id: "f1" } }), "unsupported_content_type", at, /"file"/],
  ["an input_file", parts({ type: "input_file", file_id: "f1" }), "unsupported_content_type", at],
  [
    "a video, second of the parts of the third message",
    {
      messages: [HI, HI, { role: "user", content: [{ type: "text", text: "x" }, { type: "video_url" }] }],
    },
    "unsupported_content_type",
    "messages[2].content[1]",
    /"messages\[2\]\.content\[1\]" is of the type "video_url"/,
  ],
  ["a type by the name of an object's own", parts({ type: "constructor" }), "unsupported_content_type", at],
  [
    "an unknown part of an assistant",
    { messages: [{ role: "assistant", content: [{ type: "x" }] }, HI] },
    "unsupported_content_type",
    at,
  ],
  [
    "a remote image",
    image("https://example.com/a.png"),
    "invalid_value",
    `${at}.image_url.url`,
    /not fetched/,
  ],
  [
    "a remote image of this machine",
    image("http://127.0.0.1/a.png"),
    "invalid_value",
    `${at}.image_url.url`,
    /not fetched/,
  ],
  ["a file's address", image("file:///etc/passwd"), "invalid_value", `${at}.image_url.url`],
  ["an image without base64", image("data:image/png,abc"), "invalid_value", `${at}.image_url.url`],
  ["broken base64", image("data:image/png;base64,a b c"), "invalid_value", `${at}.image_url.url`],
  ["base64 of no length", image("data:image/png;base64,aGkaG"), "invalid_value", `${at}.image_url.url`],
  ["base64 for addresses", image("data:image/png;base64,-_-_"), "invalid_value", `${at}.image_url.url`],
  ["padding in the middle", image("data:image/png;base64,YQ==YQ=="), "invalid_value", `${at}.image_url.url`],
  ["no bytes", image("data:image/png;base64,"), "invalid_value", `${at}.image_url.url`],
  ["an image that is text", image(`data:text/html;base64,${PNG}`), "invalid_value", `${at}.image_url.url`],
  ["base64 alone", image(PNG), "invalid_value", `${at}.image_url.url`],
  ["an image that is a number", image(7), "invalid_type", `${at}.image_url.url`],
  [
    "an image without an address",
    parts({ type: "image_url" }),
    "missing_required_parameter",
    `${at}.image_url`,
  ],
  ["an image that is null", parts({ type: "image_url", image_url: null }), "invalid_type", `${at}.image_url`],
  [
    "an image by a file's id",
    parts({ type: "input_image", file_id: "f1" }),
    "missing_required_parameter",
    `${at}.image_url`,
  ],
  ["AITuber-kit's image that is none", parts({ type: "image" }), "missing_required_parameter", `${at}.image`],
  [
    "a sound without anything",
    parts({ type: "input_audio" }),
    "missing_required_parameter",
    `${at}.input_audio.format`,
  ],
  [
    "a sound without a format",
    audio({ data: "UklGRg==" }),
    "missing_required_parameter",
    `${at}.input_audio.format`,
  ],
  [
    "a sound in another format",
    audio({ data: "UklGRg==", format: "ogg" }),
    "unsupported_value",
    `${at}.input_audio.format`,
    /wav, mp3/,
  ],
  [
    "a sound in a format by the name of an object's own",
    audio({ data: "UklGRg==", format: "constructor" }),
    "unsupported_value",
    `${at}.input_audio.format`,
  ],
  ["a sound without data", audio({ format: "wav" }), "missing_required_parameter", `${at}.input_audio.data`],
  [
    "a sound in broken base64",
    audio({ data: "!", format: "wav" }),
    "invalid_value",
    `${at}.input_audio.data`,
  ],
  ["a model that is a number", withHi({ model: 4 }), "invalid_type", "model"],
  ["a model without end", withHi({ model: "x".repeat(257) }), "invalid_value", "model"],
  ["stream in words", withHi({ stream: "true" }), "invalid_type", "stream"],
  ["stream as a number", withHi({ stream: 1 }), "invalid_type", "stream"],
  [
    "stream options without a stream",
    withHi({ stream_options: { include_usage: true } }),
    "invalid_value",
    "stream_options",
  ],
  [
    "stream options with stream false",
    withHi({ stream: false, stream_options: {} }),
    "invalid_value",
    "stream_options",
  ],
  [
    "stream options that are true",
    withHi({ stream: true, stream_options: true }),
    "invalid_type",
    "stream_options",
  ],
  [
    "usage in words",
    withHi({ stream: true, stream_options: { include_usage: "yes" } }),
    "invalid_type",
    "stream_options.include_usage",
  ],
  ["a stop that is a number", withHi({ stop: 1 }), "invalid_type", "stop"],
  ["stops that are numbers", withHi({ stop: [1] }), "invalid_type", "stop"],
  ["five stops", withHi({ stop: ["a", "b", "c", "d", "e"] }), "invalid_value", "stop"],
  ["a stop without end", withHi({ stop: "x".repeat(1001) }), "invalid_value", "stop"],
  ["max_tokens 0", withHi({ max_tokens: 0 }), "invalid_value", "max_tokens"],
  [
    "max_completion_tokens -1",
    withHi({ max_completion_tokens: -1 }),
    "invalid_value",
    "max_completion_tokens",
  ],
  ["max_tokens of a half", withHi({ max_tokens: 1.5 }), "invalid_type", "max_tokens"],
  ["max_tokens in words", withHi({ max_tokens: "200" }), "invalid_type", "max_tokens"],
  ["n of 2", withHi({ n: 2 }), "unsupported_value", "n"],
  ["n of 0", withHi({ n: 0 }), "unsupported_value", "n"],
  ["n in words", withHi({ n: "1" }), "invalid_type", "n"],
  ["temperature in words", withHi({ temperature: "hot" }), "invalid_type", "temperature"],
  ["logprobs", withHi({ logprobs: true }), "unsupported_value", "logprobs"],
  ["audio as an answer", withHi({ modalities: ["text", "audio"] }), "unsupported_value", "modalities"],
  ["a tool that must be called", withHi({ tool_choice: "required" }), "unsupported_parameter", "tool_choice"],
  [
    "a tool that must be called, by name",
    withHi({ tool_choice: { type: "function", function: { name: "f" } } }),
    "unsupported_parameter",
    "tool_choice",
  ],
  [
    "a conversation of 257 characters",
    withHi({ conversation_id: "x".repeat(257) }),
    "invalid_value",
    "conversation_id",
  ],
  ["a conversation that is a number", withHi({ conversation_id: 7 }), "invalid_type", "conversation_id"],
  ["OpenAI's conversation without an id", withHi({ conversation: {} }), "invalid_type", "conversation"],
  ["OpenAI's conversation as a number", withHi({ conversation: 7 }), "invalid_type", "conversation"],
  [
    "OpenAI's conversation without end",
    withHi({ conversation: { id: "x".repeat(257) } }),
    "invalid_value",
    "conversation",
  ],
  [
    "a session that is a number",
    withHi({ metadata: { session_id: 7 } }),
    "invalid_type",
    "metadata.session_id",
  ],
  [
    "a session without end",
    withHi({ metadata: { session_id: "x".repeat(257) } }),
    "invalid_value",
    "metadata.session_id",
  ],
  ["metadata in words", withHi({ metadata: "mao" }), "invalid_type", "metadata"],
  ["a thread without end", withHi({ threadId: "x".repeat(257) }), "invalid_value", "threadId"],
  ["a thread that is an object", withHi({ threadId: {} }), "invalid_type", "threadId"],
  [
    "a format that is a string",
    withHi({ response_format: "json_object" }),
    "unsupported_value",
    "response_format",
  ],
  [
    "a format that nobody knows",
    withHi({ response_format: { type: "xml" } }),
    "unsupported_value",
    "response_format.type",
  ],
  ["a format without a type", withHi({ response_format: {} }), "unsupported_value", "response_format.type"],
  [
    "a schema without a name",
    withHi({ response_format: { type: "json_schema", json_schema: { schema: {} } } }),
    "unsupported_value",
    "response_format.json_schema.name",
  ],
  [
    "a schema format without a schema",
    withHi({ response_format: { type: "json_schema", json_schema: { name: "x" } } }),
    "missing_required_parameter",
    "response_format.json_schema.schema",
  ],
  [
    "a schema format without anything",
    withHi({ response_format: { type: "json_schema" } }),
    "missing_required_parameter",
    "response_format.json_schema.schema",
  ],
  [
    "a schema that cannot be used",
    withHi({
      response_format: { type: "json_schema", json_schema: { name: "x", schema: { type: "unheard-of" } } },
    }),
    "invalid_value",
    "response_format.json_schema.schema",
  ],
  [
    "a schema without end",
    withHi({
      response_format: {
        type: "json_schema",
        json_schema: { name: "x", schema: { description: "x".repeat(64 * 1024) } },
      },
    }),
    "invalid_value",
    "response_format.json_schema.schema",
  ],
];

function checkRefusal(parse: (body: unknown) => unknown, [name, body, code, param, says]: Refusal): void {
  const failure: Failure = assertThrows(() => parse(body), Failure);
  assertEquals([failure.code, failure.param], [code, param], `${name}: ${failure.message}`);
  if (param) assertEquals(failure.message.includes(`"${param}`), true, failure.message);
  if (says) assertMatch(failure.message, says);
  assertEquals(failure.prompted, false);
}

for (const refusal of REFUSED) {
  Deno.test(`parseChatRequest refuses ${refusal[0]}`, () => checkRefusal(parseChatRequest, refusal));
}

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

const TEXTS_REFUSED: Refusal[] = [
  ["no object", "Once", "invalid_type", undefined],
  ["no prompt", {}, "missing_required_parameter", "prompt"],
  ["a prompt that is null", { prompt: null }, "missing_required_parameter", "prompt"],
  ["an empty prompt", { prompt: "" }, "invalid_value", "prompt"],
  ["a prompt of white space", { prompt: " \n" }, "invalid_value", "prompt"],
  ["a prompt that is a number", { prompt: 7 }, "invalid_type", "prompt"],
  ["tokens", { prompt: [1, 2, 3] }, "unsupported_value", "prompt", /token numbers/],
  ["lists of tokens", { prompt: [[1, 2], [3]] }, "unsupported_value", "prompt"],
  ["two prompts", { prompt: ["a", "b"] }, "unsupported_value", "prompt"],
  ["no prompts", { prompt: [] }, "unsupported_value", "prompt"],
  ["log probabilities", { prompt: "x", logprobs: 5 }, "unsupported_value", "logprobs"],
  ["an echo", { prompt: "x", echo: true }, "unsupported_value", "echo"],
  ["a suffix", { prompt: "x", suffix: "y" }, "unsupported_value", "suffix"],
  ["the best of two", { prompt: "x", best_of: 2 }, "unsupported_value", "best_of"],
  ["two answers", { prompt: "x", n: 2 }, "unsupported_value", "n"],
  ["no tokens", { prompt: "x", max_tokens: 0 }, "invalid_value", "max_tokens"],
  ["stream options without a stream", { prompt: "x", stream_options: {} }, "invalid_value", "stream_options"],
];

for (const refusal of TEXTS_REFUSED) {
  Deno.test(`parseTextRequest refuses ${refusal[0]}`, () => checkRefusal(parseTextRequest, refusal));
}
