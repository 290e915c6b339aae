/** The official client, as its users use it. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import OpenAI from "npm:openai@7.55.0";
import { script, type Server, startServer, until } from "../support/harness/server_process.ts";

function client(server: Server, options: { apiKey?: string; maxRetries?: number } = {}): OpenAI {
  return new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "anything", maxRetries: 0, ...options });
}

function said(content: string): OpenAI.ChatCompletionMessageParam[] {
  return [{ role: "user", content }];
}

Deno.test("openai: models.list and models.retrieve", async () => {
  await using server = await startServer();
  const openai = client(server);
  const models = await Array.fromAsync(await openai.models.list());
  assertEquals(models.map(({ id, object }) => [id, object]), [["openab", "model"]]);
  assertEquals((await openai.models.retrieve("openab")).id, "openab");
  const error = await assertRejects(() => openai.models.retrieve("no/such"), OpenAI.NotFoundError);
  assertEquals(error.code, "model_not_found");
});

Deno.test("openai: chat.completions.create, whole", async () => {
  await using server = await startServer();
  const completion = await client(server).chat.completions.create({
    model: "gpt-4o",
    messages: [
      { role: "system", content: "Be brief." },
      ...said(script({ thought: "hm" }, { text: "[happy] Hi." })),
    ],
  });
  const [choice] = completion.choices;
  assertEquals([choice?.message.content, choice?.finish_reason, completion.model], [
    "[happy] Hi.\n",
    "stop",
    "gpt-4o",
  ]);
  assert(completion.usage!.prompt_tokens > 0 && completion.usage!.completion_tokens > 0);
  assert(completion._request_id);
});

Deno.test("openai: chat.completions.create, streamed, with usage", async () => {
  await using server = await startServer();
  const stream = await client(server).chat.completions.create({
    model: "openab",
    messages: said(script({ text: "One. " }, { text: "Two." }, {
      stop: "end_turn",
      usage: { inputTokens: 11, outputTokens: 7, totalTokens: 18, cachedReadTokens: 3, thoughtTokens: 2 },
    })),
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = "";
  const chunks = await Array.fromAsync(stream);
  for (const chunk of chunks) text += chunk.choices[0]?.delta.content ?? "";
  assertEquals(text, "One. Two.\n");
  assertEquals(chunks.at(-1)?.usage, {
    prompt_tokens: 11,
    completion_tokens: 7,
    total_tokens: 18,
    prompt_tokens_details: { cached_tokens: 3 },
    completion_tokens_details: { reasoning_tokens: 2 },
  });
  assertEquals(new Set(chunks.map(({ id }) => id)).size, 1);
});

Deno.test("openai: the .stream() helper, with agent events", async () => {
  await using server = await startServer();
  const runner = client(server).chat.completions.stream({
    model: "openab",
    messages: said(script(
      { thought: "let me see" },
      { tool: { id: "t", title: "look", kind: "read", status: "pending" } },
      { plan: [{ content: "answer", priority: "high", status: "pending" }] },
      { toolUpdate: { id: "t", status: "completed" } },
      { text: "Done" },
    )),
    stream_options: { include_agent_events: true } as OpenAI.ChatCompletionStreamOptions,
  });
  const asides: unknown[] = [];
  runner.on("chunk", ({ choices }) => {
    const { agent, reasoning_content } = (choices[0]?.delta ?? {}) as {
      agent?: unknown;
      reasoning_content?: string;
    };
    if (agent ?? reasoning_content) asides.push(agent ?? reasoning_content);
  });
  const completion = await runner.finalChatCompletion();
  assertEquals(completion.choices[0]?.message.content, "Done\n");
  assertEquals(asides, [
    "let me see",
    { type: "tool_call", tool_call_id: "t", title: "look", kind: "read", status: "pending" },
    { type: "plan", entries: [{ content: "answer", priority: "high", status: "pending" }] },
    { type: "tool_call", tool_call_id: "t", title: "look", kind: "read", status: "completed" },
  ]);
});

Deno.test("openai: abort", async () => {
  await using server = await startServer();
  const stream = await client(server).chat.completions.create({
    model: "openab",
    messages: said(script({ text: "on and on" }, { hang: true })),
    stream: true,
  });
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
  stream.controller.abort();
  await server.receivedUntil((all) => all.some(({ method }) => method === "session/cancel"));
});

Deno.test("openai: error classes", async () => {
  await using server = await startServer({ env: { VTUBER_AUTH_KEY: "right", VTUBER_MAX_IN_FLIGHT: "1" } });
  const wrong = await assertRejects(
    () => client(server, { apiKey: "wrong" }).models.list(),
    OpenAI.AuthenticationError,
  );
  assertEquals([wrong.status, wrong.code], [401, "invalid_api_key"]);
  const openai = client(server, { apiKey: "right" });
  const bad = await assertRejects(
    () => openai.chat.completions.create({ model: "m", messages: [], n: 2 }),
    OpenAI.BadRequestError,
  );
  assertEquals([bad.param, bad.type], ["messages", "invalid_request_error"]);
  assert(bad.requestID);
  const failed = await assertRejects(
    () =>
      openai.chat.completions.create({
        model: "m",
        messages: said(script({ error: { code: -32603, message: "no model" } })),
      }),
    OpenAI.InternalServerError,
  );
  assertEquals([failed.status, failed.code], [502, "agent_error"]);
  const running = await openai.chat.completions.create({
    model: "m",
    messages: said(script({ text: "." }, { hang: true })),
    stream: true,
  });
  const busy = await assertRejects(
    () => openai.chat.completions.create({ model: "m", messages: said("me too") }),
    OpenAI.RateLimitError,
  );
  assertEquals(busy.code, "rate_limit_exceeded");
  running.controller.abort();
});

Deno.test("openai: its retries never run a turn twice", async () => {
  await using server = await startServer();
  const openai = client(server, { maxRetries: 2 });
  await assertRejects(
    () =>
      openai.chat.completions.create({
        model: "m",
        messages: said(script({ text: "half" }, { error: { code: -32603, message: "broke" } })),
      }),
    OpenAI.InternalServerError,
  );
  const prompts = async () =>
    (await server.received()).filter(({ method }) => method === "session/prompt").length;
  assertEquals(await prompts(), 1);

  // The same request again, as the SDK marks it, while the first still runs: it joins, and one turn answers both.
  const content = script({ text: "a" }, { sleepMs: 300 }, { text: "b" });
  const send = (count: string) =>
    server.chat(content, { stream: false }, { headers: { "x-stainless-retry-count": count } })
      .then((response) => response.json());
  const first = send("0");
  await until(async () => await prompts() === 2);
  const [one, two] = await Promise.all([first, send("1")]);
  assertEquals([one.choices[0].message.content, two.choices[0].message.content], ["ab\n", "ab\n"]);
  assertEquals((await send("2")).choices[0].message.content, "ab\n");
  assertEquals(await prompts(), 2);
});

Deno.test("openai: its retries get through once there is room", async () => {
  await using server = await startServer({ env: { VTUBER_MAX_IN_FLIGHT: "1" } });
  const running = await server.chat(script({ text: "." }, { hang: true }));
  // More than it usually makes: the slot is free when the agent has ended, however long a slow machine takes.
  const waiting = client(server, { maxRetries: 20 }).chat.completions.create({
    model: "m",
    messages: said(script({ text: "at last" })),
  });
  await server.logged("rate_limit_exceeded");
  await running.body!.cancel();
  assertEquals((await waiting).choices[0]?.message.content, "at last\n");
});

Deno.test("openai: legacy completions, whole and streamed", async () => {
  await using server = await startServer();
  const openai = client(server);
  const prompt = script({ text: "Once " }, { text: "upon" });
  const whole = await openai.completions.create({ model: "m", prompt });
  assertEquals([whole.choices[0]?.text, whole.choices[0]?.finish_reason], ["Once upon\n", "stop"]);
  let text = "";
  for await (const chunk of await openai.completions.create({ model: "m", prompt, stream: true })) {
    text += chunk.choices[0]?.text;
  }
  assertEquals(text, "Once upon\n");
});

Deno.test("openai: structured output is checked, and asked for once more", async () => {
  await using server = await startServer();
  const completion = await client(server).chat.completions.create({
    model: "m",
    messages: said(script({ text: '```json\n{"mood": "happy"}\n```' })),
    response_format: {
      type: "json_schema",
      json_schema: {
        name: "mood",
        schema: { type: "object", properties: { mood: { type: "string" } }, required: ["mood"] },
      },
    },
  });
  assertEquals(JSON.parse(completion.choices[0]!.message.content!), { mood: "happy" });
});
