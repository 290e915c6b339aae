/** Messages as a prompt: pure, and nothing is lost or added. @module */

import type { PromptBlock, PromptCapabilities } from "../turn/agent.ts";
import { isTurn, leading, type Message, type Part, type Role } from "./message.ts";

/** The start of what would pass for one of our tags. */
const ROLE_TAG = /<(?=\/?(?:system|user|assistant|tool)\b)/g;

/**
 * The part of a transcript that a live session has not heard: these turns, what was answered between them by somebody
 * else, and the system text that is said for them.
 *
 * @param turns The places of the new turns among the messages, in order.
 * @param withPersona The system messages at the start are news as well.
 */
export function unseenMessages(
  messages: readonly Message[],
  turns: readonly number[],
  withPersona: boolean,
): Message[] {
  const persona = leading(messages);
  const first = turns[0] ?? messages.length;
  const last = turns.at(-1) ?? messages.length;
  // System text is said for the turn that follows it.
  const since = messages.slice(0, first).findLastIndex(isTurn);
  const late = messages.filter((message, index) => {
    if (isTurn(message)) return turns.includes(index);
    if (message.role === "assistant") return index > first && index < last;
    return index > since && index >= persona;
  });
  return withPersona ? [...messages.slice(0, persona), ...late] : late;
}

/** The part of a transcript since its last answer, for a session that heard the rest; at least its last turn. */
export function messagesSinceReply(messages: readonly Message[]): Message[] {
  const answered = messages.findLastIndex(({ role }) => role === "assistant");
  const turns = messages.flatMap((message, index) => isTurn(message) ? [index] : []);
  const after = turns.filter((index) => index > answered);
  return unseenMessages(messages, after.length > 0 ? after : turns.slice(-1), false);
}

/**
 * Messages as prompt blocks. What the user said last stands as it is; everything before it stands in tags that name
 * the role. What looks like such a tag in somebody's words is written with `&lt;`, so that they pass for nobody else's.
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
  const tagged = plainFrom > 0 || messages.some((message) => message.name !== undefined);
  const blocks: PromptBlock[] = [];
  let text = "";
  const flush = () => {
    if (text !== "") blocks.push({ type: "text", text });
    text = "";
  };
  for (const [index, message] of messages.entries()) {
    if (text !== "") text += "\n\n";
    const plain = index >= plainFrom && message.name === undefined;
    if (!plain) text += openTag(message.role, message.name);
    for (const [position, part] of message.parts.entries()) {
      if (part.type === "text" || !accepts[part.type]) {
        if (position > 0 && text !== "") text += "\n";
        if (part.type !== "text") text += leftOut(part);
        else text += tagged ? part.text.replace(ROLE_TAG, "&lt;") : part.text;
      } else {
        flush();
        blocks.push(part);
      }
    }
    if (!plain) text += `\n</${message.role}>`;
  }
  flush();
  return blocks;
}

function openTag(role: Role, name: string | undefined): string {
  return name === undefined ? `<${role}>\n` : `<${role} name=${JSON.stringify(name)}>\n`;
}

function leftOut(part: Exclude<Part, { type: "text" }>): string {
  return part.type === "image"
    ? "[An image was left out: this agent takes no images.]"
    : "[A sound was left out: this agent takes no sounds.]";
}
