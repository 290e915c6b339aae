/** A message of a conversation, whichever protocol it came in. @module */

import type { PromptBlock } from "../turn/agent.ts";

/** The author of a message. OpenAI's `developer` is a `system` here. */
export type Role = "system" | "user" | "assistant" | "tool";

/** A piece of a message. Data is base64. */
export type Part = PromptBlock;

/** One message of a transcript. */
export interface Message {
  readonly role: Role;
  /** The name of the user, or of the tool. */
  readonly name?: string | undefined;
  readonly parts: readonly Part[];
  /** This program added the system message for the turn after it: it is not part of the persona. */
  readonly isAdded?: boolean;
}

/** Returns the text of a message, its parts joined by line breaks. */
export function textOf(message: Message): string {
  return message.parts.flatMap((part) => part.type === "text" ? [part.text] : []).join("\n");
}

/** Counts the system messages at the start of a transcript: the persona. */
export function leading(messages: readonly Message[]): number {
  const first = messages.findIndex(({ role, isAdded }) => role !== "system" || isAdded);
  return first < 0 ? messages.length : first;
}

/** Whether a message is a turn, which an agent replies to: a user's or a tool's. */
export function isTurn({ role }: Message): boolean {
  return role === "user" || role === "tool";
}

/** Nothing but tags, such as `[silent]`, or one remark in brackets: AniCompanion's signs for no reply. */
const SILENT_REPLY = /^(?:\[[^\]\n]*\][\s.]*)*(?:\([^()]*\)\s*)?$/;

/** Whether a reply says nothing. A skin that knows such signs forgets the question as well. */
export function isSilentReply(reply: string): boolean {
  return SILENT_REPLY.test(reply.trim());
}
