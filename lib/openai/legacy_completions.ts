/** `POST /v1/completions`, OpenAI's older endpoint. @module */

import type { Handler } from "../http/router.ts";
import { complete, type CompletionDeps, type CompletionEndpoint } from "./chat.ts";
import { type FinishReason, type FrameHead, textFrames } from "./chunk.ts";
import type { CompletionUsage } from "./usage.ts";
import { parseTextRequest } from "./wire.ts";

const LEGACY: CompletionEndpoint = {
  idPrefix: "cmpl-",
  parse: parseTextRequest,
  streamsByDefault: () => false,
  frames: textFrames,
  body: textCompletion,
};

/** Creates the handler of legacy completions. */
export function completionsHandler(deps: CompletionDeps): Handler {
  return (request, context) => complete(deps, LEGACY, request, context);
}

/** Builds a `text_completion` object. */
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
