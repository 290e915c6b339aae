/** The official OpenAI client in front of a real server. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import OpenAI from "npm:openai@7.55.0";
import {
  inConversation,
  script,
  type ServerProcess,
  startServer,
  testServer,
  until,
} from "../support/harness/server_process.ts";

function clientOf(server: ServerProcess, options: { apiKey?: string; maxRetries?: number } = {}): OpenAI {
  return new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "anything", maxRetries: 0, ...options });
}

function user(content: string): OpenAI.ChatCompletionMessageParam[] {
  return [{ role: "user", content }];
}

testServer("openai SDK", {}, {
  async "models.list and models.retrieve"(server) {
    const openai = clientOf(server);
    const models = await Array.fromAsync(await openai.models.list());
    assertEquals(models.map(({ id, object }) => [id, object]), [["openab", "model"]]);
    assertEquals((await openai.models.retrieve("openab")).id, "openab");
    const error = await assertRejects(() => openai.models.retrieve("no/such"), OpenAI.NotFoundError);
    assertEquals(error.code, "model_not_found");
  },

  async "chat.completions.create"(server) {
    const completion = await clientOf(server).chat.completions.create({
      model: "gpt-4o",
      messages: [
        { role: "system", content: "Be brief." },
        ...user(script({ thought: "hm" }, { text: "[happy] Hi." })),
      ],
    });
    const [choice] = completion.choices;
    const found = [choice?.message.content, choice?.finish_reason, completion.model];
    assertEquals(found, ["[happy] Hi.\n", "stop", "gpt-4o"]);
    assert(completion.usage!.prompt_tokens > 0 && completion.usage!.completion_tokens > 0);
    assert(completion._request_id);
  },

  async "chat.completions.create as a stream with usage"(server) {
    const stream = await clientOf(server).chat.completions.create({
      model: "openab",
      messages: user(script({ text: "One. " }, { text: "Two." }, {
        stop: "end_turn",
        usage: { inputTokens: 11, outputTokens: 7, totalTokens: 18, cachedReadTokens: 3, thoughtTokens: 2 },
      })),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = await Array.fromAsync(stream);
    assertEquals(chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join(""), "One. Two.\n");
    assertEquals(chunks.at(-1)?.usage, {
      prompt_tokens: 11,
      completion_tokens: 7,
      total_tokens: 18,
      prompt_tokens_details: { cached_tokens: 3 },
      completion_tokens_details: { reasoning_tokens: 2 },
    });
    assertEquals(new Set(chunks.map(({ id }) => id)).size, 1);
  },

  async "chat.completions.stream with agent events"(server) {
    const runner = clientOf(server).chat.completions.stream({
      model: "openab",
      messages: user(script(
        { thought: "let me see" },
        { tool: { id: "t", title: "look", kind: "read", status: "pending" } },
        { plan: [{ content: "answer", priority: "high", status: "pending" }] },
        { toolUpdate: { id: "t", status: "completed" } },
        { text: "Done" },
      )),
      stream_options: { include_agent_events: true } as OpenAI.ChatCompletionStreamOptions,
    });
    const events: unknown[] = [];
    runner.on("chunk", ({ choices }) => {
      const delta = (choices[0]?.delta ?? {}) as { agent?: unknown; reasoning_content?: string };
      events.push(...[delta.agent ?? delta.reasoning_content ?? []].flat());
    });
    const completion = await runner.finalChatCompletion();
    assertEquals(completion.choices[0]?.message.content, "Done\n");
    assertEquals(events, [
      "let me see",
      { type: "tool_call", tool_call_id: "t", title: "look", kind: "read", status: "pending" },
      { type: "plan", entries: [{ content: "answer", priority: "high", status: "pending" }] },
      { type: "tool_call", tool_call_id: "t", title: "look", kind: "read", status: "completed" },
    ]);
  },

  async "completions.create, whole and as a stream"(server) {
    const openai = clientOf(server);
    const prompt = script({ text: "Once " }, { text: "upon" });
    const completion = await openai.completions.create({ model: "m", prompt });
    const [choice] = completion.choices;
    assertEquals([choice?.text, choice?.finish_reason], ["Once upon\n", "stop"]);
    let text = "";
    for await (const chunk of await openai.completions.create({ model: "m", prompt, stream: true })) {
      text += chunk.choices[0]?.text;
    }
    assertEquals(text, "Once upon\n");
  },

  async "structured output comes without its fence"(server) {
    const schema = { type: "object", properties: { mood: { type: "string" } }, required: ["mood"] };
    const completion = await clientOf(server).chat.completions.create({
      model: "m",
      messages: user(script({ text: '```json\n{"mood": "happy"}\n```' })),
      response_format: { type: "json_schema", json_schema: { name: "mood", schema } },
    });
    assertEquals(JSON.parse(completion.choices[0]!.message.content!), { mood: "happy" });
  },

  async "abort cancels the agent's turn"(server) {
    const stream = await clientOf(server).chat.completions.create({
      model: "openab",
      messages: user(script({ text: "on and on" }, { hang: true })),
      stream: true,
    });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
    stream.controller.abort();
    await server.receivedUntil((all) => all.some(({ method }) => method === "session/cancel"));
  },

  async "retries never run a turn twice"(server) {
    const before = (await server.prompts()).length;
    const prompts = async () => (await server.prompts()).length - before;
    const broken = script({ text: "half" }, { error: { code: -32603, message: "broke" } });
    const request = { model: "m", messages: user(broken) };
    const openai = clientOf(server, { maxRetries: 2 });
    await assertRejects(() => openai.chat.completions.create(request), OpenAI.InternalServerError);
    assertEquals(await prompts(), 1);

    // A retry, as the SDK marks it, joins the running turn and later gets the finished one.
    const content = script({ text: "a" }, { sleepMs: 300 }, { text: "b" });
    const send = async (retryCount: string) => {
      const init = { headers: { "x-stainless-retry-count": retryCount } };
      const { choices } = await (await server.chat(content, { stream: false }, init)).json();
      return choices[0].message.content;
    };
    const first = send("0");
    await until(async () => await prompts() === 2);
    assertEquals(await Promise.all([first, send("1")]), ["ab\n", "ab\n"]);
    assertEquals(await send("2"), "ab\n");
    assertEquals(await prompts(), 2);
  },
});

Deno.test("openai SDK: error classes", async () => {
  await using server = await startServer({ env: { VTUBER_AUTH_KEY: "right", VTUBER_MAX_IN_FLIGHT: "1" } });
  const wrong = await assertRejects(
    () => clientOf(server, { apiKey: "wrong" }).models.list(),
    OpenAI.AuthenticationError,
  );
  assertEquals([wrong.status, wrong.code], [401, "invalid_api_key"]);
  const { completions } = clientOf(server, { apiKey: "right" }).chat;
  const create = (messages: OpenAI.ChatCompletionMessageParam[], n = 1) =>
    completions.create({ model: "m", messages, n });
  const bad = await assertRejects(() => create([], 2), OpenAI.BadRequestError);
  assertEquals([bad.param, bad.type], ["messages", "invalid_request_error"]);
  assert(bad.requestID);
  const failing = user(script({ error: { code: -32603, message: "no model" } }));
  const failed = await assertRejects(() => create(failing), OpenAI.InternalServerError);
  assertEquals([failed.status, failed.code], [502, "agent_error"]);
  const hanging = user(script({ text: "." }, { hang: true }));
  const running = await completions.create({ model: "m", messages: hanging, stream: true });
  const busy = await assertRejects(() => create(user("me too")), OpenAI.RateLimitError);
  assertEquals(busy.code, "rate_limit_exceeded");
  running.controller.abort();
});

for (
  const [code, env, conversation] of [
    ["rate_limit_exceeded", { VTUBER_MAX_IN_FLIGHT: "1" }, "other"],
    ["session_busy", { VTUBER_ON_BUSY: "reject" }, "talk"],
  ] as const
) {
  Deno.test(`openai SDK: a retry after ${code} succeeds`, async () => {
    await using server = await startServer({ env });
    const running = await server.chat(script({ text: "first" }, { hang: true }), {}, inConversation("talk"));
    // More retries than the default of 2, because a slow machine may take longer to end the first turn.
    const retried = clientOf(server, { maxRetries: 20 }).chat.completions.create({
      model: "m",
      messages: user(script({ text: "at last" })),
    }, { headers: { "x-session-id": conversation } });
    await server.logged(code);
    await running.body!.cancel();
    assertEquals((await retried).choices[0]?.message.content, "at last\n");
    assertEquals((await server.prompts()).length, 2);
  });
}
