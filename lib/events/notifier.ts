/** Makes the character say something outside a chat: a given text, or the agent's answer to a prompt. @module */

import { isSilentReply, type Message, type Role } from "../conversation/message.ts";
import type { PrivateConversation } from "../conversation/active.ts";
import type { ConversationRegistry } from "../conversation/registry.ts";
import { AppError } from "../core/errors.ts";
import type { CannedReplies } from "../turn/canned_replies.ts";
import { EmotionScanner, type EmotionWords } from "../turn/emotion.ts";
import { collectTurn, type Turn } from "../turn/turn.ts";
import type { Emotion, EventHub } from "./hub.ts";
import type { Urgency } from "./wire.ts";

/** Characters of a reply that are announced; the rest is cut off. */
const MAX_REPLY_CHARS = 8_000;

/** A text for the character to say. */
export interface Announcement {
  /** The text with its emotion tags, as a chat reply would have them. */
  readonly reply: string;
  /** The text without the tags. */
  readonly text: string;
  readonly emotions: readonly Emotion[];
}

/** The conversation in which the agent is prompted. */
export interface PromptContext {
  readonly conversation: PrivateConversation;
  /** Replies of earlier sessions, oldest first. A session gets those that it has not received. */
  readonly earlierReplies: readonly string[];
}

/** Dependencies of the notifier. */
export interface NotifierOptions {
  readonly hub: Pick<EventHub, "notify">;
  readonly cannedReplies: CannedReplies;
  readonly emotions: EmotionWords;
  readonly conversations: Pick<ConversationRegistry, "startTurn">;
}

/** Announces texts. */
export class Notifier {
  readonly #options: NotifierOptions;

  constructor(options: NotifierOptions) {
    this.#options = options;
  }

  /** Makes an announcement of a text. */
  fromText(reply: string): Announcement {
    return { reply, ...splitEmotions(reply, this.#options.emotions) };
  }

  /** Sends an announcement to all clients. A client that posts the text back gets it as its reply. @returns Their number. */
  announce({ reply, text, emotions }: Announcement, urgency: Urgency): number {
    const { hub, cannedReplies } = this.#options;
    const count = hub.notify({ text, urgency }, emotions);
    cannedReplies.remember(text, reply, count);
    return count;
  }

  /** Sends a prompt to one client, as OpenAB does. The client posts it back and gets the announcement as its reply. */
  sendPrompt(prompt: string, { reply }: Announcement, urgency: Urgency): number {
    const { hub, cannedReplies } = this.#options;
    const count = hub.notify({ text: prompt, urgency }, [], true);
    cannedReplies.remember(prompt, reply, count);
    return count;
  }

  /**
   * Prompts the agent.
   *
   * @param context The conversation to use; by default a new one.
   * @returns The announcement of its reply, or nothing if the reply is silent.
   * @throws {AppError} if the turn fails or is interrupted; the signal's reason if it aborts.
   */
  async ask(prompt: string, signal: AbortSignal, context?: PromptContext): Promise<Announcement | undefined> {
    const earlier = context?.earlierReplies.map((reply) => textMessage("assistant", reply)) ?? [];
    const turn = await this.#options.conversations.startTurn({
      conversation: context?.conversation,
      messages: [...earlier, textMessage("user", prompt)],
      unsolicited: true,
      record: false,
    }, signal);
    const reply = await collectReply(turn, signal);
    return isSilentReply(reply) ? undefined : this.fromText(reply);
  }
}

/** Separates a reply from its emotion tags. A reply of tags alone stays as it is. */
export function splitEmotions(reply: string, words: EmotionWords): { text: string; emotions: Emotion[] } {
  let text = "";
  let followsTag = false;
  const emotions: Emotion[] = [];
  const scanner = new EmotionScanner(words, {
    isVerbatim: true,
    emotion(tag, intensity) {
      emotions.push({ tag, intensity });
      followsTag = true;
    },
    speak(piece) {
      // Keep one of the two spaces around a tag.
      text += followsTag && /(^|\s)$/.test(text) ? piece.replace(/^ /, "") : piece;
      followsTag = false;
    },
  });
  scanner.push(reply);
  scanner.end();
  return { text: text.trim() || reply.trim(), emotions };
}

function textMessage(role: Role, text: string): Message {
  return { role, parts: [{ type: "text", text }] };
}

function collectReply(turn: Turn, signal: AbortSignal): Promise<string> {
  return collectTurn(turn, ({ resolve, reject }) => {
    let reply = "";
    return (event) => {
      if (event.type === "text" && reply.length < MAX_REPLY_CHARS) reply += event.text;
      else if (event.type === "failure") reject(event.failure.afterPrompt());
      else if (event.type === "end" && event.reason === "cancelled") {
        reject(new AppError("turn_cancelled", "The turn was interrupted."));
      } else if (event.type === "end") {
        resolve(reply.slice(0, MAX_REPLY_CHARS).toWellFormed().trim());
      }
    };
  }, signal);
}
