import { assertEquals, assertRejects } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { chatFrames, textFrames } from "../../lib/openai/chunk.ts";
import { collectReply, ERROR_MODES, type StreamOptions, streamReply } from "../../lib/openai/response.ts";
import { runTurn } from "../../lib/turn/turn.ts";
import { MemoryAgent, type MemoryPrompt } from "../support/agents/memory_agent.ts";
import { assertGolden } from "../support/harness/golden.ts";

const HEAD = { id: "chatcmpl-1", created: 1751328000, model: "openab" };
const ASKED = { includeUsage: true, includeAgentEvents: true };
const USAGE = { inputTokens: 12, outputTokens: 5, thoughtTokens: 2, cachedTokens: 3 };

/** The request of a plain reply. */
const REQUEST = {
  stop: [],
  maxTokens: undefined,
  format: undefined,
  promptTokens: 12,
  includeUsage: false,
  includeAgentEvents: false,
};

async function startTurn() {
  const agent = new MemoryAgent();
  const session = await agent.newSession();
  const limits = { replyTimeoutMs: 0, turnTimeoutMs: 0 };
  return { agent, turn: await runTurn({ session, blocks: [], limits, resolvedModel: "openab" }) };
}

/** Everything that a stream writes of a turn. */
async function streamText(
  write: (prompt: MemoryPrompt) => void,
  asked: Partial<typeof ASKED> = {},
  createFrames = chatFrames,
  errors: StreamOptions["errors"] = "speak",
): Promise<string> {
  const { agent, turn } = await startTurn();
  const request = { ...REQUEST, ...asked };
  const frames = createFrames({ ...HEAD, includeUsage: request.includeUsage });
  const settings: StreamOptions = { heartbeat: "off", heartbeatMs: 0, errors };
  const { signal } = new AbortController();
  const response = await streamReply(Promise.resolve(turn), request, frames, settings, signal);
  const prompt = await agent.nextPrompt();
  write(prompt);
  if (!prompt.isOver) prompt.end();
  return await response.text();
}

Deno.test("streamReply: text", async () => {
  const text = await streamText((prompt) => {
    prompt.think("Hm.");
    prompt.say("[happy] Hello.\n");
    prompt.say("こんにちは。またね");
  });
  await assertGolden("chat_stream.txt", text);
});

Deno.test("streamReply: usage and agent events", async () => {
  const text = await streamText((prompt) => {
    prompt.think("Hm.");
    prompt.plan({ content: "Look", priority: "medium", status: "in_progress" });
    prompt.tool({ id: "t1", title: "Read a file", kind: "read", status: "in_progress" });
    prompt.say("Done.\n");
    prompt.usage(USAGE);
    prompt.end("max_tokens");
  }, ASKED);
  await assertGolden("chat_stream_with_events.txt", text);
});

Deno.test("streamReply: legacy completions", async () => {
  const text = await streamText(
    (prompt) => {
      prompt.think("Hm.");
      prompt.say("Done.\n");
      prompt.usage(USAGE);
    },
    ASKED,
    textFrames,
  );
  await assertGolden("text_stream.txt", text);
});

for (const errors of ERROR_MODES) {
  Deno.test(`streamReply: a failure in mode ${errors}`, async () => {
    const failure = new AppError("agent_crashed", "The agent's process ended in the middle of the turn.");
    const text = await streamText(
      (prompt) => {
        prompt.say("Hello.");
        prompt.usage(USAGE);
        prompt.fail(failure);
      },
      { includeUsage: true },
      chatFrames,
      errors,
    );
    await assertGolden(`chat_stream_${errors}.txt`, text);
  });
}

Deno.test("streamReply: an error event is safe", async () => {
  const failure = new AppError("agent_error", "panicked at std::fmt, data: x\u2028");
  const text = await streamText((prompt) => prompt.fail(failure), {}, chatFrames, "event");
  const event = text.split("\n\n").find((event) => event.includes('"error"'))!.slice("data: ".length);
  assertEquals(/data:|::|[\n\r\u0085\u2028\u2029]/.test(event), false, event);
});

Deno.test("streamReply: a turn that can no longer be read from its start leaves no heartbeat behind", async () => {
  const { turn } = await startTurn();
  turn.read(() => {});
  const frames = chatFrames({ ...HEAD, includeUsage: false });
  let beats = 0;
  const beat = Promise.withResolvers<void>();
  const counted = {
    ...frames,
    get empty() {
      beats++;
      return frames.empty;
    },
  };
  const settings: StreamOptions = { heartbeat: "chunk", heartbeatMs: 5, errors: "speak" };
  const { signal } = new AbortController();
  const starting = Promise.resolve(turn);
  await assertRejects(
    () => streamReply(starting, REQUEST, counted, settings, signal),
    AppError,
    "no longer kept",
  );
  // A timer that was started later fires later.
  setTimeout(beat.resolve, 50);
  await beat.promise;
  assertEquals(beats, 0);
});

Deno.test("collectReply: a reply of more than 8 MiB ends as too long, and its turn is cancelled", async () => {
  const { agent, turn } = await startTurn();
  const collected = collectReply(turn, REQUEST, new AbortController().signal);
  const prompt = await agent.nextPrompt();
  for (let mebibytes = 0; mebibytes < 9; mebibytes++) prompt.say("x".repeat(1 << 20));
  const { text, end } = await collected;
  assertEquals([text.trimEnd().length, end.finish], [8 << 20, "length"]);
  await prompt.cancelled;
});
