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
}

/** The text of a message, its parts joined by line breaks. */
export function textOf(message: Message): string {
  return message.parts.flatMap((part) => part.type === "text" ? [part.text] : []).join("\n");
}

/** The system messages before anyone spoke: the persona. */
export function personaOf(messages: readonly Message[]): string {
  const first = messages.findIndex((message) => message.role !== "system");
  return messages.slice(0, first < 0 ? messages.length : first).map(textOf).join("\n\n");
}
