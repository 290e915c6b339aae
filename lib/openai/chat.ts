/** `POST /v1/chat/completions`. @module */

import type { Handler } from "../http/router.ts";
import { chatFrames, type FinishReason, type FrameHead } from "./chunk.ts";
import { complete, type CompletionDeps, type CompletionForm } from "./completion.ts";
import type { CompletionUsage } from "./usage.ts";
import { type ChatRequest, parseChatRequest } from "./wire.ts";

const FORM: CompletionForm = {
  idPrefix: "chatcmpl-",
  parse(body, http) {
    const request = parseChatRequest(body);
    return {
      request,
      messages: request.messages,
      format: request.format,
      streamed: isStreamed(request, http),
    };
  },
  frames: chatFrames,
  whole: chatCompletion,
};

/** Answers chat completions, streamed or whole. */
export function chatHandler(deps: CompletionDeps): Handler {
  return (request, context) => complete(deps, FORM, request, context);
}

/** Whether the client reads a stream: it says so, or asks for the media type, or is AITuber-kit and reads nothing else. */
function isStreamed({ stream, hasThread }: ChatRequest, http: Request): boolean {
  return stream ?? (hasThread || (http.headers.get("accept")?.includes("text/event-stream") ?? false));
}

/** The `chat.completion` object. */
export function chatCompletion(
  { id, created, model }: FrameHead,
  text: string,
  finish: FinishReason,
  usage: CompletionUsage,
): unknown {
  const refusal = finish === "content_filter" ? text || "The agent refused to answer." : null;
  return {
    id,
    object: "chat.completion",
    created,
    model,
    system_fingerprint: null,
    choices: [{
      index: 0,
      message: { role: "assistant", content: text, refusal },
      logprobs: null,
      finish_reason: finish,
    }],
    usage,
  };
}
