/** What a turn cost, in OpenAI's words: the agent's own numbers, else an estimate, and never 0. @module */

import type { Message } from "../conversation/message.ts";
import type { Usage } from "../turn/event.ts";

/** `usage` of a completion. */
export interface CompletionUsage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: { readonly cached_tokens: number };
  readonly completion_tokens_details: { readonly reasoning_tokens: number };
}

/** Characters of Latin text to a token, roughly; every other character counts as one. */
const CHARS_PER_TOKEN = 4;
/** Tokens of a picture or a sound, roughly: a small picture's in OpenAI's count. */
const TOKENS_PER_MEDIUM = 85;

/** A running estimate. */
export class TokenCount {
  #latin = 0;
  #other = 0;

  /** Counts a piece of text. */
  add(text: string): void {
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code <= 0x2ff) this.#latin++;
      // The second half of a pair belongs to the character before it.
      else if (code < 0xdc00 || code > 0xdfff) this.#other++;
    }
  }

  /** The estimate so far, at least 1. */
  get tokens(): number {
    return Math.max(1, this.#other + Math.ceil(this.#latin / CHARS_PER_TOKEN));
  }
}

/** The estimate of a request's messages. */
export function promptTokens(messages: readonly Message[]): number {
  const count = new TokenCount();
  let media = 0;
  for (const part of messages.flatMap((message) => message.parts)) {
    if (part.type === "text") count.add(part.text);
    else media += TOKENS_PER_MEDIUM;
  }
  return count.tokens + media;
}

/** The usage to tell: the agent's numbers for each side that it counted, the estimates for the others. */
export function completionUsage(
  counted: Usage | undefined,
  estimate: { readonly prompt: number; readonly completion: number },
): CompletionUsage {
  const cached = counted?.cachedTokens ?? 0;
  const input = counted?.inputTokens ?? 0;
  // Some agents count what was cached as part of the input, some beside it.
  const prompt = (input >= cached ? input : input + cached) || estimate.prompt;
  const completion = counted?.outputTokens || estimate.completion;
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: cached },
    completion_tokens_details: { reasoning_tokens: counted?.thoughtTokens ?? 0 },
  };
}
