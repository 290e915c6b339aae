import { assertEquals } from "@std/assert";
import { ERROR_MODES, openStream, type StreamOptions } from "../../lib/openai/response.ts";
import {
  chatFrames,
  type FinishReason,
  type FrameHead,
  type Frames,
  safeJson,
  textFrames,
} from "../../lib/openai/chunk.ts";
import { chatCompletion } from "../../lib/openai/chat.ts";
import { textCompletion } from "../../lib/openai/legacy_completions.ts";
import type { CompletionUsage } from "../../lib/openai/usage.ts";
import { TOOL_KINDS, TOOL_STATUSES, type ToolCallId } from "../../lib/turn/event.ts";
import { AppError } from "../../lib/core/errors.ts";
import { Random } from "../support/harness/random.ts";
import { assertGolden } from "../support/harness/golden.ts";

const USAGE: CompletionUsage = {
  prompt_tokens: 12,
  completion_tokens: 5,
  total_tokens: 17,
  prompt_tokens_details: { cached_tokens: 3 },
  completion_tokens_details: { reasoning_tokens: 2 },
};
const TEXTS: [name: string, text: string][] = [
  ["a word", "Hello"],
  ["an emotion tag and a line end", "[happy] Hello.\n"],
  ["quotes and backslashes", "\"C:\\Users\" 'x' `y`"],
  ["data:", "some data: here, and data:image/png"],
  ["two colons", "std::fmt::Display ::: ::::"],
  ["separators", "a\u2028b\u2029c\u0085d"],
  ["control characters", "\0\x01\t\r\x1b[0m\x7f"],
  ["Japanese", "こんにちは。語り！"],
  ["emoji", "😀👩‍👩‍👧‍👦🇯🇵"],
  ["half an emoji", "\ud83d"],
  ["what looks like a frame", '{"choices":[]}\n\ndata: [DONE]\n\n'],
  ["what looks like an error", '"error": null, "tool_calls": []'],
  ["what stands for a place in a template", "\0 $& $1 {text}"],
];
const FINISHES: FinishReason[] = ["stop", "length", "content_filter", "error"];
const FORMS: [name: string, make: (head: FrameHead) => Frames, head: FrameHead][] = [
  ["chat", chatFrames, { id: "chatcmpl-1", created: 1751328000, model: "openab", includeUsage: false }],
  ["text", textFrames, { id: "cmpl-1", created: 1751328000, model: "openab", includeUsage: false }],
];

/** Every frame, by what it says. */
function framesOf(frames: Frames): [name: string, frame: string][] {
  const tool = {
    id: "call_1" as ToolCallId,
    title: "Read data::file",
    kind: "read",
    status: "completed",
  } as const;
  return [
    ...(frames.opening === undefined ? [] : [["opening", frames.opening] as [string, string]]),
    ["heartbeat", frames.empty],
    ...TEXTS.map(([name, text]): [string, string] => [`text: ${name}`, frames.text(text)]),
    ["thought", frames.thought("Let me look at data: ::")],
    ["tool", frames.tool(tool)],
    [
      "plan",
      frames.plan([
        { content: "Look", priority: "high", status: "completed" },
        { content: "Say what data::x is", priority: "low", status: "pending" },
      ]),
    ],
    ["no plan", frames.plan([])],
    ...FINISHES.map((reason): [string, string] => [`finish: ${reason}`, frames.finish(reason)]),
    ["usage", frames.usage(USAGE)],
  ];
}

for (const [name, make, plainHead] of FORMS) {
  for (const includeUsage of [false, true]) {
    const head = { ...plainHead, includeUsage };
    const file = `${name}_frames${includeUsage ? "_with_usage" : ""}.txt`;

    Deno.test(`frames: ${file}`, async () => {
      const frames = framesOf(make(head));
      await assertGolden(file, frames.map(([what, frame]) => `# ${what}\n${frame}\n`).join(""));
    });

    Deno.test(`frames: each of ${file} is JSON with the head that all share, and safe`, () => {
      for (const [what, frame] of framesOf(make(head))) {
        const json = JSON.parse(frame);
        const { id, created, model } = head;
        assertEquals([json.id, json.created, json.model], [id, created, model], what);
        assertEquals(json.object, name === "chat" ? "chat.completion.chunk" : "text_completion");
        assertEquals(Object.hasOwn(json, "usage"), includeUsage || what === "usage", what);
        if (what !== "usage") assertEquals([json.usage ?? null, json.choices.length], [null, 1], what);
        assertSafe(frame);
      }
    });
  }
}

/** That no reader finds in it what is none. */
function assertSafe(json: string): void {
  assertEquals(/data:|::|[\n\r\u0085\u2028\u2029]/.test(json), false, json);
}

for (const [name, text] of TEXTS) {
  Deno.test(`frames: what goes in comes out: ${name}`, () => {
    const head = FORMS[0]![2];
    const chat = JSON.parse(chatFrames(head).text(text));
    assertEquals(chat.choices[0].delta, { content: text });
    assertEquals(JSON.parse(chatFrames(head).thought(text)).choices[0].delta, { reasoning_content: text });
    assertEquals(JSON.parse(textFrames(head).text(text)).choices[0].text, text);
    const odd = { ...head, model: text, id: text };
    for (const frames of [chatFrames(odd), textFrames(odd)]) {
      for (const [, frame] of framesOf(frames)) {
        assertSafe(frame);
        assertEquals([JSON.parse(frame).model, JSON.parse(frame).id], [text, text]);
      }
      assertEquals(JSON.parse(frames.text("x")).choices.length, 1);
    }
  });
}

Deno.test("frames: a tool of each kind and status", () => {
  const frames = chatFrames(FORMS[0]![2]);
  for (const kind of TOOL_KINDS) {
    for (const status of TOOL_STATUSES) {
      const { choices } = JSON.parse(frames.tool({ id: "t" as ToolCallId, title: "T", kind, status }));
      assertEquals(choices[0].delta, {
        agent: { type: "tool_call", tool_call_id: "t", title: "T", kind, status },
      });
      assertEquals(choices[0].finish_reason, null);
    }
  }
});

const SAFE: [value: unknown, json: string][] = [
  ["", '""'],
  ["a:b", '"a:b"'],
  ["data", '"data"'],
  ["data:", '"data\\u003a"'],
  ["Data:", '"Data:"'],
  ["metadata:x", '"metadata\\u003ax"'],
  ["data::", '"data\\u003a:"'],
  ["data:::", '"data\\u003a\\u003a\\u003a"'],
  ["data:data:", '"data\\u003adata\\u003a"'],
  ["::", '"\\u003a\\u003a"'],
  [":::", '"\\u003a\\u003a:"'],
  ["::::", '"\\u003a\\u003a\\u003a\\u003a"'],
  [": :", '": :"'],
  ["\u2028\u2029\u0085", '"\\u2028\\u2029\\u0085"'],
  ["\\u003a", '"\\\\u003a"'],
  ["\\data:", '"\\\\data\\u003a"'],
  ["\n\r\t", '"\\n\\r\\t"'],
  [{ "data:": "::", a: 1 }, '{"data\\u003a":"\\u003a\\u003a","a":1}'],
  [{ data: ":x", b: [":", ":"] }, '{"data":":x","b":[":",":"]}'],
  [[null, true, 1.5], "[null,true,1.5]"],
];

for (const [value, json] of SAFE) {
  Deno.test(`safeJson: ${JSON.stringify(value)}`, () => {
    assertEquals(safeJson(value), json);
    assertEquals(JSON.parse(safeJson(value)), value);
    assertSafe(json);
    assertEquals(safeJson(value), json, "a second time");
  });
}

Deno.test("safeJson: whatever it is given comes back, and is safe", () => {
  const words = [
    "data",
    ":",
    "::",
    "d",
    "a",
    "t",
    "\\",
    '"',
    "u003a",
    "\u2028",
    "\u0085",
    "\n",
    "😀",
    "\ud83d",
    "x",
  ];
  for (let seed = 0; seed < 500; seed++) {
    const text = new Random(seed).text(words, 30);
    const json = safeJson({ [text]: [text] });
    assertSafe(json);
    assertEquals(JSON.parse(json), { [text]: [text] });
  }
});

/** All that a stream writes. */
async function streamed(
  options: Partial<StreamOptions> & { includeUsage?: boolean; includeAgentEvents?: boolean },
  play: (sink: ReturnType<typeof openStream>["sink"]) => void,
  make = chatFrames,
): Promise<string> {
  const { includeUsage = false, includeAgentEvents = false } = options;
  const { response, sink } = openStream({
    heartbeat: "off",
    heartbeatMs: 0,
    errors: "speak",
    ...options,
    includeUsage,
    includeAgentEvents,
    frames: make({ id: "chatcmpl-1", created: 1751328000, model: "openab", includeUsage }),
  }, () => {});
  play(sink);
  return await response.text();
}

const DONE = { finish: "stop", usage: USAGE, estimated: false, failure: undefined, tail: "" } as const;
const FAILURE = new AppError("agent_crashed", "The agent's process ended in the middle of the turn.");

Deno.test("stream: plain", async () => {
  const text = await streamed({}, (sink) => {
    sink.aside({ type: "thought", text: "Hm." });
    sink.text("[happy] Hello.\n");
    sink.text("こんにちは。またね");
    sink.end({ ...DONE, tail: "\n" });
  });
  await assertGolden("chat_stream.txt", text);
});

Deno.test("stream: with usage and agent events", async () => {
  const text = await streamed({ includeUsage: true, includeAgentEvents: true }, (sink) => {
    sink.aside({ type: "thought", text: "Hm." });
    sink.aside({ type: "plan", entries: [{ content: "Look", priority: "medium", status: "in_progress" }] });
    sink.aside({
      type: "tool",
      tool: { id: "t1" as ToolCallId, title: "Read a file", kind: "read", status: "in_progress" },
    });
    sink.text("Done.\n");
    sink.end({ ...DONE, finish: "length" });
  });
  await assertGolden("chat_stream_with_events.txt", text);
});

Deno.test("stream: of the older completions", async () => {
  const text = await streamed({ includeUsage: true, includeAgentEvents: true }, (sink) => {
    sink.aside({ type: "thought", text: "Hm." });
    sink.text("Done.\n");
    sink.end(DONE);
  }, textFrames);
  await assertGolden("text_stream.txt", text);
});

for (const errors of ERROR_MODES) {
  Deno.test(`stream: a failure as ${errors}`, async () => {
    const text = await streamed({ errors, includeUsage: true }, (sink) => {
      sink.text("Hello.");
      sink.end({ ...DONE, finish: "error", failure: FAILURE, tail: "\n" });
    });
    await assertGolden(`chat_stream_${errors}.txt`, text);
  });
}

Deno.test("stream: an error event is as safe as every other", async () => {
  const text = await streamed({ errors: "event" }, (sink) => {
    const failure = new AppError("agent_error", "panicked at std::fmt, data: x\u2028");
    sink.end({ ...DONE, finish: "error", failure });
  });
  const event = text.split("\n\n").find((event) => event.includes('"error"'));
  assertSafe(event!.slice("data: ".length));
});

Deno.test("whole answers", async () => {
  const head = { id: "x-1", created: 1751328000, model: "openab", includeUsage: false };
  const answers = [
    chatCompletion(head, "[happy] Hello.\n", "stop", USAGE),
    chatCompletion(head, "", "content_filter", USAGE),
    chatCompletion(head, "I will not.\n", "content_filter", USAGE),
    chatCompletion(head, "Once upon", "length", USAGE),
    textCompletion(head, "Once upon a time\n", "stop", USAGE),
  ];
  await assertGolden(
    "whole_answers.txt",
    answers.map((answer) => JSON.stringify(answer, null, 2) + "\n").join(""),
  );
});
