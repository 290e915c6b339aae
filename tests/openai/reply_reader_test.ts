import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { createReplyReader, type ReplyEnd, type ReplyOptions } from "../../lib/openai/reply_reader.ts";
import { NOT_PLAIN, scanPlain } from "../../lib/openai/skin_text.ts";
import type { StopReason, ToolCallId, TurnEvent } from "../../lib/turn/event.ts";
import { Random } from "../support/harness/random.ts";

/** Reads a turn with these events. */
function readReply(events: readonly TurnEvent[], options: Partial<ReplyOptions> = {}) {
  const [pieces, agentEvents, ends]: [string[], TurnEvent[], ReplyEnd[]] = [[], [], []];
  const read = createReplyReader({ stop: [], maxTokens: undefined, promptTokens: 10, ...options }, {
    text(text, isPlain) {
      assertEquals([ends.length, text === "", isPlain && scanPlain(text) === NOT_PLAIN], [0, false, false]);
      pieces.push(text);
    },
    agentEvent: (event) => agentEvents.push(event),
    end: (end) => ends.push(end),
  });
  for (const event of events) read(event);
  const [end, ...more] = ends;
  assertEquals([end === undefined, more], [false, []]);
  return { text: pieces.join("") + end!.tail, pieces, agentEvents, end: end! };
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

Deno.test("reply: each stop reason becomes a finish reason", () => {
  const finishes: [reason: StopReason, finish: string][] = [
    ["end_turn", "stop"],
    ["max_tokens", "length"],
    ["max_turn_requests", "length"],
    ["refusal", "content_filter"],
    ["cancelled", "error"],
  ];
  for (const [reason, finish] of finishes) {
    const reply = readReply([text("Hi"), end(reason)]);
    assertEquals([reply.text, reply.end.finish, reply.end.failure], ["Hi\n", finish, undefined]);
    assertEquals(reply.end.isCancelled, reason === "cancelled");
  }
});

Deno.test("reply: sends text at once, and agent events apart from it", () => {
  const reply = readReply([thought, text("One"), tool, text(" two."), plan, end()]);
  assertEquals([reply.pieces, reply.end.tail, reply.agentEvents], [["One", " two."], "\n", [
    thought,
    tool,
    plan,
  ]]);
});

/** Text before a failure, and what the client gets of it: a line of its own for the sentence that follows. */
const BROKEN: [pieces: string[], text: string][] = [
  [[], ""],
  [["On"], "On\n"],
  [["One.\n"], "One.\n"],
  [["はい。"], "はい。\n"],
  [["One.\n", "[happy] "], "One.\n[happy] "],
  [["[happy]", "On"], "[happy]On\n"],
  [["On\ud83d"], "On\ufffd\n"],
];
for (const [pieces, expected] of BROKEN) {
  Deno.test(`reply: a failure after ${JSON.stringify(pieces)}`, () => {
    const reply = readReply([...pieces.map(text), failure]);
    assertEquals([reply.text, reply.end.finish, reply.end.failure], [expected, "error", crash]);
  });
}

const STOP = { stop: ["STOP"] };
const LIMITS: [
  name: string,
  events: TurnEvent[],
  options: Partial<ReplyOptions>,
  text: string,
  finish: string,
][] = [
  ["a stop sequence", [text("one ST"), text("OP two")], STOP, "one \n", "stop"],
  ["events after a stop", [text("a STOP b"), text("c"), thought, end(), end()], STOP, "a \n", "stop"],
  ["half a stop sequence at the end", [text("one ST"), end()], STOP, "one ST\n", "stop"],
  ["half a stop sequence before a failure", [text("one ST"), failure], STOP, "one ST\n", "error"],
  ["max_tokens", [text("123456789")], { maxTokens: 2 }, "12345678\n", "length"],
  ["max_tokens in half a stop", [text("abcdSTO"), end()], { ...STOP, maxTokens: 1 }, "abcd\n", "length"],
  ["[silent], which stays as it is", [text("[sil"), text("ent]"), end()], {}, "[silent]", "stop"],
  ["[silent] with a stop", [text("[silent]"), end()], STOP, "[silent]", "stop"],
];
for (const [name, events, options, expected, finish] of LIMITS) {
  Deno.test(`reply: ${name}`, () => {
    const reply = readReply(events, options);
    assertEquals([reply.text, reply.end.finish, reply.agentEvents], [expected, finish, []]);
  });
}

Deno.test("reply: a cut by a stop or a limit is told, because the turn may go on", () => {
  const cutOf = (events: TurnEvent[], options: Partial<ReplyOptions>) => readReply(events, options).end.cut;
  assertEquals(cutOf([text("a STOP b")], STOP), "stop");
  assertEquals(cutOf([text("123456789")], { maxTokens: 2 }), "length");
  assertEquals(cutOf([text("one ST"), end("max_tokens")], STOP), undefined);
});

Deno.test("reply: the usage counts what was sent", () => {
  const tokens = (events: TurnEvent[], options: Partial<ReplyOptions>) =>
    readReply(events, options).end.usage.completion_tokens;
  assertEquals(tokens([text("1234 STOP"), text("x".repeat(400))], STOP), 2);
  assertEquals(tokens([text("x".repeat(400))], { maxTokens: 3 }), 3);
});

Deno.test("reply: the usage is the agent's last report, or an estimate", () => {
  const usage = { inputTokens: 100, outputTokens: 1, thoughtTokens: 5, cachedTokens: 40 };
  const last: TurnEvent = { type: "usage", usage: { ...usage, outputTokens: 20 } };
  const reported = readReply([text("Hi"), { type: "usage", usage }, last, end()]).end;
  assertEquals([reported.isEstimated, reported.usage.total_tokens], [false, 120]);
  const estimated = readReply([text("12345"), text('6"8'), end()]).end;
  const { prompt_tokens, completion_tokens } = estimated.usage;
  assertEquals([estimated.isEstimated, prompt_tokens, completion_tokens], [true, 10, 2]);
});

Deno.test("reply: does not depend on how the text is cut", () => {
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
    const options = [{}, STOP, { ...STOP, maxTokens: 10 }][random.below(3)]!;
    const whole = readReply([text(reply), end()], options);
    for (let i = 0; i < 10; i++) {
      const cut = readReply([...random.cut(reply).map(text), end()], options);
      assertEquals([cut.text, cut.end.finish], [whole.text, whole.end.finish], JSON.stringify(reply));
      if (!("stop" in options)) assertEquals(cut.end.usage, whole.end.usage);
    }
  }
});
