/**
 * Recognises side jobs: requests of a skin beside its chat, such as for a title or a summary. They are kept out of the
 * conversation: its memory, its queue and its events. Pure.
 *
 * @module
 */

import { findReply, type TranscriptFingerprint } from "./fingerprint.ts";
import { isTurn, type Message, textOf } from "./message.ts";
import type { ConversationRecord } from "./record.ts";

/**
 * The beginnings of known task prompts. Open WebUI: the templates in `backend/open_webui/config.py`. SillyTavern: the
 * defaults in `public/scripts/openai.js` and `public/scripts/extensions/memory/index.js`.
 */
const TASKS: readonly { readonly name: string; readonly pattern: RegExp }[] = [
  { name: "a task of Open WebUI", pattern: /^### Task:[^]*<chat_history>/ },
  { name: "SillyTavern's impersonation", pattern: /^\[Write your next reply from the point of view of / },
  {
    name: "SillyTavern's summary",
    pattern:
      /^(?:Ignore previous instructions\. |\[Pause your roleplay\. )?Summarize the most important facts and events /,
  },
];

/** Names the known task that a request is: its only user message or its last system message asks for it. */
export function knownTaskOf(messages: readonly Message[]): string | undefined {
  const turns = messages.filter(isTurn);
  const prompts = [
    turns.length === 1 ? turns[0] : undefined,
    messages.findLast(({ role }) => role === "system"),
  ];
  const texts = prompts.flatMap((message) => message ? [textOf(message).trim()] : []);
  return TASKS.find(({ pattern }) => texts.some((text) => pattern.test(text)))?.name;
}

/**
 * Whether a request that names a conversation is a side job of its client: the client has sent our replies back before,
 * and this request has none of them and another first system message.
 */
export function isSideJobOf(transcript: TranscriptFingerprint, conversation: ConversationRecord): boolean {
  return conversation.hasEchoed === true && hasNewPersona(transcript, conversation) &&
    findReply(transcript, conversation.reply) === undefined;
}

/**
 * Whether a request brings back the reply of the conversation's last side job, so that it was the first turn with a new
 * persona.
 */
export function adoptsSideJob(transcript: TranscriptFingerprint, conversation: ConversationRecord): boolean {
  const { sideJob } = conversation;
  return sideJob !== undefined && sideJob.system === transcript.persona[0] &&
    hasNewPersona(transcript, conversation) && findReply(transcript, sideJob.reply) !== undefined;
}

function hasNewPersona(
  { persona: [first] }: TranscriptFingerprint,
  { persona }: ConversationRecord,
): boolean {
  return first !== undefined && !persona.includes(first);
}
