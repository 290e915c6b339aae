import { assertEquals } from "@std/assert";
import { AppError } from "../../lib/core/errors.ts";
import { chatFrames, textFrames } from "../../lib/openai/chunk.ts";
import type { ReplySink } from "../../lib/openai/reply_reader.ts";
import { ERROR_MODES, openStream, type StreamRequest } from "../../lib/openai/response.ts";
import type { ToolCallId } from "../../lib/turn/event.ts";
import { assertGolden } from "../support/harness/golden.ts";

const END: Parameters<ReplySink["end"]>[0] = {
  finish: "stop",
  usage: {
    prompt_tokens: 12,
    completion_tokens: 5,
    total_tokens: 17,
    prompt_tokens_details: { cached_tokens: 3 },
    completion_tokens_details: { reasoning_tokens: 2 },
  },
  isEstimated: false,
  isCancelled: false,
  failure: undefined,
  tail: "",
};
const FAILURE = new AppError("agent_crashed", "The agent's process ended in the middle of the turn.");
const THOUGHT = { type: "thought", text: "Hm." } as const;

/** Everything that a stream writes. */
async function streamText(
  options: Partial<StreamRequest>,
  write: (sink: ReplySink) => void,
  createFrames = chatFrames,
): Promise<string> {
  const { includeUsage = false, includeAgentEvents = false } = options;
  const frames = createFrames({ id: "chatcmpl-1", created: 1751328000, model: "openab", includeUsage });
  const settings = { heartbeat: "off", heartbeatMs: 0, errors: "speak" } as const;
  const { response, sink } = openStream(
    { ...settings, ...options, includeUsage, includeAgentEvents, frames },
    () => {},
  );
  write(sink);
  return await response.text();
}

Deno.test("openStream: text", async () => {
  const text = await streamText({}, (sink) => {
    sink.agentEvent(THOUGHT);
    sink.text("[happy] Hello.\n", false);
    sink.text("こんにちは。またね", false);
    sink.end({ ...END, tail: "\n" });
  });
  await assertGolden("chat_stream.txt", text);
});

Deno.test("openStream: usage and agent events", async () => {
  const text = await streamText({ includeUsage: true, includeAgentEvents: true }, (sink) => {
    sink.agentEvent(THOUGHT);
    sink.agentEvent({
      type: "plan",
      entries: [{ content: "Look", priority: "medium", status: "in_progress" }],
    });
    const tool = {
      id: "t1" as ToolCallId,
      title: "Read a file",
      kind: "read",
      status: "in_progress",
    } as const;
    sink.agentEvent({ type: "tool", tool });
    sink.text("Done.\n", false);
    sink.end({ ...END, finish: "length" });
  });
  await assertGolden("chat_stream_with_events.txt", text);
});

Deno.test("openStream: legacy completions", async () => {
  const text = await streamText({ includeUsage: true, includeAgentEvents: true }, (sink) => {
    sink.agentEvent(THOUGHT);
    sink.text("Done.\n", false);
    sink.end(END);
  }, textFrames);
  await assertGolden("text_stream.txt", text);
});

for (const errors of ERROR_MODES) {
  Deno.test(`openStream: a failure in mode ${errors}`, async () => {
    const text = await streamText({ errors, includeUsage: true }, (sink) => {
      sink.text("Hello.", true);
      sink.end({ ...END, finish: "error", failure: FAILURE, tail: "\n" });
    });
    await assertGolden(`chat_stream_${errors}.txt`, text);
  });
}

Deno.test("openStream: an error event is safe", async () => {
  const text = await streamText({ errors: "event" }, (sink) => {
    const failure = new AppError("agent_error", "panicked at std::fmt, data: x\u2028");
    sink.end({ ...END, finish: "error", failure });
  });
  const event = text.split("\n\n").find((event) => event.includes('"error"'))!.slice("data: ".length);
  assertEquals(/data:|::|[\n\r\u0085\u2028\u2029]/.test(event), false, event);
});
