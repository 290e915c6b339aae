import { assertEquals, assertMatch } from "@std/assert";
import { AppError, ERROR_STATUS, type ErrorCode } from "../../lib/core/errors.ts";
import { type ReplyEnd, type ReplyOptions, ReplyReader, sentenceOf } from "../../lib/openai/reply_reader.ts";
import { NOT_PLAIN, scanPlain } from "../../lib/openai/skin_text.ts";
import type { StopReason, ToolCallId, TurnEvent } from "../../lib/turn/event.ts";
import { Random } from "../support/harness/random.ts";

interface Reply {
  text: string;
  pieces: string[];
  agentEvents: TurnEvent[];
  ends: ReplyEnd[];
}

/** Reads a turn with these events. */
function readReply(events: readonly TurnEvent[], options: Partial<ReplyOptions> = {}): Reply {
  const [pieces, agentEvents, ends]: [string[], TurnEvent[], ReplyEnd[]] = [[], [], []];
  const reader = new ReplyReader({
    stop: [],
    maxTokens: undefined,
    format: undefined,
    promptTokens: 10,
    ...options,
  }, {
    text(text, isPlain) {
      assertEquals([ends.length, text === "", isPlain && scanPlain(text) === NOT_PLAIN], [0, false, false]);
      pieces.push(text);
    },
    agentEvent: (event) => agentEvents.push(event),
    end: (end) => ends.push(end),
  });
  for (const event of events) reader.read(event);
  return { text: pieces.join("") + ends.map(({ tail }) => tail).join(""), pieces, agentEvents, ends };
}

const text = (text: string): TurnEvent => ({ type: "text", text });
const end = (reason: StopReason = "end_turn"): TurnEvent => ({ type: "end", reason });
const thought: TurnEvent = { type: "thought", text: "Hm." };
const plan: TurnEvent = { type: "plan", entries: [] };
const tool: TurnEvent = {
  type: "tool",
  tool: { id: "t1" as ToolCallId, title: "Read", kind: "read", status: "pending" },
};
const crash = new AppError("agent_crashed", "Gone.", { prompted: true });
const failure: TurnEvent = { type: "failure", failure: crash };

const FINISHES: [reason: StopReason, finish: string][] = [
  ["end_turn", "stop"],
  ["max_tokens", "length"],
  ["max_turn_requests", "length"],
  ["refusal", "content_filter"],
  ["cancelled", "stop"],
];
for (const [reason, finish] of FINISHES) {
  Deno.test(`ReplyReader: ${reason} becomes ${finish}`, () => {
    const { text: content, ends: [first, ...more] } = readReply([text("Hi"), end(reason)]);
    assertEquals([content, first?.finish, first?.failure, more.length], ["Hi\n", finish, undefined, 0]);
    assertEquals(first?.isCancelled, reason === "cancelled");
  });
}

Deno.test("ReplyReader: sends text at once, and agent events apart from it", () => {
  const { pieces, agentEvents, ends } = readReply([thought, text("One"), tool, text(" two."), plan, end()]);
  assertEquals([pieces, ends[0]?.tail, agentEvents], [["One", " two."], "\n", [thought, tool, plan]]);
});

Deno.test("ReplyReader: a turn without text", () => {
  const { pieces, ends: [first] } = readReply([end()]);
  assertEquals([pieces, first?.usage.completion_tokens], [[], 1]);
});

/** Text before a failure, and what the client gets of it: a line of its own for the sentence that follows. */
const BROKEN: [pieces: string[], text: string][] = [
  [[], ""],
  [["On"], "On\n"],
  [["One.\n"], "One.\n"],
  [["はい。"], "はい。\n"],
  [["[happy]"], "[happy]"],
  [["One.\n", "[happy] "], "One.\n[happy] "],
  [["[happy]", "On"], "[happy]On\n"],
  [["On\ud83d"], "On\ufffd\n"],
];
for (const [pieces, expected] of BROKEN) {
  Deno.test(`ReplyReader: a failure after ${JSON.stringify(pieces)}`, () => {
    const { text: content, ends: [first] } = readReply([...pieces.map(text), failure]);
    assertEquals([content, first?.finish, first?.failure], [expected, "error", crash]);
  });
}

const LIMITS: [
  name: string,
  events: TurnEvent[],
  options: Partial<ReplyOptions>,
  text: string,
  finish: string,
][] = [
  ["a stop sequence", [text("one ST"), text("OP two")], { stop: ["STOP"] }, "one \n", "stop"],
  ["half a stop sequence at the end", [text("one ST"), end()], { stop: ["STOP"] }, "one ST\n", "stop"],
  [
    "half a stop sequence before a failure",
    [text("one ST"), failure],
    { stop: ["STOP"] },
    "one ST\n",
    "error",
  ],
  ["max_tokens", [text("123456789")], { maxTokens: 2 }, "12345678\n", "length"],
  [
    "max_tokens in half a stop",
    [text("abcdSTO"), end()],
    { stop: ["STOP"], maxTokens: 1 },
    "abcd\n",
    "length",
  ],
];
for (const [name, events, options, expected, finish] of LIMITS) {
  Deno.test(`ReplyReader: ${name}`, () => {
    const { text: content, ends } = readReply(events, options);
    assertEquals([content, ends.map(({ finish }) => finish)], [expected, [finish]]);
  });
}

Deno.test("ReplyReader: ignores what follows the end of the reply", () => {
  const events = [text("a STOP b"), text("c"), thought, end(), text("d"), end()];
  const { text: content, agentEvents, ends } = readReply(events, { stop: ["STOP"] });
  assertEquals([content, agentEvents.length, ends.length], ["a \n", 0, 1]);
});

Deno.test("ReplyReader: the usage is the agent's last report, or an estimate", () => {
  const usage = { inputTokens: 100, outputTokens: 1, thoughtTokens: 5, cachedTokens: 40 };
  const last: TurnEvent = { type: "usage", usage: { ...usage, outputTokens: 20 } };
  const reported = readReply([text("Hi"), { type: "usage", usage }, last, end()]).ends[0]!;
  assertEquals([reported.isEstimated, reported.usage.total_tokens], [false, 120]);
  const estimated = readReply([text("12345"), text('6"8'), end()]).ends[0]!;
  const { prompt_tokens, completion_tokens } = estimated.usage;
  assertEquals([estimated.isEstimated, prompt_tokens, completion_tokens], [true, 10, 2]);
});

Deno.test("ReplyReader: [silent] stays as it is", () => {
  assertEquals(readReply([text("[sil"), text("ent]"), end()]).text, "[silent]");
  assertEquals(readReply([text("[silent]"), end()], { stop: ["STOP"] }).text, "[silent]");
});

Deno.test("ReplyReader: the reply does not depend on how the text is cut", () => {
  const words = [
    "[happy]",
    "\n",
    "Hello",
    "STOP",
    "ST",
    "OP",
    "。",
    "語",
    "a b",
    "[silent]",
    '"',
    "\r",
    "\ud83d",
  ];
  for (let seed = 0; seed < 100; seed++) {
    const random = new Random(seed);
    const reply = random.text(words, 30);
    const options = [{}, { stop: ["STOP"] }, { stop: ["STOP"], maxTokens: 10 }][random.below(3)];
    const whole = readReply([text(reply), end()], options);
    for (let i = 0; i < 10; i++) {
      const { text: content, ends: [first] } = readReply([...random.cut(reply).map(text), end()], options);
      const { finish, usage } = whole.ends[0]!;
      assertEquals([content, first?.finish], [whole.text, finish], JSON.stringify(reply));
      if (!options?.stop) assertEquals(first?.usage, usage);
    }
  }
});

Deno.test("sentenceOf: each failure is one short sentence without codes, tags or our names", () => {
  for (const code of Object.keys(ERROR_STATUS) as ErrorCode[]) {
    const sentence = sentenceOf(new AppError(code, "panicked at lib.rs:7: [secret] {code}"));
    assertMatch(sentence, /^[A-Z][A-Za-z ,:.]+\.$/);
    assertEquals([sentence.length < 80, /panicked|secret/.test(sentence)], [true, false]);
  }
});
