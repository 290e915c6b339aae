import { assertEquals, assertMatch } from "@std/assert";
import { type ReplyEnd, type ReplyOptions, ReplyReader, sentenceOf } from "../../lib/openai/reply_reader.ts";
import type { StopReason, ToolCallId, TurnEvent } from "../../lib/turn/event.ts";
import { AppError, ERROR_CODES } from "../../lib/core/errors.ts";
import { Random } from "../support/harness/random.ts";

interface Told {
  texts: string[];
  asides: TurnEvent[];
  ends: ReplyEnd[];
}

const PLAIN: ReplyOptions = { stop: [], maxTokens: undefined, promptTokens: 10 };

/** What a reply makes of a turn. */
function told(events: readonly TurnEvent[], options: Partial<ReplyOptions> = {}): Told & { text: string } {
  const told: Told = { texts: [], asides: [], ends: [] };
  const reply = new ReplyReader({ ...PLAIN, ...options }, {
    text: (text) => told.texts.push(text),
    aside: (event) => told.asides.push(event),
    end: (ending) => told.ends.push(ending),
  });
  for (const event of events) {
    reply.read(event);
    assertEquals(reply.over, told.ends.length > 0);
  }
  assertEquals(told.texts.includes(""), false, "nothing empty is said");
  return { ...told, text: told.texts.join("") + told.ends.map(({ tail }) => tail).join("") };
}

const text = (text: string): TurnEvent => ({ type: "text", text });
const end = (reason: StopReason = "end_turn"): TurnEvent => ({ type: "end", reason });
const thought: TurnEvent = { type: "thought", text: "Hm." };
const plan: TurnEvent = { type: "plan", entries: [] };
const tool: TurnEvent = {
  type: "tool",
  tool: { id: "t1" as ToolCallId, title: "Read", kind: "read", status: "pending" },
};
const crashed = new AppError("agent_crashed", "Gone.", { prompted: true });

const ENDINGS: [reason: StopReason, finish: string][] = [
  ["end_turn", "stop"],
  ["max_tokens", "length"],
  ["max_turn_requests", "length"],
  ["refusal", "content_filter"],
  ["cancelled", "stop"],
];

for (const [reason, finish] of ENDINGS) {
  Deno.test(`Reply: ${reason} is ${finish}`, () => {
    const { text: said, ends } = told([text("Hi"), end(reason)]);
    assertEquals(said, "Hi\n");
    assertEquals(ends.map(({ finish, failure }) => [finish, failure]), [[finish, undefined]]);
  });
}

Deno.test("Reply: text is told as it comes, and what is beside it is told beside it", () => {
  const { texts, asides, ends } = told([thought, text("One"), tool, text(" two."), plan, end()]);
  assertEquals(texts, ["One", " two."]);
  assertEquals(ends[0]?.tail, "\n");
  assertEquals(asides, [thought, tool, plan]);
});

Deno.test("Reply: a turn that says nothing", () => {
  const { texts, ends } = told([end()]);
  assertEquals(texts, []);
  assertEquals(ends.length, 1);
  assertEquals(ends[0]?.usage.completion_tokens, 1);
});

Deno.test("Reply: a failure ends it, after what was said", () => {
  const { text: said, ends } = told([text("On"), { type: "failure", failure: crashed }]);
  assertEquals(said, "On\n");
  assertEquals(ends.map(({ finish, failure }) => [finish, failure]), [["error", crashed]]);
});

const BROKEN: [said: string[], text: string][] = [
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
  Deno.test(`Reply: a failure after ${JSON.stringify(pieces)} leaves room for a sentence`, () => {
    assertEquals(told([...pieces.map(text), { type: "failure", failure: crashed }]).text, expected);
  });
}

Deno.test("Reply: nothing is told after its end", () => {
  const { text: said, asides, ends } = told([text("a STOP b"), text("c"), thought, end(), text("d"), end()], {
    stop: ["STOP"],
  });
  assertEquals(said, "a \n");
  assertEquals([asides.length, ends.length], [0, 1]);
});

Deno.test("Reply: a stop ends it before the turn has ended", () => {
  const { text: said, ends } = told([text("one ST"), text("OP two")], { stop: ["STOP"] });
  assertEquals(said, "one \n");
  assertEquals(ends[0]?.finish, "stop");
});

Deno.test("Reply: what was held back for a stop is said at the end, and before a failure", () => {
  assertEquals(told([text("one ST"), end()], { stop: ["STOP"] }).text, "one ST\n");
  const failed = told([text("one ST"), { type: "failure", failure: crashed }], { stop: ["STOP"] });
  assertEquals(failed.text, "one ST\n");
  assertEquals(failed.ends[0]?.finish, "error");
});

Deno.test("Reply: the longest reply ends it", () => {
  const { text: said, ends } = told([text("123456789")], { maxTokens: 2 });
  assertEquals(said, "12345678\n");
  assertEquals(ends[0]?.finish, "length");
});

Deno.test("Reply: what was held back may be too long", () => {
  const { text: said, ends } = told([text("abcdSTO"), end()], { stop: ["STOP"], maxTokens: 1 });
  assertEquals(said, "abcd\n");
  assertEquals(ends[0]?.finish, "length");
});

Deno.test("Reply: the agent's numbers are told, else estimates", () => {
  const usage = { inputTokens: 100, outputTokens: 20, thoughtTokens: 5, cachedTokens: 40 };
  const counted = told([text("Hi"), { type: "usage", usage }, end()]).ends[0]!;
  assertEquals(counted.estimated, false);
  assertEquals(counted.usage.total_tokens, 120);
  const guessed = told([text("12345"), text("678"), end()]).ends[0]!;
  assertEquals(guessed.estimated, true);
  assertEquals([guessed.usage.prompt_tokens, guessed.usage.completion_tokens], [10, 2]);
});

Deno.test("Reply: the last numbers count", () => {
  const usage = { inputTokens: 1, outputTokens: 1, thoughtTokens: 0, cachedTokens: 0 };
  const { ends } = told([
    { type: "usage", usage },
    { type: "usage", usage: { ...usage, outputTokens: 9 } },
    end(),
  ]);
  assertEquals(ends[0]?.usage.completion_tokens, 9);
});

Deno.test("Reply: silence stays silence, to the letter", () => {
  assertEquals(told([text("[sil"), text("ent]"), end()]).text, "[silent]");
  assertEquals(told([text("[silent]"), end()], { stop: ["STOP"] }).text, "[silent]");
});

Deno.test("Reply: however the reply comes, it is the same", () => {
  const words = ["[happy]", "\n", "Hello", "STOP", "ST", "OP", "。", "語", "a b", "[silent]"];
  for (let seed = 0; seed < 100; seed++) {
    const random = new Random(seed);
    const reply = random.text(words, 30);
    const options = { stop: ["STOP"], maxTokens: random.below(2) ? 10 : undefined };
    const whole = told([text(reply), end()], options);
    for (let i = 0; i < 10; i++) {
      const cut = told([...random.cut(reply).map(text), end()], options);
      assertEquals(
        [cut.text, cut.ends[0]?.finish],
        [whole.text, whole.ends[0]?.finish],
        JSON.stringify(reply),
      );
    }
  }
});

Deno.test("sentenceOf: every failure is one short sentence without code, tag or name of ours", () => {
  for (const code of ERROR_CODES) {
    const sentence = sentenceOf(new AppError(code, "panicked at lib.rs:7: [secret] {code}"));
    assertMatch(sentence, /^[A-Z][A-Za-z ,:.]+\.$/);
    assertEquals(sentence.length < 80, true);
    assertEquals(/panicked|secret/.test(sentence), false);
  }
});
