import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { parseChatRequest, parseTextRequest } from "../../lib/openai/wire.ts";
import { AppError } from "../../lib/core/errors.ts";

const PNG = "iVBORw0KGgo=";
const HI = { role: "user", content: "Hi" };

/** A body with one message of these parts. */
function parts(...content: unknown[]): unknown {
  return { messages: [{ role: "user", content }] };
}

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
  const failure: AppError = assertThrows(() => parse(body), AppError);
  assertEquals([failure.code, failure.param], [code, param], `${name}: ${failure.message}`);
  if (param) assertEquals(failure.message.includes(`"${param}`), true, failure.message);
  if (says) assertMatch(failure.message, says);
  assertEquals(failure.prompted, false);
}

for (const refusal of REFUSED) {
  Deno.test(`parseChatRequest refuses ${refusal[0]}`, () => checkRefusal(parseChatRequest, refusal));
}

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
