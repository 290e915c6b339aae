/** The sentences with which a character reports that its agent failed, because skins show nothing else. @module */

import type { AppError, ErrorCode } from "../core/errors.ts";

const SENTENCES: Readonly<Partial<Record<ErrorCode, string>>> = {
  agent_timeout: "Sorry, that took too long, so I stopped.",
  agent_crashed: "Sorry, my agent stopped unexpectedly. Please try again.",
  agent_cancelled: "I stopped, because something I wanted to do was not permitted.",
  shutting_down: "I have to go now: my server is shutting down.",
};
const OTHER = "Sorry, something went wrong with my agent.";

/** Returns the sentence for a failure. */
export function sentenceOf({ code }: AppError): string {
  return SENTENCES[code] ?? OTHER;
}
