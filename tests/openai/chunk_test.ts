import { assertEquals } from "@std/assert";
import {
  type AgentEvent,
  chatFrames,
  type FrameHead,
  type Frames,
  safeJson,
  textFrames,
} from "../../lib/openai/chunk.ts";
import { NOT_PLAIN, scanPlain } from "../../lib/openai/skin_text.ts";
import type { CompletionUsage } from "../../lib/openai/usage.ts";
import type { ToolCallId } from "../../lib/turn/event.ts";
import { assertGolden } from "../support/harness/golden.ts";
import { Random } from "../support/harness/random.ts";

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
const TOOL = {
  id: "call_1" as ToolCallId,
  title: "Read data::file",
  kind: "read",
  status: "completed",
} as const;
const EVENTS: [name: string, event: AgentEvent][] = [
  ["thought", { type: "thought", text: "Let me look at data: ::" }],
  ["tool", { type: "tool", tool: TOOL }],
  ["plan", {
    type: "plan",
    entries: [
      { content: "Look", priority: "high", status: "completed" },
      { content: "Say what data::x is", priority: "low", status: "pending" },
    ],
  }],
  ["no plan", { type: "plan", entries: [] }],
];
const HEAD: FrameHead = { id: "chatcmpl-1", created: 1751328000, model: "openab", includeUsage: false };
const FORMS: [name: string, make: (head: FrameHead) => Frames, head: FrameHead][] = [
  ["chat", chatFrames, HEAD],
  ["text", textFrames, { ...HEAD, id: "cmpl-1" }],
];

/** Every frame with a title. */
function listFrames(frames: Frames): [title: string, frame: string][] {
  return [
    ...(frames.opening === undefined ? [] : [["opening", frames.opening] as [string, string]]),
    ["heartbeat", frames.empty],
    ...TEXTS.map(([name, text]): [string, string] => [`text: ${name}`, frames.text(text)]),
    ...EVENTS.map(([name, event]): [string, string] => [name, frames.agentEvent(event)]),
    ...(["stop", "length", "content_filter", "error"] as const).map((reason): [string, string] => [
      `finish: ${reason}`,
      frames.finish(reason),
    ]),
    ["usage", frames.usage(USAGE)],
  ];
}

function assertSafe(json: string): void {
  assertEquals(/data:|::|[\n\r\u0085\u2028\u2029]/.test(json), false, json);
}

for (const [name, make, plainHead] of FORMS) {
  for (const includeUsage of [false, true]) {
    const head = { ...plainHead, includeUsage };
    const file = `${name}_frames${includeUsage ? "_with_usage" : ""}.txt`;

    Deno.test(`frames: ${file} to the byte, and each is safe JSON`, async () => {
      const frames = listFrames(make(head));
      await assertGolden(file, frames.map(([title, frame]) => `# ${title}\n${frame}\n`).join(""));
      for (const [title, frame] of frames) {
        assertSafe(frame);
        assertEquals(JSON.parse(frame).choices.length, title === "usage" ? 0 : 1, title);
      }
    });
  }
}

for (const [name, text] of TEXTS) {
  Deno.test(`frames: survives the encoding, as text and as a model's name: ${name}`, () => {
    const chat = chatFrames({ ...HEAD, model: text });
    assertEquals(JSON.parse(chat.text(text)).choices[0].delta, { content: text });
    const thought = JSON.parse(chat.agentEvent({ type: "thought", text }));
    assertEquals([thought.choices[0].delta, thought.model], [{ reasoning_content: text }, text]);
    assertEquals(JSON.parse(textFrames(HEAD).text(text)).choices[0].text, text);
    for (const [, frame] of listFrames(chat)) assertSafe(frame);
  });
}

Deno.test("frames: a plain text has the same frame with and without escapes", () => {
  const chars = Array.from({ length: 0x10000 }, (_, code) => String.fromCharCode(code));
  const plain = chars.filter((char) => scanPlain(char) !== NOT_PLAIN).join("");
  const others = chars.filter((char) => char >= " " && char.isWellFormed() && scanPlain(char) === NOT_PLAIN);
  assertEquals(others.join(""), '":\\\x85\u2028\u2029。！．？');
  for (const frames of [chatFrames(HEAD), textFrames(HEAD)]) {
    assertEquals(frames.text(plain, true) === frames.text(plain), true);
  }
});

const SAFE: [value: unknown, json: string][] = [
  ["a:b", '"a:b"'],
  ["Data:", '"Data:"'],
  ["metadata:x", '"metadata\\u003ax"'],
  ["data:::", '"data\\u003a\\u003a\\u003a"'],
  [":::", '"\\u003a\\u003a:"'],
  ["\u2028\u2029\u0085", '"\\u2028\\u2029\\u0085"'],
  ["\\u003a", '"\\\\u003a"'],
  [{ "data:": "::", a: 1 }, '{"data\\u003a":"\\u003a\\u003a","a":1}'],
  [{ data: ":x", b: [":", ":"] }, '{"data":":x","b":[":",":"]}'],
];

Deno.test("safeJson: escapes what readers split at, and nothing else", () => {
  for (const [value, json] of SAFE) assertEquals(safeJson(value), json);
});

Deno.test("safeJson: any value survives, and is safe", () => {
  const words = [
    "data",
    ":",
    "::",
    "d",
    "a",
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

Deno.test("body: to the byte", async () => {
  const [chat, text] = [chatFrames, textFrames].map((create) => create({ ...HEAD, id: "x-1" })) as [
    Frames,
    Frames,
  ];
  const bodies = [
    chat.body("[happy] Hello.\n", "stop", USAGE),
    chat.body("", "content_filter", USAGE),
    chat.body("I will not.\n", "content_filter", USAGE),
    chat.body("Once upon", "length", USAGE),
    text.body("Once upon a time\n", "stop", USAGE),
  ];
  await assertGolden(
    "whole_answers.txt",
    bodies.map((body) => JSON.stringify(body, null, 2) + "\n").join(""),
  );
});
