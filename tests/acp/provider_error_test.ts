import { assertEquals } from "@std/assert";
import { classifyProviderError, plainMessage } from "../../lib/acp/provider_error.ts";

for (
  const [kind, texts] of [
    ["login", [
      "Authentication required",
      "Internal error: Your session has ended: sign in again",
      "Invalid API key · Please run /login",
      "unexpected status 401 Unauthorized: Missing bearer token",
      "Incorrect API key provided: [secret]. You can find your API key in the dashboard.",
      "API key not valid. Please pass a valid API key.",
      "OAuth token has expired. Please obtain a new token",
      "You are logged out.",
    ]],
    ["quota", [
      "quota exceeded: try again tomorrow",
      "You've hit your usage limit. To continue, upgrade, or log in to another account.",
      "403 You've reached your usage limit for this billing cycle.",
      "You exceeded your current quota, please check your plan and billing details.",
      "Credit balance is too low",
      "You're out of extra usage. Add more usage credits.",
      "exceeded retry limit, last status: 429 Too Many Requests",
      'API Error: 429 {"type":"error","error":{"type":"rate_limit_error"}}',
      "Resource has been exhausted (e.g. check quota).",
      "You've hit your limit · resets May 5 at 9pm",
    ]],
    ["model", [
      "The model `gpt-9` does not exist or you do not have access to it.",
      "models/gemini-9 is not found for API version v1beta",
      "There's an issue with the selected model (opus-9).",
      "Model not found: gpt-9",
      "unknown model gpt-9",
      "Model access denied.",
    ]],
    ["provider", [
      "Internal error: API Error: 400 fake failure",
      "API Error: 529 Overloaded",
      "stream disconnected before completion",
      "error sending request: connection refused",
      "fetch failed",
      "The request timed out",
      "status 503",
    ]],
    ["unknown", [
      "Internal error",
      "panicked at src/main.rs:401:7",
      "401 tests failed",
      "cannot read the log in /tmp/build.log",
      "catalog index is missing",
      "",
    ]],
  ] as const
) {
  for (const text of texts) {
    Deno.test(`classifyProviderError: ${kind}: ${text}`, () =>
      assertEquals(classifyProviderError(text), kind));
  }
}

const gemini = (message: string) =>
  JSON.stringify({ type: "error", error: { type: "api_error", code: 400, status: "INTERNAL", message } });
for (
  const [name, text, expected] of [
    ["words", "No.", "No."],
    ["Gemini's JSON", gemini("fake failure"), "fake failure"],
    ["JSON in JSON", gemini(gemini("fake failure")), "fake failure"],
    ["JSON behind words", `API Error: 429 ${gemini("Slow down")}`, "API Error: 429 Slow down"],
    ["an error in words", '{"error":"No."}', "No."],
    ["a message", '{"message":"No.","code":7}', "No."],
    ["JSON without a message", '{"code":7}', '{"code":7}'],
    ["null in JSON", '{"error":null}', '{"error":null}'],
    ["what only looks like JSON", "use {name}", "use {name}"],
  ] as const
) {
  Deno.test(`plainMessage: finds the sentence in ${name}`, () => assertEquals(plainMessage(text), expected));
}

Deno.test("classifyProviderError: needs linear time", () => {
  const start = performance.now();
  for (const part of ["a", "model ", "exceeded your ", "api key "]) {
    classifyProviderError(part.repeat(100_000));
  }
  assertEquals(performance.now() - start < 2_000, true);
});
