/** Messages as a prompt: pure, nothing is lost or added. @module */

import { cutCrowded } from "../core/text.ts";
import type { PromptBlock, PromptCapabilities } from "../turn/agent.ts";
import {
  isReply,
  isTurn,
  leading,
  type Message,
  type Part,
  type Role,
  speakerOf,
  textOf,
} from "./message.ts";

/** The start of text that looks like one of the role tags. */
const ROLE_TAG = /<(?=\/?(?:system|user|assistant|tool)\b)/g;

/** Signs of one message that may begin a role tag; of a text with more, the middle is left out. */
const MAX_TAGS = 50_000;

/** Asks for the rest of a reply. Clients send a reply as the last message for that. */
export const CONTINUE: Message = {
  role: "user",
  parts: [{
    type: "text",
    text: "[Continue your last message from exactly where it ends. Repeat none of it.]",
  }],
};

/** The beginning of a command, as agents know them. */
const COMMAND = /^\s*[/$!]/;

/** Lets the newest message trigger commands of the agent, if it is a user's and no reply follows it. */
export function allowCommands(messages: readonly Message[]): readonly Message[] {
  const newest = messages.findLastIndex(({ role }) => role !== "system");
  return messages.map((message, index) =>
    index === newest && message.role === "user" ? { ...message, mayCommand: true } : message
  );
}

/** The parts of a transcript that a session has not received yet, as indexes among the messages. */
export interface UnseenParts {
  /** The new turns, in order. */
  readonly turns: readonly number[];
  /** The new messages of the persona. */
  readonly persona: readonly number[];
  /** The last reply of the session, if the transcript has it. Clients cut and extend replies. */
  readonly reply: { readonly index: number; readonly isUnchanged: boolean } | undefined;
  /** The turn before the new turns, if another session replied to it too. */
  readonly answeredElsewhere?: number | undefined;
}

/**
 * Selects the messages for a prompt: all, or those that the session has not received yet. These are the new turns, the
 * replies between them that another session gave, the system messages for them, and in a group what others said since
 * the session's last reply. Beside a command of the user, the system messages for its turn are left out: agents find a
 * command at the start of a prompt only, and take what follows as its arguments.
 */
export function promptMessages(messages: readonly Message[], unseen?: UnseenParts): Message[] {
  const selected = unseen ? messages.filter(unseenFilter(messages, unseen)) : [...messages];
  const command = selected.find((message) => message.mayCommand && COMMAND.test(textOf(message)));
  const isAlone = selected.every((message) => message === command || message.role === "system");
  if (command && isAlone && unseen?.persona.length === 0) return [command];
  const last = messages.at(-1);
  if (last && isReply(last)) return [...selected, CONTINUE];
  // A request of system messages alone asks the character to speak, also if the session has all of them.
  return selected.length > 0 ? selected : messages.slice(-1);
}

/** Creates the test of which messages a session has not received yet. */
function unseenFilter(
  messages: readonly Message[],
  { turns, persona, reply, answeredElsewhere }: UnseenParts,
) {
  const [firstTurn = messages.length] = turns;
  const lastTurn = turns.at(-1) ?? -1;
  const otherRepliesFrom = answeredElsewhere ?? firstTurn;
  const personaEnd = leading(messages);
  const newestTurn = messages.findLastIndex(isTurn);
  const ownReply = reply?.index ?? replyBySpeaker(messages, newestTurn);
  const ownName = ownReply < 0 ? undefined : speakerOf(messages[ownReply]!);
  // To continue a reply that was cut, the agent has to know where it ends. In a group the next one is asked for
  // instead.
  const isContinued = ownReply === messages.length - 1 || ownReply > newestTurn && ownName === undefined;
  const cutReply = reply && !reply.isUnchanged && isContinued ? ownReply : -1;
  const turnBefore = turns.length > 0
    ? messages.slice(0, firstTurn).findLastIndex(isTurn)
    : Math.max(newestTurn, ownReply);

  /** Whether the session did not write a reply: another session did, or another character, or the client. */
  const isOther = (message: Message, index: number): boolean => {
    if (index > otherRepliesFrom && index < lastTurn || index === cutReply) return true;
    const name = speakerOf(message);
    const isNamedOther = ownReply >= 0 && name !== undefined && name !== ownName;
    return index > ownReply && (index > newestTurn || isNamedOther);
  };
  const unseenTurns = new Set(turns);
  /** For each message the turn after it, because the results of a client's tools follow their call. */
  const turnAfter: number[] = [];
  for (let index = messages.length - 1, next = -1; index >= 0; index--) {
    turnAfter[index] = next;
    if (isTurn(messages[index]!)) next = index;
  }
  return (message: Message, index: number): boolean => {
    if (isTurn(message)) return unseenTurns.has(index);
    if (message.isToolCall) return unseenTurns.has(turnAfter[index]!);
    if (message.role === "assistant") return isOther(message, index);
    // A later system message is meant for the turn after it.
    return index < personaEnd ? persona.includes(index) : index > turnBefore;
  };
}

/** Finds the last line of the character whose reply the last system message asks for; -1 without one. */
function replyBySpeaker(messages: readonly Message[], newestTurn: number): number {
  const nudge = messages.findLast(({ role }, index) => role === "system" && index > newestTurn);
  if (nudge === undefined) return -1;
  const text = textOf(nudge);
  return messages.findLastIndex((message) => {
    const speaker = isReply(message) ? speakerOf(message) : undefined;
    return speaker !== undefined && text.includes(speaker);
  });
}

/**
 * Converts messages to prompt blocks. The last words of the user stay as they are; all earlier messages stand in tags
 * that name the role. In a message's own text such a tag is written with `&lt;`, so that no one can speak as another
 * role. Words that may trigger commands are blocks of their own.
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
  const flush = ({ mayCommand }: Pick<Message, "mayCommand"> = {}) => {
    if (text !== "") blocks.push({ type: "text", text, ...(mayCommand ? { mayCommand } : {}) });
    text = "";
  };
  for (const [index, message] of messages.entries()) {
    if (text !== "") text += "\n\n";
    const isPlain = index >= plainFrom && message.name === undefined;
    if (!isPlain) text += openTag(message.role, message.name);
    if (message.mayCommand) flush();
    for (const [position, part] of message.parts.entries()) {
      if (part.type !== "text" && accepts[part.type]) {
        flush(message);
        blocks.push(part);
        continue;
      }
      if (position > 0 && text !== "") text += "\n";
      if (part.type !== "text") text += omissionNote(part);
      else text += hasTags ? withoutRoleTags(part.text) : part.text;
    }
    if (message.mayCommand) flush(message);
    if (!isPlain) text += `\n</${message.role}>`;
  }
  flush();
  return blocks;
}

function withoutRoleTags(text: string): string {
  return cutCrowded(text, /</g, MAX_TAGS).text.replace(ROLE_TAG, "&lt;");
}

function openTag(role: Role, name: string | undefined): string {
  return name === undefined ? `<${role}>\n` : `<${role} name=${withoutRoleTags(JSON.stringify(name))}>\n`;
}

function omissionNote(part: Exclude<Part, { type: "text" }>): string {
  return part.type === "image"
    ? "[An image was left out: this agent takes no images.]"
    : "[A sound was left out: this agent takes no sounds.]";
}
