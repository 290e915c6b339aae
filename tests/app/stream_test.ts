import { assertEquals, assertMatch } from "@std/assert";
import type { StopReason } from "../../lib/turn/event.ts";
import { oneByOne, saying } from "../support/agents/memory_agent.ts";
import { Random } from "../support/harness/random.ts";
import { checkWireProfile, parseFrames } from "../support/harness/wire_profile.ts";
import { readWrites, startApp, Writes } from "../support/harness/app_harness.ts";

const STREAM = "text/event-stream; charset=utf-8";
const JSON_TYPE = "application/json";

const MODES: [name: string, body: Record<string, unknown>, accept: string | undefined, streamed: boolean][] =
  [
    ["nothing said", {}, undefined, false],
    ["nothing said, any type taken", {}, "*/*", false],
    ["nothing said, JSON taken", {}, "application/json", false],
    ["stream true", { stream: true }, undefined, true],
    ["stream false", { stream: false }, undefined, false],
    ["stream null", { stream: null }, undefined, false],
    ["a stream taken", {}, "text/event-stream", true],
    ["a stream taken among others", {}, "application/json, text/event-stream;q=0.9", true],
    ["AITuber-kit's thread", { threadId: "t1" }, undefined, true],
    ["a thread that is null", { threadId: null }, undefined, false],
    ["stream false with a thread", { threadId: "t1", stream: false }, undefined, false],
    ["stream false, a stream taken", { stream: false }, "text/event-stream", false],
    ["stream true, JSON taken", { stream: true }, "application/json", true],
  ];

for (const [name, body, accept, streamed] of MODES) {
  Deno.test(`chat: ${name}: ${streamed ? "a stream" : "JSON"}`, async () => {
    await using app = startApp({ script: saying("[happy] Hello.") });
    const response = await app.chat(body, accept ? { headers: { accept } } : {});
    assertEquals(response.status, 200);
    assertEquals(response.headers.get("content-type"), streamed ? STREAM : JSON_TYPE);
    if (streamed) {
      const { text, done } = parseFrames(await response.text());
      assertEquals([text, done], ["[happy] Hello.\n", true]);
    } else {
      assertEquals((await response.json()).choices[0].message.content, "[happy] Hello.\n");
    }
  });
}

Deno.test("chat: a whole answer has every field", async () => {
  await using app = startApp({
    script(prompt) {
      prompt.think("Hm.");
      prompt.tool();
      prompt.say("Hello.\n");
      prompt.usage({ inputTokens: 12, outputTokens: 5, thoughtTokens: 2, cachedTokens: 3 });
      prompt.end();
    },
  });
  const response = await app.chat({ model: "gpt-4o" });
  const { id, created, ...rest } = await response.json();
  assertMatch(id, /^chatcmpl-[0-9a-f]{32}$/);
  assertEquals(id.slice("chatcmpl-".length), response.headers.get("x-request-id"));
  assertEquals(Number.isSafeInteger(created), true);
  assertEquals(rest, {
    object: "chat.completion",
    model: "gpt-4o",
    system_fingerprint: null,
    choices: [{
      index: 0,
      message: { role: "assistant", content: "Hello.\n", refusal: null },
      logprobs: null,
      finish_reason: "stop",
    }],
    usage: {
      prompt_tokens: 12,
      completion_tokens: 5,
      total_tokens: 17,
      prompt_tokens_details: { cached_tokens: 3 },
      completion_tokens_details: { reasoning_tokens: 2 },
    },
  });
  assertEquals(response.headers.get("x-resolved-model"), "openab");
  assertEquals(response.headers.get("x-usage-estimated"), null);
});

Deno.test("chat: without the agent's numbers the usage is an estimate, and says so", async () => {
  await using app = startApp({ script: saying("12345678") });
  const response = await app.chat();
  const { model, usage } = await response.json();
  assertEquals(model, "openab");
  assertEquals([usage.prompt_tokens, usage.completion_tokens, usage.total_tokens], [1, 2, 3]);
  assertEquals(response.headers.get("x-usage-estimated"), "true");
});

Deno.test("stream: the role is there at once, before the agent says a word", async () => {
  await using app = startApp();
  await using writes = new Writes(await app.stream());
  const { chunks } = parseFrames((await writes.next())!);
  assertEquals(chunks.map(({ choices }) => choices?.[0]?.delta), [{ role: "assistant", content: "" }]);
  const prompt = await app.agent.nextPrompt();
  assertEquals(prompt.over, false);
  prompt.say("Hi");
  assertEquals(parseFrames((await writes.next())!).text, "Hi");
  prompt.end();
  assertEquals(parseFrames(await writes.rest()).text, "\n");
});

Deno.test("stream: every piece goes out when it comes", async () => {
  await using app = startApp();
  await using writes = new Writes(await app.stream());
  const prompt = await app.agent.nextPrompt();
  await writes.next();
  for (const piece of ["One", " two", ". 三", "。"]) {
    prompt.say(piece);
    assertEquals(parseFrames((await writes.next())!).text, piece);
  }
  prompt.end();
  assertEquals(parseFrames(await writes.rest()).done, true);
});

Deno.test("stream: the headers keep proxies from holding it back", async () => {
  await using app = startApp({ script: saying("Hi") });
  const response = await app.stream();
  assertEquals(response.headers.get("cache-control"), "no-cache, no-transform");
  assertEquals(response.headers.get("x-accel-buffering"), "no");
  await response.text();
});

const FINISHES: [reason: StopReason, finish: string][] = [
  ["end_turn", "stop"],
  ["max_tokens", "length"],
  ["max_turn_requests", "length"],
  ["refusal", "content_filter"],
];

for (const [reason, finish] of FINISHES) {
  Deno.test(`chat: ${reason} is told as ${finish}, streamed and whole`, async () => {
    await using app = startApp({
      script(prompt) {
        prompt.say("So.");
        prompt.end(reason);
      },
    });
    const writes = await readWrites(await app.stream());
    assertEquals(checkWireProfile(writes), []);
    const { chunks } = parseFrames(writes.map((write) => new TextDecoder().decode(write)).join(""));
    assertEquals(chunks.at(-1)?.choices?.[0]?.finish_reason, finish);
    assertEquals((await (await app.chat()).json()).choices[0].finish_reason, finish);
  });
}

Deno.test("stream: a reply without a word", async () => {
  await using app = startApp({ script: saying() });
  const writes = await readWrites(await app.stream());
  assertEquals(checkWireProfile(writes), []);
});

Deno.test("stream: silence, to the letter, streamed and whole", async () => {
  await using app = startApp({ script: saying("[sil", "ent]\n") });
  assertEquals(parseFrames(await (await app.stream()).text()).text, "[silent]");
  assertEquals((await (await app.chat()).json()).choices[0].message.content, "[silent]");
});

const REPLIES: [name: string, pieces: string[], text: string][] = [
  ["words", ["Hel", "lo."], "Hello.\n"],
  ["leading newlines", ["\n", "\n[happy]", "\nHello.\n"], "[happy]Hello.\n"],
  [
    "what readers split at",
    ["da", "ta: a:", ":b std::x\n", "a\u0085c\n"],
    "data: a::b std::x\na\u0085c\n",
  ],
  ["characters cut in two", ["\ud83d", "\ude00 語", "り\ud83c", "\uddef\ud83c\uddf5"], "😀 語り🇯🇵\n"],
  ["a lone half", ["a\ud83d", "b"], "a\ufffdb\n"],
  ["a burst of small pieces", Array.from("x".repeat(3_000)), "x".repeat(3_000) + "\n"],
  ["one piece that is long", ["長い".repeat(5_000)], "長い".repeat(5_000) + "\n"],
  [
    "what looks like frames",
    ['data: {"error":null}\n\ndata: [DONE]\n\n'],
    'data: {"error":null}\n\ndata: [DONE]\n\n',
  ],
];

for (const [name, pieces, text] of REPLIES) {
  Deno.test(`stream: every skin survives ${name}`, async () => {
    await using app = startApp({ script: saying(...pieces) });
    const writes = await readWrites(await app.stream());
    assertEquals(checkWireProfile(writes), []);
    const said = parseFrames(writes.map((write) => new TextDecoder().decode(write)).join("")).text;
    assertEquals(said.replace(/ +\n/g, "\n"), text);
  });
}

Deno.test("stream: every skin survives any reply, however it comes", async () => {
  const words = [
    "[happy]",
    "[x]",
    "\n",
    "。",
    " ",
    "data:",
    ":",
    "::",
    "Hello",
    "語",
    "😀",
    "\u2028",
    '"',
    "\\",
  ];
  for (let seed = 0; seed < 40; seed++) {
    const random = new Random(seed);
    await using app = startApp({ script: saying(...random.cut("Hi " + random.text(words, 200))) });
    assertEquals(checkWireProfile(await readWrites(await app.stream())), [], `seed ${seed}`);
  }
});

Deno.test("stream: usage comes when it is asked for, and only then", async () => {
  await using app = startApp({
    script(prompt) {
      prompt.say("Hi");
      prompt.usage({ inputTokens: 12, outputTokens: 5 });
      prompt.end();
    },
  });
  const asked = await readWrites(await app.stream({ stream_options: { include_usage: true } }));
  assertEquals(checkWireProfile(asked, { usage: true }), []);
  const { chunks } = parseFrames(asked.map((write) => new TextDecoder().decode(write)).join(""));
  assertEquals(chunks.at(-1)?.usage?.total_tokens, 17);
  assertEquals(chunks.slice(0, -1).every(({ usage }) => usage === null), true);

  const unasked = parseFrames(await (await app.stream()).text());
  assertEquals(unasked.chunks.some((chunk) => "usage" in chunk), false);
});

interface Delta {
  reasoning_content?: string;
  agent?: unknown;
}

Deno.test("stream: thoughts, tools and plans come when they are asked for, and only then", async () => {
  await using app = startApp({
    script(prompt) {
      prompt.think("Let me see.");
      prompt.plan({ content: "Look", priority: "high", status: "pending" });
      prompt.tool({ status: "in_progress" });
      prompt.tool({ status: "completed" });
      prompt.say("Done.\n");
      prompt.end();
    },
  });
  const asked = await readWrites(await app.stream({ stream_options: { include_agent_events: true } }));
  assertEquals(checkWireProfile(asked), []);
  const { chunks, text } = parseFrames(asked.map((write) => new TextDecoder().decode(write)).join(""));
  assertEquals(text, "Done.\n");
  const deltas = chunks.map(({ choices }) => choices?.[0]?.delta as Delta);
  assertEquals(deltas.flatMap(({ reasoning_content }) => reasoning_content ?? []), ["Let me see."]);
  const tool = { type: "tool_call", tool_call_id: "t1", title: "Read file", kind: "read" };
  assertEquals(deltas.flatMap(({ agent }) => agent ?? []), [
    { type: "plan", entries: [{ content: "Look", priority: "high", status: "pending" }] },
    { ...tool, status: "in_progress" },
    { ...tool, status: "completed" },
  ]);

  const unasked = await (await app.stream()).text();
  assertEquals(/reasoning|agent|see|Look|Read file/.test(unasked), false);
  assertEquals(parseFrames(unasked).chunks.length, 3);
});

Deno.test("heartbeat: an empty chunk breaks the silence, again and again", async () => {
  await using app = startApp({ stream: { heartbeat: "chunk", heartbeatMs: 1 } });
  await using writes = new Writes(await app.stream());
  let text = await writes.next();
  for (let i = 0; i < 3; i++) {
    const beat = (await writes.next())!;
    assertEquals(parseFrames(beat).chunks.map(({ choices }) => choices?.[0]), [
      { index: 0, delta: {}, logprobs: null, finish_reason: null },
    ]);
    text += beat;
  }
  const prompt = await app.agent.nextPrompt();
  prompt.say("Hi\n");
  prompt.end();
  text += await writes.rest();
  assertEquals(checkWireProfile([new TextEncoder().encode(text)]), []);
});

Deno.test("heartbeat: a comment, as OpenAB's", async () => {
  await using app = startApp({ stream: { heartbeat: "comment", heartbeatMs: 1 } });
  await using writes = new Writes(await app.stream());
  let text = (await writes.next())!;
  for (let i = 0; i < 3; i++) {
    const beat = (await writes.next())!;
    assertEquals(beat, ": waiting for agent\n\n");
    text += beat;
  }
  const prompt = await app.agent.nextPrompt();
  prompt.say("Hi\n");
  prompt.end();
  text += await writes.rest();
  assertEquals(checkWireProfile([new TextEncoder().encode(text)], { comments: true }), []);
});

Deno.test("heartbeat: none, while another stream's heart beats", async () => {
  await using beating = startApp({ stream: { heartbeat: "chunk", heartbeatMs: 1 } });
  await using silent = startApp({ stream: { heartbeat: "off", heartbeatMs: 1 } });
  const quiet = await silent.stream();
  await using clock = new Writes(await beating.stream());
  for (let i = 0; i < 5; i++) await clock.next();
  const prompt = await silent.agent.nextPrompt();
  prompt.say("Hi\n");
  prompt.end();
  assertEquals(parseFrames(await quiet.text()).chunks.length, 3, "role, text, finish");
});

Deno.test("heartbeat: none after the agent has spoken its last", async () => {
  await using app = startApp({
    stream: { heartbeat: "chunk", heartbeatMs: 1 },
    script: saying("Hi\n"),
  });
  const text = await (await app.stream()).text();
  assertEquals(text.endsWith("data: [DONE]\n\n"), true);
});

Deno.test("completions: whole and streamed", async () => {
  await using app = startApp({ script: saying("upon", " a time.") });
  const whole = await (await app.post("/v1/completions", { prompt: "Once" })).json();
  assertMatch(whole.id, /^cmpl-/);
  assertEquals([whole.object, whole.model], ["text_completion", "openab"]);
  assertEquals(whole.choices, [{ index: 0, text: "upon a time.\n", logprobs: null, finish_reason: "stop" }]);
  assertEquals(whole.usage.completion_tokens, 3);
  assertEquals(app.agent.prompts[0]?.text, "Once");

  const body = { prompt: "Once", stream: true, stream_options: { include_usage: true } };
  const text = await (await app.post("/v1/completions", body)).text();
  const events = text.trimEnd().split("\n\n").map((event) => event.slice("data: ".length));
  assertEquals(events.pop(), "[DONE]");
  interface TextChunk {
    object: string;
    choices: { text: string; finish_reason: string | null }[];
    usage: { total_tokens: number } | null;
  }
  const chunks = events.map((event): TextChunk => JSON.parse(event));
  assertEquals(chunks.every(({ object }) => object === "text_completion"), true);
  assertEquals(chunks.flatMap(({ choices }) => choices).map(({ text }) => text).join(""), "upon a time.\n");
  assertEquals(chunks.at(-2)?.choices[0]?.finish_reason, "stop");
  assertEquals(chunks.at(-1)?.usage?.total_tokens, 4);
});

Deno.test("completions: stop, length and failure as with chat", async () => {
  await using app = startApp({
    script: oneByOne(saying("one STOP two"), saying("123456789")),
  });
  const stopped = await (await app.post("/v1/completions", { prompt: "x", stop: "STOP" })).json();
  assertEquals(stopped.choices[0], { index: 0, text: "one \n", logprobs: null, finish_reason: "stop" });
  const cut = await (await app.post("/v1/completions", { prompt: "x", max_tokens: 2 })).json();
  assertEquals([cut.choices[0].text, cut.choices[0].finish_reason], ["12345678\n", "length"]);
});
