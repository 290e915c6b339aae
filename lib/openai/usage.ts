/** Token usage in OpenAI's form: the agent's numbers, or else an estimate that is never 0. @module */

import type { Message } from "../conversation/message.ts";
import type { Usage } from "../turn/event.ts";

/** `usage` of a completion. */
export type CompletionUsage = ReturnType<typeof completionUsage>;

/** Characters per token of Latin text, roughly. Every other character counts as a token. */
const CHARS_PER_TOKEN = 4;
/** Tokens of an image or a sound, roughly: OpenAI's count for a small image. */
const TOKENS_PER_MEDIUM = 85;

/** Estimates the tokens of a text that comes in pieces. */
export class TokenCount {
  #latin = 0;
  #other = 0;

  /** Adds a piece of text. */
  add(text: string): void {
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code <= 0x2ff) this.#latin++;
      // The second half of a surrogate pair belongs to the character before it.
      else if (code < 0xdc00 || code > 0xdfff) this.#other++;
    }
  }

  /** Adds a text without surrogates whose characters are counted already. */
  addCounted(chars: number, wide: number): void {
    this.#latin += chars - wide;
    this.#other += wide;
  }

  /** The estimate so far, at least 1. */
  get value(): number {
    return Math.max(1, this.#other + Math.ceil(this.#latin / CHARS_PER_TOKEN));
  }
}

/** Estimates the tokens of a request's messages. */
export function promptTokens(messages: readonly Message[]): number {
  const count = new TokenCount();
  let media = 0;
  for (const part of messages.flatMap((message) => message.parts)) {
    if (part.type === "text") count.add(part.text);
    else media += TOKENS_PER_MEDIUM;
  }
  return count.value + media;
}

/** Builds the usage from the agent's numbers, and from the estimates where the agent reports none. */
export function completionUsage(
  reported: Usage | undefined,
  estimate: { readonly prompt: number; readonly completion: number },
) {
  const cached = reported?.cachedTokens ?? 0;
  const input = reported?.inputTokens ?? 0;
  // Some agents count cached tokens as part of the input, others beside it.
  const prompt = (input >= cached ? input : input + cached) || estimate.prompt;
  const completion = reported?.outputTokens || estimate.completion;
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: cached },
    completion_tokens_details: { reasoning_tokens: reported?.thoughtTokens ?? 0 },
  };
}
