import { assertEquals, assertThrows } from "@std/assert";
import { type Message, textOf } from "../../../lib/conversation/message.ts";
import { AppError } from "../../../lib/core/errors.ts";
import {
  type HistoryItem,
  type InputMessage,
  itemId,
  listInputItems,
  type McpCall,
  type OutputItem,
  resolveReferences,
  responseId,
  responseIdOf,
  toMessages,
} from "../../../lib/openai/responses/items.ts";
import { parseResponseRequest } from "../../../lib/openai/responses/wire.ts";

const text = (text: string) => ({ type: "text", text }) as const;
const input = (role: InputMessage["role"], ...words: string[]): InputMessage => ({
  type: "message",
  role,
  parts: words.map(text),
});
const reply = (words: string): OutputItem => ({
  ...{ id: "msg_1a_0", type: "message", status: "completed", role: "assistant" },
  content: [{ type: "output_text", text: words, annotations: [] }],
});
const CALL: McpCall = {
  ...{ id: "mcp_1a_1", type: "mcp_call", status: "completed", name: "Read", server_label: "claude" },
  ...{ arguments: "{}", output: null, error: null, approval_request_id: null },
};
const THOUGHT: OutputItem = { id: "rs_1a_2", type: "reasoning", status: "completed", summary: [] };
const REQUEST: OutputItem = {
  ...{ id: "mcpr_1a_3", type: "mcp_approval_request", name: "rm", server_label: "claude", arguments: "{}" },
};
const ANSWER: HistoryItem = {
  type: "mcp_approval_response",
  approval_request_id: "mcpr_1a_3",
  approve: true,
};
const FUNCTION: HistoryItem = {
  type: "function_call",
  call_id: "c1",
  name: "look",
  arguments: '{"at":"sky"}',
};
const RESULT: HistoryItem = { type: "function_call_output", call_id: "c1", parts: [text("blue")] };

/** A message in short: its role, a mark for a tool call, its name and its words. */
function brief(message: Message): string {
  const { role, name, isToolCall } = message;
  return `${role}${isToolCall ? "*" : ""}${name ? ` ${name}` : ""}: ${textOf(message)}`;
}

const MESSAGES: [name: string, items: HistoryItem[], messages: string[]][] = [
  ["messages of a request", [
    input("developer", "Be kind."),
    input("user", "a", "b"),
    input("assistant", "c"),
  ], [
    "system: Be kind.",
    "user: a\nb",
    "assistant: c",
  ]],
  ["a reply around a tool call and thoughts is one reply", [
    ...[input("user", "Hi"), THOUGHT, reply("Look."), CALL, { ...CALL, output: "" }, THOUGHT, reply("Done.")],
    input("user", "Thanks"),
  ], ["user: Hi", "assistant: Look.\nDone.", "user: Thanks"]],
  ["two replies to two messages", [input("user", "a"), reply("b"), input("user", "c"), reply("d")], [
    ...["user: a", "assistant: b", "user: c", "assistant: d"],
  ]],
  ["a refusal", [{ ...reply(""), content: [{ type: "refusal", refusal: "No." }] } as OutputItem], [
    "assistant: No.",
  ]],
  ["empty messages, but for a user's", [input("system", " "), input("assistant"), reply(""), input("user")], [
    "user: ",
  ]],
  ["a client's tool call and its result", [input("user", "Hi"), FUNCTION, RESULT, reply("Blue.")], [
    "user: Hi",
    'assistant*: <tool_call name="look">{"at":"sky"}</tool_call>',
    "tool c1: blue",
    "assistant: Blue.",
  ]],
  ["a tool call of another server", [{ ...CALL, output: "blue" }], [
    'assistant*: <tool_call name="Read">{}</tool_call>',
    "tool Read: blue",
  ]],
  ["an approval", [reply("May I?"), REQUEST, ANSWER, reply("Gone.")], ["assistant: May I?\nGone."]],
  ["items that are not read", [
    { type: "other", itemType: "web_search_call" },
    { type: "other", itemType: "shell_call_output" },
    { type: "other", itemType: "mcp_list_tools" },
  ], [
    "assistant*: [An item of this conversation was left out: web_search_call.]",
    "tool: [An item of this conversation was left out: shell_call_output.]",
  ]],
];
for (const [name, items, messages] of MESSAGES) {
  Deno.test(`toMessages: ${name}`, () => assertEquals(toMessages(items).map(brief), messages));
}

Deno.test("toMessages: a client's tool call reads as it does in chat", async () => {
  const { parseChatRequest } = await import("../../../lib/openai/wire.ts");
  const { messages } = parseChatRequest({
    messages: [
      { role: "user", content: "Hi" },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "c1", function: { name: "look", arguments: '{"at":"sky"}' } }],
      },
      { role: "tool", tool_call_id: "c1", content: "blue" },
    ],
  });
  assertEquals(toMessages([input("user", "Hi"), FUNCTION, RESULT]), messages);
});

Deno.test("resolveReferences: puts the items in their place, or names the field of the one that is missing", () => {
  const stored = new Map<string, HistoryItem>([["msg_1a_0", reply("b")]]);
  const find = (id: string) => stored.get(id);
  const items = [input("user", "a"), { type: "item_reference", id: "msg_1a_0" } as const, input("user", "c")];
  assertEquals(resolveReferences(items, find), [items[0], reply("b"), items[2]] as HistoryItem[]);
  stored.clear();
  const error = assertThrows(() => resolveReferences(items, find), AppError, '"input[1].id"');
  assertEquals([error.code, error.param], ["not_found", "input[1].id"]);
});

Deno.test("itemId: tells the response of every item", () => {
  const id = responseId("9f0c");
  const ids = [
    ...(["message", "reasoning", "mcp_call", "mcp_approval_request"] as const).map((type) =>
      itemId(type, id, 7)
    ),
    itemId("message", id, 7, "input"),
  ];
  assertEquals(ids, ["msg_9f0c_7", "rs_9f0c_7", "mcp_9f0c_7", "mcpr_9f0c_7", "msg_9f0c_in7"]);
  for (const item of ids) assertEquals(responseIdOf(item), id);
  for (const other of ["", "msg_1", "msg_9f0c_x", "msg_9f/0c_1", "__1", "resp_9f0c"]) {
    assertEquals(responseIdOf(other), undefined, other);
  }
});

Deno.test("listInputItems: lists what a request sent, with ids", () => {
  const image = "data:image/png;base64,AAAA";
  const sent = [
    {
      ...{ type: "message", role: "user", status: "completed" },
      content: [
        { type: "input_text", text: "Hi" },
        { type: "input_image", image_url: image, detail: "auto", file_id: null },
        { type: "input_audio", input_audio: { data: "AAAA", format: "mp3" } },
      ],
    },
    { ...reply("Hello."), id: "msg_1a_9" },
    { type: "function_call", call_id: "c", name: "look", arguments: "{}", status: "completed" },
    { type: "function_call_output", call_id: "c", status: "completed", output: "blue" },
    {
      ...{ type: "function_call_output", call_id: "c", status: "completed" },
      output: [{ type: "input_text", text: "blue" }, {
        type: "input_image",
        image_url: image,
        detail: "auto",
        file_id: null,
      }],
    },
    { ...CALL, output: "blue" },
    THOUGHT,
    REQUEST,
    { ...ANSWER, approve: false },
    { type: "mcp_list_tools" },
    {
      type: "message",
      role: "developer",
      status: "completed",
      content: [{ type: "input_text", text: "Go on." }],
    },
  ];
  const items = parseResponseRequest({ input: [...sent, { role: "user", content: "Hi" }] }, false)
    .items as HistoryItem[];
  const listed = listInputItems(items, "resp_2b");
  const ids = [
    "msg_2b_in0",
    "msg_1a_9",
    "fc_2b_in2",
    "fc_2b_in3",
    "fc_2b_in4",
    "mcp_1a_1",
    "rs_1a_2",
    "mcpr_1a_3",
  ];
  assertEquals(listed.map(({ id }) => id), [
    ...ids,
    "mcpa_2b_in8",
    "item_2b_in9",
    "msg_2b_in10",
    "msg_2b_in11",
  ]);
  assertEquals(
    listed.slice(0, -1).map((item) => ({ ...item, id: 0 })),
    sent.map((item) => ({ ...item, id: 0 })),
  );
  assertEquals(listInputItems([reply("b")], "resp_2b"), [reply("b")]);
});
