/** `POST /v1/completions`, OpenAI's older endpoint. @module */

import type { Handler } from "../http/router.ts";
import { complete, type CompletionDeps, type CompletionEndpoint } from "./chat.ts";
import { textFrames } from "./chunk.ts";
import { parseTextRequest } from "./wire.ts";

const LEGACY: CompletionEndpoint = {
  idPrefix: "cmpl-",
  parse: parseTextRequest,
  streamsByDefault: () => false,
  frames: textFrames,
};

/** Creates the handler of legacy completions. */
export function completionsHandler(deps: CompletionDeps): Handler {
  return (request, context) => complete(deps, LEGACY, request, context);
}
