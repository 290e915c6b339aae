import { assertEquals } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { errorOf, startApp } from "../support/harness/app_harness.ts";
import { recordingLog, user } from "../support/harness/chat_fixture.ts";

const JSON_TYPE = { "content-type": "application/json" };
const chat = (fields: Record<string, unknown> = {}) => JSON.stringify({ messages: [user("Hi")], ...fields });
const content = (...parts: unknown[]) => chat({ messages: [user("Hi"), { role: "user", content: parts }] });

/** Bodies that are refused with status 400, or 415 for another media type. */
const REFUSED: [
  name: string,
  code: string,
  param: string | null,
  body: string,
  headers?: Record<string, string>,
][] = [
  ["a million brackets", "invalid_json", null, "[".repeat(1_000_000)],
  ["the wrong type", "unsupported_media_type", null, chat(), { "content-type": "text/plain" }],
  ["no messages", "missing_required_parameter", "messages", "{}"],
  [
    "a remote image",
    "invalid_value",
    "messages[1].content[0].image_url.url",
    content({ type: "image_url", image_url: { url: "http://10.0.0.1/" } }),
  ],
];

for (const [name, code, param, body, headers] of REFUSED) {
  Deno.test(`refused: ${name}, without a session, and the next request is served`, async () => {
    await using app = startApp({ script: saying("Hello.") });
    for (const accept of ["text/event-stream", "application/json"]) {
      const init = { method: "POST", headers: { ...JSON_TYPE, ...headers, accept }, body };
      const response = await app.send("/v1/chat/completions", init);
      const error = await errorOf(response);
      const status = code === "unsupported_media_type" ? 415 : 400;
      assertEquals([error.status, error.code, error.param], [status, code, param]);
      assertEquals(error.type, "invalid_request_error");
      assertEquals(response.headers.get("content-type"), "application/json; charset=utf-8");
    }
    assertEquals([app.agent.sessions.length, app.agent.prompts.length], [0, 0]);
    assertEquals((await app.chat()).status, 200);
  });
}

Deno.test("refused: the log repeats nothing of the body", async () => {
  const { log, lines } = recordingLog();
  await using app = startApp({ log });
  for (const body of ["hunter2", '{"hunter2', content({ type: "x".repeat(50) + "hunter2" })]) {
    assertEquals((await app.post("/v1/chat/completions", body)).status, 400);
  }
  assertEquals([lines.length >= 3, lines.filter((line) => line.includes("hunter2"))], [true, []]);
});

Deno.test("refused: a stranger who makes up paths does not fill the log; a client with a key sees each path", async () => {
  const { log, lines } = recordingLog();
  await using app = startApp({ log: { ...log, debug() {} }, access: { authKey: "owner" } });
  const paths = Array.from({ length: 20 }, (_, number) => `/made-up/${number}`);
  for (const path of paths) assertEquals((await app.get(path)).status, 401);
  assertEquals(lines.length, 1);
  const headers = { authorization: "Bearer owner" };
  for (const path of paths) assertEquals((await app.get(path, { headers })).status, 404);
  assertEquals(lines.length, 1 + paths.length);
});
