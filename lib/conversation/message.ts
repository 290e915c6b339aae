/** What a caller says of a conversation, whichever protocol it used. @module */

import type { PromptBlock } from "../turn/agent.ts";

/** Who speaks. A `developer` is a `system` here. */
export type Role = "system" | "user" | "assistant" | "tool";

/** A piece of a message. Data is base64. */
export type Part = PromptBlock;

/** One message of a transcript. */
export interface Message {
  readonly role: Role;
  /** Who of several speaks, or which tool. */
  readonly name?: string | undefined;
  readonly parts: readonly Part[];
  /** System text that this program adds for the turn after it: no part of the persona, wherever it stands. */
  readonly isAdded?: boolean;
}

/** The text of a message, its parts joined by line breaks. */
export function textOf(message: Message): string {
  return message.parts.flatMap((part) => part.type === "text" ? [part.text] : []).join("\n");
}

/** How many system messages the transcript begins with, before anyone spoke: the persona. */
export function leading(messages: readonly Message[]): number {
  const first = messages.findIndex(({ role, isAdded }) => role !== "system" || isAdded);
  return first < 0 ? messages.length : first;
}

/** Whether a message is one of those that an agent answers: a user's or a tool's. */
export function isTurn({ role }: Message): boolean {
  return role === "user" || role === "tool";
}

/** Tags alone, such as `[silent]`, or one remark in brackets: AniCompanion's signs for an answer that is none. */
const SILENT_REPLY = /^(?:\[[^\]\n]*\][\s.]*)*(?:\([^()]*\)\s*)?$/;

/** Whether an answer says nothing. A skin that knows these signs forgets the question as well. */
export function isSilentReply(reply: string): boolean {
  return SILENT_REPLY.test(reply.trim());
}
