import { assertEquals, assertThrows } from "@std/assert";
import { AppError, type ErrorCode } from "../../../lib/core/errors.ts";
import type { InputItem } from "../../../lib/openai/responses/items.ts";
import { parseResponseRequest, type ResponseRequest } from "../../../lib/openai/responses/wire.ts";
import { ECHO } from "../../support/harness/response_fixture.ts";

const HI: InputItem = { type: "message", role: "user", parts: [{ type: "text", text: "Hi" }] };
const part = (text: string) => ({ type: "text", text });
/** The shortest request, parsed. */
const PLAIN: ResponseRequest = {
  model: "",
  items: [HI],
  instructions: undefined,
  format: undefined,
  stream: undefined,
  stop: [],
  maxTokens: undefined,
  conversation: undefined,
  previousResponseId: undefined,
  store: undefined,
  background: false,
  asksForApproval: false,
  approvalLabel: undefined,
  ignored: [],
  echo: ECHO,
};

function parseRequest(body: unknown, canApprove = true): ResponseRequest {
  return parseResponseRequest(body, canApprove);
}

const OPTIONAL = "model instructions previous_response_id conversation_id conversation prompt stream store " +
  "background max_output_tokens metadata text tools user include truncation reasoning temperature stream_options";
const LOOK = { type: "function", name: "look", parameters: {} };
const SCHEMA = { type: "json_schema", name: "mood", schema: { type: "object" }, strict: true };
const echo = (fields: Partial<ResponseRequest["echo"]>) => ({ echo: { ...ECHO, ...fields } });

const FIELDS: [name: string, body: Record<string, unknown>, expected: Partial<ResponseRequest>][] = [
  ["input alone", {}, {}],
  ["every optional field null", Object.fromEntries(OPTIONAL.split(" ").map((name) => [name, null])), {}],
  ["a model and a stream", { model: "gpt-4o", stream: true }, { model: "gpt-4o", stream: true }],
  ["instructions", { instructions: "Be kind." }, {
    instructions: "Be kind.",
    ...echo({ instructions: "Be kind." }),
  }],
  ["empty instructions", { instructions: "" }, echo({ instructions: "" })],
  ["an earlier response", { previous_response_id: "resp_1" }, {
    previousResponseId: "resp_1",
    ...echo({ previous_response_id: "resp_1" }),
  }],
  ["an empty earlier response", { previous_response_id: "" }, {}],
  ["a conversation", { conversation: "mao" }, { conversation: "mao" }],
  ["a conversation as an object", { conversation: { id: "mao", x: 1 } }, { conversation: "mao" }],
  ["a numeric conversation_id", { conversation_id: 7 }, { conversation: "7" }],
  ["a session in the metadata", { metadata: { session_id: " mao " } }, {
    conversation: "mao",
    ...echo({ metadata: { session_id: " mao " } }),
  }],
  [
    "an earlier response before a session in the metadata",
    { metadata: { session_id: "mao" }, previous_response_id: "resp_1" },
    {
      previousResponseId: "resp_1",
      ...echo({ metadata: { session_id: "mao" }, previous_response_id: "resp_1" }),
    },
  ],
  [
    "the longest metadata",
    {
      metadata: Object.fromEntries(
        Array.from({ length: 16 }, (_, i) => [`${i}`.padEnd(64), "x".repeat(512)]),
      ),
    },
    echo({
      metadata: Object.fromEntries(
        Array.from({ length: 16 }, (_, i) => [`${i}`.padEnd(64), "x".repeat(512)]),
      ),
    }),
  ],
  ["store true", { store: true }, { store: true }],
  ["store false", { store: false }, { store: false, ...echo({ store: false }) }],
  ["background", { background: true, store: true }, {
    background: true,
    store: true,
    ...echo({ background: true }),
  }],
  ["a limit", { max_output_tokens: 20.5 }, { maxTokens: 20, ...echo({ max_output_tokens: 20 }) }],
  ["a limit of less than 1, which is none", { max_output_tokens: -1 }, {}],
  ["a user", { user: "mao" }, echo({ user: "mao" })],
  ["a user of another kind", { user: 7 }, {}],
  ["plain text", { text: { format: { type: "text" }, verbosity: "low" } }, {}],
  ["a JSON object", { text: { format: { type: "json_object" } } }, {
    format: {
      field: "text.format",
      instruction:
        "Answer with one JSON object and nothing else: no fence, no words around it, no [emotion] tags.",
    },
    ...echo({ text: { format: { type: "json_object" } } }),
  }],
  ["a strict JSON schema", { text: { format: SCHEMA } }, {
    format: {
      field: "text.format",
      instruction:
        "Answer with one JSON object and nothing else: no fence, no words around it, no [emotion] tags. " +
        'It must fit this JSON schema: {"type":"object"}',
      schema: { type: "object" },
      isStrict: true,
    },
    ignored: ["text.format.strict"],
    ...echo({ text: { format: SCHEMA } }),
  }],
  ["values that change nothing", {
    ...{ stream_options: { include_obfuscation: true }, truncation: "auto", parallel_tool_calls: false },
    ...{ temperature: 1, top_p: 1, top_logprobs: 0, tool_choice: "auto", tools: [], include: [] },
    ...{ reasoning: {}, service_tier: "auto", prompt_cache_key: "x", safety_identifier: "x" },
  }, {}],
  ["values that ask for something that an agent cannot do", {
    ...{ include: ["reasoning.encrypted_content"], max_tool_calls: 3, reasoning: { effort: "low" } },
    ...{ temperature: 0.5, tool_choice: "required", top_p: 0.9, tools: [LOOK], service_tier: "flex" },
  }, {
    ignored: "include max_tool_calls reasoning temperature tool_choice top_p service_tier tools".split(" "),
  }],
];

for (const [name, body, expected] of FIELDS) {
  Deno.test(`parseResponseRequest: ${name}`, () => {
    const sent = JSON.parse(JSON.stringify({ input: "Hi", ...body }));
    assertEquals(parseRequest(sent), { ...PLAIN, ...expected });
  });
}

const MCP = { type: "mcp", server_label: "openab" };
const APPROVALS: [tools: unknown, asks: boolean, ignored: string[]][] = [
  [[{ ...MCP, require_approval: "always" }], true, []],
  [[{ ...MCP, require_approval: { never: { tool_names: ["a"] } } }], true, []],
  [[MCP], true, []],
  [[{ ...MCP, require_approval: "never" }], false, ["tools"]],
  [[{ ...MCP, server_url: "https://a" }], true, ["tools"]],
  [[LOOK, MCP], true, ["tools"]],
  [[LOOK], false, ["tools"]],
  ["mcp", false, ["tools"]],
  [[null, 7], false, ["tools"]],
];
for (const [tools, asks, ignored] of APPROVALS) {
  Deno.test(`parseResponseRequest: the tools ${JSON.stringify(tools)}`, () => {
    const request = parseRequest({ input: "Hi", tools });
    assertEquals([request.asksForApproval, request.ignored], [asks, ignored]);
    assertEquals(request.approvalLabel, asks ? "openab" : undefined);
  });
}

Deno.test("parseResponseRequest: the server for approvals of a caller that cannot approve is ignored", () => {
  const tools = [{ type: "mcp", server_label: "openab", require_approval: "always" }];
  const { asksForApproval, approvalLabel, ignored } = parseRequest({ input: "Hi", tools }, false);
  assertEquals([asksForApproval, approvalLabel, ignored], [false, undefined, ["tools"]]);
});

Deno.test("parseResponseRequest: a server for approvals without a usable label", () => {
  const labels = [undefined, 7, "", "x".repeat(300)].map((server_label) =>
    parseRequest({ input: "Hi", tools: [{ type: "mcp", server_label }] }).approvalLabel
  );
  assertEquals(labels, [undefined, undefined, undefined, "x".repeat(256)]);
});

Deno.test("parseResponseRequest: instructions alone let the character speak first", () => {
  for (const input of [undefined, null, []]) {
    assertEquals(parseRequest({ input, instructions: "Greet." }).items, []);
  }
});

Deno.test("parseResponseRequest: an answer to a permission request needs no words", () => {
  const answer = { type: "mcp_approval_response", approval_request_id: "mcpr_1_0", approve: true } as const;
  for (const before of [[], [{ role: "user", content: "Hi" }], [{ type: "item_reference", id: "msg_1_0" }]]) {
    const { items } = parseRequest({ input: [...before, { ...answer, reason: "ok" }] });
    assertEquals([items.at(-1), items.length], [answer, before.length + 1]);
  }
});

const text = (type: string, text: string) => ({ type, text });
const CALL = { id: "mcp_1", name: "look", server_label: "sky", arguments: "{}" };
const ITEMS: [name: string, item: Record<string, unknown>, expected: unknown][] = [
  ["a message with a type and an id", { type: "message", id: "msg_1", role: "user", content: "Hi" }, {
    ...HI,
    id: "msg_1",
  }],
  ["a message without a type", { role: "developer", content: "Be kind." }, {
    ...{ type: "message", id: undefined, role: "developer", parts: [part("Be kind.")] },
  }],
  ["a message with parts", {
    role: "assistant",
    content: [text("output_text", "a"), { type: "refusal", refusal: "b" }],
    status: "completed",
  }, { type: "message", id: undefined, role: "assistant", parts: [part("a"), part("b")] }],
  ["a message with an image and a sound", {
    role: "user",
    content: [
      { type: "input_image", image_url: "data:image/png;base64,AAAA", detail: "auto" },
      { type: "input_audio", input_audio: { data: "AAAA", format: "mp3" } },
    ],
  }, {
    ...{ type: "message", id: undefined, role: "user" },
    parts: [
      { type: "image", mimeType: "image/png", data: "AAAA" },
      { type: "audio", mimeType: "audio/mpeg", data: "AAAA" },
    ],
  }],
  ["an old message with a file", { role: "user", content: [{ type: "input_file", file_id: "f" }] }, {
    ...{ type: "message", id: undefined, role: "user" },
    parts: [part("[A part of this message was left out: input_file.]")],
  }],
  ["a reference", { type: "item_reference", id: "msg_1" }, { type: "item_reference", id: "msg_1" }],
  ["a reference without a type", { id: "msg_1" }, { type: "item_reference", id: "msg_1" }],
  ["a reference with the type null", { id: "msg_1", type: null }, { type: "item_reference", id: "msg_1" }],
  ["a function call", {
    type: "function_call",
    call_id: "c",
    name: "look",
    arguments: "{}",
    status: "completed",
  }, {
    ...{ type: "function_call", id: undefined, call_id: "c", name: "look", arguments: "{}" },
  }],
  ["a function call without fields", { type: "function_call", id: null, name: 7 }, {
    ...{ type: "function_call", id: undefined, call_id: "", name: "", arguments: "" },
  }],
  ["the output of a function", { type: "function_call_output", call_id: "c", output: "blue" }, {
    ...{ type: "function_call_output", id: undefined, call_id: "c", parts: [part("blue")] },
  }],
  ["the output of a function in parts", {
    ...{ type: "function_call_output", call_id: "c" },
    output: [text("input_text", "blue"), { type: "input_file", file_id: "f" }],
  }, {
    ...{ type: "function_call_output", id: undefined, call_id: "c" },
    parts: [part("blue"), part("[A part of this message was left out: input_file.]")],
  }],
  ["a tool call of a server", { type: "mcp_call", ...CALL, output: "blue" }, {
    ...{
      type: "mcp_call",
      ...CALL,
      status: "completed",
      output: "blue",
      error: null,
      approval_request_id: null,
    },
  }],
  ["a failed tool call of a server", { type: "mcp_call", ...CALL, error: "no", approval_request_id: "a" }, {
    ...{ type: "mcp_call", ...CALL, status: "failed", output: null, error: "no", approval_request_id: "a" },
  }],
  ["a permission request", { type: "mcp_approval_request", ...CALL, x: 1 }, {
    type: "mcp_approval_request",
    ...CALL,
  }],
  ["thoughts", {
    ...{ type: "reasoning", id: "rs_1", encrypted_content: "x" },
    summary: [text("summary_text", "Hm."), 7],
  }, {
    ...{ type: "reasoning", id: "rs_1", status: "completed" },
    summary: [{ type: "summary_text", text: "Hm." }],
  }],
  ["thoughts without a summary", { type: "reasoning", id: "rs_1" }, {
    ...{ type: "reasoning", id: "rs_1", status: "completed", summary: [] },
  }],
  ["an old item of another type", { type: "web_search_call", id: "ws_1", action: {} }, {
    ...{ type: "other", itemType: "web_search_call", id: "ws_1" },
  }],
  ["an old item of another kind", { type: 7 }, { type: "other", itemType: "7" }],
];

for (const [name, item, expected] of ITEMS) {
  Deno.test(`parseResponseRequest: ${name}`, () => {
    const { items } = parseRequest({ input: [item, { role: "user", content: "Hi" }] });
    const withId = { id: undefined, ...Object(expected) };
    assertEquals([{ id: undefined, ...items[0] }, items.length], [withId, 2]);
  });
}

Deno.test("parseResponseRequest: a result of a tool can be the newest item", () => {
  const call = { type: "function_call", call_id: "c", name: "look", arguments: "{}" };
  const input = [{ role: "user", content: "Hi" }, call, {
    type: "function_call_output",
    call_id: "c",
    output: "",
  }];
  assertEquals(parseRequest({ input }).items.length, 3);
});

Deno.test("parseResponseRequest: __proto__ is an unknown field", () => {
  const sent =
    '{"__proto__":{"stream":true},"input":[{"role":"user","content":"Hi","__proto__":{"role":"system"}}]}';
  assertEquals(parseRequest(JSON.parse(sent)), { ...PLAIN, items: [{ ...HI, id: undefined }] });
});

type Refusal = [code: ErrorCode, param: string | undefined, ...bodies: unknown[]];
const input = (...items: unknown[]) => ({ input: items });
const content = (content: unknown) => input({ role: "user", content });
const MAX_TEXT_CHARS = 4 * 1024 * 1024;
const REFUSED: Refusal[] = [
  ["invalid_type", undefined, null, "input", 1, [{ role: "user", content: "Hi" }]],
  ["missing_required_parameter", "input", {}, { input: null }, { instructions: "", input: null }],
  ["invalid_type", "input", { input: 7 }, { input: { role: "user", content: "Hi" } }],
  ["invalid_value", "input", { input: "" }, { input: " \n" }, { input: [] }, content(null), content([])],
  [
    "invalid_value",
    "input",
    input({ role: "assistant", content: "x" }),
    input({ type: "reasoning", id: "rs_1" }),
  ],
  [
    "invalid_value",
    "input",
    input({ role: "user", content: "x" }, { role: "assistant", content: "y" }, {
      role: "user",
      content: " ",
    }),
  ],
  ["invalid_value", "input", { input: Array(10_001).fill({ role: "user", content: "x" }) }],
  ["invalid_value", "input", content(Array(10_001).fill("x")), { input: "x".repeat(MAX_TEXT_CHARS + 1) }],
  ["invalid_value", "input", { input: "Hi", instructions: "x".repeat(MAX_TEXT_CHARS) }],
  ["invalid_type", "input[0]", input("Hi"), input(7)],
  ["missing_required_parameter", "input[1]", input({ role: "user", content: "Hi" }, null)],
  ["missing_required_parameter", "input[0].role", input({ content: "Hi" }), input({ type: "message" })],
  ["invalid_value", "input[0].role", input({ role: "tool", content: "Hi" }), input({ role: 1 })],
  ["missing_required_parameter", "input[0].content[0].type", ...[7, { a: 1 }, [{ text: "Hi" }]].map(content)],
  [
    "unsupported_content_type",
    "input[0].content[1]",
    content([text("input_text", "x"), { type: "input_file" }]),
  ],
  [
    "invalid_value",
    "input[0].content[0].image_url",
    content([{ type: "input_image", image_url: "https://a" }]),
  ],
  [
    "missing_required_parameter",
    "input[0].content[0].image_url",
    content([{ type: "input_image", file_id: "f" }]),
  ],
  [
    "unsupported_value",
    "input[1].type",
    input({ role: "user", content: "Hi" }, { type: "computer_call_output" }),
  ],
  ["unsupported_value", "input[0].type", input({ type: "web_search_call" })],
  ["missing_required_parameter", "input[0].id", input({ type: "item_reference" })],
  ["invalid_value", "input[0].id", input({ type: "item_reference", id: "" }), input({ id: "x".repeat(257) })],
  ["missing_required_parameter", "input[0].approval_request_id", input({ type: "mcp_approval_response" })],
  [
    "invalid_type",
    "input[0].approve",
    input({
      type: "mcp_approval_response",
      approval_request_id: "a",
      approve: "yes",
    }),
  ],
];
/** Fields that are refused beside a valid input. */
const REFUSED_FIELDS: Refusal[] = [
  ["invalid_type", "model", { model: 4 }],
  ["invalid_value", "model", { model: "x".repeat(257) }],
  ["invalid_type", "instructions", { instructions: ["Be kind."] }],
  ["invalid_type", "previous_response_id", { previous_response_id: 7 }],
  ["invalid_value", "previous_response_id", { previous_response_id: "x".repeat(257) }],
  [
    "invalid_value",
    "previous_response_id",
    { previous_response_id: "resp_1", conversation: "mao" },
    { previous_response_id: "resp_1", conversation: { id: "mao" } },
    { previous_response_id: "resp_1", conversation_id: "mao" },
  ],
  ["invalid_type", "conversation", { conversation: {} }, { conversation: true }],
  ["invalid_value", "conversation", { conversation: "x".repeat(257) }],
  ["invalid_type", "conversation_id", { conversation_id: {} }],
  ["unsupported_parameter", "prompt", { prompt: { id: "pmpt_1" } }, { prompt: "x" }],
  ["invalid_type", "stream", { stream: "true" }],
  ["invalid_type", "store", { store: "no" }],
  ["invalid_type", "background", { background: 1 }],
  ["unsupported_value", "background", { background: true, store: false }],
  ["invalid_type", "max_output_tokens", { max_output_tokens: "many" }],
  ["invalid_type", "metadata", { metadata: "mao" }, { metadata: ["mao"] }],
  ["invalid_type", "metadata.a", { metadata: { a: 7 } }],
  [
    "invalid_value",
    "metadata",
    { metadata: { ["x".repeat(65)]: "a" } },
    { metadata: { a: "x".repeat(513) } },
    { metadata: Object.fromEntries(Array.from({ length: 17 }, (_, index) => [index, "a"])) },
  ],
  ["invalid_type", "text", { text: "json" }],
  ["unsupported_value", "text.format", { text: { format: "json_object" } }],
  ["unsupported_value", "text.format.type", { text: { format: { type: "xml" } } }, { text: { format: {} } }],
  ["unsupported_value", "text.format.name", { text: { format: { ...SCHEMA, name: undefined } } }],
  ["missing_required_parameter", "text.format.schema", {
    text: { format: { ...SCHEMA, schema: undefined } },
  }],
  ["invalid_value", "text.format.schema", {
    text: { format: { ...SCHEMA, schema: { description: "x".repeat(64 * 1024) } } },
  }],
];

for (
  const [code, param, ...bodies] of [
    ...REFUSED,
    ...REFUSED_FIELDS.map(([code, param, ...fields]): Refusal => [
      code,
      param,
      ...fields.map((fields) => ({ input: "Hi", ...Object(fields) })),
    ]),
  ]
) {
  const first = JSON.stringify(bodies[0]).slice(0, 70);
  Deno.test(`parseResponseRequest: ${code}${param ? ` names ${param}` : ""}, as of ${first}`, () => {
    for (const body of bodies) {
      const error = assertThrows(() => parseRequest(body), AppError);
      assertEquals([error.code, error.param, error.prompted], [code, param, false], error.message);
      if (param) assertEquals(error.message.includes(`"${param}"`), true, error.message);
    }
  });
}
