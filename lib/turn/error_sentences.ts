/** The sentences with which a character reports that its agent failed, because skins show nothing else. @module */

import { AppError, type ErrorCode, type ErrorReason } from "../core/errors.ts";

const SENTENCES: Readonly<Partial<Record<ErrorCode, string>>> = {
  agent_timeout: "Sorry, that took too long, so I stopped.",
  agent_crashed: "Sorry, my agent stopped unexpectedly. Please try again.",
  agent_unavailable: "Sorry, my agent cannot be reached right now. Please try again later.",
  agent_cancelled: "I stopped, because something I wanted to do was not permitted.",
  shutting_down: "I have to go now: my server is shutting down.",
};
/** The sentences for faults of the agent's model. The agent's own words are for its owner, in the events. */
const BY_REASON: Readonly<Partial<Record<ErrorReason, string>>> = {
  login: "Sorry, I am not logged in. Please log in to my agent again.",
  quota: "Sorry, the quota of my model is used up. Please try again later.",
  model: "Sorry, my model is not available. Please choose another one.",
  provider: "Sorry, my model does not answer right now. Please try again later.",
};
const OTHER = "Sorry, something went wrong with my agent.";

const ALL = [...Object.values(SENTENCES), ...Object.values(BY_REASON), OTHER];

/** Removes the sentences from a reply: clients send them back in the history, and the agent did not say them. */
export function withoutErrorSentences(reply: string): string {
  return ALL.reduce((text, sentence) => text.replaceAll(sentence, ""), reply);
}

/** Returns the sentence for a failure. */
export function sentenceOf({ code, reason }: AppError): string {
  return reason && BY_REASON[reason] || SENTENCES[code] || OTHER;
}

/** Makes the error of a turn that the agent ended without a word: pi and kimi do, when their provider fails. */
export function emptyTurnError(): AppError {
  const message =
    "The agent ended the turn without a word, as some agents do when their provider answers with an error.";
  return new AppError("agent_error", message, { reason: "provider", prompted: true });
}
