/** A message of a conversation, whichever protocol it came in. @module */

import type { PromptBlock } from "../turn/agent.ts";
import { withoutErrorSentences } from "../turn/error_sentences.ts";

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
  /** An assistant's message that calls a tool of the client. No agent here wrote it: agents call their own tools. */
  readonly isToolCall?: boolean;
  /** This program added the system message for the turn after it: it is not part of the persona. */
  readonly isAdded?: boolean;
  /** The words may trigger commands of the agent: see `allowCommands`. */
  readonly mayCommand?: true;
}

/** Returns the text of a message, its parts joined by line breaks. */
export function textOf(message: Message): string {
  return message.parts.flatMap((part) => part.type === "text" ? [part.text] : []).join("\n");
}

/**
 * Removes empty system messages, an empty reply at the end, which some clients are about to fill, and from replies the
 * sentences with which this program reported failures.
 */
export function cleanMessages(messages: readonly Message[]): Message[] {
  return messages.flatMap((message, index) => {
    if (message.role === "system") return textOf(message).trim() === "" ? [] : [message];
    if (message.role !== "assistant") return [message];
    const text = textOf(message);
    const cleaned = withoutErrorSentences(text);
    const isPlaceholder = text === "" && index === messages.length - 1;
    if (cleaned === text && !isPlaceholder) return [message];
    return cleaned.trim() === "" ? [] : [{ ...message, parts: [{ type: "text", text: cleaned.trimEnd() }] }];
  });
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

/** Whether a message may be a reply of an agent here. */
export function isReply({ role, isToolCall }: Message): boolean {
  return role === "assistant" && !isToolCall;
}

/** Returns the reply behind the newest turn, which a client asks to continue. */
export function continuedReply(messages: readonly Message[]): string | undefined {
  const last = messages.findLast(({ role }) => role !== "system");
  return last && isReply(last) ? textOf(last) : undefined;
}

/** Tags of emotions and gestures, which may stand before the name. */
const TAGS = /^(?:\s*\[[^\]\n]*\])*\s*/;
/** The name before a line in a group chat: `Ann: Hello!`. */
export const SPEAKER = /^\p{L}[\p{L}\p{N} ._'-]{0,39}(?=:\s)/u;

/** Returns the character that says a message: its name, or the name at the start of its text. */
export function speakerOf(message: Message): string | undefined {
  return message.name ?? SPEAKER.exec(textOf(message).replace(TAGS, ""))?.[0];
}

/** Nothing but tags, such as `[silent]`, or one remark in brackets: AniCompanion's signs for no reply. */
const SILENT_REPLY = /^(?:\[[^\]\n]*\][\s.]*)*(?:\([^()]*\)\s*)?$/;

/** Whether a reply says nothing. A skin that knows such signs forgets the question as well. */
export function isSilentReply(reply: string): boolean {
  return SILENT_REPLY.test(reply.trim());
}
