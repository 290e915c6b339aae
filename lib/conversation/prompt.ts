/** Messages as a prompt: pure, and nothing is lost or added. @module */

import type { Accepts, PromptBlock } from "../turn/agent.ts";
import { type Message, type Part, personaOf, type Role } from "./message.ts";

/** The start of what would pass for one of our tags. */
const ROLE_TAG = /<(?=\/?(?:system|user|assistant|tool)\b)/g;

/** What a live session was told already. */
export interface Told {
  /** The persona, as {@linkcode personaOf} gives it. */
  readonly persona: string;
  /** How many messages of users and tools the caller's transcript held. */
  readonly turns: number;
  /** The last of them, as {@linkcode fingerprint} gives it. */
  readonly last: string;
}

/** What a session will have been told once this transcript is put to it. */
export function toldOf(messages: readonly Message[]): Told {
  const turns = messages.filter(isTurn);
  const last = turns.at(-1);
  return { persona: personaOf(messages), turns: turns.length, last: last ? fingerprint(last) : "" };
}

/**
 * The part of a transcript that a live session has not heard yet: the turns after the last one that it was told, and
 * the persona if that changed. When nothing is new (the same request again) the last turn is put once more.
 */
export function untold(messages: readonly Message[], told: Told): Message[] {
  const news = newTurns(messages, told);
  const persona = leading(messages);
  // System text between the turns is said for the turn that follows it.
  const since = messages.slice(0, news[0] ?? 0).findLastIndex(isTurn);
  const late = messages.filter((message, index) =>
    news.includes(index) || message.role === "system" && index > since && index >= persona
  );
  return told.persona === personaOf(messages) ? late : [...messages.slice(0, persona), ...late];
}

/** A message as a short string that tells it from others: of images and sounds only their size and ends. */
export function fingerprint(message: Message): string {
  const parts = message.parts.map((part) =>
    part.type === "text" ? part.text : `${part.mimeType}:${part.data.length}:${part.data.slice(-32)}`
  );
  return JSON.stringify([message.role, message.name ?? "", ...parts]);
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
export function toPrompt(messages: readonly Message[], accepts: Accepts): PromptBlock[] {
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

function isTurn(message: Message): boolean {
  return message.role === "user" || message.role === "tool";
}

/** How many system messages the transcript begins with. */
function leading(messages: readonly Message[]): number {
  const first = messages.findIndex((message) => message.role !== "system");
  return first < 0 ? messages.length : first;
}

/** The positions of the turns that are new; never empty if there is any turn. */
function newTurns(messages: readonly Message[], told: Told): number[] {
  const turns = messages.flatMap((message, index) => isTurn(message) ? [index] : []);
  const isLast = (index: number | undefined) => {
    const message = index === undefined ? undefined : messages[index];
    return message !== undefined && fingerprint(message) === told.last;
  };
  // Where it stood last time, else (the caller's window slid) the last place where it stands.
  const seen = isLast(turns[told.turns - 1]) ? told.turns - 1 : turns.findLastIndex(isLast);
  if (seen >= 0) return seen + 1 < turns.length ? turns.slice(seen + 1) : turns.slice(-1);
  const answered = messages.findLastIndex((message) => message.role === "assistant");
  const after = turns.filter((index) => index > answered);
  return after.length > 0 ? after : turns.slice(-1);
}

function openTag(role: Role, name: string | undefined): string {
  return name === undefined ? `<${role}>\n` : `<${role} name=${JSON.stringify(name)}>\n`;
}

function leftOut(part: Exclude<Part, { type: "text" }>): string {
  return part.type === "image"
    ? "[An image was left out: this agent takes no images.]"
    : "[A sound was left out: this agent takes no sounds.]";
}
