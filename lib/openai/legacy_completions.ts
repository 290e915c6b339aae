/** `POST /v1/completions`, the older form. @module */

import type { Handler } from "../http/router.ts";
import { type FinishReason, type FrameHead, textFrames } from "./chunk.ts";
import { complete, type CompletionDeps, type CompletionFormat } from "./chat.ts";
import type { CompletionUsage } from "./usage.ts";
import { parseTextRequest } from "./wire.ts";

const FORM: CompletionFormat = {
  idPrefix: "cmpl-",
  parse(body) {
    const request = parseTextRequest(body);
    const messages = [{ role: "user", parts: [{ type: "text", text: request.prompt }] }] as const;
    return { request, messages, format: undefined, streamed: request.stream ?? false };
  },
  frames: textFrames,
  whole: textCompletion,
};

/** Answers plain completions, streamed or whole. */
export function completionsHandler(deps: CompletionDeps): Handler {
  return (request, context) => complete(deps, FORM, request, context);
}

/** The `text_completion` object. */
export function textCompletion(
  { id, created, model }: FrameHead,
  text: string,
  finish: FinishReason,
  usage: CompletionUsage,
): unknown {
  return {
    id,
    object: "text_completion",
    created,
    model,
    choices: [{ index: 0, text, logprobs: null, finish_reason: finish }],
    usage,
  };
}
