/** Messages as a prompt: pure, nothing is lost or added. @module */

import type { PromptBlock, PromptCapabilities } from "../turn/agent.ts";
import { isTurn, leading, type Message, type Part, type Role } from "./message.ts";

/** The start of text that looks like one of the role tags. */
const ROLE_TAG = /<(?=\/?(?:system|user|assistant|tool)\b)/g;

/**
 * Selects the messages that a session has not received yet: these turns, the replies between them that another session
 * gave, and the system messages for them.
 *
 * @param turns The indexes of the new turns among the messages, in order.
 * @param withPersona The session has not received the system messages at the start either.
 */
export function unseenMessages(
  messages: readonly Message[],
  turns: readonly number[],
  withPersona: boolean,
): Message[] {
  const persona = leading(messages);
  const first = turns[0] ?? messages.length;
  const last = turns.at(-1) ?? messages.length;
  // A system message is meant for the turn after it.
  const turnBefore = messages.slice(0, first).findLastIndex(isTurn);
  return messages.filter((message, index) => {
    if (isTurn(message)) return turns.includes(index);
    if (message.role === "assistant") return index > first && index < last;
    return index < persona ? withPersona : index > turnBefore;
  });
}

/**
 * Converts messages to prompt blocks. The last words of the user stay as they are; all earlier messages stand in tags
 * that name the role. In a message's own text such a tag is written with `&lt;`, so that no one can speak as another role.
 *
 * @example
 * ```ts
 * import { assertEquals } from "@std/assert";
 * import { toPrompt } from "./prompt.ts";
 * const text = (text: string) => [{ type: "text", text } as const];
 * const blocks = toPrompt([
 *   { role: "system", parts: text("You are Mao.") },
 *   { role: "user", parts: text("Hello!") },
 * ], { image: false, audio: false });
 * assertEquals(blocks, [{ type: "text", text: "<system>\nYou are Mao.\n</system>\n\nHello!" }]);
 * ```
 */
export function toPrompt(messages: readonly Message[], accepts: PromptCapabilities): PromptBlock[] {
  const plainFrom = messages.findLastIndex((message) => message.role !== "user") + 1;
  const hasTags = plainFrom > 0 || messages.some((message) => message.name !== undefined);
  const blocks: PromptBlock[] = [];
  let text = "";
  const flush = () => {
    if (text !== "") blocks.push({ type: "text", text });
    text = "";
  };
  for (const [index, message] of messages.entries()) {
    if (text !== "") text += "\n\n";
    const isPlain = index >= plainFrom && message.name === undefined;
    if (!isPlain) text += openTag(message.role, message.name);
    for (const [position, part] of message.parts.entries()) {
      if (part.type !== "text" && accepts[part.type]) {
        flush();
        blocks.push(part);
        continue;
      }
      if (position > 0 && text !== "") text += "\n";
      if (part.type !== "text") text += omissionNote(part);
      else text += hasTags ? part.text.replace(ROLE_TAG, "&lt;") : part.text;
    }
    if (!isPlain) text += `\n</${message.role}>`;
  }
  flush();
  return blocks;
}

function openTag(role: Role, name: string | undefined): string {
  return name === undefined ? `<${role}>\n` : `<${role} name=${JSON.stringify(name)}>\n`;
}

function omissionNote(part: Exclude<Part, { type: "text" }>): string {
  return part.type === "image"
    ? "[An image was left out: this agent takes no images.]"
    : "[A sound was left out: this agent takes no sounds.]";
}
