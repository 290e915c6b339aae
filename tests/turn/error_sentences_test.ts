import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { AppError, ERROR_STATUS, type ErrorCode } from "../../lib/core/errors.ts";
import { sentenceOf } from "../../lib/turn/error_sentences.ts";

Deno.test("sentenceOf: each failure is one short sentence without codes, tags or our names", () => {
  for (const code of Object.keys(ERROR_STATUS) as ErrorCode[]) {
    const sentence = sentenceOf(new AppError(code, "panicked at lib.rs:7: [secret] {code}"));
    assertMatch(sentence, /^[A-Z][A-Za-z ,:.]+\.$/);
    assertEquals([sentence.length < 80, /panicked|secret/.test(sentence)], [true, false]);
  }
});

for (
  const [reason, part] of [
    ["login", "log in"],
    ["quota", "quota"],
    ["model", "model is not available"],
    ["provider", "does not answer"],
    ["unknown", "went wrong"],
  ] as const
) {
  Deno.test(`sentenceOf: a failure with the reason ${reason} is told truly, without the agent's words`, () => {
    const sentence = sentenceOf(new AppError("agent_error", "API Error 400 sk-1", { reason }));
    assertStringIncludes(sentence, part);
    assertMatch(sentence, /^Sorry, [A-Za-z ,.]+\.$/);
  });
}
