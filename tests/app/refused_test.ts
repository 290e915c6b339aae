import { assertEquals } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp } from "../support/harness/app_harness.ts";

const HI = { role: "user", content: "Hi" };
const JSON_TYPE = { "content-type": "application/json" };

type Refused = [
  name: string,
  body: BodyInit,
  headers: Record<string, string>,
  status: number,
  code: string,
  param: string | null,
];
const chat = (fields: Record<string, unknown>) => JSON.stringify({ messages: [HI], ...fields });

const REFUSED: Refused[] = [
  ["an empty body", "", JSON_TYPE, 400, "invalid_json", null],
  ["half a body", '{"messages":[', JSON_TYPE, 400, "invalid_json", null],
  ["a million brackets", "[".repeat(1_000_000), JSON_TYPE, 400, "invalid_json", null],
  [
    "a body that says that it is huge",
    "{}",
    { ...JSON_TYPE, "content-length": "999999999" },
    413,
    "body_too_large",
    null,
  ],
  ["a list", "[]", JSON_TYPE, 400, "invalid_type", null],
  ["no messages", "{}", JSON_TYPE, 400, "missing_required_parameter", "messages"],
  ["empty messages", chat({ messages: [] }), JSON_TYPE, 400, "invalid_value", "messages"],
  [
    "nothing said",
    chat({ messages: [{ role: "system", content: "x" }] }),
    JSON_TYPE,
    400,
    "invalid_value",
    "messages",
  ],
  [
    "an unknown part",
    chat({ messages: [HI, { role: "user", content: [{ type: "file" }] }] }),
    JSON_TYPE,
    400,
    "unsupported_content_type",
    "messages[1].content[0]",
  ],
  [
    "a remote picture",
    chat({
      messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "http://10.0.0.1/" } }] }],
    }),
    JSON_TYPE,
    400,
    "invalid_value",
    "messages[0].content[0].image_url.url",
  ],
  ["two answers", chat({ n: 2 }), JSON_TYPE, 400, "unsupported_value", "n"],
  [
    "a tool that must be called",
    chat({ tool_choice: "required" }),
    JSON_TYPE,
    400,
    "unsupported_parameter",
    "tool_choice",
  ],
  [
    "a format that nobody knows",
    chat({ response_format: { type: "xml" } }),
    JSON_TYPE,
    400,
    "unsupported_value",
    "response_format.type",
  ],
  [
    "a name without end",
    chat({}),
    { ...JSON_TYPE, "x-session-id": "x".repeat(300) },
    400,
    "invalid_value",
    "X-Session-Id",
  ],
  [
    "a key without end",
    chat({}),
    { ...JSON_TYPE, "idempotency-key": "x".repeat(300) },
    400,
    "invalid_value",
    "Idempotency-Key",
  ],
];

for (const [name, body, headers, status, code, param] of REFUSED) {
  for (const stream of [true, false]) {
    Deno.test(`refused: ${name}, ${stream ? "a stream" : "JSON"} taken: the agent is not bothered`, async () => {
      await using app = startApp({ script: saying("Hello.") });
      const accept = stream ? "text/event-stream" : "application/json";
      const init = { method: "POST", headers: { ...headers, accept }, body };
      const response = await app.send("/v1/chat/completions", init);
      const error = await errorOf(response);
      assertEquals([error.status, error.code, error.param], [status, code, param]);
      assertEquals(error.type, "invalid_request_error");
      assertEquals(response.headers.get("content-type"), "application/json; charset=utf-8");
      assertEquals([app.agent.sessions.length, app.agent.prompts.length], [0, 0]);
      assertEquals((await app.chat()).status, 200, "and the next is served");
    });
  }
}

Deno.test("refused: a body that is no JSON by its type", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const init = { method: "POST", headers: { "content-type": "text/plain" }, body: chat({}) };
  const error = await errorOf(await app.send("/v1/chat/completions", init));
  assertEquals(error.code, "unsupported_media_type");
  assertEquals(app.agent.sessions.length, 0);
});

Deno.test("refused: a body that breaks off", async () => {
  await using app = startApp({ script: saying("Hello.") });
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(new TextEncoder().encode('{"messages":'));
    },
    pull(controller) {
      controller.error(new TypeError("reset"));
    },
  });
  const error = await errorOf(
    await app.send("/v1/chat/completions", { method: "POST", headers: JSON_TYPE, body }),
  );
  assertEquals([error.status, error.code], [400, "invalid_json"]);
  assertEquals(app.agent.sessions.length, 0);
});
