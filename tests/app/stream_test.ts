import { assertEquals, assertMatch } from "@std/assert";
import { saying } from "../support/agents/memory_agent.ts";
import { startApp, WriteReader } from "../support/harness/app_harness.ts";
import { contentOf, readStream } from "../support/harness/chat_fixture.ts";
import { checkWireProfile, parseFrames } from "../support/harness/wire_profile.ts";

const STREAM = "text/event-stream";
const MODES: [
  name: string,
  body: Record<string, unknown>,
  accept: string | undefined,
  isStreamed: boolean,
][] = [
  ["no stream field", {}, undefined, false],
  ["stream true", { stream: true }, undefined, true],
  ["stream null", { stream: null }, undefined, false],
  ["Accept a stream among others", {}, `application/json, ${STREAM};q=0.9`, true],
  ["AITuber-kit's thread", { threadId: "t1" }, undefined, true],
  ["a null thread", { threadId: null }, undefined, false],
  ["stream false with a thread", { threadId: "t1", stream: false }, undefined, false],
  ["stream false, Accept a stream", { stream: false }, STREAM, false],
];

for (const [name, body, accept, isStreamed] of MODES) {
  Deno.test(`chat: ${name}: ${isStreamed ? "a stream" : "JSON"}`, async () => {
    await using app = startApp({ script: saying("[happy] Hello.") });
    const response = await app.chat(body, accept ? { headers: { accept } } : {});
    const type = response.headers.get("content-type");
    assertEquals([response.status, type], [
      200,
      isStreamed ? `${STREAM}; charset=utf-8` : "application/json",
    ]);
    const text = isStreamed ? (await readStream(response)).text : await contentOf(response);
    assertEquals(text, "[happy] Hello.\n");
  });
}

Deno.test("chat: the head of a response that is not streamed, and its usage, which is marked if estimated", async () => {
  await using app = startApp({ script: saying("12345678") });
  const response = await app.chat();
  const { id, created, model, usage } = await response.json();
  assertMatch(id, /^chatcmpl-[0-9a-f]{32}$/);
  assertEquals(id.slice("chatcmpl-".length), response.headers.get("x-request-id"));
  assertEquals([Number.isSafeInteger(created), model], [true, "openab"]);
  assertEquals([usage.prompt_tokens, usage.completion_tokens, usage.total_tokens], [1, 2, 3]);
  assertEquals(response.headers.get("x-usage-estimated"), "true");
  app.agent.script = (prompt) => {
    prompt.say("Hm.");
    prompt.usage({ inputTokens: 12, outputTokens: 5 });
    prompt.end();
  };
  const counted = await app.chat({ model: "gpt-4o" });
  const body = await counted.json();
  assertEquals([body.model, body.usage.total_tokens], ["gpt-4o", 17]);
  assertEquals([counted.headers.get("x-resolved-model"), counted.headers.get("x-usage-estimated")], [
    "openab",
    null,
  ]);
});

Deno.test("chat: an agent that ends its turn without a word is an error, and one that used a tool is not", async () => {
  await using app = startApp();
  const response = await app.stream();
  const prompt = await app.agent.nextPrompt();
  prompt.say("\n");
  prompt.end();
  const { finish, text } = await readStream(response);
  assertEquals([finish, text], [
    "error",
    "Sorry, my model does not answer right now. Please try again later.\n",
  ]);
  app.agent.script = saying();
  const whole = await app.chat();
  assertEquals([whole.status, (await whole.json()).error.code], [502, "agent_error"]);
  app.agent.script = (prompt) => {
    prompt.tool({ id: "a" });
    prompt.end();
  };
  assertEquals((await readStream(app.stream())).finish, "stop");
});

Deno.test("stream: the role goes out at once, and every piece when it comes", async () => {
  await using app = startApp();
  const response = await app.stream();
  // Proxies would hold the stream back without these headers.
  assertEquals(response.headers.get("cache-control"), "no-cache, no-transform");
  assertEquals(response.headers.get("x-accel-buffering"), "no");
  await using writes = new WriteReader(response);
  const { chunks } = parseFrames((await writes.next())!);
  assertEquals(chunks.map(({ choices }) => choices?.[0]?.delta), [{ role: "assistant", content: "" }]);
  const prompt = await app.agent.nextPrompt();
  for (const piece of ["One", " two", ". 三", "。"]) {
    prompt.say(piece);
    assertEquals(parseFrames((await writes.next())!).text, piece);
  }
  prompt.end();
  const { text, done } = parseFrames(await writes.rest());
  assertEquals([text, done], ["\n", true]);
});

const REPLIES: [name: string, pieces: string[], text: string][] = [
  ["leading newlines", ["\n", "\n[happy]", "\nHello.\n"], "[happy]Hello.\n"],
  [
    "what readers split at",
    ["da", "ta: a:", ":b std::x\n", "a\u0085c\n"],
    "data: a::b std::x\na\u0085c\n",
  ],
  ["characters cut in two", ["\ud83d", "\ude00 語", "り\ud83c", "\uddef\ud83c\uddf5"], "😀 語り🇯🇵\n"],
  ["a burst of small pieces", Array.from("x".repeat(3_000)), "x".repeat(3_000) + "\n"],
  ["one long piece", ["長い".repeat(5_000)], "長い".repeat(5_000) + "\n"],
  ["one long plain piece", ["x".repeat(9_000)], "x".repeat(9_000) + "\n"],
  [
    "what looks like frames",
    ['data: {"error":null}\n\ndata: [DONE]\n\n'],
    'data: {"error":null}\n\ndata: [DONE]\n\n',
  ],
];

for (const [name, pieces, expected] of REPLIES) {
  Deno.test(`stream: every skin survives ${name}`, async () => {
    await using app = startApp({ script: saying(...pieces) });
    const { text } = await readStream(app.stream());
    assertEquals(text.replace(/ +\n/g, "\n"), expected);
  });
}

Deno.test("stream: usage is sent on request only", async () => {
  await using app = startApp({
    script(prompt) {
      prompt.say("Hi");
      prompt.say("Hm.");
      prompt.usage({ inputTokens: 12, outputTokens: 5 });
      prompt.end();
    },
  });
  const requested = await readStream(app.stream({ stream_options: { include_usage: true } }), {
    usage: true,
  });
  assertEquals(requested.chunks.at(-1)?.usage?.total_tokens, 17);
  assertEquals(requested.chunks.slice(0, -1).every(({ usage }) => usage === null), true);
  const { chunks } = await readStream(app.stream());
  assertEquals(chunks.some((chunk) => "usage" in chunk), false);
});

interface Delta {
  reasoning_content?: string;
  agent?: unknown;
}

Deno.test("stream: thoughts, tools and plans are sent on request only", async () => {
  const plan = { content: "Look", priority: "high", status: "pending" } as const;
  await using app = startApp({
    script(prompt) {
      prompt.think("Let me see.");
      prompt.plan(plan);
      prompt.tool({ status: "in_progress" });
      prompt.tool({ status: "completed" });
      prompt.say("Done.\n");
      prompt.end();
    },
  });
  const { chunks, text } = await readStream(app.stream({ stream_options: { include_agent_events: true } }));
  assertEquals(text, "Done.\n");
  const deltas = chunks.map(({ choices }) => choices?.[0]?.delta as Delta);
  assertEquals(deltas.flatMap(({ reasoning_content }) => reasoning_content ?? []), ["Let me see."]);
  const tool = { type: "tool_call", tool_call_id: "t1", title: "Read file", kind: "read" };
  assertEquals(deltas.flatMap(({ agent }) => agent ?? []), [
    { type: "plan", entries: [plan] },
    { ...tool, status: "in_progress" },
    { ...tool, status: "completed" },
  ]);
  const plain = await (await app.stream()).text();
  assertEquals(/reasoning|agent|see|Look|Read file/.test(plain), false);
  assertEquals(parseFrames(plain).chunks.length, 3);
});

for (const heartbeat of ["chunk", "comment"] as const) {
  Deno.test(`heartbeat: ${heartbeat} breaks the silence, again and again`, async () => {
    await using app = startApp({ heartbeat, heartbeatMs: 1 });
    await using writes = new WriteReader(await app.stream());
    let text = (await writes.next())!;
    const empty = { index: 0, delta: {}, logprobs: null, finish_reason: null };
    for (let i = 0; i < 3; i++) {
      const beat = (await writes.next())!;
      if (heartbeat === "comment") assertEquals(beat, ": waiting for agent\n\n");
      else assertEquals(parseFrames(beat).chunks.map(({ choices }) => choices?.[0] as unknown), [empty]);
      text += beat;
    }
    const prompt = await app.agent.nextPrompt();
    prompt.say("Hi\n");
    prompt.end();
    text += await writes.rest();
    const options = { comments: heartbeat === "comment" };
    assertEquals(checkWireProfile([new TextEncoder().encode(text)], options), []);
  });
}

Deno.test("heartbeat: off sends none, while another stream's heart beats", async () => {
  await using beating = startApp({ heartbeat: "chunk", heartbeatMs: 1 });
  await using silent = startApp({ heartbeat: "off", heartbeatMs: 1 });
  const quiet = await silent.stream();
  await using clock = new WriteReader(await beating.stream());
  for (let i = 0; i < 5; i++) await clock.next();
  const prompt = await silent.agent.nextPrompt();
  prompt.say("Hi\n");
  prompt.end();
  assertEquals((await readStream(quiet)).chunks.length, 3, "role, text, finish");
});

Deno.test("legacy completions: whole and streamed", async () => {
  await using app = startApp({ script: saying("upon", " a time.") });
  const whole = await (await app.post("/v1/completions", { prompt: "Once" })).json();
  assertMatch(whole.id, /^cmpl-/);
  assertEquals([whole.object, whole.model], ["text_completion", "openab"]);
  assertEquals(whole.choices, [{ index: 0, text: "upon a time.\n", logprobs: null, finish_reason: "stop" }]);
  assertEquals([whole.usage.completion_tokens, app.agent.prompts[0]?.text], [3, "Once"]);

  const body = { prompt: "Once", stream: true, stream_options: { include_usage: true } };
  const { chunks, done } = parseFrames(await (await app.post("/v1/completions", body)).text());
  const choices = chunks.flatMap(({ choices }) =>
    (choices ?? []) as { text?: string; finish_reason?: string }[]
  );
  assertEquals([done, new Set(chunks.map(({ object }) => object))], [true, new Set(["text_completion"])]);
  assertEquals(choices.map(({ text }) => text).join(""), "upon a time.\n");
  assertEquals([choices.at(-1)?.finish_reason, chunks.at(-1)?.usage?.total_tokens], ["stop", 4]);
});
