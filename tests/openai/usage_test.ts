import { assertEquals } from "@std/assert";
import type { Message } from "../../lib/conversation/message.ts";
import { completionUsage, promptTokens, TokenCount } from "../../lib/openai/usage.ts";
import { Random } from "../support/harness/random.ts";

const COUNTS: [text: string, tokens: number][] = [
  ["", 1],
  ["abcde", 2],
  ["Hello, world! How are you?", 7],
  ["éàüß", 1],
  ["こんにちは", 5],
  ["😀😀😀😀", 4],
  ["こんabcd", 3],
];

Deno.test("TokenCount: four Latin characters, or one of any other script, are a token", () => {
  for (const [text, tokens] of COUNTS) {
    const count = new TokenCount();
    count.add(text);
    assertEquals(count.value, tokens, text);
  }
});

Deno.test("TokenCount: does not depend on how the text is cut", () => {
  const random = new Random(7);
  const text = random.text(["Hello ", "語", "é", "👍🏽", "\n", "data"], 500);
  const whole = new TokenCount();
  whole.add(text);
  for (let i = 0; i < 20; i++) {
    const count = new TokenCount();
    for (const piece of random.cut(text)) count.add(piece);
    assertEquals(count.value, whole.value);
  }
});

function message(...parts: Message["parts"]): Message {
  return { role: "user", parts };
}
const text = (text: string) => ({ type: "text", text }) as const;
const image = { type: "image", mimeType: "image/png", data: "QUJD" } as const;

const PROMPTS: [name: string, messages: Message[], tokens: number][] = [
  ["nothing", [], 1],
  ["several messages", [message(text("abcd")), message(text("abcd"), text("abcde"))], 4],
  ["two images, however large", [message(image), message({ ...image, data: "QUJD".repeat(9999) })], 171],
];

for (const [name, messages, tokens] of PROMPTS) {
  Deno.test(`promptTokens: ${name}`, () => assertEquals(promptTokens(messages), tokens));
}

const ESTIMATE = { prompt: 11, completion: 7 };
const NONE = { inputTokens: 0, outputTokens: 0, thoughtTokens: 0, cachedTokens: 0 };
type Expected = [prompt: number, completion: number, cached: number, reasoning: number];
const ALL: Expected = [100, 20, 40, 5];
const USAGES: [name: string, reported: Parameters<typeof completionUsage>[0], expected: Expected][] = [
  ["no numbers", undefined, [11, 7, 0, 0]],
  ["zeros", NONE, [11, 7, 0, 0]],
  ["all numbers", { inputTokens: 100, outputTokens: 20, thoughtTokens: 5, cachedTokens: 40 }, ALL],
  ["input alone", { ...NONE, inputTokens: 100 }, [100, 7, 0, 0]],
  ["output alone", { ...NONE, outputTokens: 20 }, [11, 20, 0, 0]],
  ["cached tokens beside the input", { ...NONE, inputTokens: 3, cachedTokens: 1000 }, [1003, 7, 1000, 0]],
  ["cached tokens alone", { ...NONE, cachedTokens: 1000 }, [1000, 7, 1000, 0]],
];

for (const [name, reported, [prompt, completion, cached, reasoning]] of USAGES) {
  Deno.test(`completionUsage: ${name}`, () => {
    assertEquals(completionUsage(reported, ESTIMATE), {
      prompt_tokens: prompt,
      completion_tokens: completion,
      total_tokens: prompt + completion,
      prompt_tokens_details: { cached_tokens: cached },
      completion_tokens_details: { reasoning_tokens: reasoning },
    });
  });
}
